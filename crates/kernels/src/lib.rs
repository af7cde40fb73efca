//! How numbers move: SIMD loops over lane-blocked activations. A crate of its own because it holds the only
//! unsafe code of the workspace.
//!
//! # Safety model
//! Public functions are safe and check every length and index against shapes before the first access, in
//! release builds too; patterns are compiled into checked types ([`LinearStream`]) whose invariants the kernels
//! then rely on. No argument makes a public function touch memory outside the slices it was given.
//!
//! # Order of sums
//! Every sum has one order, whatever the storage, the instruction set and the number of threads, so results agree
//! to the bit: a layer's output starts at its bias and adds inputs in ascending order, each by one fused
//! multiply-add; a weight's gradient is, per block of 128 samples, one multiply-add chain per lane, then the lane
//! tree, and blocks are added in order.
//!
//! # Layout
//! See [`layout`]: `[group of 64 samples][feature][64]`; and [`maps`] for images.

mod arena;
mod channels;
pub mod conv;
pub mod dropout;
pub mod elementwise;
mod error;
#[doc(hidden)]
pub mod fault;
pub mod layout;
pub mod linear_dense;
pub mod linear_sparse;
pub mod loss;
mod machine;
pub mod maps;
pub mod measure;
pub mod norm;
pub mod pack;
pub mod passes;
pub mod pool;
mod rows;
mod simd;
mod stream;
mod sums;
#[cfg(test)]
mod testing;
mod threads;
pub mod vectors;
mod workspace;

#[cfg(test)]
mod linear_tests;

pub use arena::Arena;
pub use error::Error;
pub use linear_sparse::Epilogue;
pub use machine::Machine;
pub use simd::{Isa, LANES};
pub use stream::LinearStream;
pub use threads::Pool;
pub use workspace::{Workspace, WorkspaceSize};
