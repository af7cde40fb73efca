//! A run that is to be replaced is set aside first, under a name beside its own, and removed once the new one has
//! begun. A process may be killed at any moment of that: what it left tells whether the old run is put back, or removed.
//!
//! `.RUN.replaced` is whole, and put back unless `RUN` has begun; `.RUN.removed` is what is left of one to be removed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rigl_base::{Error, Kind, Result, files, shown};

use super::entries::{Entries, LOCK, is_own};
use super::lock::{lock_folder, turn};
use super::marks;

/// A folder of one run, or of several, and where it is while it is replaced.
#[derive(Debug)]
pub(super) struct Aside {
    /// Where it belongs; no link.
    real: PathBuf,
    /// The locks of its runs: they go with it.
    _locks: Vec<File>,
}

const REPLACED: &str = "replaced";
const REMOVED: &str = "removed";

/// The name of a folder that is set aside.
fn replaced(real: &Path) -> PathBuf {
    beside(real, REPLACED)
}

/// The name of a folder that is being removed.
fn removed(real: &Path) -> PathBuf {
    beside(real, REMOVED)
}

fn beside(real: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(real.file_name().unwrap_or_default());
    name.push(".");
    name.push(what);
    real.with_file_name(name)
}

/// Whether a folder's name is that of runs which are set aside while they are replaced, or being removed.
pub fn is_aside(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    name.starts_with('.') && [REPLACED, REMOVED].iter().any(|ending| name.ends_with(&format!(".{ending}")))
}

/// The run, or runs, set aside for `path`, if a process was killed while it replaced it.
pub(super) fn holds_run(path: &Path) -> Option<PathBuf> {
    let aside = replaced(path);
    let parts = runs_in(&aside).ok()?;
    parts.iter().any(|part| marks::is_run(part).unwrap_or(false)).then_some(aside)
}

/// The folders of the runs in `folder`: itself, or all folders in it that no run has.
fn runs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = |e| Error::io("cannot read folder", folder, e);
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        if entry.file_type().map_err(cannot)?.is_dir() && !is_own(entry.file_name().as_ref()) {
            parts.push(entry.path());
        }
    }
    parts.sort();
    Ok(if parts.is_empty() { vec![folder.to_path_buf()] } else { parts })
}

impl Aside {
    /// Sets the folder aside; `locks` are those of its runs.
    ///
    /// # Errors
    /// If it cannot be renamed: nothing has changed.
    pub(super) fn set(real: &Path, locks: Vec<File>) -> Result<Aside> {
        for taken in [replaced(real), removed(real)] {
            if taken.symlink_metadata().is_ok() {
                let (taken, real) = (shown::path(&taken), shown::path(real));
                return Err(Error::usage(format!("`{real}` cannot be replaced: `{taken}` is in the way"))
                    .hint("move that elsewhere"));
            }
        }
        // Elsewhere no folder is renamed in which a file is open.
        let _locks = if cfg!(unix) { locks } else { Vec::new() };
        if let Err(error) = files::rename(real, &replaced(real)) {
            // It may be in its new place, and not on the disk there.
            let _ = files::rename(&replaced(real), real);
            return Err(error);
        }
        Ok(Aside { real: real.to_path_buf(), _locks })
    }

    /// Removes it: what has taken its place has begun.
    ///
    /// # Errors
    /// If something in it cannot be removed, or was put into it meanwhile; what is left is left beside the new one.
    pub(super) fn remove(self) -> Result<()> {
        let removed = removed(&self.real);
        files::rename(&replaced(&self.real), &removed)?;
        remove(&removed)
    }

    /// Puts it back where it was, in place of what has not begun there.
    ///
    /// # Errors
    /// If that has begun, or a folder cannot be removed or renamed.
    pub(super) fn put_back(self) -> Result<()> {
        let _turn = turn(self.real.parent().unwrap_or(Path::new(".")))?;
        self.return_to_its_place()
    }

    /// The same in one's turn at the folder above.
    ///
    /// # Errors
    /// As [`Aside::put_back`].
    pub(super) fn return_to_its_place(&self) -> Result<()> {
        let real = &self.real;
        if real.symlink_metadata().is_ok() {
            if progress(real)? != Progress::Beginning {
                return Err(Error::usage(format!("`{}` has begun", shown::path(real))));
            }
            remove(real)?;
        }
        files::rename(&replaced(real), real)
    }
}

/// Whether files that are called as a run's are one's: its lock is made first and removed last.
fn is_ours(run: &Path, entries: &Entries) -> Result<bool> {
    Ok(entries.has_no_file() || marks::has_lock(run)?)
}

/// Removes the runs in `folder`, and it. There must be nothing in it that the program did not write.
fn remove(folder: &Path) -> Result<()> {
    let runs = runs_in(folder)?;
    let entries: Vec<Entries> = runs.iter().map(|run| Entries::of(run)).collect::<Result<_>>()?;
    for (run, entries) in runs.iter().zip(&entries) {
        entries.check_alone(run)?;
        if !is_ours(run, entries)? {
            return Err(Error::usage(format!("`{}` is not what is left of a run", shown::path(run))));
        }
    }
    runs.iter().zip(&entries).try_for_each(|(run, entries)| entries.remove(run))?;
    files::remove_empty_folder(folder)
}

/// Ends what a killed process has begun to replace at `real`, which is no link: the old runs are put back if the new
/// ones have not begun, else removed. To be called in one's turn at the folder above.
///
/// # Errors
/// `Kind::Busy` if the process is not dead; `Kind::Environment` if a folder cannot be read or renamed.
pub(super) fn recover(real: &Path) -> Result<()> {
    let leftover = removed(real);
    if leftover.is_dir()
        && let Ok(_locks) = lock_all(&leftover)
    {
        // What is in the way of the next replacement is told then.
        let _ = remove(&leftover);
    }
    if holds_run(real).is_none() {
        return Ok(());
    }
    let _locks = lock_all(&replaced(real)).map_err(|error| match error.kind() {
        Kind::Busy => Error::busy(format!("`{}` is being replaced by another process", shown::path(real)))
            .hint("wait for it to end, or stop it"),
        _ => error,
    })?;
    let old = Aside { real: real.to_path_buf(), _locks };
    match progress(real)? {
        Progress::Beginning => old.return_to_its_place(),
        Progress::Begun => old.remove(),
        Progress::Foreign => Ok(()),
    }
}

/// How far what has taken the place of a run has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    /// Nothing is there, or the beginning of a run in which nothing has been trained.
    Beginning,
    /// A run that can be gone on with.
    Begun,
    /// Something else.
    Foreign,
}

fn progress(real: &Path) -> Result<Progress> {
    if real.symlink_metadata().is_err() {
        return Ok(Progress::Beginning);
    }
    let mut progress = Progress::Beginning;
    for run in runs_in(real)? {
        let entries = Entries::of(&run)?;
        if entries.has_result() && marks::is_run(&run)? {
            return Ok(Progress::Begun);
        }
        if !entries.is_at_its_beginning() || !is_ours(&run, &entries)? {
            progress = Progress::Foreign;
        }
    }
    Ok(progress)
}

/// Locks the runs in a folder that was left behind.
fn lock_all(folder: &Path) -> Result<Vec<File>> {
    runs_in(folder)?.iter().filter(|run| run.join(LOCK).is_file()).map(|run| lock_folder(run, LOCK)).collect()
}
