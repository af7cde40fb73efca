//! The weight of a convolution in either form.

use crate::conv::shape::ConvShape;
use crate::conv::stream::ConvStream;
use crate::conv::taps::ConvTaps;
use crate::error::{Error, check_len};

/// The weight of a convolution, as it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// Values of the nonzeros, in the order of their flat indices.
    Sparse(&'a ConvStream, &'a [f32]),
    /// All values, `[outputs, inputs, kernel, kernel]`.
    Dense(&'a ConvTaps, &'a [f32]),
}

impl Weights<'_> {
    pub(crate) fn shape(&self) -> ConvShape {
        match self {
            Weights::Sparse(stream, _) => stream.shape,
            Weights::Dense(taps, _) => taps.shape,
        }
    }

    /// Numbers that it holds.
    pub(crate) fn count(&self) -> usize {
        match self {
            Weights::Sparse(stream, _) => stream.count(),
            Weights::Dense(taps, _) => taps.shape.weight_len(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Weights::Sparse(_, values) | Weights::Dense(_, values) => {
                check_len("weights", values.len(), self.count())
            }
        }
    }
}

/// What a weight with `weights` numbers costs on a batch.
pub(crate) fn flops(shape: &ConvShape, weights: usize, samples: usize) -> usize {
    let output = shape.output();
    (2 * weights).saturating_mul(output.rows * output.columns).saturating_mul(samples)
}
