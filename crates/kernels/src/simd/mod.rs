//! One vector of 16 lanes on every machine: what the kernels are written in.
//!
//! A kernel is a function generic over [`Simd`] that is inlined whole into a wrapper compiled for one
//! instruction set ([`Isa::run`]). A value of a [`Simd`] type is the permission to use its instructions: it is
//! made only after the processor was asked. All forms fuse multiply and add, and add lanes in the same tree, so
//! they give the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod bytes;
mod isa;
mod lanes;
mod math;
mod portable;

pub use isa::Isa;
pub use lanes::LANES;
pub(crate) use lanes::{Simd, Work};
pub(crate) use math::exp;
