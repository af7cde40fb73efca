//! What the folders of runs tell of them: all that a sweep knows, and all that is compared.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rigl_base::{Error, Kind, Result};
use rigl_formats::Store;
use rigl_metrics::folder::is_aside;
use rigl_metrics::{RunFolder, Summary, jsonl};
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
    /// All its steps are done; what it came to.
    Finished(Box<Summary>),
    /// What is in its folder cannot be read; why, in one line.
    Unreadable(String),
}

/// A run that failed, or whose folder cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailedRun {
    /// What it is called.
    pub run: String,
    /// Why, in one line.
    pub reason: String,
    /// The file with all that it said, if it said something.
    pub log: Option<PathBuf>,
}

impl State {
    /// The word that tables show for it.
    pub fn word(&self) -> &'static str {
        match self {
            State::New => "new",
            State::Begun => "begun",
            State::Finished(_) => "finished",
            State::Unreadable(_) => "unreadable",
        }
    }

    /// Whether it is finished.
    pub fn is_finished(&self) -> bool {
        matches!(self, State::Finished(_))
    }

    /// Whether there is something to be done for it.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, State::New | State::Begun)
    }

    /// How much of the run is done, 0 to 1.
    pub(crate) fn fraction(&self, run: &PlannedRun) -> f64 {
        match self {
            State::New | State::Unreadable(_) => 0.0,
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

    /// The runs whose folders cannot be read, of runs that have come so far.
    pub fn unreadable(&self, states: &[State]) -> Vec<FailedRun> {
        let bad = |(run, state): (&PlannedRun, &State)| match state {
            State::Unreadable(reason) => {
                Some(FailedRun { run: run.name.clone(), reason: reason.clone(), log: None })
            }
            _ => None,
        };
        self.runs.iter().zip(states).filter_map(bad).collect()
    }
}

impl PlannedRun {
    /// How far it has come, by its folder.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if the run in that folder has another configuration than the sweep
    /// describes, naming the first key that differs. What cannot be read is a state, since it concerns no other run.
    pub fn state(&self, known: &Known) -> Result<State> {
        let path = self.path.join("config.toml");
        match path.metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                // What is left of a run tells that there was one.
                let lost = RunFolder::open(&self.path).and_then(|run| run.kept_config()).err();
                let lost = lost.filter(|error| error.kind() == Kind::Data);
                return Ok(lost.map_or(State::New, |error| State::Unreadable(error.told())));
            }
            Err(e) => return Ok(State::Unreadable(Error::io("cannot read", &path, e).told())),
            Ok(_) => {}
        }
        let found = RunFolder::open(&self.path).and_then(|run| Ok((configuration(&run, known)?, run)));
        let (config, run) = match found {
            Ok(found) => found,
            Err(error) => return Ok(State::Unreadable(error.told())),
        };
        if let Some(Difference { key, here, there }) = config.difference(&self.config) {
            return Err(Error::usage(format!(
                "`{}` holds a run with `{key}` = `{here}`, where the sweep says `{there}`",
                self.path.display()
            ))
            .hint("take another folder with `--out DIR`, or delete this one"));
        }
        Ok(match run.finished() {
            Ok(Some(summary)) => State::Finished(Box::new(summary)),
            Ok(None) => State::Begun,
            Err(error) => State::Unreadable(error.told()),
        })
    }

    /// Whether the next process that trains it begins at step 0.
    pub(crate) fn begins(&self, state: &State) -> bool {
        let no_checkpoint = || {
            let list = Store::new(self.path.join("checkpoints")).list();
            list.is_ok_and(|list| list.is_empty())
        };
        match state {
            State::New => true,
            State::Begun => no_checkpoint(),
            State::Finished(_) | State::Unreadable(_) => false,
        }
    }
}

/// A run that came to its end: all its steps are done, or as many as its patience let it take.
#[derive(Clone, Debug)]
pub struct FinishedRun {
    /// Its folder.
    pub path: PathBuf,
    /// The recipe that it followed, resolved.
    pub config: Config,
    /// What it came to.
    pub summary: Summary,
}

/// The runs in some folder.
#[derive(Debug, Default)]
pub struct Runs {
    /// Those that are finished.
    pub finished: Vec<FinishedRun>,
    /// The folders of those that are not.
    pub unfinished: Vec<PathBuf>,
    /// What may be a run and cannot be read, each with the reason.
    pub unreadable: Vec<(PathBuf, Error)>,
}

