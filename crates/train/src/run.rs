//! A whole run in one call, as programs want it that have no command line.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rigl_base::counts::counted;
use rigl_base::{Error, Result, files, shell};
use rigl_engine::ARITHMETIC_VERSION;
use rigl_formats::{Latest, Store};
use rigl_metrics::{Machine, RunFolder, RunWriter, Summary};

use crate::config::{Config, Difference, Known, read_text};
use crate::data;
use crate::machine::MachineOptions;
use crate::observer::Observer;
use crate::prepare::Prepared;
use crate::program::Program;
use crate::registry::Registry;
use crate::trainer::{Ended, train};

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
    let prepared = Prepared::new(config, registry, machine)?;
    let writer = RunFolder::create_at(folder.as_ref())?;
    begin(&prepared, &writer)?;
    train(prepared, &writer, observer, stop)
}

/// Goes on with the run in `folder` from its newest checkpoint, to the end or until `stop` is set: what
/// `rigl train --resume` does. A run that is finished stays as it is.
///
/// # Errors
/// As [`reopen`] and [`train`].
pub fn resume_in(
    folder: impl AsRef<Path>,
    registry: &Registry,
    machine: &MachineOptions,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Ended> {
    match reopen(folder.as_ref(), &ResumeOptions::default(), registry, machine)? {
        Reopened::Finished(summary) => Ok(Ended::Finished(summary)),
        Reopened::Begun(begun) => {
            let Begun { prepared, writer } = *begun;
            train(prepared, &writer, observer, stop)
        }
    }
}

/// What helps where nothing of a run is left to go on with.
const BEGIN_ANEW: &str = "begin anew, with `--overwrite`";

/// What there is to be done for a run that was begun before.
pub enum Reopened {
    /// Nothing: what it came to.
    Finished(Box<Summary>),
    /// The rest of it.
    Begun(Box<Begun>),
}

/// A run that can be gone on with.
pub struct Begun {
    /// Everything it needs. It goes on from a checkpoint, or begins anew if it was ended before it wrote its first.
    pub prepared: Prepared,
    /// Its folder, locked.
    pub writer: RunWriter,
}

/// What is accepted of a run that goes on.
#[derive(Clone, Debug, Default)]
pub struct ResumeOptions {
    /// That another version of the arithmetic began it.
    pub accept_arithmetic: bool,
    /// That its data are other ones than it was trained on.
    pub accept_data: bool,
    /// The folder that holds its data. Without one they are looked for where they were, and then in the machine's folder.
    pub data_dir: Option<PathBuf>,
}

/// Opens the run in `folder` for going on with it. One that has lost its `config.toml` gets it back from its checkpoint.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage) if there is none, if its checkpoint belongs to another configuration, or to
/// another version of the arithmetic or other data, and that is not accepted (results would differ);
/// [`Kind::Busy`](rigl_base::Kind::Busy) if another process has it; [`Kind::Data`](rigl_base::Kind::Data) if no checkpoint
/// of it is good; else as [`Prepared::new`].
pub fn reopen(
    folder: &Path,
    options: &ResumeOptions,
    registry: &Registry,
    machine: &MachineOptions,
) -> Result<Reopened> {
    let writer = RunFolder::take(folder)?;
    if let Err(lost) = writer.kept_config() {
        let Some(newest) = newest_checkpoint(&writer, true)? else { return Err(lost.hint(BEGIN_ANEW)) };
        files::write_atomic(&writer.config(), newest.checkpoint().metadata.configuration.as_bytes())?;
    }
    if let Some(summary) = writer.finished()? {
        return Ok(Reopened::Finished(Box::new(summary)));
    }
    let known = registry.known();
    let newest = newest_checkpoint(&writer, options.accept_arithmetic)?;
    let text = read_text(&writer.config())?;
    let mut config = Config::from_text(&writer.config().display().to_string(), &text, &known)?;
    if let Some(newest) = &newest {
        // The checkpoint tells where the data were last: they may have been moved since the run began.
        config.data.dir = same_configuration(&config, newest, &writer.config(), &known)?.data.dir;
    }
    let machine = data::given(&mut config, options.data_dir.as_deref(), machine)?;
    let prepared = match newest {
        Some(newest) => Prepared::resume_accepting(options.accept_data, config, registry, &machine, newest)?,
        None => Prepared::new(config, registry, &machine)?,
    };
    Ok(Reopened::Begun(Box::new(Begun { prepared, writer })))
}

/// Writes a new run's configuration, which makes its folder a run.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if it cannot be written.
pub fn begin(prepared: &Prepared, writer: &RunWriter) -> Result<()> {
    let machine = prepared.machine();
    let isa = machine.isa.as_deref();
    let text = configuration_text(prepared.config(), prepared.program(), machine.threads(), isa);
    files::write_atomic(&writer.config(), text.as_bytes())
}

/// The text of a new run's `config.toml`: what it was begun by and on, and every key with its value.
pub fn configuration_text(config: &Config, program: &Program, threads: usize, isa: Option<&str>) -> String {
    let machine = Machine::of(threads as u32, isa.unwrap_or("best"));
    format!(
        "# Begun by {program} on {} ({}), {}, instruction set: {}.\n# Training with this file repeats the run.\n\n{}",
        machine.processor.as_deref().unwrap_or("an unknown processor"),
        machine.os,
        counted(machine.threads.into(), "thread"),
        machine.instruction_set,
        config.to_toml()
    )
}

/// A run goes on as it began: what would change its weights must be in `config.toml` as it was. Gives the checkpoint's.
fn same_configuration(config: &Config, newest: &Latest, path: &Path, known: &Known) -> Result<Config> {
    let file = newest.path().file_name().unwrap_or_default().to_string_lossy();
    let begun = Config::from_text(&file, &newest.checkpoint().metadata.configuration, known)?;
    let Some(Difference { key, here, there }) = begun.difference(config) else { return Ok(begun) };
    Err(Error::usage(format!(
        "checkpoint `{file}` belongs to another configuration: `{key}` is `{here}` there, `{there}` in `config.toml`"
    ))
    .hint(format!("`rigl train {}` begins a new run with it", shell::path(path))))
}

/// The checkpoint to go on from; `None` if the run was ended before it wrote the first.
fn newest_checkpoint(run: &RunWriter, accept_arithmetic: bool) -> Result<Option<Latest>> {
    if !run.checkpoints().is_dir() {
        files::create_folder(&run.checkpoints())?;
    }
    let mut store = Store::new(run.checkpoints());
    if store.list()?.is_empty() {
        return Ok(None);
    }
    let latest = store.latest()?;
    let found = latest.checkpoint().metadata.arithmetic_version;
    if found != ARITHMETIC_VERSION && !accept_arithmetic {
        return Err(Error::usage(format!(
            "`{}` was begun under version {found} of the arithmetic, this is version {ARITHMETIC_VERSION}: \
             results would differ from an unbroken run's",
            run.path().display()
        ))
        .hint(format!("rigl train --resume {} --accept-arithmetic", shell::path(run.path()))));
    }
    Ok(Some(latest))
}
