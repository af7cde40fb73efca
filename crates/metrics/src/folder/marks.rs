//! What makes a folder a run's: marks that only the program leaves.

use std::io::{ErrorKind, Read};
use std::path::Path;

use rigl_base::{Result, files};

use super::entries::{CONFIG, Entries, LOCK, LOG};

/// Tables that every configuration of a run has had, in lines of their own.
const TABLES: [&str; 5] = ["[model]", "[data]", "[schedule]", "[method]", "[seeds]"];

/// Most that is read of a file to tell whether it is the program's.
const MOST: u64 = 1 << 20;

/// Whether there is a configuration as the program writes it.
///
/// # Errors
/// If that cannot be told.
pub(super) fn has_config(run: &Path) -> Result<bool> {
    let text = beginning(&run.join(CONFIG), MOST)?;
    let text = text.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    Ok(TABLES.iter().all(|table| text.lines().any(|line| line.trim_end() == *table)))
}

/// Whether there is a log that begins as a run's.
///
/// # Errors
/// If that cannot be told.
pub(super) fn has_log(run: &Path) -> Result<bool> {
    let line = beginning(&run.join(LOG), 64)?.unwrap_or_default();
    let after = |prefix: &[u8]| line.strip_prefix(prefix).map(<[u8]>::to_vec);
    let digits = |rest: Vec<u8>| rest.into_iter().skip_while(u8::is_ascii_digit).collect::<Vec<u8>>();
    let rest = after(b"{\"version\":").map(digits).unwrap_or_default();
    Ok(rest.starts_with(b",\"event\":\"run\","))
}

/// Whether the folder's lock, if there is one, is a run's: its holder wrote a line into it, or was killed before.
///
/// # Errors
/// If that cannot be told.
pub(super) fn has_lock(run: &Path) -> Result<bool> {
    let text = beginning(&run.join(LOCK), 64)?;
    Ok(text.is_some_and(|text| text.is_empty() || text.starts_with(b"process ")))
}

/// Whether the folder can be read as a run: it has a run's log, or a run's configuration.
///
/// # Errors
/// If that cannot be told.
pub(super) fn is_readable(run: &Path) -> Result<bool> {
    Ok(has_log(run)? || has_config(run)?)
}

/// Whether the folder is a run's beyond doubt, so that it may be written to, or replaced: a configuration alone may have
/// been copied, so that something else of a run must be beside it.
///
/// # Errors
/// If that cannot be told.
pub(super) fn is_run(run: &Path) -> Result<bool> {
    if has_log(run)? {
        return Ok(true);
    }
    Ok(has_config(run)? && (has_lock(run)? || Entries::of(run)?.has_result()))
}

/// The first bytes of a file; `None` if there is no such file, or it is something else.
fn beginning(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    match path.metadata() {
        Ok(found) if found.is_file() => {}
        Err(e) if ![ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => {
            return Err(rigl_base::Error::io("cannot read", path, e));
        }
        _ => return Ok(None),
    }
    let mut bytes = Vec::new();
    let read = files::open(path)?.take(most).read_to_end(&mut bytes);
    read.map_err(|e| rigl_base::Error::io("cannot read", path, e))?;
    Ok(Some(bytes))
}
