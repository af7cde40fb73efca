//! `rigl bench layers`: where the time of a step goes, and how near each layer comes to the machine's peak.

use std::time::Instant;

use rigl_base::Result;
use rigl_base::counts::counted;
use rigl_engine::LayerTime;
use rigl_graph::{Graph, ParameterKind};
use serde_json::{Value, json};

use super::args::Bench;
use super::machine::MachineFacts;
use super::spread::{Spread, median};
use super::subject::Subject;
use crate::output::{Align, Table, count, percent};

/// The table and the same as JSON.
pub(super) fn measure(bench: &mut Subject, args: &Bench, machine: &MachineFacts) -> Result<(Value, String)> {
    let ordinary = Spread::of(args.seconds / 2.0, |_| bench.step())?;
    let mut runs: Vec<TimedStep> = Vec::new();
    let timed = Spread::of(args.seconds, |_| {
        let start = Instant::now();
        let passes = bench.profile()?;
        let gradients = start.elapsed();
        bench.optimise()?;
        let whole = start.elapsed();
        runs.push(TimedStep {
            passes,
            optimiser: (whole - gradients).as_secs_f64(),
            whole: whole.as_secs_f64(),
        });
        Ok(whole)
    })?;
    let layers = layers(bench, &runs);
    let of_runs = |part: fn(&TimedStep) -> f64| median(runs.iter().map(part).collect());
    let others = [
        ("pooling, additions, loss", of_runs(TimedStep::without_weights)),
        ("optimiser", of_runs(|run| run.optimiser)),
        ("everything else", of_runs(TimedStep::rest)),
    ];
    // Of the sum of these medians, so that the shares add up.
    let seconds = layers.iter().map(Layer::seconds).sum::<f64>() + others.iter().map(|(_, s)| s).sum::<f64>();
    let operations = layers.iter().map(Layer::operations).sum();
    let peak = machine.peak * machine.threads as f64;
    let shares = Shares { step: seconds, peak };
    let mut table = Table::new(&COLUMNS.map(|name| match name {
        "layer" | "storage" => (name, Align::Left),
        _ => (name, Align::Right),
    }));
    let mut rows = Vec::new();
    for layer in layers {
        table.row(layer.cells(&shares));
        rows.push(layer.value(&shares));
    }
    table.rule();
    for (name, seconds) in others {
        table.row(shares.row(name, seconds, f64::NAN));
        rows.push(json!({ "layer": name, "seconds": seconds, "share": seconds / shares.step }));
    }
    table.rule();
    table.row(shares.row("step", seconds, operations));
    let mut text = format!(
        "{table}forward, data (gradient of the inputs), weights (their gradient): GFLOP/s, 2 for each active weight,\n\
         output position and sample; {} can reach {:.0} at most\n\
         a step takes {:.4} ms, {:.4} ms when each layer is timed (medians of {} and {})",
        counted(machine.threads as u64, "thread"),
        peak / 1e9,
        1e3 * ordinary.median,
        1e3 * timed.median,
        count(ordinary.runs as u64),
        count(timed.runs as u64),
    );
    if has_convolutions(&bench.graph) {
        text.push_str(
            "\nhere a convolution computes its two gradients one after the other, so that each has its time;\n\
             in training one pass computes both",
        );
    }
    let value = json!({
        "step": ordinary.value(),
        "timed_step": timed.value(),
        "flops": operations,
        "of_peak": shares.of_peak(operations, seconds),
        "layers": rows,
    });
    Ok((value, text))
}

/// A step with the seconds of its parts.
struct TimedStep {
    passes: Vec<LayerTime>,
    optimiser: f64,
    whole: f64,
}

impl TimedStep {
    fn without_weights(&self) -> f64 {
        self.passes.iter().filter(|pass| pass.parameter.is_none()).map(seconds).sum()
    }

    fn rest(&self) -> f64 {
        self.whole - self.optimiser - self.passes.iter().map(seconds).sum::<f64>()
    }
}

fn seconds(pass: &LayerTime) -> f64 {
    pass.forward_s + pass.data_s + pass.weights_s
}

