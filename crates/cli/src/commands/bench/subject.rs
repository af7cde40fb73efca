//! What is measured: a network with a batch of noise.

use std::time::{Duration, Instant};

use rigl_base::random::{Purpose, Stream};
use rigl_base::{Error, Result, counts};
use rigl_engine::{Batch, Extra, LayerTime, MicroBatch, Options, Preprocessing, Session, StepConstants};
use rigl_graph::{Graph, ModelSpec};
use rigl_metrics::machine::memory_limit_bytes;
use rigl_topology::{Method, Start, Topology};
use rigl_train::{At, Design, Recipe, Registry, Stepper};
use serde_json::{Value, json};

use super::args::Bench;
use crate::args::Shape;
use crate::commands::named::{Named, nothing_known};
use crate::output::bytes;

/// What is measured: a network under a method, with a batch of noise.
pub(super) struct Subject {
    pub(super) stepper: Stepper,
    pub(super) graph: Graph,
    pub(super) batch: Batch,
    /// Steps at which the method updates the topology, and at which it does not, if there are such.
    update_at: Option<u64>,
    step_at: Option<u64>,
    /// What of the recipe is not measured, for people.
    pub(super) left_out: Option<String>,
}

/// Small, so that a batch of noise can be stepped on for long.
const LEARNING_RATE: f64 = 1e-4;

const CONSTANTS: StepConstants =
    StepConstants { learning_rate: LEARNING_RATE, momentum: 0.9, nesterov: true, l2: 1e-4 };

impl Subject {
    pub(super) fn new(args: &Bench, registry: &Registry) -> Result<Subject> {
        let mut named = Named::new(&args.recipe, &args.keys, &args.samples, registry)?;
        let left_out = leave_out(&mut named);
        named.config.schedule.learning_rate = LEARNING_RATE;
        named.config.schedule.warmup = 0.0;
        let config = &named.config;
        let design = match &args.layers {
            Some(sizes) => {
                let sizes = sizes_of(sizes)?;
                let spec = ModelSpec::new(&[sizes[0]], sizes[sizes.len() - 1]);
                let spec = spec.with("hidden", sizes[1..sizes.len() - 1].to_vec());
                Design::of_graph(config, registry, registry.models.build("mlp", &spec)?)?
            }
            None => {
                let data = &config.data.name;
                let samples = named.samples(|_| Err(nothing_known(&format!("of data set `{data}`"))))?;
                named.design(&samples, registry)?
            }
        };
        let graph = design.graph.clone();
        let mut active = design.active.clone();
        if let Some(density) = args.density {
            for (id, p) in graph.weights() {
                let count = counts::active(p.len(), 1.0 - density);
                active[id.index()] = (count < p.len()).then_some(count);
            }
        }
        // Where weights lie at first does not change how long a step takes, and where density decays its end counts.
        let method = Method { topology: Topology::Static(Start::Random), ..design.method.clone() };
        let patterns = Design { active: active.clone(), method, ..design.clone() };
        let design = Design { active, ..design };
        let samples = args.batch.map_or(config.data.batch, usize::from);
        let machine = args.machine.options()?;
        let options = Options {
            batch: samples,
            evaluation_batch: 1,
            threads: machine.threads(),
            isa: machine.isa.clone(),
            compute: config.compute,
            seed: config.seeds.init,
        };
        check_memory(&graph, &design.active, &options)?;
        let session = Session::new(&graph, patterns.patterns(config.seeds.topology)?, &options)?;
        let batch = noise(&session, &graph, samples)?;
        let left_out = left_out.filter(|_| args.layers.is_none());
        // As many samples as make the recipe's points in epochs lie apart.
        let recipe = Recipe::new(config, &design.method, samples.saturating_mul(1000))?;
        let stepper = Stepper::new(session, &design, config, &recipe)?;
        let first = recipe.updates.first().unwrap_or(0);
        let near = || first..first.saturating_add(2);
        let updates = |step: u64| recipe.updates.at(step).is_some() && !stepper.sparse().is_empty();
        let update_at = near().find(|&step| updates(step));
        let step_at = near().find(|&step| !updates(step));
        Ok(Subject { stepper, graph, batch, update_at, step_at, left_out })
    }

    /// One training step, with the update that some methods make at every step.
    pub(super) fn step(&mut self) -> Result<Duration> {
        self.iterate(self.step_at.or(self.update_at).unwrap_or(0))
    }

    /// Whether there are topology updates that not every step makes.
    pub(super) fn updates(&self) -> bool {
        self.update_at.is_some() && self.step_at.is_some()
    }

    /// One topology update: in place of a step with methods that skip the step, else with it.
    pub(super) fn update(&mut self) -> Result<Duration> {
        self.iterate(self.update_at.unwrap_or(0))
    }

