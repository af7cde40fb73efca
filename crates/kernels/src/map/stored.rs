//! The numbers of stored maps on their way in and out. Nothing else reads or writes them, so nothing else knows how
//! they are stored.

use std::marker::PhantomData;
use std::ops::Range;

use crate::simd::{LANES, Simd};

/// A map that is read.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    first: *const f32,
    map: PhantomData<&'a [f32]>,
}

impl<'a> Stored<'a> {
    pub(crate) fn new(map: &'a [f32]) -> Stored<'a> {
        Stored { first: map.as_ptr(), map: PhantomData }
    }

    /// The vector at `at`.
    ///
    /// # Safety
    /// The map has one there.
    #[inline(always)]
    pub(crate) unsafe fn load<S: Simd>(self, s: S, at: usize) -> S::V {
        // SAFETY: the caller vouches for `at`.
        unsafe { s.load(self.first.add(at)) }
    }
}

/// A map that is written, by many tasks at the same time: each its own vectors.
#[derive(Clone, Copy)]
pub(crate) struct StoredMut {
    first: *mut f32,
}

impl StoredMut {
    /// Of a map that begins at `first`.
    pub(crate) fn new(first: *mut f32) -> StoredMut {
        StoredMut { first }
    }

    /// The vector at `at`.
    ///
    /// # Safety
    /// The map has one there, and no other task writes it.
    #[inline(always)]
    pub(crate) unsafe fn load<S: Simd>(self, s: S, at: usize) -> S::V {
        // SAFETY: the caller vouches for `at`.
        unsafe { s.load(self.first.add(at)) }
    }

    /// Replaces the vector at `at`.
    ///
    /// # Safety
    /// As [`StoredMut::load`].
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd>(self, s: S, at: usize, v: S::V) {
        // SAFETY: the caller vouches for `at`.
        unsafe { s.store(self.first.add(at), v) }
    }

    /// The same past the caches; what wrote so ends with a fence.
    ///
    /// # Safety
    /// As [`StoredMut::load`]; the map begins at a multiple of 64 bytes.
    #[inline(always)]
    pub(crate) unsafe fn store_past<S: Simd>(self, s: S, at: usize, v: S::V) {
        // SAFETY: the caller vouches for `at` and for the alignment, which vectors of 64 bytes keep.
        unsafe { s.store_past(self.first.add(at), v) }
    }
}

/// The cache lines that hold a part of a map, as first address and number; of what lies outside the map, none.
pub(crate) fn lines(map: &[f32], part: Range<usize>) -> (*const f32, usize) {
    map.get(part).map_or((std::ptr::null(), 0), |part| (part.as_ptr(), part.len() / LANES))
}
