//! Files that are opened to be locked, or to be written to by another process.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use super::operation::{operation, write_all};
use super::regular::open_own;
use crate::error::{Error, Result};

/// Opens (creating it if need be) a file that serves as a lock and holds a short text about its owner.
/// Nothing is locked yet.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file.
pub fn open_lock_file(path: &Path) -> Result<File> {
    operation(
        || open_own(OpenOptions::new().read(true).write(true).create(true).truncate(false), path),
        || {},
    )
    .map_err(|e| Error::io("cannot open lock", path, e))
}

/// Opens (creating it if need be) a file at whose end another process may write: what a child says goes there.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file.
pub fn open_for_appending(path: &Path) -> Result<File> {
    operation(|| open_own(OpenOptions::new().append(true).create(true), path), || {})
        .map_err(|e| Error::io("cannot open", path, e))
}

/// Replaces the text of an open lock file. Not atomic: only its holder reads meaning into it.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file.
pub fn write_lock_text(file: &mut File, path: &Path, text: &str) -> Result<()> {
    let mut run = || -> io::Result<()> {
        operation(|| file.set_len(0), || {})?;
        file.seek(SeekFrom::Start(0))?;
        write_all(file, text.as_bytes())
    };
    run().map_err(|e| Error::io("cannot write lock", path, e))
}
