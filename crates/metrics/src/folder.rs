//! The folder of a run: where its files lie, how it is created without touching another, and the lock that
//! keeps it to one writer. What lies in it is described in `docs/run-directory.md`.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rigl_base::{Error, Result, files};

use crate::machine;
use crate::summary::{Status, Summary};

const CONFIG: &str = "config.toml";
const CHECKPOINTS: &str = "checkpoints";
const PATTERNS: &str = "patterns";
const LOCK: &str = "run.lock";

/// Folders of one name that are numbered before giving up.
const MOST_OF_A_NAME: u32 = 10_000;

/// The name of a run's folder: `<time>-<preset>-<method>-sparsity.90-seed0`, the time in UTC. Characters that
/// could not stand in a file's name on every system become `-`.
pub fn run_name(at: SystemTime, preset: &str, method: &str, sparsity: f64, seed: u64) -> String {
    let time = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let time = time.strftime("%Y%m%d-%H%M%S");
    // At least two decimals: `.90`, but `.965`.
    let mut sparsity = format!("{sparsity:.4}");
    while sparsity.ends_with('0') && sparsity.len() > "0.90".len() {
        sparsity.pop();
    }
    let sparsity = sparsity.trim_start_matches('0');
    let name = format!("{time}-{preset}-{method}-sparsity{sparsity}-seed{seed}");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    name.chars().map(|c| if plain(c) { c } else { '-' }).collect()
}

/// A run's folder, for reading. Needs no lock: every file in it is whole or absent, and the log is appended to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunFolder {
    path: PathBuf,
}

/// A run's folder with its lock held, for writing. Dropping it, or the end of the process, releases the lock.
#[derive(Debug)]
pub struct RunWriter {
    folder: RunFolder,
    _lock: File,
}

impl Deref for RunWriter {
    type Target = RunFolder;

    fn deref(&self) -> &RunFolder {
        &self.folder
    }
}

