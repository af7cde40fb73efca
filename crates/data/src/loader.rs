//! Batches assembled ahead of use by background threads.
//!
//! ```text
//! claim a batch (in order) → read its samples → pack them → slot of that batch → next() (in order)
//! ```
//! A batch is what the caller's `pack` makes of its samples, in a buffer made by the caller's `make` and given
//! back by `recycle`: after the first few batches nothing is allocated. Which samples a batch holds follows
//! from the order alone, so the number of threads changes nothing but the speed.
//!
//! A step may be as short as 0.1 ms, and waking a thread costs microseconds: threads that find the queue full
//! sleep until half of it is used up, and the caller wakes them only then.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rigl_base::{Error, Result};

use crate::dataset::{Dataset, Sample};
use crate::order::{BatchOrder, Order};

/// How batches are prepared. No result depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoaderOptions {
    /// Background threads, from 1 up.
    pub threads: usize,
    /// Batches prepared ahead of use, from 1 up.
    pub depth: usize,
}

impl Default for LoaderOptions {
    fn default() -> LoaderOptions {
        LoaderOptions { threads: 1, depth: 8 }
    }
}

/// Training batches without end, in the order of their draws.
///
/// ```
/// use std::sync::Arc;
/// use rigl_data::{InMemory, Loader, LoaderOptions, Order, Spec};
/// let spec = Spec::new("dots", [1, 1, 1], ["dark", "light"]);
/// let set = Arc::new(InMemory::new(spec, vec![0, 255, 10], vec![0, 1, 0])?);
/// let order = Order { seed: 0, batch: 3, first_draw: 0 };
/// let mut loader = Loader::new(set, order, LoaderOptions::default(), Vec::new, |samples, labels: &mut Vec<u32>| {
///     labels.clear();
///     labels.extend(samples.iter().map(|sample| sample.label));
/// })?;
/// let labels = loader.next()?;
/// assert_eq!(labels.iter().sum::<u32>(), 1);
/// loader.recycle(labels);
/// # rigl_base::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Loader<B>(Feed<B>);

impl<B: Send + 'static> Loader<B> {
    /// Starts the threads. `make` makes an empty batch, `pack` fills one from samples; both run in the
    /// background, `pack` must overwrite whatever the batch held.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for an empty data set, batch, number of threads or depth;
    /// [`Kind::Environment`](rigl_base::Kind::Environment) if no thread can be started.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        order: Order,
        options: LoaderOptions,
        make: impl Fn() -> B + Send + Sync + 'static,
        pack: impl Fn(&[Sample], &mut B) + Send + Sync + 'static,
    ) -> Result<Loader<B>> {
        let indices = BatchOrder::new(order.seed, dataset.len(), order.batch)?;
        let plan = Plan::Endless { order: indices, draw: order.first_draw };
        Feed::start(dataset, plan, options, make, pack).map(Loader)
    }

    /// The next batch; waits for it if need be.
    ///
    /// # Errors
    /// What reading a sample of it returned; [`Kind::Internal`](rigl_base::Kind::Internal) if a background
    /// thread panicked. After an error there are no more batches.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator of results without end, which lends nothing"
    )]
    pub fn next(&mut self) -> Result<B> {
        self.0.next()?.ok_or_else(|| Error::internal("the endless stream of batches ended"))
    }

    /// Gives a batch back, to be filled again.
    pub fn recycle(&mut self, batch: B) {
        self.0.recycle(batch);
    }
}

/// The batches of one evaluation: every sample once, in index order, the last batch as short as it comes.
#[derive(Debug)]
pub struct EvaluationLoader<B>(Feed<B>);

impl<B: Send + 'static> EvaluationLoader<B> {
    /// Starts the threads, as [`Loader::new`].
    ///
    /// # Errors
    /// As [`Loader::new`], except that a data set may be empty: it has no batches.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        batch: usize,
        options: LoaderOptions,
        make: impl Fn() -> B + Send + Sync + 'static,
        pack: impl Fn(&[Sample], &mut B) + Send + Sync + 'static,
    ) -> Result<EvaluationLoader<B>> {
        if batch == 0 {
            return Err(Error::usage("a batch of 0 samples, at least 1 is needed"));
        }
        let plan = Plan::Once { next: 0, samples: dataset.len(), batch };
        Feed::start(dataset, plan, options, make, pack).map(EvaluationLoader)
    }

    /// The next batch, or `None` after the last.
    ///
    /// # Errors
    /// As [`Loader::next`].
    #[expect(clippy::should_implement_trait, reason = "the twin of `Loader::next`")]
    pub fn next(&mut self) -> Result<Option<B>> {
        self.0.next()
    }

    /// Gives a batch back, to be filled again.
    pub fn recycle(&mut self, batch: B) {
        self.0.recycle(batch);
    }
}

/// Which samples the next batch holds.
enum Plan {
    Endless { order: BatchOrder, draw: u64 },
    Once { next: usize, samples: usize, batch: usize },
}

