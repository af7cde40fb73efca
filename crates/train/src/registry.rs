//! Everything that a configuration refers to by name: networks, data sets, methods, presets. Own parts are added
//! here; there are no cases by name anywhere else.

use rigl_data::Datasets;
use rigl_graph::Models;
use rigl_topology::Method;

use crate::config::Known;
use crate::presets::{self, Preset};

/// See the module's text. The default holds what comes with the program.
#[derive(Clone)]
pub struct Registry {
    /// Networks.
    pub models: Models,
    /// Data sets.
    pub datasets: Datasets,
    /// Methods.
    pub methods: Vec<Method>,
    /// Presets.
    pub presets: Vec<Preset>,
}

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            models: Models::default(),
            datasets: Datasets::default(),
            methods: Method::ALL.to_vec(),
            presets: presets::ALL.to_vec(),
        }
    }
}

impl Registry {
    /// The names that a configuration is checked against.
    pub fn known(&self) -> Known {
        Known { presets: self.presets.clone(), methods: self.methods.clone() }
    }
}
