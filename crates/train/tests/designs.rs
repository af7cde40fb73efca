//! What a run is planned to hold and to cost is what it holds and costs: begun, stopped and resumed, or from another run.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rigl_base::{Kind, files};
use rigl_formats::{Checkpoint, Store};
use rigl_graph::state::{Role, Values};
use rigl_metrics::event::{Event, Update};
use rigl_metrics::{EventReader, Record, RunFolder, Status};
use rigl_train::{Config, Design, Ended, Observer, Prepared, SparseLayer, last_checkpoint, train};

use support::{NEVER, config, machine, prepared, registry, run_in, seeds};

/// Trains one checkpoint at a time; what the updates left is kept.
struct Stops<'a> {
    stop: &'a AtomicBool,
    active: BTreeMap<String, u64>,
}

impl Observer for Stops<'_> {
    fn event(&mut self, record: &Record) {
        match &record.event {
            // The checkpoint that it goes on from is told of before.
            Event::Resume(_) => self.stop.store(false, Ordering::Relaxed),
            Event::Checkpoint(_) => self.stop.store(true, Ordering::Relaxed),
            Event::Network(network) => {
                self.active = network.parameters.iter().map(|p| (p.name.clone(), p.active)).collect();
            }
            Event::Update(Update { parameters, .. }) => {
                self.active.extend(parameters.iter().map(|p| (p.name.clone(), p.active)));
            }
            _ => {}
        }
    }
}

fn counts(design: &Design, of: fn(&SparseLayer) -> usize) -> BTreeMap<String, u64> {
    let name = |layer: &SparseLayer| design.graph().parameters()[layer.parameter].name.clone();
    design.layers().iter().map(|layer| (name(layer), of(layer) as u64)).collect()
}

fn bytes(design: &Design) -> u64 {
    design.memory(&machine(1)).unwrap().bytes()
}

/// Stops a run after every batch, and compares the design that it is resumed with with the one it began with.
fn resumed_is_unbroken(method: &str) {
    let config = config(method, "auto");
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create_at(&folder.path().join("run")).unwrap();
    files::write_atomic(&run.config(), config.to_toml().as_bytes()).unwrap();
    let mut prepared = prepared(config.clone(), 1);
    let begun = prepared.design().clone();
    let moves = method.contains("redistribution") || method.contains("dsr");
    let decays = method.contains("pruning");
    let stop = AtomicBool::new(false);
    let mut stops = Stops { stop: &stop, active: BTreeMap::new() };
    let mut resumed = 0;
    loop {
        stop.store(false, Ordering::Relaxed);
        if let Ended::Finished(summary) = train(prepared, &run, &mut stops, &stop).unwrap() {
            assert!(resumed > 10, "{method}");
            let last = last_checkpoint(&run).unwrap();
            let design = Prepared::resume(config, &registry(), &machine(1), last).unwrap().design().clone();
            assert_eq!(design.cost().active as u64, summary.active, "{method}");
            return;
        }
        let latest = Store::new(run.checkpoints()).latest().unwrap();
        prepared = Prepared::resume(config.clone(), &registry(), &machine(1), latest).unwrap();
        let design = prepared.design();
        resumed += 1;
        for (name, now) in counts(design, |layer| layer.now) {
            assert_eq!(Some(&now), stops.active.get(&name), "{method}: {name}");
        }
        assert_eq!(
            (design.updates(), design.recipe(), design.graph()),
            (begun.updates(), begun.recipe(), begun.graph()),
            "{method}"
        );
        assert_eq!(design.cost().active, begun.cost().active, "{method}");
        if !moves {
            assert_eq!(counts(design, |layer| layer.end), counts(&begun, |layer| layer.end), "{method}");
            assert_eq!(design.cost(), begun.cost(), "{method}");
        }
        // What is chosen of a dense network takes most while it is dense; what counts may come to is not known.
        if method.contains("snip") || method.contains("dnw") {
            assert!(bytes(design) <= bytes(&begun), "{method}");
        } else if !decays && !moves {
            assert_eq!(bytes(design), bytes(&begun), "{method}");
        }
    }
}

