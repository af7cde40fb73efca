//! Products of two values, number by number.

use rigl_base::Result;
use rigl_kernels::elementwise::multiply;

use super::{Pass, Reread};
use crate::request::kernel;
use crate::run::{Lent, Run, stored};
use crate::value::{Back, Operand, Value};

/// y = a · b, of one layout.
#[derive(Debug)]
pub(crate) struct Multiply {
    /// Seen as they are stored.
    pub(crate) factors: [Operand; 2],
    pub(crate) y: Value,
}

impl Pass for Multiply {
    fn name(&self) -> &'static str {
        "multiply"
    }

    fn operands(&self) -> &[Operand] {
        &self.factors
    }

    fn output(&self) -> Option<Value> {
        Some(self.y)
    }

    fn rereads(&self) -> &'static [Reread] {
        &[Reread::Operand(0), Reread::Operand(1)]
    }

    fn wants_stored_gradient(&self) -> bool {
        true
    }

    fn forward(&self, run: &mut Run<'_>) -> Result<()> {
        let samples = run.samples();
        let reads = self.factors.map(|factor| run.buffers.source(factor.source, samples));
        let writes = [run.buffers.range(self.y.buffer, samples)];
        let Lent { reads: [a, b], writes: [y], views, machine, .. } = run.lend(reads, writes)?;
        let [a, b] = [(0, a), (1, b)].map(|(i, x)| stored(self.factors[i].source, x, views.batch));
        multiply(machine, a, b, y, false).map_err(kernel)
    }

    fn backward(&self, run: &mut Run<'_>, back: &Back) -> Result<()> {
        let Some(dy) = back.gradient.direct else { return Ok(()) };
        let samples = run.samples();
        for (&target, &other) in back.targets.iter().zip(self.factors.iter().rev()).rev() {
            let Some(target) = target else { continue };
            let reads = [run.buffers.source(other.source, samples), run.buffers.range(dy, samples)];
            let writes = [run.buffers.range(target.out, samples)];
            let Lent { reads: [x, dy], writes: [out], views, machine, .. } = run.lend(reads, writes)?;
            let x = stored(other.source, x, views.batch);
            multiply(machine, dy, x, out, target.accumulate).map_err(kernel)?;
        }
        Ok(())
    }
}
