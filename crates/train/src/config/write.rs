//! The resolved file: every key with its meaning, such that reading it gives the same configuration.

use toml_edit::{Key as TomlKey, Value};

use super::layer::LAYERS;
use super::{Config, TABLES, doc_text, keys};

/// Comments are wrapped to this width.
const WIDTH: usize = 100;

impl Config {
    /// The whole configuration as TOML: every key, under a comment that says what it means and what it takes.
    /// The recipe stands unscaled beside its `multiplier`. [`Config::from_text`] of it is equal to `self`.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let mut current = "";
        let mut layers = String::new();
        for key in keys() {
            let Some(value) = (key.get)(self) else { continue };
            let (table, name) = key.parts();
            if table != current {
                out.push_str(&std::mem::take(&mut layers));
                let doc = TABLES.iter().find(|t| t.name == table).map_or(String::new(), |t| doc_text(t.doc));
                out.push('\n');
                comment(&mut out, &doc);
                out.push_str(&format!("[{table}]\n"));
                current = table;
            }
            let about = format!("{} Takes {}.", key.doc, key.allowed);
            match value {
                // A table of its own comes after the keys beside it.
                Value::InlineTable(entries) if key.path == LAYERS && !entries.is_empty() => {
                    layers.push('\n');
                    comment(&mut layers, &about);
                    layers.push_str(&format!("[{LAYERS}]\n"));
                    for (glob, sparsity) in entries.iter() {
                        layers.push_str(&format!(
                            "{} = {}\n",
                            TomlKey::new(glob).display_repr(),
                            plain(sparsity)
                        ));
                    }
                }
                value => {
                    comment(&mut out, &about);
                    out.push_str(&format!("{name} = {}\n", plain(&value)));
                }
            }
        }
        out + &layers
    }
}

/// A value without the spaces that surround it in its list or table.
fn plain(value: &Value) -> String {
    value.to_string().trim().to_string()
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = "#".into();
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{
        Base, Compute, Decay, Distribution, DropScore, Filter, GrowScore, Known, Layers, Limit, MAX_SEED,
        Override, Sources, StepPolicy, Unit, UpdateEnd,
    };

    fn named<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
        proptest::sample::select(all)
    }

    prop_compose! {
        fn top_and_model()(
            preset in proptest::sample::select(&["", "quickstart", "mnist-lenet"][..]),
            multiplier in 1e-9..1e6, compute in named(Compute::ALL), model in ".*",
            hidden in prop::collection::vec(1..5000usize, 0..4), smoothing in 0.0..1.0f64,
        )(config in Just(Config::default()), preset in Just(preset), multiplier in Just(multiplier),
          compute in Just(compute), model in Just(model), hidden in Just(hidden), smoothing in Just(smoothing)) -> Config {
            let mut config = config;
            config.preset = preset.into();
            config.multiplier = multiplier;
            config.compute = compute;
            config.model.name = model;
            config.model.hidden = hidden;
            config.model.label_smoothing = smoothing;
            config
        }
    }

    prop_compose! {
        fn method()(
            name in proptest::sample::select(&["rigl", "set", "static", "dense"][..]), sparsity in 0.0..1.0f64,
            distribution in named(Distribution::ALL), fraction in 0.0..=1.0f64, interval in 1..100_000u64,
            begin in 0..1000u64, end in prop::option::of(1000..1_000_000u64), decay in named(Decay::ALL),
            drop in named(DropScore::ALL), grow in named(GrowScore::ALL),
        )(
            policy in named(StepPolicy::ALL), sparsity in Just(sparsity),
            layers in prop::collection::btree_map("[a-zé.\"\\\\ *]{0,8}", 0.0..1.0f64, 0..4),
            globs in prop::option::of(prop::collection::vec("[a-z.*]{1,8}", 0..3)),
            (name, distribution, fraction, interval, begin, end, decay, drop, grow)
                in Just((name, distribution, fraction, interval, begin, end, decay, drop, grow)),
        ) -> crate::config::Method {
            crate::config::Method {
                name: name.into(),
                sparsity,
                distribution,
                drop_fraction: fraction,
                update_interval: interval,
                update_begin: begin,
                update_end: end.map_or(UpdateEnd::Auto, UpdateEnd::Step),
                decay,
                drop,
                grow,
                step_policy: policy,
                filter: globs.map_or(Filter::All, Filter::Globs),
                layers: Layers(layers.into_iter().filter(|(glob, _)| globset::Glob::new(glob).is_ok()).collect()),
                ..Default::default()
            }
        }
    }

    prop_compose! {
        fn configuration()(
            top in top_and_model(), method in method(),
            (batch, parts) in (1..100usize, 1..10usize), limit in prop::option::of(1..100_000usize),
            momentum in 0.001..1.0f64, nesterov: bool, l2 in 0.0..1e300f64,
            milestones in prop::collection::btree_set(1..1000u32, 0..5), steps: bool,
            seeds in (0..=MAX_SEED, 0..=MAX_SEED, 0..=MAX_SEED), rate in 1e-300..1e3f64,
            std in prop::collection::vec(1e-9..1e9f64, 1..4), patterns in 0..1000u64,
        ) -> Config {
            let mut config = Config { method, ..top };
            config.data.batch = batch * parts;
            config.data.micro_batches = parts;
            config.data.train_samples = limit.map_or(Limit::All, Limit::First);
            config.data.std = std;
            config.optimizer.momentum = momentum;
            config.optimizer.nesterov = nesterov;
            config.optimizer.l2 = l2;
            config.schedule.unit = if steps { Unit::Steps } else { Unit::Epochs };
            config.schedule.learning_rate = rate;
            config.schedule.divide_by = milestones.iter().map(|&m| 1.0 + f64::from(m) / 7.0).collect();
            config.schedule.milestones = milestones.into_iter().map(|m| f64::from(m) / 3.0).collect();
            (config.seeds.init, config.seeds.topology, config.seeds.data) = seeds;
            config.log.patterns = patterns;
            config
        }
    }

    proptest! {
        #[test]
        fn the_printed_file_reads_as_the_same_configuration(config in configuration()) {
            config.check().unwrap();
            let text = config.to_toml();
            let again = Config::from_text("config.toml", &text, &Known::default()).unwrap();
            prop_assert_eq!(&again, &config);
            prop_assert_eq!(again.to_toml(), text);
        }

        #[test]
        fn each_printed_value_can_be_given_on_the_command_line(config in configuration()) {
            let overrides: Vec<Override> = keys().iter().filter(|key| key.path != "preset").filter_map(|key| {
                let value = config.get(&key.path)?;
                Some(Override { origin: "--set".into(), key: key.path.clone(), value })
            }).collect();
            let again = Config::resolve(&Sources { base: Base::Default, overrides: &overrides }, &Known::default());
            prop_assert_eq!(again.unwrap(), Config { preset: String::new(), ..config });
        }
    }

    #[test]
    fn every_key_is_printed_with_its_meaning() {
        let text = Config::default().to_toml();
        for key in keys().iter().filter(|key| key.default.is_some()) {
            let line = format!("{} = {}", key.parts().1, key.default.as_ref().unwrap());
            let at = text.lines().position(|l| l == line).unwrap_or_else(|| panic!("no line `{line}`"));
            assert!(text.lines().nth(at - 1).unwrap().starts_with("# "), "{line}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH || !line.starts_with('#')));
    }
}