#[test]
fn a_resumed_runs_design_is_that_of_the_unbroken_run_at_its_step() {
    for method in ["dense", "small-dense", "static", "snip", "set", "rigl", "pruning", "dsr", "dnw"] {
        resumed_is_unbroken(&format!("name = '{method}'"));
    }
    resumed_is_unbroken("name = 'rigl'\nredistribution = 'survivors'");
}

#[test]
fn so_is_that_of_a_run_that_starts_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("half");
    finished(&half, "name = 'static'\nlayers = { fc1 = 0.5 }");
    for method in ["static", "rigl", "pruning", "snip"] {
        resumed_is_unbroken(&format!("name = '{method}'\nstart.run = '{}'", half.display()));
    }
}

fn finished(folder: &Path, method: &str) {
    run_in(folder, Config { seeds: seeds(3), ..config(method, "auto") }, 1, NEVER);
}

#[test]
fn what_starts_from_a_run_is_planned_with_what_that_run_has() {
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("half");
    finished(&half, "name = 'static'\nlayers = { fc1 = 0.5 }");
    let from = |method: &str| {
        let text = format!("name = '{method}'\nstart.run = '{}'", half.display());
        prepared(config(&text, "auto"), 1).design().clone()
    };
    let fresh = |method: &str| prepared(config(&format!("name = '{method}'"), "auto"), 1).design().clone();
    let fc1 = |design: &Design| *counts(design, |layer| layer.end).get("fc1.weight").unwrap();
    assert_eq!(fc1(&from("rigl")), 512);
    assert_eq!(fc1(&from("pruning")), fc1(&fresh("static")));
    assert_eq!(*counts(&from("pruning"), |layer| layer.now).get("fc1.weight").unwrap(), 512);
    // Nothing is scored: no batch of the dense network is counted, and none is held.
    assert_eq!(from("snip").training().unwrap(), from("static").training().unwrap());
    assert_eq!(bytes(&from("snip")), bytes(&from("static")));
    assert!(bytes(&fresh("snip")) > bytes(&fresh("static")));
    // Pruning half the weights costs less than pruning all.
    assert!(from("pruning").training().unwrap().mean < fresh("pruning").training().unwrap().mean);
}

/// Flips a bit of a run's newest checkpoint; its name.
fn damage(run: &Path) -> String {
    let (_, path) = Store::new(run.join("checkpoints")).list().unwrap().pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    files::write_atomic(&path, &bytes).unwrap();
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn the_last_checkpoint_of_a_finished_run_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let dense = folder.path().join("dense");
    finished(&dense, "name = 'dense'");
    let start = || {
        let text = format!("name = 'static'\nstart.run = '{}'", dense.display());
        Prepared::new(config(&text, "auto"), &registry(), &machine(1))
    };
    start().unwrap();
    let name = damage(&dense);
    let error = start().err().unwrap();
    let beginning = format!(
        "`method.start.run` = `{0}`: the last checkpoint of the finished run `{0}` cannot be read: checkpoint `",
        dense.display()
    );
    assert!(error.to_string().starts_with(&beginning) && error.to_string().contains(&name), "{error}");
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.hint_text().unwrap().starts_with("an earlier one, of step "), "{error:?}");
    // Nor is it replaced where it is gone.
    files::remove(&dense.join("checkpoints").join(name)).unwrap();
    let error = start().err().unwrap().to_string();
    assert!(error.ends_with("cannot be read: of step 14 there is none"), "{error}");
    // Of a run that is not finished the one before will do, with a word.
    files::remove(&dense.join("summary.json")).unwrap();
    let name = damage(&dense);
    let error = last_checkpoint(&RunFolder::open(&dense).unwrap()).unwrap_err().to_string();
    assert!(error.contains(&name), "{error}");
}

