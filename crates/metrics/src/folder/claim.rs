//! Taking a place for new runs: a new folder, a given one in which there is nothing, or that of runs which they replace.
//! Everything is checked before anything is changed, and nothing is lost until the new run has begun.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rigl_base::{Error, Result, files, shell, shown};

use super::aside::{self, Aside};
use super::entries::{Entries, LOCK, refuse_foreign, sweep};
use super::lock::{lock_folder, turn};
use super::marks;
use super::run::RunFolder;
use super::writer::RunWriter;

/// Folders of one name that are numbered before giving up.
const MOST_OF_A_NAME: u32 = 10_000;

/// A folder for new runs, which are locked. Nothing is in them yet.
#[derive(Debug)]
pub struct Claim {
    /// The folder: that of the run itself, or the one in which the runs lie.
    pub path: PathBuf,
    /// The runs, in the order they were asked for.
    pub runs: Vec<RunWriter>,
}

/// One run, in the folder itself.
const ONE: [&str; 1] = [""];

impl Claim {
    /// Makes `base/name`, or `base/name-2`, `base/name-3` … if that is taken, with a folder of each name of `parts` in it
    /// for a run; without any it is itself a run's.
    ///
    /// # Errors
    /// `Kind::Usage` if `name` is not a plain name; `Kind::Environment` if a folder cannot be created.
    pub fn named(base: &Path, name: &str, parts: &[&str]) -> Result<Claim> {
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(Error::usage(format!("`{name}` is not the name of a folder")));
        }
        files::create_folder(base)?;
        let _turn = turn(base)?;
        for number in 1..=MOST_OF_A_NAME {
            let path = match number {
                1 => base.join(name),
                _ => base.join(format!("{name}-{number}")),
            };
            if files::create_new_folder(&path)? {
                return make(&path, &path, parts);
            }
        }
        let base = shown::path(base);
        Err(Error::environment(format!("`{base}` holds {MOST_OF_A_NAME} runs named `{name}` already")))
    }

    /// Makes the folder `path`, which must not exist, or hold nothing; with `parts` as in [`Claim::named`].
    ///
    /// # Errors
    /// `Kind::Usage` if something is there; `Kind::Busy` if another process is creating or replacing a run there;
    /// `Kind::Environment` if it cannot be created.
    pub fn at(path: &Path, parts: &[&str]) -> Result<Claim> {
        claim(path, parts, false)
    }

    /// Makes the folder `path` in place of the run that is there, or the runs called `parts`, if they are. What is not a
    /// run is not replaced, nor one beside which there is something that the program did not write. Until the first of
    /// the new runs has [begun](RunWriter::begun), the old ones are only set aside.
    ///
    /// # Errors
    /// As [`Claim::at`], and `Kind::Busy` if another process is writing to an old run.
    pub fn replacing(path: &Path, parts: &[&str]) -> Result<Claim> {
        claim(path, parts, true)
    }

    /// The one run of a claim without parts.
    ///
    /// # Errors
    /// `Kind::Internal` if it has none.
    pub fn into_run(self) -> Result<RunWriter> {
        let run = self.runs.into_iter().next();
        run.ok_or_else(|| Error::internal("a claim for one run holds none"))
    }
}

impl RunFolder {
    /// [`Claim::named`] for one run.
    ///
    /// # Errors
    /// As there.
    pub fn create(base: &Path, name: &str) -> Result<RunWriter> {
        Claim::named(base, name, &[])?.into_run()
    }

    /// [`Claim::at`] for one run.
    ///
    /// # Errors
    /// As there.
    pub fn create_at(path: &Path) -> Result<RunWriter> {
        Claim::at(path, &[])?.into_run()
    }

    /// [`Claim::replacing`] for one run.
    ///
    /// # Errors
    /// As there.
    pub fn replace_at(path: &Path) -> Result<RunWriter> {
        Claim::replacing(path, &[])?.into_run()
    }

    /// Opens an existing run for going on with it. If a process was killed while it replaced that run, it is put back
    /// first, unless the new one has begun.
    ///
    /// # Errors
    /// As [`RunFolder::open`] and [`RunFolder::lock`].
    pub fn take(path: &Path) -> Result<RunWriter> {
        let _turn = recover_in_turn(path)?;
        RunFolder::open(path)?.lock()
    }
}

/// Ends what a process that was killed has begun to replace at `path`, one run or several: the old ones are put back if
/// the new ones have not begun, else removed. Does nothing where nothing was begun.
///
/// # Errors
/// `Kind::Busy` if that process is not dead; `Kind::Environment` if a folder cannot be read or renamed.
pub fn recover(path: &Path) -> Result<()> {
    recover_in_turn(path).map(drop)
}

/// The same, and keeps the turn: until it is dropped, nobody replaces what is there.
fn recover_in_turn(path: &Path) -> Result<Option<File>> {
    let Some(real) = real(path)? else { return Ok(None) };
    let turn = turn_beside(&real)?;
    aside::recover(&real)?;
    Ok(turn)
}

/// What is at the place of a run, or of several.
enum Found {
    Nothing,
    /// With what lies beside them in their folder.
    Runs(Vec<PathBuf>),
    Other,
}

