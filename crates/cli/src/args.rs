//! The command line, as clap reads it. What the flags mean is decided in the commands.

mod study;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rigl_base::{Error, Result};
use rigl_train::MachineOptions;
use rigl_train::config::Override;

pub(crate) use study::{Compare, Sweep};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    ran, but the answer is no: training diverged, a run of a sweep failed, a data set is damaged
  2    usage, configuration, data or environment
  101  a fault of rigl itself
  130, 143  interrupted (SIGINT, SIGTERM); what was done is kept";

/// Train neural networks that are sparse from the first step to the last.
#[derive(Debug, Parser)]
#[command(name = "rigl", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Print results only
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// When to use colours; `NO_COLOR` turns them off too
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, help_heading = "Output")]
    pub(crate) color: Color,
    /// Print the result as JSON
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a network
    Train(Train),
    /// Train every combination of a grid of settings
    ///
    /// Each run has its folder in that of the sweep. What is finished is not done again, what was interrupted goes on,
    /// however it was interrupted. A run that fails does not end the others; it is named in the end, and the exit code
    /// is 1. In the end one table shows what all came to, with mean and standard deviation over seeds; it is in the
    /// folder too, as `table.md`, `table.csv` and `table.json`.
    Sweep(Sweep),
    /// Put finished runs side by side
    Compare(Compare),
    /// Evaluate the network of a run
    Eval(Eval),
    /// Write the network of a run into a file that other programs read
    ///
    /// The file holds every parameter and buffer dense, inactive weights as zeros, under the names and in the shapes
    /// that PyTorch gives them: a module of the same architecture loads it with `load_state_dict(strict=True)`. Its
    /// metadata tell the network's graph, configuration, class names, preprocessing, step and sparsity.
    Export(Export),
    /// Show what a run or a file holds
    ///
    /// Of a run: where it stands, its last numbers, its weights layer by layer, and whether its checkpoints verify. Of
    /// a file: what is in it.
    Inspect(Inspect),
    /// Show what a network costs, layer by layer and method by method
    Flops(Flops),
    /// List the presets, or print one
    Presets(Presets),
    /// Measure a training step on this machine, as a whole or layer by layer
    ///
    /// Data is noise, prepared beforehand, in the shape of the recipe's data set. Dropout is left out unless `--set
    /// model.dropout=…` asks for it. GFLOP/s count 2 for each active weight, output position and sample. Where each layer is
    /// timed, a convolution computes its two gradients one after the other; in training, and in `bench step`, one pass
    /// computes both, which takes less.
    Bench(Bench),
    /// List the data sets and where they lie, or download one
    Data(Data),
    /// Print what makes a shell complete the command line
    Completions(Completions),
    /// Print the manual page, or write those of all commands
    Man(Man),
}

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
    /// Show what would be trained, and stop there
    #[arg(long, help_heading = "Run")]
    pub(crate) dry_run: bool,
    /// Save and stop, as when interrupted, once standard input ends: for programs that start runs, so that these
    /// do not outlive them
    #[arg(long, help_heading = "Run")]
    pub(crate) stop_at_eof: bool,
    /// Plain lines in place of a progress bar
    #[arg(long, help_heading = "Output")]
    pub(crate) no_progress: bool,
}

/// Evaluate the network of a run on its test set.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl eval runs/20260101-120000-quickstart-rigl-sparsity.90-seed0\n  rigl eval RUN --split train --json\n  rigl eval RUN --samples 1000 --logits logits.safetensors"
)]
pub(crate) struct Eval {
    /// The folder of a run, or a checkpoint file of one
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// The samples to evaluate on
    #[arg(long, value_enum, default_value_t = Split::Test)]
    pub(crate) split: Split,
    /// The first N of them alone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), allow_negative_numbers = true)]
    pub(crate) samples: Option<u64>,
    /// Write what the network reads and answers into this file: `input` (after preprocessing), `label`, `logits`
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) logits: Option<PathBuf>,
    /// Replace the file of `--logits`
    #[arg(long, requires = "logits")]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) machine: MachineFlags,
}

