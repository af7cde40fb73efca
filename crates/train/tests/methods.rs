//! Every method on a small convolutional network: the budget it promises, and the same bits for any number of threads,
//! in sparse and in masked arithmetic, in one go or stopped and resumed after every batch.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rigl_base::random::{Purpose, Stream};
use rigl_base::{Result, files};
use rigl_data::{InMemory, Sets, Spec};
use rigl_formats::Store;
use rigl_graph::{BatchNorm, Builder, Conv2d, Graph, Linear, ModelSpec};
use rigl_metrics::event::{Event, Update};
use rigl_metrics::{Record, RunFolder, Summary};
use rigl_topology::Method;
use rigl_train::cost::training;
use rigl_train::{Config, Ended, From, MachineOptions, Observer, Prepared, Registry, Silent, train};

fn network(spec: &ModelSpec) -> Result<Graph> {
    let channels = ((16.0 * spec.width.unwrap_or(1.0)).round() as usize).max(1);
    let mut g = Builder::new("small");
    let x = g.input("image", &spec.sample_shape);
    let h = g.conv2d("conv1", x, channels, Conv2d::k3());
    let h = g.batch_norm("bn1", h, BatchNorm::default());
    let h = g.relu(h);
    let h = g.conv2d("conv2", h, 2 * channels, Conv2d::k3().stride(2));
    let h = g.batch_norm("bn2", h, BatchNorm::default());
    let h = g.relu(h);
    let h = g.global_avg_pool(h);
    let h = g.linear("fc1", h, 2 * channels, Linear::default());
    let h = g.relu(h);
    let h = g.linear("fc2", h, spec.classes, Linear::default());
    g.cross_entropy(h, spec.classes, 0.0);
    g.finish()
}

fn registry() -> Registry {
    let mut draws = Stream::new(0, Purpose::Test, 0).draws();
    let samples = 64;
    let images = (0..samples * 2 * 6 * 6).map(|_| draws.word() as u8).collect();
    let labels = (0..samples).map(|_| draws.below(4) as u8).collect();
    let spec = Spec::new("noise", [2, 6, 6], (0..4).map(|class| class.to_string()));
    let noise = Arc::new(InMemory::new(spec, images, labels).unwrap());
    Registry::default()
        .model("small", network)
        .dataset("noise", move |_| Ok(Sets::new(noise.clone(), noise.clone())))
}

const STEPS: u64 = 14;

/// `method` are settings of `[method]`, one a line.
fn config(method: &str, compute: &str) -> Config {
    let text = format!(
        "
        compute = '{compute}'
        model = {{ name = 'small' }}
        data = {{ name = 'noise', batch = 20, micro-batches = 2 }}
        schedule = {{ unit = 'steps', length = {STEPS} }}
        log = {{ every-steps = 1, evaluate-every = 0, tensorboard = false }}
        checkpoint = {{ every-seconds = 0 }}
        [method]
        sparsity = 0.8
        update-interval = 3
        update-end = 12
        {method}
        "
    );
    Config::from_text("a test", &text, &registry().known()).unwrap()
}

fn prepared(config: Config, threads: usize) -> Prepared {
    let machine = MachineOptions { threads, ..MachineOptions::default() };
    let mut prepared = Prepared::new(config, &registry(), &machine).unwrap();
    prepared.read_start(&registry()).unwrap();
    prepared
}

/// Notes updates, and stops the run after some checkpoints.
struct Watch<'a> {
    checkpoints: usize,
    stop: &'a AtomicBool,
    updates: Vec<Update>,
}

impl Observer for Watch<'_> {
    fn event(&mut self, record: &Record) {
        match &record.event {
            Event::Checkpoint(_) => {
                self.checkpoints = self.checkpoints.saturating_sub(1);
                self.stop.store(self.checkpoints == 0, Ordering::Relaxed);
            }
            Event::Update(update) => self.updates.push(update.clone()),
            _ => {}
        }
    }
}

/// Trains in `folder`, stopped after so many checkpoints each time; what came of it, and all its updates.
fn run_in(folder: &Path, config: Config, threads: usize, checkpoints: usize) -> (Summary, Vec<Update>) {
    let prepared = prepared(config, threads);
    let run = RunFolder::create_at(folder).unwrap();
    files::write_atomic(&run.config(), prepared.config.to_toml().as_bytes()).unwrap();
    let stop = AtomicBool::new(false);
    let mut watch = Watch { checkpoints, stop: &stop, updates: Vec::new() };
    let mut from = None;
    loop {
        watch.checkpoints = checkpoints;
        stop.store(false, Ordering::Relaxed);
        let ended = train(&prepared, &run, from, "a test", &mut watch, &stop).unwrap();
        if let Ended::Finished(summary) = ended {
            let summary = Summary { seconds: 0.0, samples_per_s: 0.0, peak_memory_bytes: None, ..*summary };
            return (summary, watch.updates);
        }
        let latest = Store::new(run.checkpoints()).latest().unwrap();
        let file = latest.path.file_name().unwrap().to_string_lossy().into_owned();
        from = Some(From { checkpoint: latest.checkpoint, file, warnings: latest.warnings });
    }
}

