//! `rigl bench`: how fast a training step is on this machine, as a whole and layer by layer, beside what the
//! machine can do at best.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rigl_base::random::{Purpose, Stream};
use rigl_base::{Error, Result, counts};
use rigl_engine::{
    Batch, Growth, LayerTime, MicroBatch, Options, Preprocessing, Session, StepConstants, UpdateRequest,
};
use rigl_graph::{Graph, ModelSpec};
use rigl_metrics::machine;
use rigl_topology::{DropScore, GrowScore, LayerBudget, growth_stream};
use rigl_train::{Design, Registry};
use serde_json::{Value, json};

use super::configuration;
use crate::args::{Bench, BenchWhat};
use crate::output::{Align, Printer, Table, bytes, count, percent, si};

pub(crate) fn run(args: &Bench, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let mut bench = Subject::new(args, registry)?;
    let (value, text, machine) = match args.what {
        BenchWhat::Step => {
            // The machine last: what its measurement takes is no part of the peak memory.
            let (value, text) = step(&mut bench, args)?;
            (value, text, MachineFacts::measure(&bench.session)?)
        }
        BenchWhat::Layers => {
            let machine = MachineFacts::measure(&bench.session)?;
            let (value, text) = layers(&mut bench, args, &machine)?;
            (value, text, machine)
        }
    };
    if printer.json() {
        let value = json!({ "network": bench.describe(), "machine": machine.value(), "result": value });
        printer.json_result(&value)?;
    } else {
        printer.note(&machine.text());
        printer.result(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is measured: a network with a batch of noise.
struct Subject {
    session: Session,
    graph: Graph,
    batch: Batch,
    active: Vec<Option<usize>>,
}

const CONSTANTS: StepConstants =
    StepConstants { learning_rate: 1e-4, momentum: 0.9, nesterov: true, l2: 1e-4 };

impl Subject {
    fn new(args: &Bench, registry: &Registry) -> Result<Subject> {
        let config = configuration(&args.recipe, &args.keys.overrides()?, registry)?;
        let design = match &args.layers {
            Some(sizes) => {
                let sizes = sizes_of(sizes)?;
                let mut spec = ModelSpec::new(&[sizes[0]], sizes[sizes.len() - 1]);
                spec.hidden = Some(sizes[1..sizes.len() - 1].to_vec());
                Design::of_graph(&config, registry, registry.models.build("mlp", &spec)?)?
            }
            None => {
                let (spec, _) = registry.datasets.description(&config.data.name).ok_or_else(|| {
                    Error::usage(format!(
                        "nothing is known of the samples of data set `{}`",
                        config.data.name
                    ))
                    .hint("--layers 784-300-100-10")
                })?;
                Design::new(&config, registry, &spec.shape, spec.classes.len())?
            }
        };
        let graph = design.graph.clone();
        let mut active = design.active.clone();
        if let Some(density) = args.density {
            for (id, p) in graph.weights() {
                let count = counts::active(p.len(), 1.0 - density);
                active[id.index()] = (count < p.len()).then_some(count);
            }
        }
        let design = Design { active: active.clone(), ..design };
        let samples = args.batch.map_or(config.data.batch, usize::from);
        let machine = args.machine.options()?;
        let options = Options {
            batch: samples,
            evaluation_batch: 1,
            threads: machine.threads(),
            isa: machine.isa.clone(),
            compute: config.compute,
            seed: config.seeds.init,
        };
        let session = Session::new(&graph, design.patterns(config.seeds.topology)?, &options)?;
        let batch = noise(&session, &graph, samples)?;
        Ok(Subject { session, graph, batch, active })
    }

    /// One training step.
    fn step(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.session.accumulate(whole(&self.batch), &[])?;
        self.session.step(CONSTANTS)?;
        Ok(start.elapsed())
    }

    /// One RigL update that replaces a step, with drop fraction 0.3.
    fn update(&mut self, step: u64) -> Result<Duration> {
        let drop = |n: usize| counts::trunc_product(n, 0.3);
        let sparse: Vec<(usize, usize)> =
            self.active.iter().enumerate().filter_map(|(p, n)| Some((p, (*n)?))).collect();
        let growth: Vec<Growth> =
            sparse.iter().map(|&(parameter, n)| Growth { parameter, count: drop(n) }).collect();
        let requests: Vec<UpdateRequest> = sparse
            .iter()
            .map(|&(parameter, n)| UpdateRequest {
                parameter,
                budget: LayerBudget::replace(n, drop(n)),
                drop: DropScore::Magnitude,
                grow: GrowScore::Gradient,
                stream: growth_stream(0, &self.graph.parameters()[parameter].name, step),
            })
            .collect();
        let start = Instant::now();
        self.session.accumulate(whole(&self.batch), &growth)?;
        self.session.update(&requests)?;
        Ok(start.elapsed())
    }

    fn describe(&self) -> Value {
        let parameters: Vec<Value> = self
            .session
            .parameters()
            .into_iter()
            .map(|p| json!({ "name": p.name, "shape": p.shape, "active": p.active, "storage": p.storage }))
            .collect();
        json!({ "name": self.graph.name(), "batch": self.batch.samples(), "parameters": parameters })
    }
}

/// A batch as the whole of a step.
fn whole(batch: &Batch) -> MicroBatch<'_> {
    MicroBatch { batch, of_samples: batch.samples(), draw: 0, number: 0, seed: 0, first: true, last: true }
}

/// `784-300-100-10`.
fn sizes_of(text: &str) -> Result<Vec<usize>> {
    let sizes: Option<Vec<usize>> = text.split('-').map(|n| n.parse().ok().filter(|&n| n > 0)).collect();
    sizes.filter(|sizes| sizes.len() >= 3).ok_or_else(|| {
        Error::usage(format!("`--layers {text}`, expected the sizes of at least three layers"))
            .hint("--layers 784-300-100-10")
    })
}

fn noise(session: &Session, graph: &Graph, samples: usize) -> Result<Batch> {
    let features: usize = graph.inputs().map(|id| graph.node(id).shape.iter().product::<usize>()).sum();
    let mut draws = Stream::new(0, Purpose::Test, 0).draws();
    let images: Vec<Vec<u8>> =
        (0..samples).map(|_| (0..features).map(|_| draws.word() as u8).collect()).collect();
    let classes = graph.classes() as u64;
    let labels: Vec<u32> = (0..samples).map(|_| draws.below(classes) as u32).collect();
    let mut batch = Batch::default();
    let packer = session.packer(&Preprocessing::new(&[0.5], &[0.5])?);
    packer.pack(images.iter().map(Vec::as_slice).zip(labels), &mut batch)?;
    Ok(batch)
}

/// What the machine is and can do.
struct MachineFacts {
    processor: Option<String>,
    isa: &'static str,
    threads: usize,
    peak: f64,
    bandwidth: f64,
}

impl MachineFacts {
    fn measure(session: &Session) -> Result<MachineFacts> {
        Ok(MachineFacts {
            processor: machine::processor(),
            isa: session.isa(),
            threads: session.threads(),
            peak: session.multiply_add_peak(),
            bandwidth: session.read_bandwidth()?,
        })
    }

    fn value(&self) -> Value {
        json!({
            "processor": self.processor, "instruction_set": self.isa, "threads": self.threads,
            "multiply_add_peak_flops_per_core": self.peak, "read_bandwidth_bytes_per_s": self.bandwidth,
        })
    }

    fn text(&self) -> String {
        format!(
            "{}, {}, {} threads; multiply-add peak of a core {}FLOP/s, memory read by all threads {}B/s",
            self.processor.as_deref().unwrap_or("unknown processor"),
            self.isa,
            self.threads,
            si(self.peak),
            si(self.bandwidth)
        )
    }
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
        Ok(Spread {
            min: times[0],
            median: times[times.len() / 2],
            max: times[times.len() - 1],
            runs: times.len(),
        })
    }

    fn value(&self) -> Value {
        json!({ "min_s": self.min, "median_s": self.median, "max_s": self.max, "runs": self.runs })
    }

    fn cells(&self) -> Vec<String> {
        [self.median, self.min, self.max].iter().map(|s| format!("{:.4} ms", 1e3 * s)).collect()
    }
}

fn step(bench: &mut Subject, args: &Bench) -> Result<(Value, String)> {
    let steps = Spread::of(args.seconds, |_| bench.step())?;
    let gradients = Spread::of(args.seconds / 2.0, |_| {
        let start = Instant::now();
        bench.session.accumulate(whole(&bench.batch), &[])?;
        Ok(start.elapsed())
    })?;
    let sparse = bench.active.iter().any(Option::is_some);
    let updates = if sparse { Some(Spread::of(args.seconds / 2.0, |n| bench.update(n))?) } else { None };
    let peak_memory = machine::peak_memory_bytes();
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
    let text = format!(
        "{table}{} of {} samples; peak memory {}",
        bench.graph.name(),
        bench.batch.samples(),
        peak_memory.map_or("unknown".into(), bytes)
    );
    Ok((value, text))
}

fn layers(bench: &mut Subject, args: &Bench, machine: &MachineFacts) -> Result<(Value, String)> {
    // The profile of the median step, layer by layer.
    let mut profiles: Vec<Vec<LayerTime>> = Vec::new();
    let steps = Spread::of(args.seconds, |_| {
        let start = Instant::now();
        profiles.push(bench.session.profile(whole(&bench.batch), &[])?);
        bench.session.step(CONSTANTS)?;
        Ok(start.elapsed())
    })?;
    let median = |pass: usize, part: fn(&LayerTime) -> f64| {
        let mut times: Vec<f64> = profiles.iter().map(|p| part(&p[pass])).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let infos = bench.session.parameters();
    let samples = bench.batch.samples() as f64;
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("density", Align::Right),
        ("storage", Align::Left),
        ("forward", Align::Right),
        ("data", Align::Right),
        ("weights", Align::Right),
        ("GFLOP/s forward", Align::Right),
        ("data", Align::Right),
        ("weights", Align::Right),
        ("of the step", Align::Right),
    ]);
    let mut rows = Vec::new();
    let mut rest = steps.median;
    for (pass, first) in profiles[0].iter().enumerate() {
        let [forward, data, weights] =
            [median(pass, |t| t.forward_s), median(pass, |t| t.data_s), median(pass, |t| t.weights_s)];
        let total = forward + data + weights;
        rest -= total;
        let info = first.parameter.map(|p| &infos[p]);
        let flops = info.map_or(0.0, |info| 2.0 * info.active as f64 * samples);
        let rate = |seconds: f64| if seconds > 0.0 && flops > 0.0 { flops / seconds / 1e9 } else { f64::NAN };
        let ms = |s: f64| if s > 0.0 { format!("{:.4} ms", 1e3 * s) } else { String::new() };
        let g = |x: f64| if x.is_finite() { format!("{x:.1}") } else { String::new() };
        let density = info.map(|info| info.active as f64 / info.weights as f64);
        let name = info.map_or("loss and activations", |info| &info.name);
        table.row(vec![
            name.into(),
            density.map_or(String::new(), percent),
            info.map_or(String::new(), |info| info.storage.into()),
            ms(forward),
            ms(data),
            ms(weights),
            g(rate(forward)),
            g(rate(data)),
            g(rate(weights)),
            percent(total / steps.median),
        ]);
        rows.push(json!({
            "layer": name, "density": density, "storage": info.map(|info| info.storage),
            "forward_s": forward, "data_s": data, "weights_s": weights,
            "forward_flops_per_s": rate(forward), "data_flops_per_s": rate(data),
            "weights_flops_per_s": rate(weights), "share": total / steps.median,
        }));
    }
    let name = "optimiser and the rest";
    let mut cells = vec![name.to_string()];
    cells.resize(9, String::new());
    cells.push(percent(rest / steps.median));
    table.row(cells);
    rows.push(json!({ "layer": name, "seconds": rest, "share": rest / steps.median }));
    let text = format!(
        "{table}a step takes {:.4} ms (median of {}); GFLOP/s count real samples and nonzeros; {} threads reach at most {:.0}",
        1e3 * steps.median,
        count(steps.runs as u64),
        machine.threads,
        machine.peak * machine.threads as f64 / 1e9
    );
    Ok((json!({ "step": steps.value(), "layers": rows }), text))
}
