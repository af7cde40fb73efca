//! `rigl compare`: finished runs side by side.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rigl_base::{Error, Result};
use rigl_study::{Table, read_runs};
use rigl_train::Registry;

use crate::output::Printer;

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
    for path in &args.runs {
        let (finished, unfinished) = read_runs(path, &known)?;
        // Named as a run, it was meant; among others, the others are.
        if let Some(run) = unfinished.iter().find(|run| *run == path) {
            return Err(Error::usage(format!("run `{}` is not finished", run.display()))
                .hint(format!("rigl train --resume {}", run.display())));
        }
        for run in &unfinished {
            printer.warning(&format!("run `{}` is not finished, and left out", run.display()));
        }
        // A run may be named twice, by itself and by the folder that holds it.
        runs.extend(finished.into_iter().filter(|run| {
            let path = run.path.canonicalize().unwrap_or_else(|_| run.path.clone());
            seen.insert(path)
        }));
    }
    if runs.is_empty() {
        return Err(Error::usage("none of these runs is finished"));
    }
    let table = Table::compare(runs, &known)?;
    if printer.json() {
        printer.json_result(&table.json())?;
    } else if args.csv {
        printer.result(&table.csv())?;
    } else {
        printer.result(&table.markdown())?;
    }
    Ok(ExitCode::SUCCESS)
}
