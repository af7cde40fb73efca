//! Locks of folders. A lock is a file in the folder, so that it goes with it when the folder is renamed.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rigl_base::{Error, Result, files, shown};

use crate::machine;

/// How often a lock is tried whose file is exchanged meanwhile.
const TRIES: usize = 16;

/// How long another process may take to make or replace a folder beside this one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes the lock `name` in `folder` until the file is dropped or the process ends, and writes down who has it.
///
/// # Errors
/// `Kind::Busy` if another process holds it, saying which, or has taken the folder away; `Kind::Environment` if it cannot
/// be taken, or something else stands in its place.
pub fn lock_folder(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(name);
    for _ in 0..TRIES {
        let mut lock = match files::open_lock_file(&path) {
            Err(_) if !folder.exists() => return Err(gone(folder)),
            lock => lock?,
        };
        match lock.try_lock() {
            Ok(()) if !is_at(&lock, &path)? => {}
            Ok(()) => {
                let host = machine::host().unwrap_or_else(|| "unknown".to_owned());
                let text = format!("process {} on host {host}\n", std::process::id());
                files::write_lock_text(&mut lock, &path, &text)?;
                return Ok(lock);
            }
            Err(TryLockError::WouldBlock) => return Err(in_use(folder, &holder(&mut lock))),
            Err(TryLockError::Error(e)) => return Err(Error::io("cannot lock", &path, e)),
        }
    }
    Err(gone(folder))
}

/// Who holds the lock `path` at the moment; `None` if nobody does.
///
/// # Errors
/// `Kind::Environment` if that cannot be told.
pub(super) fn held_by(path: &Path) -> Result<Option<String>> {
    if !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
        return Ok(None);
    }
    let mut lock = files::open(path)?;
    match lock.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(holder(&mut lock))),
        Err(TryLockError::Error(e)) => Err(Error::io("cannot lock", path, e)),
    }
}

/// A turn at making, renaming and removing folders in `parent`, until the file is dropped: one process at a time. Where
/// the system does not lock folders there are no turns, and who comes second may find what the first has just made.
///
/// # Errors
/// `Kind::Busy` if others take too long.
pub(super) fn turn(parent: &Path) -> Result<Option<File>> {
    let Ok(folder) = open_folder(parent) else { return Ok(None) };
    let began = Instant::now();
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(Some(folder)),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => sleep(Duration::from_millis(2)),
            Err(TryLockError::WouldBlock) => {
                let parent = shown::path(parent);
                return Err(Error::busy(format!("another process has locked the folder `{parent}`")));
            }
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
}

/// A run that another process writes to.
pub(super) fn in_use(folder: &Path, holder: &str) -> Error {
    Error::busy(format!("`{}` is in use by {holder}", shown::path(folder)))
        .hint("wait for it to end, or stop it")
}

/// A folder that another process has exchanged while this one took its lock.
pub(super) fn gone(folder: &Path) -> Error {
    Error::busy(format!("`{}` has just been replaced or removed by another process", shown::path(folder)))
}

/// What the holder of a lock wrote about itself. Some systems let nobody else read a locked file.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(200).read_to_string(&mut text);
    let line = text.lines().next().filter(|line| !line.is_empty() && !line.contains(char::is_control));
    line.filter(|_| read.is_ok()).unwrap_or("another process").to_owned()
}

/// Whether a file is still the one at `path`: its folder may have been renamed since it was opened.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let cannot = |e| Error::io("cannot lock", path, e);
    let held = file.metadata().map_err(cannot)?;
    match path.symlink_metadata() {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => Ok(false),
        Err(e) => Err(cannot(e)),
    }
}

/// Elsewhere no folder is renamed in which a file is open.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        found => found.map(|_| true).map_err(|e| Error::io("cannot lock", path, e)),
    }
}

#[allow(clippy::disallowed_methods, reason = "a folder, to be locked")]
fn open_folder(path: &Path) -> std::io::Result<File> {
    File::open(path)
}