/// Write the network of a run into a file that other programs read.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl export runs/20260101-120000-mnist-lenet-rigl-sparsity.98-seed0 lenet.safetensors\n  rigl export RUN net.safetensors --masks --best"
)]
pub(crate) struct Export {
    /// The folder of a run, whose newest checkpoint is taken, or a checkpoint file of one
    #[arg(value_name = "RUN|CHECKPOINT")]
    pub(crate) run: PathBuf,
    /// The file to write; its ending names the format
    #[arg(value_name = "FILE.safetensors")]
    pub(crate) file: PathBuf,
    /// Write the masks of sparse weights too, into FILE.masks.safetensors, under the names of the weights
    #[arg(long)]
    pub(crate) masks: bool,
    /// Take the checkpoint with the best validation accuracy
    #[arg(long)]
    pub(crate) best: bool,
    /// Replace files that are there already
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// Samples to evaluate on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Split {
    /// The training set.
    Train,
    /// The share of the training set that was split off.
    Validation,
    /// The test set.
    Test,
}

/// Show what a run or a file holds.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl inspect runs/20260101-120000-mnist-lenet-rigl-sparsity.98-seed0 --pixels\n  rigl inspect RUN/checkpoints/step-000001200-draw-000001212.safetensors --all\n  rigl inspect RUN --json"
)]
pub(crate) struct Inspect {
    /// The folder of a run; a file of checkpoints or patterns (.safetensors); a configuration (.toml), a
    /// `summary.json` or a `metrics.jsonl`
    #[arg(value_name = "RUN|FILE")]
    pub(crate) path: PathBuf,
    /// Draw how many connections leave each pixel of the input
    #[arg(long)]
    pub(crate) pixels: bool,
    /// Of a network, list every tensor and every node too
    #[arg(long)]
    pub(crate) all: bool,
}

const FLOPS_EXAMPLES: &str = "\
Examples:
  rigl flops mnist-lenet
  rigl flops quickstart --sparsity 0.95 --distribution uniform --json
  rigl flops resnet-50 --sparsity 0.8 --distribution erk
  rigl flops mobilenet-v1 --set model.width=0.5 --input 3x160x160";

/// Show what a network costs: shapes, active weights, bytes and FLOPs of each layer, and the FLOPs of training
/// for each method.
#[derive(Args, Clone, Debug)]
#[command(after_help = FLOPS_EXAMPLES)]
pub(crate) struct Flops {
    /// A preset, a model, or a configuration file ending in .toml
    #[arg(value_name = "PRESET|MODEL|FILE.toml", default_value = "quickstart")]
    pub(crate) recipe: String,
    #[command(flatten)]
    pub(crate) samples: SampleFlags,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) machine: MachineFlags,
}

/// List the presets, or print one as TOML: a start for a file of your own.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rigl presets\n  rigl presets mnist-lenet > my.toml")]
pub(crate) struct Presets {
    /// The preset to print
    pub(crate) name: Option<String>,
    /// Print every key with its documentation and value, not only those the preset sets
    #[arg(long, requires = "name")]
    pub(crate) full: bool,
}

const BENCH_EXAMPLES: &str = "\
Examples:
  rigl bench step mnist-lenet
  rigl bench step cifar10-wrn22-2 --batch 128 --sparsity 0.9 --distribution uniform --json
  rigl bench layers cifar10-wrn22-2 --model resnet-cifar --set model.depth=20
  rigl bench step resnet-50 --input 3x64x64 --classes 10 --batch 16
  rigl bench layers mnist-lenet --compute masked
  rigl bench step cifar10-wrn22-2 --method snfs
  rigl bench step --layers 1024-4096-4096-10 --batch 128 --density 0.05 --threads 2";

/// Measure a training step on this machine.
#[derive(Args, Clone, Debug)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct Bench {
    /// What to measure
    #[arg(value_enum)]
    pub(crate) what: BenchWhat,
    /// A preset, a model, or a configuration file ending in .toml
    #[arg(value_name = "PRESET|MODEL|FILE.toml", default_value = "quickstart")]
    pub(crate) recipe: String,
    /// A network of linear layers of these sizes in place of the recipe's
    #[arg(long, value_name = "SIZES", conflicts_with_all = ["model", "input", "classes"])]
    pub(crate) layers: Option<String>,
    /// Samples of the batch in place of the recipe's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: Option<u16>,
    /// Density of every layer, 0 to 1, in place of the recipe's; 1 is dense
    #[arg(long, value_name = "D", value_parser = density)]
    pub(crate) density: Option<f64>,
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) samples: SampleFlags,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) machine: MachineFlags,
}

