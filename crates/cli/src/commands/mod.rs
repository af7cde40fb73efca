//! One file per command.

pub(crate) mod bench;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod eval;
pub(crate) mod execute;
pub(crate) mod export;
pub(crate) mod flops;
pub(crate) mod inspect;
pub(crate) mod man;
pub(crate) mod named;
pub(crate) mod network;
pub(crate) mod presets;
pub(crate) mod results;
pub(crate) mod resume;
pub(crate) mod runs;
pub(crate) mod sweep;
pub(crate) mod train;

use std::io::ErrorKind;
use std::path::Path;

use rigl_base::{Error, Result, shell, shown};
use rigl_formats::{Checkpoint, checkpoint};
use rigl_metrics::RunFolder;
pub(crate) use rigl_train::config::read_text;
use rigl_train::config::{Base, Override, Sources};
use rigl_train::{Config, Registry};

use crate::output::Printer;

/// The configuration of a preset or a file, with settings from the command line.
pub(crate) fn configuration(recipe: &str, overrides: &[Override], registry: &Registry) -> Result<Config> {
    configuration_by(recipe, overrides, None, registry)
}

/// The same, by another method if one is named.
pub(crate) fn configuration_by(
    recipe: &str,
    overrides: &[Override],
    method: Option<&str>,
    registry: &Registry,
) -> Result<Config> {
    if !recipe.ends_with(".toml") {
        return resolve(Base::Preset(recipe), overrides, method, registry).map_err(|error| {
            if Path::new(recipe).is_file() {
                return error.hint("name configuration files with the ending `.toml`");
            }
            error
        });
    }
    let text = read_text(Path::new(recipe))?;
    resolve(Base::File { name: recipe, text: &text }, overrides, method, registry)
}

/// The configuration that these sources make, by another method if one is named.
pub(crate) fn resolve(
    base: Base,
    overrides: &[Override],
    method: Option<&str>,
    registry: &Registry,
) -> Result<Config> {
    let (sources, known) = (Sources { base, overrides }, registry.known());
    match method {
        None => Config::resolve(&sources, &known),
        Some(method) => Config::resolve_by(&sources, method, &known),
    }
}

/// Opens a run for reading; of a comparison, `command` on one of its two runs is named.
pub(crate) fn open_run(path: &Path, command: &str) -> Result<RunFolder> {
    let sparse = path.join(execute::SPARSE);
    RunFolder::open(path).map_err(|error| match RunFolder::open(&sparse) {
        Ok(_) => error.hint(format!("it holds two runs: rigl {command} {}", shell::path(&sparse))),
        Err(_) => error,
    })
}

/// The newest good checkpoint of a run, or the one in a file; and the file's name.
pub(crate) fn read_checkpoint(path: &Path, command: &str, printer: &Printer) -> Result<(Checkpoint, String)> {
    if path.is_file() {
        return Ok((checkpoint::read(path)?, path.display().to_string()));
    }
    let latest = rigl_train::last_checkpoint(&open_run(path, command)?)?;
    let (checkpoint, path) = latest.warned(|warning| printer.warning(&warning));
    Ok((checkpoint, path.display().to_string()))
}

/// The checkpoint of a run's best validation accuracy, for `command`; and the file's name.
pub(crate) fn best_checkpoint(path: &Path, command: &str) -> Result<(Checkpoint, String)> {
    if path.is_file() {
        return Err(Error::usage(format!(
            "`--best` chooses among the checkpoints of a run, `{}` is a file",
            shown::path(path)
        )));
    }
    let file = open_run(path, &format!("{command} --best"))?.checkpoints().join("best.safetensors");
    if matches!(file.symlink_metadata(), Err(e) if e.kind() == ErrorKind::NotFound) {
        return Err(Error::usage(format!(
            "`{}` has no best checkpoint: it split no validation samples off, or has not evaluated yet",
            shown::path(path)
        )));
    }
    Ok((checkpoint::read(&file)?, file.display().to_string()))
}
