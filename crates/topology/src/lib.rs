//! (being written)
#![forbid(unsafe_code)]
pub mod names;
pub use names::{Decay, Distribution, DropScore, GrowScore, GrownInit, StepPolicy};
