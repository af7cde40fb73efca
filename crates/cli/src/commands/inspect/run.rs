//! `rigl inspect` of a run.

use std::path::Path;

use rigl_base::{Error, Result, shell, shown};
use rigl_formats::store::Position;
use rigl_formats::{Checkpoint, Store, checkpoint};
use rigl_metrics::{DataRecord, RunFolder, Status, Summary};
use rigl_study::configuration;
use rigl_train::{Config, Registry, data, slower};
use serde_json::{Value, json};

use super::args::Inspect;
use super::log::Digest;
use super::network::Network;
use crate::commands::open_run;
use crate::output::{Align, Printer, Table, bytes, count, percent};

/// The word for a run that is being trained, or that a kill ended: nobody can tell from its files.
const UNFINISHED: &str = "unfinished";

pub(super) fn inspect(args: &Inspect, registry: &Registry, printer: &Printer) -> Result<()> {
    let Inspect { path, pixels, all } = args;
    let run = open_run(path, "inspect")?;
    let config = configuration(&run, &registry.known())?;
    let digest = if run.log().is_file() { Digest::read(&run.log())? } else { Digest::default() };
    let summary = if run.summary().is_file() { Some(Summary::read(&run.summary())?) } else { None };
    let status = summary.as_ref().map(|summary| summary.status).or_else(|| digest.status());
    let files = checkpoints(&run)?;
    let newest = files.iter().rev().find_map(|file| file.checkpoint.as_ref().map(|c| (&file.name, c)));
    let network = newest.map(|(name, checkpoint)| {
        Network::of(checkpoint, *pixels).map_err(|e| e.context(format!("`{name}`")))
    });
    let network = network.transpose()?;
    let data = newest
        .map(|(_, checkpoint)| data::recorded(checkpoint.metadata.data.as_deref()))
        .transpose()?
        .flatten();
    if *pixels && network.is_none() {
        return Err(Error::usage(format!("`--pixels` needs a checkpoint, `{}` has none", shown::path(path))));
    }
    if printer.json() {
        let mut value = json!({
            "kind": "run",
            "path": path.display().to_string(),
            "preset": config.preset,
            "model": config.model.name,
            "data": config.data.name,
            "data_record": data,
            "method": config.method.name,
            "distribution": config.method.distribution.name(),
            "sparsity": sparsity(summary.as_ref(), network.as_ref()),
            "seeds": { "init": config.seeds.init, "topology": config.seeds.topology, "data": config.seeds.data },
            "status": status.map_or(UNFINISHED, Status::name),
            "log": digest.json(),
            "checkpoints": files.iter().map(File::json).collect::<Vec<_>>(),
            "shown": newest.map(|(name, _)| name),
        });
        if let (Some(network), Value::Object(fields)) = (&network, &mut value) {
            network.json(fields);
        }
        return printer.json_result(&value);
    }
    let sparsity = sparsity(summary.as_ref(), network.as_ref());
    let mut text = about(path, &config, data.as_ref(), status, sparsity, &digest).to_string();
    if let (Some(network), Some((name, checkpoint))) = (&network, newest) {
        text += &format!("\nof `{name}`:\n{}", network.text(&checkpoint.state, *all));
    }
    if !files.is_empty() {
        text += &format!("\n{}", list(&files));
    }
    printer.result(&text)?;
    if let Some(problem) = &digest.problem {
        printer.warning(problem);
    }
    match status {
        Some(Status::Finished) => {}
        Some(Status::Diverged) => printer.note(&slower(&config, &run.config())),
        _ => printer.note(&format!("`rigl train --resume {}` goes on with it", shell::path(path))),
    }
    Ok(())
}

/// How sparse the network is, of all its weights: as the run ended, or as its newest good checkpoint has it; `None` where
/// nothing tells.
fn sparsity(summary: Option<&Summary>, network: Option<&Network>) -> Option<f64> {
    let of_summary = summary.map(|summary| summary.sparsity).filter(|sparsity| sparsity.is_finite());
    of_summary.or_else(|| network.map(Network::sparsity))
}

