//! What lies in the folder of a run: which names are the program's, and what else is there.

use std::fs;
use std::path::{Path, PathBuf};

use rigl_base::error::short;
use rigl_base::files::{self, temporary_of};
use rigl_base::{Error, Result, shown};

pub(super) const CONFIG: &str = "config.toml";
pub(super) const LOG: &str = "metrics.jsonl";
pub(super) const SUMMARY: &str = "summary.json";
pub(super) const LOCK: &str = "run.lock";
pub(super) const CHECKPOINTS: &str = "checkpoints";
pub(super) const PATTERNS: &str = "patterns";

/// How the names of event files for TensorBoard begin; time, host, process and a number follow.
pub(crate) const EVENTS: &str = "events.out.tfevents.";

/// Names that a message tells before it counts the rest.
const TOLD: usize = 5;

/// An entry that a run has.
enum Own {
    File,
    /// A folder, in which names for which this holds are the program's.
    Folder(fn(&str) -> bool),
}

fn own(name: &str) -> Option<Own> {
    match name {
        CONFIG | LOG | SUMMARY | LOCK => Some(Own::File),
        CHECKPOINTS => Some(Own::Folder(is_of_checkpoints)),
        PATTERNS => Some(Own::Folder(is_of_patterns)),
        _ if is_events(name) || is_temporary(name) => Some(Own::File),
        _ => None,
    }
}

/// Whether a temporary file of this name, in a run's folder itself, is the program's.
fn is_temporary(name: &str) -> bool {
    temporary_of(name).is_some_and(|of| [CONFIG, SUMMARY].contains(&of))
}

fn is_of_checkpoints(name: &str) -> bool {
    let of = temporary_of(name).unwrap_or(name);
    of == "best.safetensors" || is_checkpoint(of)
}

/// `step-000000300-draw-000000303.safetensors`
fn is_checkpoint(name: &str) -> bool {
    let counts = || name.strip_prefix("step-")?.strip_suffix(".safetensors")?.split_once("-draw-");
    counts().is_some_and(|(step, draw)| is_number(step) && is_number(draw))
}

/// `300.safetensors`
fn is_of_patterns(name: &str) -> bool {
    temporary_of(name).unwrap_or(name).strip_suffix(".safetensors").is_some_and(is_number)
}

fn is_events(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(EVENTS) else { return false };
    let mut parts = rest.rsplitn(3, '.');
    let numbers = [parts.next(), parts.next()].iter().all(|part| part.is_some_and(is_number));
    numbers && parts.next().and_then(|rest| rest.split_once('.')).is_some_and(|(time, _)| is_number(time))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the program keeps a file of its own under this path in a run's folder.
pub(super) fn is_own(relative: &Path) -> bool {
    let names: Option<Vec<&str>> = relative.iter().map(|name| name.to_str()).collect();
    match names.as_deref() {
        Some([name]) => own(name).is_some(),
        Some([folder, name]) => matches!(own(folder), Some(Own::Folder(is_own)) if is_own(name)),
        _ => false,
    }
}

/// What is in the folder of a run, by paths that begin at the folder.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Files that the program wrote, the lock last.
    own: Vec<PathBuf>,
    /// Folders that it made.
    folders: Vec<PathBuf>,
    /// What it did not write.
    foreign: Vec<PathBuf>,
    /// What has a name of its own and is something else, such as a link; with a word for that and for what is expected.
    odd: Vec<(PathBuf, &'static str, &'static str)>,
}

impl Entries {
    /// Looks into the folder `run`.
    ///
    /// # Errors
    /// If it, or a folder of a run in it, cannot be read.
    pub(super) fn of(run: &Path) -> Result<Entries> {
        let mut found = Entries::default();
        found.read(run, Path::new(""), &own)?;
        // The lock stays until there is nothing else.
        found.own.sort_by_key(|path| path == Path::new(LOCK));
        Ok(found)
    }

