//! Checkpoint files: a model's state and everything needed to go on from it, in one file that is either read
//! exactly as it was written or refused. Exported files: the same state as other programs read it.
//!
//! A crate of its own because reading a file needs the graph's state and no engine.
#![forbid(unsafe_code)]

pub mod arrays;
pub mod checkpoint;
pub mod export;
mod header;
pub mod metadata;
mod pieces;
pub mod store;
mod tensor;

pub use checkpoint::Checkpoint;
pub use metadata::Metadata;
pub use store::{Latest, Store};