/// What to measure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum BenchWhat {
    /// A whole training step, and a topology update.
    Step,
    /// Each layer's share of a step.
    Layers,
}

/// Print what makes a shell complete the command line, for its start-up files.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl completions bash > ~/.local/share/bash-completion/completions/rigl\n  rigl completions zsh > \"${fpath[1]}/_rigl\"\n  rigl completions fish > ~/.config/fish/completions/rigl.fish\n  rigl completions powershell >> $PROFILE"
)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Print the manual page of rigl, or write it and those of all commands into a folder.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rigl man | man -l -\n  rigl man --out ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page for rigl and each command into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// What samples look like, in place of what the data set or the model says.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Samples")]
pub(crate) struct SampleFlags {
    /// Shape of a sample, 3x224x224 [default: the recipe's data set's, or what the model is usually for]
    #[arg(long, value_name = "SHAPE", value_parser = Shape::parse)]
    pub(crate) input: Option<Shape>,
    /// Number of classes [default: as above]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) classes: Option<u32>,
}

/// The shape of a sample.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Shape(pub(crate) Vec<usize>);

impl Shape {
    fn parse(text: &str) -> Result<Shape, String> {
        let sizes = text.split(['x', '×']).map(|n| n.parse().ok().filter(|&n| n > 0));
        let shape = sizes.collect::<Option<_>>().map(Shape);
        shape.ok_or_else(|| "expected sizes like 3x224x224".to_string())
    }

    /// As people write it.
    pub(crate) fn text(shape: &[usize], between: &str) -> String {
        shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
    }
}

fn density(text: &str) -> Result<f64, String> {
    let density = text.parse().ok().filter(|d: &f64| *d > 0.0 && *d <= 1.0);
    density.ok_or_else(|| "expected a number with 0 < density ≤ 1".to_string())
}

/// List the data sets: which come with the program, which are read from files, and whether these are there.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  rigl data\n  rigl data --verify --json\n  rigl data fetch mnist")]
pub(crate) struct Data {
    #[command(subcommand)]
    pub(crate) action: Option<DataAction>,
    /// Compare the contents of the files with their SHA-256, not only their sizes; exit with 1 if one is damaged
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) folder: DataFolder,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DataAction {
    /// Download a data set
    Fetch(Fetch),
}

/// Download the files of a data set. What is there and whole is left alone; what a download that broke off has got
/// is kept, and the next one goes on from there. Every file is checked by size and SHA-256.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl data fetch mnist\n  rigl data fetch fashion-mnist --data-dir ~/data\n  rigl data fetch mnist --mirror http://127.0.0.1:8000/mnist/"
)]
pub(crate) struct Fetch {
    /// The data set (see `rigl data`)
    pub(crate) name: String,
    /// Address of a folder with the files, in place of the known ones; may be given several times, the first is
    /// asked first
    #[arg(long, value_name = "URL")]
    pub(crate) mirror: Vec<String>,
    /// Plain lines in place of a progress bar
    #[arg(long, help_heading = "Output")]
    pub(crate) no_progress: bool,
}

/// Flags that are short names of configuration keys.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct Keys {
    /// Network; the data set stays the recipe's (`model.name`)
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Method: dense, small-dense, static, snip, set, snfs, rigl, pruning, deepr, dsr, dnw (`method.name`)
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// Share of weights that are absent, 0 to 1 (`method.sparsity`)
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    sparsity: Option<String>,
    /// How sparsity is spread: uniform, er, erk (`method.distribution`)
    #[arg(long, value_name = "NAME")]
    distribution: Option<String>,
    /// Scale the whole recipe: 0.1 is a short faithful run, 5 a long one (`multiplier`)
    #[arg(long, value_name = "M", allow_negative_numbers = true)]
    multiplier: Option<String>,
    /// Seed of everything random (`seed`)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<String>,
    /// Arithmetic of sparse layers: auto, sparse, masked (`compute`)
    #[arg(long, value_name = "KIND")]
    compute: Option<String>,
    /// Any other key; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Keys {
    /// As settings of keys, in an order in which later ones win.
    pub(crate) fn overrides(&self) -> Result<Vec<Override>> {
        let flags = [
            ("--model", "model.name", &self.model),
            ("--method", "method.name", &self.method),
            ("--sparsity", "method.sparsity", &self.sparsity),
            ("--distribution", "method.distribution", &self.distribution),
            ("--multiplier", "multiplier", &self.multiplier),
            ("--seed", "seed", &self.seed),
            ("--compute", "compute", &self.compute),
        ];
        let set = self.set.iter().map(|text| Override::parse("--set", text));
        let mut overrides = set.collect::<Result<Vec<_>>>()?;
        overrides.extend(flags.into_iter().filter_map(|(origin, key, value)| {
            Some(Override { origin: origin.into(), key: key.into(), value: value.clone()? })
        }));
        Ok(overrides)
    }

    /// Whether nothing is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.overrides().is_ok_and(|overrides| overrides.is_empty())
    }
}