const COLUMNS: [&str; 9] =
    ["layer", "density", "storage", "time", "forward", "data", "weights", "of peak", "of the step"];

/// What a layer took in the median step.
struct Layer {
    name: String,
    density: f64,
    storage: &'static str,
    /// Operations of one of its passes on a batch.
    flops: f64,
    /// Seconds forward, for the gradient of its inputs (0 where nobody needs it), for that of its weights.
    passes: [f64; 3],
}

/// All layers with weights, in the order of the forward passes.
fn layers(bench: &Subject, runs: &[TimedStep]) -> Vec<Layer> {
    let infos = bench.stepper.session.parameters();
    let samples = bench.batch.samples() as f64;
    let of_pass = |(pass, first): (usize, &LayerTime)| {
        let parameter = first.parameter?;
        let (info, weight) = (&infos[parameter], &bench.graph.parameters()[parameter]);
        let part =
            |part: fn(&LayerTime) -> f64| median(runs.iter().map(|run| part(&run.passes[pass])).collect());
        Some(Layer {
            name: weight.layer().to_string(),
            density: info.active() as f64 / info.len() as f64,
            storage: info.storage(),
            flops: 2.0 * info.active() as f64 * weight.positions as f64 * samples,
            passes: [part(|t| t.forward_s), part(|t| t.data_s), part(|t| t.weights_s)],
        })
    };
    runs.first().into_iter().flat_map(|run| &run.passes).enumerate().filter_map(of_pass).collect()
}

fn has_convolutions(graph: &Graph) -> bool {
    graph.weights().any(|(_, p)| p.kind == ParameterKind::ConvWeight)
}

impl Layer {
    fn seconds(&self) -> f64 {
        self.passes.iter().sum()
    }

    /// Operations of the passes that there are: a first layer has no gradient of its inputs.
    fn operations(&self) -> f64 {
        self.flops * self.passes.iter().filter(|&&seconds| seconds > 0.0).count() as f64
    }

    /// Operations per second of each pass; none where there is no such pass.
    fn rates(&self) -> [Option<f64>; 3] {
        self.passes.map(|seconds| (seconds > 0.0).then(|| self.flops / seconds))
    }

    fn cells(&self, shares: &Shares) -> Vec<String> {
        let mut cells = shares.row(&self.name, self.seconds(), self.operations());
        cells[1] = percent(self.density);
        cells[2] = self.storage.into();
        for (cell, rate) in cells[4..].iter_mut().zip(self.rates()) {
            *cell = rate.map_or(String::new(), |rate| format!("{:.1}", rate / 1e9));
        }
        cells
    }

    fn value(&self, shares: &Shares) -> Value {
        let [forward, data, weights] = self.passes;
        let [forward_rate, data_rate, weights_rate] = self.rates();
        json!({
            "layer": self.name, "density": self.density, "storage": self.storage, "flops_per_pass": self.flops,
            "forward_s": forward, "data_s": (data > 0.0).then_some(data), "weights_s": weights,
            "forward_flops_per_s": forward_rate, "data_flops_per_s": data_rate,
            "weights_flops_per_s": weights_rate, "of_peak": shares.of_peak(self.operations(), self.seconds()),
            "seconds": self.seconds(), "share": self.seconds() / shares.step,
        })
    }
}

/// What shares are taken of.
struct Shares {
    /// Seconds of a step.
    step: f64,
    /// Operations per second of all threads.
    peak: f64,
}

impl Shares {
    fn of_peak(&self, operations: f64, seconds: f64) -> f64 {
        operations / seconds / self.peak
    }

    /// A row without what only layers have; operations that are no number are left out.
    fn row(&self, name: &str, seconds: f64, operations: f64) -> Vec<String> {
        let mut cells = vec![String::new(); COLUMNS.len()];
        cells[0] = name.into();
        cells[3] = format!("{:.4} ms", 1e3 * seconds);
        let of_peak = self.of_peak(operations, seconds);
        cells[7] = if of_peak.is_finite() { percent(of_peak) } else { String::new() };
        cells[8] = percent(seconds / self.step);
        cells
    }
}
