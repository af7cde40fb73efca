//! One run, from its configuration to its results.
//!
//! A crate of its own because it is where engine, formats, data, metrics and topology meet.
#![forbid(unsafe_code)]

pub mod config;
pub mod presets;
pub mod recipe;
