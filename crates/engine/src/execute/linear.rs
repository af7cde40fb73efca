//! Passes over vectors: linear layers, ReLU, the loss.

use rigl_base::{Error, Result};
use rigl_kernels::linear::{self, Epilogue, LinearShape};
use rigl_kernels::loss::{LossSums, softmax_cross_entropy};
use rigl_kernels::vector::layout;
use rigl_kernels::{Machine, elementwise};

use super::{Clock, Collect, Collects, Context};
use crate::batch::Batch;
use crate::plan::{BufferId, Source, Target};
use crate::request::{MicroBatch, kernel};
use crate::weights::{Parameter, Storage, Stream};

/// A linear layer in a plan.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) weight: usize,
    pub(super) bias: Option<usize>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) relu: bool,
    pub(super) x: Source,
    pub(super) y: BufferId,
}

impl Context<'_> {
    pub(super) fn linear(&mut self, layer: Layer, batch: &Batch) -> Result<()> {
        let Layer { weight, bias, inputs, outputs, relu, x, y } = layer;
        let samples = batch.samples();
        let groups = layout::groups(samples);
        let (reads, writes) = ([self.plan.source(x, samples)], [self.plan.range(y, samples)]);
        let ([x_arena], [y]) = self.arena.borrow(reads, writes).map_err(kernel)?;
        let x = if x == Source::Batch { &batch.map } else { x_arena };
        let bias = bias.map(|b| self.parameters[b].values.as_slice());
        let epilogue = if relu { Epilogue::Relu } else { Epilogue::None };
        let p = &self.parameters[weight];
        match &p.storage {
            Storage::Sparse { stream: Stream::Linear(stream), .. } => {
                linear::sparse::forward(self.machine, stream, &p.values, bias, x, y, groups, epilogue)
            }
            Storage::Sparse { .. } => return Err(wrong_storage(p)),
            Storage::Dense | Storage::Masked { .. } => {
                let shape = LinearShape { outputs, inputs, groups };
                linear::dense::forward(self.machine, shape, &p.values, bias, x, y, epilogue)
            }
        }
        .map_err(kernel)
    }

    pub(super) fn relu(&mut self, x: Source, y: BufferId, batch: &Batch) -> Result<()> {
        let samples = batch.samples();
        let (reads, writes) = ([self.plan.source(x, samples)], [self.plan.range(y, samples)]);
        let ([x_arena], [y]) = self.arena.borrow(reads, writes).map_err(kernel)?;
        let x = if x == Source::Batch { &batch.map } else { x_arena };
        elementwise::relu(self.machine, x, y).map_err(kernel)
    }

    /// With a weight, the loss leaves its gradient, scaled by it.
    pub(super) fn loss(
        &mut self,
        classes: usize,
        smoothing: f32,
        logits: Source,
        gradient: Option<BufferId>,
        batch: &Batch,
        weight: Option<f32>,
    ) -> Result<LossSums> {
        let samples = batch.samples();
        let gradient = gradient.filter(|_| weight.is_some());
        let reads = [self.plan.source(logits, samples)];
        let writes = [self.plan.optional(gradient, samples)];
        let ([z], [dz]) = self.arena.borrow(reads, writes).map_err(kernel)?;
        let dz = gradient.map(|_| dz);
        let weight = weight.unwrap_or(0.0);
        softmax_cross_entropy(self.machine, classes, z, &batch.labels, smoothing, weight, dz).map_err(|e| {
            match e {
                rigl_kernels::Error::Index { found, limit, .. } => {
                    Error::data(format!("label {found}, expected one below the {limit} classes"))
                }
                e => kernel(e),
            }
        })
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn linear_backward(
        &mut self,
        index: usize,
        layer: Layer,
        gated: bool,
        dy: BufferId,
        dx: Option<Target>,
        step: MicroBatch,
        collect: &Collects,
    ) -> Result<()> {
        let Layer { weight, bias, inputs, outputs, x, .. } = layer;
        let samples = step.batch.samples();
        let groups = layout::groups(samples);
        let shape = LinearShape { outputs, inputs, groups };
        let reads = [self.plan.source(x, samples), self.plan.range(dy, samples)];
        let accumulate = dx.is_some_and(|target| target.accumulate);
        let writes = [self.plan.optional(dx.map(|target| target.out), samples)];
        let ([x_arena, dy], [dx]) = self.arena.borrow(reads, writes).map_err(kernel)?;
        let x = if x == Source::Batch { &step.batch.map } else { x_arena };
        let clock = Clock::start(&self.times);
        if let Some(bias) = bias {
            let gradient = &mut self.parameters[bias].gradient;
            linear::dense::bias_gradient(self.machine, outputs, groups, dy, gradient, !step.first)
                .map_err(kernel)?;
        }
        let p = &mut self.parameters[weight];
        let collect = collect.get(weight).and_then(Option::as_ref);
        weight_gradient(self.machine, p, &mut self.dense[weight], shape, x, dy, step, collect)?;
        clock.stop(&mut self.times, index, |times| &mut times.weights);
        if !dx.is_empty() {
            let clock = Clock::start(&self.times);
            let epilogue = if gated { Epilogue::Gate(x) } else { Epilogue::None };
            data_gradient(self.machine, p, shape, dy, dx, epilogue, accumulate)?;
            clock.stop(&mut self.times, index, |times| &mut times.data);
        }
        Ok(())
    }

    pub(super) fn relu_backward(
        &mut self,
        y: BufferId,
        dy: BufferId,
        Target { out, accumulate, .. }: Target,
        samples: usize,
    ) -> Result<()> {
        let range = |buffer| self.plan.range(buffer, samples);
        let ([y, dy], [dx]) = self.arena.borrow([range(y), range(dy)], [range(out)]).map_err(kernel)?;
        elementwise::relu_backward(self.machine, y, dy, dx, accumulate).map_err(kernel)
    }
}

