//! Threads that wait close by. A training step of a small network takes a tenth of a millisecond and has
//! a dozen parallel pieces; a general pool would spend that on waking up. Here workers spin for a moment, then
//! yield, then park, and a job that few tasks make up is done by whoever is awake.
//!
//! Jobs are numbered tasks with disjoint results. Which thread does which task never matters to a result.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::JoinHandle;

use crate::error::Error;
use crate::run::fault;

/// Threads of a pool, at most: more than this is a mistake, and would take the machine with it.
pub(crate) const MOST: usize = 1024;

/// Rounds of spinning before a worker yields, and of yielding before it parks.
const SPINS: u32 = 4_000;
const YIELDS: u32 = 20;

/// The gate that workers pass to take part in a job: generation in the high half, then an open bit, then the
/// number of workers inside. The caller writes the job before it opens the gate, and returns only when the
/// gate is closed and nobody is inside.
const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;

/// A job: (worker, task) → done. The lifetime is a lie kept honest by the gate.
type Job = *const (dyn Fn(usize, usize) + Sync);

struct Shared {
    gate: AtomicU64,
    job: UnsafeCell<Option<(Job, usize)>>,
    next: AtomicUsize,
    panic: Mutex<Option<String>>,
    stop: AtomicBool,
    asleep: Vec<AtomicBool>,
}

// SAFETY: `job` is written only while the gate is closed and empty, by the one caller that holds the pool's
// mutex, and read only by workers inside the open gate; the gate's atomics order the two. The closure behind
// the pointer is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Shared {}

/// A fixed set of threads that do numbered tasks.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    caller: Mutex<()>,
}

impl Pool {
    /// A pool of `threads` threads, the caller of [`Pool::run`] being one of them. At least one, at most 1024.
    pub fn new(threads: usize) -> Pool {
        let others = threads.clamp(1, MOST) - 1;
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
            asleep: (0..others).map(|_| AtomicBool::new(false)).collect(),
        });
        let workers = (0..others)
            .map_while(|i| {
                let shared = Arc::clone(&shared);
                // A system that gives fewer threads than asked for gets the same results from fewer.
                std::thread::Builder::new()
                    .name(format!("rigl-worker-{}", i + 1))
                    .spawn(move || work(&shared, i))
                    .ok()
            })
            .collect();
        Pool { shared, workers, caller: Mutex::new(()) }
    }

    /// How many threads there are, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work(worker, task)` once for every task below `tasks`, on whichever threads are free, and returns
    /// when all are done. `worker` is below [`Pool::threads`] and no two calls that run at the same time have
    /// the same one. A single task runs on the caller, and so do all while the pool is at work already: for
    /// another thread, or for a task that calls this in its turn.
    ///
    /// # Errors
    /// [`Error::Panicked`] if a task panicked; the others still ran.
    pub fn run(&self, tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) -> Result<(), Error> {
        if tasks <= 1 || self.workers.is_empty() {
            return run_alone(tasks, work);
        }
        let _one_job_at_a_time = match self.caller.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return run_alone(tasks, work),
        };
        let shared = &*self.shared;
        // SAFETY: the lifetime is erased, but no worker keeps the pointer beyond the wait below.
        let job: Job = unsafe { std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), Job>(work) };
        // SAFETY: the gate is closed and empty (it was left so), so no worker reads `job` now.
        unsafe { *shared.job.get() = Some((job, tasks)) };
        shared.next.store(0, Ordering::Relaxed);
        let generation = (shared.gate.load(Ordering::Relaxed) >> 32).wrapping_add(1) & 0xFFFF_FFFF;
        shared.gate.store(generation << 32 | OPEN, Ordering::SeqCst);
        // The caller does one task at least: no more threads are woken than the others may need.
        for (worker, asleep) in self.workers.iter().zip(&shared.asleep).take(tasks - 1) {
            if asleep.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        take_tasks(shared, work, tasks, 0);
        shared.gate.fetch_and(!OPEN, Ordering::SeqCst);
        let mut spins = 0u32;
        while shared.gate.load(Ordering::Acquire) & INSIDE != 0 {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        match shared.panic.lock().unwrap_or_else(|e| e.into_inner()).take() {
            None => Ok(()),
            Some(message) => Err(Error::Panicked(message)),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish()
    }
}

fn take_tasks(shared: &Shared, work: &(dyn Fn(usize, usize) + Sync), tasks: usize, worker: usize) {
    loop {
        let task = shared.next.fetch_add(1, Ordering::Relaxed);
        if task >= tasks {
            return;
        }
        if let Err(message) = run_task(work, worker, task) {
            let mut panic = shared.panic.lock().unwrap_or_else(|e| e.into_inner());
            panic.get_or_insert(message);
        }
    }
}

/// [`Pool::run`] without a pool.
pub(crate) fn run_alone(tasks: usize, work: &(dyn Fn(usize, usize) + Sync)) -> Result<(), Error> {
    let mut panic = None;
    for task in 0..tasks {
        if let Err(message) = run_task(work, 0, task) {
            panic.get_or_insert(message);
        }
    }
    panic.map_or(Ok(()), |message| Err(Error::Panicked(message)))
}

/// One task; if it panics, the message.
fn run_task(work: &(dyn Fn(usize, usize) + Sync), worker: usize, task: usize) -> Result<(), String> {
    let guarded = || {
        if worker > 0 {
            fault::pass();
        }
        work(worker, task);
    };
    catch_unwind(AssertUnwindSafe(guarded)).map_err(|payload| {
        let message = message(&*payload);
        // To drop it is to run code of whoever panicked, which may panic again: past the gate, with others inside.
        std::mem::forget(payload);
        message
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_string());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_string())
}

/// The life of worker `index` (numbered from 0; as a worker of a job it is `index + 1`).
fn work(shared: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        let Some(gate) = wait_for_job(shared, index, seen) else { return };
        // Step in, unless the job is over by now or another worker changed the gate first: then look again.
        if shared.gate.compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        seen = gate >> 32;
        // SAFETY: this worker is inside the gate, so the job was written before and its caller still waits.
        let (job, tasks) = unsafe { (*shared.job.get()).unwrap_unchecked() };
        // SAFETY: as above: the closure outlives the caller's wait for this worker to step out.
        take_tasks(shared, unsafe { &*job }, tasks, index + 1);
        shared.gate.fetch_sub(1, Ordering::Release);
    }
}

