//! `rigl data`: which data sets there are and where they lie; [`fetch`] downloads them.

mod fetch;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use rigl_base::{Error, Result, shell, shown};
use rigl_data::source::Status;
use rigl_train::Registry;
use serde_json::{Value, json};

use crate::args::DataFolder;
use crate::output::{Align, Printer, Table, bytes};

/// List the data sets: which come with the program, which are read from files, and whether these are there.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rigl data\n  rigl data --verify --json\n  rigl data fetch mnist")]
pub(crate) struct Data {
    #[command(subcommand)]
    pub(crate) action: Option<DataAction>,
    /// Compare the contents of the files with their SHA-256, not only their sizes; exit with 1 if one is damaged
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
    let sets = registry.datasets.names().map(|name| {
        let source = registry.datasets.source(name)?;
        Ok((name, source.map(|source| source.status(folder, verify))))
    });
    let sets = sets.collect::<Result<Vec<_>>>()?;
    if printer.json() {
        let values = sets.iter().map(|(name, status)| value(name, status.as_ref(), verify));
        printer.json_result(&values.collect())?;
    } else {
        printer.result(&table(&sets).to_string())?;
    }
    let mut damaged = false;
    for (name, status) in &sets {
        let Some(status) = status else { continue };
        for file in status.damaged() {
            damaged = true;
            let damage = file.damage.as_deref().unwrap_or_default();
            printer.warning(&format!("`{}` {damage}", shown::path(&status.place.join(&file.name))));
        }
        if !status.is_complete() {
            let overwrite = if status.damaged().next().is_some() { " --overwrite" } else { "" };
            printer.note(&format!("`rigl data fetch {name}{flag}{overwrite}` downloads what `{name}` lacks"));
        }
    }
    Ok(ExitCode::from(u8::from(verify && damaged)))
}

fn table(sets: &[(&str, Option<Status>)]) -> Table {
    let mut table = Table::new(&[
        ("data set", Align::Left),
        ("state", Align::Left),
        ("size", Align::Right),
        ("folder", Align::Left),
    ]);
    for (name, status) in sets {
        let (size, folder) = match status {
            None => (String::new(), String::new()),
            Some(status) => (bytes(status.bytes()), status.place.display().to_string()),
        };
        table.row(vec![(*name).into(), state(status.as_ref()), size, folder]);
    }
    table
}

/// `missing 3 of 4, damaged 1 of 4`.
fn state(status: Option<&Status>) -> String {
    let Some(status) = status else { return "embedded".into() };
    let all = status.files.len();
    let count = |what: &str, n: usize| (n > 0).then(|| format!("{what} {n} of {all}"));
    let parts = [count("missing", status.missing().count()), count("damaged", status.damaged().count())];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "complete".into() } else { parts.join(", ") }
}

fn value(name: &str, status: Option<&Status>, verified: bool) -> Value {
    let Some(status) = status else { return json!({ "name": name, "state": "embedded" }) };
    let state = match (status.damaged().count(), status.missing().count()) {
        (0, 0) => "complete",
        (0, _) => "missing",
        _ => "damaged",
    };
    let files: Vec<Value> = status
        .files
        .iter()
        .map(|file| {
            json!({ "name": file.name, "present": file.path.is_some(), "bytes": file.bytes, "damage": file.damage })
        })
        .collect();
    json!({
        "name": name, "state": state, "folder": status.place, "bytes": status.bytes(), "verified": verified,
        "files": files,
    })
}
