//! Every method on a small convolutional network: the budget it promises, and the same bits for any number of threads,
//! in sparse and in masked arithmetic, in one go or stopped and resumed after every batch.

mod support;

use std::collections::BTreeMap;

use rigl_metrics::Summary;
use rigl_metrics::event::Update;
use rigl_topology::Method;
use rigl_train::Registry;

use support::{NEVER, config, machine, prepared, registry, run};

/// Every row, and what rows can be combined with.
fn methods() -> Vec<String> {
    let mut methods: Vec<String> = Method::ALL.iter().map(|row| format!("name = '{}'", row.name)).collect();
    methods.extend(
        [
            "name = 'snfs'\ncount.by = 'momentum'",
            "name = 'rigl'\ncount.by = 'survivors'",
            "name = 'rigl'\nupdates.step-policy = 'after'",
            "name = 'dsr'\ngrow = 'gradient'\ndrop.threshold = 0.05",
            "name = 'deepr'\ndrop.pull = 0.1",
            "name = 'pruning'\ngrow = 'gradient'",
            "name = 'pruning'\ngrow = 'momentum'",
            "name = 'pruning'\nstart = 'random'\ncount.initial-sparsity = 0.5",
            "name = 'pruning'\nstart = 'saliency'\ncount.initial-sparsity = 0.4\ngrow = 'gradient'",
            "name = 'pruning'\nupdates.step-policy = 'replace'",
            "name = 'pruning'\nupdates.every-step = true",
            "name = 'rigl'\nupdates.every-step = true",
            "name = 'set'\ngrow.init = 'gradient'",
            "name = 'rigl'\ngrow.init = 'redraw'",
            "name = 'rigl'\ngrow.init = 'normal'",
            "name = 'rigl'\ngrow.init = 'uniform'",
            "name = 'as-rigl'",
            "name = 'own'",
            "name = 'own'\ngrow.init = 'gradient'",
            "name = 'pruning'\ngrow = 'own'\ngrow.score = 'descent'",
        ]
        .map(String::from),
    );
    methods
}

#[test]
fn threads_arithmetic_and_interruptions_change_no_bit() {
    for method in methods() {
        let whole = run(&method, "auto", 1, NEVER);
        assert!(run(&method, "auto", 3, NEVER) == whole, "three threads: {method}");
        for compute in ["sparse", "masked"] {
            let (summary, updates) = run(&method, compute, 2, NEVER);
            assert_eq!(summary.weights_crc32c, whole.0.weights_crc32c, "{compute}: {method}");
            assert!(updates == whole.1, "{compute}: {method}");
        }
        // The first checkpoint is that before step one, and an interrupted run writes one more.
        for checkpoints in [1, 2, 5] {
            let (summary, updates) = run(&method, "auto", 1, checkpoints);
            assert_eq!(summary, whole.0, "stopped every {checkpoints}: {method}");
            assert!(updates == whole.1, "stopped every {checkpoints}: {method}");
        }
    }
}

#[test]
fn budgets_are_kept_where_they_are_promised() {
    let expected: BTreeMap<String, usize> = {
        let prepared = prepared(config("name = 'static'", "auto"), 1);
        let (parameters, layers) = (prepared.design().graph().parameters(), prepared.design().layers());
        layers.iter().map(|layer| (parameters[layer.parameter].name.clone(), layer.end)).collect()
    };
    let total: u64 = expected.values().map(|&n| n as u64).sum();
    for method in methods() {
        let (summary, updates) = run(&method, "auto", 1, NEVER);
        let sum = |update: &Update| update.parameters.iter().map(|p| p.active).sum::<u64>();
        let moves = method.contains("count.by") || method.contains("dsr");
        let decays = method.contains("pruning");
        let active: BTreeMap<String, usize> = summary
            .layers
            .iter()
            .filter(|layer| expected.contains_key(&layer.name))
            .map(|layer| (layer.name.clone(), layer.active as usize))
            .collect();
        match method.as_str() {
            "name = 'dense'" => assert_eq!(summary.active, summary.weights),
            "name = 'small-dense'" => {
                let sparse = run("name = 'static'", "auto", 1, NEVER).0;
                assert_eq!(summary.active, summary.weights);
                // One channel more or less is a tenth.
                let ratio = summary.active as f64 / sparse.active as f64;
                assert!((0.8..1.25).contains(&ratio), "{ratio}");
                assert_eq!(summary.inference.dense, sparse.inference.dense);
            }
            _ if moves => assert_eq!(active.values().sum::<usize>() as u64, total, "{method}"),
            _ => assert_eq!(active, expected, "{method}"),
        }
        if decays {
            assert!(updates.is_sorted_by(|a, b| sum(a) >= sum(b)), "{method}");
            assert_eq!(updates.last().map(sum), Some(total));
        } else {
            assert!(updates.iter().all(|update| sum(update) == total), "{method}");
        }
        let updating = !["dense", "static", "snip"].iter().any(|name| method.contains(name));
        assert_eq!(!updates.is_empty(), updating, "{method}");
        if updating {
            let dropped: u64 = updates.iter().flat_map(|u| &u.parameters).map(|p| p.dropped).sum();
            assert!(dropped > 0 || method == "name = 'deepr'", "{method}");
        }
    }
}

