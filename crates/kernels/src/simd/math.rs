//! Functions of vectors.

use crate::simd::lanes::Simd;

/// eˣ for −87 ≤ x ≤ 88 (clamped; NaN for NaN), relative error below 2·10⁻⁷: Cody-Waite reduction x = n·ln 2 + r, |r| ≤ ln 2 / 2,
/// then the Taylor polynomial of degree 7 in r (remainder below 6·10⁻⁹), then the exponent.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const MAGIC: f32 = 12_582_912.0 + 127.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // The minimum through negation. NaN stays NaN, whatever the exponent's bits then are.
    let x = s.max(s.splat(-87.0), x);
    let zero = s.splat(0.0);
    let x = s.sub(zero, s.max(s.splat(-88.0), s.sub(zero, x)));
    let t = s.fma(x, s.splat(std::f32::consts::LOG2_E), s.splat(MAGIC));
    let n = s.sub(t, s.splat(MAGIC));
    let r = s.fma(n, s.splat(-LN2_HIGH), x);
    let r = s.fma(n, s.splat(-LN2_LOW), r);
    let mut p = s.splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(c));
    }
    s.mul(p, s.exponent(t))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Work};

    struct Exp<'a>(&'a [f32; 16], &'a mut [f32; 16]);

    impl Work for Exp<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            // SAFETY: both arrays hold 16 f32.
            unsafe { s.store(self.1.as_mut_ptr(), exp(s, s.load(self.0.as_ptr()))) }
        }
    }

    #[test]
    fn exp_is_within_two_ulp_and_the_same_on_every_instruction_set() {
        for start in 0..2000 {
            let x: [f32; 16] = std::array::from_fn(|i| -87.0 + (start * 16 + i) as f32 * (175.0 / 32_000.0));
            let mut results = Vec::new();
            for isa in Isa::available() {
                let mut y = [0.0; 16];
                isa.run(Exp(&x, &mut y));
                for (x, y) in x.iter().zip(y) {
                    let exact = f64::from(*x).exp();
                    let error = (f64::from(y) - exact).abs() / exact;
                    assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({x}) = {y}, relative error {error}");
                }
                results.push(y.map(f32::to_bits));
            }
            assert!(results.windows(2).all(|w| w[0] == w[1]));
        }
    }

    #[test]
    fn exp_is_clamped_and_nan_stays_nan() {
        for isa in Isa::available() {
            let mut x = [f32::NAN; 16];
            (x[0], x[1], x[2]) = (f32::INFINITY, f32::NEG_INFINITY, 1000.0);
            let mut y = [0.0; 16];
            isa.run(Exp(&x, &mut y));
            assert!(y[0] == y[2] && y[0] > 1e38 && y[0].is_finite() && y[1] > 0.0 && y[1] < 1e-37);
            assert!(y[3..].iter().all(|y| y.is_nan()), "{} {y:?}", isa.name());
        }
    }
}
