//! A network and its cost, layer by layer.

use rigl_base::Result;
use rigl_base::counts::counted;
use rigl_graph::ParameterKind;
use rigl_graph::account::{Cost, ParameterCost};
use rigl_train::{Design, Prepared};
use serde_json::{Value, json};

use crate::args::Shape;
use crate::output::{Align, Printer, Table, bytes, count, percent, si};

/// `--dry-run`: what would be trained.
pub(crate) fn show(prepared: &Prepared, printer: &Printer) -> Result<()> {
    let (design, sets) = (prepared.design(), prepared.sets());
    let config = design.settings().config();
    if printer.json() {
        return printer.json_result(&json!({
            "network": value(design.cost()),
            "method": config.method.name,
            "steps": design.recipe().steps,
            "updates": design.updates().count(),
            "sparsity": design.sparsity(),
            "remarks": prepared.remarks(),
            "train_samples": sets.train.len(),
            "test_samples": sets.test.len(),
            "data": prepared.data(),
            "planned_bytes": prepared.memory()?.bytes(),
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
    let (design, sets) = (prepared.design(), prepared.sets());
    let (config, recipe) = (design.settings().config(), design.recipe());
    let remarks: String = prepared.remarks().iter().map(|remark| format!("note: {remark}\n")).collect();
    Ok(format!(
        "{}\n{}{} on `{}`{}: {} training and {}, {} of {} ({}), {}, {} of memory planned\n{remarks}",
        table(design),
        config.method.name,
        design.sparsity().map_or(String::new(), |sparsity| format!(", {} sparse,", percent(sparsity))),
        config.data.name,
        if prepared.data().published == Some(false) { " (own data, not the published)" } else { "" },
        count(sets.train.len() as u64),
        counted(sets.test.len() as u64, "test sample"),
        counted(recipe.steps, "step"),
        counted(design.settings().batch() as u64, "sample"),
        crate::output::counted_epochs(recipe.epochs(recipe.steps)),
        updates(design),
        bytes(prepared.memory()?.bytes()),
    ))
}

/// How many topology updates fall into the run.
fn updates(design: &Design) -> String {
    match design.updates().count() {
        0 => "no topology updates".into(),
        n => counted(n, "topology update"),
    }
}

/// Layer, shape, weights, active weights, density, FLOPs and bytes, with totals against dense. Norms, of which there
/// are many and which cost next to nothing, have one row.
pub(crate) fn table(design: &Design) -> Table {
    let cost = design.cost();
    let mut table = Table::new(&[
        ("parameter", Align::Left),
        ("shape", Align::Left),
        ("weights", Align::Right),
        ("active", Align::Right),
        ("density", Align::Right),
        ("FLOPs", Align::Right),
        ("size", Align::Right),
    ]);
    let (norms, layers): (Vec<_>, Vec<_>) = cost.parameters.iter().partition(|p| is_norm(p));
    for p in layers {
        table.row(vec![
            p.name.clone(),
            Shape::text(&p.shape, "×"),
            count(p.weights as u64),
            count(p.active as u64),
            percent(1.0 - p.sparsity),
            count(p.flops),
            bytes(p.bytes),
        ]);
    }
    if !norms.is_empty() {
        let values = count(norms.iter().map(|p| p.weights as u64).sum());
        table.row(vec![
            "norms".into(),
            String::new(),
            values.clone(),
            values,
            percent(1.0),
            count(norms.iter().map(|p| p.flops).sum()),
            bytes(norms.iter().map(|p| p.bytes).sum()),
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
        format!("{} B", count(cost.bytes)),
    ]);
    table.row(vec![
        "dense".into(),
        String::new(),
        count(cost.weights as u64),
        count(cost.weights as u64),
        percent(1.0),
        count(cost.dense_flops),
        format!("{} B", count(cost.dense_bytes)),
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

fn is_norm(parameter: &ParameterCost) -> bool {
    matches!(parameter.kind, ParameterKind::NormScale | ParameterKind::NormShift)
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

#[cfg(test)]
mod tests {
    use rigl_train::{Config, DataSpec, Origin, Registry, Settings};

    use super::*;

    #[test]
    fn norms_have_one_row() {
        let mut config = Config::default();
        config.model.name = "wrn-22-2".into();
        let registry = Registry::default();
        let settings = Settings::new(config, &registry).unwrap();
        let data = DataSpec { shape: vec![3, 32, 32], classes: 10, samples: 50_000 };
        let design = Design::new(&settings, &registry, &data, &Origin::Fresh).unwrap();
        let text = table(&design).to_string();
        let rows: Vec<&str> = text.lines().collect();
        // Heading, two rules, 22 convolutions, the classifier with its bias, the norms, three totals.
        assert_eq!(rows.len(), 3 + 24 + 1 + 3, "{text}");
        let norms = rows.iter().find(|row| row.starts_with("norms")).unwrap();
        // Scale and shift of each of 1,360 channels; their size is that of one bias each.
        assert_eq!(
            norms.split_whitespace().collect::<Vec<_>>(),
            ["norms", "2,720", "2,720", "100.00", "%", "0", "5.44", "kB"]
        );
    }
}
