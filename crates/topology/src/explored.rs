//! Which positions have ever been active: the explored fraction R_s of "in-time over-parametrisation" (Liu et
//! al., "Do We Actually Need Dense Over-Parameterization?", ICML 2021).

use rigl_base::{Error, Result};

use crate::pattern::Pattern;
use crate::sorted;

/// The set of positions of one weight that have ever been active. It only grows.
///
/// Held as sorted indices while these take less memory than one bit per position, then as a bit set. Which of
/// the two follows from length and count alone, so equal sets are held (and saved) the same way.
///
/// ```
/// use rigl_topology::{Explored, Pattern};
/// let mut explored = Explored::new(&Pattern::new(100, vec![3, 5])?);
/// explored.insert(&Pattern::new(100, vec![5, 8])?)?;
/// assert_eq!((explored.count(), explored.fraction()), (3, 0.03));
/// # Ok::<(), rigl_base::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explored {
    len: usize,
    count: usize,
    set: Set,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Set {
    /// Strictly increasing.
    Indices(Vec<u32>),
    /// Position i is bit i % 8 of byte i / 8; the bits beyond the last position are 0.
    Bits(Vec<u8>),
}

impl Explored {
    /// What the first pattern explores.
    pub fn new(pattern: &Pattern) -> Explored {
        Explored::of(pattern.len(), pattern.indices().to_vec())
    }

    /// Adds the active positions of a later pattern.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if the pattern belongs to a weight of another size.
    pub fn insert(&mut self, pattern: &Pattern) -> Result<()> {
        if pattern.len() != self.len {
            let (found, expected) = (pattern.len(), self.len);
            return Err(Error::internal(format!("a pattern of {found} positions, expected {expected}")));
        }
        self.add(pattern.indices());
        Ok(())
    }

    /// Adds sorted positions, such as those an update has newly grown.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if they are not sorted, not unique or outside the weight.
    pub fn insert_new(&mut self, positions: &[u32]) -> Result<()> {
        sorted::check(self.len, positions)?;
        self.add(positions);
        Ok(())
    }

    fn add(&mut self, positions: &[u32]) {
        match &mut self.set {
            Set::Indices(indices) => *self = Explored::of(self.len, sorted::union(indices, positions)),
            Set::Bits(bits) => {
                for &position in positions {
                    let (byte, bit) = (&mut bits[position as usize / 8], 1 << (position % 8));
                    self.count += usize::from(*byte & bit == 0);
                    *byte |= bit;
                }
            }
        }
    }

    /// How many positions have ever been active.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Positions of the weight.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position has ever been active.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// R_s: ever active / all, in [0, 1]; 0 for a weight without positions.
    pub fn fraction(&self) -> f64 {
        if self.len == 0 { 0.0 } else { self.count as f64 / self.len as f64 }
    }

    /// The set as sorted indices, if it is held that way; else see [`Explored::as_bits`].
    pub fn as_indices(&self) -> Option<&[u32]> {
        match &self.set {
            Set::Indices(indices) => Some(indices),
            Set::Bits(_) => None,
        }
    }

    /// The set as bits, if it is held that way: position i is bit i % 8 of byte i / 8.
    pub fn as_bits(&self) -> Option<&[u8]> {
        match &self.set {
            Set::Indices(_) => None,
            Set::Bits(bits) => Some(bits),
        }
    }

    /// Restores what [`Explored::as_indices`] gave, for a weight of `len` positions.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if they are not sorted, not unique or outside the weight.
    pub fn from_indices(len: usize, indices: Vec<u32>) -> Result<Explored> {
        sorted::check(len, &indices)?;
        Ok(Explored::of(len, indices))
    }

