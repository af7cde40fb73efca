//! What is measured: a network with a batch of noise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rigl_base::counts::counted;
use rigl_base::random::{Purpose, Stream};
use rigl_base::{Error, Result};
use rigl_engine::{Batch, LayerTime, MicroBatch, Preprocessing, Session, StepConstants};
use rigl_graph::Graph;
use rigl_metrics::machine::memory_limit_bytes;
use rigl_train::config::{Layers, Model};
use rigl_train::{At, Design, MachineOptions, Origin, Registry, Settings, Stepper};
use serde_json::{Value, json};

use super::args::Bench;
use crate::args::Shape;
use crate::commands::named::{Named, Samples, nothing_known};
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
    /// What of it was meant for another network.
    pub(super) warning: Option<String>,
}

/// Small, so that a batch of noise can be stepped on for long.
const LEARNING_RATE: f64 = 1e-4;

const CONSTANTS: StepConstants =
    StepConstants { learning_rate: LEARNING_RATE, momentum: 0.9, nesterov: true, l2: 1e-4 };

impl Subject {
    pub(super) fn new(args: &Bench, registry: &Registry) -> Result<Subject> {
        let mut named = Named::new(&args.recipe, &args.keys, &args.samples, registry)?;
        let left_out = leave_out(&mut named).filter(|_| args.layers.is_none());
        let warning = named.config.left_out().filter(|_| args.layers.is_none()).map(String::from);
        let config = &mut named.config;
        config.schedule.learning_rate = LEARNING_RATE;
        config.schedule.warmup = 0.0;
        // A batch is measured as a whole.
        config.data.batch = args.batch.map_or(config.data.batch, usize::from);
        config.data.micro_batches = 1;
        if let Some(density) = args.density {
            config.method.layers = Layers(vec![("*".into(), 1.0 - density)]);
        }
        let sizes = args.layers.as_deref().map(sizes_of).transpose()?;
        let samples = match &sizes {
            Some(sizes) => {
                let &[input, ref hidden @ .., classes] = sizes.as_slice() else {
                    return Err(Error::internal("no sizes of layers"));
                };
                config.model = Model { name: "mlp".into(), ..Model::default() };
                config.model.options.set("hidden", hidden.to_vec());
                Samples { shape: vec![input], classes }
            }
            None => {
                let data = config.data.name.clone();
                named.samples(None, |_| Err(nothing_known(&format!("of data set `{data}`"))))?
            }
        };
        let settings = Settings::new(named.config.clone(), registry)?.without_evaluation();
        if args.density.is_some_and(|density| density < 1.0) && settings.method().is_dense() {
            let method = &settings.method().name;
            return Err(Error::usage(format!(
                "`--density` is of sparse layers, and `{method}` leaves every layer dense"
            ))
            .hint("--method static"));
        }
        // As many samples as make the recipe's points in epochs lie apart.
        let count = settings.batch().saturating_mul(1000);
        let design = named.design(&settings, &samples, count, &Origin::Settled, registry)?;
        let machine = args.machine.options()?;
        check_memory(&design, &machine)?;
        let session = design.session(Origin::Settled, &machine)?;
        let graph = design.graph().clone();
        let batch = noise(&session, &graph, settings.batch())?;
        let updates = design.updates();
        let first = updates.first().unwrap_or(0);
        let near = || first..first.saturating_add(2);
        let update_at = near().find(|&step| updates.at(step).is_some());
        let step_at = near().find(|&step| updates.at(step).is_none());
        let stepper = Stepper::new(session, Arc::new(design))?;
        Ok(Subject { stepper, graph, batch, update_at, step_at, left_out, warning })
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
        format!("{} on {} of {shape}", self.graph.name(), counted(self.batch.samples() as u64, "sample"))
    }

    fn sample_shape(&self) -> Vec<usize> {
        self.graph.inputs().flat_map(|id| self.graph.node(id).shape.clone()).collect()
    }
}

/// Refuses a batch for which the machine has no memory; a part of it is for the batch and the program itself.
fn check_memory(design: &Design, machine: &MachineOptions) -> Result<()> {
    let planned = |batch| design.memory_at(batch, machine).map(|memory| memory.engine);
    let limit = memory_limit_bytes().map_or(u64::MAX, |limit| limit / 16 * 15);
    let batch = design.settings().batch();
    let needed = planned(batch)?;
    if needed <= limit {
        return Ok(());
    }
    let error = Error::environment(format!(
        "a step of {} needs {} of memory, and the machine has {} for it",
        counted(batch as u64, "sample"),
        bytes(needed),
        bytes(limit)
    ));
    let mut smaller =
        std::iter::successors(Some(batch / 2), |batch| Some(batch / 2)).take_while(|&batch| batch > 0);
    Err(match smaller.find(|&batch| planned(batch).is_ok_and(|needed| needed <= limit)) {
        Some(batch) => error.hint(format!("--batch {batch}")),
        None => error,
    })
}

/// Takes dropout from a recipe, which no timing needs, unless it is asked for, and says so.
fn leave_out(named: &mut Named) -> Option<String> {
    if named.recipe.overrides.iter().any(|given| given.key == "model.dropout") {
        return None;
    }
    let dropout = named.config.model.options.unset("dropout")?;
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
