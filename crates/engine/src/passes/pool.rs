//! Pooling by windows.

use rigl_base::Result;
use rigl_kernels::WorkspaceSize;
use rigl_kernels::map::{DataGradient, passes};
use rigl_kernels::pool::{AveragePool, AveragePoolBackward, MaxPool, MaxPoolBackward, PoolShape};

use super::{Pass, Purpose, Reread};
use crate::request::kernel;
use crate::run::{Lent, Run};
use crate::value::{Back, Operand, Value};

/// How a pool computes its results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PoolKind {
    Max,
    Average,
}

/// Max or average pooling.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) kind: PoolKind,
    pub(crate) shape: PoolShape,
    pub(crate) x: Operand,
    pub(crate) y: Value,
}

impl Pass for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn operands(&self) -> &[Operand] {
        std::slice::from_ref(&self.x)
    }

    fn output(&self) -> Option<Value> {
        Some(self.y)
    }

    fn rereads(&self) -> &'static [Reread] {
        &[Reread::Operand(0)]
    }

    fn workspace(&self, samples: usize, _purpose: Purpose) -> WorkspaceSize {
        MaxPoolBackward::workspace(&self.shape, samples)
            .max(AveragePoolBackward::workspace(&self.shape, samples))
            .max(passes::workspace(self.shape.output(), samples))
    }

    fn forward(&self, run: &mut Run<'_>) -> Result<()> {
        let samples = run.samples();
        let reads = [run.buffers.source(self.x.source, samples)];
        let writes = [run.buffers.range(self.y.buffer, samples)];
        let Lent { reads: [x], writes: [y], views, machine, .. } = run.lend(reads, writes)?;
        let (shape, x) = (self.shape, views.of(self.x, x));
        match self.kind {
            PoolKind::Max => MaxPool { shape, x, y, samples }.run(machine),
            PoolKind::Average => AveragePool { shape, x, y, samples }.run(machine),
        }
        .map_err(kernel)
    }

    fn backward(&self, run: &mut Run<'_>, back: &Back) -> Result<()> {
        let Some(&Some(target)) = back.targets.first() else { return Ok(()) };
        let samples = run.samples();
        let [direct, dz, map] = run.gradient_ranges(back.gradient);
        let reads = [run.buffers.source(self.x.source, samples), direct, dz, map];
        let writes = [run.buffers.range(target.out, samples)];
        let Lent { reads: [x, direct, dz, map], writes: [out], views, sums, machine, workspace, .. } =
            run.lend(reads, writes)?;
        let (shape, x) = (self.shape, views.of(self.x, x));
        let gradient = views.gradient(back.gradient, [direct, dz, map]);
        let data = DataGradient { out, accumulate: target.accumulate, sums: views.sums(target, sums) };
        match self.kind {
            PoolKind::Max => MaxPoolBackward { shape, x, gradient, data, samples }.run(machine, workspace),
            PoolKind::Average => {
                AveragePoolBackward { shape, x, gradient, data, samples }.run(machine, workspace)
            }
        }
        .map_err(kernel)?;
        run.finish(Some(target))
    }
}
