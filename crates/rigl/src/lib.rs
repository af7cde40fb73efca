//! Train neural networks that are sparse from the first step to the last.
//!
//! This crate is the face of the workspace for programs: its parts under one name, and no more than they need. The
//! command line stands beside it, in `rigl-cli`; with the feature `cli`, `rigl::cli::run` is every command of it, with a
//! program's own networks, data sets and methods among the others.
#![forbid(unsafe_code)]

pub use rigl_base::{Error, Kind, Result};
#[cfg(feature = "cli")]
pub use rigl_cli as cli;
pub use rigl_data as data;
pub use rigl_graph as graph;
pub use rigl_topology as topology;
pub use rigl_train::Registry;