/// The runs in a folder, which is a run's own or holds the folders of runs, in the order of their names. Files and folders
/// beside them that are no runs are passed over; one that cannot be read, or has lost its configuration, is named.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage) if there is no run, [`Kind::Environment`](rigl_base::Kind::Environment) if the
/// folder cannot be read. What is wrong with a single run is in the result.
pub fn read_runs(path: &Path, known: &Known) -> Result<Runs> {
    let mut runs = Runs::default();
    let error = match RunFolder::open(path) {
        Err(error) if error.kind() == Kind::Usage && path.is_dir() => error,
        Err(error) => return Err(error),
        Ok(run) => {
            runs.add(&run, known);
            return Ok(runs);
        }
    };
    let cannot = |e| Error::io("cannot read folder", path, e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        match entry {
            // What a killed process was replacing is no run beside the others.
            Ok(entry) if is_aside(&entry.file_name()) => {}
            Ok(entry) => paths.push(entry.path()),
            Err(e) => runs.unreadable.push((path.to_path_buf(), cannot(e))),
        }
    }
    paths.sort();
    for path in paths {
        match RunFolder::open(&path) {
            Ok(run) => runs.add(&run, known),
            Err(error) if may_be_run(&path, &error) => {
                runs.unreadable.push((path, error));
            }
            Err(_) => {}
        }
    }
    let Runs { finished, unfinished, unreadable } = &runs;
    let nothing = finished.is_empty() && unfinished.is_empty() && unreadable.is_empty();
    if nothing { Err(error) } else { Ok(runs) }
}

impl Runs {
    fn add(&mut self, run: &RunFolder, known: &Known) {
        let path = run.path().to_path_buf();
        let read = || run.finished()?.map(|summary| Ok((configuration(run, known)?, summary))).transpose();
        match read() {
            Ok(Some((config, summary))) => self.finished.push(FinishedRun { path, config, summary }),
            Ok(None) => self.unfinished.push(path),
            Err(error) => self.unreadable.push((path, error)),
        }
    }
}

/// Whether a folder that could not be opened as a run may be one all the same.
pub(crate) fn may_be_run(path: &Path, error: &Error) -> bool {
    error.kind() != Kind::Usage || has_traces(path)
}

/// Whether a folder without a configuration holds what only a run leaves.
pub(crate) fn has_traces(folder: &Path) -> bool {
    ["summary.json", "metrics.jsonl"].iter().any(|name| folder.join(name).exists())
}

/// The recipe that a run follows, resolved, as it wrote it down.
///
/// # Errors
/// If it is lost or cannot be read.
pub fn configuration(run: &RunFolder, known: &Known) -> Result<Config> {
    let path = run.kept_config()?;
    Config::of_run(&path.display().to_string(), &read_text(&path)?, known)
}

/// How much of a run is done, by its log: 0 to 1.
pub(crate) fn fraction(run: &PlannedRun) -> f64 {
    let record = jsonl::last_record(&run.path.join("metrics.jsonl")).ok().flatten();
    record.map_or(0.0, |record| (record.step as f64 / run.steps.max(1) as f64).min(1.0))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rigl_base::files;

    use super::*;

    #[test]
    fn what_is_no_run_is_passed_over_and_what_cannot_be_read_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let error = read_runs(place.path(), &Known::default()).unwrap_err();
        assert!(error.kind() == Kind::Usage && error.to_string().contains("is not a run"), "{error}");
        files::write_atomic(&path("table.md"), b"").unwrap();
        for folder in ["lost", "notes", "site"] {
            files::create_folder(&path(folder)).unwrap();
        }
        let config = Config::default().to_toml();
        for folder in ["begun", "closed", ".begun.replaced"] {
            files::create_folder(&path(folder)).unwrap();
            files::write_atomic(&path(folder).join("config.toml"), config.as_bytes()).unwrap();
        }
        files::write_atomic(&path("site/config.toml"), b"[params]").unwrap();
        files::write_atomic(&path("lost/metrics.jsonl"), b"").unwrap();
        std::os::unix::fs::symlink("nowhere", path("gone")).unwrap();
        std::fs::set_permissions(path("closed"), PermissionsExt::from_mode(0o000)).unwrap();
        let Runs { finished, unfinished, unreadable } = read_runs(place.path(), &Known::default()).unwrap();
        std::fs::set_permissions(path("closed"), PermissionsExt::from_mode(0o700)).unwrap();
        assert!(finished.is_empty());
        // A superuser is refused nothing.
        let refused = !unfinished.contains(&path("closed"));
        let named: Vec<&str> =
            unreadable.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
        let expected = ["closed", "gone", "lost"];
        assert_eq!(named, expected[usize::from(!refused)..]);
        assert!(unfinished.contains(&path("begun")));
        let reason = |name: &str| {
            let (_, error) = unreadable.iter().find(|(path, _)| path.ends_with(name)).unwrap();
            error.to_string()
        };
        assert!(reason("gone").contains("cannot open run"), "{}", reason("gone"));
        assert!(reason("lost").ends_with("is not a run: it has no `config.toml`"), "{}", reason("lost"));
        if refused {
            assert!(reason("closed").contains("cannot read `"), "{}", reason("closed"));
        }
    }
}