impl RunFolder {
    /// Creates `base/name`, or `base/name-2`, `base/name-3` … if that is taken.
    ///
    /// # Errors
    /// `Kind::Usage` if `name` is not a plain name; `Kind::Environment` if the folder cannot be created.
    pub fn create(base: &Path, name: &str) -> Result<RunWriter> {
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(Error::usage(format!("`{name}` is not the name of a folder")));
        }
        files::create_folder(base)?;
        for number in 1..=MOST_OF_A_NAME {
            let path = match number {
                1 => base.join(name),
                _ => base.join(format!("{name}-{number}")),
            };
            if files::create_new_folder(&path)? {
                return RunFolder { path }.prepare();
            }
        }
        let base = base.display();
        Err(Error::environment(format!("`{base}` holds {MOST_OF_A_NAME} runs named `{name}` already")))
    }

    /// Creates the folder `path`, which must not exist, or be empty.
    ///
    /// # Errors
    /// `Kind::Usage` if something is there; `Kind::Busy` if another process is creating a run there; `Kind::Environment` if
    /// it cannot be created.
    pub fn create_at(path: &Path) -> Result<RunWriter> {
        let run = RunFolder { path: path.to_path_buf() };
        if !run.is_vacant()? {
            let shown = path.display();
            return Err(if run.config().is_file() {
                Error::usage(format!("`{shown}` holds a run already"))
                    .hint(format!("`--resume {shown}` goes on with it, `--overwrite` replaces it"))
            } else {
                Error::usage(format!("`{shown}` is not empty, and holds no run"))
                    .hint("choose another folder")
            });
        }
        files::create_folder(path)?;
        run.prepare()
    }

    /// Creates the folder `path` in place of the run that is there, if there is one. What is not a run is not
    /// replaced.
    ///
    /// # Errors
    /// As [`RunFolder::create_at`], and `Kind::Busy` if another process is writing to that run.
    pub fn replace_at(path: &Path) -> Result<RunWriter> {
        let old = RunFolder { path: path.to_path_buf() };
        if old.config().is_file() {
            // Held until just before, since some systems do not remove an open file.
            drop(old.lock()?);
            files::remove_folder(path)?;
        }
        RunFolder::create_at(path)
    }

    /// Opens an existing run for reading.
    ///
    /// # Errors
    /// `Kind::Environment` if there is no such folder or it cannot be looked into, `Kind::Usage` if it is not a run's.
    pub fn open(path: &Path) -> Result<RunFolder> {
        let run = RunFolder { path: path.to_path_buf() };
        let found = path.metadata().map_err(|e| Error::io("cannot open run", path, e))?;
        if !found.is_dir() {
            return Err(Error::usage(format!(
                "`{}` is a file, expected the folder of a run",
                path.display()
            )));
        }
        match run.config().metadata() {
            Ok(config) if config.is_file() => Ok(run),
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("cannot read", &run.config(), e)),
            _ => Err(Error::usage(format!("`{}` is not a run: it has no `{CONFIG}`", path.display()))),
        }
    }

    /// Takes the lock, as a writer must, and removes what a killed writer left half written.
    ///
    /// # Errors
    /// `Kind::Busy` if another process holds it, saying which; `Kind::Environment` if it cannot be taken.
    pub fn lock(self) -> Result<RunWriter> {
        let lock = lock_folder(&self.path, LOCK)?;
        for folder in [self.path.clone(), self.checkpoints(), self.patterns()] {
            if folder.is_dir() {
                files::sweep(&folder)?;
            }
        }
        Ok(RunWriter { folder: self, _lock: lock })
    }

    /// Who is writing to this run at the moment, `process 1234 on host a`; `None` if nobody is.
    ///
    /// # Errors
    /// `Kind::Environment` if that cannot be told.
    pub fn in_use(&self) -> Result<Option<String>> {
        let path = self.path.join(LOCK);
        if !path.is_file() {
            return Ok(None);
        }
        let mut lock = files::open_lock_file(&path)?;
        match lock.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(holder(&mut lock))),
            Err(TryLockError::Error(e)) => Err(Error::io("cannot lock", &path, e)),
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration, `config.toml`. A folder that has one is a run.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The event log, `metrics.jsonl`.
    pub fn log(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The summary, `summary.json`.
    pub fn summary(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// What the run came to, if it is finished: the one answer to whether it is.
    ///
    /// # Errors
    /// As [`Summary::read`].
    pub fn finished(&self) -> Result<Option<Summary>> {
        if !self.summary().is_file() {
            return Ok(None);
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

    /// Locks a new folder, so that nobody else takes it for an empty one, and makes its sub-folders.
    fn prepare(self) -> Result<RunWriter> {
        let writer = self.lock()?;
        // Another process may have made a run here before the lock was taken.
        if !writer.is_vacant()? {
            return Err(Error::busy(format!(
                "`{}` has just been taken by another run",
                writer.path.display()
            )));
        }
        files::create_folder(&writer.checkpoints())?;
        files::create_folder(&writer.patterns())?;
        Ok(writer)
    }

    /// Whether nothing is there but what a process killed while creating a run leaves behind.
    fn is_vacant(&self) -> Result<bool> {
        let cannot = |e| Error::io("cannot read folder", &self.path, e);
        let entries = match fs::read_dir(&self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
            entries => entries.map_err(cannot)?,
        };
        for entry in entries {
            let entry = entry.map_err(cannot)?;
            let vacant = match entry.file_name().to_str() {
                Some(LOCK) => true,
                Some(CHECKPOINTS | PATTERNS) => {
                    fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none())
                }
                Some(name) => name.starts_with('.') && name.ends_with(files::TEMPORARY),
                None => false,
            };
            if !vacant {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Takes the lock `name` in `folder` until the file is dropped or the process ends, and writes down who has it.
///
/// # Errors
/// `Kind::Busy` if another process holds it, saying which; `Kind::Environment` if it cannot be taken.
pub fn lock_folder(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(name);
    let mut lock = files::open_lock_file(&path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let (folder, holder) = (folder.display(), holder(&mut lock));
            return Err(Error::busy(format!("`{folder}` is in use by {holder}"))
                .hint("wait for it to end, or stop it"));
        }
        Err(TryLockError::Error(e)) => return Err(Error::io("cannot lock", &path, e)),
    }
    let host = machine::host().unwrap_or_else(|| "unknown".to_owned());
    let text = format!("process {} on host {host}\n", std::process::id());
    files::write_lock_text(&mut lock, &path, &text)?;
    Ok(lock)
}

/// What the holder of a lock wrote about itself. Some systems let nobody else read a locked file.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(200).read_to_string(&mut text);
    let line = text.lines().next().filter(|line| !line.is_empty() && !line.contains(char::is_control));
    line.filter(|_| read.is_ok()).unwrap_or("another process").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rigl_base::Kind;
    use std::time::Duration;

    fn write(path: &Path) {
        files::write_atomic(path, b"").unwrap();
    }

    #[test]
    fn names_tell_time_preset_method_sparsity_and_seed() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(951_827_696);
        let name = |sparsity| run_name(at, "mnist-lenet", "rigl", sparsity, 0);
        assert_eq!(name(0.9), "20000229-123456-mnist-lenet-rigl-sparsity.90-seed0");
        for (sparsity, expected) in
            [(0.965, "sparsity.965-"), (0.0, "sparsity.00-"), (0.98, "sparsity.98-"), (0.5, "sparsity.50-")]
        {
            assert!(name(sparsity).contains(expected), "{}", name(sparsity));
        }
        let odd = run_name(at, "../mine: ü", "a/b", 0.9, 7);
        assert_eq!(odd, "20000229-123456-..-mine----a-b-sparsity.90-seed7");
    }

    #[test]
    fn a_taken_name_is_numbered() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().join("runs");
        let runs: Vec<_> = (0..3).map(|_| RunFolder::create(&base, "a").unwrap()).collect();
        let names: Vec<_> = runs.iter().map(|r| r.path().file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a", "a-2", "a-3"]);
        assert!(runs[1].checkpoints().is_dir() && runs[1].patterns().is_dir());
    }

    #[test]
    fn a_name_is_one_folder_below_the_base() {
        let base = tempfile::tempdir().unwrap();
        for name in ["", ".", "..", "a/b", "/a", "a/"] {
            assert_eq!(RunFolder::create(base.path(), name).unwrap_err().kind(), Kind::Usage, "{name}");
        }
    }

    #[test]
    fn an_explicit_folder_must_be_absent_or_empty() {
        let base = tempfile::tempdir().unwrap();
        let (empty, absent) = (base.path().join("empty"), base.path().join("b/absent"));
        files::create_folder(&empty).unwrap();
        for path in [&empty, &absent] {
            let run = RunFolder::create_at(path).unwrap();
            write(&run.config());
            drop(run);
            let error = RunFolder::create_at(path).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            let hint = error.hint_text().unwrap();
            assert!(hint.contains("--resume") && hint.contains("--overwrite"), "{hint}");
        }
    }

    #[test]
    fn what_a_process_killed_while_creating_leaves_counts_as_empty() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a");
        drop(RunFolder::create_at(&path).unwrap());
        write(&path.join(".config.toml.x.tmp"));
        let run = RunFolder::create_at(&path).unwrap();
        assert!(!path.join(".config.toml.x.tmp").exists());
        write(&run.checkpoints().join("step-1"));
        drop(run);
        assert!(RunFolder::create_at(&path).is_err());
    }

    #[test]
    fn only_a_run_is_replaced_and_not_while_it_is_written() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a");
        let run = RunFolder::replace_at(&path).unwrap();
        write(&run.config());
        write(&run.log());
        assert_eq!(RunFolder::replace_at(&path).unwrap_err().kind(), Kind::Busy);
        drop(run);
        let run = RunFolder::replace_at(&path).unwrap();
        assert!(!run.config().exists() && !run.log().exists() && run.checkpoints().is_dir());
        write(&base.path().join("thesis.tex"));
        let error = RunFolder::replace_at(base.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(base.path().join("thesis.tex").exists() && path.exists());
    }

    #[test]
    fn a_run_is_opened_by_its_configuration() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a");
        assert_eq!(RunFolder::open(&path).unwrap_err().kind(), Kind::Environment);
        let run = RunFolder::create_at(&path).unwrap();
        let error = RunFolder::open(&path).unwrap_err();
        assert!(error.to_string().contains("it has no `config.toml`"), "{error}");
        write(&run.config());
        // Reading is allowed while the run is being written.
        assert_eq!(RunFolder::open(&path).unwrap(), *run);
        assert_eq!(RunFolder::open(&run.config()).unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn a_run_is_finished_when_its_summary_says_so() {
        let base = tempfile::tempdir().unwrap();
        let run = RunFolder::create_at(&base.path().join("a")).unwrap();
        assert_eq!(run.finished().unwrap(), None);
        for status in Status::ALL {
            let summary = Summary { status: *status, ..crate::summary::tests::sample() };
            summary.write(&run.summary()).unwrap();
            let expected = (*status == Status::Finished).then_some(summary);
            assert_eq!(run.finished().unwrap(), expected, "{status}");
        }
        write(&run.summary());
        assert_eq!(run.finished().unwrap_err().kind(), Kind::Data);
    }

    #[test]
    fn a_second_writer_is_told_who_holds_the_run() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a");
        let run = RunFolder::create_at(&path).unwrap();
        write(&run.config());
        let error = RunFolder::open(&path).unwrap().lock().unwrap_err();
        assert_eq!(error.kind(), Kind::Busy);
        let holder = format!("is in use by process {} on host ", std::process::id());
        assert!(error.to_string().contains(&holder), "{error}");
        let reader = RunFolder::open(&path).unwrap();
        assert!(error.to_string().ends_with(&reader.in_use().unwrap().unwrap()), "{error}");
        drop(run);
        assert_eq!(reader.in_use().unwrap(), None);
        reader.lock().unwrap();
    }

    #[test]
    fn a_writer_removes_what_a_killed_one_left() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a");
        let run = RunFolder::create_at(&path).unwrap();
        write(&run.config());
        let left: Vec<_> = [run.path().to_path_buf(), run.checkpoints(), run.patterns()]
            .iter()
            .map(|folder| folder.join(".a.x.tmp"))
            .collect();
        drop(run);
        left.iter().for_each(|path| write(path));
        RunFolder::open(&path).unwrap().lock().unwrap();
        assert!(left.iter().all(|path| !path.exists()));
        assert!(path.join(CONFIG).exists());
    }
}
