//! Which positions of a weight are active.

use std::sync::Arc;

use rigl_base::random::Stream;
use rigl_base::{Error, Result};

use crate::select::Largest;
use crate::{sample, sorted};

/// The active positions of one weight, as flat row-major indices into its natural shape.
///
/// Invariants, checked by every constructor and never broken afterwards:
/// 1. `len` ≤ `u32::MAX`, so every position fits a u32 and `u32::MAX` itself is none;
/// 2. indices are strictly increasing;
/// 3. every index is below `len`.
///
/// Values, optimiser slots and gradients of a sparse weight are arrays in the order of these indices. Clones share them.
///
/// ```
/// let pattern = rigl_topology::Pattern::new(6, vec![1, 4, 5])?;
/// assert_eq!(pattern.density(), 0.5);
/// assert!(pattern.contains(4) && !pattern.contains(0));
/// # Ok::<(), rigl_base::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    len: usize,
    indices: Arc<Vec<u32>>,
}

impl Pattern {
    /// The pattern of these sorted, unique indices in a weight of `len` positions.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) for an index that is out of order, double or not below `len`;
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for more than `u32::MAX` positions.
    pub fn new(len: usize, indices: Vec<u32>) -> Result<Pattern> {
        sorted::check(len, &indices)?;
        Ok(Pattern { len, indices: indices.into() })
    }

    /// All positions active.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for more than `u32::MAX` positions.
    pub fn full(len: usize) -> Result<Pattern> {
        sorted::check_len(len)?;
        Ok(Pattern { len, indices: Arc::new((0..len as u32).collect()) })
    }

    /// `count` positions at random, each subset equally likely. Takes O(count log count) time, or O(`len`)
    /// where that is less, and O(count) memory.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if `count` exceeds `len`, or `len` exceeds `u32::MAX`.
    pub fn random(len: usize, count: usize, stream: Stream) -> Result<Pattern> {
        check_count(len, count)?;
        Ok(Pattern { len, indices: sample::distinct(len, count, stream).into() })
    }

    /// The `count` positions of largest score, one score per position; ties and NaN as in [`Largest`].
    ///
    /// # Errors
    /// As [`Pattern::random`].
    pub fn of_largest(scores: &[f32], count: usize) -> Result<Pattern> {
        check_count(scores.len(), count)?;
        let mut largest = Largest::new(count);
        largest.push(0, scores, &[]);
        Ok(Pattern { len: scores.len(), indices: largest.finish().into() })
    }

    /// For lists that are right by construction.
    pub(crate) fn from_sorted(len: usize, indices: Vec<u32>) -> Pattern {
        debug_assert!(sorted::check(len, &indices).is_ok());
        Pattern { len, indices: indices.into() }
    }

    /// Positions of the weight, active or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the weight has no positions at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The active positions, strictly increasing.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The active positions, for whoever stores them.
    pub fn into_indices(self) -> Vec<u32> {
        Arc::unwrap_or_clone(self.indices)
    }

    /// How many positions are active (nnz).
    pub fn count(&self) -> usize {
        self.indices.len()
    }

    /// Active share, in [0, 1]; 0 for a weight without positions.
    pub fn density(&self) -> f64 {
        if self.len == 0 { 0.0 } else { self.count() as f64 / self.len as f64 }
    }

    /// Whether `position` is active.
    pub fn contains(&self, position: u32) -> bool {
        self.rank(position).is_some()
    }

    /// Where the values of `position` lie in arrays of this pattern's order, if it is active.
    pub fn rank(&self, position: u32) -> Option<usize> {
        self.indices.binary_search(&position).ok()
    }
}

fn check_count(len: usize, count: usize) -> Result<()> {
    sorted::check_len(len)?;
    if count > len {
        return Err(Error::usage(format!("cannot keep {count} active in a weight of {len} positions")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rigl_base::Kind;
    use rigl_base::random::Purpose;

    use super::*;

    #[test]
    fn a_pattern_refuses_indices_that_break_its_invariants() {
        for bad in [vec![2, 1], vec![1, 1], vec![0, 6]] {
            assert_eq!(Pattern::new(6, bad).unwrap_err().kind(), Kind::Data);
        }
        assert!(Pattern::full(u32::MAX as usize + 1).is_err());
    }

    #[test]
    fn counts_density_and_membership() {
        let pattern = Pattern::new(8, vec![0, 3]).unwrap();
        assert_eq!((pattern.len(), pattern.count(), pattern.density()), (8, 2, 0.25));
        assert_eq!((pattern.rank(3), pattern.rank(4)), (Some(1), None));
        assert_eq!(Pattern::full(3).unwrap().indices(), [0, 1, 2]);
        assert_eq!(Pattern::full(0).unwrap().density(), 0.0);
    }

    #[test]
    fn a_random_pattern_follows_from_its_stream_alone() {
        let stream = |seed| Stream::new(seed, Purpose::Topology, 1);
        let a = Pattern::random(1000, 100, stream(0)).unwrap();
        assert_eq!(a.count(), 100);
        assert_eq!(a, Pattern::random(1000, 100, stream(0)).unwrap());
        assert_ne!(a, Pattern::random(1000, 100, stream(1)).unwrap());
        assert!(Pattern::random(3, 4, stream(0)).is_err());
    }

    #[test]
    fn a_pattern_of_scores_takes_the_largest_and_of_equals_the_first() {
        let pattern = Pattern::of_largest(&[0.5, 2.0, 1.0, 1.0, 3.0], 3).unwrap();
        assert_eq!(pattern.indices(), [1, 2, 4]);
        assert!(Pattern::of_largest(&[1.0], 2).is_err());
    }
}
