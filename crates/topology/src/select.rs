//! Streaming selection of the best of many scored positions.
//!
//! One total order decides everything: the larger score is better; of equal scores the lower flat index is
//! better (−0 equals 0); NaN is worse than every number, −∞ included. As no two positions compare equal, the
//! k best are a set that depends neither on the order in which scores arrive nor on how they are cut into
//! pieces and merged, and so not on threads.
//!
//! For growth the best come. For dropping the worst go: of equal magnitudes the higher index, and a weight that
//! has become NaN before any number.

/// A score and its position as one word whose order is the order of the module's text.
fn key(score: f32, index: u32) -> u64 {
    let rank = if score.is_nan() {
        0
    } else {
        // Adding 0 turns −0 into 0. Positive floats are ordered as their bits are, negative ones the other way.
        let bits = (score + 0.0).to_bits();
        if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
    };
    u64::from(rank) << 32 | u64::from(!index)
}

/// The position in a [`key`].
fn index_of(key: u64) -> u32 {
    !(key as u32)
}

/// A number that no better position's score is below.
fn floor_of(key: u64) -> f32 {
    match (key >> 32) as u32 {
        0 => f32::NEG_INFINITY,
        rank if rank >> 31 == 1 => f32::from_bits(rank & !(1 << 31)),
        rank => f32::from_bits(!rank),
    }
}

/// Scores tested at once before any is looked at singly.
const CHUNK: usize = 32;

/// Collects the `k` best of a stream of scored positions, in O(k) memory and time linear in the stream.
///
/// Every position may be pushed once at most, into this or into another value it is merged with.
///
/// ```
/// use rigl_topology::Largest;
/// let mut first = Largest::new(2);
/// first.push(0, &[0.1, 0.9, 0.3], &[1]); // position 1 is not eligible
/// let mut second = Largest::new(2);
/// second.push(3, &[0.3, 0.2], &[]);
/// assert_eq!(first.merge(second).finish(), [2, 3]);
/// ```
#[derive(Clone, Debug)]
pub struct Largest {
    k: usize,
    /// Candidates: all of the k best so far, and up to as many more.
    keys: Vec<u64>,
    /// Only better keys can be among the k best: the k-th best at the last [`Largest::shrink`].
    threshold: u64,
    /// No score below it can pass `threshold`.
    floor: f32,
}

impl Largest {
    /// For the `k` best.
    pub fn new(k: usize) -> Largest {
        // No key is 0, as no position is `u32::MAX`.
        let (threshold, floor) = if k == 0 { (u64::MAX, f32::INFINITY) } else { (0, f32::NEG_INFINITY) };
        Largest { k, keys: Vec::new(), threshold, floor }
    }

    /// Takes the scores of consecutive positions from `first` on. Positions in `excluded` (sorted) are not
    /// eligible; it may reach beyond this piece.
    ///
    /// # Panics
    /// If a position would exceed `u32::MAX − 1`.
    pub fn push(&mut self, first: u32, scores: &[f32], excluded: &[u32]) {
        self.push_by(first, scores, excluded, |score| score);
    }

    /// Like [`Largest::push`], with the scores computed from `values` on the way.
    ///
    /// # Panics
    /// If a position would exceed `u32::MAX − 1`.
    pub fn push_by(
        &mut self,
        first: u32,
        values: &[f32],
        excluded: &[u32],
        score: impl Fn(f32) -> f32 + Copy,
    ) {
        assert!(values.len() <= (u32::MAX - first) as usize, "positions beyond {}", u32::MAX - 1);
        let mut excluded = &excluded[excluded.partition_point(|&index| index < first)..];
        let mut index = first;
        let (chunks, rest) = values.as_chunks::<CHUNK>();
        for chunk in chunks {
            // Once the threshold has risen nearly every chunk ends here. No early exit, so that it vectorises.
            let floor = self.floor;
            if !chunk.iter().fold(true, |all, &value| all & (score(value) < floor)) {
                self.take(index, chunk, &mut excluded, score);
            }
            index += CHUNK as u32;
        }
        self.take(index, rest, &mut excluded, score);
    }

    fn take(&mut self, first: u32, values: &[f32], excluded: &mut &[u32], score: impl Fn(f32) -> f32) {
        for (&value, index) in values.iter().zip(first..) {
            let key = key(score(value), index);
            if key <= self.threshold {
                continue;
            }
            while let [next, rest @ ..] = *excluded
                && *next < index
            {
                *excluded = rest;
            }
            if excluded.first() == Some(&index) {
                continue;
            }
            self.keys.push(key);
            // Room for as many again keeps the cost of shrinking linear; a little more where k is tiny.
            if self.keys.len() >= self.k + self.k.max(CHUNK) {
                self.shrink();
            }
        }
    }

    /// Keeps the k best candidates only.
    fn shrink(&mut self) {
        if self.k == 0 || self.keys.len() < self.k {
            return;
        }
        let at = self.keys.len() - self.k;
        let (_, &mut worst, _) = self.keys.select_nth_unstable(at);
        self.keys.drain(..at);
        self.threshold = worst;
        self.floor = floor_of(worst);
    }

    /// The best of both.
    ///
    /// # Panics
    /// If they are for different numbers of positions.
    #[must_use]
    pub fn merge(mut self, mut other: Largest) -> Largest {
        assert_eq!(self.k, other.k, "selections of different sizes cannot be merged");
        if self.keys.len() < other.keys.len() {
            std::mem::swap(&mut self, &mut other);
        }
        self.keys.append(&mut other.keys);
        // The shrunk union's threshold is at least either one's. With fewer than k there was none yet.
        self.shrink();
        self
    }

