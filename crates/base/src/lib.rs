//! Ground of the workspace, on which every other crate stands: one [`Error`] with a [`Kind`], the nearest of some names,
//! text as it may be shown and as a shell reads it,
//! counter-based random numbers, portable math and the only functions that write to disk.
//!
//! A crate of its own because all others need it and it needs none of them.
#![forbid(unsafe_code)]

pub mod counts;
pub mod error;
pub mod files;
pub mod math;
pub mod names;
pub mod nearest;
pub mod random;
pub mod shell;
pub mod shown;

pub use error::{Error, Kind, Result};
pub use nearest::{nearest, unknown};
