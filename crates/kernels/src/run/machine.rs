//! What kernels run on: an instruction set and a pool of threads.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::run::shared::Shared;
use crate::run::threads::{Pool, run_alone};
use crate::simd::Isa;

/// Work below this many floating-point operations is not worth handing to other threads: at some 50 GFLOP/s it takes
/// 40 µs, and waking a thread that sleeps may take 10 or more.
const SERIAL_FLOPS: usize = 2_000_000;

/// An instruction set and threads to run it on.
#[derive(Debug)]
pub struct Machine {
    /// The instruction set.
    pub isa: Isa,
    /// The threads.
    pub pool: Pool,
    /// Whether a number was met that is not finite.
    met: AtomicBool,
}

impl Machine {
    /// A machine of `threads` threads.
    pub fn new(isa: Isa, threads: usize) -> Machine {
        Machine { isa, pool: Pool::new(threads), met: AtomicBool::new(false) }
    }

    /// Whether a kernel has met a number that is not finite since this was last asked. Looked at are what layers with
    /// weights read and the vectors that anything leaves: of a convolution its input and the gradient of its output as it
    /// reads them, of all others the result; of a step of the optimiser the weights. Where all of these are finite,
    /// a weight that is not active changes nothing by being there (0 · ∞ is not a number).
    pub fn met_non_finite(&self) -> bool {
        self.met.swap(false, Ordering::Relaxed)
    }

    /// Notes whether numbers were finite.
    #[inline]
    pub fn note(&self, finite: bool) {
        if !finite {
            self.met.store(true, Ordering::Relaxed);
        }
    }

    /// Threads that work of so many floating-point operations is done on.
    pub(crate) fn threads(&self, flops: usize) -> usize {
        if flops < SERIAL_FLOPS { 1 } else { self.pool.threads() }
    }

    /// Runs `work(worker, task)` for every task: on all threads if the work in all (`flops`) is worth it, else on
    /// the caller's. The tasks and their results are the same either way.
    pub(crate) fn run(
        &self,
        tasks: usize,
        flops: usize,
        work: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(), Error> {
        if self.threads(flops) == 1 {
            return run_alone(tasks, work);
        }
        self.pool.run(tasks, work)
    }

    /// Runs `work(first, chunk)` for every chunk of `size` numbers of a slice, of which `first` is the position of the
    /// first.
    pub(crate) fn chunks<T: Send>(
        &self,
        slice: &mut [T],
        size: usize,
        flops: usize,
        work: &(dyn Fn(usize, &mut [T]) + Sync),
    ) -> Result<(), Error> {
        let (len, slice) = (slice.len(), Shared::new(slice));
        self.run(len.div_ceil(size), flops, &|_, task| {
            let first = task * size;
            // SAFETY: chunks lie inside the slice, and no two tasks have the same.
            let chunk =
                unsafe { std::slice::from_raw_parts_mut(slice.get().add(first), size.min(len - first)) };
            work(first, chunk);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_a_slice_once() {
        let machine = Machine::new(Isa::detect(), 3);
        for len in [0, 1, 9, 10, 11, 100] {
            for flops in [0, SERIAL_FLOPS] {
                let mut numbers = vec![0; len];
                machine
                    .chunks(&mut numbers, 10, flops, &|first, chunk| {
                        chunk.iter_mut().enumerate().for_each(|(i, n)| *n += first + i + 1);
                    })
                    .unwrap();
                assert!(numbers.iter().enumerate().all(|(i, &n)| n == i + 1));
            }
        }
    }
}