/// Flags that concern the machine and change no result.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Machine")]
pub(crate) struct MachineFlags {
    /// Folder of data sets [env: RIGL_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Threads [env: RIGL_NUM_THREADS] [default: the physical cores it may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), allow_negative_numbers = true)]
    threads: Option<u16>,
}

impl Command {
    /// The data folder that a flag gives a command that trains or evaluates.
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        let machine = match self {
            Command::Train(args) => &args.machine,
            Command::Eval(args) => &args.machine,
            Command::Flops(args) => &args.machine,
            Command::Bench(args) => &args.machine,
            Command::Sweep(args) => return args.data_dir(),
            _ => return None,
        };
        machine.data_dir.as_deref()
    }
}

impl MachineFlags {
    /// Flags, then the environment.
    pub(crate) fn options(&self) -> Result<MachineOptions> {
        let threads = match (self.threads, variable("RIGL_NUM_THREADS")) {
            (Some(threads), _) => usize::from(threads),
            (None, None) => 0,
            (None, Some(text)) => {
                let threads = text.to_str().and_then(|text| text.parse().ok());
                threads.filter(|threads| (1..=1024).contains(threads)).ok_or_else(|| {
                    Error::usage(format!(
                        "`RIGL_NUM_THREADS` is `{}`, expected a whole number from 1 to 1024",
                        text.to_string_lossy()
                    ))
                })?
            }
        };
        let isa = variable("RIGL_ISA").map(|isa| isa.to_string_lossy().into_owned());
        let sets = rigl_engine::instruction_sets();
        if let Some(isa) = isa.as_ref().filter(|isa| !sets.contains(&isa.as_str())) {
            return Err(Error::usage(format!(
                "`RIGL_ISA` is `{isa}`, this machine has `{}`",
                sets.join("`, `")
            ))
            .hint(format!("RIGL_ISA={}, or leave it unset", sets[0])));
        }
        Ok(MachineOptions { data_folder: data_folder(self.data_dir.as_deref()), threads, isa })
    }
}

/// Where the data sets of `rigl data` lie.
#[derive(Args, Clone, Debug)]
pub(crate) struct DataFolder {
    /// Folder of data sets [env: RIGL_DATA_DIR] [default: `rigl` in the user's cache folder]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

impl DataFolder {
    /// The flag.
    pub(crate) fn flag(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// The folder.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        data_folder(self.data_dir.as_deref()).ok_or_else(|| {
            Error::environment("there is no data folder: this user has no cache folder")
                .hint("--data-dir DIR")
        })
    }
}

/// The flag, the environment, or `rigl` in the platform's cache folder.
fn data_folder(flag: Option<&Path>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).map(PathBuf::from);
    if let Some(folder) = flag.map(Path::to_path_buf).or_else(|| path("RIGL_DATA_DIR")) {
        return Some(folder);
    }
    let cache = if cfg!(windows) {
        path("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        path("HOME").map(|home| home.join("Library/Caches"))
    } else {
        path("XDG_CACHE_HOME").or_else(|| path("HOME").map(|home| home.join(".cache")))
    };
    cache.map(|cache| cache.join("rigl"))
}

/// A variable of the environment, if it says anything.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_short_flag_names_a_key_that_exists() {
        let text = "x".to_string();
        let keys = Keys {
            model: Some(text.clone()),
            method: Some(text.clone()),
            sparsity: Some(text.clone()),
            distribution: Some(text.clone()),
            multiplier: Some(text.clone()),
            seed: Some(text.clone()),
            compute: Some(text),
            set: Vec::new(),
        };
        for flag in keys.overrides().unwrap() {
            assert!(rigl_train::config::keys().iter().any(|key| key.path == flag.key), "{}", flag.key);
        }
        assert!(Keys::default().is_empty());
    }
}
