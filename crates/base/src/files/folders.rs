//! Folders and names: made, renamed, removed.

use std::fs;
use std::io;
use std::path::Path;

use super::operation::{folder_of, operation, sync_folder};
use crate::error::{Error, Result};

/// Creates a folder and those above it; no error if it is there already. After it returns all of them survive a power
/// cut.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the folder.
pub fn create_folder(path: &Path) -> Result<()> {
    // Each is an entry in the folder above it, which is what has to be synced.
    let made = path.ancestors().filter(|folder| !folder.as_os_str().is_empty());
    let made: Vec<&Path> = made.take_while(|folder| *folder == path || !folder.is_dir()).collect();
    operation(|| fs::create_dir_all(path), || {})
        .and_then(|()| made.iter().rev().try_for_each(|folder| sync_folder(folder_of(folder))))
        .map_err(|e| Error::io("cannot create folder", path, e))
}

/// Creates one folder that must not exist yet. `Ok(false)` if something of that name is there already.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the folder.
pub fn create_new_folder(path: &Path) -> Result<bool> {
    match operation(|| fs::create_dir(path), || {}) {
        Ok(()) => sync_folder(folder_of(path)).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
    .map_err(|e| Error::io("cannot create folder", path, e))
}

/// Removes a file; no error if there is none.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file.
pub fn remove(path: &Path) -> Result<()> {
    match operation(|| fs::remove_file(path), || {}) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("cannot remove", path, e)),
        _ => Ok(()),
    }
}

/// Removes a folder in which there is nothing; no error if there is none.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the folder, also if there is something in it.
pub fn remove_empty_folder(path: &Path) -> Result<()> {
    match operation(|| fs::remove_dir(path), || {}) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("cannot remove folder", path, e)),
        _ => Ok(()),
    }
}

/// Gives a folder another name beside it, under which there must be nothing. After it returns the name survives a power
/// cut.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the folder.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let run = || -> io::Result<()> {
        // Not every system refuses this by itself: an empty folder may be replaced.
        if to.symlink_metadata().is_ok() {
            return Err(io::Error::other(format!("`{}` is there already", to.display())));
        }
        operation(|| fs::rename(from, to), || {})?;
        sync_folder(folder_of(to))
    };
    run().map_err(|e| Error::io("cannot rename", from, e))
}
