//! `rigl data`: which data sets there are and where they lie; [`fetch`] downloads them.

mod fetch;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use rigl_base::{Error, Result, shell, shown};
use rigl_data::DataOptions;
use rigl_data::source::{FileStatus, Status};
use rigl_train::Registry;
use serde_json::{Value, json};

use crate::args::DataFolder;
use crate::output::{Align, Printer, Table, bytes, count as number};

/// List the data sets: which come with the program, which are read from files, and whether these are there.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rigl data\n  rigl data --verify --json\n  rigl data fetch mnist")]
pub(crate) struct Data {
    #[command(subcommand)]
    pub(crate) action: Option<DataAction>,
    /// Read all files: compare their contents with the published SHA-256, and read what has none, or another, as training
    /// does; exit with 1 if that fails
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) folder: DataFolder,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DataAction {
    /// Download a data set
    Fetch(fetch::Fetch),
}

pub(crate) fn run(args: &Data, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let folder = args.folder.path()?;
    match &args.action {
        Some(DataAction::Fetch(_)) if args.verify => Err(Error::usage(
            "`--verify` is for the list of data sets; `fetch` verifies every file without it",
        )
        .hint("rigl data fetch NAME")),
        Some(DataAction::Fetch(args)) => fetch::run(args, &folder, registry, printer),
        None => list(args, &folder, registry, printer),
    }
}

/// Adds the data folder that the failed command was given to the command that would fill it.
pub(crate) fn with_folder(error: Error, data_dir: Option<&Path>) -> Error {
    match (error.hint_text(), data_dir) {
        (Some(hint), Some(folder)) if hint.starts_with("rigl data fetch ") => {
            let hint = format!("{hint} --data-dir {}", shell::path(folder));
            error.hint(hint)
        }
        _ => error,
    }
}

fn list(args: &Data, folder: &Path, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let verify = args.verify;
    let flag =
        args.folder.flag().map_or_else(String::new, |folder| format!(" --data-dir {}", shell::path(folder)));
    let found = |name| Found::of(name, folder, verify, registry);
    let sets = registry.datasets.names().map(found).collect::<Result<Vec<_>>>()?;
    if printer.json() {
        printer.json_result(&sets.iter().map(|found| found.json(verify)).collect())?;
    } else {
        printer.result(&table(&sets, verify).to_string())?;
    }
    for Found { name, status, state } in &sets {
        let Some(status) = status else { continue };
        if !matches!(state, State::Own { .. }) {
            for file in status.damaged() {
                let damage = file.damage.as_deref().unwrap_or_default();
                printer.warning(&format!("`{}` {damage}", shown::path(&status.place.join(&file.name))));
            }
        }
        match state {
            State::Missing => {
                let overwrite = if status.damaged().next().is_some() { " --overwrite" } else { "" };
                printer.note(&format!(
                    "`rigl data fetch {name}{flag}{overwrite}` downloads what `{name}` lacks"
                ));
            }
            State::Other => printer.note(&format!(
                "`rigl data --verify{flag}` tells whether `{name}` is damaged, or data of your own"
            )),
            State::Damaged(reason) => printer.warning(&format!("`{name}` cannot be trained on: {reason}")),
            State::OwnFiles => {
                printer.note(&format!("docs/data.md says which files of your own `{name}` reads"));
            }
            State::Embedded | State::Complete(_) | State::Own { .. } => {}
        }
    }
    let damaged = |found: &Found| match (&found.state, &found.status) {
        (State::Damaged(_), _) => true,
        (State::Missing, Some(status)) => verify && status.damaged().count() > 0,
        _ => false,
    };
    Ok(ExitCode::from(u8::from(sets.iter().any(damaged))))
}

/// A data set, and what is there of it.
struct Found<'a> {
    name: &'a str,
    /// Of its files, if it has any.
    status: Option<Status>,
    state: State,
}

enum State {
    /// It needs no files.
    Embedded,
    /// It is read from files of the user's own, of which nothing is known beforehand.
    OwnFiles,
    /// All files are as published, by this comparison.
    Complete(Checked),
    /// Some are missing.
    Missing,
    /// All are there, and some are not as published; they were not read.
    Other,
    /// They were read: samples of somebody's own.
    Own { train: usize, test: usize },
    /// They cannot be read; why, in one line.
    Damaged(String),
}

/// What was compared, or read.
#[derive(Clone, Copy)]
enum Checked {
    Sizes,
    Sha256,
    Samples,
}

