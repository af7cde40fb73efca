//! `rigl inspect` of a single file; its name tells what it should be.

use std::path::Path;

use rigl_base::counts::counted;
use rigl_base::{Error, Result, files, shell, shown};
use rigl_formats::arrays::{self, ArrayInfo, Contents};
use rigl_formats::{Checkpoint, checkpoint};
use rigl_metrics::Summary;
use rigl_train::config::keys;
use rigl_train::{Config, Registry};
use serde_json::{Map, Value, json};

use super::args::Inspect;
use super::log::Digest;
use super::network::{Network, is_patterns};
use crate::commands::{read_text, results};
use crate::output::{Align, Printer, Table, bytes, count, duration};

/// What there is to inspect.
const ALLOWED: &str = "allowed are the folder of a run, a file of checkpoints, patterns or exported tensors \
    (`.safetensors`), a configuration (`.toml`), a `summary.json`, a `metrics.jsonl`";

pub(super) fn inspect(args: &Inspect, registry: &Registry, printer: &Printer) -> Result<()> {
    let path = &*args.path;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    for (flag, given) in [("--pixels", args.pixels), ("--all", args.all)] {
        if given && ending != "safetensors" {
            return Err(Error::usage(format!(
                "`{flag}` needs a run or a file of checkpoints or patterns, `{}` is none",
                shown::path(path)
            )));
        }
    }
    match &*ending {
        "safetensors" => tensors(args, printer),
        "toml" => configuration(path, registry, printer),
        "json" => summary(path, printer),
        "jsonl" => log(path, printer),
        _ => {
            let error = Error::usage(format!("cannot tell what `{}` is, {ALLOWED}", shown::path(path)));
            Err(match name.starts_with("events.out.tfevents.") {
                true => error.hint(format!("tensorboard --logdir {}", shell::path(files::folder_of(path)))),
                false => error,
            })
        }
    }
}

/// Prints `value` under its kind and file.
fn print_json(printer: &Printer, kind: &str, path: &Path, value: Value) -> Result<()> {
    let mut fields = Map::from_iter([
        ("kind".to_string(), kind.into()),
        ("path".to_string(), path.display().to_string().into()),
    ]);
    if let Value::Object(others) = value {
        fields.extend(others);
    }
    printer.json_result(&fields.into())
}

fn tensors(args: &Inspect, printer: &Printer) -> Result<()> {
    let path = &*args.path;
    // What is damaged too far to say what it is has to be a checkpoint.
    if let Some(contents) = arrays::read(path).ok().filter(|contents| !contents.is_checkpoint()) {
        return other(args, &contents, printer);
    }
    let checkpoint = checkpoint::read(path)?;
    let network =
        Network::of(&checkpoint, args.pixels).map_err(|e| e.context(format!("`{}`", shown::path(path))))?;
    let kind = if is_patterns(&checkpoint) { "patterns" } else { "checkpoint" };
    let Checkpoint { metadata: m, state } = &checkpoint;
    if printer.json() {
        let mut value = json!({
            "format_version": m.format_version, "arithmetic_version": m.arithmetic_version,
            "step": m.step, "draw": m.draw, "updated": m.updated, "elapsed_s": m.elapsed_s,
            "log_length": m.log_length, "configuration": m.configuration, "graph": m.graph,
            "classes": m.classes, "preprocessing": m.preprocessing, "extra": m.extra,
            "tensors": state.iter().map(super::tensors::json).collect::<Vec<_>>(),
        });
        if let Value::Object(fields) = &mut value {
            network.json(fields);
        }
        return print_json(printer, kind, path, value);
    }
    let mut table = Table::new(&[(kind, Align::Left), (&path.display().to_string(), Align::Left)]);
    let mut row = |name: &str, value: String| table.row(vec![name.into(), value]);
    let updated = if m.updated { ", the update due at this step is done" } else { "" };
    row("step", format!("{} ({}{updated})", count(m.step), counted(m.draw, "batch")));
    if kind == "checkpoint" {
        row("time", duration(m.elapsed_s));
        row("log", format!("its first {} belong to this state", counted(m.log_length, "byte")));
    }
    row("versions", format!("format {}, arithmetic {}", m.format_version, m.arithmetic_version));
    row("classes", m.classes.join(", "));
    row("preprocessing", m.preprocessing.clone());
    for (name, value) in &m.extra {
        row(name, value.clone());
    }
    printer.result(&format!("{table}\n{}", network.text(state, args.all)))
}

