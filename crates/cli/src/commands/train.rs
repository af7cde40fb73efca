//! `rigl train`: one run, or, with no recipe, a sparse one beside a dense one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use rigl_base::{Result, shown};
use rigl_metrics::Claim;
use rigl_metrics::folder::run_name;
use rigl_topology::Topology;
use rigl_train::config::Override;
use rigl_train::{Config, MachineOptions, Prepared, Registry, ResumeOptions, begin, data};

use super::execute::{DENSE, SPARSE, execute, interrupted};
use super::{configuration, network, results, resume};
use crate::args::{Keys, MachineFlags};
use crate::output::Printer;
use crate::signals::{Signals, Work};

/// Where runs go that are given no folder.
pub(crate) const RUNS: &str = "runs";

const TRAIN_EXAMPLES: &str = "\
Examples:
  rigl train                                a first run: sparse, then dense, on drawn digits
  rigl train mnist-lenet --data-dir ~/data  the paper's LeNet-300-100 on MNIST
  rigl train mnist-lenet --method set --multiplier 0.1 --seed 1
  rigl train my.toml --set optimizer.l2=0 --set method.layers.fc1=0.99
  rigl train --resume runs/20260101-120000-mnist-lenet-rigl-sparsity.98-seed0";

/// Train a network: with no arguments a small one on drawn digits, sparse and then dense, with a table that
/// compares the two.
#[derive(Args, Clone, Debug)]
#[command(after_help = TRAIN_EXAMPLES)]
pub(crate) struct Train {
    /// A preset (see `rigl presets`) or a configuration file ending in .toml
    #[arg(value_name = "PRESET|FILE.toml")]
    pub(crate) recipe: Option<String>,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) machine: MachineFlags,
    /// Folder of this run [default: a new one in `runs`]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Go on with the run in this folder
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "run_dir", "overwrite", "dry_run"], help_heading = "Run")]
    pub(crate) resume: Option<PathBuf>,
    /// Replace the run that is in `--run-dir`
    #[arg(long, requires = "run_dir", help_heading = "Run")]
    pub(crate) overwrite: bool,
    /// With --resume: go on although another version of the arithmetic began the run (results may differ)
    #[arg(long, requires = "resume", help_heading = "Run")]
    pub(crate) accept_arithmetic: bool,
    /// With --resume: go on although the data are other ones than the run was trained on
    #[arg(long, requires = "resume", help_heading = "Run")]
    pub(crate) accept_data: bool,
    /// Show what would be trained, and stop there
    #[arg(long, help_heading = "Run")]
    pub(crate) dry_run: bool,
    /// Save and stop, as when interrupted, once standard input ends: for programs that start runs, so that these
    /// do not outlive them. Where another process has the run the exit code is then 75
    #[arg(long, help_heading = "Run")]
    pub(crate) stop_at_eof: bool,
    /// Plain lines in place of a progress bar
    #[arg(long, help_heading = "Output")]
    pub(crate) no_progress: bool,
}

pub(crate) fn run(args: &Train, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let machine = args.machine.options()?;
    let bar = !args.no_progress;
    if let Some(path) = &args.resume {
        if !args.keys.is_empty() {
            return Err(resume::unchanged(path, &args.keys.overrides()?));
        }
        let signals = listen(args, printer)?;
        let options = ResumeOptions {
            accept_arithmetic: args.accept_arithmetic,
            accept_data: args.accept_data,
            data_dir: args.machine.data_dir.clone(),
        };
        return resume::run(path, &options, registry, &machine, printer, bar, &signals);
    }
    let overrides = args.keys.overrides()?;
    let recipe = args.recipe.as_deref().unwrap_or("quickstart");
    let mut config = configuration(recipe, &overrides, registry)?;
    config.left_out().iter().for_each(|text| printer.warning(text));
    let machine = data::given(&mut config, args.machine.data_dir.as_deref(), &machine)?;
    let prepared = Prepared::new(config, registry, &machine)?;
    if args.dry_run {
        prepared.warnings().iter().for_each(|text| printer.warning(text));
        return network::show(&prepared, printer).map(|()| ExitCode::SUCCESS);
    }
    if args.recipe.is_none() && prepared.design().method().topology != Topology::Dense {
        return compare(args, prepared, recipe, overrides, registry, &machine, printer);
    }
    let label = prepared.config().method.name.clone();
    let writer = claim(args, &run_name_of(recipe, &prepared, &label), &[])?.into_run()?;
    begin(&prepared, &writer)?;
    printer.note(&format!("run: {}", shown::path(writer.path())));
    network::note(&prepared, printer)?;
    let signals = listen(args, printer)?;
    match execute(prepared, &writer, &label, printer, bar, &signals)? {
        None => Ok(interrupted(writer.path(), printer, &signals)),
        Some(summary) => results::single(&summary, writer.path(), printer).map(|()| ExitCode::SUCCESS),
    }
}

