//! Convolutions of maps: forward, data gradient and weight gradient, sparse or dense, with what is pointwise before
//! and behind them done on the rows in passing.
//!
//! # Order of sums
//! - An output starts at its bias and adds input channels, kernel rows and kernel columns in ascending order, by
//!   one fused multiply-add each. An input's gradient adds output channels, kernel rows and columns likewise.
//! - A weight's gradient is, per tile of up to 16 output positions, one multiply-add chain per lane, then the lane
//!   tree; tiles are added in their order inside a strip of rows of a block of 16 samples; strips and blocks are
//!   added in order. Tiles and strips depend on shapes alone.
//!
//! Sparse and dense kernels keep it alike, so that masked and sparse arithmetic agree to the bit.
//!
//! # How a pass runs
//! A task is a strip of output rows of one block. It stages the rows it needs into a window of a few rows, with
//! zero borders and with columns one stride apart side by side, so that the inner loops (`product`) know neither
//! borders nor strides: every weight is one offset into staged rows.

mod backward;
mod forward;
mod product;
mod shape;
mod stream;
mod taps;
mod tile;
mod window;

#[cfg(test)]
mod tests;

pub use backward::{Backward, DataGradient, WeightGradient};
pub use forward::{Forward, Statistics};
pub use shape::ConvShape;
pub use stream::ConvStream;
pub use taps::ConvTaps;

use crate::Error;
use crate::error::check_len;

/// The weight of a convolution, as it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// Values of the nonzeros, in the order of their flat indices.
    Sparse(&'a ConvStream, &'a [f32]),
    /// All values, `[outputs, inputs, kernel, kernel]`.
    Dense(&'a ConvTaps, &'a [f32]),
}

impl Weights<'_> {
    fn shape(&self) -> ConvShape {
        match self {
            Weights::Sparse(stream, _) => stream.shape,
            Weights::Dense(taps, _) => taps.shape,
        }
    }

    /// Numbers that it holds.
    fn count(&self) -> usize {
        match self {
            Weights::Sparse(stream, _) => stream.count(),
            Weights::Dense(taps, _) => taps.shape.weight_len(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        match self {
            Weights::Sparse(_, values) | Weights::Dense(_, values) => {
                check_len("weights", values.len(), self.count())
            }
        }
    }
}

/// What a weight with `weights` numbers costs on a batch.
fn flops(shape: &ConvShape, weights: usize, samples: usize) -> usize {
    let output = shape.output();
    (2 * weights).saturating_mul(output.rows * output.columns).saturating_mul(samples)
}