/// What the run is, and where it stands.
fn about(
    path: &Path,
    config: &Config,
    data: Option<&DataRecord>,
    status: Option<Status>,
    sparsity: Option<f64>,
    digest: &Digest,
) -> Table {
    let mut table = Table::new(&[("run", Align::Left), (&path.display().to_string(), Align::Left)]);
    let mut row = |name: &str, value: String| table.row(vec![name.into(), value]);
    row("preset", if config.preset.is_empty() { "none".into() } else { config.preset.clone() });
    row("network", format!("{} on {}", config.model.name, config.data.name));
    if let Some(data) = data {
        row("data", data.samples_text());
    }
    let method = &config.method;
    let has = |key: &str| config.get(key).is_some();
    let spread =
        if has("method.distribution") { format!(", {}", method.distribution) } else { String::new() };
    let sparse = sparsity.filter(|&sparsity| sparsity > 0.0);
    let sparse = sparse.map_or_else(String::new, |sparsity| format!(", {} sparse", percent(sparsity)));
    row("method", format!("{}{spread}{sparse}", method.name));
    let seeds = &config.seeds;
    row(
        "seed",
        // Where nothing is drawn by a seed there is none.
        if seeds.data == seeds.init && (seeds.topology == seeds.init || !has("seeds.topology")) {
            seeds.init.to_string()
        } else {
            format!("init {}, topology {}, data {}", seeds.init, seeds.topology, seeds.data)
        },
    );
    let reason = match &digest.end {
        Some(end) if end.status != Status::Finished => format!(": {}", end.reason),
        None if status.is_none() => ": being trained, or ended by a kill".to_string(),
        _ => String::new(),
    };
    row("status", format!("{}{reason}", status.map_or(UNFINISHED, Status::name)));
    digest.rows(&mut table);
    table
}

/// A file in `checkpoints/`.
struct File {
    name: String,
    bytes: u64,
    /// Where the run stood, or why it is not what was written.
    verified: Result<Position, String>,
    /// What it holds: kept of the newest good one.
    checkpoint: Option<Checkpoint>,
}

impl File {
    fn json(&self) -> Value {
        let position = self.verified.as_ref().ok();
        json!({
            "file": self.name,
            "bytes": self.bytes,
            "step": position.map(|p| p.step),
            "draw": position.map(|p| p.draw),
            "good": position.is_some(),
            "problem": self.verified.as_ref().err(),
        })
    }
}

/// Every checkpoint of a run, read from its first byte to its last; the best, then the oldest first.
fn checkpoints(run: &RunFolder) -> Result<Vec<File>> {
    if !run.checkpoints().is_dir() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<_> = Store::new(run.checkpoints()).list()?;
    paths.reverse();
    let mut paths: Vec<_> = paths.into_iter().map(|(position, path)| (Some(position), path)).collect();
    let best = run.checkpoints().join("best.safetensors");
    if best.is_file() {
        paths.push((None, best));
    }
    let mut files: Vec<File> = Vec::new();
    let mut found = false;
    for (claimed, path) in paths {
        let read = checkpoint::read(&path);
        // A run that is being trained removes old ones.
        let Ok(metadata) = path.metadata() else { continue };
        let (verified, checkpoint) = match read {
            Err(error) => {
                let (text, file) = (error.to_string(), format!("checkpoint `{}`: ", shown::path(&path)));
                (Err(text.strip_prefix(&file).unwrap_or(&text).to_string()), None)
            }
            Ok(checkpoint) => {
                let at = Position { step: checkpoint.metadata.step, draw: checkpoint.metadata.draw };
                match claimed {
                    Some(claimed) if claimed != at => {
                        (Err(format!("holds step {}, draw {}", at.step, at.draw)), None)
                    }
                    _ => (Ok(at), Some(checkpoint).filter(|_| !found)),
                }
            }
        };
        found |= checkpoint.is_some();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push(File { name, bytes: metadata.len(), verified, checkpoint });
    }
    files.reverse();
    Ok(files)
}

fn list(files: &[File]) -> Table {
    let mut table = Table::new(&[
        ("checkpoint", Align::Left),
        ("step", Align::Right),
        ("batches", Align::Right),
        ("size", Align::Right),
        ("", Align::Left),
    ]);
    for file in files {
        let (step, draw, verdict) = match &file.verified {
            Ok(at) => (count(at.step), count(at.draw), "verified".to_string()),
            Err(problem) => ("–".into(), "–".into(), problem.clone()),
        };
        table.row(vec![file.name.clone(), step, draw, bytes(file.bytes), verdict]);
    }
    table
}
