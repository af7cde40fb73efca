//! What a linear layer's numbers are.

use crate::error::{Error, check_len};
use crate::vector::layout::{GROUP, map_len};

/// The shape of a linear layer on a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinearShape {
    /// Outputs.
    pub outputs: usize,
    /// Inputs.
    pub inputs: usize,
    /// Groups of 64 samples.
    pub groups: usize,
}

impl LinearShape {
    /// Whether vectors of these lengths are its input and output.
    pub(crate) fn check(&self, x: usize, y: usize) -> Result<(), Error> {
        check_len("x", x, map_len(self.inputs, self.groups)?)?;
        check_len("y", y, map_len(self.outputs, self.groups)?)
    }

    /// Numbers of its weight.
    pub(crate) fn weights(&self) -> Result<usize, Error> {
        self.outputs
            .checked_mul(self.inputs)
            .filter(|&n| n <= isize::MAX as usize / 4)
            .ok_or_else(|| Error::Shape(format!("linear layer of {} × {}", self.outputs, self.inputs)))
    }

    pub(crate) fn flops(&self) -> usize {
        flops(self.outputs.saturating_mul(self.inputs), self.groups)
    }
}

/// Floating-point operations of so many weights on so many groups.
pub(crate) fn flops(weights: usize, groups: usize) -> usize {
    (2 * GROUP).saturating_mul(groups).saturating_mul(weights)
}

/// The three products of a linear layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Product {
    /// y = W·x.
    Forward,
    /// dx = Wᵀ·dy.
    Data,
    /// dW = dy·xᵀ.
    Gradient,
}
