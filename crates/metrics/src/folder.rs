//! The folder of a run: where its files lie, how it is created without touching another, and the lock that
//! keeps it to one writer. What lies in it is described in `docs/run-directory.md`.

mod aside;
mod claim;
mod entries;
mod lock;
mod marks;
mod name;
mod run;
mod writer;

pub use aside::is_aside;
pub use claim::{Claim, recover};
pub(crate) use entries::EVENTS;
pub use lock::lock_folder;
pub use name::run_name;
pub use run::{RunFolder, is_file_of_run};
pub use writer::RunWriter;

#[cfg(test)]
mod tests;
