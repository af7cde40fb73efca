//! How a network runs on this machine: plan, buffers, weight storage, forward and backward, optimiser step,
//! topology update. Everything is reached through [`Session`].
#![forbid(unsafe_code)]

mod batch;
mod batch_norm;
mod buffers;
mod execute;
mod layout;
mod memory;
mod non_finite;
mod parameter;
mod passes;
mod plan;
mod request;
mod run;
mod session;
mod slots;
mod storage;
mod value;

/// Raised whenever a change alters a bit of any result. Checkpoints carry it.
///
/// 2: sums of convolutions and batch norms in an order that gives work to many threads, whatever the batch; the
/// loss summed by 16 samples; NaN passes through ReLU and max-pooling.
pub const ARITHMETIC_VERSION: u32 = 2;

pub use batch::{Batch, Packer, Preprocessing};
pub use non_finite::NonFinite;
pub use parameter::Parameter;
pub use request::{
    Exchange, Extra, Growth, LayerTime, MicroBatch, Options, Outcome, PatternChange, StepConstants, Take,
};
pub use session::Session;
pub use slots::Owner;
pub use storage::Compute;

/// The names of this machine's instruction sets, the best first: what [`Options::isa`] takes.
pub fn instruction_sets() -> Vec<&'static str> {
    rigl_kernels::Isa::available().iter().map(|isa| isa.name()).collect()
}
