//! Train neural networks that are sparse from the first step to the last.
//!
//! This crate is the face of the workspace: the command line ([`cli::run`]), and the parts that programs of
//! their own need. A program that adds a method to all the others:
//!
//! ```no_run
//! use rigl::topology::{GrowScore, Method};
//!
//! let mine = Method { name: "mine".into(), grow: GrowScore::Random, ..Method::RIGL };
//! rigl::cli::run(rigl::Registry::default().method(mine));
//! ```
//!
//! `examples/own_parts.rs` has a network of its own too.
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

/// The examples of the README, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The same of the document for users of PyTorch.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-pytorch.md")]
struct FromPytorch;
