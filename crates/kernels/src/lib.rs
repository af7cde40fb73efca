//! How numbers move: SIMD loops over lane-blocked activations. A crate of its own because it holds the only
//! unsafe code of the workspace.
//!
//! # Safety model
//! Public functions are safe and check every length and index against shapes before the first access, in
//! release builds too; patterns are compiled into checked types ([`LinearStream`](linear::LinearStream)) whose invariants the kernels
//! then rely on. No argument makes a public function touch memory outside the slices it was given.
//!
//! # Order of sums
//! Every sum has one order, whatever the storage, the instruction set and the number of threads, so results agree
//! to the bit: a layer's output starts at its bias and adds inputs in ascending order, each by one fused
//! multiply-add; for gradients see [`linear`] and [`conv`]. The order follows from shapes and the number of samples; how
//! work is dealt out to threads follows from their number too, and changes no sum.
//!
//! # Layout
//! See [`vector::layout`]: `[group of 64 samples][feature][64]`; and [`map`] for images.

pub mod conv;
pub mod elementwise;
mod error;
pub mod linear;
pub mod loss;
pub mod map;
pub mod optimizer;
pub mod pack;
pub mod pool;
mod run;
mod simd;
#[cfg(test)]
mod testing;
pub mod vector;

pub use error::Error;
#[doc(hidden)]
pub use run::fault;
pub use run::{Arena, Machine, Pool, Workspace, WorkspaceSize, measure, simulate};
pub use simd::{Isa, LANES};
