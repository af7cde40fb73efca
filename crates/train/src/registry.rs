//! Everything that a configuration refers to by name: networks, data sets, methods, presets. Own parts are added
//! here; there are no cases by name anywhere else.

use rigl_base::Result;
use rigl_data::{DataOptions, Datasets, Sets};
use rigl_graph::Models;
use rigl_graph::models::BuildModel;
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
    /// With a network of that name, or another one for it.
    #[must_use]
    pub fn model(mut self, name: &str, build: BuildModel) -> Registry {
        self.models.insert(name, build);
        self
    }

    /// With a method, or another one of its name.
    #[must_use]
    pub fn method(mut self, row: Method) -> Registry {
        self.methods.retain(|other| other.name != row.name);
        self.methods.push(row);
        self
    }

    /// With a data set of that name, or another one for it.
    #[must_use]
    pub fn dataset(
        mut self,
        name: &str,
        load: impl Fn(&DataOptions) -> Result<Sets> + Send + Sync + 'static,
    ) -> Registry {
        self.datasets.insert(name, load);
        self
    }

    /// With a preset, or another one of its name.
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Registry {
        self.presets.retain(|other| other.name != preset.name);
        self.presets.push(preset);
        self
    }

    /// The names that a configuration is checked against.
    pub fn known(&self) -> Known {
        Known { presets: self.presets.clone(), methods: self.methods.clone() }
    }
}
