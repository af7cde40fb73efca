//! A run's folder for writing.

use std::fs::File;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use rigl_base::{Error, Result, shown};

use super::aside::Aside;
use super::entries::{Entries, LOCK, sweep};
use super::lock::{gone, lock_folder};
use super::marks;
use super::run::RunFolder;

/// A run's folder with its lock held, for writing. Dropping it, or the end of the process, releases the lock. If it took
/// the place of another run and has not [begun](RunWriter::begun) by then, that one is put back.
#[derive(Debug)]
pub struct RunWriter {
    folder: RunFolder,
    _lock: File,
    replaced: Mutex<Option<Aside>>,
}

impl Deref for RunWriter {
    type Target = RunFolder;

    fn deref(&self) -> &RunFolder {
        &self.folder
    }
}

impl RunWriter {
    pub(super) fn new(folder: RunFolder, lock: File) -> RunWriter {
        RunWriter { folder, _lock: lock, replaced: Mutex::new(None) }
    }

    /// Once this run has begun, what it replaces is removed.
    pub(super) fn replaces(&mut self, old: Aside) {
        self.replaced = Mutex::new(Some(old));
    }

    /// To be called once the run can be gone on with, whatever happens: the run whose place it took, if any, is removed.
    ///
    /// # Errors
    /// `Kind::Environment` or `Kind::Usage` if something of that is left, beside this run's folder: because it cannot be
    /// removed, or because somebody else has just put it there.
    pub fn begun(&self) -> Result<()> {
        match self.take_replaced() {
            Some(old) => old.remove(),
            None => Ok(()),
        }
    }

    fn take_replaced(&self) -> Option<Aside> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if let Some(old) = self.take_replaced() {
            // If that fails, the next command that writes to this place tries again.
            let _ = old.put_back();
        }
    }
}

impl RunFolder {
    /// Takes the lock, as a writer must, and removes what a killed writer left half written. Nothing is touched unless
    /// the folder is a run's, and everything that the program writes to in it a file of its own.
    ///
    /// # Errors
    /// `Kind::Busy` if another process holds it, saying which; `Kind::Usage` if the folder is no run's, or holds something
    /// else, such as a link, under a name of the program; `Kind::Environment` if the lock cannot be taken.
    pub fn lock(self) -> Result<RunWriter> {
        let path = self.path();
        if !marks::is_run(path)? {
            return Err(Error::usage(format!(
                "`{}` is not a run: it has a configuration, and nothing else that a run leaves",
                shown::path(path)
            )));
        }
        Entries::of(path)?.check(path)?;
        let lock = lock_folder(path, LOCK)?;
        if !marks::is_run(path)? {
            return Err(gone(path));
        }
        sweep(path)?;
        Ok(RunWriter::new(self, lock))
    }
}
