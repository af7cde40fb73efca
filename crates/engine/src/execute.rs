//! Runs a plan: forward in its order, backward in reverse.

use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rigl_base::{Error, Result};
use rigl_kernels::linear_dense::{self, LinearShape};
use rigl_kernels::loss::{LossSums, softmax_cross_entropy};
use rigl_kernels::{Arena, Epilogue, Machine, elementwise, layout, linear_sparse};
use rigl_topology::Largest;

use crate::batch::Batch;
use crate::plan::{Pass, Plan, Source};
use crate::request::{MicroBatch, Outcome, kernel};
use crate::weights::{Parameter, Storage};

/// What a pass works on.
pub(crate) struct Context<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) plan: &'a Plan,
    pub(crate) arena: &'a mut Arena,
    pub(crate) parameters: &'a mut [Parameter],
    pub(crate) dense: &'a mut [Vec<f32>],
    /// One entry per pass, where times are wanted.
    pub(crate) times: Option<&'a mut [PassTimes]>,
}

/// Where the time of a pass went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PassTimes {
    pub(crate) forward: Duration,
    pub(crate) weights: Duration,
    pub(crate) data: Duration,
}

/// Collectors of growth candidates: per parameter, per worker. Empty where nothing grows in this step.
type Collect = [Option<Vec<Mutex<Largest>>>];

impl Context<'_> {
    /// See [`Session::accumulate`](crate::Session::accumulate).
    pub(crate) fn accumulate(mut self, part: MicroBatch, collect: &Collect) -> Result<Outcome> {
        let weight = (1.0 / part.of_samples as f64) as f32;
        let sums = self.forward(part.batch, Some(weight))?;
        for (index, pass) in self.plan.passes.iter().enumerate().rev() {
            self.backward(index, pass, part, collect)?;
        }
        Ok(outcome(sums, part.batch))
    }

    /// See [`Session::evaluate`](crate::Session::evaluate).
    pub(crate) fn evaluate(mut self, batch: &Batch) -> Result<Outcome> {
        let sums = self.forward(batch, None)?;
        Ok(outcome(sums, batch))
    }

    /// All passes forward. With a weight, the loss leaves its gradient, scaled by it.
    fn forward(&mut self, batch: &Batch, weight: Option<f32>) -> Result<LossSums> {
        let groups = layout::groups(batch.samples());
        let mut sums = LossSums::default();
        for (index, pass) in self.plan.passes.iter().enumerate() {
            let clock = Clock::start(&self.times);
            match pass {
                &Pass::Linear { weight, bias, inputs, outputs, relu, ref x, ref y, .. } => {
                    let y = part(y, outputs, groups);
                    let ([x_arena], [y]) =
                        self.arena.borrow([source(x, inputs, groups)], [y]).map_err(kernel)?;
                    let x = if *x == Source::Batch { &batch.map } else { x_arena };
                    let bias = bias.map(|b| self.parameters[b].values.as_slice());
                    let epilogue = if relu { Epilogue::Relu } else { Epilogue::None };
                    let p = &self.parameters[weight];
                    match &p.storage {
                        Storage::Sparse { stream, .. } => linear_sparse::forward(
                            self.machine,
                            stream,
                            &p.values,
                            bias,
                            x,
                            y,
                            groups,
                            epilogue,
                        ),
                        Storage::Dense | Storage::Masked { .. } => {
                            let shape = LinearShape { outputs, inputs, groups };
                            linear_dense::forward(self.machine, shape, &p.values, bias, x, y, epilogue)
                        }
                    }
                    .map_err(kernel)?;
                }
                Pass::Relu { x, y, .. } => {
                    let (x_range, y) = whole(x, y, self.plan.batch, groups);
                    let ([x_arena], [y]) = self.arena.borrow([x_range], [y]).map_err(kernel)?;
                    let x = if *x == Source::Batch { &batch.map } else { x_arena };
                    elementwise::relu(self.machine, x, y).map_err(kernel)?;
                }
                &Pass::Loss { classes, smoothing, ref logits, ref gradient } => {
                    let logits = part(logits, classes, groups);
                    let labels = &batch.labels;
                    let result = match weight {
                        None => {
                            let ([z], []) = self.arena.borrow([logits], []).map_err(kernel)?;
                            softmax_cross_entropy(self.machine, classes, z, labels, smoothing, 0.0, None)
                        }
                        Some(weight) => {
                            let gradient = part(gradient, classes, groups);
                            let ([z], [dz]) = self.arena.borrow([logits], [gradient]).map_err(kernel)?;
                            softmax_cross_entropy(
                                self.machine,
                                classes,
                                z,
                                labels,
                                smoothing,
                                weight,
                                Some(dz),
                            )
                        }
                    };
                    sums = result.map_err(|e| match e {
                        rigl_kernels::Error::Index { found, limit, .. } => {
                            Error::data(format!("label {found}, expected one below the {limit} classes"))
                        }
                        e => kernel(e),
                    })?;
                }
            }
            clock.stop(&mut self.times, index, |times| &mut times.forward);
        }
        Ok(sums)
    }

    fn backward(&mut self, index: usize, pass: &Pass, step: MicroBatch, collect: &Collect) -> Result<()> {
        let batch = step.batch;
        let groups = layout::groups(batch.samples());
        match pass {
            &Pass::Linear { weight, bias, inputs, outputs, gated, ref x, ref dx, ref dy, .. } => {
                let shape = LinearShape { outputs, inputs, groups };
                let reads = [source(x, inputs, groups), part(dy, outputs, groups)];
                let dx = dx.as_ref().map_or(0..0, |dx| part(dx, inputs, groups));
                let ([x_arena, dy], [dx]) = self.arena.borrow(reads, [dx]).map_err(kernel)?;
                let x = if *x == Source::Batch { &batch.map } else { x_arena };
                let clock = Clock::start(&self.times);
                if let Some(bias) = bias {
                    let gradient = &mut self.parameters[bias].gradient;
                    linear_dense::bias_gradient(self.machine, outputs, groups, dy, gradient, !step.first)
                        .map_err(kernel)?;
                }
                let p = &mut self.parameters[weight];
                let collect = collect.get(weight).and_then(Option::as_deref);
                weight_gradient(self.machine, p, &mut self.dense[weight], shape, x, dy, step, collect)?;
                clock.stop(&mut self.times, index, |times| &mut times.weights);
                if !dx.is_empty() {
                    let clock = Clock::start(&self.times);
                    let epilogue = if gated { Epilogue::Gate(x) } else { Epilogue::None };
                    data_gradient(self.machine, p, shape, dy, dx, epilogue)?;
                    clock.stop(&mut self.times, index, |times| &mut times.data);
                }
            }
            Pass::Relu { y, dx: Some(dx), dy, .. } => {
                let shrink = |r: &Range<usize>| shrink(r, self.plan.batch, groups);
                let ([y, dy], [dx]) =
                    self.arena.borrow([shrink(y), shrink(dy)], [shrink(dx)]).map_err(kernel)?;
                elementwise::relu_backward(self.machine, y, dy, dx).map_err(kernel)?;
            }
            // The loss left its gradient in the forward pass; the batch needs none.
            Pass::Relu { dx: None, .. } | Pass::Loss { .. } => {}
        }
        Ok(())
    }
}