    fn read(&mut self, run: &Path, within: &Path, own: &dyn Fn(&str) -> Option<Own>) -> Result<()> {
        let folder = run.join(within);
        let cannot = |e| Error::io("cannot read folder", &folder, e);
        for entry in fs::read_dir(&folder).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let path = within.join(entry.file_name());
            let kind = entry.file_type().map_err(cannot)?;
            match entry.file_name().to_str().and_then(own) {
                None => self.foreign.push(path),
                Some(Own::File) if kind.is_file() => self.own.push(path),
                Some(Own::Folder(is_own)) if kind.is_dir() => {
                    self.read(run, &path, &|name| is_own(name).then_some(Own::File))?;
                    self.folders.push(path);
                }
                Some(Own::File) => self.odd.push((path, files::what(kind), "a file")),
                Some(Own::Folder(_)) => self.odd.push((path, files::what(kind), "a folder")),
            }
        }
        Ok(())
    }

    /// Refuses a run in which something else stands under a name of the program: it would be written to, or waited for.
    ///
    /// # Errors
    /// `Kind::Usage`, naming the first.
    pub(super) fn check(&self, run: &Path) -> Result<()> {
        let Some((path, found, expected)) = self.odd.first() else { return Ok(()) };
        let path = run.join(path);
        Err(Error::usage(format!("`{}` is {found}, expected {expected}", shown::path(&path)))
            .hint("move it elsewhere"))
    }

    /// Refuses a run in which there is anything that the program did not write.
    ///
    /// # Errors
    /// `Kind::Usage`, naming what that is.
    pub(super) fn check_alone(&self, run: &Path) -> Result<()> {
        self.check(run)?;
        refuse_foreign(run, &self.foreign)
    }

    /// Whether there is a checkpoint to go on from, or a summary.
    pub(super) fn has_result(&self) -> bool {
        self.own.iter().any(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            is_checkpoint(name) || name == SUMMARY
        })
    }

    /// Whether there is nothing that is called as a run's files are.
    pub(super) fn has_no_file(&self) -> bool {
        self.own.is_empty()
    }

    /// Whether nothing has been trained: there may be a configuration and the beginning of a log.
    pub(super) fn is_at_its_beginning(&self) -> bool {
        self.foreign.is_empty() && self.odd.is_empty() && !self.has_result()
    }

    /// Whether there is nothing but what a process killed while it made the folder leaves behind.
    pub(super) fn is_vacant(&self) -> bool {
        let early = |path: &PathBuf| {
            let name = path.to_str().unwrap_or_default();
            name == LOCK || is_temporary(name)
        };
        self.foreign.is_empty() && self.odd.is_empty() && self.own.iter().all(early)
    }

    /// Removes the files, the folders and `run` itself. Whatever the program did not write is left, with what it lies in.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub(super) fn remove(&self, run: &Path) -> Result<()> {
        self.own.iter().try_for_each(|file| files::remove(&run.join(file)))?;
        self.folders.iter().try_for_each(|folder| files::remove_empty_folder(&run.join(folder)))?;
        files::remove_empty_folder(run)
    }
}

/// Refuses to replace a folder in which there is something that the program did not write.
///
/// # Errors
/// `Kind::Usage`, naming it, if there is any.
pub(super) fn refuse_foreign(folder: &Path, foreign: &[PathBuf]) -> Result<()> {
    if foreign.is_empty() {
        return Ok(());
    }
    let mut names: Vec<String> = foreign.iter().map(|path| shown::path(path)).collect();
    names.sort();
    let mut told: Vec<String> = names.iter().take(TOLD).map(|name| format!("`{}`", short(name))).collect();
    if names.len() > TOLD {
        told.push(format!("{} more", names.len() - TOLD));
    }
    let (it, folder) = (if names.len() == 1 { "it" } else { "them" }, shown::path(folder));
    Err(Error::usage(format!(
        "`{folder}` is not replaced: {} in it {} not written by this program",
        told.join(", "),
        if names.len() == 1 { "was" } else { "were" },
    ))
    .hint(format!("move {it} elsewhere, or choose another folder")))
}

/// Removes what a killed writer left half written in the folder `run`.
///
/// # Errors
/// If a folder cannot be read.
pub(super) fn sweep(run: &Path) -> Result<()> {
    files::sweep(run, |name| [CONFIG, SUMMARY].contains(&name))?;
    for (folder, is_own) in [(CHECKPOINTS, is_of_checkpoints as fn(&str) -> bool), (PATTERNS, is_of_patterns)]
    {
        let folder = run.join(folder);
        if folder.is_dir() {
            files::sweep(&folder, is_own)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_program_s_if_it_makes_such() {
        let is_own = |path: &str| is_own(Path::new(path));
        for path in [
            "config.toml",
            "metrics.jsonl",
            "summary.json",
            "run.lock",
            ".config.toml.aB3xYz.tmp",
            "events.out.tfevents.1700000000.my-host.4711.0",
            "checkpoints",
            "checkpoints/step-000000300-draw-000000303.safetensors",
            "checkpoints/best.safetensors",
            "checkpoints/.best.safetensors.aB3xYz.tmp",
            "patterns/300.safetensors",
            "patterns/.300.safetensors.aB3xYz.tmp",
        ] {
            assert!(is_own(path), "{path}");
        }
        for path in [
            "notes.md",
            "config.toml~",
            ".mine.tmp",
            ".notes.aB3xYz.tmp",
            ".config.toml.tmp",
            "events.out.tfevents.mine",
            "events.out.tfevents.1700000000.my-host.4711.0.v2",
            "checkpoints/export.safetensors",
            "checkpoints/step-300.safetensors",
            "checkpoints/step-1-draw-.safetensors",
            "patterns/mean.safetensors",
            "patterns/best.safetensors",
            "checkpoints/best.safetensors/x",
            "plots/1.png",
        ] {
            assert!(!is_own(path), "{path}");
        }
    }

    #[test]
    fn a_message_about_many_foreign_entries_names_some_and_counts_the_rest() {
        let long = PathBuf::from("é".repeat(100) + "\x1b\n");
        let many: Vec<PathBuf> = (0..9).map(|number| Path::new(&number.to_string()).join(&long)).collect();
        let text = refuse_foreign(Path::new("run"), &many).unwrap_err().to_string();
        assert!(text.contains("…`, 4 more in it were not written"), "{text}");
        assert!(text.chars().count() < 600 && !text.contains(char::is_control), "{text}");
    }
}
