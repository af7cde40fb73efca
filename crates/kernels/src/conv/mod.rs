//! Convolutions of maps: forward, data gradient and weight gradient, sparse or dense, with what is pointwise before
//! and behind them done on the rows in passing.
//!
//! # Order of sums
//! - An output starts at its bias and adds input channels, kernel rows and kernel columns in ascending order, by
//!   one fused multiply-add each. An input's gradient adds output channels, kernel rows and columns likewise.
//! - A weight's gradient is, per tile of up to 16 output positions, one multiply-add chain per lane, then the lane
//!   tree; tiles are added in their order to a few partial gradients, each of a run of bands (pairs of output rows), and
//!   these in theirs. What a norm or a bias needs is summed per band. Tiles, bands and partials depend on shapes alone.
//!
//! Sparse and dense kernels keep it alike, so that masked and sparse arithmetic agree to the bit.
//!
//! # How a pass runs
//! A task is a run of bands of a block, or some channels of one (`cut`). It stages the rows that a band needs into a
//! window of a few rows, with zero borders and with columns one stride apart side by side, so that the inner loops
//! (`product`) know neither borders nor strides: every weight is one offset into staged rows. A worked example is in
//! `docs/convolution-window.md`.

mod ahead;
mod backward;
mod cut;
mod forward;
mod gradients;
mod product;
mod shape;
mod stream;
mod taps;
mod tasks;
mod tile;
mod weights;
mod window;

#[cfg(test)]
mod tests;

pub use backward::{Backward, WeightGradient};
pub use forward::Forward;
pub use shape::ConvShape;
pub use stream::ConvStream;
pub use taps::ConvTaps;
pub use weights::Weights;