impl Checked {
    fn word(self) -> &'static str {
        match self {
            Checked::Sizes => "sizes",
            Checked::Sha256 => "SHA-256",
            Checked::Samples => "every sample",
        }
    }
}

impl<'a> Found<'a> {
    fn of(name: &'a str, folder: &Path, verify: bool, registry: &Registry) -> Result<Found<'a>> {
        let Some(source) = registry.datasets.source(name)? else {
            let own = registry.datasets.has_own_files(name);
            let state = if own { State::OwnFiles } else { State::Embedded };
            return Ok(Found { name, status: None, state });
        };
        let status = source.status(folder, verify);
        let compared = status.files.iter().all(|file| file.compared);
        let state = match (status.missing().count(), status.damaged().count()) {
            (1.., _) => State::Missing,
            (0, 0) if compared => State::Complete(Checked::Sha256),
            (0, 0) if !verify => State::Complete(Checked::Sizes),
            (0, _) if !verify => State::Other,
            (0, differ) => {
                // Every sample, of files however large.
                let options = DataOptions {
                    folder: Some(folder.to_path_buf()),
                    in_memory: u64::MAX,
                    ..DataOptions::default()
                };
                match registry.datasets.load(name, &options) {
                    Err(error) => State::Damaged(error.to_string()),
                    Ok(_) if differ == 0 => State::Complete(Checked::Samples),
                    Ok(sets) => State::Own { train: sets.train.len(), test: sets.test.len() },
                }
            }
        };
        Ok(Found { name, status: Some(status), state })
    }

    /// The word for it, and what there is to add.
    fn word(&self) -> String {
        let of = |what: &str, n: usize| {
            let all = self.status.as_ref().map_or(0, |status| status.files.len());
            (n > 0).then(|| format!("{what} {n} of {all}"))
        };
        let count = |files: fn(&Status) -> usize| self.status.as_ref().map_or(0, files);
        let differ = count(|status| status.damaged().count());
        match &self.state {
            State::Embedded => "embedded".into(),
            State::OwnFiles => "your own files".into(),
            State::Complete(_) => "complete".into(),
            State::Missing => {
                let parts =
                    [of("missing", count(|status| status.missing().count())), of("not as published", differ)];
                parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
            }
            State::Other => of("not as published", differ).unwrap_or_default(),
            State::Own { train, test } => {
                format!("own data: {} and {} samples", number(*train as u64), number(*test as u64))
            }
            State::Damaged(_) => "damaged".into(),
        }
    }

    /// What was compared, or read, of files that are there.
    fn checked(&self) -> &'static str {
        match &self.state {
            State::Complete(checked) => checked.word(),
            State::Own { .. } | State::Damaged(_) => Checked::Samples.word(),
            State::Embedded | State::OwnFiles | State::Missing | State::Other => "",
        }
    }

    fn json(&self, verified: bool) -> Value {
        let Found { name, status, state } = self;
        let word = match state {
            State::Embedded => "embedded",
            State::OwnFiles => "own files",
            State::Complete(_) => "complete",
            State::Missing => "missing",
            State::Other => "not as published",
            State::Own { .. } => "own data",
            State::Damaged(_) => "damaged",
        };
        let Some(status) = status else { return json!({ "name": name, "state": word }) };
        let file = |file: &FileStatus| json!({ "name": file.name, "present": file.path.is_some(), "bytes": file.bytes, "damage": file.damage });
        json!({
            "name": name, "state": word, "folder": status.place, "bytes": status.bytes(), "verified": verified,
            "checked": Some(self.checked()).filter(|checked| !checked.is_empty()),
            "files": status.files.iter().map(file).collect::<Vec<_>>(),
        })
    }
}

fn table(sets: &[Found], verify: bool) -> Table {
    let mut columns = vec![("data set", Align::Left), ("state", Align::Left)];
    if verify {
        columns.push(("checked", Align::Left));
    }
    columns.extend([("size", Align::Right), ("folder", Align::Left)]);
    let mut table = Table::new(&columns);
    for found in sets {
        let (size, folder) = match &found.status {
            None => (String::new(), String::new()),
            Some(status) => (bytes(status.bytes()), shown::path(&status.place)),
        };
        let mut row = vec![found.name.to_string(), found.word()];
        if verify {
            row.push(found.checked().into());
        }
        row.extend([size, folder]);
        table.row(row);
    }
    table
}