impl Plan {
    /// Replaces `into` by the indices of the next batch; false if there is none.
    fn advance(&mut self, into: &mut Vec<usize>) -> bool {
        match self {
            Plan::Endless { order, draw } => {
                order.indices(*draw, into);
                *draw = draw.wrapping_add(1);
                true
            }
            Plan::Once { next, samples, batch } => {
                let end = next.saturating_add(*batch).min(*samples);
                into.clear();
                into.extend(*next..end);
                *next = end;
                !into.is_empty()
            }
        }
    }
}

/// The caller's end of the queue, and the threads at its other end.
struct Feed<B> {
    shared: Arc<Shared<B>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<B> {
    depth: usize,
    /// Most batches that lie idle; more are dropped.
    max_free: usize,
    /// Locked while a batch is claimed, so that claims follow the plan. Taken before `queue`, never after.
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
    fn start(
        dataset: Arc<dyn Dataset>,
        plan: Plan,
        options: LoaderOptions,
        make: impl Fn() -> B + Send + Sync + 'static,
        pack: impl Fn(&[Sample], &mut B) + Send + Sync + 'static,
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

    fn next(&mut self) -> Result<Option<B>> {
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

    fn recycle(&mut self, batch: B) {
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

    /// Waits for room, then claims the next batch: its number; its indices are left in `indices`. `None` if
    /// there is nothing more to do.
    fn claim(&self, indices: &mut Vec<usize>) -> Option<u64> {
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
        if self.stopped() || !plan.advance(indices) {
            return None;
        }
        let mut queue = lock(&self.queue);
        queue.slots.push_back(None);
        Some(queue.taken + queue.slots.len() as u64 - 1)
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

impl<B, M: Fn() -> B, P: Fn(&[Sample], &mut B)> Worker<B, M, P> {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _leaving = Leaving(&shared);
        while let Some(claim) = shared.claim(&mut self.indices) {
            let result = catch_unwind(AssertUnwindSafe(|| self.prepare()));
            let result = result.unwrap_or_else(|payload| Err(panicked(&*payload)));
            let ok = result.is_ok();
            shared.fill(claim, result);
            if !ok {
                break;
            }
        }
    }

    fn prepare(&mut self) -> Result<B> {
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
        (self.pack)(&self.samples[..self.indices.len()], &mut batch);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::time::Duration;

    use rigl_base::Kind;

    use super::*;
    use crate::dataset::Spec;

    /// Sample `i` has label `i`; reading `bad` fails, reading `fatal` panics.
    struct Numbered {
        spec: Spec,
        len: usize,
        bad: Option<usize>,
        fatal: Option<usize>,
    }

    impl Dataset for Numbered {
        fn spec(&self) -> &Spec {
            &self.spec
        }

        fn len(&self) -> usize {
            self.len
        }

        fn read(&self, index: usize, into: &mut Sample) -> Result<()> {
            assert!(Some(index) != self.fatal, "sample {index} bites");
            if Some(index) == self.bad {
                return Err(Error::data(format!("sample {index} is bad")));
            }
            into.label = index as u32;
            Ok(())
        }
    }

    fn numbered(len: usize) -> Numbered {
        Numbered { spec: Spec::new("numbered", [1, 1, 1], ["any"]), len, bad: None, fatal: None }
    }

    fn pack(samples: &[Sample], batch: &mut Vec<u32>) {
        batch.clear();
        batch.extend(samples.iter().map(|sample| sample.label));
    }

    fn options(threads: usize) -> LoaderOptions {
        LoaderOptions { threads, ..LoaderOptions::default() }
    }

    fn loader(set: Numbered, batch: usize, first_draw: u64, options: LoaderOptions) -> Loader<Vec<u32>> {
        Loader::new(Arc::new(set), Order { seed: 4, batch, first_draw }, options, Vec::new, pack).unwrap()
    }

    fn take(loader: &mut Loader<Vec<u32>>, batches: usize) -> Vec<Vec<u32>> {
        let take_one = |_| {
            let batch = loader.next().unwrap();
            loader.recycle(batch.clone());
            batch
        };
        (0..batches).map(take_one).collect()
    }

    fn evaluate(set: Numbered, batch: usize, threads: usize) -> Result<Vec<Vec<u32>>> {
        let mut loader = EvaluationLoader::new(Arc::new(set), batch, options(threads), Vec::new, pack)?;
        let mut batches = Vec::new();
        while let Some(batch) = loader.next()? {
            batches.push(batch);
        }
        assert!(loader.next()?.is_none(), "the end is the end");
        Ok(batches)
    }

    /// Runs `body` in a thread of its own and fails if it does not end.
    fn must_end(body: impl FnOnce() + Send + 'static) {
        let (done, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            body();
            done.send(()).unwrap();
        });
        if ended.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            panic!("still running after a minute");
        }
        thread.join().unwrap();
    }

    #[test]
    fn batches_are_those_of_the_order_for_any_number_of_threads_and_any_depth() {
        let mut order = BatchOrder::new(4, 23, 5).unwrap();
        let mut indices = Vec::new();
        let expected: Vec<Vec<u32>> = (0..60)
            .map(|draw| {
                order.indices(draw, &mut indices);
                indices.iter().map(|&index| index as u32).collect()
            })
            .collect();
        for threads in [1, 2, 3] {
            for depth in [1, 2, 8] {
                let mut loader = loader(numbered(23), 5, 0, LoaderOptions { threads, depth });
                assert_eq!(take(&mut loader, 60), expected, "{threads} threads, depth {depth}");
            }
        }
    }

    #[test]
    fn starting_at_a_draw_continues_the_same_stream() {
        let whole = take(&mut loader(numbered(23), 5, 0, options(1)), 30);
        for threads in [1, 3] {
            let rest = take(&mut loader(numbered(23), 5, 13, options(threads)), 17);
            assert_eq!(rest, whole[13..]);
        }
    }

    #[test]
    fn evaluation_sees_every_sample_once_in_order_and_the_last_batch_is_short() {
        for threads in [1, 2, 3] {
            let batches = evaluate(numbered(23), 5, threads).unwrap();
            assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 5, 5, 3]);
            assert_eq!(batches.concat(), (0..23).collect::<Vec<_>>());
        }
        assert_eq!(evaluate(numbered(10), 5, 2).unwrap().len(), 2);
        assert_eq!(evaluate(numbered(3), usize::MAX, 2).unwrap(), [[0, 1, 2]]);
        assert!(evaluate(numbered(0), 5, 2).unwrap().is_empty());
    }

    #[test]
    fn recycled_batches_are_used_again() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let make = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Vec::new()
        };
        let order = Order { seed: 0, batch: 4, first_draw: 0 };
        let mut loader = Loader::new(Arc::new(numbered(10)), order, options(2), make, pack).unwrap();
        for _ in 0..500 {
            let batch = loader.next().unwrap();
            loader.recycle(batch);
        }
        drop(loader);
        let made = made.load(Ordering::Relaxed);
        assert!(made <= 9, "{made} batches were made for 8 ahead and 1 in use");
    }

