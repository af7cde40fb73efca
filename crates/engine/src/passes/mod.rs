//! The passes: one file for each kind, with everything the engine knows about it. The table that they are in is
//! [`Pass`]; what lies around a pass ([`crate::plan`]) knows no layer.

mod activation;
mod add;
mod conv;
mod linear;
mod loss;
mod multiply;
mod pool;
mod reshape;

use std::fmt::Debug;

use rigl_base::Result;
use rigl_kernels::WorkspaceSize;

use crate::run::Run;
use crate::value::{Back, BufferId, Operand, Value};

pub(crate) use activation::Activation;
pub(crate) use add::Add;
pub(crate) use conv::{Conv, conv_shape};
pub(crate) use linear::Linear;
pub(crate) use loss::CrossEntropy;
pub(crate) use multiply::Multiply;
pub(crate) use pool::{Pool, PoolKind};
pub(crate) use reshape::{Flatten, GlobalPool, Unflatten};

/// What a plan is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    Training,
    Evaluation,
}

/// What a backward pass reads again of the forward half.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reread {
    /// An operand, by number.
    Operand(usize),
    /// What the pass left.
    Output,
}

/// One pass over a batch: what it reads and leaves, forwards and backwards. It may touch the buffers of its operands,
/// its output and those of [`Back`], and no other.
pub(crate) trait Pass: Debug + Send + Sync {
    /// The kind, for messages and tests.
    fn name(&self) -> &'static str;

    /// What it reads. On the way back their gradients are left in the reverse of this order.
    fn operands(&self) -> &[Operand];

    /// What it leaves.
    fn output(&self) -> Option<Value>;

    /// The layer's weight, by number among the parameters.
    fn weight(&self) -> Option<usize> {
        None
    }

    /// What the backward pass reads besides gradients; everything else may be overwritten by then.
    fn rereads(&self) -> &'static [Reread] {
        &[]
    }

    /// Whether the gradient of an operand *is* that of the output where the operand is seen as it is stored: its buffer
    /// can then be handed on.
    fn hands_on(&self, _operand: usize) -> bool {
        false
    }

    /// Whether it reads the gradient of its output where that is stored, and not through a norm of it.
    fn wants_stored_gradient(&self) -> bool {
        false
    }

    /// Takes norms of its output whose statistics it shall sum up; false if it cannot.
    fn measure(&mut self, _norms: &[usize]) -> bool {
        false
    }

    /// The norms that it sums up statistics for.
    #[cfg(test)]
    fn measures(&self) -> &[usize] {
        &[]
    }

    /// The gradient of its operand, if the forward pass leaves it already.
    fn leaves(&self) -> Option<BufferId> {
        None
    }

    /// The scratch that it needs, forwards and, in training, backwards.
    fn workspace(&self, _samples: usize, _purpose: Purpose) -> WorkspaceSize {
        WorkspaceSize::default()
    }

    /// Reads the operands, writes the output.
    fn forward(&self, run: &mut Run<'_>) -> Result<()>;

    /// Reads the gradient of the output, writes or adds to the targets and to the gradients of parameters.
    fn backward(&self, run: &mut Run<'_>, back: &Back) -> Result<()>;
}
