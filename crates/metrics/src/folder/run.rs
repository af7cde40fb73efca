//! A run's folder for reading.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rigl_base::{Error, Result, files, shell, shown};

use super::aside;
use super::entries::{CHECKPOINTS, CONFIG, LOCK, LOG, PATTERNS, SUMMARY, is_own};
use super::lock::held_by;
use super::marks;
use crate::summary::{Status, Summary};

/// A run's folder, for reading. Needs no lock: every file in it is whole or absent, and the log is appended to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder `path`, whatever is there.
    pub(super) fn at(path: PathBuf) -> RunFolder {
        RunFolder { path }
    }

    /// Opens an existing run for reading. It is known by its configuration or by its log: what has lost one of them is
    /// still a run.
    ///
    /// # Errors
    /// `Kind::Environment` if there is no such folder or it cannot be looked into, `Kind::Usage` if it is not a run's.
    pub fn open(path: &Path) -> Result<RunFolder> {
        let run = RunFolder { path: path.to_path_buf() };
        let set_aside = |error: Error| match aside::holds_run(path) {
            Some(aside) => error.hint(format!(
                "`{}` is the run that was being replaced; `rigl train --resume {}` puts it back",
                shown::path(&aside),
                shell::path(path)
            )),
            None => error,
        };
        let found = path.metadata().map_err(|e| set_aside(Error::io("cannot open run", path, e)))?;
        if !found.is_dir() {
            return Err(Error::usage(format!(
                "`{}` is a file, expected the folder of a run",
                shown::path(path)
            )));
        }
        if marks::is_readable(path)? {
            return Ok(run);
        }
        let what = match run.config().symlink_metadata() {
            Ok(_) => "its `config.toml` is not that of a run",
            Err(e) if e.kind() == ErrorKind::NotFound => "it has no `config.toml`",
            Err(e) => return Err(Error::io("cannot read", &run.config(), e)),
        };
        Err(set_aside(Error::usage(format!("`{}` is not a run: {what}", shown::path(path)))))
    }

    /// Who is writing to this run at the moment, `process 1234 on host a`; `None` if nobody is.
    ///
    /// # Errors
    /// `Kind::Environment` if that cannot be told.
    pub fn in_use(&self) -> Result<Option<String>> {
        held_by(&self.path.join(LOCK))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration, `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The resolved configuration, of a run that has not lost it.
    ///
    /// # Errors
    /// `Kind::Data` if it is not there; `Kind::Environment` if that cannot be told.
    pub fn kept_config(&self) -> Result<PathBuf> {
        let (config, run) = (self.config(), shown::path(&self.path));
        match config.symlink_metadata() {
            Ok(_) => Ok(config),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Err(Error::data(format!("`{run}` has lost its `{CONFIG}`")).hint(format!(
                    "`rigl train --resume {}` writes it again, as its last checkpoint has it",
                    shell::path(&self.path)
                )))
            }
            Err(e) => Err(Error::io("cannot read", &config, e)),
        }
    }

    /// The event log, `metrics.jsonl`.
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// The summary, `summary.json`.
    pub fn summary(&self) -> PathBuf {
        self.path.join(SUMMARY)
    }

    /// What the run came to, if it is finished: the one answer to whether it is.
    ///
    /// # Errors
    /// As [`Summary::read`].
    pub fn finished(&self) -> Result<Option<Summary>> {
        match self.summary().symlink_metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("cannot read", &self.summary(), e)),
            Ok(_) => {}
        }
        let summary = Summary::read(&self.summary())?;
        Ok(Some(summary).filter(|summary| summary.status == Status::Finished))
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// The folder of logged patterns.
    pub fn patterns(&self) -> PathBuf {
        self.path.join(PATTERNS)
    }
}

/// Whether a run keeps a file of its own at `path`, be it there already or not: nothing else may be written there.
pub fn is_file_of_run(path: &Path) -> bool {
    let name = path.file_name();
    // What the path leads through may be links, its last part too.
    let lies_at =
        path.canonicalize().ok().or_else(|| Some(files::folder_of(path).canonicalize().ok()?.join(name?)));
    let Some(lies_at) = lies_at else { return false };
    // In the folder itself, or in one that it has.
    lies_at.ancestors().skip(1).take(2).any(|run| {
        let relative = lies_at.strip_prefix(run);
        relative.is_ok_and(is_own) && marks::is_readable(run).unwrap_or(false)
    })
}