fn claim(path: &Path, parts: &[&str], replace: bool) -> Result<Claim> {
    let real = match real(path)? {
        Some(real) => real,
        None => {
            // Nothing is there, so nothing will be refused.
            files::create_folder(path.parent().unwrap_or(path))?;
            real(path)?.ok_or_else(|| super::lock::gone(path))?
        }
    };
    let _turn = turn_beside(&real)?;
    aside::recover(&real)?;
    let (shown, what) = (shown::path(path), if parts.is_empty() { "run" } else { "comparison of two runs" });
    match find(path, parts)? {
        Found::Nothing => make(path, &real, parts),
        Found::Other => Err(Error::usage(format!("`{shown}` is not empty, and holds no {what}"))
            .hint("choose another folder")),
        Found::Runs(_) if !replace => Err(Error::usage(format!("`{shown}` holds a {what} already"))
            .hint(format!("`--resume {}` goes on with it, `--overwrite` replaces it", shell::path(path)))),
        Found::Runs(beside) => {
            refuse_foreign(path, &beside)?;
            let old = set_aside(path, &real, parts)?;
            let made = make(path, &real, parts);
            match made {
                Ok(mut claim) => {
                    claim.runs[0].replaces(old);
                    Ok(claim)
                }
                Err(error) => {
                    // If that fails too, the next command tries again.
                    let _ = old.return_to_its_place();
                    Err(error)
                }
            }
        }
    }
}

/// The folders of the runs.
fn folders<'a>(path: &'a Path, parts: &'a [&str]) -> impl Iterator<Item = PathBuf> + 'a {
    // Nothing is joined for one run: that would put a slash at its end.
    let names = if parts.is_empty() { &ONE } else { parts };
    names.iter().map(|name| if name.is_empty() { path.to_path_buf() } else { path.join(name) })
}

fn find(path: &Path, parts: &[&str]) -> Result<Found> {
    if path.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        return Ok(Found::Nothing);
    }
    if parts.is_empty() {
        return Ok(match () {
            () if marks::is_run(path)? => Found::Runs(Vec::new()),
            () if is_vacant(path)? => Found::Nothing,
            () => Found::Other,
        });
    }
    let cannot = |e| Error::io("cannot read folder", path, e);
    let (mut runs, mut vacant, mut beside) = (false, true, Vec::new());
    for entry in fs::read_dir(path).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let is_part = parts.iter().any(|part| entry.file_name() == *part);
        if !is_part || !entry.file_type().map_err(cannot)?.is_dir() {
            beside.push(entry.file_name().into());
        } else if marks::is_run(&entry.path())? {
            runs = true;
        } else {
            vacant &= is_vacant(&entry.path())?;
        }
    }
    Ok(match () {
        () if runs && vacant => Found::Runs(beside),
        () if vacant && beside.is_empty() => Found::Nothing,
        () => Found::Other,
    })
}

/// Whether nothing is there but what a process killed while creating a run leaves behind.
fn is_vacant(path: &Path) -> Result<bool> {
    let entries = Entries::of(path)?;
    Ok(entries.is_vacant() && (!path.join(LOCK).exists() || marks::has_lock(path)?))
}

/// Sets the runs aside after a look at everything in them.
fn set_aside(path: &Path, real: &Path, parts: &[&str]) -> Result<Aside> {
    let here =
        Path::new(".").canonicalize().map_err(|e| Error::io("cannot read folder", Path::new("."), e))?;
    if here.starts_with(real) {
        let path = shown::path(path);
        return Err(Error::usage(format!("`{path}` cannot be replaced by a command that runs in it"))
            .hint("run it from the folder above"));
    }
    let runs: Vec<PathBuf> = folders(path, parts).filter(|run| run.is_dir()).collect();
    runs.iter().try_for_each(|run| Entries::of(run)?.check_alone(run))?;
    let locks: Vec<File> = runs.iter().map(|run| lock_folder(run, LOCK)).collect::<Result<_>>()?;
    Aside::set(real, locks)
}

/// Makes and locks the folders of new runs in `path`, which leads to `real`.
fn make(path: &Path, real: &Path, parts: &[&str]) -> Result<Claim> {
    // First where a link leads: nothing is made through one that leads to nothing.
    files::create_folder(real)?;
    let run = |folder: PathBuf| -> Result<RunWriter> {
        files::create_folder(&folder)?;
        let lock = lock_folder(&folder, LOCK)?;
        // Another process may have made a run here before the lock was taken.
        if !is_vacant(&folder)? {
            return Err(Error::busy(format!(
                "`{}` has just been taken by another run",
                shown::path(&folder)
            )));
        }
        sweep(&folder)?;
        let run = RunFolder::at(folder);
        files::create_folder(&run.checkpoints())?;
        files::create_folder(&run.patterns())?;
        Ok(RunWriter::new(run, lock))
    };
    let runs = folders(path, parts).map(run).collect::<Result<_>>()?;
    Ok(Claim { path: path.to_path_buf(), runs })
}

/// A turn at the folder in which `real` lies.
fn turn_beside(real: &Path) -> Result<Option<File>> {
    real.parent().map_or(Ok(None), turn)
}

/// Where a path leads, with no link in it; `None` if there is not even a folder above it.
///
/// # Errors
/// `Kind::Usage` if it is a link to nothing, or no name of a folder; `Kind::Environment` if it cannot be followed.
fn real(path: &Path) -> Result<Option<PathBuf>> {
    let cannot = |e| Error::io("cannot read folder", path, e);
    match path.canonicalize() {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        real => return real.map(Some).map_err(cannot),
    }
    let shown = shown::path(path);
    if path.is_symlink() {
        return Err(Error::usage(format!("`{shown}` is a link to nothing")));
    }
    let Some(name) = path.file_name() else {
        return Err(Error::usage(format!("`{shown}` does not end with the name of a folder")));
    };
    match files::folder_of(path).canonicalize() {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        above => above.map(|above| Some(above.join(name))).map_err(cannot),
    }
}
