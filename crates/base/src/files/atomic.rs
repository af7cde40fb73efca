//! Files that are either whole or absent.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::operation::{folder_of, operation, sync_folder, write_all};
use super::regular::what;
use super::temporary;
use crate::error::{Error, Result};

/// Replaces `path` with a file holding `bytes`, all or nothing. After it returns the file survives a power
/// cut; whatever happens before that, a reader finds the old file (or none) or the whole new one. It has the permissions
/// of the file that it replaces, or else those that the process's umask leaves a new one. Of a link, what it leads to is
/// replaced.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file; the temporary file is removed if it can be. What is
/// no regular file is not replaced, nor a link that leads to nothing.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic_with(path, |writer| writer.write_all(bytes))
}

/// Where [`write_atomic_with`] writes to, piece by piece.
#[derive(Debug)]
pub struct AtomicWriter<'a>(&'a mut File);

impl AtomicWriter<'_> {
    /// Writes the next piece.
    ///
    /// # Errors
    /// What the system says; the whole write fails with it.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_all(self.0, bytes)
    }
}

/// [`write_atomic`] of a file that is made piece by piece, and so is never in memory as a whole.
///
/// # Errors
/// As [`write_atomic`], and whatever `write` returns.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut AtomicWriter<'_>) -> io::Result<()>,
) -> Result<()> {
    let run = || -> io::Result<()> {
        let target = target(path)?;
        let folder = folder_of(&target);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let mut temporary = temporary::create(folder, &name)?;
        write(&mut AtomicWriter(temporary.as_file_mut()))?;
        take_over_permissions(&target, temporary.as_file())?;
        operation(|| temporary.as_file().sync_all(), || {})?;
        operation(|| temporary.persist(&target).map_err(|e| e.error), || {})?;
        sync_folder(folder)
    };
    run().map_err(|e| Error::io("cannot write", path, e))
}

/// Removes temporary files that killed processes left of the file at `path`, in a folder that belongs to somebody else.
/// Those that another process is writing are left alone, and so is everything if the folder cannot be read.
pub fn clear_abandoned(path: &Path) {
    if let Ok(target) = target(path) {
        temporary::clear(&target);
    }
}

/// The file that is to be replaced: what a link leads to, else the path itself.
fn target(path: &Path) -> io::Result<PathBuf> {
    let Ok(found) = path.symlink_metadata() else { return Ok(path.to_path_buf()) };
    let target = if found.is_symlink() { path.canonicalize()? } else { path.to_path_buf() };
    let found = target.metadata()?.file_type();
    if found.is_file() {
        return Ok(target);
    }
    Err(io::Error::other(format!("{} is in its place", what(found))))
}

/// Gives `new` the permissions of the file at `path`, if there is one.
fn take_over_permissions(path: &Path, new: &File) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(old) if cfg!(unix) && old.is_file() => operation(|| new.set_permissions(old.permissions()), || {}),
        _ => Ok(()),
    }
}