    /// This in as little memory as its candidates need, once there are no more scores to come.
    #[must_use]
    pub fn settled(mut self) -> Largest {
        self.shrink();
        self.keys.shrink_to_fit();
        self
    }

    /// The best positions, sorted by index: k of them, or all that were eligible if there were fewer.
    pub fn finish(self) -> Vec<u32> {
        let mut indices: Vec<u32> = self.settled().keys.into_iter().map(index_of).collect();
        indices.sort_unstable();
        indices
    }
}

/// The `k` worst of the positions `indices` with these `scores`, sorted by index.
///
/// # Panics
/// If there are fewer than `k` positions, or not one score per position.
pub fn smallest(k: usize, indices: &[u32], scores: impl ExactSizeIterator<Item = f32>) -> Vec<u32> {
    assert_eq!(indices.len(), scores.len(), "one score per position");
    assert!(k <= indices.len(), "{k} of {} positions", indices.len());
    let mut keys: Vec<u64> = indices.iter().zip(scores).map(|(&index, score)| key(score, index)).collect();
    if k < keys.len() {
        keys.select_nth_unstable(k);
        keys.truncate(k);
        keys.shrink_to_fit();
    }
    let mut worst: Vec<u32> = keys.into_iter().map(index_of).collect();
    worst.sort_unstable();
    worst
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    /// The order of the module's text, written down a second time.
    fn better_first(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
        let by_score = match (a.0.is_nan(), b.0.is_nan()) {
            (false, false) => b.0.partial_cmp(&a.0).unwrap(),
            (a, b) => a.cmp(&b),
        };
        by_score.then(a.1.cmp(&b.1))
    }

    fn best_by_sorting(k: usize, scores: &[f32], excluded: &[u32]) -> Vec<u32> {
        let mut all: Vec<(f32, u32)> =
            scores.iter().copied().zip(0..).filter(|(_, i)| !excluded.contains(i)).collect();
        all.sort_by(better_first);
        all.truncate(k);
        let mut indices: Vec<u32> = all.into_iter().map(|(_, i)| i).collect();
        indices.sort_unstable();
        indices
    }

    /// Few distinct values, so that ties abound; and every special one.
    fn score() -> impl Strategy<Value = f32> {
        prop_oneof![
            6 => (-4i8..4).prop_map(f32::from),
            3 => any::<f32>(),
            1 => proptest::sample::select(vec![f32::NAN, -f32::NAN, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY]),
        ]
    }

    proptest! {
        #[test]
        fn the_best_do_not_depend_on_cuts_order_or_merging(
            scores in proptest::collection::vec(score(), 0..400),
            k in 0usize..120,
            mut cuts in proptest::collection::vec(0usize..400, 0..8),
            owners in proptest::collection::vec(0usize..3, 9),
            excluded in proptest::collection::btree_set(0u32..400, 0..200),
            backwards: bool,
        ) {
            let excluded: Vec<u32> = excluded.into_iter().collect();
            cuts.extend([0, scores.len()]);
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(scores.len()));
            cuts.sort_unstable();
            let mut pieces: Vec<_> = cuts.windows(2).map(|w| w[0]..w[1]).zip(owners).collect();
            if backwards {
                pieces.reverse();
            }
            let mut parts = [Largest::new(k), Largest::new(k), Largest::new(k)];
            for (piece, owner) in pieces {
                parts[owner].push(piece.start as u32, &scores[piece], &excluded);
            }
            let [a, b, c] = parts;
            let best = if backwards { c.merge(a.merge(b)) } else { a.merge(b).merge(c) };
            prop_assert_eq!(best.finish(), best_by_sorting(k, &scores, &excluded));
        }

        #[test]
        fn the_worst_are_all_but_the_best(scores in proptest::collection::vec(score(), 0..200), share in 0.0..=1.0f64) {
            let indices: Vec<u32> = (0..scores.len() as u32).collect();
            let k = (scores.len() as f64 * share) as usize;
            let worst = smallest(k, &indices, scores.iter().copied());
            let best = best_by_sorting(scores.len() - k, &scores, &[]);
            prop_assert_eq!(worst, crate::sorted::difference(&indices, &best));
        }

        #[test]
        fn the_floor_of_a_key_is_its_score(score in score(), index in 0..u32::MAX) {
            let expected = if score.is_nan() { f32::NEG_INFINITY } else { score };
            prop_assert_eq!(floor_of(key(score, index)), expected);
            prop_assert_eq!(index_of(key(score, index)), index);
        }
    }

    #[test]
    fn memory_stays_proportional_to_k_even_if_every_score_is_a_new_best() {
        let scores: Vec<f32> = (0..50_000u16).map(f32::from).collect();
        let mut largest = Largest::new(100);
        largest.push(0, &scores, &[]);
        assert!(largest.keys.capacity() <= 400, "{}", largest.keys.capacity());
        assert_eq!(largest.finish(), (scores.len() as u32 - 100..scores.len() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn nan_is_taken_only_where_numbers_run_out() {
        let mut largest = Largest::new(3);
        largest.push(0, &[f32::NAN, f32::NEG_INFINITY, f32::NAN, 1.0], &[]);
        assert_eq!(largest.finish(), [0, 1, 3]);
        assert_eq!(smallest(1, &[4, 7, 9], [0.0, f32::NAN, 1.0].into_iter()), [7]);
    }

    #[test]
    fn the_last_position_of_the_largest_weight_can_be_selected() {
        let mut largest = Largest::new(1);
        largest.push(u32::MAX - 2, &[f32::NAN, f32::NAN], &[u32::MAX - 2]);
        assert_eq!(largest.finish(), [u32::MAX - 1]);
    }
}
