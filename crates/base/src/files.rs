//! The only functions of the workspace that write to disk, and the one that opens files for reading. A file is either
//! whole or absent: it is written under a temporary name, synced, renamed, and its folder synced. Logs are appended to and
//! can be cut.
//!
//! Every elementary operation passes the [`fault`] hook, which tests use to fail, tear or abort the k-th one.
#![allow(clippy::disallowed_methods)]

mod atomic;
pub mod fault;
mod folders;
mod locks;
mod log;
mod operation;
mod regular;
mod temporary;

pub use atomic::{AtomicWriter, clear_abandoned, write_atomic, write_atomic_with};
pub use folders::{create_folder, create_new_folder, remove, remove_empty_folder, rename};
pub use locks::{open_for_appending, open_lock_file, write_lock_text};
pub use log::Log;
pub use operation::folder_of;
pub use regular::{open, what};
pub use temporary::{sweep, temporary_of};

#[cfg(test)]
mod tests;