/// A file that this program exported, or another one made.
fn other(args: &Inspect, contents: &Contents, printer: &Printer) -> Result<()> {
    let path = &*args.path;
    for (flag, given) in [("--pixels", args.pixels), ("--all", args.all)] {
        if given {
            return Err(Error::usage(format!(
                "`{flag}` needs a checkpoint, `{}` is none",
                shown::path(path)
            )));
        }
    }
    let kind = if contents.metadata.contains_key("graph") { "export" } else { "tensors" };
    if printer.json() {
        let array = |array: &ArrayInfo| {
            json!({
                "key": array.name, "type": array.dtype, "shape": array.shape, "numbers": array.numbers(),
                "bytes": array.bytes,
            })
        };
        let all: Vec<Value> = contents.arrays.iter().map(array).collect();
        return print_json(printer, kind, path, json!({ "metadata": contents.metadata, "tensors": all }));
    }
    let mut table = Table::new(&[(kind, Align::Left), (&path.display().to_string(), Align::Left)]);
    for (key, value) in &contents.metadata {
        // Of a graph or a configuration of many lines, how many.
        let lines = value.lines().count() as u64;
        table.row(vec![key.clone(), if lines > 1 { counted(lines, "line") } else { value.clone() }]);
    }
    let mut list = Table::new(&[
        ("tensor", Align::Left),
        ("type", Align::Left),
        ("shape", Align::Left),
        ("numbers", Align::Right),
        ("size", Align::Right),
    ]);
    for array in &contents.arrays {
        let shape: Vec<String> = array.shape.iter().map(ToString::to_string).collect();
        list.row(vec![
            array.name.clone(),
            array.dtype.clone(),
            shape.join("×"),
            count(array.numbers()),
            bytes(array.bytes),
        ]);
    }
    list.rule();
    let total = contents.arrays.iter().fold(0, |sum: u64, array| sum.saturating_add(array.bytes));
    let all = counted(contents.arrays.len() as u64, "tensor");
    list.row(vec![all, String::new(), String::new(), String::new(), bytes(total)]);
    printer.result(&format!("{table}\n{list}"))
}

/// What a configuration comes to: the keys that differ from their defaults, all of them as JSON.
fn configuration(path: &Path, registry: &Registry, printer: &Printer) -> Result<()> {
    let config = Config::from_text(&path.display().to_string(), &read_text(path)?, &registry.known())?;
    let fixed = keys().iter().filter_map(|key| {
        Some((key.path.clone(), config.get(&key.path)?, key.default.clone().unwrap_or_default()))
    });
    let options = config.options().into_iter();
    let options = options.map(|option| (option.path, option.value, option.default.unwrap_or_default()));
    let values = fixed.chain(options);
    if printer.json() {
        let values: Map<String, Value> = values.map(|(key, value, _)| (key, from_toml(&value))).collect();
        return print_json(printer, "configuration", path, json!({ "keys": values }));
    }
    let path = path.display().to_string();
    let mut table =
        Table::new(&[("configuration", Align::Left), (&path, Align::Left), ("default", Align::Left)]);
    for (key, value, default) in values.filter(|(_, value, default)| value != default) {
        table.row(vec![key, value, default]);
    }
    printer.result(&table.to_string())?;
    printer.note("all other keys have their defaults");
    Ok(())
}

/// A value of a configuration as JSON.
fn from_toml(text: &str) -> Value {
    fn json(value: &toml_edit::Value) -> Value {
        match value {
            toml_edit::Value::String(text) => text.value().as_str().into(),
            toml_edit::Value::Integer(n) => (*n.value()).into(),
            toml_edit::Value::Float(x) => (*x.value()).into(),
            toml_edit::Value::Boolean(b) => (*b.value()).into(),
            toml_edit::Value::Array(list) => list.iter().map(json).collect(),
            toml_edit::Value::InlineTable(table) => {
                Value::Object(table.iter().map(|(key, value)| (key.to_string(), json(value))).collect())
            }
            toml_edit::Value::Datetime(time) => time.value().to_string().into(),
        }
    }
    text.parse().map_or_else(|_| text.into(), |value| json(&value))
}

fn summary(path: &Path, printer: &Printer) -> Result<()> {
    let summary = Summary::read(path)?;
    if printer.json() {
        let value = serde_json::to_value(&summary);
        let value = value.map_err(|e| Error::internal("cannot print a summary").caused_by(e))?;
        return print_json(printer, "summary", path, value);
    }
    results::single(&summary, files::folder_of(path), printer)
}

fn log(path: &Path, printer: &Printer) -> Result<()> {
    let digest = Digest::read(path)?;
    if let Some(problem) = &digest.problem {
        printer.warning(problem);
    }
    if printer.json() {
        return print_json(printer, "log", path, digest.json());
    }
    let mut table = Table::new(&[("log", Align::Left), (&path.display().to_string(), Align::Left)]);
    let status = digest.status().map_or("unfinished", |status| status.name());
    table.row(vec!["status".into(), status.into()]);
    digest.rows(&mut table);
    printer.result(&format!("{table}\n{}", digest.events()))
}
