//! A whole run in one call, as programs want it that have no command line.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rigl_base::{Result, files};
use rigl_metrics::{Machine, RunFolder, RunWriter};

use crate::config::Config;
use crate::observer::Observer;
use crate::prepare::{MachineOptions, Prepared};
use crate::registry::Registry;
use crate::trainer::{Ended, train};

/// Name and version of this program, as runs note them.
pub const PROGRAM: &str = concat!("rigl ", env!("CARGO_PKG_VERSION"));

/// Trains `config` in the new folder `folder`, to the end or until `stop` is set: what `rigl train --run-dir` does, and it
/// can be gone on with, evaluated and compared like any other run.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage) if there is something in the folder. Else as [`Prepared::new`], and as [`train`].
pub fn train_in(
    folder: impl AsRef<Path>,
    config: Config,
    registry: &Registry,
    machine: &MachineOptions,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Ended> {
    let mut prepared = Prepared::new(config, registry, machine)?;
    prepared.read_start(registry)?;
    let writer = RunFolder::create_at(folder.as_ref())?;
    begin(&prepared, &writer)?;
    train(&prepared, &writer, None, PROGRAM, observer, stop)
}

/// Writes a new run's configuration, which makes its folder a run.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if it cannot be written.
pub fn begin(prepared: &Prepared, writer: &RunWriter) -> Result<()> {
    let text = configuration_text(&prepared.config, prepared.threads, prepared.isa.as_deref());
    files::write_atomic(&writer.config(), text.as_bytes())
}

/// The text of a new run's `config.toml`: what it was begun by and on, and every key with its value.
pub fn configuration_text(config: &Config, threads: usize, isa: Option<&str>) -> String {
    let machine = Machine::of(threads as u32, isa.unwrap_or("best"));
    format!(
        "# Begun by {PROGRAM} on {} ({}), {} threads, instruction set: {}.\n# Training with this file repeats the run.\n\n{}",
        machine.processor.as_deref().unwrap_or("an unknown processor"),
        machine.os,
        machine.threads,
        machine.instruction_set,
        config.to_toml()
    )
}
