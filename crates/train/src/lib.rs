//! One run, from its configuration to its results.
//!
//! A crate of its own because it is where engine, formats, data, metrics and topology meet.
#![forbid(unsafe_code)]

pub mod config;
pub mod cost;
mod design;
mod evaluate;
mod memory;
mod observer;
mod position;
mod prepare;
pub mod presets;
pub mod recipe;
mod registry;
mod run;
mod start;
mod stepper;
mod trained;
mod trainer;
mod weights;

pub use config::Config;
pub use design::Design;
pub use evaluate::{Logits, evaluate, logits};
pub use memory::planned_bytes;
pub use observer::{Observer, Progress, Silent};
pub use position::explored;
pub use prepare::{MachineOptions, Prepared, inputs};
pub use recipe::Recipe;
pub use registry::Registry;
pub use run::{Begun, PROGRAM, Reopened, begin, configuration_text, reopen, resume_in, train_in};
pub use stepper::{At, Iteration, Stepper};
pub use trained::{Prediction, Trained};
pub use trainer::{Ended, From, train};
