//! The one type through which a network is trained and evaluated. No kernel, layout or storage shows in it.

mod state;

use std::sync::Mutex;
use std::time::Instant;

use rigl_base::{Error, Result};
use rigl_graph::initial::InitialValues;
use rigl_graph::{Graph, ParameterKind};
use rigl_kernels::loss::LossSums;
use rigl_kernels::optimizer::{self, Sgd};
use rigl_kernels::{Arena, Isa, Machine, Workspace, WorkspaceSize, measure};
use rigl_topology::slots::KEPT;
use rigl_topology::{Over, Pattern};

use crate::batch::{Batch, Packer, Preprocessing};
use crate::batch_norm::BatchNorm;
use crate::execute;
use crate::memory;
use crate::non_finite::NonFinite;
use crate::parameter::Parameter;
use crate::passes::{Purpose, conv_shape};
use crate::plan::Plan;
use crate::request::{
    Exchange, Extra, Growth, LayerTime, MicroBatch, Options, Outcome, StepConstants, Take, kernel,
};
use crate::run::{Collect, Collectors, PassTimes, Run, Scratch, Stopwatch, stored};
use crate::slots::{KEPT_MOMENTUM, MOMENTUM, Owner};
use crate::storage::{Form, Storage};

/// A network on this machine: parameters, buffers, threads.
#[derive(Debug)]
pub struct Session {
    graph: Graph,
    machine: Machine,
    /// None of a network without a loss, or one that is not to be trained.
    training: Option<Plan>,
    evaluation: Plan,
    arena: Arena,
    workspace: Workspace,
    parameters: Vec<Parameter>,
    norms: Vec<BatchNorm>,
    scratch: Scratch,
    met: Option<NonFinite>,
}

impl Session {
    /// A network with initial values; `patterns` has one entry per parameter of the graph, `None` for dense.
    ///
    /// # Errors
    /// If the network cannot be run, there is no such instruction set, or the memory is not there.
    pub fn new(graph: &Graph, patterns: Vec<Option<Pattern>>, options: &Options) -> Result<Session> {
        let isa = match &options.isa {
            None => Isa::detect(),
            Some(name) => Isa::named(name).map_err(|e| Error::usage(e.to_string()))?,
        };
        let trained = graph.loss().filter(|_| options.batch > 0);
        let training = trained.map(|_| Plan::compile(graph, options.batch, Purpose::Training)).transpose()?;
        let evaluation = Plan::compile(graph, options.evaluation_batch, Purpose::Evaluation)?;
        let plans = || training.iter().chain([&evaluation]);
        let arena = Arena::new(plans().map(|plan| plan.arena).max().unwrap_or(0))
            .map_err(|e| Error::environment("activations").caused_by(e))?;
        if patterns.len() != graph.parameters().len() {
            return Err(Error::internal("one pattern or none per parameter"));
        }
        let parameters: Vec<Parameter> = graph
            .parameters()
            .iter()
            .zip(patterns)
            .map(|(p, pattern)| {
                let initial = InitialValues::new(p, options.seed);
                let form = match (p.kind, conv_shape(graph, graph.node(p.node))) {
                    (ParameterKind::LinearWeight, _) => Form::Linear,
                    (ParameterKind::ConvWeight, Some(shape)) => {
                        // Growth needs the gradient of all weights.
                        let dense =
                            training.is_some() || !Storage::is_sparse(pattern.as_ref(), options.compute);
                        Form::conv(shape, dense)?
                    }
                    _ => Form::Vector,
                };
                let value = |i| initial.at(i);
                Parameter::new(&p.name, &p.shape, p.is_weight(), form, pattern, options.compute, value)
            })
            .collect::<Result<_>>()?;
        let norms = BatchNorm::all(graph);
        let widest = norms.iter().map(BatchNorm::channels).max().unwrap_or(0);
        let dropouts = training.iter().flat_map(|plan| &plan.dropouts);
        let masks = dropouts.map(|dropout| Ok(vec![0; dropout.mask_words(options.batch)?]));
        let scratch = Scratch {
            sums: vec![0.0; 2 * widest],
            shift: vec![0.0; widest],
            masks: masks.collect::<Result<_>>()?,
        };
        let workspace = plans().fold(WorkspaceSize::default(), |size, plan| size.max(plan.workspace));
        let workspace = Workspace::new(options.threads, workspace)
            .map_err(|e| Error::environment("scratch memory").caused_by(e))?;
        Ok(Session {
            graph: graph.clone(),
            machine: Machine::new(isa, options.threads),
            training,
            evaluation,
            arena,
            workspace,
            parameters,
            norms,
            scratch,
            met: None,
        })
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The name of the instruction set.
    pub fn isa(&self) -> &'static str {
        self.machine.isa.name()
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.machine.pool.threads()
    }

