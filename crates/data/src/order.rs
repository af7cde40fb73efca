//! The order of training samples: a pure function of (seed, number of samples, batch size, draw).
//!
//! The training stream is the concatenation of one permutation per epoch, each drawn from the random stream
//! (seed, [`Purpose::Order`], epoch). Batch `d` covers positions `d·B … (d + 1)·B − 1` of it, so batches run on
//! over the end of an epoch and none is short.

use rigl_base::random::{Draws, Purpose, Stream};
use rigl_base::{Error, Result};

/// What decides the order of the training samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Order {
    /// The data seed.
    pub seed: u64,
    /// Samples a batch, from 1 up.
    pub batch: usize,
    /// The draw of the first batch: 0, or where a resumed run goes on.
    pub first_draw: u64,
}

/// Gives the sample indices of any batch. Asking in rising order costs a few nanoseconds a sample: the
/// permutation of an epoch is made as far as it is needed, so that no batch waits for a whole shuffle.
#[derive(Clone, Debug)]
pub struct BatchOrder {
    seed: u64,
    batch: usize,
    samples: u32,
    epoch: u64,
    /// A permutation of all indices whose first `done` are those of the epoch.
    permutation: Vec<u32>,
    done: usize,
    draws: Draws,
}

impl BatchOrder {
    /// The order of `samples` samples in batches of `batch`.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if either is 0, or there are 2³² samples or more.
    pub fn new(seed: u64, samples: usize, batch: usize) -> Result<BatchOrder> {
        if batch == 0 {
            return Err(Error::usage("a batch of 0 samples, at least 1 is needed"));
        }
        let samples = u32::try_from(samples).ok().filter(|&n| n > 0).ok_or_else(|| {
            Error::usage(format!("a data set of {samples} samples, allowed are 1 to {}", u32::MAX))
        })?;
        let draws = epoch_draws(seed, 0);
        Ok(BatchOrder { seed, batch, samples, epoch: 0, permutation: (0..samples).collect(), done: 0, draws })
    }

    /// Replaces `into` by the sample indices of batch `draw`.
    pub fn indices(&mut self, draw: u64, into: &mut Vec<usize>) {
        into.clear();
        let samples = u128::from(self.samples);
        let start = u128::from(draw) * self.batch as u128;
        // Epochs beyond 2⁶⁴ start again from 0; no run gets there.
        let (mut epoch, mut at) = ((start / samples) as u64, (start % samples) as usize);
        while into.len() < self.batch {
            let end = self.permutation.len().min(at + self.batch - into.len());
            into.extend(self.stretch(epoch, at, end).iter().map(|&index| index as usize));
            (epoch, at) = (epoch.wrapping_add(1), 0);
        }
    }

    /// Positions `start … end − 1` of an epoch.
    fn stretch(&mut self, epoch: u64, start: usize, end: usize) -> &[u32] {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.draws = epoch_draws(self.seed, epoch);
            self.done = 0;
            for (index, slot) in (0..self.samples).zip(&mut self.permutation) {
                *slot = index;
            }
        }
        // Fisher-Yates from the front: a position is final as soon as it is passed.
        let samples = self.permutation.len();
        for i in self.done..end {
            self.permutation.swap(i, i + self.draws.below((samples - i) as u64) as usize);
        }
        self.done = self.done.max(end);
        &self.permutation[start..end]
    }
}

fn epoch_draws(seed: u64, epoch: u64) -> Draws {
    Stream::new(seed, Purpose::Order, epoch).draws()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rigl_base::Kind;

    use super::*;

    fn stream(seed: u64, samples: usize, batch: usize, draws: std::ops::Range<u64>) -> Vec<usize> {
        let mut order = BatchOrder::new(seed, samples, batch).unwrap();
        let mut indices = Vec::new();
        draws
            .flat_map(|draw| {
                order.indices(draw, &mut indices);
                indices.clone()
            })
            .collect()
    }

    #[test]
    fn the_order_never_changes() {
        // Part of what a resumed run relies on: these numbers must stay.
        let expected = [[8, 4, 0, 6, 5, 3, 7, 1, 2, 9], [9, 2, 3, 8, 7, 1, 6, 4, 0, 5]].concat();
        assert_eq!(stream(1, 10, 4, 0..5), expected);
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let two = stream(3, 50, 50, 0..2);
        assert_ne!(two[..50], two[50..]);
        assert_ne!(two, stream(4, 50, 50, 0..2));
    }

    #[test]
    fn first_positions_are_uniform() {
        let mut counts = [0; 5];
        for seed in 0..5000 {
            counts[stream(seed, 5, 1, 0..1)[0]] += 1;
        }
        assert!(counts.iter().all(|n| (880..1120).contains(n)), "{counts:?}");
    }

    #[test]
    fn empty_batches_and_sets_are_refused_and_the_last_draw_is_not() {
        assert_eq!(BatchOrder::new(0, 0, 1).unwrap_err().kind(), Kind::Usage);
        assert_eq!(BatchOrder::new(0, 1, 0).unwrap_err().kind(), Kind::Usage);
        assert_eq!(stream(0, 3, 7, u64::MAX - 1..u64::MAX).len(), 7);
    }

    proptest! {
        #[test]
        fn every_epoch_holds_every_sample_once(seed: u64, samples in 1usize..40, batch in 1usize..100) {
            let epochs = 3;
            let draws = (epochs * samples).div_ceil(batch) as u64;
            let all = stream(seed, samples, batch, 0..draws);
            for epoch in all.chunks_exact(samples).take(epochs) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..samples).collect::<Vec<_>>());
            }
        }

        #[test]
        fn batches_cut_one_stream_whatever_their_size(seed: u64, samples in 1usize..40, batch in 1usize..100) {
            let one = stream(seed, samples, 1, 0..3 * batch as u64);
            prop_assert_eq!(stream(seed, samples, batch, 0..3), one);
        }

        #[test]
        fn any_batch_can_be_asked_for_at_any_time(seed: u64, draws in prop::collection::vec(0u64..60, 1..10)) {
            let mut order = BatchOrder::new(seed, 17, 5).unwrap();
            let mut indices = Vec::new();
            for draw in draws {
                order.indices(draw, &mut indices);
                prop_assert_eq!(&indices, &stream(seed, 17, 5, draw..draw + 1));
            }
        }
    }
}
