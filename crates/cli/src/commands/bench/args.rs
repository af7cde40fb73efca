//! The command line of `rigl bench`.

use clap::{Args, ValueEnum};

use crate::args::{Keys, MachineFlags, SampleFlags};

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

fn density(text: &str) -> Result<f64, String> {
    let density = text.parse().ok().filter(|d: &f64| *d > 0.0 && *d <= 1.0);
    density.ok_or_else(|| "expected a number with 0 < density ≤ 1".to_string())
}