    /// Floating-point operations per second of one core that does nothing but multiply and add in registers.
    pub fn multiply_add_peak(&self) -> f64 {
        measure::multiply_add_peak(self.machine.isa)
    }

    /// Bytes per second that all threads together read from memory.
    ///
    /// # Errors
    /// If there is no memory for the measurement.
    pub fn read_bandwidth(&self) -> Result<f64> {
        measure::read_bandwidth(&self.machine).map_err(|e| Error::environment("bandwidth").caused_by(e))
    }

    /// What packs samples for this network.
    pub fn packer(&self, preprocessing: &Preprocessing) -> Packer {
        Packer { isa: self.machine.isa, layout: self.evaluation.input, preprocessing: preprocessing.clone() }
    }

    /// Forward and backward over a part of a step's batch; gradients add up until [`Session::step`]. For the
    /// parameters in `growth`, the positions with the largest dense gradients are collected on the way.
    ///
    /// # Errors
    /// If the batch is larger than planned, a label is out of range, or a worker panicked.
    pub fn accumulate(&mut self, part: MicroBatch, growth: &[Growth]) -> Result<Outcome> {
        self.pass(part, growth, None)
    }

    /// [`Session::accumulate`] with the time of every layer, in the order of the passes.
    ///
    /// # Errors
    /// As [`Session::accumulate`].
    pub fn profile(&mut self, part: MicroBatch, growth: &[Growth]) -> Result<Vec<LayerTime>> {
        let passes = self.training.iter().flat_map(|plan| &plan.passes);
        let mut times = vec![PassTimes::default(); passes.count()];
        self.pass(part, growth, Some(&mut times))?;
        let passes = self.training.iter().flat_map(|plan| &plan.passes);
        let layers = passes.zip(times).map(|(pass, times)| LayerTime {
            parameter: pass.weight(),
            forward_s: times.forward.as_secs_f64(),
            weights_s: times.weights.as_secs_f64(),
            data_s: times.data.as_secs_f64(),
        });
        Ok(layers.collect())
    }

    fn pass(
        &mut self,
        part: MicroBatch,
        growth: &[Growth],
        times: Option<&mut [PassTimes]>,
    ) -> Result<Outcome> {
        let Some(plan) = &self.training else {
            return Err(match self.graph.loss() {
                None => self.graph.no_loss(),
                Some(_) => Error::internal("the session was not made for training"),
            });
        };
        check_batch(part.batch, plan)?;
        let workers = self.machine.pool.threads();
        let collect: Vec<Option<Collect>> = if growth.is_empty() {
            Vec::new()
        } else {
            let mut collect: Vec<_> = self.parameters.iter().map(|_| None).collect();
            for g in growth {
                let wanted = match g.take {
                    Take::Largest(count) => Collect::Best(Collectors::new(workers, count, None)),
                    Take::Best(count, score) => Collect::Best(Collectors::new(workers, count, Some(score))),
                    Take::All => Collect::All,
                };
                *collect.get_mut(g.parameter).ok_or_else(|| Error::internal("no such parameter"))? =
                    Some(wanted);
            }
            collect
        };
        if part.first {
            self.met = None;
        }
        let stopwatch = times.map(|times| Stopwatch { times, pass: 0, since: Instant::now() });
        let run = Run {
            machine: &self.machine,
            buffers: &plan.buffers,
            dropouts: &plan.dropouts,
            arena: &mut self.arena,
            workspace: &mut self.workspace,
            parameters: &mut self.parameters,
            norms: &mut self.norms,
            scratch: &mut self.scratch,
            batch: part.batch,
            part: Some(part),
            collects: &collect,
            sums: LossSums::default(),
            met: &mut self.met,
            stopwatch,
        };
        let outcome = execute::accumulate(plan, run)?;
        if part.last {
            for (parameter, collected) in self.parameters.iter_mut().zip(collect) {
                let Some(Collect::Best(collectors)) = collected else { continue };
                parameter.candidates = collectors.finish();
            }
        }
        Ok(outcome)
    }

    /// Sums the gradients of this replica with those of others, when all parts of its batch have been accumulated and
    /// before anything is done with them. `of_samples` of each part is then the samples of all replicas.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if growth candidates were collected: the gradients of one replica
    /// say nothing about the largest of all, so they must be kept ([`Take::All`]). Of the exchange.
    pub fn exchange(&mut self, with: &mut dyn Exchange) -> Result<()> {
        for p in &mut self.parameters {
            if p.candidates.is_some() {
                let name = p.name();
                return Err(Error::internal(format!("growth of `{name}` was decided before the exchange")));
            }
            with.sum(&mut p.gradient)?;
            if !p.dense.is_empty() {
                with.sum(&mut p.dense)?;
            }
        }
        Ok(())
    }

