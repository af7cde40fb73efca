//! What is measured: a network with a batch of noise.

use std::time::{Duration, Instant};

use rigl_base::random::{Purpose, Stream};
use rigl_base::{Error, Result, counts};
use rigl_engine::{
    Batch, Growth, LayerTime, MicroBatch, Options, Preprocessing, Session, StepConstants, UpdateRequest,
};
use rigl_graph::{Graph, ModelSpec};
use rigl_topology::{DropScore, GrowScore, LayerBudget, growth_stream};
use rigl_train::config::Override;
use rigl_train::{Config, Design, Registry};
use serde_json::{Value, json};

use crate::args::Bench;
use crate::commands::configuration;

/// What is measured: a network with a batch of noise.
pub(super) struct Subject {
    pub(super) session: Session,
    pub(super) graph: Graph,
    pub(super) batch: Batch,
    active: Vec<Option<usize>>,
    /// What of the recipe is not measured, for people.
    pub(super) left_out: Option<String>,
}

const CONSTANTS: StepConstants =
    StepConstants { learning_rate: 1e-4, momentum: 0.9, nesterov: true, l2: 1e-4 };

impl Subject {
    pub(super) fn new(args: &Bench, registry: &Registry) -> Result<Subject> {
        let overrides = args.keys.overrides()?;
        let mut config = configuration(&args.recipe, &overrides, registry)?;
        let left_out = leave_out(&mut config, &overrides);
        let design = match &args.layers {
            Some(sizes) => {
                let sizes = sizes_of(sizes)?;
                let mut spec = ModelSpec::new(&[sizes[0]], sizes[sizes.len() - 1]);
                spec.hidden = Some(sizes[1..sizes.len() - 1].to_vec());
                Design::of_graph(&config, registry, registry.models.build("mlp", &spec)?)?
            }
            None => {
                let (spec, _) = registry.datasets.description(&config.data.name).ok_or_else(|| {
                    Error::usage(format!(
                        "nothing is known of the samples of data set `{}`",
                        config.data.name
                    ))
                    .hint("--layers 784-300-100-10")
                })?;
                Design::new(&config, registry, &spec.shape, spec.classes.len())?
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
        let design = Design { active: active.clone(), ..design };
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
        let session = Session::new(&graph, design.patterns(config.seeds.topology)?, &options)?;
        let batch = noise(&session, &graph, samples)?;
        let left_out = left_out.filter(|_| args.layers.is_none());
        Ok(Subject { session, graph, batch, active, left_out })
    }

    /// Whether a layer is sparse.
    pub(super) fn is_sparse(&self) -> bool {
        self.active.iter().any(Option::is_some)
    }

    /// One training step.
    pub(super) fn step(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.gradients()?;
        self.optimise()?;
        Ok(start.elapsed())
    }

    /// Forward and backward.
    pub(super) fn gradients(&mut self) -> Result<()> {
        self.session.accumulate(whole(&self.batch), &[])?;
        Ok(())
    }

    /// The same with the time of every layer.
    pub(super) fn profile(&mut self) -> Result<Vec<LayerTime>> {
        self.session.profile(whole(&self.batch), &[])
    }

    /// The optimiser's part of a step.
    pub(super) fn optimise(&mut self) -> Result<()> {
        self.session.step(CONSTANTS)
    }

    /// One RigL update that replaces a step, with drop fraction 0.3.
    pub(super) fn update(&mut self, step: u64) -> Result<Duration> {
        let drop = |n: usize| counts::trunc_product(n, 0.3);
        let sparse: Vec<(usize, usize)> =
            self.active.iter().enumerate().filter_map(|(p, n)| Some((p, (*n)?))).collect();
        let growth: Vec<Growth> =
            sparse.iter().map(|&(parameter, n)| Growth { parameter, count: drop(n) }).collect();
        let requests: Vec<UpdateRequest> = sparse
            .iter()
            .map(|&(parameter, n)| UpdateRequest {
                parameter,
                budget: LayerBudget::replace(n, drop(n)),
                drop: DropScore::Magnitude,
                grow: GrowScore::Gradient,
                stream: growth_stream(0, &self.graph.parameters()[parameter].name, step),
            })
            .collect();
        let start = Instant::now();
        self.session.accumulate(whole(&self.batch), &growth)?;
        self.session.update(&requests)?;
        Ok(start.elapsed())
    }

    pub(super) fn describe(&self) -> Value {
        let parameters: Vec<Value> = self
            .session
            .parameters()
            .into_iter()
            .map(|p| json!({ "name": p.name, "shape": p.shape, "active": p.active, "storage": p.storage }))
            .collect();
        json!({
            "name": self.graph.name(), "sample_shape": self.sample_shape(), "batch": self.batch.samples(),
            "parameters": parameters,
        })
    }

    /// Which network, on what.
    pub(super) fn text(&self) -> String {
        let shape: Vec<String> = self.sample_shape().iter().map(ToString::to_string).collect();
        format!("{} on {} samples of {}", self.graph.name(), self.batch.samples(), shape.join("×"))
    }

    fn sample_shape(&self) -> Vec<usize> {
        self.graph.inputs().flat_map(|id| self.graph.node(id).shape.clone()).collect()
    }
}

/// Takes from a recipe what no timing needs: dropout, unless it is asked for; and the options of the recipe's own
/// network where another is asked for. Says so of dropout.
fn leave_out(config: &mut Config, overrides: &[Override]) -> Option<String> {
    let asked = |key: &str| overrides.iter().any(|given| given.key == key);
    let model = &mut config.model;
    let another = asked("model.name");
    if another && !asked("model.hidden") {
        model.hidden.clear();
    }
    if another && !asked("model.depth") {
        model.depth = None;
    }
    if another && !asked("model.width") {
        model.width = None;
    }
    if another && !asked("model.bn-momentum") {
        model.bn_momentum = None;
    }
    if asked("model.dropout") {
        return None;
    }
    let dropout = model.dropout.take().filter(|&probability| probability > 0.0 && !another)?;
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
    let classes = graph.classes() as u64;
    let labels: Vec<u32> = (0..samples).map(|_| draws.below(classes) as u32).collect();
    let mut batch = Batch::default();
    let packer = session.packer(&Preprocessing::per_image());
    packer.pack(images.iter().map(Vec::as_slice).zip(labels), &mut batch)?;
    Ok(batch)
}
