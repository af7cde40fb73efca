//! Sums of lanes on their way into memory.

use crate::simd::lanes::{LANES, Simd};

/// Sums of lanes, by the tree, into one number after the other: they wait until there are sixteen, which are then added
/// up together.
pub(crate) struct LaneSums<'a, S: Simd> {
    /// Not in the struct itself: an array with changing indices would keep all of it in memory.
    waiting: &'a mut [S::V; LANES],
    /// How many have been pushed; those behind the last multiple of sixteen wait.
    pushed: usize,
    out: *mut f32,
    /// Whether they are added to what is there.
    add: bool,
}

impl<'a, S: Simd> LaneSums<'a, S> {
    /// The first sum goes to `out`; what `waiting` holds does not matter.
    #[inline(always)]
    pub(crate) fn new(waiting: &'a mut [S::V; LANES], out: *mut f32, add: bool) -> LaneSums<'a, S> {
        LaneSums { waiting, pushed: 0, out, add }
    }

    /// The next sum: of the lanes of `v`.
    ///
    /// # Safety
    /// There is room behind `out` for one more number than have been pushed.
    #[inline(always)]
    pub(crate) unsafe fn push(&mut self, s: S, v: S::V) {
        self.waiting[self.pushed % LANES] = v;
        self.pushed += 1;
        if self.pushed.is_multiple_of(LANES) {
            let mut sums = s.sum16(*self.waiting);
            // SAFETY: the caller vouched for the room of these sixteen.
            unsafe {
                let out = self.out.add(self.pushed - LANES);
                if self.add {
                    sums = s.add(s.load(out), sums);
                }
                s.store(out, sums);
            }
        }
    }

    /// Writes those that still wait.
    ///
    /// # Safety
    /// As [`LaneSums::push`].
    #[inline(always)]
    pub(crate) unsafe fn finish(self, s: S) {
        let count = self.pushed % LANES;
        if count == 0 {
            return;
        }
        let mut sums = [0.0; LANES];
        // SAFETY: `sums` holds sixteen; the caller vouches for the room of those that wait.
        unsafe {
            s.store(sums.as_mut_ptr(), s.sum16(*self.waiting));
            for (k, &sum) in sums.iter().enumerate().take(count) {
                let out = self.out.add(self.pushed - count + k);
                *out = if self.add { *out + sum } else { sum };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Work};

    struct Push<'a>(&'a [[f32; 16]], &'a mut [f32], bool);

    impl Work for Push<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Push(vectors, out, add) = self;
            assert_eq!(vectors.len(), out.len());
            let mut waiting = [s.splat(9.0); LANES];
            let mut sums = LaneSums::new(&mut waiting, out.as_mut_ptr(), add);
            // SAFETY: every vector is sixteen f32, and `out` has a number for each.
            unsafe {
                for vector in vectors {
                    sums.push(s, s.load(vector.as_ptr()));
                }
                sums.finish(s);
            }
        }
    }

    #[test]
    fn every_number_is_the_sum_of_its_lanes_however_many_there_are() {
        for isa in Isa::available() {
            for count in 0..40 {
                let vector = |i: usize| std::array::from_fn(|l| (i * 16 + l) as f32);
                let vectors: Vec<[f32; 16]> = (0..count).map(vector).collect();
                for add in [false, true] {
                    let mut out = vec![0.5; count];
                    isa.run(Push(&vectors, &mut out, add));
                    let before = if add { 0.5 } else { 0.0 };
                    for (out, vector) in out.iter().zip(&vectors) {
                        assert_eq!(*out, before + vector.iter().sum::<f32>());
                    }
                }
            }
        }
    }
}
