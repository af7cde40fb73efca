//! The elementary operations that change a disk: each passes the [`fault`] hook.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::fault;

fn injected() -> io::Error {
    io::Error::other("injected fault")
}

/// Runs `whole`, unless this operation is the one chosen to fail; `half` is what a torn one does first.
pub(super) fn operation<T>(whole: impl FnOnce() -> io::Result<T>, half: impl FnOnce()) -> io::Result<T> {
    match fault::next() {
        None => whole(),
        Some(fault::Fault::Fail) => Err(injected()),
        Some(fault::Fault::Tear) => {
            half();
            Err(injected())
        }
        Some(fault::Fault::Abort) => {
            half();
            std::process::abort()
        }
    }
}

pub(super) fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    // Two handles on one file, since only one of the two closures runs.
    let cell = std::cell::RefCell::new(file);
    operation(
        || cell.borrow_mut().write_all(bytes),
        || {
            let _ = cell.borrow_mut().write_all(&bytes[..bytes.len() / 2]);
        },
    )
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    operation(
        || {
            // Only Unix can open a folder to sync it; elsewhere the rename itself has to do.
            #[cfg(unix)]
            File::open(folder)?.sync_all()?;
            let _ = folder;
            Ok(())
        },
        || {},
    )
}

/// The folder that a path lies in: `.` for a plain name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