    /// Restores what [`Explored::as_bits`] gave, for a weight of `len` positions.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) for a wrong number of bytes or a bit beyond the last position.
    pub fn from_bits(len: usize, bits: Vec<u8>) -> Result<Explored> {
        sorted::check_len(len)?;
        let expected = len.div_ceil(8);
        if bits.len() != expected {
            let found = bits.len();
            return Err(Error::data(format!("{found} bytes of explored bits, expected {expected}")));
        }
        if !len.is_multiple_of(8) && bits.last().is_some_and(|byte| byte >> (len % 8) != 0) {
            return Err(Error::data(format!("an explored bit beyond the last of {len} positions")));
        }
        let count = bits.iter().map(|byte| byte.count_ones() as usize).sum();
        if held_as_indices(len, count) {
            let set = |i: &u32| bits[*i as usize / 8] >> (i % 8) & 1 == 1;
            return Ok(Explored::of(len, (0..len as u32).filter(set).collect()));
        }
        Ok(Explored { len, count, set: Set::Bits(bits) })
    }

    fn of(len: usize, indices: Vec<u32>) -> Explored {
        let count = indices.len();
        if held_as_indices(len, count) {
            return Explored { len, count, set: Set::Indices(indices) };
        }
        let mut bits = vec![0u8; len.div_ceil(8)];
        for index in indices {
            bits[index as usize / 8] |= 1 << (index % 8);
        }
        Explored { len, count, set: Set::Bits(bits) }
    }
}

/// Whether `count` indices of four bytes take less memory than `len` bits.
fn held_as_indices(len: usize, count: usize) -> bool {
    count < len / 32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_union_of_all_patterns_and_survives_saving(
            len in 1usize..600,
            patterns in proptest::collection::vec(proptest::collection::btree_set(0u32..600, 0..9), 1..40),
        ) {
            let inside = |set: &BTreeSet<u32>| -> Vec<u32> {
                set.iter().copied().filter(|&i| (i as usize) < len).collect()
            };
            let mut explored = Explored::new(&Pattern::new(len, inside(&patterns[0])).unwrap());
            let mut union: BTreeSet<u32> = inside(&patterns[0]).into_iter().collect();
            for pattern in &patterns[1..] {
                explored.insert(&Pattern::new(len, inside(pattern)).unwrap()).unwrap();
                union.extend(inside(pattern));
                prop_assert_eq!(explored.count(), union.len());
            }
            let indices: Vec<u32> = union.into_iter().collect();
            prop_assert_eq!(&explored, &Explored::from_indices(len, indices).unwrap());
            let restored = match (explored.as_indices(), explored.as_bits()) {
                (Some(indices), None) => Explored::from_indices(len, indices.to_vec()),
                (None, Some(bits)) => Explored::from_bits(len, bits.to_vec()),
                _ => unreachable!("held in exactly one way"),
            };
            prop_assert_eq!(explored, restored.unwrap());
        }
    }

    #[test]
    fn it_turns_into_bits_where_these_are_smaller() {
        let mut explored = Explored::new(&Pattern::new(6400, (0..199).collect()).unwrap());
        assert!(explored.as_indices().is_some());
        explored.insert_new(&[10, 6399]).unwrap();
        assert_eq!(explored.as_bits().map(<[u8]>::len), Some(800));
        assert_eq!(explored.fraction(), 200.0 / 6400.0);
    }

    #[test]
    fn bits_of_a_set_that_is_small_are_read_as_indices() {
        let mut bits = vec![0u8; 80];
        bits[1] = 0b100;
        assert_eq!(Explored::from_bits(640, bits).unwrap().as_indices(), Some([10].as_slice()));
    }

    #[test]
    fn damaged_arrays_are_refused() {
        assert!(Explored::from_indices(4, vec![1, 0]).is_err());
        assert!(Explored::from_bits(9, vec![0xFF]).unwrap_err().to_string().contains("expected 2"));
        assert!(Explored::from_bits(9, vec![0xFF, 0b10]).unwrap_err().to_string().contains("beyond"));
        assert!(Explored::from_bits(9, vec![0xFF, 0b1]).is_ok());
        let mut explored = Explored::new(&Pattern::full(4).unwrap());
        assert!(explored.insert(&Pattern::full(5).unwrap()).is_err());
        assert!(explored.insert_new(&[4]).is_err());
    }
}