    fn iterate(&mut self, step: u64) -> Result<Duration> {
        let start = Instant::now();
        self.stepper.iterate(std::slice::from_ref(&self.batch), At { step, draw: 0, updated: false })?;
        Ok(start.elapsed())
    }

    /// Forward and backward.
    pub(super) fn gradients(&mut self) -> Result<()> {
        self.stepper.session.accumulate(whole(&self.batch), &[])?;
        Ok(())
    }

    /// The same with the time of every layer.
    pub(super) fn profile(&mut self) -> Result<Vec<LayerTime>> {
        self.stepper.session.profile(whole(&self.batch), &[])
    }

    /// The optimiser's part of a step.
    pub(super) fn optimise(&mut self) -> Result<()> {
        self.stepper.session.step(CONSTANTS)
    }

    pub(super) fn describe(&self) -> Value {
        let parameters: Vec<Value> = self
            .stepper
            .session
            .parameters()
            .iter()
            .map(|p| json!({ "name": p.name(), "shape": p.shape(), "active": p.active(), "storage": p.storage() }))
            .collect();
        json!({
            "name": self.graph.name(), "sample_shape": self.sample_shape(), "batch": self.batch.samples(),
            "parameters": parameters,
        })
    }

    /// Which network, on what.
    pub(super) fn text(&self) -> String {
        let shape = Shape::text(&self.sample_shape(), "×");
        format!("{} on {} samples of {shape}", self.graph.name(), self.batch.samples())
    }

    fn sample_shape(&self) -> Vec<usize> {
        self.graph.inputs().flat_map(|id| self.graph.node(id).shape.clone()).collect()
    }
}

/// Refuses a batch for which the machine has no memory; a part of it is for the batch and the program itself.
fn check_memory(graph: &Graph, active: &[Option<usize>], options: &Options) -> Result<()> {
    let planned = |batch| {
        Session::planned_bytes(graph, active, &Options { batch, ..options.clone() }, true, &Extra::default())
    };
    let limit = memory_limit_bytes().map_or(usize::MAX, |limit| (limit / 16 * 15) as usize);
    let needed = planned(options.batch)?;
    if needed <= limit {
        return Ok(());
    }
    let error = Error::environment(format!(
        "a step of {} samples needs {} of memory, and the machine has {} for it",
        options.batch,
        bytes(needed as u64),
        bytes(limit as u64)
    ));
    let mut smaller = std::iter::successors(Some(options.batch / 2), |batch| Some(batch / 2))
        .take_while(|&batch| batch > 0);
    Err(match smaller.find(|&batch| planned(batch).is_ok_and(|needed| needed <= limit)) {
        Some(batch) => error.hint(format!("--batch {batch}")),
        None => error,
    })
}

/// Takes dropout from a recipe, which no timing needs, unless it is asked for, and says so.
fn leave_out(named: &mut Named) -> Option<String> {
    if named.overrides.iter().any(|given| given.key == "model.dropout") {
        return None;
    }
    let dropout = named.config.model.dropout.take().filter(|&probability| probability > 0.0)?;
    Some(format!("without the recipe's dropout; with it: --set model.dropout={dropout}"))
}

/// A batch as the whole of a step.
fn whole(batch: &Batch) -> MicroBatch<'_> {
    MicroBatch { batch, of_samples: batch.samples(), draw: 0, number: 0, seed: 0, first: true, last: true }
}

/// `784-300-100-10`.
fn sizes_of(text: &str) -> Result<Vec<usize>> {
    let sizes: Option<Vec<usize>> = text.split('-').map(|n| n.parse().ok().filter(|&n| n > 0)).collect();
    sizes.filter(|sizes| sizes.len() >= 3).ok_or_else(|| {
        Error::usage(format!("`--layers {text}`, expected the sizes of at least three layers"))
            .hint("--layers 784-300-100-10")
    })
}

fn noise(session: &Session, graph: &Graph, samples: usize) -> Result<Batch> {
    let features: usize = graph.inputs().map(|id| graph.node(id).shape.iter().product::<usize>()).sum();
    let mut draws = Stream::new(0, Purpose::Test, 0).draws();
    let images: Vec<Vec<u8>> =
        (0..samples).map(|_| (0..features).map(|_| draws.word() as u8).collect()).collect();
    let classes = graph.classes()? as u64;
    let labels: Vec<u32> = (0..samples).map(|_| draws.below(classes) as u32).collect();
    let mut batch = Batch::default();
    let packer = session.packer(&Preprocessing::per_image());
    packer.pack(images.iter().map(Vec::as_slice).zip(labels), &mut batch)?;
    Ok(batch)
}
