//! A network named on the command line, by a preset, a configuration file or its own name, and the samples that it is
//! for. No data is read to find out.

use std::path::Path;

use rigl_base::{Error, Result, unknown};
use rigl_graph::models::elsewhere;
use rigl_train::config::{Base, Override};
use rigl_train::{Config, DataSpec, Design, Origin, Registry, Settings};

use super::{configuration_by, resolve};
use crate::args::{Keys, SampleFlags, Shape};

/// What a name on the command line stands for: a configuration, and samples for its network.
pub(crate) struct Named {
    pub(crate) config: Config,
    /// What is named, with what the command line sets.
    pub(crate) recipe: Recipe,
    /// What the data set, or else the model, says of the samples; `None` if only the data itself can tell.
    known: Option<Samples>,
    /// Samples that its data set is known to have to train on, if the network is for those.
    pub(crate) train_samples: Option<usize>,
    /// Whether the network is for the samples of its data set.
    of_data: bool,
    given: SampleFlags,
}

/// A preset, a configuration file or a model, with what the command line sets.
pub(crate) struct Recipe {
    name: String,
    is_model: bool,
    pub(crate) overrides: Vec<Override>,
}

impl Recipe {
    fn sets(&self, key: &str) -> bool {
        self.overrides.iter().any(|given| given.key == key)
    }

    /// Its configuration, by another method if one is named.
    pub(crate) fn config(&self, method: Option<&str>, registry: &Registry) -> Result<Config> {
        let name = self.name.as_str();
        if self.is_model {
            let model = Override::new(&format!("`{name}`"), "model.name", name);
            let all: Vec<Override> = std::iter::once(model).chain(self.overrides.iter().cloned()).collect();
            resolve(Base::Default, &all, method, registry)
        } else {
            configuration_by(name, &self.overrides, method, registry)
        }
    }
}

/// The samples of a network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Samples {
    pub(crate) shape: Vec<usize>,
    pub(crate) classes: usize,
}

impl Named {
    /// What `name` with these flags stands for.
    pub(crate) fn new(name: &str, keys: &Keys, given: &SampleFlags, registry: &Registry) -> Result<Named> {
        let overrides = keys.overrides()?;
        let is_file = name.ends_with(".toml");
        let is_preset = registry.presets.iter().any(|preset| preset.name == name);
        let is_model = !is_file && !is_preset && registry.models.find(name).is_some();
        if !(is_model || is_preset || is_file) {
            return Err(neither(name, registry));
        }
        let recipe = Recipe { name: name.into(), is_model, overrides };
        let config = recipe.config(None, registry)?;
        let described = registry.datasets.description(&config.data.name);
        let of_model = is_model && !recipe.sets("data.name");
        let train_samples = described.filter(|_| !of_model).map(|(_, all)| config.training_samples(all));
        let known = if of_model {
            let usual = registry.models.find(&config.model.name).and_then(|model| model.usual);
            let usual = usual.map(|of| Samples { shape: of.sample_shape.to_vec(), classes: of.classes });
            if usual.is_none() && (given.input.is_none() || given.classes.is_none()) {
                return Err(nothing_known(&format!("that model `{}` is for", config.model.name)));
            }
            usual
        } else {
            described.map(|(of, _)| Samples { shape: of.shape.clone(), classes: of.classes.len() })
        };
        Ok(Named { config, recipe, known, train_samples, of_data: !of_model, given: given.clone() })
    }

    /// Whether the network is for the samples of its data set, not for those that it is usually for.
    pub(crate) fn is_of_data(&self) -> bool {
        self.of_data
    }

    /// The samples: what the command line says of them, then what was `found` in the data, then the data set or the model,
    /// then what `load` finds in the data, which is asked only if it must be.
    pub(crate) fn samples(
        &self,
        found: Option<Samples>,
        load: impl FnOnce(&Config) -> Result<Samples>,
    ) -> Result<Samples> {
        let shape = self.given.input.as_ref().map(|Shape(shape)| shape.clone());
        let classes = self.given.classes.map(|classes| classes as usize);
        if let (Some(shape), Some(classes)) = (&shape, classes) {
            return Ok(Samples { shape: shape.clone(), classes });
        }
        let known = match found.or_else(|| self.known.clone()) {
            Some(known) => known,
            None => load(&self.config)?,
        };
        Ok(Samples { shape: shape.unwrap_or(known.shape), classes: classes.unwrap_or(known.classes) })
    }

    /// The network for so many of these samples.
    pub(crate) fn design(
        &self,
        settings: &Settings,
        samples: &Samples,
        count: usize,
        origin: &Origin,
        registry: &Registry,
    ) -> Result<Design> {
        let build = |shape: &[usize], classes| {
            let data = DataSpec { shape: shape.to_vec(), classes, samples: count };
            Design::new(settings, registry, &data, origin)
        };
        build(&samples.shape, samples.classes).map_err(|error| {
            // Where only the samples are to blame, those that the network is usually for can be had.
            match registry.models.find(&self.config.model.name).and_then(|model| model.usual) {
                Some(usual) if build(usual.sample_shape, usual.classes).is_ok() => {
                    let flags = format!(
                        "--input {} --classes {}",
                        Shape::text(usual.sample_shape, "x"),
                        usual.classes
                    );
                    let from_data = self.given.input.is_none();
                    let error = if from_data {
                        error.context(format!("data set `{}`", self.config.data.name))
                    } else {
                        error
                    };
                    error.hint(flags)
                }
                _ => error,
            }
        })
    }
}

/// Nothing says of what shape samples are, and how many classes they have.
pub(super) fn nothing_known(of: &str) -> Error {
    Error::usage(format!("nothing is known of the samples {of}")).hint("--input 3x224x224 --classes 1000")
}

fn neither(name: &str, registry: &Registry) -> Error {
    let presets = registry.presets.iter().map(|preset| preset.name);
    let names: Vec<&str> = presets.chain(registry.models.names()).collect();
    let error = unknown("preset or model", name, names);
    if Path::new(name).is_file() {
        return error.hint("name configuration files with the ending `.toml`");
    }
    match elsewhere(name) {
        Some(ours) => error.hint(ours),
        None => error,
    }
}
