//! Whether numbers that go by are finite.

use crate::simd::lanes::Simd;

/// Watches vectors: x · 0 is 0 of what is finite, and not a number of ±∞ and of what is none, which a sum then keeps.
#[derive(Clone, Copy)]
pub(crate) struct Finite<S: Simd>(S::V);

impl<S: Simd> Finite<S> {
    /// Before the first.
    #[inline(always)]
    pub(crate) fn new(s: S) -> Finite<S> {
        Finite(s.splat(0.0))
    }

    /// One more.
    #[inline(always)]
    pub(crate) fn see(&mut self, s: S, v: S::V) {
        self.0 = s.fma(v, s.splat(0.0), self.0);
    }

    /// What another has seen: a sum that begins anew in a loop does not wait for the round before.
    #[inline(always)]
    pub(crate) fn join(&mut self, s: S, other: Finite<S>) {
        self.0 = s.add(self.0, other.0);
    }

    /// Whether all were finite.
    #[inline(always)]
    pub(crate) fn all(self, s: S) -> bool {
        s.sum(self.0) == 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, LANES, Work};

    struct See<'a>(&'a [[f32; LANES]]);

    impl Work for See<'_> {
        type Output = bool;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> bool {
            let mut all = Finite::new(s);
            for pair in self.0.chunks(2) {
                let mut two = Finite::new(s);
                for vector in pair {
                    // SAFETY: the array holds 16 f32.
                    two.see(s, unsafe { s.load(vector.as_ptr()) });
                }
                all.join(s, two);
            }
            all.all(s)
        }
    }

    #[test]
    fn one_number_that_is_not_finite_is_seen_wherever_it_is() {
        for isa in Isa::available() {
            let mut vectors = [[f32::MAX; LANES]; 5];
            (vectors[1][3], vectors[2][0], vectors[4][9]) = (f32::MIN, -0.0, 1e-45);
            assert!(isa.run(See(&vectors)), "{}", isa.name());
            assert!(isa.run(See(&[])));
            for at in 0..vectors.len() * LANES {
                for x in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                    let mut vectors = vectors;
                    vectors[at / LANES][at % LANES] = x;
                    assert!(!isa.run(See(&vectors)), "{} {x} at {at}", isa.name());
                }
            }
        }
    }
}
