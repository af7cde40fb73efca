//! Multiply-add with one rounding where no instruction does it, made of doubles, without a branch: compilers make vectors
//! of it.

/// a · b + c with one rounding: the bits of [`f32::mul_add`] (of a NaN, any).
///
/// The product of two f32 is exact in f64, and their sum with c is rounded to odd: cut off, with the last bit set if anything
/// was cut. It has more than twice the digits of an f32, so that rounding it to one gives what rounding the exact sum would,
/// halves and numbers below the normal ones included (Boldo and Melquiond, *Emulation of a FMA and correctly rounded
/// sums*, IEEE Transactions on Computers 57, 2008). Nothing overflows before that, and nothing is too small.
#[inline(always)]
pub(crate) fn fused(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What the sum lacks, exactly (Knuth). Not a number where the sum is infinite or none: then nothing is amended.
    let of_c = sum - product;
    let missing = (product - (sum - of_c)) + (c - of_c);
    let inexact = u64::from(missing.abs() > 0.0);
    // The sum went beyond the exact one where what is missing has the other sign: one step back towards zero.
    let beyond = (missing.to_bits() ^ sum.to_bits()) >> 63 & inexact;
    f64::from_bits((sum.to_bits() - beyond) | inexact) as f32
}

#[cfg(test)]
mod tests {
    use crate::simd::{Isa, LANES, Simd, Work};
    use crate::testing::Random;

    /// Sixteen results of an instruction set.
    struct Fma<'a>([&'a [f32; LANES]; 3], &'a mut [f32; LANES]);

    impl Work for Fma<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Fma([a, b, c], out) = self;
            // SAFETY: every array holds 16 f32.
            unsafe {
                let sum = s.fma(s.load(a.as_ptr()), s.load(b.as_ptr()), s.load(c.as_ptr()));
                s.store(out.as_mut_ptr(), sum);
            }
        }
    }

    fn assert_correct(cases: impl Iterator<Item = [f32; 3]>) -> usize {
        let (sets, mut count) = (Isa::available(), 0);
        let mut cases = cases.peekable();
        while cases.peek().is_some() {
            let mut of = [[0.0f32; LANES]; 3];
            let [a, b, c] = &mut of;
            for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                [*a, *b, *c] = cases.next().unwrap_or_default();
            }
            for isa in &sets {
                let mut out = [9.0; LANES];
                isa.run(Fma([&of[0], &of[1], &of[2]], &mut out));
                for (lane, found) in out.into_iter().enumerate() {
                    let [a, b, c] = [0, 1, 2].map(|i| of[i][lane]);
                    let expected = a.mul_add(b, c);
                    let equal = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                    assert!(equal, "{}: {a:e} · {b:e} + {c:e} = {found:e}, not {expected:e}", isa.name());
                }
            }
            count += LANES;
        }
        count
    }

    const KINDS: [f32; 16] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        1.000_000_1,
        16_777_215.0,
        f32::MIN_POSITIVE,
        -1.175_494_2e-38,
        1e-45,
        -1e-45,
        1.5 * f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];

    #[test]
    fn multiply_add_is_rounded_once_whatever_the_numbers_are() {
        let mut random = Random::new(1);
        let any = std::iter::repeat_with(|| [(); 3].map(|()| f32::from_bits(random.word() as u32)));
        assert!(assert_correct(any.take(1 << 20)) >= 1 << 20);
        let all = (0..KINDS.len().pow(3)).map(|i| [i % 16, i / 16 % 16, i / 256].map(|i| KINDS[i]));
        assert_correct(all);
    }

    #[test]
    fn multiply_add_is_rounded_once_near_the_middle_between_two_numbers() {
        // One, two or three bits of a significand, so that sums end in or beside a half; exponents so near each other that
        // they overlap, around one, around the least normal number and around the largest.
        for exponents in [[127, 127, 127], [64, 63, 1], [100, 27, 2], [191, 190, 252], [40, 60, 1]] {
            let mut random = Random::new(exponents[0] as u64);
            let mut number = |exponent: usize, spread: usize| {
                let exponent =
                    (exponent + random.below(2 * spread + 1)).saturating_sub(spread).min(254) as u32;
                let (sign, bits) = ((random.word() as u32) << 31, random.below(3));
                let significand = (0..=bits).fold(0, |all, _| all | 1 << random.below(23));
                let beside = [0, 1, 0x007F_FFFF][random.below(3)];
                f32::from_bits(sign | exponent << 23 | (significand ^ beside))
            };
            let cases = std::iter::repeat_with(|| {
                [number(exponents[0], 2), number(exponents[1], 2), number(exponents[2], 28)]
            });
            assert_correct(cases.take(1 << 20));
        }
    }

    #[test]
    fn rounding_a_double_once_more_would_not_do() {
        // 2⁻⁶⁴ below the middle between 1 + 2⁻²³ and the next: its double is the middle, which rounds to the even one.
        let small = 2f32.powi(-20);
        let (a, b, c) = (1.0 + small, (1.0 - small) * 2f32.powi(-24), 1.0 + f32::EPSILON);
        assert_eq!((f64::from(a) * f64::from(b) + f64::from(c)) as f32, 1.0 + 2.0 * f32::EPSILON);
        assert_eq!(super::fused(a, b, c), c);
        assert_correct([[a, b, c], [-a, b, -c]].into_iter());
    }
}
