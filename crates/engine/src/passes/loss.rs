//! The loss.

use rigl_base::{Error, Result};
use rigl_kernels::loss::softmax_cross_entropy;

use super::Pass;
use crate::request::kernel;
use crate::run::{Lent, Run};
use crate::value::{Back, BufferId, Operand, Value};

/// Softmax cross-entropy of logits, with the gradient of these in training.
#[derive(Debug)]
pub(crate) struct CrossEntropy {
    pub(crate) classes: usize,
    pub(crate) smoothing: f32,
    pub(crate) logits: Operand,
    pub(crate) gradient: Option<BufferId>,
}

impl Pass for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn operands(&self) -> &[Operand] {
        std::slice::from_ref(&self.logits)
    }

    fn output(&self) -> Option<Value> {
        None
    }

    fn leaves(&self) -> Option<BufferId> {
        self.gradient
    }

    fn forward(&self, run: &mut Run<'_>) -> Result<()> {
        let samples = run.samples();
        let gradient = self.gradient.filter(|_| run.part.is_some());
        // The loss is averaged over the whole step's batch.
        let weight = run.part.map_or(0.0, |part| (1.0 / part.of_samples as f64) as f32);
        let reads = [run.buffers.source(self.logits.source, samples)];
        let writes = [run.buffers.optional(gradient, samples)];
        let Lent { reads: [z], writes: [dz], views, machine, .. } = run.lend(reads, writes)?;
        let (labels, dz) = (&views.batch.labels, gradient.map(|_| dz));
        let sums = softmax_cross_entropy(machine, self.classes, z, labels, self.smoothing, weight, dz);
        run.sums = sums.map_err(|e| match e {
            rigl_kernels::Error::Index { found, limit, .. } => {
                Error::data(format!("label {found}, expected one below the {limit} classes"))
            }
            e => kernel(e),
        })?;
        Ok(())
    }

    fn backward(&self, _run: &mut Run<'_>, _back: &Back) -> Result<()> {
        Err(Error::internal("the forward pass of a loss has left its gradient"))
    }
}
