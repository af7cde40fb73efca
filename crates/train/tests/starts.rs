//! Runs that start from another run, on a small convolutional network.

mod support;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rigl_base::files;
use rigl_formats::Store;
use rigl_graph::initial::InitialValues;
use rigl_metrics::RunFolder;
use rigl_train::{Config, Design, Prepared, Silent, SparseLayer, train};

use support::{NEVER, config, machine, prepared, registry, run, run_in, seeds};

/// Trains a network of this seed to its end.
fn finished(folder: &Path, method: &str, seed: u64) {
    run_in(folder, Config { seeds: seeds(seed), ..config(method, "auto") }, 1, NEVER);
}

/// Settings of a run that starts from another.
fn from(method: &str, run: &Path, values: &str) -> String {
    format!("name = '{method}'\nstart.run = '{}'\nstart.values = '{values}'", run.display())
}

/// The same, prepared with this seed.
fn started(method: &str, run: &Path, values: &str, seed: u64) -> Prepared {
    prepared(Config { seeds: seeds(seed), ..config(&from(method, run, values), "auto") }, 1)
}

/// A run that was stopped before its first step.
fn begun(folder: &Path, prepared: Prepared) {
    let run = RunFolder::create_at(folder).unwrap();
    files::write_atomic(&run.config(), prepared.design().settings().config().to_toml().as_bytes()).unwrap();
    train(prepared, &run, &mut Silent, &AtomicBool::new(true)).unwrap();
}

/// A tensor of a run's last checkpoint.
fn tensor(run: &Path, key: &str) -> (Option<Vec<u32>>, Vec<f32>) {
    let latest = Store::new(run.join("checkpoints")).latest().unwrap();
    let tensor = latest.checkpoint().state.iter().find(|t| t.key() == key).unwrap();
    (tensor.indices.clone().map(|i| i.to_vec()), tensor.values.as_f32().unwrap().to_vec())
}

/// A tensor at the beginning of a run.
fn first(prepared: Prepared, key: &str) -> (Option<Vec<u32>>, Vec<f32>) {
    let folder = tempfile::tempdir().unwrap();
    begun(&folder.path().join("run"), prepared);
    tensor(&folder.path().join("run"), key)
}

/// The initial values of `fc1.weight` at these positions.
fn initial(seed: u64, at: &[u32]) -> Vec<f32> {
    let prepared = prepared(config("name = 'dense'", "auto"), 1);
    let graph = prepared.design().graph();
    let initial = InitialValues::new(graph.parameter(graph.find_parameter("fc1.weight").unwrap()), seed);
    at.iter().map(|&i| initial.at(i as usize)).collect()
}

/// Why a run with this configuration cannot begin.
fn refusal(config: Config) -> String {
    Prepared::new(config, &registry(), &machine(1)).err().unwrap().to_string()
}

fn layer(design: &Design, name: &str) -> SparseLayer {
    let parameter = design.graph().find_parameter(name).unwrap().index();
    *design.layers().iter().find(|layer| layer.parameter == parameter).unwrap()
}

const FC1: &str = "parameter/fc1.weight";

#[test]
fn a_lottery_ticket_has_the_mask_of_the_trained_network_and_its_initial_values() {
    let folder = tempfile::tempdir().unwrap();
    let dense = folder.path().join("dense");
    finished(&dense, "name = 'dense'", 7);
    let (_, trained) = tensor(&dense, FC1);
    let ticket = started("static", &dense, "initial", 8);
    let count = layer(ticket.design(), "fc1.weight").end;
    let mut order: Vec<u32> = (0..trained.len() as u32).collect();
    order.sort_by(|&a, &b| trained[b as usize].abs().total_cmp(&trained[a as usize].abs()));
    order.truncate(count);
    order.sort_unstable();
    let indices = Some(order.clone());
    assert_eq!(first(ticket, FC1), (indices.clone(), initial(7, &order)));
    let redrawn = started("static", &dense, "redrawn", 8);
    assert_eq!(first(redrawn, FC1), (indices.clone(), initial(8, &order)));
    let kept: Vec<f32> = order.iter().map(|&i| trained[i as usize]).collect();
    assert_eq!(first(started("static", &dense, "trained", 8), FC1), (indices, kept));
}

