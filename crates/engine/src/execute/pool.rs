//! Passes that make maps smaller, and the ways between maps and vectors.

use rigl_base::Result;
use rigl_kernels::map::{DataGradient, MapShape};
use rigl_kernels::pool::{AveragePool, AveragePoolBackward, MaxPool, MaxPoolBackward, PoolShape};
use rigl_kernels::vector::reshape::{
    Flatten, FlattenBackward, GlobalAveragePool, GlobalAveragePoolBackward, Unflatten, UnflattenBackward,
};

use super::Context;
use super::conv::{Around, gradient_ranges, sums_of};
use crate::batch::Batch;
use crate::plan::{BufferId, GradientOf, PoolKind, Source, Target, ViewOf, one_position};
use crate::request::{MicroBatch, kernel};

impl Context<'_> {
    pub(super) fn pool(
        &mut self,
        kind: PoolKind,
        shape: PoolShape,
        x: ViewOf,
        y: BufferId,
        batch: &Batch,
    ) -> Result<()> {
        let (plan, samples) = (self.plan, batch.samples());
        let (reads, writes) = ([plan.source(x.source, samples)], [plan.range(y, samples)]);
        let ([map], [y]) = self.arena.borrow(reads, writes).map_err(kernel)?;
        let around = Around::new(plan, self.parameters, self.norms, &self.scratch.masks);
        let x = around.view(x, map, batch);
        match kind {
            PoolKind::Max => MaxPool { shape, x, y, samples }.run(self.machine),
            PoolKind::Average => AveragePool { shape, x, y, samples }.run(self.machine),
        }
        .map_err(kernel)
    }

    pub(super) fn pool_backward(
        &mut self,
        kind: PoolKind,
        shape: PoolShape,
        x: ViewOf,
        gradient: GradientOf,
        target: Target,
        part: MicroBatch,
    ) -> Result<()> {
        let (plan, batch, samples) = (self.plan, part.batch, part.batch.samples());
        let [direct, dz, map] = gradient_ranges(plan, gradient, samples);
        let reads = [plan.source(x.source, samples), direct, dz, map];
        let ([x_map, direct, dz, map], [out]) =
            self.arena.borrow(reads, [plan.range(target.out, samples)]).map_err(kernel)?;
        let around = Around::new(plan, self.parameters, self.norms, &self.scratch.masks);
        let x = around.view(x, x_map, batch);
        let gradient = around.gradient(gradient, [direct, dz, map], batch);
        let sums = sums_of(target, self.norms, &mut self.scratch.sums);
        let data = DataGradient { out, accumulate: target.accumulate, sums };
        match kind {
            PoolKind::Max => {
                MaxPoolBackward { shape, x, gradient, data, samples }.run(self.machine, self.workspace)
            }
            PoolKind::Average => {
                AveragePoolBackward { shape, x, gradient, data, samples }.run(self.machine, self.workspace)
            }
        }
        .map_err(kernel)?;
        self.finish(Some(target), part)
    }

    /// A map becomes a vector: of the means of its channels, or of all its values.
    pub(super) fn vector_of_map(
        &mut self,
        shape: MapShape,
        x: ViewOf,
        y: BufferId,
        means: bool,
        batch: &Batch,
    ) -> Result<()> {
        let (plan, samples) = (self.plan, batch.samples());
        let (reads, writes) = ([plan.source(x.source, samples)], [plan.range(y, samples)]);
        let ([map], [y]) = self.arena.borrow(reads, writes).map_err(kernel)?;
        let x = Around::new(plan, self.parameters, self.norms, &self.scratch.masks).view(x, map, batch);
        match means {
            true => GlobalAveragePool { shape, x, y, samples }.run(self.machine),
            false => Flatten { shape, x, y, samples }.run(self.machine),
        }
        .map_err(kernel)
    }

    pub(super) fn map_of_vector(
        &mut self,
        shape: MapShape,
        x: ViewOf,
        dy: BufferId,
        target: Target,
        means: bool,
        part: MicroBatch,
    ) -> Result<()> {
        let (plan, samples) = (self.plan, part.batch.samples());
        let reads = [plan.source(x.source, samples), plan.range(dy, samples)];
        let ([map, gradient], [out]) =
            self.arena.borrow(reads, [plan.range(target.out, samples)]).map_err(kernel)?;
        let around = Around::new(plan, self.parameters, self.norms, &self.scratch.masks);
        let x = around.view(x, map, part.batch);
        let sums = sums_of(target, self.norms, &mut self.scratch.sums);
        let data = DataGradient { out, accumulate: target.accumulate, sums };
        match means {
            true => GlobalAveragePoolBackward { shape, x, gradient, data, samples }
                .run(self.machine, self.workspace),
            false => FlattenBackward { shape, x, gradient, data, samples }.run(self.machine, self.workspace),
        }
        .map_err(kernel)?;
        self.finish(Some(target), part)
    }

    /// A vector becomes a map of one position, which norms measure.
    pub(super) fn unflatten(
        &mut self,
        features: usize,
        x: Source,
        y: BufferId,
        norms: &[usize],
        batch: &Batch,
    ) -> Result<()> {
        let (plan, samples) = (self.plan, batch.samples());
        let shape = one_position(features);
        let (reads, writes) = ([plan.source(x, samples)], [plan.range(y, samples)]);
        let ([in_arena], [map]) = self.arena.borrow(reads, writes).map_err(kernel)?;
        let x = if x == Source::Batch { &batch.map } else { in_arena };
        Unflatten { shape, x, y: map, samples }.run(self.machine).map_err(kernel)?;
        if norms.is_empty() {
            return Ok(());
        }
        self.add(shape, ViewOf::plain(Source::Buffer(y)), None, None, norms, batch)
    }

    pub(super) fn unflatten_backward(
        &mut self,
        features: usize,
        gradient: GradientOf,
        Target { out, accumulate, .. }: Target,
        part: MicroBatch,
    ) -> Result<()> {
        let (plan, samples) = (self.plan, part.batch.samples());
        let reads = gradient_ranges(plan, gradient, samples);
        let ([direct, dz, map], [out]) =
            self.arena.borrow(reads, [plan.range(out, samples)]).map_err(kernel)?;
        let around = Around::new(plan, self.parameters, self.norms, &self.scratch.masks);
        let gradient = around.gradient(gradient, [direct, dz, map], part.batch);
        let shape = one_position(features);
        UnflattenBackward { shape, gradient, out, accumulate, samples }.run(self.machine).map_err(kernel)
    }
}
