//! What kernels run on: an instruction set and a pool of threads.

use crate::error::Error;
use crate::run::threads::{Pool, run_alone};
use crate::simd::Isa;

/// Work below this many floating-point operations is not worth handing to other threads.
const SERIAL_FLOPS: usize = 2_000_000;

/// An instruction set and threads to run it on.
#[derive(Debug)]
pub struct Machine {
    /// The instruction set.
    pub isa: Isa,
    /// The threads.
    pub pool: Pool,
}

impl Machine {
    /// A machine of `threads` threads.
    pub fn new(isa: Isa, threads: usize) -> Machine {
        Machine { isa, pool: Pool::new(threads) }
    }

    /// Runs `work(worker, task)` for every task: on all threads if the work in all (`flops`) is worth it, else on
    /// the caller's. The tasks and their results are the same either way.
    pub(crate) fn run(
        &self,
        tasks: usize,
        flops: usize,
        work: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(), Error> {
        if flops < SERIAL_FLOPS {
            return run_alone(tasks, work);
        }
        self.pool.run(tasks, work)
    }
}
