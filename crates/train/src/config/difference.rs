//! In what two configurations differ, as far as results may depend on it.

use super::{Config, Key, keys};

/// A key that two configurations give different values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// The key's full name.
    pub key: String,
    /// Its value in the one, as TOML.
    pub here: String,
    /// Its value in the other.
    pub there: String,
}

impl Key {
    /// Whether what a run comes to may depend on the key: it does not on where its configuration began, where its data
    /// lie, nor on what is saved and recorded.
    pub fn decides_results(&self) -> bool {
        !["preset", "data.dir"].contains(&self.path.as_str())
            && !["checkpoint", "log"].contains(&self.parts().0)
    }
}

impl Config {
    /// Whether what this run comes to may depend on the key: where it may end early, on when it is evaluated too.
    pub fn depends_on(&self, key: &Key) -> bool {
        key.decides_results() || (key.path == "log.evaluate-every" && self.patience().is_some())
    }

    /// The first key on which results may depend that differs; `None` if both describe the same run.
    pub fn difference(&self, other: &Config) -> Option<Difference> {
        let decides = |key: &&Key| self.depends_on(key) || other.depends_on(key);
        let fixed = keys().iter().filter(decides).find_map(|key| {
            let text = |config| key.value(config).map_or_else(String::new, |value| value.to_string());
            let (here, there) = (text(self), text(other));
            (here != there).then(|| Difference { key: key.path.clone(), here, there })
        });
        fixed.or_else(|| {
            let option = self.model.difference(&other.model);
            option.map(|(key, here, there)| Difference { key, here, there })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saving_logging_and_the_preset_make_no_difference_and_all_else_does() {
        let one = Config::default();
        let mut other = one.clone();
        other.preset = "quickstart".into();
        other.data.dir = "/data".into();
        other.checkpoint.keep = 7;
        other.log.patterns = 3;
        assert_eq!(one.difference(&other), None);
        other.seeds.data = 4;
        other.method.sparsity = 0.5;
        let found = one.difference(&other).unwrap();
        assert_eq!(
            found,
            Difference { key: "method.sparsity".into(), here: "0.9".into(), there: "0.5".into() }
        );
        let ends_early = |every| {
            let mut config = Config::default();
            (config.data.validation, config.schedule.patience, config.log.evaluate_every) = (0.2, 3, every);
            config
        };
        let found = ends_early(1.0).difference(&ends_early(2.0)).unwrap();
        assert_eq!(found.key, "log.evaluate-every", "of a run that may end early");
        assert!(keys().iter().filter(|key| !key.decides_results()).count() < keys().len() / 4);
    }
}
