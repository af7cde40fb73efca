//! `rigl runs`: a list of runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rigl_base::counts::counted;
use rigl_base::{Error, Result, shell, shown};
use rigl_study::{KnownRun, ListedRun, Standing, list_runs};
use rigl_train::{Config, Registry, slower};
use serde_json::{Value, json};

use super::execute::{DENSE, SPARSE, is_comparison};
use super::train::RUNS;
use crate::output::{Align, Printer, Table, duration, percent};

/// List runs: what each trains, where it stands, what it came to, and how to go on.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl runs                      all runs in `runs`\n  rigl runs sweeps/mnist         those of a sweep\n  rigl runs runs sweeps --json   for scripts"
)]
pub(crate) struct Runs {
    /// Folders of runs, or folders that hold such folders [default: runs]
    #[arg(value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
}

/// Ways to go on that are spelt out; of more, the rest is counted.
const SPELT_OUT: usize = 5;

pub(crate) fn run(args: &Runs, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let usual = [PathBuf::from(RUNS)];
    let folders: &[PathBuf] = if args.folders.is_empty() { &usual } else { &args.folders };
    if args.folders.is_empty() && !Path::new(RUNS).exists() {
        return Err(Error::usage(format!("there is no folder `{RUNS}` here, which new runs go to"))
            .hint("`rigl train` begins a first run; `rigl runs DIR` lists those of another folder"));
    }
    let mut runs = Vec::new();
    for folder in folders {
        runs.extend(list_runs(folder, &registry.known())?);
    }
    if printer.json() {
        printer.json_result(&json!({ "runs": runs.iter().map(json).collect::<Vec<_>>() }))?;
    } else if runs.is_empty() {
        let list: Vec<String> = folders.iter().map(|folder| format!("`{}`", shown::path(folder))).collect();
        printer.note(&format!("no runs in {}", list.join(", ")));
    } else {
        printer.result(&table(&runs).to_string())?;
        printer.note(&ways_on(&runs));
    }
    let unreadable = runs.iter().any(|run| run.known.is_err());
    Ok(ExitCode::from(u8::from(unreadable)))
}

fn table(runs: &[ListedRun]) -> Table {
    let mut table = Table::new(&[
        ("run", Align::Left),
        ("recipe", Align::Left),
        ("network", Align::Left),
        ("method", Align::Left),
        ("sparse", Align::Right),
        ("state", Align::Left),
        ("accuracy", Align::Right),
        ("time", Align::Right),
    ]);
    for ListedRun { path, known } in runs {
        let path = path.display().to_string();
        let Ok(run) = known else {
            let mut row = vec![path, String::new(), String::new(), String::new(), String::new()];
            row.push("unreadable".into());
            table.row(row);
            continue;
        };
        let state = match &run.standing {
            Standing::Finished => "finished".to_string(),
            other => format!("{}, {}", other.word(), counted(run.step, "step")),
        };
        // What was chosen on is not what is reported.
        let accuracy = match run.split.as_deref() {
            Some("test") | None => percent(run.accuracy.unwrap_or(f64::NAN)),
            Some(split) => format!("{} ({split})", percent(run.accuracy.unwrap_or(f64::NAN))),
        };
        table.row(vec![
            path,
            recipe(&run.config),
            run.config.model.name.clone(),
            run.config.method.name.clone(),
            percent(run.sparsity.unwrap_or(f64::NAN)),
            state,
            accuracy,
            duration(run.seconds),
        ]);
    }
    table
}

fn recipe(config: &Config) -> String {
    if config.preset.is_empty() { config.data.name.clone() } else { config.preset.clone() }
}

/// What can be done for the runs that are not finished, a line each.
fn ways_on(runs: &[ListedRun]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for run in runs {
        let line = match &run.known {
            Err(error) => format!("`{}` cannot be read: {}", shown::path(&run.path), error.told()),
            Ok(known) => match way_on(known, &run.path) {
                Some(way) => way,
                None => continue,
            },
        };
        // The two runs of a comparison go on together.
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let more = lines.len().saturating_sub(SPELT_OUT);
    lines.truncate(SPELT_OUT);
    if more > 0 {
        lines.push(format!("and {more} more (`--json` has all)"));
    }
    lines.join("\n")
}

/// How to go on with a run, if there is something to be done.
fn way_on(run: &KnownRun, path: &Path) -> Option<String> {
    match &run.standing {
        Standing::Finished => None,
        Standing::Training(holder) => Some(format!("`{}` is being trained by {holder}", shown::path(path))),
        Standing::Stopped => Some(format!("`{}` goes on with what was stopped", resume(path))),
        Standing::Diverged(_) => Some(slower(&run.config, &path.join("config.toml"))),
    }
}

/// The command that goes on with a run: of a comparison it goes on with both.
fn resume(path: &Path) -> String {
    let is_half = [SPARSE, DENSE].iter().any(|name| path.ends_with(name));
    let both = path.parent().filter(|parent| is_half && is_comparison(parent));
    format!("rigl train --resume {}", shell::path(both.unwrap_or(path)))
}

fn json(run: &ListedRun) -> Value {
    let path = run.path.display().to_string();
    let known = match &run.known {
        Ok(known) => known,
        Err(error) => return json!({ "run": path, "state": "unreadable", "reason": error.told() }),
    };
    let KnownRun { config, standing, .. } = known;
    let reason = match standing {
        Standing::Training(holder) => Some(holder),
        Standing::Diverged(reason) => Some(reason),
        Standing::Finished | Standing::Stopped => None,
    };
    json!({
        "run": path,
        "state": standing.word(),
        "reason": reason,
        "preset": config.preset,
        "model": config.model.name,
        "data": config.data.name,
        "method": config.method.name,
        "distribution": config.method.distribution.name(),
        "sparsity": known.sparsity,
        "seed": config.seeds.init,
        "step": known.step,
        "accuracy": known.accuracy,
        "split": known.split,
        "seconds": known.seconds,
        "resume": (*standing == Standing::Stopped).then(|| resume(&run.path)),
    })
}
