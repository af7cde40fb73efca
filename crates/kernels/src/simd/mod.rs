//! One vector of 16 lanes on every machine: what the kernels are written in.
//!
//! A kernel is a function generic over [`Simd`] that is inlined whole into a wrapper compiled for one
//! instruction set ([`Isa::run`]). A value of a [`Simd`] type is the permission to use its instructions: it is
//! made only after the processor was asked. Work that goes by pointers is a [`RawWork`], which says at its type what it
//! asks for; whoever runs it ([`Isa::run_raw`]) answers for that. All forms fuse multiply and add, and add lanes in the same tree, so
//! they give the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod bytes;
mod finite;
mod fused;
mod isa;
mod lanes;
mod math;
mod portable;
mod sums;

pub(crate) use finite::Finite;
pub use isa::Isa;
pub use lanes::LANES;
pub(crate) use lanes::{RawWork, Simd, Work};
pub(crate) use math::exp;
pub(crate) use sums::LaneSums;
