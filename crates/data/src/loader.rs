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

mod feed;

use std::sync::Arc;

use rigl_base::{Error, Result};

use crate::dataset::{Dataset, Sample};
use crate::order::{BatchOrder, Order};
use feed::{Feed, Plan};

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
/// use rigl_data::{InMemory, Loader, LoaderOptions, Order, Sample, Spec};
/// let spec = Spec::new("dots", [1, 1, 1], ["dark", "light"]);
/// let set = Arc::new(InMemory::new(spec, vec![0, 255, 10], vec![0, 1, 0])?);
/// let order = Order { seed: 0, batch: 3, first_draw: 0 };
/// let pack = |_draw, samples: &mut [Sample], labels: &mut Vec<u32>| {
///     labels.clear();
///     labels.extend(samples.iter().map(|sample| sample.label));
/// };
/// let mut loader = Loader::new(set, order, LoaderOptions::default(), Vec::new, pack)?;
/// let labels = loader.next()?;
/// assert_eq!(labels.iter().sum::<u32>(), 1);
/// loader.recycle(labels);
/// # Ok::<(), rigl_base::Error>(())
/// ```
#[derive(Debug)]
pub struct Loader<B>(Feed<B>);

impl<B: Send + 'static> Loader<B> {
    /// Starts the threads. `make` makes an empty batch, `pack` fills one from samples, which it may change on the
    /// way, and is told the number of the draw; both run in the background, `pack` must overwrite whatever the
    /// batch held.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for an empty data set, batch, number of threads or depth;
    /// [`Kind::Environment`](rigl_base::Kind::Environment) if no thread can be started.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        order: Order,
        options: LoaderOptions,
        make: impl Fn() -> B + Send + Sync + 'static,
        pack: impl Fn(u64, &mut [Sample], &mut B) + Send + Sync + 'static,
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
    /// Starts the threads, as [`Loader::new`]; `pack` is told the number of the batch.
    ///
    /// # Errors
    /// As [`Loader::new`], except that a data set may be empty: it has no batches.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        batch: usize,
        options: LoaderOptions,
        make: impl Fn() -> B + Send + Sync + 'static,
        pack: impl Fn(u64, &mut [Sample], &mut B) + Send + Sync + 'static,
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;
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

    fn pack(_: u64, samples: &mut [Sample], batch: &mut Vec<u32>) {
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
    fn packing_is_told_the_number_of_the_batch_and_may_change_its_samples() {
        let pack = |number: u64, samples: &mut [Sample], batch: &mut Vec<u64>| {
            samples.iter_mut().for_each(|sample| sample.label *= 1000);
            batch.clear();
            batch.extend(samples.iter().map(|sample| u64::from(sample.label) + number));
        };
        for threads in [1, 3] {
            let order = Order { seed: 4, batch: 5, first_draw: 13 };
            let mut loader =
                Loader::new(Arc::new(numbered(23)), order, options(threads), Vec::new, pack).unwrap();
            let mut indices = Vec::new();
            for draw in 13..40 {
                BatchOrder::new(4, 23, 5).unwrap().indices(draw, &mut indices);
                let expected: Vec<u64> = indices.iter().map(|&index| index as u64 * 1000 + draw).collect();
                let batch = loader.next().unwrap();
                assert_eq!(batch, expected);
                loader.recycle(batch);
            }
            let set = Arc::new(numbered(7));
            let mut loader = EvaluationLoader::new(set, 3, options(threads), Vec::new, pack).unwrap();
            let mut all = Vec::new();
            while let Some(batch) = loader.next().unwrap() {
                all.extend(batch);
            }
            assert_eq!(all, [0, 1000, 2000, 3001, 4001, 5001, 6002]);
        }
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
                let pack = |_, _: &mut [Sample], _: &mut u8| panic!("full");
                let mut loader =
                    Loader::new(Arc::new(numbered(9)), order, options(threads), || 0, pack).unwrap();
                assert_eq!(loader.next().unwrap_err().message(), "a loader thread panicked: full");
                let make = || -> u8 { panic!("none left") };
                let mut loader =
                    Loader::new(Arc::new(numbered(9)), order, options(threads), make, |_, _, _| ()).unwrap();
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
