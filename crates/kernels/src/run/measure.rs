//! What this machine can do at best, to hold kernels against: multiply-adds from registers, bytes from memory.

use std::hint::black_box;
use std::time::Instant;

use crate::error::Error;
use crate::run::arena::Arena;
use crate::run::machine::Machine;
use crate::run::shared::Shared;
use crate::simd::{Isa, LANES, Simd, Work};

/// Floating-point operations per second of one core that multiplies and adds in registers alone: the best of
/// several short runs.
pub fn multiply_add_peak(isa: Isa) -> f64 {
    const ROUNDS: usize = 200_000;
    let run = || {
        let start = Instant::now();
        let operations = black_box(isa.run(MultiplyAdds { rounds: black_box(ROUNDS) }));
        operations / start.elapsed().as_secs_f64()
    };
    (0..30).map(|_| run()).fold(0.0, f64::max)
}

struct MultiplyAdds {
    rounds: usize,
}

impl Work for MultiplyAdds {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        if S::WIDE { chains::<S, 16>(s, self.rounds) } else { chains::<S, 5>(s, self.rounds) }
    }
}

/// `N` independent chains: enough to fill the pipelines, few enough for the registers.
#[inline(always)]
fn chains<S: Simd, const N: usize>(s: S, rounds: usize) -> f64 {
    let (a, b) = (s.splat(black_box(0.999_9)), s.splat(black_box(1e-4)));
    let mut sums = [s.splat(1.0); N];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = s.fma(*sum, a, b);
        }
    }
    let total = sums.into_iter().fold(s.splat(0.0), |total, sum| s.add(total, sum));
    black_box(s.sum(total));
    (2 * LANES * N * rounds) as f64
}

/// Bytes per second that all threads of the machine together read from memory: the best of several passes over
/// 256 MiB.
///
/// # Errors
/// If there is no memory for the measurement.
pub fn read_bandwidth(machine: &Machine) -> Result<f64, Error> {
    const LEN: usize = 64 << 20;
    const CHUNK: usize = 1 << 18;
    let mut arena = Arena::new(LEN)?;
    let (_, [all]) = arena.borrow([], [std::ops::Range { start: 0, end: LEN }])?;
    all.fill(1.0);
    let all = &*all;
    let mut sums = vec![0.0f32; LEN / CHUNK];
    let mut best = 0.0f64;
    for _ in 0..6 {
        let out = Shared::new(&mut sums);
        let start = Instant::now();
        machine.pool.run(LEN / CHUNK, &|_, task| {
            let sum = machine.isa.run(Sum { values: &all[task * CHUNK..][..CHUNK] });
            // SAFETY: every task writes its own element.
            unsafe { *out.get().add(task) = sum };
        })?;
        best = best.max((4 * LEN) as f64 / start.elapsed().as_secs_f64());
        black_box(&mut sums);
    }
    Ok(best)
}

struct Sum<'a> {
    values: &'a [f32],
}

impl Work for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); 4];
        for block in self.values.chunks_exact(4 * LANES) {
            for (sum, lanes) in sums.iter_mut().zip(block.chunks_exact(LANES)) {
                // SAFETY: `lanes` is 16 long.
                *sum = s.add(*sum, unsafe { s.load(lanes.as_ptr()) });
            }
        }
        let total = sums.into_iter().fold(s.splat(0.0), |total, sum| s.add(total, sum));
        s.sum(total)
    }
}
