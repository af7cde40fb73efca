//! The command line of `rigl inspect`.

use std::path::PathBuf;

use clap::Args;

/// Show what a run or a file holds.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl inspect runs/20260101-120000-mnist-lenet-rigl-sparsity.98-seed0 --pixels\n  rigl inspect RUN/checkpoints/step-000001200-draw-000001212.safetensors --all\n  rigl inspect RUN --json"
)]
pub(crate) struct Inspect {
    /// The folder of a run; a file of checkpoints or patterns, or what `rigl export` wrote (.safetensors); a
    /// configuration (.toml), a `summary.json` or a `metrics.jsonl`
    #[arg(value_name = "RUN|FILE")]
    pub(crate) path: PathBuf,
    /// Draw how many connections leave each pixel of the input
    #[arg(long)]
    pub(crate) pixels: bool,
    /// Of a network, list every tensor and every node too
    #[arg(long)]
    pub(crate) all: bool,
}