#[test]
fn a_ticket_of_a_ticket_has_the_values_that_the_first_run_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let [dense, one, trained] = ["dense", "one", "trained"].map(|name| folder.path().join(name));
    finished(&dense, "name = 'dense'", 1);
    finished(&one, &from("static", &dense, "initial"), 2);
    let two = started("static", &one, "initial", 3);
    let (indices, values) = first(two, FC1);
    assert_eq!(values, initial(1, &indices.unwrap()));

    finished(&trained, &from("static", &dense, "trained"), 2);
    let error = refusal(config(&from("static", &trained, "initial"), "auto"));
    assert!(error.contains("began with trained ones"), "{error}");
}

#[test]
fn a_run_from_a_sparse_one_takes_its_patterns_and_goes_on_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let origin = folder.path().join("origin");
    finished(&origin, "name = 'static'\nlayers = { fc1 = 0.5 }", 3);
    let text = from("rigl", &origin, "trained");
    let (whole, _) = run(&text, "auto", 1, NEVER);
    let fc1 = whole.layers.iter().find(|layer| layer.name == "fc1.weight").unwrap();
    assert_eq!(fc1.active, fc1.weights / 2, "as in the run it started from");
    assert_eq!(run(&text, "auto", 2, 2).0, whole);
}

#[test]
fn pruning_goes_on_from_what_a_run_has_to_what_the_sparsity_says() {
    let folder = tempfile::tempdir().unwrap();
    let (dense, half) = (folder.path().join("dense"), folder.path().join("half"));
    finished(&dense, "name = 'dense'", 4);
    finished(&half, "name = 'static'\nlayers = { fc1 = 0.5 }", 4);
    let goal = run("name = 'static'", "auto", 1, NEVER).0.active;
    for (origin, share) in [(&dense, 1.0), (&half, 0.5)] {
        let text = from("pruning", origin, "trained");
        let (indices, _) = first(prepared(config(&text, "auto"), 1), FC1);
        assert_eq!(indices.unwrap().len(), (share * 32.0 * 32.0) as usize, "all that was there");
        let (whole, updates) = run(&text, "auto", 1, NEVER);
        assert_eq!(whole.active, goal);
        assert!(updates.iter().filter(|update| update.parameters.iter().any(|p| p.dropped > 0)).count() > 1);
        assert_eq!(run(&text, "auto", 1, 2).0, whole, "resumed");
    }
}

#[test]
fn values_that_a_method_keeps_are_those_of_the_run_it_starts_from() {
    let folder = tempfile::tempdir().unwrap();
    let dense = folder.path().join("dense");
    finished(&dense, "name = 'dense'", 5);
    const KEPT: &str = "method/kept/fc1.weight";
    let (_, trained) = tensor(&dense, FC1);
    assert_eq!(first(started("dnw", &dense, "trained", 6), KEPT), (None, trained));
    let ticket = started("dnw", &dense, "initial", 6);
    let all: Vec<u32> = (0..32 * 32).collect();
    assert_eq!(first(ticket, KEPT), (None, initial(5, &all)));
}

#[test]
fn a_start_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |from: &Path| {
        let text = format!("name = 'static'\nstart.run = '{}'", from.display());
        self::refusal(config(&text, "auto"))
    };
    let absent = refusal(&folder.path().join("absent"));
    assert!(absent.starts_with("`method.start.run` = `"), "{absent}");
    // Another network.
    let other = folder.path().join("other");
    let mut config = config("name = 'dense'", "auto");
    config.model.options.set("width", 0.5);
    run_in(&other, config, 1, NEVER);
    let shapes = refusal(&other);
    assert!(
        shapes.contains("parameter `conv1.weight` has shape [8, 2, 3, 3] there, expected [16, 2, 3, 3]"),
        "{shapes}"
    );
    // One that is not finished.
    let unfinished = folder.path().join("unfinished");
    begun(&unfinished, prepared(self::config("name = 'dense'", "auto"), 1));
    let unfinished = refusal(&unfinished);
    assert!(unfinished.contains("not finished"), "{unfinished}");
}