/// Waits for an open gate of another generation than `seen`; `None` when the pool ends.
fn wait_for_job(shared: &Shared, index: usize, seen: u64) -> Option<u64> {
    let mut rounds = 0u32;
    loop {
        let gate = shared.gate.load(Ordering::SeqCst);
        if gate & OPEN != 0 && gate >> 32 != seen {
            return Some(gate);
        }
        if shared.stop.load(Ordering::Relaxed) {
            return None;
        }
        rounds += 1;
        if rounds < SPINS {
            std::hint::spin_loop();
        } else if rounds < SPINS + YIELDS {
            std::thread::yield_now();
        } else {
            shared.asleep[index].store(true, Ordering::SeqCst);
            // Look once more: a caller that opened the gate before it saw the flag will not wake us.
            let gate = shared.gate.load(Ordering::SeqCst);
            let idle = gate & OPEN == 0 || gate >> 32 == seen;
            if idle && !shared.stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            shared.asleep[index].store(false, Ordering::SeqCst);
            rounds = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 5, 64, 1000] {
                for _ in 0..20 {
                    let done: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(tasks, &|worker, task| {
                        assert!(worker < pool.threads());
                        done[task].fetch_add(1, Ordering::Relaxed);
                    })
                    .unwrap();
                    assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn no_two_tasks_run_as_the_same_worker_at_once() {
        let pool = Pool::new(4);
        let busy: Vec<AtomicBool> = (0..4).map(|_| AtomicBool::new(false)).collect();
        for _ in 0..200 {
            pool.run(16, &|worker, _| {
                assert!(!busy[worker].swap(true, Ordering::SeqCst));
                std::hint::black_box((0..100).sum::<u64>());
                busy[worker].store(false, Ordering::SeqCst);
            })
            .unwrap();
        }
    }

    #[test]
    fn a_panic_in_a_task_is_an_error_and_the_pool_lives_on() {
        for threads in [1, 3] {
            let pool = Pool::new(threads);
            let result = pool.run(8, &|_, task| assert!(task != 5, "task five fell over"));
            assert!(matches!(&result, Err(Error::Panicked(m)) if m.contains("five")), "{result:?}");
            assert_eq!(pool.run(8, &|_, _| {}), Ok(()));
        }
    }

    #[test]
    fn parked_workers_do_not_hold_up_a_job() {
        let pool = Pool::new(3);
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let sum = AtomicUsize::new(0);
            pool.run(100, &|_, task| {
                sum.fetch_add(task, Ordering::Relaxed);
            })
            .unwrap();
            assert_eq!(sum.load(Ordering::Relaxed), 4950);
        }
    }
}
