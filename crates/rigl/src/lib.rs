//! Train neural networks that are sparse from the first step to the last.
//!
//! This crate is the face of the workspace for programs: its parts under one name, and no more than they need. A run and
//! what comes of it:
//!
//! ```no_run
//! use rigl::{MachineOptions, Registry, Silent, Trained};
//!
//! let (registry, machine) = (Registry::default(), MachineOptions::default());
//! let config = registry.config("quickstart", &["method.sparsity=0.95"])?;
//! let test = registry.sets(&config, None, 1)?.test;
//! let stop = std::sync::atomic::AtomicBool::new(false);
//! rigl::train_in("runs/mine", config, &registry, &machine, &mut Silent, &stop)?;
//! let mut network = Trained::open("runs/mine", &registry, &machine)?;
//! println!("{:.2} %", 100.0 * network.evaluate(&test)?.accuracy());
//! # Ok::<(), rigl::Error>(())
//! ```
//!
//! `examples/train.rs` has it with progress and predictions; [`resume_in`] goes on with a run that was stopped. One level below are [`Prepared`] and [`train`], where folder,
//! program name and resuming are the caller's; below these [`Stepper`], a step at a time, and [`engine::Session`], a pass
//! at a time.
//!
//! The command line stands beside this crate, in `rigl-cli`. With the feature `cli`, `rigl::cli::run` is every command of
//! it, with a program's own networks, data sets, methods and presets among the others.
#![forbid(unsafe_code)]

pub use rigl_base::{Error, Kind, Result};
#[cfg(feature = "cli")]
pub use rigl_cli as cli;
pub use rigl_data as data;
pub use rigl_engine as engine;
pub use rigl_formats as formats;
pub use rigl_graph as graph;
pub use rigl_metrics as metrics;
pub use rigl_topology as topology;
pub use rigl_train::presets::Preset;
pub use rigl_train::{
    Config, Ended, Logits, MachineOptions, Observer, Prediction, Prepared, Progress, Registry, Silent,
    Stepper, Trained, config, resume_in, train, train_in,
};
