//! What the folders of runs tell of them: all that a sweep knows, and all that is compared.

use std::path::{Path, PathBuf};

use rigl_base::{Error, Result};
use rigl_metrics::{RunFolder, Status, Summary, jsonl};
use rigl_train::Config;
use rigl_train::config::{Difference, Known, read_text};

use crate::plan::{Plan, PlannedRun};

/// How far a run of a sweep has come.
#[derive(Clone, Debug)]
pub enum State {
    /// There is nothing of it.
    New,
    /// It has begun, and can be gone on with.
    Begun,
    /// It is finished.
    Finished(Box<Summary>),
}

impl State {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            State::New => "new",
            State::Begun => "begun",
            State::Finished(_) => "finished",
        }
    }

    /// Whether it is finished.
    pub fn is_finished(&self) -> bool {
        matches!(self, State::Finished(_))
    }

    /// How much of the run is done, 0 to 1.
    pub(crate) fn fraction(&self, run: &PlannedRun) -> f64 {
        match self {
            State::New => 0.0,
            State::Begun => fraction(run),
            State::Finished(_) => 1.0,
        }
    }
}

impl Plan {
    /// How far each run has come.
    ///
    /// # Errors
    /// As [`PlannedRun::state`].
    pub fn states(&self, known: &Known) -> Result<Vec<State>> {
        self.runs.iter().map(|run| run.state(known)).collect()
    }
}

impl PlannedRun {
    /// How far it has come, by its folder.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if the run in that folder has another configuration than the sweep
    /// describes, naming the first key that differs; else what reading the folder says.
    pub fn state(&self, known: &Known) -> Result<State> {
        if !self.path.join("config.toml").is_file() {
            return Ok(State::New);
        }
        let run = RunFolder::open(&self.path)?;
        if let Some(Difference { key, here, there }) = configuration(&run, known)?.difference(&self.config) {
            return Err(Error::usage(format!(
                "`{}` holds a run with `{key}` = `{here}`, where the sweep says `{there}`",
                self.path.display()
            ))
            .hint("take another folder with `--out DIR`, or delete this one"));
        }
        Ok(match summary(&run)? {
            Some(summary) => State::Finished(Box::new(summary)),
            None => State::Begun,
        })
    }
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    /// Its folder.
    pub path: PathBuf,
    /// Its configuration.
    pub config: Config,
    /// What it came to.
    pub summary: Summary,
}

/// The finished runs in a folder, which is a run's own or holds the folders of runs (in the order of their names), and
/// beside them the folders of unfinished ones.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage) if there is no run; else what reading says.
pub fn read_runs(path: &Path, known: &Known) -> Result<(Vec<FinishedRun>, Vec<PathBuf>)> {
    let (mut finished, mut unfinished) = (Vec::new(), Vec::new());
    for run in folders(path)? {
        let path = run.path().to_path_buf();
        match summary(&run)? {
            Some(summary) => {
                finished.push(FinishedRun { path, config: configuration(&run, known)?, summary })
            }
            None => unfinished.push(path),
        }
    }
    Ok((finished, unfinished))
}

fn folders(path: &Path) -> Result<Vec<RunFolder>> {
    let error = match RunFolder::open(path) {
        Ok(run) => return Ok(vec![run]),
        Err(error) if !path.is_dir() => return Err(error),
        Err(error) => error,
    };
    let entries = std::fs::read_dir(path).map_err(|e| Error::io("cannot read folder", path, e))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let runs: Vec<RunFolder> = paths.iter().filter_map(|path| RunFolder::open(path).ok()).collect();
    if runs.is_empty() { Err(error) } else { Ok(runs) }
}

fn configuration(run: &RunFolder, known: &Known) -> Result<Config> {
    let path = run.config();
    Config::from_text(&path.display().to_string(), &read_text(&path)?, known)
}

/// What a run came to, if it came to its end.
fn summary(run: &RunFolder) -> Result<Option<Summary>> {
    if !run.summary().is_file() {
        return Ok(None);
    }
    let summary = Summary::read(&run.summary())?;
    Ok(Some(summary).filter(|summary| summary.status == Status::Finished))
}

/// How much of a run is done, by its log: 0 to 1.
pub(crate) fn fraction(run: &PlannedRun) -> f64 {
    let record = jsonl::last_record(&run.path.join("metrics.jsonl")).ok().flatten();
    record.map_or(0.0, |record| (record.step as f64 / run.steps.max(1) as f64).min(1.0))
}
