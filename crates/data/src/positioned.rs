//! Files that several threads read at any place.

use std::fs::File;
use std::io;
use std::path::Path;

use rigl_base::{Error, Result, files};

/// Opens a file for reading; gives its length too.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if it cannot be read, or is no regular file.
pub(crate) fn open(path: &Path) -> Result<(File, u64)> {
    let file = files::open(path)?;
    let length = file.metadata().map_err(|e| Error::io("cannot read", path, e))?.len();
    Ok((file, length))
}

/// Fills the buffer from a place in a file, which has no position that threads would share.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, offset)
}

#[cfg(windows)]
pub(crate) fn read_at(file: &File, mut into: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !into.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, into, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                into = &mut into[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
