//! A ReLU of a vector on its own. Of maps it is a view, behind a linear layer an epilogue.

use rigl_base::Result;
use rigl_kernels::elementwise;

use super::{Pass, Reread};
use crate::request::kernel;
use crate::run::{Lent, Run, stored};
use crate::value::{Back, Operand, Value};

/// y = max(0, x).
#[derive(Debug)]
pub(crate) struct Relu {
    pub(crate) x: Operand,
    pub(crate) y: Value,
}

impl Pass for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn operands(&self) -> &[Operand] {
        std::slice::from_ref(&self.x)
    }

    fn output(&self) -> Option<Value> {
        Some(self.y)
    }

    fn rereads(&self) -> &'static [Reread] {
        &[Reread::Output]
    }

    fn forward(&self, run: &mut Run<'_>) -> Result<()> {
        let samples = run.samples();
        let reads = [run.buffers.source(self.x.source, samples)];
        let writes = [run.buffers.range(self.y.buffer, samples)];
        let Lent { reads: [x], writes: [y], views, machine, .. } = run.lend(reads, writes)?;
        elementwise::relu(machine, stored(self.x.source, x, views.batch), y).map_err(kernel)
    }

    fn backward(&self, run: &mut Run<'_>, back: &Back) -> Result<()> {
        let (Some(dy), Some(&Some(target))) = (back.gradient.direct, back.targets.first()) else {
            return Ok(());
        };
        let samples = run.samples();
        let reads = [run.buffers.range(self.y.buffer, samples), run.buffers.range(dy, samples)];
        let writes = [run.buffers.range(target.out, samples)];
        let Lent { reads: [y, dy], writes: [dx], machine, .. } = run.lend(reads, writes)?;
        elementwise::relu_backward(machine, y, dy, dx, target.accumulate).map_err(kernel)
    }
}
