//! The one type through which a network is trained and evaluated. No kernel, layout or storage shows in it.

mod methods;
mod state;

pub use state::KEPT;

use std::sync::Mutex;
use std::time::Instant;

use rigl_base::{Error, Result};
use rigl_graph::initial::InitialValues;
use rigl_graph::{Graph, ParameterKind};
use rigl_kernels::loss::LossSums;
use rigl_kernels::optimizer::{self, Sgd};
use rigl_kernels::{Arena, Isa, Machine, Workspace, measure};
use rigl_topology::{Change, Largest, Pattern};

use crate::batch::{Batch, Packer, Preprocessing};
use crate::execute;
use crate::norms::Norm;
use crate::passes::{Purpose, conv_shape};
use crate::plan::Plan;
use crate::request::{
    Extra, Growth, LayerTime, MicroBatch, Options, Outcome, ParameterInfo, StepConstants, Take,
    UpdateRequest, kernel,
};
use crate::run::{Collect, PassTimes, Run, Scratch, Stopwatch, stored};
use crate::update;
use crate::weights::{self, Compute, Form, Parameter, Storage};

/// A network on this machine: parameters, buffers, threads.
#[derive(Debug)]
pub struct Session {
    graph: Graph,
    machine: Machine,
    compute: Compute,
    training: Plan,
    evaluation: Plan,
    arena: Arena,
    workspace: Workspace,
    parameters: Vec<Parameter>,
    norms: Vec<Norm>,
    scratch: Scratch,
    /// Growth candidates per parameter, from the last pass that was asked for them.
    candidates: Vec<Option<Largest>>,
    /// Dense gradients under accumulation, where there are several micro-batches.
    dense: Vec<Vec<f32>>,
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
        let training = Plan::compile(graph, options.batch, Purpose::Training)?;
        let evaluation = Plan::compile(graph, options.evaluation_batch, Purpose::Evaluation)?;
        let arena = Arena::new(training.arena.max(evaluation.arena))
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
                    (ParameterKind::ConvWeight, Some(shape)) => Form::conv(shape)?,
                    _ => Form::Vector,
                };
                let value = |i| initial.at(i);
                Parameter::new(&p.name, &p.shape, p.is_weight(), form, pattern, options.compute, value)
            })
            .collect::<Result<_>>()?;
        let count = parameters.len();
        let norms = Norm::all(graph);
        let widest = norms.iter().map(Norm::channels).max().unwrap_or(0);
        let masks = training.dropouts.iter().map(|dropout| Ok(vec![0; dropout.mask_words(options.batch)?]));
        let scratch = Scratch {
            sums: vec![0.0; 2 * widest],
            shift: vec![0.0; widest],
            masks: masks.collect::<Result<_>>()?,
        };
        let workspace = Workspace::new(options.threads, training.workspace.max(evaluation.workspace))
            .map_err(|e| Error::environment("scratch memory").caused_by(e))?;
        Ok(Session {
            graph: graph.clone(),
            machine: Machine::new(isa, options.threads),
            compute: options.compute,
            training,
            evaluation,
            arena,
            workspace,
            parameters,
            norms,
            scratch,
            candidates: (0..count).map(|_| None).collect(),
            dense: vec![Vec::new(); count],
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
        Packer { isa: self.machine.isa, layout: self.training.input, preprocessing: preprocessing.clone() }
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
        let mut times = vec![PassTimes::default(); self.training.passes.len()];
        self.pass(part, growth, Some(&mut times))?;
        let layers = self.training.passes.iter().zip(times).map(|(pass, times)| LayerTime {
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
        check_batch(part.batch, &self.training)?;
        let workers = self.machine.pool.threads();
        let collect: Vec<Option<Collect>> = if growth.is_empty() {
            Vec::new()
        } else {
            let mut collect: Vec<_> = self.parameters.iter().map(|_| None).collect();
            for g in growth {
                let wanted = match g.take {
                    Take::Largest(count) => {
                        Collect::Largest((0..workers).map(|_| Mutex::new(Largest::new(count))).collect())
                    }
                    Take::All => Collect::All,
                };
                *collect.get_mut(g.parameter).ok_or_else(|| Error::internal("no such parameter"))? =
                    Some(wanted);
            }
            collect
        };
        let stopwatch = times.map(|times| Stopwatch { times, pass: 0, since: Instant::now() });
        let plan = &self.training;
        let run = Run {
            machine: &self.machine,
            buffers: &plan.buffers,
            dropouts: &plan.dropouts,
            arena: &mut self.arena,
            workspace: &mut self.workspace,
            parameters: &mut self.parameters,
            norms: &mut self.norms,
            scratch: &mut self.scratch,
            dense: &mut self.dense,
            batch: part.batch,
            part: Some(part),
            collects: &collect,
            sums: LossSums::default(),
            stopwatch,
        };
        let outcome = execute::accumulate(plan, run)?;
        if part.last {
            for (candidates, collected) in self.candidates.iter_mut().zip(collect) {
                let Some(Collect::Largest(workers)) = collected else { continue };
                let each = workers.into_iter().map(|m| m.into_inner().unwrap_or_else(|e| e.into_inner()));
                *candidates = each.reduce(Largest::merge);
            }
        }
        Ok(outcome)
    }

    /// One step of stochastic gradient descent with the gradients accumulated.
    ///
    /// # Errors
    /// If a worker panicked.
    pub fn step(&mut self, constants: StepConstants) -> Result<()> {
        for (p, dense) in self.parameters.iter_mut().zip(&mut self.dense) {
            let sgd = Sgd {
                learning_rate: constants.learning_rate as f32,
                momentum: constants.momentum as f32,
                nesterov: constants.nesterov,
                l2: if p.is_weight { constants.l2 as f32 } else { 0.0 },
            };
            if p.kept.is_some() {
                methods::step_kept(&self.machine, p, dense, sgd)?;
                continue;
            }
            if constants.momentum == 0.0 {
                p.momentum.clear();
            } else if p.momentum.len() != p.values.len() {
                p.momentum.resize(p.values.len(), 0.0);
            }
            if let Storage::Masked { mask, .. } = &p.storage {
                // A select, not a branch: it is vectorised.
                p.gradient.iter_mut().zip(mask).for_each(|(g, &active)| *g = if active { *g } else { 0.0 });
            }
            optimizer::sgd(&self.machine, sgd, &p.gradient, &mut p.values, &mut p.momentum)
                .map_err(kernel)?;
        }
        Ok(())
    }

    /// Updates the topology of the parameters named. Growth by gradient uses what the last
    /// [`Session::accumulate`] collected for it.
    ///
    /// # Errors
    /// If a request contradicts a parameter's pattern, or gradients were not collected.
    pub fn update(&mut self, requests: &[UpdateRequest]) -> Result<Vec<Change>> {
        struct Job<'a> {
            parameter: &'a mut Parameter,
            candidates: Option<Largest>,
            initial: InitialValues,
            change: Option<Result<Change>>,
        }
        let mut parameters: Vec<Option<&mut Parameter>> = self.parameters.iter_mut().map(Some).collect();
        let mut jobs = Vec::with_capacity(requests.len());
        for request in requests {
            let parameter = parameters
                .get_mut(request.parameter)
                .and_then(Option::take)
                .ok_or_else(|| Error::internal("no such parameter, or one update of it too many"))?;
            let candidates = self.candidates[request.parameter].take();
            let of = &self.graph.parameters()[request.parameter];
            let initial = InitialValues::from_stream(of, request.grown.stream);
            jobs.push(Mutex::new(Job { parameter, candidates, initial, change: None }));
        }
        let (compute, dense) = (self.compute, &self.dense);
        let update = |_: usize, number: usize| {
            let mut job = jobs[number].lock().unwrap_or_else(|e| e.into_inner());
            let gradients = update::Gradients {
                candidates: job.candidates.take(),
                dense: &dense[requests[number].parameter],
            };
            let initial = job.initial;
            job.change = Some(update::apply(job.parameter, compute, &requests[number], gradients, &initial));
        };
        self.machine.pool.run(jobs.len(), &update).map_err(kernel)?;
        let change = |job: Mutex<Job>| {
            let job = job.into_inner().unwrap_or_else(|e| e.into_inner());
            job.change.unwrap_or_else(|| Err(Error::internal("an update was not done")))
        };
        jobs.into_iter().map(change).collect()
    }

    /// Forward alone: losses and hits of a batch.
    ///
    /// # Errors
    /// If the batch is larger than planned, a label is out of range, or a worker panicked.
    pub fn evaluate(&mut self, batch: &Batch) -> Result<Outcome> {
        check_batch(batch, &self.evaluation)?;
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
            dense: &mut self.dense,
            batch,
            part: None,
            collects: &[],
            sums: LossSums::default(),
            stopwatch: None,
        };
        execute::evaluate(plan, run)
    }

    /// [`Session::evaluate`] that appends the logits too, one sample after the other.
    ///
    /// # Errors
    /// As [`Session::evaluate`].
    pub fn logits(&mut self, batch: &Batch, logits: &mut Vec<f32>) -> Result<Outcome> {
        let outcome = self.evaluate(batch)?;
        let of = self.evaluation.logits;
        let range = self.evaluation.buffers.source(of.source, batch.samples());
        let ([in_arena], []) = self.arena.borrow([range], []).map_err(kernel)?;
        of.layout.unpack(stored(of.source, in_arena, batch), batch.samples(), logits)?;
        Ok(outcome)
    }

    /// The pattern of a parameter; `None` if it is dense.
    pub fn pattern(&self, parameter: usize) -> Option<&Pattern> {
        self.parameters.get(parameter)?.pattern()
    }

    /// What the parameters are, in the graph's order.
    pub fn parameters(&self) -> Vec<ParameterInfo> {
        self.parameters
            .iter()
            .map(|p| ParameterInfo {
                name: p.name.clone(),
                shape: p.shape.clone(),
                weights: p.len(),
                active: p.pattern().map_or(p.len(), Pattern::count),
                storage: p.storage_name(),
            })
            .collect()
    }

    /// Bytes that training of this network would hold: parameters with their slots, activations and their
    /// gradients, and what a method takes beyond that. Nothing is allocated.
    ///
    /// # Errors
    /// If the network cannot be run.
    pub fn planned_bytes(
        graph: &Graph,
        active: &[Option<usize>],
        options: &Options,
        momentum: bool,
        extra: Extra,
    ) -> Result<usize> {
        let training = Plan::compile(graph, options.batch, Purpose::Training)?;
        let evaluation = Plan::compile(graph, options.evaluation_batch, Purpose::Evaluation)?;
        let parameters: usize = graph
            .parameters()
            .iter()
            .zip(active)
            .map(|(p, &count)| weights::planned_bytes(p.len(), count, options.compute, momentum))
            .sum();
        let sparse =
            || graph.parameters().iter().zip(active).filter_map(|(p, &count)| Some((p.len(), count?)));
        let all: usize = sparse().map(|(len, _)| len).sum();
        let kept = usize::from(extra.gradients)
            + usize::from(extra.keep.average)
            + usize::from(extra.keep.inactive) * (1 + usize::from(momentum));
        let signs = if extra.keep.signs { sparse().map(|(_, count)| count).sum() } else { 0 };
        let scored = |(p, count): &(&rigl_graph::Parameter, &Option<usize>)| {
            extra.scored && p.kind == ParameterKind::ConvWeight && count.is_some()
        };
        let largest = graph.parameters().iter().zip(active).filter(scored).map(|(p, _)| p.len()).max();
        let activations = 4 * training.arena.max(evaluation.arena);
        let scratch = training.workspace.max(evaluation.workspace).bytes(options.threads);
        let masks = training.dropouts.iter().map(|dropout| dropout.mask_words(options.batch));
        let masks = 2 * masks.sum::<Result<usize>>()?;
        Ok(parameters + activations + scratch + masks + 4 * (largest.unwrap_or(0) + kept * all + signs))
    }

    /// The first parameter that holds a number that is not finite, in its values or its gradient.
    pub fn non_finite(&self) -> Option<&str> {
        let finite = |v: &[f32]| v.iter().all(|x| x.is_finite());
        self.parameters.iter().find(|p| !finite(&p.values) || !finite(&p.gradient)).map(|p| p.name.as_str())
    }
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
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
mod pass_tests;
