//! A small convolutional network on noise, and runs of it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rigl_base::random::{Purpose, Stream};
use rigl_base::{Result, files};
use rigl_data::{InMemory, Sets, Spec};
use rigl_formats::Store;
use rigl_graph::{BatchNorm, Builder, Conv2d, Graph, Linear, Model, ModelOption, ModelSpec};
use rigl_metrics::event::{Event, Update};
use rigl_metrics::{Record, RunFolder, Summary};
use rigl_topology::{DropRule, Dynamics, GrowRule, Method, Score, StepPolicy, Topology, UpdateRule};
use rigl_train::config::{Base, Override, Seeds, Sources};
use rigl_train::{Config, Ended, MachineOptions, Observer, Prepared, Registry, train};

fn network(spec: &ModelSpec) -> Result<Graph> {
    let channels = ((16.0 * spec.number("width")?).round() as usize).max(1);
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

/// So many images of noise, of two channels and four classes.
pub fn noise(samples: usize) -> Arc<InMemory> {
    let mut draws = Stream::new(0, Purpose::Test, 0).draws();
    let images = (0..samples * 2 * 6 * 6).map(|_| draws.word() as u8).collect();
    let labels = (0..samples).map(|_| draws.below(4) as u8).collect();
    let spec = Spec::new("noise", [2, 6, 6], (0..4).map(|class| class.to_string()));
    Arc::new(InMemory::new(spec, images, labels).unwrap())
}

pub fn registry() -> Registry {
    let noise = noise(64);
    Registry::default()
        .with_model(Model::new("small", network).option(ModelOption::number("width", 1.0, 0.0..1000.0)))
        .dataset("noise", move |_| Ok(Sets::new(noise.clone(), noise.clone())))
        .method(own_row(
            "as-rigl",
            Score { name: "size", of: |w| w.value.abs() },
            Score { name: "steepness", of: |w| w.gradient.abs() },
            StepPolicy::Replace,
        ))
        .method(own_row(
            "own",
            Score { name: "weight-and-velocity", of: |w| w.value.abs() + 0.5 * w.velocity.abs() },
            Score { name: "descent", of: |w| w.velocity - w.gradient },
            StepPolicy::After,
        ))
}

/// A method with scores of its own.
fn own_row(name: &'static str, drop: Score, grow: Score, step_policy: StepPolicy) -> Method {
    let rule = UpdateRule::replace(DropRule::Own(drop), GrowRule::own(grow));
    let topology = Topology::dynamic(Dynamics { step_policy, ..Dynamics::new(rule) });
    Method { name: name.into(), topology, ..Method::RIGL }
}

const STEPS: u64 = 14;

/// `method` are settings of `[method]`, one a line.
pub fn config(method: &str, compute: &str) -> Config {
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
        updates = {{ interval = 3, end = 12 }}
        "
    );
    let line = |line: &str| Override::parse("--set", &format!("method.{line}")).unwrap();
    let overrides: Vec<Override> = method.lines().map(line).collect();
    let sources = Sources { base: Base::File { name: "a test", text: &text }, overrides: &overrides };
    Config::resolve(&sources, &registry().known()).unwrap()
}

pub fn machine(threads: usize) -> MachineOptions {
    MachineOptions { threads, ..MachineOptions::default() }
}

pub fn prepared(config: Config, threads: usize) -> Prepared {
    Prepared::new(config, &registry(), &machine(threads)).unwrap()
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
            // The checkpoint that it goes on from is told of before.
            Event::Resume(_) => {
                self.checkpoints = self.checkpoints.saturating_add(1);
                self.stop.store(false, Ordering::Relaxed);
            }
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
pub fn run_in(folder: &Path, config: Config, threads: usize, checkpoints: usize) -> (Summary, Vec<Update>) {
    let mut prepared = prepared(config.clone(), threads);
    let run = RunFolder::create_at(folder).unwrap();
    files::write_atomic(&run.config(), config.to_toml().as_bytes()).unwrap();
    let stop = AtomicBool::new(false);
    let mut watch = Watch { checkpoints, stop: &stop, updates: Vec::new() };
    loop {
        watch.checkpoints = checkpoints;
        stop.store(false, Ordering::Relaxed);
        let ended = train(prepared, &run, &mut watch, &stop).unwrap();
        if let Ended::Finished(summary) = ended {
            let summary = Summary {
                seconds: 0.0,
                evaluation_seconds: None,
                train_loss: None,
                stopped_early: false,
                train_accuracy: None,
                samples_per_s: 0.0,
                peak_memory_bytes: None,
                ..*summary
            };
            return (summary, watch.updates);
        }
        let latest = Store::new(run.checkpoints()).latest().unwrap();
        prepared = Prepared::resume(config.clone(), &registry(), &machine(threads), latest).unwrap();
    }
}

pub fn run(method: &str, compute: &str, threads: usize, checkpoints: usize) -> (Summary, Vec<Update>) {
    let folder = tempfile::tempdir().unwrap();
    run_in(&folder.path().join("run"), config(method, compute), threads, checkpoints)
}

pub const NEVER: usize = usize::MAX;

/// One seed for all.
pub fn seeds(seed: u64) -> Seeds {
    Seeds { init: seed, topology: seed, data: seed }
}