/// A clock that is read only where times are wanted.
struct Clock(Option<Instant>);

impl Clock {
    fn start(times: &Option<&mut [PassTimes]>) -> Clock {
        Clock(times.is_some().then(Instant::now))
    }

    fn stop(
        self,
        times: &mut Option<&mut [PassTimes]>,
        pass: usize,
        part: impl FnOnce(&mut PassTimes) -> &mut Duration,
    ) {
        if let (Some(start), Some(times)) = (self.0, times) {
            *part(&mut times[pass]) += start.elapsed();
        }
    }
}

fn outcome(sums: LossSums, batch: &Batch) -> Outcome {
    Outcome { loss: sums.loss, correct: sums.correct, samples: batch.samples() }
}

/// The gradient of a weight, and the growth candidates among its dense gradient if they are asked for.
#[allow(clippy::too_many_arguments)]
fn weight_gradient(
    machine: &Machine,
    p: &mut Parameter,
    dense: &mut Vec<f32>,
    shape: LinearShape,
    x: &[f32],
    dy: &[f32],
    step: MicroBatch,
    collect: Option<&[Mutex<Largest>]>,
) -> Result<()> {
    let push = |worker: usize, first: u32, tile: &[f32], active: &[u32]| {
        if let Some(collectors) = collect {
            let mut collector = collectors[worker].lock().unwrap_or_else(|e| e.into_inner());
            collector.push_by(first, tile, active, f32::abs);
        }
    };
    match &p.storage {
        Storage::Dense | Storage::Masked { .. } => {
            linear_dense::gradient(machine, shape, x, dy, &mut p.gradient, !step.first).map_err(kernel)?;
            if let (true, Storage::Masked { pattern, .. }) = (step.last, &p.storage) {
                push(0, 0, &p.gradient, pattern.indices());
            }
        }
        Storage::Sparse { pattern, stream, .. } => {
            linear_sparse::gradient(machine, stream, x, dy, &mut p.gradient, shape.groups, !step.first)
                .map_err(kernel)?;
            if collect.is_some() && step.first && step.last {
                // One micro-batch: the dense gradient is scored tile by tile and never stored.
                linear_dense::growth(machine, shape, x, dy, &|worker, first, tile| {
                    push(worker, first, tile, pattern.indices());
                })
                .map_err(kernel)?;
            } else if collect.is_some() {
                dense.resize(shape.outputs * shape.inputs, 0.0);
                linear_dense::gradient(machine, shape, x, dy, dense, !step.first).map_err(kernel)?;
                if step.last {
                    push(0, 0, dense, pattern.indices());
                    *dense = Vec::new();
                }
            }
        }
    }
    Ok(())
}

fn data_gradient(
    machine: &Machine,
    p: &Parameter,
    shape: LinearShape,
    dy: &[f32],
    dx: &mut [f32],
    epilogue: Epilogue,
) -> Result<()> {
    match &p.storage {
        Storage::Dense | Storage::Masked { .. } => {
            linear_dense::backward_data(machine, shape, &p.values, dy, dx, epilogue)
        }
        Storage::Sparse { stream, .. } => {
            linear_sparse::backward_data(machine, stream, &p.values, dy, dx, shape.groups, epilogue)
        }
    }
    .map_err(kernel)
}

/// The part of a planned map that a batch of `groups` fills.
fn part(range: &Range<usize>, features: usize, groups: usize) -> Range<usize> {
    range.start..range.start + features * groups * layout::GROUP
}

fn source(x: &Source, features: usize, groups: usize) -> Range<usize> {
    match x {
        Source::Batch => 0..0,
        Source::Arena(range) => part(range, features, groups),
    }
}

/// The part of a map planned for `batch` samples that `groups` fill.
fn shrink(range: &Range<usize>, batch: usize, groups: usize) -> Range<usize> {
    range.start..range.start + range.len() / layout::groups(batch) * groups
}

fn whole(x: &Source, y: &Range<usize>, batch: usize, groups: usize) -> (Range<usize>, Range<usize>) {
    let x = match x {
        Source::Batch => 0..0,
        Source::Arena(range) => shrink(range, batch, groups),
    };
    (x, shrink(y, batch, groups))
}