#[test]
fn a_summary_counts_the_operations_that_the_schedule_foretells() {
    for method in methods() {
        let (summary, _) = run(&method, "auto", 1, NEVER);
        let prepared = prepared(config(&method, "auto"), 1);
        let planned = prepared.design().training().unwrap();
        assert_eq!(summary.draws, planned.batches, "{method}");
        // Some move weights between layers.
        let moves = method.contains("dsr") || method.contains("count.by");
        let tolerance = if moves { 0.2 } else { 1e-12 };
        let error = (summary.training.flops - planned.mean).abs() / planned.mean;
        assert!(error <= tolerance, "{method}: {} {}", summary.training.flops, planned.mean);
    }
}

#[test]
fn planned_memory_holds_the_dense_gradients_of_all_layers_where_batches_have_parts() {
    let prepared = |method: &str, parts| {
        let mut config = config(&format!("name = '{method}'"), "auto");
        config.data.micro_batches = parts;
        prepared(config, 1)
    };
    let bytes = |method, parts| prepared(method, parts).design().memory(&machine(1)).unwrap().bytes();
    let rigl = prepared("rigl", 1);
    let (parameters, layers) = (rigl.design().graph().parameters(), rigl.design().layers());
    let sparse = || layers.iter().map(|layer| &parameters[layer.parameter]);
    let all: usize = sparse().map(|p| p.len()).sum();
    // In parts the activations are those of a part; one gradient at a time is scored, or all are kept.
    let largest = sparse().filter(|p| p.shape.len() == 4).map(|p| p.len()).max().unwrap();
    let activations = bytes("static", 1) - bytes("static", 2);
    let found = bytes("rigl", 2) + activations - bytes("rigl", 1);
    assert!((4 * (all - largest) as u64 - 4 * all as u64 / 10..=4 * all as u64).contains(&found), "{found}");
}

#[test]
fn scores_of_ones_own_that_are_rigls_do_what_rigl_does() {
    for parts in ["", "\nupdates.interval = 2"] {
        let [rigl, own] = ["rigl", "as-rigl"]
            .map(|name| run(&format!("name = '{name}'{parts}"), "auto", 1, NEVER))
            .map(|(summary, updates)| (Summary { method: String::new(), ..summary }, updates));
        assert!(rigl == own, "{parts}");
        assert!(rigl.1.iter().flat_map(|update| &update.parameters).any(|p| p.grown > p.regrown));
    }
    let other = run("name = 'own'", "auto", 1, NEVER).0;
    assert_ne!(
        other.weights_crc32c,
        run("name = 'rigl'\nupdates.step-policy = 'after'", "auto", 1, NEVER).0.weights_crc32c
    );
}

#[test]
fn scores_that_no_method_has_brought_are_refused() {
    let refused = |registry: &Registry, settings: &[&str]| {
        registry.config("quickstart", settings).unwrap_err().to_string()
    };
    let mine = registry();
    let error = refused(&mine, &["method.drop.kind=own", "method.drop.score=sise"]);
    assert_eq!(
        error,
        "`setting`: method `rigl` has `drop.score` = `sise`, a score of a program's own, known are `size`, `steepness`, \
         `weight-and-velocity`, `descent`"
    );
    let error = refused(&Registry::default(), &["method.grow.kind=own", "method.grow.score=size"]);
    assert_eq!(
        error,
        "`setting`: method `rigl` has `grow.score` = `size`, a score of a program's own, of which this program has none"
    );
    let error = refused(&mine, &["method.grow.score=size"]);
    assert!(
        error.contains("`method.grow.score` does nothing where `method.grow.kind` is `gradient`"),
        "{error}"
    );
}