#[test]
fn a_checkpoint_that_no_run_of_this_configuration_has_is_refused() {
    for method in ["rigl", "pruning", "dense"] {
        let folder = tempfile::tempdir().unwrap();
        let (config, path) = (config(&format!("name = '{method}'"), "auto"), folder.path().join("run"));
        run_in(&path, config.clone(), 1, NEVER);
        let run = RunFolder::open(&path).unwrap();
        let refused = |change: fn(&mut Checkpoint), expected: &str| {
            let (mut checkpoint, _) = last_checkpoint(&run).unwrap().warned(drop);
            change(&mut checkpoint);
            let folder = tempfile::tempdir().unwrap();
            let mut store = Store::new(folder.path());
            store.save(&checkpoint.state, &checkpoint.metadata).unwrap();
            let begun = RunFolder::create_at(&folder.path().join("run")).unwrap();
            let stop = AtomicBool::new(true);
            let error = Prepared::resume(config.clone(), &registry(), &machine(1), store.latest().unwrap())
                .and_then(|prepared| train(prepared, &begun, &mut rigl_train::Silent, &stop))
                .unwrap_err();
            assert_eq!(error.kind(), Kind::Data, "{method}: {error}");
            assert!(error.to_string().contains(expected), "{method}: {error}");
        };
        refused(|checkpoint| checkpoint.metadata.step = 15, "`step` is `15`, expected at most 14");
        refused(|checkpoint| checkpoint.metadata.draw = u64::MAX, "`draw` is `18446744073709551615`");
        let less = |checkpoint: &mut Checkpoint| {
            for tensor in checkpoint.state.iter_mut().filter(|tensor| tensor.name == "fc1.weight") {
                let len = tensor.values.len() - 1;
                if tensor.role != Role::Method {
                    let values = tensor.values.as_f32().unwrap()[..len].to_vec();
                    tensor.indices = Some((0..len as u32).collect());
                    tensor.values = Values::F32(values.into());
                }
            }
        };
        refused(less, "active weights in sparse layers, where the configuration leaves");
    }
}

/// How a run ended, by its error and its log.
fn diverged(config: Config) -> (String, Vec<Record>) {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create_at(&folder.path().join("run")).unwrap();
    let error = train(prepared(config, 1), &run, &mut rigl_train::Silent, &AtomicBool::new(false));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Diverged, "{error}");
    let records: Vec<Record> = EventReader::open(&run.log()).unwrap().map(Result::unwrap).collect();
    let Some(Event::End(end)) = records.last().map(|record| &record.event) else { panic!("{records:?}") };
    assert_eq!((end.status, &*end.reason), (Status::Diverged, error.message()));
    (error.to_string(), records)
}

#[test]
fn a_run_that_diverges_before_its_first_step_says_so_in_its_log() {
    for method in ["snip", "rigl"] {
        let mut config = config(&format!("name = '{method}'"), "auto");
        config.data.std = vec![1e-38];
        let (error, records) = diverged(config);
        assert_eq!(error.contains("before step 0 is not finite"), method == "snip", "{error}");
        assert!(matches!(records[0].event, Event::Run(_)));
        // No network is recorded that has no patterns yet, and no checkpoint is written of it.
        assert_eq!(records.len() == 2, method == "snip", "{records:?}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_noticed_in_their_step_whatever_the_loss_and_the_records() {
    let mut config = config("name = 'static'", "auto");
    // The first step takes the weights away, long before a loss could tell.
    config.optimizer.l2 = 1e30;
    config.schedule.learning_rate = 1e30;
    config.checkpoint.every_seconds = 1000.0;
    config.log.every_steps = 1000;
    let (error, records) = diverged(config);
    assert_eq!(error, "a number at step 0 is not finite, first in the step of `conv1.weight`");
    assert_eq!(records.last().unwrap().step, 0);
}

#[test]
fn a_network_of_dense_layers_has_no_updates() {
    for method in ["rigl", "pruning", "dnw", "snfs"] {
        let mut config = config(&format!("name = '{method}'"), "auto");
        config.method.sparsity = 0.0;
        let design = prepared(config.clone(), 1).design().clone();
        assert!(design.layers().is_empty());
        assert_eq!(design.updates().count(), 0, "{method}");
        let folder = tempfile::tempdir().unwrap();
        let (summary, updates) = run_in(&folder.path().join("run"), config, 1, NEVER);
        assert!(updates.is_empty());
        assert_eq!((summary.draws, summary.updates), (14, 0), "{method}");
        assert_eq!(summary.training.fraction, 1.0, "{method}");
    }
}
