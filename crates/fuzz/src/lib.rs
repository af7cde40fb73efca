//! Fuzzing of everything that reads what others wrote: data files, configurations, settings of the command line,
//! checkpoints, graphs, logs and summaries.
//!
//! A [`Target`] is a function from bytes to a [`Signal`] that panics only where something that must hold does not:
//! a parser panics, what it accepted does not survive being printed, a refusal has the wrong kind or a message
//! that is no line. A [`Fuzzer`] makes inputs for it: seeds first, then mutations of them and of every input that
//! showed something new. It needs neither a special compiler nor instrumentation, and the same seed makes the same
//! inputs, so that every finding can be made again. `docs/fuzzing.md` says how to run it and what has been run.
//!
//! A crate of its own because only tests need it, and because it needs every crate that parses.
#![forbid(unsafe_code)]

mod envelope;
mod fuzzer;
mod mutate;
mod signal;
mod target;
pub mod targets;

pub use envelope::Envelope;
pub use fuzzer::{Fuzzer, LARGEST, run, seeds};
pub use signal::Signal;
pub use target::{ALL, Target, find};
