//! Opening files that must be regular ones: whatever lies under their names, nothing waits for it.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a file for reading. A link is followed; what is no regular file is refused, and so is never waited for: a pipe
/// may have no writer, a device no end.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file.
pub fn open(path: &Path) -> Result<File> {
    let refused = || Error::environment(format!("cannot read `{}`: not a file", path.display()));
    let cannot = |e| Error::io("cannot read", path, e);
    // Asked before, because opening a device may do something to it.
    if !path.metadata().map_err(cannot)?.is_file() {
        return Err(refused());
    }
    let mut options = OpenOptions::new();
    // What claims to be a regular file, as some of the system's own do, has no right to wait either.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.read(true).open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_file() { Ok(file) } else { Err(refused()) }
}

/// Opens a file of the program's own for writing to it in place. Nothing but a regular file is taken for it: a link is
/// not followed, a pipe not waited for.
pub(super) fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    if let Ok(found) = path.symlink_metadata() {
        check(found.file_type())?;
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

/// Refuses what is no regular file.
pub(super) fn check(found: FileType) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    Err(io::Error::other(format!("it is {}, expected a file", what(found))))
}

/// What a file system's entry is, in words: `a file`, `a folder`, `a link`, `a pipe`, `a socket`, `a device`.
pub fn what(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if found.is_fifo() {
            return "a pipe";
        }
        if found.is_socket() {
            return "a socket";
        }
    }
    if found.is_file() {
        "a file"
    } else if found.is_dir() {
        "a folder"
    } else if found.is_symlink() {
        "a link"
    } else {
        "a device"
    }
}
