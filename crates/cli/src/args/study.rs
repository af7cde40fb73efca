//! The command line of what concerns many runs: `rigl sweep` and `rigl compare`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use rigl_base::Result;
use rigl_train::MachineOptions;
use rigl_train::config::Override;

use super::MachineFlags;

const SWEEP_EXAMPLES: &str = "\
Examples:
  rigl sweep experiments/mnist.toml --dry-run              its runs and what they cost
  rigl sweep experiments/mnist.toml                        again after an interrupt: goes on
  rigl sweep experiments/cifar10.toml --multiplier 0.02 --set model.dropout=0    a short version of all runs
  rigl sweep experiments/mnist.toml --table                what is there so far";

/// Train every combination of a grid of settings.
#[derive(Args, Clone, Debug)]
#[command(after_help = SWEEP_EXAMPLES)]
pub(crate) struct Sweep {
    /// The sweep: `preset` or `base`, `[set]`, `[grid]`, `[[exclude]]`, `[[when]]`; experiments/README.md describes it
    #[arg(value_name = "FILE.toml")]
    pub(crate) file: PathBuf,
    /// Scale the length of all runs, whatever their own multiplier: 0.02 for a short version
    #[arg(long, value_name = "M", allow_negative_numbers = true, help_heading = "Configuration")]
    pub(crate) multiplier: Option<f64>,
    /// A setting of all runs, that wins over the file; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Configuration")]
    set: Vec<String>,
    /// Folder of the sweep [default: `sweeps/` and the name of FILE, with --multiplier and --set]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub(crate) out: Option<PathBuf>,
    /// Runs at once [default: the physical cores it may use / threads]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Run")]
    pub(crate) jobs: Option<u16>,
    /// List the runs with their cost, and stop there
    #[arg(long, conflicts_with = "table", help_heading = "Run")]
    pub(crate) dry_run: bool,
    /// Print the table of the runs that are finished, and stop there
    #[arg(long, help_heading = "Run")]
    pub(crate) table: bool,
    /// Folder of data sets [env: RIGL_DATA_DIR]
    #[arg(long, value_name = "DIR", help_heading = "Machine")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Threads of each run [env: RIGL_NUM_THREADS] [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), allow_negative_numbers = true, help_heading = "Machine")]
    threads: Option<u16>,
    /// Plain lines in place of a progress bar
    #[arg(long, help_heading = "Output")]
    pub(crate) no_progress: bool,
}

impl Sweep {
    /// The settings of all runs.
    pub(crate) fn overrides(&self) -> Result<Vec<Override>> {
        self.set.iter().map(|text| Override::parse("--set", text)).collect()
    }

    /// What each run may use of the machine.
    pub(crate) fn machine(&self) -> Result<MachineOptions> {
        let flags = MachineFlags { data_dir: self.data_dir.clone(), threads: self.threads };
        let options = flags.options()?;
        Ok(MachineOptions { threads: options.threads.max(1), ..options })
    }

    /// The flags that make each run use just that.
    pub(crate) fn machine_arguments(&self, machine: &MachineOptions) -> Vec<OsString> {
        let threads = ["--threads".into(), machine.threads.to_string().into()];
        let folder = self.data_dir.iter().flat_map(|dir| ["--data-dir".into(), dir.into()]);
        threads.into_iter().chain(folder).collect()
    }

    /// The flag, for hints.
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }
}

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
