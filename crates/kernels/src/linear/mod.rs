//! Linear layers, sparse and dense: y = W·x + b over vectors `[group of 64 samples][feature][64]`.
//!
//! # Order of sums
//! An output starts at its bias and adds inputs in ascending order, by one fused multiply-add each; an input's
//! gradient adds outputs likewise. A weight's gradient is, per block of 128 samples, one multiply-add chain per lane,
//! then the lane tree, and blocks are added in order. Sparse and dense kernels keep it alike.

pub mod dense;
mod epilogue;
mod shape;
pub mod sparse;
mod stream;

#[cfg(test)]
mod tests;

pub use epilogue::Epilogue;
pub use shape::{LinearShape, Product};
pub use stream::LinearStream;
