//! Passes over maps: convolutions, additions, pooling, and the ways between maps and vectors.

use std::sync::Mutex;

use rigl_base::random::{Purpose, Stream, name_id, pair_id};
use rigl_base::{Error, Result};
use rigl_kernels::Machine;
use rigl_kernels::conv::{Backward, Forward, WeightGradient};
use rigl_kernels::map::dropout::{MaskStream, draw_mask};
use rigl_kernels::map::passes::{Add, Route};
use rigl_kernels::map::{DataGradient, Dropout, GradientView, MapShape, View, blocks};
use rigl_topology::Largest;

use super::{Clock, Collect, Collects, Context};
use crate::batch::Batch;
use crate::norms::Norm;
use crate::plan::{BufferId, GradientOf, Plan, Source, Target, ViewOf};
use crate::request::{MicroBatch, kernel};
use crate::weights::{DenseConv, Form, Parameter, Storage, Stream as Compiled};

/// What views are made of, beside the maps themselves.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    plan: &'a Plan,
    parameters: &'a [Parameter],
    norms: &'a [Norm],
    masks: &'a [Vec<u16>],
}

impl<'a> Around<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        parameters: &'a [Parameter],
        norms: &'a [Norm],
        masks: &'a [Vec<u16>],
    ) -> Around<'a> {
        Around { plan, parameters, norms, masks }
    }

    /// The view of a stored map, or of the batch.
    pub(super) fn view(&self, of: ViewOf, in_arena: &'a [f32], batch: &'a Batch) -> View<'a> {
        let map: &[f32] = if of.source == Source::Batch { &batch.map } else { in_arena };
        let dropout = of.dropout.map(|number| Dropout {
            keep: &self.masks[number][..map.len() / 16],
            scale: 1.0 / (1.0 - self.plan.dropouts[number].probability),
        });
        let norm = of.norm.map(|norm| self.norms[norm].affine(self.parameters));
        View { map, norm, relu: of.relu, dropout }
    }

    pub(super) fn gradient(
        &self,
        of: GradientOf,
        [direct, dz, x]: [&'a [f32]; 3],
        batch: &'a Batch,
    ) -> GradientView<'a> {
        let x = if of.of == Source::Batch { &batch.map } else { x };
        GradientView {
            direct: of.direct.map(|_| direct),
            norm: of.norm.map(|(norm, _)| self.norms[norm].gradient(dz, x)),
        }
    }
}

/// The parts of the arena that a gradient is read from: direct, behind the norm, the map.
pub(super) fn gradient_ranges(plan: &Plan, of: GradientOf, samples: usize) -> [std::ops::Range<usize>; 3] {
    let dz = of.norm.map(|(_, dz)| dz);
    let x = if of.norm.is_some() { plan.source(of.of, samples) } else { 0..0 };
    [plan.optional(of.direct, samples), plan.optional(dz, samples), x]
}

