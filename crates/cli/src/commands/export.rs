//! `rigl export`: a trained network as a file that other programs read, made from its checkpoint alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rigl_base::{Error, Result, shell, shown};
use rigl_formats::{Checkpoint, Metadata, export};
use rigl_graph::Graph;
use rigl_graph::state::{self, Role};
use rigl_metrics::folder::is_file_of_run;
use rigl_train::{Program, Registry};
use serde_json::json;

use super::{best_checkpoint, read_checkpoint};
use crate::output::{Align, Printer, Table, bytes, count, percent};

/// How the names of files end that this command, and `rigl eval --logits`, write.
const ENDING: &str = "safetensors";

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

pub(crate) fn run(args: &Export, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let masks_file = masks_beside(&args.file);
    check_target(&args.file, args.overwrite, &args.run)?;
    if args.masks {
        check_target(&masks_file, args.overwrite, &args.run)?;
    }
    let (checkpoint, source) = match args.best {
        true => best_checkpoint(&args.run, "export")?,
        false => read_checkpoint(&args.run, "export", printer)?,
    };
    let context = |e: Error| e.context(format!("`{source}`"));
    let Checkpoint { metadata, state } = checkpoint;
    let graph = Graph::parse(&metadata.graph).map_err(context)?;
    let network = export::network(&graph, &state, metadata.draw).map_err(context)?;
    let masks = export::masks(&graph, &state).map_err(context)?;

    let weights: usize = graph.weights().map(|(_, p)| p.len()).sum();
    let active = graph.weights().filter_map(|(_, p)| state::find(&state, &Role::Parameter, &p.name));
    let active: usize = active.map(|tensor| tensor.values.len()).sum();
    let sparsity = 1.0 - active as f64 / weights.max(1) as f64;
    let mut about = about(&registry.program, &graph, &metadata);
    about.insert("sparsity".into(), sparsity.to_string());
    let size = export::write(&args.file, &network, &about)?;
    let masks_size = if args.masks { Some(export::write(&masks_file, &masks, &about)?) } else { None };

    if printer.json() {
        printer.json_result(&json!({
            "file": args.file.display().to_string(), "bytes": size, "tensors": network.len(),
            "masks": masks_size.map(|bytes| {
                json!({ "file": masks_file.display().to_string(), "bytes": bytes, "tensors": masks.len() })
            }),
            "checkpoint": source, "step": metadata.step, "network": graph.name(),
            "weights": weights, "active": active, "sparsity": sparsity,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&[("file", Align::Left), ("tensors", Align::Right), ("size", Align::Right)]);
    let mut row = |file: &Path, tensors: usize, size: u64| {
        table.row(vec![file.display().to_string(), count(tensors as u64), bytes(size)]);
    };
    row(&args.file, network.len(), size);
    if let Some(size) = masks_size {
        row(&masks_file, masks.len(), size);
    }
    printer.result(&table.to_string())?;
    printer.note(&format!(
        "`{}` of `{source}`, step {}: {} of {} weights are active ({} sparse)",
        graph.name(),
        count(metadata.step),
        count(active as u64),
        count(weights as u64),
        percent(sparsity)
    ));
    if masks_size.is_none() && masks_file.is_file() {
        printer.warning(&format!("`{}` is of an earlier export", shown::path(&masks_file)));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a file says of the network it comes from. `format` is what loaders of PyTorch models look for.
pub(crate) fn about(program: &Program, graph: &Graph, metadata: &Metadata) -> BTreeMap<String, String> {
    let classes = serde_json::Value::from(metadata.classes.clone());
    let data = metadata.data.iter().map(|data| ("data".to_string(), data.clone()));
    let about = [
        ("format", "pt".to_string()),
        ("program", program.to_string()),
        ("network", graph.name().to_string()),
        ("graph", metadata.graph.clone()),
        ("configuration", metadata.configuration.clone()),
        ("class-names", classes.to_string()),
        ("input-preprocessing", metadata.preprocessing.clone()),
        ("step", metadata.step.to_string()),
    ]
    .map(|(key, value)| (key.to_string(), value));
    about.into_iter().chain(data).collect()
}

/// Refuses a file whose ending is none of ours, or that is there already; and, even if it may be overwritten, what a run
/// keeps itself, and the checkpoint `source` that is read.
pub(crate) fn check_target(file: &Path, overwrite: bool, source: &Path) -> Result<()> {
    let shown = shown::path(file);
    if file.is_dir() {
        let inside = file.join(format!("network.{ENDING}"));
        return Err(Error::usage(format!("`{shown}` is a folder")).hint(shell::path(&inside)));
    }
    if file.extension().is_none_or(|ending| ending != ENDING) {
        let error = Error::usage(format!(
            "the ending of `{shown}` names no format that rigl writes, allowed is `.{ENDING}`"
        ));
        return Err(match file.file_name() {
            Some(_) => error.hint(shell::path(&file.with_extension(ENDING))),
            None => error,
        });
    }
    if is_file_of_run(file) {
        return Err(Error::usage(format!("`{shown}` is the name of a file that the run itself keeps"))
            .hint("choose a name outside of its folders"));
    }
    if source.is_file()
        && file.canonicalize().is_ok_and(|file| source.canonicalize().is_ok_and(|it| it == file))
    {
        return Err(Error::usage(format!("`{shown}` is the checkpoint that is read, and would be lost")));
    }
    match file.symlink_metadata() {
        Ok(_) if !overwrite => Err(Error::usage(format!("`{shown}` is there already")).hint("--overwrite")),
        _ => Ok(()),
    }
}

/// `net.masks.safetensors` for `net.safetensors`.
fn masks_beside(file: &Path) -> PathBuf {
    file.with_extension(format!("masks.{ENDING}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_lie_beside_their_network() {
        assert_eq!(masks_beside(Path::new("a/net.v2.safetensors")), Path::new("a/net.v2.masks.safetensors"));
    }

    #[test]
    fn the_ending_names_the_format() {
        for (name, hint) in [
            ("net.pt", "net.safetensors"),
            ("net", "net.safetensors"),
            ("a.b/net.SAFETENSORS", "a.b/net.safetensors"),
        ] {
            let error = check_target(Path::new(name), true, Path::new("run")).unwrap_err();
            assert_eq!(error.hint_text(), Some(hint), "{error}");
        }
        assert!(check_target(Path::new("no/such/folder/net.safetensors"), false, Path::new("run")).is_ok());
    }
}
