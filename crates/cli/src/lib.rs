//! The command line `rigl`, as a function: [`run`].
//!
//! A crate of its own because most programs that train want neither flags nor a progress bar. One that wants every
//! command, with a method added to all the others, finds [`run`] under the library's name, by its feature `cli`:
//!
//! ```no_run
//! use rigl::topology::{DropRule, Dynamics, GrowRule, Method, StepPolicy, Topology, UpdateRule};
//!
//! // RigL's schedule and step policy, with random growth.
//! let rule = UpdateRule::replace(DropRule::Magnitude, GrowRule::RANDOM);
//! let dynamics = Dynamics { step_policy: StepPolicy::Replace, ..Dynamics::new(rule) };
//! let mine = Method { name: "mine".into(), topology: Topology::dynamic(dynamics), ..Method::RIGL };
//! rigl::cli::run(rigl::Registry::default().method(mine));
//! ```
//!
//! `examples/own_parts.rs` of that library has a network of its own too.
#![forbid(unsafe_code)]

mod args;
mod cli;
mod commands;
mod names;
mod output;
mod program;
mod signals;

pub use cli::run;

/// The examples of the README, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The same of the document for users of PyTorch.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-pytorch.md")]
struct FromPytorch;