fn run(method: &str, compute: &str, threads: usize, checkpoints: usize) -> (Summary, Vec<Update>) {
    let folder = tempfile::tempdir().unwrap();
    run_in(&folder.path().join("run"), config(method, compute), threads, checkpoints)
}

const NEVER: usize = usize::MAX;

/// Every row, and what rows can be combined with.
fn methods() -> Vec<String> {
    let mut methods: Vec<String> = Method::ALL.iter().map(|row| format!("name = '{}'", row.name)).collect();
    methods.extend(
        [
            "name = 'snfs'\nredistribution = 'momentum'",
            "name = 'rigl'\nredistribution = 'survivors'",
            "name = 'rigl'\nstep-policy = 'after'",
            "name = 'dsr'\ngrow = 'gradient'\nthreshold = 0.05",
            "name = 'deepr'\nnoise-pull = 0.1",
            "name = 'pruning'\ngrow = 'gradient'",
            "name = 'set'\ngrown-init = 'gradient'",
            "name = 'rigl'\ngrown-init = 'redraw'",
            "name = 'rigl'\ngrown-init = 'normal'",
            "name = 'rigl'\ngrown-init = 'uniform'",
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
        let design = prepared(config("name = 'static'", "auto"), 1).design;
        let rows = design.graph.parameters().iter().zip(&design.active);
        rows.filter_map(|(p, count)| Some((p.name.clone(), (*count)?))).collect()
    };
    let total: u64 = expected.values().map(|&n| n as u64).sum();
    for method in methods() {
        let (summary, updates) = run(&method, "auto", 1, NEVER);
        let sum = |update: &Update| update.parameters.iter().map(|p| p.active).sum::<u64>();
        let moves = method.contains("redistribution") || method.contains("dsr");
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
    for row in Method::ALL {
        let method = format!("name = '{}'", row.name);
        let (summary, _) = run(&method, "auto", 1, NEVER);
        let prepared = prepared(config(&method, "auto"), 1);
        let planned = training(&prepared.design, &prepared.recipe).unwrap();
        assert_eq!(summary.draws, planned.batches, "{method}");
        // DSR moves weights between layers.
        let tolerance = if row.name == "dsr" { 0.2 } else { 1e-12 };
        let error = (summary.training.flops - planned.mean).abs() / planned.mean;
        assert!(error <= tolerance, "{method}: {} {}", summary.training.flops, planned.mean);
    }
}

#[test]
fn a_lottery_ticket_has_the_mask_of_the_trained_network_and_its_initial_values() {
    let folder = tempfile::tempdir().unwrap();
    let dense = folder.path().join("dense");
    run_in(&dense, Config { seeds: seeds(7), ..config("name = 'dense'", "auto") }, 1, NEVER);
    let trained = Store::new(dense.join("checkpoints")).latest().unwrap().checkpoint.state;
    let from = |values: &str| {
        let text = format!("name = 'static'\nstart-from = '{}'\nstart-values = '{values}'", dense.display());
        prepared(Config { seeds: seeds(8), ..config(&text, "auto") }, 1)
    };
    let of = |prepared: &Prepared, name: &str| {
        let folder = tempfile::tempdir().unwrap();
        // The first checkpoint is that before step one.
        let config = prepared.config.clone();
        let run = RunFolder::create_at(&folder.path().join("run")).unwrap();
        files::write_atomic(&run.config(), config.to_toml().as_bytes()).unwrap();
        let stop = AtomicBool::new(true);
        let mut watch = Watch { checkpoints: NEVER, stop: &stop, updates: Vec::new() };
        train(prepared, &run, None, "a test", &mut watch, &AtomicBool::new(true)).unwrap();
        let state = Store::new(run.checkpoints()).latest().unwrap().checkpoint.state;
        let tensor = state.into_iter().find(|t| t.name == name && t.key().starts_with("parameter/")).unwrap();
        (tensor.indices.clone().map(|i| i.to_vec()), tensor.values.as_f32().unwrap().to_vec())
    };
    for name in ["conv2.weight", "fc1.weight"] {
        let tensor = trained.iter().find(|t| t.name == name && t.key().starts_with("parameter/")).unwrap();
        let trained = tensor.values.as_f32().unwrap();
        let mut order: Vec<u32> = (0..trained.len() as u32).collect();
        order.sort_by(|&a, &b| trained[b as usize].abs().total_cmp(&trained[a as usize].abs()));
        let ticket = from("initial");
        let parameter = ticket.design.graph.find_parameter(name).unwrap();
        let count = ticket.design.active[parameter.index()].unwrap();
        order.truncate(count);
        order.sort_unstable();
        let (indices, values) = of(&ticket, name);
        assert_eq!(indices.as_ref(), Some(&order));
        let initial = |seed| {
            let initial =
                rigl_graph::initial::InitialValues::new(ticket.design.graph.parameter(parameter), seed);
            order.iter().map(|&i| initial.at(i as usize)).collect::<Vec<f32>>()
        };
        assert_eq!(values, initial(7), "the seed of the run it starts from");
        assert_eq!(of(&from("redrawn"), name), (indices.clone(), initial(8)));
        let kept: Vec<f32> = order.iter().map(|&i| trained[i as usize]).collect();
        assert_eq!(of(&from("trained"), name), (indices, kept));
    }
}

#[test]
fn a_run_from_a_sparse_one_takes_its_patterns_and_goes_on_without_it() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = origin.path().join("first");
    run_in(
        &first,
        Config { seeds: seeds(3), ..config("name = 'static'\nlayers = { fc1 = 0.5 }", "auto") },
        1,
        NEVER,
    );
    let text = format!("name = 'rigl'\nstart-from = '{}'\nstart-values = 'trained'", first.display());
    let (whole, _) = run(&text, "auto", 1, NEVER);
    let fc1 = whole.layers.iter().find(|layer| layer.name == "fc1.weight").unwrap();
    assert_eq!(fc1.active, fc1.weights / 2, "as in the run it started from");
    assert_eq!(run(&text, "auto", 2, 2).0, whole);

    // Resuming needs nothing of it.
    let second = folder.path().join("second");
    let prepared = prepared(config(&text, "auto"), 1);
    let run = RunFolder::create_at(&second).unwrap();
    files::write_atomic(&run.config(), prepared.config.to_toml().as_bytes()).unwrap();
    let stop = AtomicBool::new(false);
    let mut watch = Watch { checkpoints: 4, stop: &stop, updates: Vec::new() };
    train(&prepared, &run, None, "a test", &mut watch, &stop).unwrap();
    origin.close().unwrap();
    let latest = Store::new(run.checkpoints()).latest().unwrap();
    let file = latest.path.file_name().unwrap().to_string_lossy().into_owned();
    let from = From { checkpoint: latest.checkpoint, file, warnings: latest.warnings };
    let machine = MachineOptions { threads: 1, ..MachineOptions::default() };
    let again = Prepared::new(config(&text, "auto"), &registry(), &machine).unwrap();
    let ended = train(&again, &run, Some(from), "a test", &mut watch, &AtomicBool::new(false)).unwrap();
    let Ended::Finished(summary) = ended else { panic!("not finished") };
    assert_eq!((summary.weights_crc32c, summary.layers), (whole.weights_crc32c, whole.layers));
}

#[test]
fn a_start_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |from: &Path| {
        let text = format!("name = 'static'\nstart-from = '{}'", from.display());
        let machine = MachineOptions { threads: 1, ..MachineOptions::default() };
        let mut prepared = Prepared::new(config(&text, "auto"), &registry(), &machine).unwrap();
        prepared.read_start(&registry()).unwrap_err().to_string()
    };
    let absent = refusal(&folder.path().join("absent"));
    assert!(absent.starts_with("`method.start-from` = `"), "{absent}");
    // Another network.
    let other = folder.path().join("other");
    let mut config = config("name = 'dense'", "auto");
    config.model.width = Some(0.5);
    run_in(&other, config, 1, NEVER);
    let shapes = refusal(&other);
    assert!(
        shapes.contains("parameter `conv1.weight` has shape [8, 2, 3, 3] there, expected [16, 2, 3, 3]"),
        "{shapes}"
    );
    // One that is not finished.
    let begun = folder.path().join("begun");
    let prepared = prepared(self::config("name = 'dense'", "auto"), 1);
    let run = RunFolder::create_at(&begun).unwrap();
    files::write_atomic(&run.config(), prepared.config.to_toml().as_bytes()).unwrap();
    train(&prepared, &run, None, "a test", &mut Silent, &AtomicBool::new(true)).unwrap();
    let unfinished = refusal(&begun);
    assert!(unfinished.contains("not finished"), "{unfinished}");
}

fn seeds(seed: u64) -> rigl_train::config::Seeds {
    rigl_train::config::Seeds { init: seed, topology: seed, data: seed }
}
