//! Configurations as they were printed before `[method]` had tables: whatever is in them reads as it did, and prints as
//! what it means now.

use std::path::Path;

use rigl_topology::{
    DropRule, Dynamics, GrowRule, GrownInit, Method, NarrowTo, Noise, Redistribution, Start, StepPolicy,
    Topology, UpdateRule,
};
use rigl_train::Config;
use rigl_train::config::{Base, CountKind, Known, Override, Sources, StartKind, StartValues, UpdateEnd};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configurations")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap()
}

fn read(name: &str) -> Config {
    Config::from_text(name, &text(name), &Known::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn topology(name: &str) -> Topology {
    read(name).method_row(Method::ALL).unwrap().topology
}

#[test]
fn every_old_configuration_means_what_it_meant() {
    let replace = |drop, grow| Dynamics::new(UpdateRule::replace(drop, grow));
    let redraw = GrowRule::Gradient { init: GrownInit::Redraw };
    let by_momentum = UpdateRule::Replace {
        drop: DropRule::Magnitude,
        grow: GrowRule::Momentum { average: 0.5, init: GrownInit::Zeros },
        redistribution: Some(Redistribution::Momentum),
    };
    let below = UpdateRule::Replace {
        drop: DropRule::Threshold { start: 0.05 },
        grow: GrowRule::RANDOM,
        redistribution: Some(Redistribution::Survivors),
    };
    let noise = Some(Noise { pull: 0.1, temperature: Some(0.5) });
    let crossed =
        |noise| Dynamics { every_step: true, ..replace(DropRule::SignChange { noise }, GrowRule::RANDOM) };
    let pruned = |grow| Dynamics::new(UpdateRule::Prune { initial_sparsity: 0.0, grow });
    let instead = |drop, grow| Dynamics { step_policy: StepPolicy::Replace, ..replace(drop, grow) };
    let expected = [
        ("first", Topology::Static(Start::Random)),
        ("static", Topology::Static(Start::Random)),
        ("rigl", Topology::dynamic(instead(DropRule::Magnitude, redraw))),
        ("dense", Topology::Dense),
        ("dense-from", Topology::Dense),
        ("small-dense", Topology::Narrow(NarrowTo::Bytes)),
        ("snip", Topology::Static(Start::Saliency)),
        ("snfs", Topology::dynamic(Dynamics::new(by_momentum))),
        ("pruning", Topology::dynamic(pruned(Some(GrowRule::GRADIENT)))),
        ("pruning-ticket", Topology::Dynamic(Start::Given, pruned(None))),
        ("deepr", Topology::dynamic(crossed(noise))),
        ("crossing", Topology::dynamic(crossed(None))),
        ("dsr", Topology::dynamic(Dynamics::new(below))),
        ("dnw", Method::DNW.topology),
        ("ticket", Topology::Dynamic(Start::Given, instead(DropRule::Magnitude, GrowRule::GRADIENT))),
    ];
    for (name, expected) in expected {
        assert_eq!(topology(name), expected, "{name}");
    }
    assert_eq!(std::fs::read_dir(folder()).unwrap().count(), expected.len());
}

#[test]
fn what_an_old_configuration_says_beside_is_kept_where_it_is_read() {
    let updates = |name: &str| read(name).method.updates;
    assert_eq!((updates("rigl").decay, updates("rigl").drop_fraction), (rigl_topology::Decay::Linear, 0.3));
    let pruning = updates("pruning");
    assert_eq!((pruning.begin, pruning.end, pruning.interval), (Some(1), UpdateEnd::Step(3), 1));
    // Nothing of this was ever read by a method that never updates.
    let plain = Config::default().with_method(&Method::STATIC).method.updates;
    assert_eq!(
        (updates("static"), updates("first"), updates("dense")),
        (plain.clone(), plain.clone(), plain)
    );
    for name in ["ticket", "pruning-ticket", "dense-from"] {
        let start = read(name).method.start;
        let kind = if name == "dense-from" { StartKind::Full } else { StartKind::From };
        assert_eq!((start.kind, start.values), (kind, StartValues::Trained), "{name}");
        assert!(["dense", "static"].contains(&start.run.as_str()), "{name}");
    }
    assert_eq!(read("dsr").method.count.kind, CountKind::Redistributed);
}

#[test]
fn an_old_configuration_is_printed_as_one_that_is_equal() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let config = read(&name);
        let printed = config.to_toml();
        assert!(!printed.contains("update-interval") && !printed.contains("\ninitial ="), "{name}");
        assert_eq!(Config::from_text(&name, &printed, &Known::default()).unwrap(), config, "{name}");
    }
}

#[test]
fn flags_win_over_an_old_configuration_as_they_did() {
    let text = text("ticket");
    let base = Base::File { name: "config.toml", text: &text };
    let with = |settings: &[&str]| {
        let settings: Vec<_> = settings.iter().map(|text| Override::parse("--set", text).unwrap()).collect();
        Config::resolve(&Sources { base, overrides: &settings }, &Known::default()).unwrap()
    };
    let config = with(&["method.name=set", "method.drop-fraction=0.5", "method.start-values=redrawn"]);
    assert_eq!(config.method.updates.drop_fraction, 0.5);
    let start = config.method.start;
    assert_eq!(
        (start.kind, start.run.as_str(), start.values),
        (StartKind::From, "dense", StartValues::Redrawn)
    );
    assert_eq!(with(&["method.initial=random"]).method.start.kind, StartKind::Random);
}
