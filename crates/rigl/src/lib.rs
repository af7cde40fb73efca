//! Train neural networks that are sparse from the first step to the last.
//!
//! This crate is the face of the workspace: the command line ([`cli::run`]), and the parts that programs of
//! their own need. A program with an own method, and every command:
//!
//! ```no_run
//! use rigl::topology::{GrowScore, Method};
//!
//! let mut registry = rigl::Registry::default();
//! registry.methods.push(Method { name: "mine".into(), grow: GrowScore::Random, ..Method::RIGL });
//! rigl::cli::run(registry);
//! ```
#![forbid(unsafe_code)]

mod args;
pub mod cli;
mod commands;
mod output;
mod signals;

pub use rigl_base::{Error, Kind, Result};
pub use rigl_data as data;
pub use rigl_graph as graph;
pub use rigl_topology as topology;
pub use rigl_train::Registry;
