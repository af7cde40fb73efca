//! What tests of several crates share: samples, patterns and options that are drawn alike, a network in plain f64 to
//! compare with, and the golden numbers of the scripts in `reference/`.
//!
//! A crate of its own because only tests depend on it, those of the engine and of the crates above it. Its functions
//! panic where a test is to fail.
#![forbid(unsafe_code)]

pub mod golden;
mod plain;
mod samples;
mod session;

pub use plain::Plain;
pub use samples::Samples;
pub use session::{BARE, options, part, patterns, values, whole};
