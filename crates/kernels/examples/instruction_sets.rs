//! What one convolution takes in each instruction set of this machine, on one thread: the table in
//! `docs/performance.md`. Each time is the least of many alternating runs, so that other work on the machine shows little.
//!
//!     cargo run --release -p rigl-kernels --example instruction_sets
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::time::{Duration, Instant};

use rigl_kernels::conv::{Backward, ConvShape, ConvStream, ConvTaps, Forward, WeightGradient, Weights};
use rigl_kernels::map::{DataGradient, GradientView, View};
use rigl_kernels::{Error, Isa, Machine, Workspace, measure};

/// The second convolution of a block of WRN-22-2, half as many channels, on one block of samples.
const SHAPE: ConvShape =
    ConvShape { inputs: 32, rows: 16, columns: 16, outputs: 32, kernel: 3, stride: 1, padding: 1, groups: 1 };
const SAMPLES: usize = 16;
const ROUNDS: usize = 40;

/// Numbers in [−1, 1).
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| number()).collect()
}

/// Least times of the forward and the backward pass.
fn passes(machine: &Machine, weights: Weights, least: &mut [Duration; 2]) -> Result<(), Error> {
    let (input, output) = (SHAPE.input().len(1)?, SHAPE.output().len(1)?);
    let (x, dy) = (numbers(input), numbers(output));
    let (mut y, mut dx) = (vec![0.0; output], vec![0.0; input]);
    let n = SHAPE.weight_len();
    let size = Forward::workspace(&SHAPE, n, SAMPLES).max(Backward::workspace(&SHAPE, n, n, SAMPLES));
    let mut workspace = Workspace::new(1, size)?;
    let mut dw = vec![0.0; n];
    let begun = Instant::now();
    Forward {
        weights,
        bias: None,
        x: View::plain(&x),
        residual: None,
        y: &mut y,
        statistics: None,
        samples: SAMPLES,
    }
    .run(machine, &mut workspace)?;
    least[0] = least[0].min(begun.elapsed());
    let weight = match weights {
        Weights::Sparse(stream, values) => WeightGradient::Sparse(stream, &mut dw[..values.len()]),
        Weights::Dense(taps, _) => WeightGradient::Dense(taps, &mut dw),
    };
    let begun = Instant::now();
    Backward {
        weights,
        x: View::plain(&x),
        gradient: GradientView { direct: Some(&dy), norm: None },
        keep: None,
        weight,
        bias: None,
        accumulate: false,
        data: Some(DataGradient { out: &mut dx, accumulate: false, sums: None }),
        samples: SAMPLES,
    }
    .run(machine, &mut workspace)?;
    least[1] = least[1].min(begun.elapsed());
    Ok(())
}

fn main() -> Result<(), Error> {
    let machines: Vec<Machine> = Isa::available().into_iter().map(|isa| Machine::new(isa, 1)).collect();
    let (taps, all) = (ConvTaps::new(SHAPE)?, numbers(SHAPE.weight_len()));
    let active: Vec<u32> = (0..SHAPE.weight_len() as u32).step_by(10).collect();
    let stream = ConvStream::new(SHAPE, &active)?;
    let weights = [Weights::Sparse(&stream, &all[..active.len()]), Weights::Dense(&taps, &all)];
    let mut least = vec![[[Duration::MAX; 2]; 2]; machines.len()];
    for _ in 0..ROUNDS {
        for (machine, least) in machines.iter().zip(&mut least) {
            for (&weights, least) in weights.iter().zip(least) {
                passes(machine, weights, least)?;
            }
        }
    }
    println!("| set | GFLOP/s | forward, density .1 | backward | forward, dense | backward |");
    println!("|---|---|---|---|---|---|");
    for (machine, least) in machines.iter().zip(&least) {
        let peak = measure::multiply_add_peak(machine.isa) / 1e9;
        let times: Vec<String> =
            least.iter().flatten().map(|time| format!("{:.3}", time.as_secs_f64() * 1e3)).collect();
        println!("| {} | {peak:.1} | {} |", machine.isa.name(), times.join(" | "));
    }
    Ok(())
}