    /// One step of stochastic gradient descent with the gradients accumulated. Where a method keeps inactive weights
    /// ([`KEPT`]), all are stepped, by their dense gradient, L2 acting on active ones alone. Ask [`Session::non_finite`]
    /// whether all weights are finite after it.
    ///
    /// # Errors
    /// If a worker panicked, or a dense gradient that is needed was not kept.
    pub fn step(&mut self, constants: StepConstants) -> Result<()> {
        let has_momentum = constants.momentum != 0.0;
        for p in &mut self.parameters {
            let sgd = Sgd {
                learning_rate: constants.learning_rate as f32,
                momentum: constants.momentum as f32,
                nesterov: constants.nesterov,
                l2: if p.is_weight { constants.l2 as f32 } else { 0.0 },
            };
            if p.slots.get(KEPT).is_some() {
                step_kept(&self.machine, p, sgd)?;
            } else {
                p.mask_gradient();
                let momentum: &mut [f32] = if has_momentum {
                    let momentum = p.slots.get_or_add(MOMENTUM, Owner::Optimizer, Over::Active);
                    momentum.resize(p.values.len(), 0.0);
                    momentum
                } else {
                    p.slots.remove(MOMENTUM);
                    &mut []
                };
                optimizer::sgd(&self.machine, sgd, &p.gradient, &mut p.values, momentum).map_err(kernel)?;
            }
            if self.machine.met_non_finite() {
                self.met.get_or_insert_with(|| NonFinite::Step(p.name().to_string()));
            }
        }
        Ok(())
    }

    /// Forward alone: losses and hits of a batch; the logits too, appended one sample after the other, where they are
    /// wanted.
    ///
    /// # Errors
    /// If the batch is larger than planned, a label is out of range, a worker panicked, or the network has no loss
    /// ([`Session::predict`] does without).
    pub fn evaluate(&mut self, batch: &Batch, logits: Option<&mut Vec<f32>>) -> Result<Outcome> {
        if self.graph.loss().is_none() {
            let name = self.graph.name();
            return Err(Error::usage(format!(
                "network `{name}` has no loss: what it says can be predicted alone"
            )));
        }
        let outcome = self.forward(batch)?;
        if let Some(logits) = logits {
            self.append_output(batch, 0, logits)?;
        }
        Ok(outcome)
    }

    /// Forward alone: what the network says of the samples of a batch, which need no right labels: for each of
    /// [`Graph::outputs`] all its numbers (row-major), one sample after the other. Networks without a loss have these alone.
    ///
    /// # Errors
    /// If the batch is larger than planned, a label is out of range where there is a loss, or a worker panicked.
    pub fn predict(&mut self, batch: &Batch) -> Result<Vec<Vec<f32>>> {
        self.forward(batch)?;
        let mut outputs = vec![Vec::new(); self.evaluation.outputs.len()];
        for (number, numbers) in outputs.iter_mut().enumerate() {
            self.append_output(batch, number, numbers)?;
        }
        Ok(outputs)
    }

    /// Appends an output of the forward pass that has just been run.
    fn append_output(&mut self, batch: &Batch, number: usize, numbers: &mut Vec<f32>) -> Result<()> {
        let (plan, samples) = (&self.evaluation, batch.samples());
        let of = plan.outputs.get(number).ok_or_else(|| Error::internal("a network without an output"))?;
        let range = plan.buffers.source(of.source, samples);
        let ([in_arena], []) = self.arena.borrow([range], []).map_err(kernel)?;
        of.layout.unpack(stored(of.source, in_arena, batch), samples, numbers)
    }

    fn forward(&mut self, batch: &Batch) -> Result<Outcome> {
        check_batch(batch, &self.evaluation)?;
        self.met = None;
        let plan = &self.evaluation;
        let run = Run {
            machine: &self.machine,
            buffers: &plan.buffers,
            dropouts: &plan.dropouts,
            arena: &mut self.arena,
            workspace: &mut self.workspace,
            parameters: &mut self.parameters,
            norms: &mut self.norms,
            scratch: &mut self.scratch,
            batch,
            part: None,
            collects: &[],
            sums: LossSums::default(),
            met: &mut self.met,
            stopwatch: None,
        };
        execute::evaluate(plan, run)
    }

    /// Lends the parameters, in the graph's order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The pattern of a parameter; `None` if it is dense.
    pub fn pattern(&self, parameter: usize) -> Option<&Pattern> {
        self.parameters.get(parameter)?.pattern()
    }

