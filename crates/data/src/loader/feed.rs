//! The queue between the background threads and the caller, and the threads themselves.
//!
//! Two locks: the plan, held by the thread that claims the next batch (and by it alone while it waits for
//! room, so that claims follow the plan), and the queue, held for moments. The plan is taken first.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rigl_base::{Error, Result};

use super::LoaderOptions;
use crate::dataset::{Dataset, Sample};
use crate::order::BatchOrder;

/// Which samples the next batch holds.
pub(super) enum Plan {
    /// Training: batch after batch of the order.
    Endless { order: BatchOrder, draw: u64 },
    /// Evaluation: every index once.
    Once { next: usize, samples: usize, batch: usize },
}

impl Plan {
    /// Replaces `into` by the indices of the next batch, and gives its number; `None` if there is none.
    fn advance(&mut self, into: &mut Vec<usize>) -> Option<u64> {
        match self {
            Plan::Endless { order, draw } => {
                let this = *draw;
                order.indices(this, into);
                *draw = this.wrapping_add(1);
                Some(this)
            }
            Plan::Once { next, samples, batch } => {
                let this = *next / *batch;
                let end = next.saturating_add(*batch).min(*samples);
                into.clear();
                into.extend(*next..end);
                *next = end;
                (!into.is_empty()).then_some(this as u64)
            }
        }
    }
}

/// The caller's end of the queue, and the threads at its other end.
pub(super) struct Feed<B> {
    shared: Arc<Shared<B>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<B> {
    depth: usize,
    /// Most batches that lie idle; more are dropped.
    max_free: usize,
    plan: Mutex<Plan>,
    queue: Mutex<Queue<B>>,
    /// The front slot was filled, or nobody is left to fill it.
    filled: Condvar,
    /// Half of the queue is used up, or it is time to stop.
    room: Condvar,
    /// Set under `queue`'s lock; read without it between samples.
    stop: AtomicBool,
}

struct Queue<B> {
    /// Claimed batches from the one that `next` returns next; `None` while being prepared.
    slots: VecDeque<Option<Result<B>>>,
    /// Batches the caller has taken: slot `i` belongs to claim `taken + i`.
    taken: u64,
    free: Vec<B>,
    /// Threads still running.
    running: usize,
    caller_waits: bool,
    thread_waits: bool,
    failed: bool,
}

impl<B: Send + 'static> Feed<B> {
    /// Starts the threads.
    pub(super) fn start(
        dataset: Arc<dyn Dataset>,
        plan: Plan,
        options: LoaderOptions,
        make: impl Fn() -> B + Send + Sync + 'static,
        pack: impl Fn(u64, &mut [Sample], &mut B) + Send + Sync + 'static,
    ) -> Result<Feed<B>> {
        let LoaderOptions { threads, depth } = options;
        for (value, what) in [(threads, "threads"), (depth, "batches ahead")] {
            if value == 0 {
                return Err(Error::usage(format!("a loader with 0 {what}, at least 1 is needed")));
            }
        }
        // As many batches may be out: all prepared ones, and a few with the caller.
        let max_free = depth.saturating_add(2);
        let shared = Arc::new(Shared {
            depth,
            max_free,
            plan: Mutex::new(plan),
            queue: Mutex::new(Queue {
                slots: VecDeque::new(),
                taken: 0,
                free: Vec::new(),
                running: 0,
                caller_waits: false,
                thread_waits: false,
                failed: false,
            }),
            filled: Condvar::new(),
            room: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let make = Arc::new(make);
        let pack = Arc::new(pack);
        let mut feed = Feed { shared, threads: Vec::new() };
        for i in 0..threads {
            let worker = Worker {
                shared: Arc::clone(&feed.shared),
                dataset: Arc::clone(&dataset),
                make: Arc::clone(&make),
                pack: Arc::clone(&pack),
                indices: Vec::new(),
                samples: Vec::new(),
            };
            lock(&feed.shared.queue).running += 1;
            match thread::Builder::new().name(format!("loader {i}")).spawn(move || worker.run()) {
                Ok(handle) => feed.threads.push(handle),
                Err(e) => {
                    lock(&feed.shared.queue).running -= 1;
                    return Err(Error::environment("cannot start a loader thread").caused_by(e));
                }
            }
        }
        Ok(feed)
    }

    /// The next batch in the order of the plan, or `None` at its end.
    pub(super) fn next(&mut self) -> Result<Option<B>> {
        let mut queue = lock(&self.shared.queue);
        if queue.failed {
            return Err(Error::internal("a batch was asked for after the loader had failed"));
        }
        let result = loop {
            if let Some(Some(_)) = queue.slots.front() {
                break queue.slots.pop_front().flatten();
            }
            if queue.running == 0 {
                // No slot: the plan is at its end. An empty slot: a thread ended without filling it.
                let lost = !queue.slots.is_empty() || self.shared.stop.load(Ordering::Relaxed);
                break lost.then(|| Err(Error::internal("a loader thread ended in the middle of a batch")));
            }
            queue.caller_waits = true;
            queue = self.shared.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.caller_waits = false;
        };
        queue.taken += u64::from(result.is_some());
        queue.failed = matches!(result, Some(Err(_)));
        let wake = queue.thread_waits && queue.slots.len() <= self.shared.depth / 2;
        drop(queue);
        if wake {
            self.shared.room.notify_one();
        }
        result.transpose()
    }

    /// Gives a batch back.
    pub(super) fn recycle(&mut self, batch: B) {
        let mut queue = lock(&self.shared.queue);
        if queue.free.len() < self.shared.max_free {
            queue.free.push(batch);
        } else {
            // Dropped after the lock is released: that is the caller's code.
            drop(queue);
            drop(batch);
        }
    }
}

impl<B> Drop for Feed<B> {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // Its panic, if any, was reported by `next` already.
            let _ = thread.join();
        }
    }
}

