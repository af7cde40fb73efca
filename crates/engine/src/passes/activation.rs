//! Functions of one number, where no other pass does them in passing. Of maps a ReLU is a view, behind a linear layer it
//! may be an epilogue.

use rigl_base::Result;
use rigl_kernels::elementwise::{Activation as Function, activate, activate_backward};

use super::{Pass, Reread};
use crate::request::kernel;
use crate::run::{Lent, Run, stored};
use crate::value::{Back, Operand, Value};

/// y = f(x), of any layout.
#[derive(Debug)]
pub(crate) struct Activation {
    pub(crate) function: Function,
    /// Seen as it is stored.
    pub(crate) x: Operand,
    pub(crate) y: Value,
}

impl Pass for Activation {
    fn name(&self) -> &'static str {
        "activation"
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

    fn wants_stored_gradient(&self) -> bool {
        true
    }

    fn forward(&self, run: &mut Run<'_>) -> Result<()> {
        let samples = run.samples();
        let reads = [run.buffers.source(self.x.source, samples)];
        let writes = [run.buffers.range(self.y.buffer, samples)];
        let Lent { reads: [x], writes: [y], views, machine, .. } = run.lend(reads, writes)?;
        activate(machine, self.function, stored(self.x.source, x, views.batch), y).map_err(kernel)
    }

    fn backward(&self, run: &mut Run<'_>, back: &Back) -> Result<()> {
        let (Some(dy), Some(&Some(target))) = (back.gradient.direct, back.targets.first()) else {
            return Ok(());
        };
        let samples = run.samples();
        let reads = [run.buffers.range(self.y.buffer, samples), run.buffers.range(dy, samples)];
        let writes = [run.buffers.range(target.out, samples)];
        let Lent { reads: [y, dy], writes: [dx], machine, .. } = run.lend(reads, writes)?;
        activate_backward(machine, self.function, y, dy, dx, target.accumulate).map_err(kernel)
    }
}