    #[test]
    fn a_sample_that_cannot_be_read_is_the_error_of_its_batch() {
        for threads in [1, 2, 3] {
            let set = Numbered { bad: Some(12), ..numbered(23) };
            let mut loader =
                EvaluationLoader::new(Arc::new(set), 5, options(threads), Vec::new, pack).unwrap();
            assert_eq!(loader.next().unwrap().unwrap(), [0, 1, 2, 3, 4]);
            assert_eq!(loader.next().unwrap().unwrap(), [5, 6, 7, 8, 9]);
            let error = loader.next().unwrap_err();
            assert_eq!((error.kind(), error.message()), (Kind::Data, "sample 12 is bad"));
            assert_eq!(loader.next().unwrap_err().kind(), Kind::Internal);
        }
    }

    #[test]
    fn a_panic_in_the_background_is_an_internal_error_and_no_hang() {
        must_end(|| {
            for threads in [1, 2, 3] {
                let error = evaluate(Numbered { fatal: Some(12), ..numbered(23) }, 5, threads).unwrap_err();
                assert_eq!(error.kind(), Kind::Internal);
                assert_eq!(error.message(), "a loader thread panicked: sample 12 bites");

                let order = Order { seed: 0, batch: 2, first_draw: 0 };
                let pack = |_: &[Sample], _: &mut u8| panic!("full");
                let mut loader =
                    Loader::new(Arc::new(numbered(9)), order, options(threads), || 0, pack).unwrap();
                assert_eq!(loader.next().unwrap_err().message(), "a loader thread panicked: full");
                let make = || -> u8 { panic!("none left") };
                let mut loader =
                    Loader::new(Arc::new(numbered(9)), order, options(threads), make, |_, _| ()).unwrap();
                assert_eq!(loader.next().unwrap_err().message(), "a loader thread panicked: none left");
            }
        });
    }

    #[test]
    fn dropping_a_loader_ends_its_threads_whatever_they_are_doing() {
        must_end(|| {
            for threads in [1, 2, 3] {
                for taken in [0, 1, 7, 20] {
                    let mut loader = loader(numbered(23), 5, 0, options(threads));
                    take(&mut loader, taken);
                    drop(loader);
                }
                // Full for certain: every buffer that may be made is made.
                let (made, full) = mpsc::sync_channel(8);
                let make = move || {
                    made.send(()).unwrap();
                    Vec::new()
                };
                let order = Order { seed: 0, batch: 4, first_draw: 0 };
                let loader = Loader::new(Arc::new(numbered(9)), order, options(threads), make, pack).unwrap();
                (0..8).for_each(|_| full.recv().unwrap());
                drop(loader);
            }
        });
    }

    #[test]
    fn empty_arguments_are_refused() {
        let refused = |len, batch, threads, depth| {
            let order = Order { seed: 0, batch, first_draw: 0 };
            let options = LoaderOptions { threads, depth };
            Loader::new(Arc::new(numbered(len)), order, options, Vec::new, pack).map(drop).unwrap_err().kind()
        };
        for (len, batch, threads, depth) in [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)] {
            assert_eq!(refused(len, batch, threads, depth), Kind::Usage);
        }
        let set: Arc<dyn Dataset> = Arc::new(numbered(1));
        assert!(EvaluationLoader::new(set, 0, options(1), Vec::new, pack).is_err());
    }
}
