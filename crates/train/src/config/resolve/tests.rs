//! Sources put together.

use rigl_topology::{Distribution, LayerFilter, StepPolicy};

use super::*;
use crate::config::{DropKind, GrowKind, Limit, UpdateEnd};

fn file(text: &str) -> Result<Config> {
    Config::from_text("my.toml", text, &Known::default())
}

fn command_line(base: Base, settings: &[&str]) -> Result<Config> {
    let overrides: Vec<_> = settings.iter().map(|text| Override::parse("--set", text).unwrap()).collect();
    Config::resolve(&Sources { base, overrides: &overrides }, &Known::default())
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(file("").unwrap(), Config::default());
}

#[test]
fn later_sources_win() {
    let text = "preset = 'mnist-lenet'\n[schedule]\nlearning-rate = 0.05\n[data]\nbatch = 50";
    let config = command_line(Base::File { name: "my.toml", text }, &["data.batch=25"]).unwrap();
    assert_eq!(config.preset, "mnist-lenet");
    assert_eq!(config.schedule.length, 200.0, "from the preset");
    assert_eq!(config.schedule.learning_rate, 0.05, "from the file");
    assert_eq!(config.data.batch, 25, "from the command line");
    assert_eq!(config.checkpoint.keep, 2, "from the defaults");
}

#[test]
fn a_seed_sets_all_seeds_and_single_ones_override_it_in_any_order() {
    let config = file("seeds.data = 1\nseed = 7").unwrap();
    assert_eq!((config.seeds.init, config.seeds.topology, config.seeds.data), (7, 7, 1));
    let config = command_line(Base::Default, &["seeds.init=2", "seed=3"]).unwrap();
    assert_eq!((config.seeds.init, config.seeds.topology, config.seeds.data), (2, 3, 3));
}

#[test]
fn a_methods_name_sets_its_columns_and_columns_of_the_same_source_override_it() {
    let config = file("[method]\ngrow = 'gradient'\nname = 'set'").unwrap();
    assert_eq!(config.method.grow.kind, GrowKind::Gradient);
    assert_eq!(config.method.updates.step_policy, StepPolicy::After);
    let config = command_line(Base::Default, &["method.grow=gradient", "method.name=set"]).unwrap();
    assert_eq!((config.method.drop.kind, config.method.grow.kind), (DropKind::Magnitude, GrowKind::Gradient));
}

#[test]
fn a_methods_name_in_a_later_source_resets_its_columns_but_not_the_rest() {
    let text = "[method]\nname = 'set'\ngrow = 'gradient'\nsparsity = 0.5\nfilter = 'all'";
    let config = command_line(Base::File { name: "my.toml", text }, &["method.name=set"]).unwrap();
    assert_eq!(config.method.grow.kind, GrowKind::Random);
    assert_eq!(config.method.sparsity, 0.5);
    assert_eq!(config.method.filter, LayerFilter::All);
}

#[test]
fn layers_of_a_file_replace_and_single_ones_of_the_command_line_go_first() {
    let text = "preset = 'mnist-lenet'\n[method.layers]\n'fc*' = 0.5\nfc3 = 0.25";
    let base = Base::File { name: "my.toml", text };
    let layers = |settings: &[&str]| command_line(base, settings).unwrap().method.layers.0;
    let entry = |glob: &str, sparsity| (glob.to_string(), sparsity);
    assert_eq!(layers(&[]), [entry("fc*", 0.5), entry("fc3", 0.25)]);
    assert_eq!(layers(&["method.layers.fc3=.75"]), [entry("fc3", 0.75), entry("fc*", 0.5)]);
    assert_eq!(
        layers(&["method.layers.layer1.0.conv1=0", "method.layers.\"a b\"=1e-1"])[..2],
        [entry("a b", 0.1), entry("layer1.0.conv1", 0.0)]
    );
    assert_eq!(layers(&["method.layers={}"]), []);
    assert_eq!(layers(&["method.layers={x=0.1}", "method.layers.y=0.2"]), [entry("y", 0.2), entry("x", 0.1)]);
}

#[test]
fn the_command_line_needs_no_quotes_and_takes_numbers_as_people_write_them() {
    let settings =
        ["method.sparsity=.95", "method.distribution=uniform", "data.name=123", "data.train-samples=all"];
    let config = command_line(Base::Default, &settings).unwrap();
    assert_eq!(config.method.sparsity, 0.95);
    assert_eq!(config.method.distribution, Distribution::Uniform);
    assert_eq!(config.data.name, "123");
    let settings = ["method.update-end=5000", "data.test-samples = 10", "schedule.milestones=[5, 10.5]"];
    let config = command_line(Base::Preset("quickstart"), &settings).unwrap();
    assert_eq!(config.method.updates.end, UpdateEnd::Step(5000));
    assert_eq!(config.data.test_samples, Limit::First(10));
    assert_eq!(config.schedule.milestones, [5.0, 10.5]);
}

#[test]
fn a_factor_scales_what_the_sources_before_it_say() {
    let multiplier = |text: &str, settings: &[&str], factor: &str| {
        let overrides = settings.iter().map(|text| Override::parse("--set", text).unwrap());
        let factor = Override::factor("--multiplier", "multiplier", factor);
        let overrides: Vec<_> = overrides.chain([factor]).collect();
        let base = Base::File { name: "my.toml", text };
        let config = Config::resolve(&Sources { base, overrides: &overrides }, &Known::default());
        config.map(|config| config.multiplier).map_err(|error| error.to_string())
    };
    assert_eq!(multiplier("", &[], "0.1"), Ok(0.1));
    assert_eq!(multiplier("multiplier = 0.02", &[], "2"), Ok(0.04));
    assert_eq!(multiplier("multiplier = 0.02", &["multiplier=3"], "2"), Ok(6.0));
    let allowed = "expected a number with 0 < multiplier ≤ 1000000";
    for bad in ["0", "-1", "1e7", "x"] {
        let message = format!("`--multiplier`: `multiplier` is `{bad}`, {allowed}");
        assert_eq!(multiplier("", &[], bad), Err(message));
    }
}

#[test]
fn a_renamed_key_stays_readable() {
    let old = |old, new| Renamed { old, new, read: super::super::renamed::Reads::Same };
    let renames =
        &[old("training.lr", "schedule.learning-rate"), old("method.alpha", "method.updates.drop-fraction")];
    let resolve = |text| {
        let base = Base::File { name: "my.toml", text };
        let sources = Sources { base, overrides: &[] };
        resolve_with(&sources, None, &Known::default(), renames).map(|(config, _)| config)
    };
    let config = resolve("[training]\nlr = 0.5\n[method]\nalpha = 0.25").unwrap();
    assert_eq!((config.schedule.learning_rate, config.method.updates.drop_fraction), (0.5, 0.25));
    let twice = resolve("[method]\nalpha = 0.25\nupdates.drop-fraction = 0.5").unwrap_err();
    assert_eq!(
        twice.to_string(),
        "`my.toml` line 3: `method.updates.drop-fraction` is set already, as `method.alpha` at `my.toml` line 2"
    );
    let overrides = [Override::parse("--set", "training.lr=0.5").unwrap()];
    let sources = Sources { base: Base::Default, overrides: &overrides };
    assert_eq!(
        resolve_with(&sources, None, &Known::default(), renames).unwrap().0.schedule.learning_rate,
        0.5
    );
}
