//! Everything that a configuration refers to by name: networks, data sets, methods, presets. Own parts are added
//! here; there are no cases by name anywhere else.

use std::path::Path;

use rigl_base::Result;
use rigl_data::{DataOptions, Datasets, Sets, TableOptions};
use rigl_graph::{Graph, Model, ModelSpec, Models};
use rigl_topology::Method;

use crate::config::{Base, Config, Known, Limit, Override, Sources};
use crate::data;
use crate::presets::{self, Preset};
use crate::program::Program;

/// What names in a configuration stand for. The default holds what comes with the program; parts of one's own are added,
/// or take the place of those of their name.
///
/// ```
/// use std::sync::Arc;
/// use rigl_data::{InMemory, Sets, Spec};
/// use rigl_train::Registry;
/// use rigl_train::presets::Preset;
///
/// const STRIPES: Preset = Preset {
///     name: "stripes",
///     about: "two kinds of stripes, told apart by a few weights",
///     text: "[data]\nname = 'stripes'\nbatch = 2\n[schedule]\nunit = 'steps'\nlength = 20\n",
/// };
/// let registry = Registry::default().preset(STRIPES).dataset("stripes", |_| {
///     let spec = Spec::new("stripes", [1, 2, 2], ["across", "along"]);
///     let set = Arc::new(InMemory::new(spec, vec![9, 9, 0, 0, 9, 0, 9, 0], vec![0, 1])?);
///     Ok(Sets::new(set.clone(), set))
/// });
/// let config = registry.config("stripes", &["method.sparsity=0.5"])?;
/// assert_eq!((config.data.name.as_str(), config.method.sparsity), ("stripes", 0.5));
/// # Ok::<(), rigl_base::Error>(())
/// ```
#[derive(Clone)]
pub struct Registry {
    /// What `model.name` may name.
    pub models: Models,
    /// What `data.name` may name.
    pub datasets: Datasets,
    /// What `method.name` may name.
    pub methods: Vec<Method>,
    /// What `preset` may name.
    pub presets: Vec<Preset>,
    /// The program that has these parts, as its runs note it.
    pub program: Program,
}

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            models: Models::default(),
            datasets: Datasets::default(),
            methods: Method::ALL.to_vec(),
            presets: presets::ALL.to_vec(),
            program: Program::default(),
        }
    }
}

impl Registry {
    /// With a network of that name and without options, or another one for it.
    #[must_use]
    pub fn model(
        self,
        name: &str,
        build: impl Fn(&ModelSpec) -> Result<Graph> + Send + Sync + 'static,
    ) -> Registry {
        self.with_model(Model::new(name.to_string(), build))
    }

    /// With a network that declares its options, or another one of its name.
    #[must_use]
    pub fn with_model(mut self, model: Model) -> Registry {
        self.models.insert(model);
        self
    }

    /// With a method, or another one of its name.
    #[must_use]
    pub fn method(mut self, row: Method) -> Registry {
        self.methods.retain(|other| other.name != row.name);
        self.methods.push(row);
        self
    }

    /// With a data set of that name, or another one for it. `load` makes its training and test set; the split of validation
    /// samples and the limits of the configuration are applied to what it returns. What the set is like is found out by
    /// loading it, unless [`Datasets::describe`] tells.
    #[must_use]
    pub fn dataset(
        mut self,
        name: &str,
        load: impl Fn(&DataOptions) -> Result<Sets> + Send + Sync + 'static,
    ) -> Registry {
        self.datasets.insert(name, load);
        self
    }

    /// With a preset, or another one of its name: a configuration file that stands in the program.
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Registry {
        self.presets.retain(|other| other.name != preset.name);
        self.presets.push(preset);
        self
    }

    /// The configuration of a preset, with settings such as `method.sparsity=0.95` that win over it, as `--set` gives them.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), naming the key, what was found and what is allowed.
    pub fn config(&self, preset: &str, settings: &[&str]) -> Result<Config> {
        let overrides = settings.iter().map(|text| Override::parse("setting", text));
        let overrides = overrides.collect::<Result<Vec<_>>>()?;
        Config::resolve(&Sources { base: Base::Preset(preset), overrides: &overrides }, &self.known())
    }

    /// The samples of a configuration, with its split of validation samples and its limits. Those that are read from files
    /// are looked for where `data.dir` says, and then in `folder`.
    ///
    /// # Errors
    /// As [`Datasets::load`].
    pub fn sets(&self, config: &Config, folder: Option<&Path>, threads: usize) -> Result<Sets> {
        data::load(self, config, folder, threads, None)
    }

    /// The same from this folder alone.
    pub(crate) fn sets_in(&self, config: &Config, folder: Option<&Path>, threads: usize) -> Result<Sets> {
        let limit = |limit| match limit {
            Limit::All => None,
            Limit::First(n) => Some(n),
        };
        let options = DataOptions {
            folder: folder.map(Path::to_path_buf),
            seed: config.seeds.data,
            threads,
            validation: config.data.validation,
            train_samples: limit(config.data.train_samples),
            test_samples: limit(config.data.test_samples),
            table: TableOptions { header: config.data.header, target: config.data.target.clone() },
            ..DataOptions::default()
        };
        self.datasets.load(&config.data.name, &options)
    }

    /// Whether the files of the configuration's data set, if it has any, are where [`Registry::sets`] looks for them.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for an unknown name, [`Kind::Environment`](rigl_base::Kind::Environment)
    /// naming what is missing.
    pub fn check_files(&self, config: &Config, folder: Option<&Path>) -> Result<()> {
        self.check_dataset(config)?;
        data::first(config, folder, |folder| self.datasets.check_files(&config.data.name, folder))
    }

    /// Whether there is a data set of the configuration's name.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if not, with the names there are.
    pub fn check_dataset(&self, config: &Config) -> Result<()> {
        let found = self.datasets.source(&config.data.name);
        found.map(drop).map_err(|error| config.blame("data.name", error))
    }

    /// The names that a configuration is checked against.
    pub fn known(&self) -> Known {
        Known {
            presets: self.presets.clone(),
            methods: self.methods.clone(),
            models: self.models.clone(),
            strangers: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use rigl_graph::{Builder, Linear, ModelOption};

    use super::*;
    use crate::{Config, DataSpec, Design, MachineOptions, Origin, Prepared, Settings};

    #[test]
    fn a_network_without_a_loss_has_a_cost_and_is_not_trained() {
        let model = Model::new("encoder", |spec| {
            let mut g = Builder::new("encoder");
            let x = g.input("image", &spec.sample_shape);
            let x = g.flatten(x);
            let code = g.linear("code", x, spec.whole("size")?, Linear::default());
            g.outputs(&[code]);
            g.finish()
        });
        let registry = Registry::default().with_model(model.option(ModelOption::whole("size", 5, 1..=9)));
        let mut config = Config::default();
        config.model.name = "encoder".into();
        // Files that are not there: nobody looks for them.
        config.data.name = "mnist".into();
        let settings = Settings::new(config.clone(), &registry).unwrap();
        let data = DataSpec { shape: vec![1, 28, 28], classes: 10, samples: 100 };
        let design = Design::new(&settings, &registry, &data, &Origin::Fresh).unwrap();
        assert_eq!(design.cost().weights, 5 * 784);
        let machine = MachineOptions { data_folder: None, threads: 1, isa: None };
        let error = Prepared::new(config, &registry, &machine).map(drop).unwrap_err();
        assert_eq!(error.kind(), rigl_base::Kind::Usage);
        assert_eq!(
            error.to_string(),
            "network `encoder` cannot be trained: it ends in `code`, not in a loss"
        );
    }
}
