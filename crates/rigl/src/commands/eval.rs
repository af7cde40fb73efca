//! `rigl eval`: loss and accuracy of a trained network, built from its checkpoint alone.

use std::path::Path;
use std::process::ExitCode;

use rigl_base::{Error, Result};
use rigl_formats::{Checkpoint, Store, checkpoint};
use rigl_graph::Graph;
use rigl_train::{Config, Design, Prepared, Registry, evaluate};
use serde_json::json;

use crate::args::{Eval, Split};
use crate::output::{Align, Printer, Table, count, percent};

pub(crate) fn run(args: &Eval, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let (checkpoint, file) = read(&args.run, printer)?;
    let context = |e: Error| e.context(format!("`{file}`"));
    let Checkpoint { metadata, state } = checkpoint;
    let config = Config::from_text(&file, &metadata.configuration, &registry.known()).map_err(context)?;
    let graph = Graph::parse(&metadata.graph).map_err(context)?;
    let mut prepared = Prepared::new(config, registry, &args.machine.options()?)?;
    prepared.design = Design::of_graph(&prepared.config, registry, graph).map_err(context)?;
    let mut session = prepared.session()?;
    session.load(&state).map_err(context)?;
    let (name, set) = match args.split {
        Split::Train => ("train", Some(&prepared.sets.train)),
        Split::Validation => ("validation", prepared.sets.validation.as_ref()),
        Split::Test => ("test", Some(&prepared.sets.test)),
    };
    let set =
        set.ok_or_else(|| Error::usage("the run split no validation samples off").hint("--split test"))?;
    let outcome = evaluate(&mut session, set, &prepared.preprocessing, prepared.evaluation_batch())?;
    if printer.json() {
        printer.json_result(&json!({
            "checkpoint": file,
            "step": metadata.step,
            "split": name,
            "samples": outcome.samples,
            "correct": outcome.correct,
            "accuracy": outcome.accuracy(),
            "loss": outcome.mean_loss(),
        }))?;
    } else {
        let mut table = Table::new(&[(name, Align::Left), ("", Align::Right)]);
        table.row(vec!["samples".into(), count(outcome.samples as u64)]);
        table.row(vec!["accuracy".into(), percent(outcome.accuracy())]);
        table.row(vec!["loss".into(), format!("{:.4}", outcome.mean_loss())]);
        printer.result(&table.to_string())?;
        printer.note(&format!("of `{file}`, step {}", metadata.step));
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest good checkpoint of a run, or the one in a file.
fn read(path: &Path, printer: &Printer) -> Result<(Checkpoint, String)> {
    if path.is_file() {
        return Ok((checkpoint::read(path)?, path.display().to_string()));
    }
    let run = super::open_run(path, "eval")?;
    let latest = Store::new(run.checkpoints()).latest()?;
    latest.warnings.iter().for_each(|warning| printer.warning(warning));
    Ok((latest.checkpoint, latest.path.display().to_string()))
}
