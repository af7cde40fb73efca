//! `rigl compare`: finished runs side by side.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rigl_base::{Error, Result, shell, shown};
use rigl_study::{Group, Repeated, Runs, Table, read_runs};
use rigl_train::Registry;
use serde_json::{Value, json};

use crate::output::{Printer, shown_runs};

/// Put finished runs side by side: a row for those that differ in seeds alone, with mean and standard deviation, and a
/// column for each key of the configuration in which rows differ.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl compare runs/*-mnist-lenet-*\n  rigl compare sweeps/mnist runs/20260101-120000-mnist-lenet-rigl-sparsity.98-seed0 --csv > table.csv"
)]
pub(crate) struct Compare {
    /// Folders of runs, or folders that hold such folders
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// Print the table as CSV
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub(crate) csv: bool,
}

pub(crate) fn run(args: &Compare, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let known = registry.known();
    let (mut runs, mut seen) = (Vec::new(), HashSet::new());
    let (mut left_out, mut incomplete) = (Vec::new(), false);
    for path in &args.runs {
        let Runs { finished, unfinished, unreadable } = read_runs(path, &known)?;
        // A run that goes on in a folder was not meant, unless it is named itself.
        incomplete |= !unreadable.is_empty() || unfinished.contains(path);
        left_out.extend(unreadable.into_iter().map(|(run, error)| LeftOut { run, error: Some(error) }));
        left_out.extend(unfinished.into_iter().map(|run| LeftOut { run, error: None }));
        // A run may be named twice, by itself and by the folder that holds it.
        runs.extend(finished.into_iter().filter(|run| {
            let path = run.path.canonicalize().unwrap_or_else(|_| run.path.clone());
            seen.insert(path)
        }));
    }
    if runs.is_empty() && left_out.len() == 1 {
        return Err(left_out.remove(0).into_error());
    }
    left_out.iter().for_each(|run| printer.warning(&run.warning()));
    if runs.is_empty() {
        return Err(Error::usage("none of these runs is finished"));
    }
    let table = Table::compare(runs, &known)?;
    for Repeated { run, of } in &table.repeated {
        printer.warning(&format!(
            "run `{}` is `{}` over again, with the same configuration, seeds and data or the same weights: both count once",
            shown::path(run),
            shown::path(of)
        ));
    }
    if printer.json() {
        let mut value = table.json();
        value["left_out"] = left_out.iter().map(LeftOut::json).collect();
        printer.json_result(&value)?;
    } else if args.csv {
        printer.result(&table.csv())?;
    } else {
        printer.result(&shown_runs(&table))?;
        printer.note(&members(&table));
    }
    Ok(ExitCode::from(u8::from(incomplete)))
}

/// Which runs each row is made of.
fn members(table: &Table) -> String {
    let row = |(number, group): (usize, &Group)| {
        let runs: Vec<String> = group.runs.iter().map(|run| shown::path(&run.path)).collect();
        format!("row {}: {}\n", number + 1, runs.join(", "))
    };
    table.groups.iter().enumerate().map(row).collect()
}

/// A run that is in no table: why it cannot be read, or that it is not finished.
struct LeftOut {
    run: PathBuf,
    error: Option<Error>,
}

impl LeftOut {
    fn warning(&self) -> String {
        let run = shown::path(&self.run);
        match &self.error {
            None => format!("run `{run}` is not finished, and left out"),
            Some(error) => format!("run `{run}` is left out: {}", error.told()),
        }
    }

    fn into_error(self) -> Error {
        let run = shown::path(&self.run);
        self.error.unwrap_or_else(|| {
            Error::usage(format!("run `{run}` is not finished"))
                .hint(format!("rigl train --resume {}", shell::path(&self.run)))
        })
    }

    fn json(&self) -> Value {
        let reason = self.error.as_ref().map_or_else(|| "not finished".into(), Error::told);
        json!({ "run": self.run, "reason": reason })
    }
}