    /// Lends parameters of these numbers to be changed, several at once on the session's threads. `work` is given the
    /// place in `numbers` and the parameter; its answers come in their order.
    ///
    /// # Errors
    /// The first of `work`, in that order; [`Kind::Internal`](rigl_base::Kind::Internal) if a number is none, or comes
    /// twice; if a worker panicked.
    pub fn with_parameters<T: Send>(
        &mut self,
        numbers: &[usize],
        work: &(dyn Fn(usize, &mut Parameter) -> Result<T> + Sync),
    ) -> Result<Vec<T>> {
        let mut all: Vec<Option<&mut Parameter>> = self.parameters.iter_mut().map(Some).collect();
        let mut jobs = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let parameter = all.get_mut(number).and_then(Option::take);
            let missing = || Error::internal("no such parameter, or lent already");
            jobs.push(Mutex::new((parameter.ok_or_else(missing)?, None)));
        }
        let each = |_: usize, place: usize| {
            let mut job = jobs[place].lock().unwrap_or_else(|e| e.into_inner());
            let (parameter, answer) = &mut *job;
            *answer = Some(work(place, parameter));
        };
        self.machine.pool.run(jobs.len(), &each).map_err(kernel)?;
        let answer = |job: Mutex<(&mut Parameter, Option<Result<T>>)>| {
            let (_, answer) = job.into_inner().unwrap_or_else(|e| e.into_inner());
            answer.unwrap_or_else(|| Err(Error::internal("a parameter was not worked on")))
        };
        jobs.into_iter().map(answer).collect()
    }

    /// Bytes that training of this network would hold at most: parameters with their slots, activations and their
    /// gradients, what a method takes beyond that, and what a change of patterns or saving takes meanwhile. Nothing is
    /// allocated.
    ///
    /// # Errors
    /// If the network cannot be run.
    pub fn planned_bytes(
        graph: &Graph,
        active: &[Option<usize>],
        options: &Options,
        momentum: bool,
        extra: &Extra,
    ) -> Result<usize> {
        memory::planned_bytes(graph, active, options, momentum, extra)
    }

    /// Where a number was first met that is not finite: since the first part of a step's batch, [`Session::step`] included,
    /// or in the evaluation of a batch, whichever was last. It is the same for every storage, number of threads and
    /// instruction set; numbers that were computed after it are not.
    pub fn non_finite(&self) -> Option<&NonFinite> {
        self.met.as_ref()
    }

    /// Looks at gradients of active weights that no step will be made by, and so would not notice.
    pub fn look_at_gradients(&mut self) {
        let finite = |p: &mut Parameter| {
            p.mask_gradient();
            p.gradient.iter().all(|g| g.is_finite())
        };
        if let Some(p) = self.parameters.iter_mut().find_map(|p| (!finite(p)).then_some(p)) {
            self.met.get_or_insert_with(|| NonFinite::Gradient(p.name().to_string()));
        }
    }
}

/// A step of all weights of a parameter whose inactive ones are kept.
fn step_kept(machine: &Machine, p: &mut Parameter, sgd: Sgd) -> Result<()> {
    let mut kept = p.slots.take(KEPT);
    let mut momentum = p.slots.take(KEPT_MOMENTUM);
    let name = p.name();
    if p.dense.len() != kept.len() {
        return Err(Error::internal(format!("no dense gradient of `{name}` to step by")));
    }
    let Some(pattern) = p.storage.pattern() else {
        return Err(Error::internal(format!("`{name}` is not sparse")));
    };
    for &i in pattern.indices() {
        p.dense[i as usize] += sgd.l2 * kept[i as usize];
    }
    momentum.resize(if sgd.momentum == 0.0 { 0 } else { kept.len() }, 0.0);
    optimizer::sgd(machine, Sgd { l2: 0.0, ..sgd }, &p.dense, &mut kept, &mut momentum).map_err(kernel)?;
    let active = pattern.indices().iter().map(|&i| kept[i as usize]).collect();
    p.set_values(active)?;
    *p.slots.get_or_add(KEPT, Owner::Method, Over::All) = kept;
    *p.slots.get_or_add(KEPT_MOMENTUM, Owner::Method, Over::All) = momentum;
    Ok(())
}

fn check_batch(batch: &Batch, plan: &Plan) -> Result<()> {
    let found = batch.samples();
    if found == 0 || found > plan.batch {
        return Err(Error::internal(format!("a batch of {found} samples, planned are 1 … {}", plan.batch)));
    }
    if batch.map.len() != plan.input.len(found)? {
        return Err(Error::internal("the batch was packed for another network"));
    }
    Ok(())
}

#[cfg(test)]
mod pass_tests;
