//! `rigl train --resume`: goes on with a run, or with a comparison of two.

use std::path::Path;
use std::process::ExitCode;

use rigl_base::{Error, Result, shell, shown};
use rigl_metrics::folder::recover;
use rigl_metrics::{RunFolder, Summary};
use rigl_train::config::Override;
use rigl_train::{Begun, MachineOptions, Registry, Reopened, ResumeOptions, reopen};

use super::execute::{DENSE, SPARSE, execute, interrupted, is_comparison};
use super::results;
use crate::output::Printer;
use crate::signals::Signals;

pub(crate) fn run(
    path: &Path,
    options: &ResumeOptions,
    registry: &Registry,
    machine: &MachineOptions,
    printer: &Printer,
    bar: bool,
    signals: &Signals,
) -> Result<ExitCode> {
    let one = |path: &Path| -> Result<Option<Summary>> {
        let reopened = reopen(path, options, registry, machine).map_err(|e| begin_anew(e, path))?;
        let Begun { prepared, writer } = match reopened {
            Reopened::Begun(begun) => *begun,
            Reopened::Finished(summary) => {
                printer.note(&format!("`{}` is finished already", shown::path(path)));
                return Ok(Some(*summary));
            }
        };
        if !prepared.goes_on() {
            printer.note(&format!("`{}` has no checkpoint yet: it begins anew", shown::path(path)));
        }
        let label = prepared.config().method.name.clone();
        execute(prepared, &writer, &label, printer, bar, signals)
    };
    recover(path)?;
    if !is_comparison(path) {
        return match one(path)? {
            None => Ok(interrupted(path, printer, signals)),
            Some(summary) => results::single(&summary, path, printer).map(|()| ExitCode::SUCCESS),
        };
    }
    let mut summaries = Vec::new();
    for name in [SPARSE, DENSE] {
        match one(&path.join(name))? {
            None => return Ok(interrupted(path, printer, signals)),
            Some(summary) => summaries.push(summary),
        }
    }
    results::comparison(&summaries[0], &summaries[1], path, printer).map(|()| ExitCode::SUCCESS)
}

/// Refuses settings for a run that goes on, and says how another one begins with them.
pub(crate) fn unchanged(path: &Path, overrides: &[Override]) -> Error {
    let error = Error::usage("`--resume` goes on with the configuration of the run, which cannot be changed");
    let sparse = path.join(SPARSE).join("config.toml");
    let file = if sparse.is_file() { sparse } else { path.join("config.toml") };
    let set = |setting: &Override| {
        if setting.factor {
            return format!(" {} {}", setting.origin, shell::quoted(&setting.value));
        }
        let text = format!("{}={}", setting.key, setting.value);
        format!(" --set {}", shell::quoted(&text))
    };
    let settings: String = overrides.iter().map(set).collect();
    // Of what is no run nothing begins.
    match file.is_file() {
        true => error.hint(format!("`rigl train {}{settings}` begins a new run", shell::path(&file))),
        false => error,
    }
}

/// Adds what to do where a run was ended before its configuration was written.
fn begin_anew(error: Error, path: &Path) -> Error {
    let has = |file: &str| path.join(file).is_file();
    if has("config.toml")
        || RunFolder::open(path).is_ok()
        || !(has("run.lock") || path.join(SPARSE).join("run.lock").is_file())
    {
        return error;
    }
    error.hint(format!(
        "it was ended before anything was trained; begin anew with `--run-dir {} --overwrite`",
        shell::path(path)
    ))
}
