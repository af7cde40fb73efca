//! One run, one folder, one event log: what a run writes besides its checkpoints, and how it is read back.
//!
//! A crate of its own because tables and reports read runs and need no engine.
#![forbid(unsafe_code)]

mod data;
pub mod event;
pub mod folder;
pub mod jsonl;
pub mod machine;
mod number;
pub mod summary;
pub mod tensorboard;

pub use data::DataRecord;
pub use event::{Event, Record};
pub use folder::{Claim, RunFolder, RunWriter};
pub use jsonl::{EventLog, EventReader};
pub use machine::Machine;
pub use summary::{Status, Summary};
pub use tensorboard::TensorBoard;