impl Context<'_> {
    /// Draws the masks of all dropouts for a part of a step's batch.
    pub(super) fn draw_masks(&mut self, part: MicroBatch) -> Result<()> {
        for (of, mask) in self.plan.dropouts.iter().zip(&mut self.scratch.masks) {
            let id = pair_id(name_id(&of.name), pair_id(part.draw, part.number));
            let stream = Stream::new(part.seed, Purpose::Dropout, id);
            let words = of.shape.len(blocks(part.batch.samples())).map_err(kernel)? / 16;
            let mask = mask.get_mut(..words).ok_or_else(|| Error::internal("dropout mask too short"))?;
            let (key, counter) = stream.words();
            draw_mask(self.machine, MaskStream { key, counter }, of.probability, mask).map_err(kernel)?;
        }
        Ok(())
    }

    /// Prepares the shift of sums for norms, if there are any.
    fn shift(&mut self, norms: &[usize]) -> usize {
        let Some(&first) = norms.first() else { return 0 };
        let running = &self.norms[first].running_mean.values;
        self.scratch.shift[..running.len()].copy_from_slice(running);
        running.len()
    }

    /// Gives norms the statistics that a pass has summed up.
    fn measured(&mut self, norms: &[usize], channels: usize, samples: usize) -> Result<()> {
        for &norm in norms {
            let (sums, shift) = (&self.scratch.sums[..2 * channels], &self.scratch.shift[..channels]);
            self.norms[norm].measured(sums, shift, samples, self.parameters)?;
        }
        Ok(())
    }

    /// A convolution of a view, plus a residual, with the statistics of the result for the norms that read it.
    pub(super) fn conv(
        &mut self,
        (weight, bias): (usize, Option<usize>),
        x: ViewOf,
        residual: Option<ViewOf>,
        y: BufferId,
        norms: &[usize],
        batch: &Batch,
    ) -> Result<()> {
        let samples = batch.samples();
        let channels = self.shift(norms);
        let plan = self.plan;
        let reads =
            [plan.source(x.source, samples), residual.map_or(0..0, |view| plan.source(view.source, samples))];
        let ([x_map, r_map], [y]) = self.arena.borrow(reads, [plan.range(y, samples)]).map_err(kernel)?;
        let (masks, statistics) = self.scratch.lend(channels);
        let around = Around::new(plan, self.parameters, self.norms, masks);
        Forward {
            weights: self.parameters[weight].conv_weights()?,
            bias: bias.map(|bias| self.parameters[bias].values.as_slice()),
            x: around.view(x, x_map, batch),
            residual: residual.map(|view| around.view(view, r_map, batch)),
            y,
            statistics,
            samples,
        }
        .run(self.machine, self.workspace)
        .map_err(kernel)?;
        self.measured(norms, channels, samples)
    }

    pub(super) fn add(
        &mut self,
        shape: MapShape,
        a: ViewOf,
        b: Option<ViewOf>,
        y: Option<BufferId>,
        norms: &[usize],
        batch: &Batch,
    ) -> Result<()> {
        let samples = batch.samples();
        let channels = self.shift(norms);
        let plan = self.plan;
        let reads =
            [plan.source(a.source, samples), b.map_or(0..0, |view| plan.source(view.source, samples))];
        let ([a_map, b_map], [y_map]) =
            self.arena.borrow(reads, [plan.optional(y, samples)]).map_err(kernel)?;
        let (masks, statistics) = self.scratch.lend(channels);
        let around = Around::new(plan, self.parameters, self.norms, masks);
        Add {
            shape,
            a: around.view(a, a_map, batch),
            b: b.map(|view| around.view(view, b_map, batch)),
            y: y.map(|_| y_map),
            statistics,
            samples,
        }
        .run(self.machine, self.workspace)
        .map_err(kernel)?;
        self.measured(norms, channels, samples)
    }

    /// Hands the sums that a step has made to the norm that it finishes.
    pub(super) fn finish(&mut self, target: Option<Target>, part: MicroBatch) -> Result<()> {
        let Some(norm) = target.and_then(|target| target.finishes) else { return Ok(()) };
        let norm = &mut self.norms[norm];
        let sums = &self.scratch.sums[..2 * norm.channels()];
        norm.finish(sums, part.batch.samples(), !part.first, self.parameters)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn conv_backward(
        &mut self,
        index: usize,
        (weight, bias): (usize, Option<usize>),
        x: ViewOf,
        gradient: GradientOf,
        keep: Option<BufferId>,
        data: Option<Target>,
        part: MicroBatch,
        collect: &Collects,
    ) -> Result<()> {
        let collect = collect.get(weight).and_then(Option::as_ref);
        let (mut of_weight, mut of_bias) = (
            std::mem::take(&mut self.parameters[weight].gradient),
            bias.map(|bias| std::mem::take(&mut self.parameters[bias].gradient)),
        );
        let mut of_dense = std::mem::take(&mut self.dense[weight]);
        let pass = ConvPass { weight, x, gradient, keep, data, collecting: collect.is_some() };
        let mut result = if self.times.is_none() {
            self.conv_gradients(pass, part, &mut of_weight, of_bias.as_deref_mut(), &mut of_dense)
        } else {
            // One half after the other, so that each has its time.
            let clock = Clock::start(&self.times);
            let first = ConvPass { data: None, ..pass };
            let mut result =
                self.conv_gradients(first, part, &mut of_weight, of_bias.as_deref_mut(), &mut of_dense);
            clock.stop(&mut self.times, index, |times| &mut times.weights);
            if data.is_some() && result.is_ok() {
                let clock = Clock::start(&self.times);
                result = self.conv_gradients(
                    ConvPass { keep: None, ..pass },
                    part,
                    &mut [],
                    None,
                    &mut Vec::new(),
                );
                clock.stop(&mut self.times, index, |times| &mut times.data);
            }
            result
        };
        match (collect, self.parameters[weight].pattern()) {
            (Some(Collect::Largest(collectors)), Some(pattern)) if part.last && result.is_ok() => {
                let scores: &[f32] = if of_dense.is_empty() { &of_weight } else { &of_dense };
                result = push(self.machine, collectors, scores, pattern.indices());
                of_dense = Vec::new();
            }
            // A gradient that is dense anyway holds those of inactive positions until the step.
            (Some(Collect::All), _) if part.last && of_weight.len() == self.parameters[weight].len() => {
                of_dense.clear();
                of_dense.extend_from_slice(&of_weight);
            }
            _ => {}
        }
        self.parameters[weight].gradient = of_weight;
        self.dense[weight] = of_dense;
        if let (Some(bias), Some(of_bias)) = (bias, of_bias) {
            self.parameters[bias].gradient = of_bias;
        }
        result?;
        self.finish(data, part)
    }

    /// The gradients of a convolution; of weight and bias only where there is room for them.
    fn conv_gradients(
        &mut self,
        pass: ConvPass,
        part: MicroBatch,
        of_weight: &mut [f32],
        of_bias: Option<&mut [f32]>,
        of_dense: &mut Vec<f32>,
    ) -> Result<()> {
        let ConvPass { weight, x, gradient, keep, data, collecting } = pass;
        let (batch, plan) = (part.batch, self.plan);
        let samples = batch.samples();
        let [direct, dz, map] = gradient_ranges(plan, gradient, samples);
        let reads = [plan.source(x.source, samples), direct, dz, map];
        let out = data.map(|target| target.out);
        let writes = [plan.optional(keep, samples), plan.optional(out, samples)];
        let ([x_map, direct, dz, map], [kept, dx]) = self.arena.borrow(reads, writes).map_err(kernel)?;
        let around = Around::new(plan, self.parameters, self.norms, &self.scratch.masks);
        let p = &self.parameters[weight];
        // Where positions are to grow, the whole gradient is computed, and that of the active ones is read from it.
        let grows = collecting && !of_weight.is_empty() && matches!(p.storage, Storage::Sparse { .. });
        if grows {
            of_dense.resize(p.len(), 0.0);
        }
        let target = match (&p.storage, &p.form) {
            _ if of_weight.is_empty() => WeightGradient::None,
            (Storage::Sparse { .. }, Form::Conv(_, DenseConv::Taps(taps))) if grows => {
                WeightGradient::Dense(taps, of_dense)
            }
            (Storage::Sparse { .. }, Form::Conv(_, DenseConv::Full(stream))) if grows => {
                WeightGradient::Sparse(stream, of_dense)
            }
            (Storage::Sparse { stream: Compiled::Conv(stream), .. }, _) => {
                WeightGradient::Sparse(stream, of_weight)
            }
            (_, Form::Conv(_, DenseConv::Taps(taps))) => WeightGradient::Dense(taps, of_weight),
            (_, Form::Conv(_, DenseConv::Full(stream))) => WeightGradient::Sparse(stream, of_weight),
            _ => return Err(Error::internal(format!("parameter `{}` is of no convolution", p.name))),
        };
        let sums = data.and_then(|target| sums_of(target, self.norms, &mut self.scratch.sums));
        Backward {
            weights: p.conv_weights()?,
            x: around.view(x, x_map, batch),
            gradient: around.gradient(gradient, [direct, dz, map], batch),
            keep: keep.map(|_| kept),
            weight: target,
            bias: of_bias,
            accumulate: !part.first,
            data: data.map(|target| DataGradient { out: dx, accumulate: target.accumulate, sums }),
            samples,
        }
        .run(self.machine, self.workspace)
        .map_err(kernel)?;
        if let (true, Some(pattern)) = (grows, p.pattern()) {
            of_weight.iter_mut().zip(pattern.indices()).for_each(|(g, &i)| *g = of_dense[i as usize]);
        }
        Ok(())
    }

    pub(super) fn route(
        &mut self,
        shape: MapShape,
        view: ViewOf,
        gradient: GradientOf,
        target: Target,
        part: MicroBatch,
    ) -> Result<()> {
        let (batch, plan) = (part.batch, self.plan);
        let samples = batch.samples();
        let [direct, dz, map] = gradient_ranges(plan, gradient, samples);
        let reads = [plan.source(view.source, samples), direct, dz, map];
        let ([v_map, direct, dz, map], [out]) =
            self.arena.borrow(reads, [plan.range(target.out, samples)]).map_err(kernel)?;
        let around = Around::new(plan, self.parameters, self.norms, &self.scratch.masks);
        let sums = sums_of(target, self.norms, &mut self.scratch.sums);
        Route {
            shape,
            gradient: around.gradient(gradient, [direct, dz, map], batch),
            view: around.view(view, v_map, batch),
            out,
            accumulate: target.accumulate,
            sums,
            samples,
        }
        .run(self.machine, self.workspace)
        .map_err(kernel)?;
        self.finish(Some(target), part)
    }
}

/// What is asked of a convolution's backward pass.
#[derive(Clone, Copy)]
struct ConvPass {
    weight: usize,
    x: ViewOf,
    gradient: GradientOf,
    keep: Option<BufferId>,
    data: Option<Target>,
    collecting: bool,
}

/// Room for the sums of the norm that a gradient finishes.
pub(super) fn sums_of<'s>(target: Target, norms: &[Norm], sums: &'s mut [f64]) -> Option<&'s mut [f64]> {
    target.finishes.map(|norm| &mut sums[..2 * norms[norm].channels()])
}

/// Numbers of a dense gradient that one task scores.
const SCORED: usize = 1 << 14;

/// Pushes a dense gradient to the selection, piece by piece.
fn push(machine: &Machine, collectors: &[Mutex<Largest>], scores: &[f32], active: &[u32]) -> Result<()> {
    let score = |worker: usize, piece: usize| {
        let first = piece * SCORED;
        let piece = &scores[first..scores.len().min(first + SCORED)];
        let mut collector = collectors[worker].lock().unwrap_or_else(|e| e.into_inner());
        collector.push_by(first as u32, piece, active, f32::abs);
    };
    machine.pool.run(scores.len().div_ceil(SCORED), &score).map_err(kernel)
}