impl<B> std::fmt::Debug for Feed<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("threads", &self.threads.len())
            .field("depth", &self.shared.depth)
            .finish()
    }
}

impl<B> Shared<B> {
    fn stop(&self) {
        let queue = lock(&self.queue);
        self.stop.store(true, Ordering::Relaxed);
        drop(queue);
        self.room.notify_all();
        self.filled.notify_all();
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits for room, then claims the next batch: the number of the claim and that of the batch; its indices are
    /// left in `indices`. `None` if there is nothing more to do.
    fn claim(&self, indices: &mut Vec<usize>) -> Option<(u64, u64)> {
        // Waiting with the plan locked keeps the other threads from overtaking, and asleep.
        let mut plan = lock(&self.plan);
        let mut queue = lock(&self.queue);
        let mut most = self.depth - 1;
        while queue.slots.len() > most && !self.stopped() {
            most = self.depth / 2;
            queue.thread_waits = true;
            queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.thread_waits = false;
        }
        drop(queue);
        if self.stopped() {
            return None;
        }
        let number = plan.advance(indices)?;
        let mut queue = lock(&self.queue);
        queue.slots.push_back(None);
        Some((queue.taken + queue.slots.len() as u64 - 1, number))
    }

    fn fill(&self, claim: u64, result: Result<B>) {
        let mut queue = lock(&self.queue);
        let at = (claim - queue.taken) as usize;
        if let Some(slot) = queue.slots.get_mut(at) {
            *slot = Some(result);
        }
        let wake = at == 0 && queue.caller_waits;
        drop(queue);
        if wake {
            self.filled.notify_one();
        }
    }
}

/// What a background thread works with.
struct Worker<B, M, P> {
    shared: Arc<Shared<B>>,
    dataset: Arc<dyn Dataset>,
    make: Arc<M>,
    pack: Arc<P>,
    indices: Vec<usize>,
    samples: Vec<Sample>,
}

impl<B, M: Fn() -> B, P: Fn(u64, &mut [Sample], &mut B)> Worker<B, M, P> {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _leaving = Leaving(&shared);
        while let Some((claim, number)) = shared.claim(&mut self.indices) {
            let result = catch_unwind(AssertUnwindSafe(|| self.prepare(number)));
            let result = result.unwrap_or_else(|payload| Err(panicked(&*payload)));
            let ok = result.is_ok();
            shared.fill(claim, result);
            if !ok {
                break;
            }
        }
    }

    fn prepare(&mut self, number: u64) -> Result<B> {
        if self.samples.len() < self.indices.len() {
            self.samples.resize_with(self.indices.len(), Sample::default);
        }
        for (&index, sample) in self.indices.iter().zip(&mut self.samples) {
            if self.shared.stopped() {
                return Err(Error::internal("the loader was stopped"));
            }
            self.dataset.read(index, sample)?;
        }
        let reused = lock(&self.shared.queue).free.pop();
        let mut batch = reused.unwrap_or_else(|| (self.make)());
        (self.pack)(number, &mut self.samples[..self.indices.len()], &mut batch);
        Ok(batch)
    }
}

/// Tells the caller that a thread is gone, however it went: nobody waits for it for ever.
struct Leaving<'a, B>(&'a Shared<B>);

impl<B> Drop for Leaving<'_, B> {
    fn drop(&mut self) {
        lock(&self.0.queue).running -= 1;
        if thread::panicking() {
            self.0.stop();
        }
        self.0.filled.notify_all();
    }
}

/// No code of the caller runs under these locks, so that a poisoned one guards nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "no message",
    };
    Error::internal(format!("a loader thread panicked: {text}"))
}
