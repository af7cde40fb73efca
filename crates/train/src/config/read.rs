//! Reading a configuration's file from disk.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rigl_base::{Error, Result};

/// Most bytes that are read: 1 MiB.
const LARGEST: u64 = 1 << 20;

/// The text of a file that people write: a configuration, or a sweep of them.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if it cannot be read, [`Kind::Usage`](rigl_base::Kind::Usage) if
/// it is larger than 1 MiB or not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let cannot = |e| Error::io("cannot read", path, e);
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::usage(format!("`{}` is larger than a configuration of 1 MiB", path.display())));
    }
    String::from_utf8(bytes).map_err(|_| Error::usage(format!("`{}` is not UTF-8 text", path.display())))
}
