//! One piece of memory for all activations and gradients of a plan, on huge pages where there are any: on small
//! pages, address translation eats the gain of the kernels.

use std::ops::Range;

use crate::error::Error;

/// A zeroed piece of memory, 64-byte aligned, from which disjoint ranges are borrowed.
#[derive(Debug)]
pub struct Arena {
    map: memmap2::MmapMut,
    len: usize,
}

impl Arena {
    /// An arena of `len` f32, all zero.
    ///
    /// # Errors
    /// [`Error::Memory`] if the system refuses.
    pub fn new(len: usize) -> Result<Arena, Error> {
        let bytes = len.checked_mul(4).ok_or(Error::Memory { bytes: usize::MAX })?;
        let map = memmap2::MmapMut::map_anon(bytes.max(1)).map_err(|_| Error::Memory { bytes })?;
        // Small pages are slower, not wrong: a refusal is no error.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Arena { map, len })
    }

    /// Its length in f32.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it.
    pub(crate) fn whole(&mut self) -> &mut [f32] {
        // SAFETY: the map is page-aligned, zeroed or written as f32, and holds `len` of them.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.len) }
    }

    /// Borrows ranges: some to read, some to write. No written range may overlap any other.
    ///
    /// # Errors
    /// [`Error::Overlap`] if one does, or a range lies outside.
    #[allow(clippy::type_complexity)]
    pub fn borrow<const R: usize, const W: usize>(
        &mut self,
        reads: [Range<usize>; R],
        writes: [Range<usize>; W],
    ) -> Result<([&[f32]; R], [&mut [f32]; W]), Error> {
        let inside = |r: &Range<usize>| r.start <= r.end && r.end <= self.len;
        let apart = |a: &Range<usize>, b: &Range<usize>| a.end <= b.start || b.end <= a.start;
        let fits = reads.iter().all(inside)
            && writes.iter().enumerate().all(|(i, w)| {
                inside(w)
                    && reads.iter().all(|r| r.is_empty() || w.is_empty() || apart(r, w))
                    && writes[..i].iter().all(|v| v.is_empty() || w.is_empty() || apart(v, w))
            });
        if !fits {
            return Err(Error::Overlap);
        }
        let base = self.map.as_mut_ptr().cast::<f32>();
        // SAFETY: the map is page-aligned and zeroed, so valid for f32; every range lies inside it, written ones
        // overlap nothing, and `&mut self` is held as long as the borrows live.
        Ok(unsafe {
            (
                reads.map(|r| std::slice::from_raw_parts(base.add(r.start), r.len())),
                writes.map(|w| std::slice::from_raw_parts_mut(base.add(w.start), w.len())),
            )
        })
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    #[test]
    fn disjoint_ranges_are_borrowed_and_overlaps_refused() {
        let mut arena = Arena::new(100).unwrap();
        {
            let ([a, b], [c]) = arena.borrow([0..10, 5..15], [15..30]).unwrap();
            assert!(a.iter().chain(b).all(|&x| x == 0.0));
            c.fill(1.0);
        }
        assert_eq!(arena.borrow([15..16], []).unwrap().0[0], [1.0]);
        assert_eq!(arena.borrow([0..10], [9..12]).unwrap_err(), Error::Overlap);
        assert_eq!(arena.borrow([], [0..10, 9..12]).unwrap_err(), Error::Overlap);
        assert_eq!(arena.borrow([], [90..101]).unwrap_err(), Error::Overlap);
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = arena.borrow([], [9..3]).map(|_| ());
        assert_eq!(reversed, Err(Error::Overlap));
        assert!(Arena::new(usize::MAX / 2).is_err());
        assert!(Arena::new(0).unwrap().is_empty());
    }
}