fn wrong_storage(p: &Parameter) -> Error {
    Error::internal(format!("parameter `{}` is stored for another kind of layer", p.name))
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
    collect: Option<&Collect>,
) -> Result<()> {
    let push = |worker: usize, first: u32, tile: &[f32], active: &[u32]| {
        if let Some(Collect::Largest(collectors)) = collect {
            let mut collector = collectors[worker].lock().unwrap_or_else(|e| e.into_inner());
            collector.push_by(first, tile, active, f32::abs);
        }
    };
    match &p.storage {
        Storage::Dense | Storage::Masked { .. } => {
            linear::dense::gradient(machine, shape, x, dy, &mut p.gradient, !step.first).map_err(kernel)?;
            match (collect, &p.storage) {
                (Some(Collect::All), _) if step.last => {
                    dense.clear();
                    dense.extend_from_slice(&p.gradient);
                }
                (_, Storage::Masked { pattern, .. }) if step.last => {
                    push(0, 0, &p.gradient, pattern.indices());
                }
                _ => {}
            }
        }
        Storage::Sparse { stream: Stream::Conv(_), .. } => return Err(wrong_storage(p)),
        Storage::Sparse { pattern, stream: Stream::Linear(stream) } => {
            linear::sparse::gradient(machine, stream, x, dy, &mut p.gradient, shape.groups, !step.first)
                .map_err(kernel)?;
            if matches!(collect, Some(Collect::Largest(_))) && step.first && step.last {
                // One micro-batch: the dense gradient is scored tile by tile and never stored.
                linear::dense::growth(machine, shape, x, dy, &|worker, first, tile| {
                    push(worker, first, tile, pattern.indices());
                })
                .map_err(kernel)?;
            } else if collect.is_some() {
                dense.resize(shape.outputs * shape.inputs, 0.0);
                linear::dense::gradient(machine, shape, x, dy, dense, !step.first).map_err(kernel)?;
                if step.last && matches!(collect, Some(Collect::Largest(_))) {
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
    accumulate: bool,
) -> Result<()> {
    match &p.storage {
        Storage::Dense | Storage::Masked { .. } => {
            linear::dense::backward_data(machine, shape, &p.values, dy, dx, epilogue, accumulate)
        }
        Storage::Sparse { stream: Stream::Conv(_), .. } => return Err(wrong_storage(p)),
        Storage::Sparse { stream: Stream::Linear(stream), .. } => {
            let groups = shape.groups;
            linear::sparse::backward_data(machine, stream, &p.values, dy, dx, groups, epilogue, accumulate)
        }
    }
    .map_err(kernel)
}
