//! Where keys were set, so that what is found out only once network and samples are known is refused there too.

use std::collections::HashMap;

use rigl_base::Error;

use super::Config;

/// Where each key was set last. It is no part of what a configuration says: all are equal.
#[derive(Clone, Debug, Default)]
pub struct Places(HashMap<String, Place>);

/// Where a key was set.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// To begin a message.
    pub(super) text: String,
    /// Whether it was asked for on its own, on a command line or by a sweep, rather than written in a recipe.
    pub(super) asked: bool,
}

impl PartialEq for Places {
    fn eq(&self, _: &Places) -> bool {
        true
    }
}

impl FromIterator<(String, Place)> for Places {
    fn from_iter<I: IntoIterator<Item = (String, Place)>>(places: I) -> Places {
        Places(places.into_iter().collect())
    }
}

impl Config {
    /// The error with, before it, where the key was set, if a source set it. An entry of `method.layers` is a key too.
    #[must_use]
    pub fn blame(&self, key: &str, error: Error) -> Error {
        match self.places.0.get(key) {
            Some(place) => error.context(&place.text),
            None => error,
        }
    }

    /// Whether a key was set on its own, on a command line or by a sweep. What a preset or a file says may be of no use to
    /// what else was asked for; what was asked for itself may not.
    pub fn asks_for(&self, key: &str) -> bool {
        self.places.0.get(key).is_some_and(|place| place.asked)
    }
}
