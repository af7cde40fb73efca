//! `rigl bench`: how fast a training step is on this machine, as a whole and layer by layer, beside what the
//! machine can do at best.

mod args;
mod layers;
mod machine;
mod spread;
mod subject;

use std::process::ExitCode;
use std::time::Instant;

use rigl_base::Result;
use rigl_metrics::machine::peak_memory_bytes;
use rigl_train::Registry;
use serde_json::{Value, json};

use crate::output::{Align, Printer, Table, bytes, count};
pub(crate) use args::Bench;
use args::BenchWhat;
use machine::MachineFacts;
use spread::Spread;
use subject::Subject;

pub(crate) fn run(args: &Bench, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let mut bench = Subject::new(args, registry)?;
    bench.warning.iter().for_each(|text| printer.warning(text));
    let (value, text, machine) = match args.what {
        BenchWhat::Step => {
            // The machine last: what its measurement takes is no part of the peak memory.
            let (value, text) = step(&mut bench, args)?;
            (value, text, MachineFacts::measure(&bench.stepper.session)?)
        }
        BenchWhat::Layers => {
            let machine = MachineFacts::measure(&bench.stepper.session)?;
            let (value, text) = layers::measure(&mut bench, args, &machine)?;
            (value, text, machine)
        }
    };
    if printer.json() {
        let value = json!({ "network": bench.describe(), "machine": machine.value(), "result": value });
        printer.json_result(&value)?;
    } else {
        printer.note(&machine.text());
        bench.left_out.iter().for_each(|note| printer.note(note));
        printer.result(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn step(bench: &mut Subject, args: &Bench) -> Result<(Value, String)> {
    let steps = Spread::of(args.seconds, |_| bench.step())?;
    let gradients = Spread::of(args.seconds / 2.0, |_| {
        let start = Instant::now();
        bench.gradients()?;
        Ok(start.elapsed())
    })?;
    let updates =
        if bench.updates() { Some(Spread::of(args.seconds / 2.0, |_| bench.update())?) } else { None };
    let peak_memory = peak_memory_bytes();
    let mut table = Table::new(&[
        ("", Align::Left),
        ("median", Align::Right),
        ("min", Align::Right),
        ("max", Align::Right),
        ("runs", Align::Right),
    ]);
    let mut row = |name: &str, spread: &Spread| {
        let mut cells = vec![name.to_string()];
        cells.extend(spread.cells());
        cells.push(count(spread.runs as u64));
        table.row(cells);
    };
    row("step", &steps);
    row("of it forward and backward", &gradients);
    if let Some(updates) = &updates {
        row("topology update", updates);
    }
    let value = json!({
        "step": steps.value(),
        "gradients": gradients.value(),
        "update": updates.as_ref().map(Spread::value),
        "peak_memory_bytes": peak_memory,
    });
    let text =
        format!("{table}{}; peak memory {}", bench.text(), peak_memory.map_or("unknown".into(), bytes));
    Ok((value, text))
}
