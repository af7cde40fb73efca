//! One run, from its configuration to its results.
//!
//! A crate of its own because it is where engine, formats, data, metrics and topology meet.
#![forbid(unsafe_code)]

mod advice;
pub mod config;
pub mod cost;
pub mod data;
mod design;
mod entries;
mod evaluate;
mod expected;
mod inputs;
mod machine;
mod memory;
mod network;
mod norms;
mod observer;
mod origin;
mod position;
mod prepare;
pub mod presets;
mod program;
pub mod recipe;
mod registry;
mod remarks;
mod run;
mod settings;
mod start;
mod stepper;
mod taken;
mod trained;
mod trainer;
mod weights;

pub use advice::slower;
pub use config::Config;
pub use design::{DataSpec, Design, SparseLayer};
pub use evaluate::Logits;
pub use machine::MachineOptions;
pub use memory::Memory;
pub use observer::{Observer, Progress, Silent};
pub use origin::{Finished, Origin, last_checkpoint};
pub use position::explored;
pub use prepare::Prepared;
pub use program::{Program, VERSION};
pub use recipe::Recipe;
pub use registry::Registry;
pub use run::{Begun, Reopened, ResumeOptions, begin, configuration_text, reopen, resume_in, train_in};
pub use settings::Settings;
pub use stepper::{At, Iteration, Stepper};
pub use trained::{Prediction, Trained};
pub use trainer::{Ended, train};
