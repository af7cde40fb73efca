//! `rigl train --resume`: goes on with a run, or with a comparison of two.

use std::path::Path;
use std::process::ExitCode;

use rigl_base::{Error, Result};
use rigl_engine::ARITHMETIC_VERSION;
use rigl_formats::Store;
use rigl_metrics::{RunFolder, RunWriter, Summary};
use rigl_train::config::{Difference, Known};
use rigl_train::{Config, From, MachineOptions, Prepared, Registry};

use super::execute::{DENSE, SPARSE, execute, interrupted};
use super::{read_text, results};
use crate::output::Printer;
use crate::signals::Signals;

pub(crate) fn run(
    path: &Path,
    accept_arithmetic: bool,
    registry: &Registry,
    machine: &MachineOptions,
    printer: &Printer,
    bar: bool,
    signals: &Signals,
) -> Result<ExitCode> {
    let known = registry.known();
    let one = |path: &Path| -> Result<Option<Summary>> {
        let writer = RunFolder::open(path).map_err(|e| begin_anew(e, path))?.lock()?;
        if let Some(summary) = writer.finished()? {
            printer.note(&format!("`{}` is finished already", path.display()));
            return Ok(Some(summary));
        }
        let text = read_text(&writer.config())?;
        let config = Config::from_text(&writer.config().display().to_string(), &text, &known)?;
        let from = last_checkpoint(&writer, accept_arithmetic)?;
        match &from {
            Some(from) => same_configuration(&config, from, &known)?,
            None => printer.note(&format!("`{}` has no checkpoint yet: it begins anew", path.display())),
        }
        let label = config.method.name.clone();
        let mut prepared = Prepared::new(config, registry, machine)?;
        if from.is_none() {
            prepared.read_start(registry)?;
        }
        execute(&prepared, &writer, from, &label, printer, bar, signals)
    };
    let is_comparison = !path.join("config.toml").exists()
        && [SPARSE, DENSE].iter().all(|name| path.join(name).join("config.toml").is_file());
    if !is_comparison {
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

/// Adds what to do where a run was ended before its configuration was written.
fn begin_anew(error: Error, path: &Path) -> Error {
    match [path.to_path_buf(), path.join(SPARSE)].iter().any(|run| run.join("run.lock").is_file()) {
        true => error.hint(format!(
            "it was ended before anything was trained; begin anew with `--run-dir {} --overwrite`",
            path.display()
        )),
        false => error,
    }
}

/// A run goes on as it began: what would change its weights must be in `config.toml` as it was.
fn same_configuration(config: &Config, from: &From, known: &Known) -> Result<()> {
    let begun = Config::from_text(&from.file, &from.checkpoint.metadata.configuration, known)?;
    let Some(Difference { key, here, there }) = begun.difference(config) else { return Ok(()) };
    Err(Error::usage(format!(
        "checkpoint `{}` belongs to another configuration: `{key}` is `{here}` there, `{there}` in `config.toml`",
        from.file
    ))
    .hint("`rigl train` on that `config.toml` begins a new run with it"))
}

/// The checkpoint to go on from; `None` if the run was ended before it wrote the first.
fn last_checkpoint(run: &RunWriter, accept_arithmetic: bool) -> Result<Option<From>> {
    if !run.checkpoints().is_dir() {
        rigl_base::files::create_folder(&run.checkpoints())?;
    }
    let mut store = Store::new(run.checkpoints());
    if store.list()?.is_empty() {
        return Ok(None);
    }
    let latest = store.latest()?;
    let found = latest.checkpoint.metadata.arithmetic_version;
    if found != ARITHMETIC_VERSION && !accept_arithmetic {
        return Err(Error::usage(format!(
            "`{}` was begun under version {found} of the arithmetic, this is version {ARITHMETIC_VERSION}: \
             results would differ from an unbroken run's",
            run.path().display()
        ))
        .hint(format!("rigl train --resume {} --accept-arithmetic", run.path().display())));
    }
    let file = latest.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Some(From { checkpoint: latest.checkpoint, file, warnings: latest.warnings }))
}
