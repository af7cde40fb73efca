//! `rigl bench`: how fast a training step is on this machine, as a whole and layer by layer, beside what the
//! machine can do at best.

mod args;
mod layers;
mod machine;
mod subject;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rigl_base::Result;
use rigl_metrics::machine::peak_memory_bytes;
use rigl_train::Registry;
use serde_json::{Value, json};

use crate::output::{Align, Printer, Table, bytes, count};
pub(crate) use args::Bench;
use args::BenchWhat;
use machine::MachineFacts;
use subject::Subject;

pub(crate) fn run(args: &Bench, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let mut bench = Subject::new(args, registry)?;
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

/// Minimum, median and maximum of seconds.
struct Spread {
    min: f64,
    median: f64,
    max: f64,
    runs: usize,
}

impl Spread {
    /// Of calls of `run` for so many seconds, after a warm-up of a fifth of that; at least five.
    fn of(seconds: f64, mut run: impl FnMut(u64) -> Result<Duration>) -> Result<Spread> {
        let mut n = 0;
        let mut until = |limit: f64, least: usize| -> Result<Vec<f64>> {
            let start = Instant::now();
            let mut times = Vec::new();
            while times.len() < least || start.elapsed().as_secs_f64() < limit {
                times.push(run(n)?.as_secs_f64());
                n += 1;
            }
            Ok(times)
        };
        until(seconds / 5.0, 2)?;
        let mut times = until(seconds, 5)?;
        times.sort_by(f64::total_cmp);
        let (min, max, runs) = (times[0], times[times.len() - 1], times.len());
        Ok(Spread { min, median: median(times), max, runs })
    }

    fn value(&self) -> Value {
        json!({ "min_s": self.min, "median_s": self.median, "max_s": self.max, "runs": self.runs })
    }

    fn cells(&self) -> Vec<String> {
        [self.median, self.min, self.max].iter().map(|s| format!("{:.4} ms", 1e3 * s)).collect()
    }
}

/// The number in the middle; NaN of none.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
