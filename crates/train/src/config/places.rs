//! Where keys were set, so that what is found out only once network and samples are known is refused there too.

use std::collections::HashMap;

use rigl_base::Error;

use super::Config;

/// Where each key was set last. It is no part of what a configuration says: all are equal.
#[derive(Clone, Debug, Default)]
pub struct Places(HashMap<String, String>);

impl PartialEq for Places {
    fn eq(&self, _: &Places) -> bool {
        true
    }
}

impl FromIterator<(String, String)> for Places {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(places: I) -> Places {
        Places(places.into_iter().collect())
    }
}

impl Config {
    /// The error with, before it, where the key was set, if a source set it. An entry of `method.layers` is a key too.
    #[must_use]
    pub fn blame(&self, key: &str, error: Error) -> Error {
        match self.places.0.get(key) {
            Some(place) => error.context(place),
            None => error,
        }
    }
}
