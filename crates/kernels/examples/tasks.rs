//! How the passes of some layers are cut, and how much faster 96 threads could be than one: the table in
//! `docs/performance.md`.
//!
//!     cargo run --release -p rigl-kernels --example tasks
#![allow(clippy::print_stdout, reason = "an example prints")]

#[path = "../tests/support/layers.rs"]
mod layers;
#[path = "../tests/support/passes.rs"]
mod passes;

use layers::{LINEAR, RESNET_50, WRN_22_2};
use rigl_kernels::simulate::{TaskWork, makespan};

const THREADS: usize = 96;

/// Cost on one thread, and the time until the last of [`THREADS`] is done.
#[derive(Clone, Copy, Default)]
struct Times {
    one: f64,
    many: f64,
}

impl Times {
    fn add(&mut self, other: Times) {
        *self = Times { one: self.one + other.one, many: self.many + other.many };
    }
}

fn row(layer: &str, density: f64, pass: &str, tasks: &passes::Tasks) -> Times {
    let cost = |tasks: &[TaskWork]| tasks.iter().map(|task| task.cost()).sum::<f64>();
    let (one, many) = (tasks(1), tasks(THREADS));
    let longest = many.iter().map(|task| task.cost()).fold(0.0, f64::max);
    let span = makespan(many.iter().map(|task| task.cost()), THREADS);
    let flops: usize = one.iter().map(|task| task.flops).sum();
    println!(
        "| {layer} | {density} | {pass} | {:.0} | {} | {} | {:.1} | {:.1} | {:.0} |",
        flops as f64 / 1e6,
        tasks(2).len(),
        many.len(),
        cost(&many) / many.len() as f64 / 1e6,
        longest / 1e6,
        cost(&one) / span,
    );
    Times { one: cost(&one), many: span }
}

fn main() {
    let head = |title: &str| {
        println!("\n{title}\n");
        println!(
            "| layer | density | pass | MFLOP | tasks, 2 threads | tasks, {THREADS} | mean | longest | bound |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
    };
    for (title, shapes, batch) in [
        ("WRN-22-2, batch 128", WRN_22_2.as_slice(), 128),
        ("ResNet-50, batch 32", &RESNET_50, 32),
        ("ResNet-50, batch 256", &RESNET_50, 256),
    ] {
        head(title);
        let mut all = [Times::default(); 2];
        for &(name, shape) in shapes {
            for (density, all) in [0.1, 1.0].into_iter().zip(&mut all) {
                for (pass, tasks) in passes::conv(shape, density, batch) {
                    all.add(row(name, density, pass, &tasks));
                }
            }
        }
        let [sparse, dense] = all.map(|times| times.one / times.many);
        println!("\nAll of them once, one after the other: {sparse:.0} at density .1, {dense:.0} dense.");
    }
    head("Linear layers");
    for (name, inputs, outputs, batch) in LINEAR {
        for density in [0.1, 1.0] {
            for (pass, tasks) in passes::linear(inputs, outputs, density, batch) {
                row(name, density, pass, &tasks);
            }
        }
    }
}