/// A sparse run and then the same dense, in one folder.
fn compare(
    args: &Train,
    sparse: Prepared,
    recipe: &str,
    mut overrides: Vec<Override>,
    registry: &Registry,
    machine: &MachineOptions,
    printer: &Printer,
) -> Result<ExitCode> {
    // A dense network has no use for what is said of the sparse one's method, nor perhaps for other settings.
    overrides.retain(|setting| !setting.key.starts_with("method."));
    overrides.iter_mut().for_each(|setting| setting.shared = true);
    overrides.push(Override::new("--method", "method.name", "dense"));
    let mut dense = configuration(recipe, &overrides, registry)?;
    data::given(&mut dense, args.machine.data_dir.as_deref(), machine)?;
    let dense = Prepared::new(dense, registry, machine)?;
    let name = run_name_of(recipe, &sparse, &format!("{}-and-dense", sparse.config().method.name));
    // Both configurations first: from then on the comparison can be resumed.
    let Claim { path: parent, runs } = claim(args, &name, &[SPARSE, DENSE])?;
    for (prepared, writer) in [&sparse, &dense].into_iter().zip(&runs) {
        begin(prepared, writer)?;
    }
    printer.note(&format!("runs: {}", shown::path(&parent)));
    network::note(&sparse, printer)?;
    let signals = listen(args, printer)?;
    let mut summaries = Vec::new();
    for (prepared, writer) in [sparse, dense].into_iter().zip(&runs) {
        let label = prepared.config().method.name.clone();
        match execute(prepared, writer, &label, printer, !args.no_progress, &signals)? {
            None => return Ok(interrupted(&parent, printer, &signals)),
            Some(summary) => summaries.push(summary),
        }
    }
    results::comparison(&summaries[0], &summaries[1], &parent, printer).map(|()| ExitCode::SUCCESS)
}

/// Listens to what may interrupt the run.
fn listen(args: &Train, printer: &Printer) -> Result<Signals> {
    let signals = Signals::listen(printer, Work::Training)?;
    if args.stop_at_eof {
        signals.listen_to_input()?;
    }
    Ok(signals)
}

/// A place for a run, or for runs of these names: the folder asked for, or a new one.
fn claim(args: &Train, name: &str, runs: &[&str]) -> Result<Claim> {
    match &args.run_dir {
        Some(dir) if args.overwrite => Claim::replacing(dir, runs),
        Some(dir) => Claim::at(dir, runs),
        None => Claim::named(Path::new(RUNS), name, runs),
    }
}

fn run_name_of(recipe: &str, prepared: &Prepared, method: &str) -> String {
    let (config, sparsity) = (prepared.config(), prepared.design().sparsity());
    run_name(SystemTime::now(), &recipe_name(recipe, config), method, sparsity, config.seeds.init)
}

/// What its recipe is called: by its file, unless that is the configuration of another run; else by its preset.
fn recipe_name(recipe: &str, config: &Config) -> String {
    let stem = recipe.strip_suffix(".toml").and_then(|path| Path::new(path).file_name());
    match stem.map(|stem| stem.to_string_lossy()) {
        Some(stem) if stem != "config" && !stem.is_empty() => stem.into_owned(),
        _ if config.preset.is_empty() => "custom".into(),
        _ => config.preset.clone(),
    }
}
