//! `rigl eval`: loss and accuracy of a trained network, built from its checkpoint alone; its logits for other programs
//! to compare with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use rigl_base::{Error, Result, shown};
use rigl_data::{Dataset, Sets, Subset};
use rigl_engine::Outcome;
use rigl_formats::export::{self, Array, Numbers};
use rigl_train::{Logits, Registry, Trained, data};
use serde_json::json;

use super::export::{about, check_target};
use super::{best_checkpoint, read_checkpoint};
use crate::args::MachineFlags;
use crate::output::{Align, Printer, Table, bytes, count, percent};

/// Evaluate the network of a run on its test set.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl eval runs/20260101-120000-quickstart-rigl-sparsity.90-seed0\n  rigl eval RUN --split train --json\n  rigl eval RUN --best\n  rigl eval RUN --samples 1000 --logits logits.safetensors"
)]
pub(crate) struct Eval {
    /// The folder of a run, whose newest checkpoint is taken, or a checkpoint file of one
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// The samples to evaluate on
    #[arg(long, value_enum, default_value_t = Split::Test)]
    pub(crate) split: Split,
    /// The first N of them alone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), allow_negative_numbers = true)]
    pub(crate) samples: Option<u64>,
    /// Take the checkpoint with the best validation accuracy
    #[arg(long)]
    pub(crate) best: bool,
    /// Write what the network reads and answers into this file: `input` (after preprocessing), `label`, `logits`
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) logits: Option<PathBuf>,
    /// Replace the file of `--logits`
    #[arg(long, requires = "logits")]
    pub(crate) overwrite: bool,
    #[command(flatten)]
    pub(crate) machine: MachineFlags,
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

pub(crate) fn run(args: &Eval, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    args.logits.iter().try_for_each(|file| check_target(file, args.overwrite, &args.run))?;
    let (checkpoint, file) = match args.best {
        true => best_checkpoint(&args.run, "eval")?,
        false => read_checkpoint(&args.run, "eval", printer)?,
    };
    let machine = args.machine.options()?;
    let mut network = Trained::new(checkpoint, &file, registry, &machine)?;
    let mut config = network.config().clone();
    let machine = data::given(&mut config, args.machine.data_dir.as_deref(), &machine)?;
    let sets = registry.sets(&config, machine.data_folder.as_deref(), machine.threads())?;
    data::moved(&config, &sets).iter().for_each(|text| printer.warning(text));
    let found = data::record(&config, &sets);
    let trained_on = data::recorded(network.metadata().data.as_deref())?;
    let same_data = trained_on.as_ref().map(|trained_on| trained_on.same_samples(&found));
    if let Some(trained_on) = trained_on.filter(|_| same_data == Some(false)) {
        printer.warning(&format!(
            "these are other data than it was trained on: {}, and it was trained on {}",
            found.samples_text(),
            trained_on.samples_text()
        ));
    }
    let (split, set) = samples(args, &sets)?;
    let (outcome, written) = match &args.logits {
        None => (network.evaluate(&set)?, None),
        Some(target) => {
            let all = network.logits(&set)?;
            let mut about = about(&registry.program, network.graph(), network.metadata());
            about.extend([("split", split), ("checkpoint", &file)].map(|(k, v)| (k.into(), v.into())));
            (all.outcome, Some((target, write(target, &all, &set.spec().shape, &about)?)))
        }
    };
    let step = network.metadata().step;
    if printer.json() {
        printer.json_result(&json!({
            "checkpoint": file,
            "step": step,
            "split": split,
            "samples": outcome.samples,
            "correct": outcome.correct,
            "accuracy": outcome.accuracy(),
            "loss": outcome.mean_loss(),
            "data": found,
            "same_data": same_data,
            "logits": written.map(|(file, bytes)| json!({ "file": file.display().to_string(), "bytes": bytes })),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Outcome { samples, .. } = outcome;
    let mut table = Table::new(&[(split, Align::Left), ("", Align::Right)]);
    table.row(vec!["samples".into(), count(samples as u64)]);
    table.row(vec!["accuracy".into(), percent(outcome.accuracy())]);
    table.row(vec!["loss".into(), format!("{:.4}", outcome.mean_loss())]);
    printer.result(&table.to_string())?;
    printer.note(&format!("of `{file}`, step {step}"));
    if let Some((file, size)) = written {
        printer.note(&format!("inputs, labels and logits are in `{}` ({})", shown::path(file), bytes(size)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The samples that are asked for, and the name of their split.
fn samples(args: &Eval, sets: &Sets) -> Result<(&'static str, Arc<dyn Dataset>)> {
    let (name, set) = match args.split {
        Split::Train => ("train", Some(&sets.train)),
        Split::Validation => ("validation", sets.validation.as_ref()),
        Split::Test => ("test", Some(&sets.test)),
    };
    let set =
        set.ok_or_else(|| Error::usage("the run split no validation samples off").hint("--split test"))?;
    let Some(first) = args.samples else { return Ok((name, Arc::clone(set))) };
    if first > set.len() as u64 {
        let error = Error::usage(format!("`--samples` is {first}, the {name} split has {}", set.len()));
        return Err(error.hint(format!("--samples {}", set.len())));
    }
    Ok((name, Arc::new(Subset::first(set, first as usize))))
}

/// Writes what the network reads and answers; gives the size of the file.
fn write(file: &Path, all: &Logits, shape: &[usize], about: &BTreeMap<String, String>) -> Result<u64> {
    let samples = all.labels.len();
    let array = |name: &str, shape: Vec<usize>, numbers| Array { name: name.into(), shape, numbers };
    let arrays = [
        array("input", [&[samples], shape].concat(), Numbers::F32((&all.inputs).into())),
        array("label", vec![samples], Numbers::I64((&all.labels).into())),
        array("logits", vec![samples, all.logits.len() / samples.max(1)], Numbers::F32((&all.logits).into())),
    ];
    export::write(file, &arrays, about)
}
