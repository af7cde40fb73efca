//! A network and its cost, layer by layer.

use rigl_base::Result;
use rigl_graph::account::Cost;
use rigl_train::{Design, Prepared};
use serde_json::{Value, json};

use crate::output::{Align, Printer, Table, bytes, count, percent, si};

/// `--dry-run`: what would be trained.
pub(crate) fn show(prepared: &Prepared, printer: &Printer) -> Result<()> {
    let Prepared { config, design, recipe, sets, .. } = prepared;
    let planned = prepared.planned_bytes()?;
    if printer.json() {
        return printer.json_result(&json!({
            "network": value(&design.cost),
            "method": config.method.name,
            "steps": recipe.steps,
            "train_samples": sets.train.len(),
            "test_samples": sets.test.len(),
            "planned_bytes": planned,
            "configuration": config.to_toml(),
        }));
    }
    printer.result(&text(prepared)?)
}

/// The same on the way into training.
pub(crate) fn note(prepared: &Prepared, printer: &Printer) -> Result<()> {
    printer.note(&text(prepared)?);
    Ok(())
}

fn text(prepared: &Prepared) -> Result<String> {
    let Prepared { config, design, recipe, sets, .. } = prepared;
    Ok(format!(
        "{}\n{} on `{}`: {} training and {} test samples, {} steps of {} samples ({} epochs), {} of memory planned\n",
        table(design),
        config.method.name,
        config.data.name,
        count(sets.train.len() as u64),
        count(sets.test.len() as u64),
        count(recipe.steps),
        config.data.batch,
        crate::output::epochs(recipe.epochs(recipe.steps)),
        bytes(prepared.planned_bytes()?),
    ))
}

/// Layer, shape, weights, active weights, density, FLOPs and bytes, with totals against dense.
pub(crate) fn table(design: &Design) -> Table {
    let cost = &design.cost;
    let mut table = Table::new(&[
        ("parameter", Align::Left),
        ("shape", Align::Left),
        ("weights", Align::Right),
        ("active", Align::Right),
        ("density", Align::Right),
        ("FLOPs", Align::Right),
        ("size", Align::Right),
    ]);
    for p in &cost.parameters {
        let shape: Vec<String> = p.shape.iter().map(ToString::to_string).collect();
        table.row(vec![
            p.name.clone(),
            shape.join("×"),
            count(p.weights as u64),
            count(p.active as u64),
            percent(1.0 - p.sparsity),
            count(p.flops),
            bytes(p.bytes),
        ]);
    }
    table.rule();
    table.row(vec![
        "all weights".into(),
        String::new(),
        count(cost.weights as u64),
        count(cost.active as u64),
        percent(1.0 - cost.sparsity),
        count(cost.flops),
        bytes(cost.bytes),
    ]);
    table.row(vec![
        "dense".into(),
        String::new(),
        count(cost.weights as u64),
        count(cost.weights as u64),
        percent(1.0),
        count(cost.dense_flops),
        bytes(cost.dense_bytes),
    ]);
    table.row(vec![
        "of dense".into(),
        String::new(),
        String::new(),
        percent(1.0 - cost.sparsity),
        String::new(),
        percent(cost.flops as f64 / cost.dense_flops as f64),
        percent(cost.bytes as f64 / cost.dense_bytes as f64),
    ]);
    table
}

/// The same as JSON.
pub(crate) fn value(cost: &Cost) -> Value {
    let parameters: Vec<Value> = cost
        .parameters
        .iter()
        .map(|p| {
            json!({
                "name": p.name, "shape": p.shape, "weights": p.weights, "active": p.active,
                "sparsity": p.sparsity, "flops": p.flops, "dense_flops": p.dense_flops,
                "bytes": p.bytes, "dense_bytes": p.dense_bytes,
            })
        })
        .collect();
    json!({
        "parameters": parameters,
        "weights": cost.weights, "active": cost.active, "sparsity": cost.sparsity, "biases": cost.biases,
        "flops": cost.flops, "dense_flops": cost.dense_flops,
        "bytes": cost.bytes, "dense_bytes": cost.dense_bytes,
    })
}

/// FLOPs as people write them.
pub(crate) fn flops(x: f64) -> String {
    format!("{}FLOPs", si(x))
}
