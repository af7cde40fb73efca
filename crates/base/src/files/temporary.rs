//! The names under which files are written before they take their own: `.NAME.xxxxxx.tmp` beside `NAME`. While one is
//! being written its writer holds a lock on it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::operation::{folder_of, operation};
use super::regular::open_own;
use crate::error::{Error, Result};

const ENDING: &str = ".tmp";
/// Characters that tell temporary files of one name apart.
const RANDOM: usize = 6;
/// New names that are tried before giving up.
const TRIES: usize = 16;

/// The name of the file whose temporary name this is, if it is one.
///
/// ```
/// assert_eq!(rigl_base::files::temporary_of(".config.toml.aB3xYz.tmp"), Some("config.toml"));
/// assert_eq!(rigl_base::files::temporary_of(".config.toml.tmp"), None);
/// ```
pub fn temporary_of(name: &str) -> Option<&str> {
    let (of, random) = name.strip_prefix('.')?.strip_suffix(ENDING)?.rsplit_once('.')?;
    let plain = random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain && !of.is_empty()).then_some(of)
}

/// A new temporary file for `name` in `folder`, locked by this process. Its permissions are what the umask leaves, as
/// those of every file of the system; left to itself, the crate would make it private.
pub(super) fn create(folder: &Path, name: &str) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let prefix = format!(".{name}.");
    builder.prefix(&prefix).suffix(ENDING).rand_bytes(RANDOM);
    for _ in 0..TRIES {
        let temporary = operation(|| builder.tempfile_in(folder), || {})?;
        // Whoever clears abandoned ones may have been quicker.
        let locked = !matches!(temporary.as_file().try_lock(), Err(TryLockError::WouldBlock));
        if locked && temporary.path().exists() {
            return Ok(temporary);
        }
    }
    Err(io::Error::other("temporary files are removed as soon as they are made"))
}

/// Removes temporary files that a killed process left in `folder`, of files whose names are `own`. Only the folder's owner
/// may call this.
///
/// # Errors
/// If the folder cannot be read; files that cannot be removed are left.
pub fn sweep(folder: &Path, own: impl Fn(&str) -> bool) -> Result<()> {
    remove_all(folder, |name, _| temporary_of(name).is_some_and(&own).then_some(None))
}

/// Removes the temporary files of the file at `path` that nobody is writing.
pub(super) fn clear(path: &Path) {
    let Some(own) = path.file_name().and_then(|name| name.to_str()) else { return };
    // A leftover is no reason not to write.
    let _ = remove_all(folder_of(path), |name, path| match temporary_of(name) == Some(own) {
        true => abandoned(path).map(Some),
        false => None,
    });
}

/// The file, locked, if nobody is writing it.
fn abandoned(path: &Path) -> Option<File> {
    let file = open_own(OpenOptions::new().read(true), path).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// Removes the files that are chosen, each while the lock that comes with the choice is held.
fn remove_all(folder: &Path, choose: impl Fn(&str, &Path) -> Option<Option<File>>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("cannot read folder", folder, e))?;
    for entry in entries.flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let name = entry.file_name();
        let name = name.to_str().filter(|_| is_file);
        if let Some(_lock) = name.and_then(|name| choose(name, &entry.path())) {
            let _ = operation(|| fs::remove_file(entry.path()), || {});
        }
    }
    Ok(())
}
