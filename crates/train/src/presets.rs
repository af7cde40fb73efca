//! The recipes that come with the program: configuration files that stand in it, by name.

use rigl_base::{Result, unknown};
use rigl_graph::models::elsewhere;

/// A named configuration file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preset {
    /// Its name: `mnist-lenet`.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// The file, TOML.
    pub text: &'static str,
}

/// Every preset that comes with the program.
pub const ALL: &[Preset] = &[
    Preset {
        name: "quickstart",
        about: "LeNet-300-100 at 90 % sparsity on drawn digits: no download, done in a minute",
        text: include_str!("presets/quickstart.toml"),
    },
    Preset {
        name: "mnist-lenet",
        about: "LeNet-300-100 on MNIST at 99 %, 89 % and 0 %: the paper's appendix B",
        text: include_str!("presets/mnist-lenet.toml"),
    },
    Preset {
        name: "fashion-lenet",
        about: "LeNet-300-100 on Fashion-MNIST at 90 % sparsity",
        text: include_str!("presets/fashion-lenet.toml"),
    },
    Preset {
        name: "cifar10-wrn22-2",
        about: "WRN-22-2 on CIFAR-10 at 90 % sparsity: the paper's experiment",
        text: include_str!("presets/cifar10-wrn22-2.toml"),
    },
    Preset {
        name: "cifar100-wrn22-2",
        about: "WRN-22-2 on CIFAR-100 at 90 % sparsity, by the recipe for CIFAR-10",
        text: include_str!("presets/cifar100-wrn22-2.toml"),
    },
];

/// The preset of that name.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage) if there is none, listing them, with the nearest as hint.
pub fn find<'a>(name: &str, presets: &'a [Preset]) -> Result<&'a Preset> {
    let found = presets.iter().find(|preset| preset.name == name);
    found.ok_or_else(|| {
        let error = unknown("preset", name, presets.iter().map(|preset| preset.name));
        match elsewhere(name) {
            // A command, or a sentence where there is none.
            Some(ours) if ours.starts_with('`') => error.hint(format!("a preset with {ours}")),
            Some(none) => error.hint(none),
            None => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use rigl_topology::{Decay, Distribution};

    use super::*;
    use crate::config::{Augment, Base, Config, Known, Layers, Sources, Standardize, UpdateEnd};
    use crate::recipe::Recipe;
    use crate::registry::Registry;
    use crate::settings::Settings;

    fn resolved(name: &str) -> Config {
        Config::resolve(&Sources { base: Base::Preset(name), overrides: &[] }, &Known::default()).unwrap()
    }

    #[test]
    fn every_preset_resolves_and_carries_its_name() {
        for preset in ALL {
            assert_eq!(resolved(preset.name).preset, preset.name);
            assert!(!preset.about.ends_with('.') && preset.about.len() <= 90, "{}", preset.name);
        }
    }

    #[test]
    fn a_preset_printed_and_read_again_is_the_same() {
        for preset in ALL {
            let config = resolved(preset.name);
            let again = Config::from_text("config.toml", &config.to_toml(), &Known::default()).unwrap();
            assert_eq!(again, config);
        }
    }

    #[test]
    fn mnist_lenet_is_the_papers_appendix_b() {
        let config = resolved("mnist-lenet");
        assert_eq!(config.data.name, "mnist");
        assert_eq!(config.model.name, "lenet-300-100");
        assert_eq!(config.data.batch, 100);
        assert_eq!(config.schedule.length, 200.0);
        assert_eq!(config.schedule.learning_rate, 0.2);
        assert_eq!(config.schedule.milestones, [75.0, 95.0]);
        assert_eq!(config.schedule.divide_by, [3.0]);
        assert_eq!(config.optimizer.momentum, 0.9);
        assert!(config.optimizer.nesterov);
        assert_eq!(config.optimizer.l2, 1e-4);
        assert_eq!(config.method.name, "rigl");
        assert_eq!((config.method.updates.interval, config.method.updates.drop_fraction), (100, 0.3));
        assert_eq!(config.method.updates.end, UpdateEnd::Step(50_000));
        let layers = [("fc1", 0.99), ("fc2", 0.89), ("fc3", 0.0)].map(|(name, s)| (name.to_string(), s));
        assert_eq!(config.method.layers, Layers(layers.to_vec()));
    }

    #[test]
    fn the_cifar_presets_are_the_papers_recipe() {
        for (name, data) in [("cifar10-wrn22-2", "cifar10"), ("cifar100-wrn22-2", "cifar100")] {
            let config = resolved(name);
            assert_eq!((config.data.name.as_str(), config.data.batch), (data, 128));
            assert_eq!(
                (config.data.augment, config.data.standardize),
                (Augment::CropFlip, Standardize::PerImage)
            );
            assert_eq!(config.model.name, "wrn-22-2");
            assert_eq!(config.get("model.dropout").as_deref(), Some("0.3"));
            let settings = Settings::new(config.clone(), &Registry::default()).unwrap();
            let recipe = Recipe::new(&settings, 50_000).unwrap();
            assert_eq!(recipe.steps, 97_656);
            let rates = [0, 29_999, 30_000, 60_000, 90_000, 97_655].map(|step| recipe.learning_rate(step));
            for (found, expected) in rates.into_iter().zip([0.1, 0.1, 0.02, 0.004, 0.000_8, 0.000_8]) {
                assert!((found - expected).abs() < 1e-12, "{rates:?}");
            }
            assert_eq!(
                (config.optimizer.momentum, config.optimizer.nesterov, config.optimizer.l2),
                (0.9, true, 5e-4)
            );
            assert_eq!((config.method.name.as_str(), config.method.sparsity), ("rigl", 0.9));
            let updates = recipe.updates.schedule();
            assert_eq!((updates.interval, updates.begin, updates.end), (100, 0, 75_000));
            assert_eq!((updates.drop_fraction, updates.decay), (0.3, Decay::Cosine));
            assert_eq!(config.method.distribution, Distribution::Erk);
        }
    }
}
