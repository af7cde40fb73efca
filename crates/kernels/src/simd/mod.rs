//! One vector of 16 lanes on every machine: what the kernels are written in.
//!
//! A kernel is a function generic over [`Simd`] that is inlined whole into a wrapper compiled for one
//! instruction set ([`Isa::run`]). A value of a [`Simd`] type is the permission to use its instructions: it is
//! made only after the processor was asked. All forms fuse multiply and add, and add lanes in the same tree, so
//! they give the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod bytes;
mod portable;

use crate::Error;

/// Lanes of a vector: samples side by side in the innermost dimension.
pub const LANES: usize = 16;

/// Vector operations of one instruction set, on 16 lanes of f32.
///
/// Values are plain data; only loads and stores touch memory, and these are the caller's responsibility.
pub(crate) trait Simd: Copy + Send + Sync {
    /// Sixteen f32.
    type V: Copy;

    /// Whether there are registers for eight accumulators and more (32 vector registers of 16 lanes).
    const WIDE: bool;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;

    /// Reads 16 lanes.
    ///
    /// # Safety
    /// `p` must be valid for reads of 16 f32.
    unsafe fn load(self, p: *const f32) -> Self::V;

    /// Writes 16 lanes.
    ///
    /// # Safety
    /// `p` must be valid for writes of 16 f32.
    unsafe fn store(self, p: *mut f32, v: Self::V);

    /// Writes 16 lanes past the caches, where the machine can: for results that are not read again soon.
    ///
    /// # Safety
    /// `p` must be valid for writes of 16 f32 and aligned to 64 bytes.
    unsafe fn store_past(self, p: *mut f32, v: Self::V);

    /// Orders [`Simd::store_past`] before every later store, also as other threads see them.
    fn fence(self);

    /// Asks for the line at `p` to be brought near, which may be anywhere: nothing is accessed.
    fn prefetch(self, p: *const f32);

    /// Reads 16 bytes as numbers 0 … 255.
    ///
    /// # Safety
    /// `p` must be valid for reads of 16 bytes.
    unsafe fn load_u8(self, p: *const u8) -> Self::V;

    /// a + b.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;

    /// a − b.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;

    /// a · b.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;

    /// a / b.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;

    /// a · b + c with one rounding.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// Where a > b then a, else b (so a NaN in `a` gives b).
    fn max(self, a: Self::V, b: Self::V) -> Self::V;

    /// Where `gate` > 0 then x, else +0 (the derivative of ReLU).
    fn where_positive(self, gate: Self::V, x: Self::V) -> Self::V;

    /// The lanes where a ≥ b, as bits (so none where either is NaN).
    fn at_least(self, a: Self::V, b: Self::V) -> u16;

    /// Where bit l of `lanes` is set lane l of x, else +0.
    fn keep(self, lanes: u16, x: Self::V) -> Self::V;

    /// 2ⁿ from the bits of `n + 12582912 + 127`, where −126 ≤ n ≤ 127 is a whole number.
    fn exponent(self, n_and_magic: Self::V) -> Self::V;

    /// Sum of the lanes as the tree (l, l+8), (l, l+4), (l, l+2), (l, l+1).
    fn sum(self, v: Self::V) -> f32;

    /// Lane i of the result is `sum(v[i])`, by the same tree.
    fn sum16(self, v: [Self::V; 16]) -> Self::V;
}

/// A piece of work written once for all instruction sets.
pub(crate) trait Work {
    /// What it returns.
    type Output;

    /// The work; must be `#[inline(always)]`, so that it is compiled for the instruction set of its caller.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

/// An instruction set that this machine has. Holding one is the permission to use it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Isa(Set);

impl Isa {
    /// Every instruction set of this machine, best first; the portable one is always last.
    pub fn available() -> Vec<Isa> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(avx512::Avx512::detect().map(|s| Isa(Set::Avx512(s))));
            sets.extend(avx2::Avx2::detect().map(|s| Isa(Set::Avx2(s))));
        }
        sets.push(Isa(Set::Portable));
        sets
    }

    /// The best instruction set of this machine.
    pub fn detect() -> Isa {
        Isa::available().swap_remove(0)
    }

    /// The instruction set of that name: `avx512`, `avx2` or `portable`.
    ///
    /// # Errors
    /// If this machine has none of that name.
    pub fn named(name: &str) -> Result<Isa, Error> {
        let available = Isa::available();
        available.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| Error::Isa {
            name: name.to_string(),
            available: available.iter().map(|isa| isa.name()).collect(),
        })
    }

    /// Whether there are registers for sixteen accumulators and more.
    pub(crate) fn is_wide(self) -> bool {
        struct Wide;
        impl Work for Wide {
            type Output = bool;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> bool {
                S::WIDE
            }
        }
        self.run(Wide)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
        }
    }

    /// Does the work with this instruction set.
    #[inline]
    pub(crate) fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            Set::Portable => work.run(portable::Portable),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(s) => avx2::run(s, work),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(s) => avx512::run(s, work),
        }
    }
}

/// eˣ for −87 ≤ x ≤ 88 (clamped), relative error below 2·10⁻⁷: Cody-Waite reduction x = n·ln 2 + r, |r| ≤ ln 2 / 2,
/// then the Taylor polynomial of degree 7 in r (remainder below 6·10⁻⁹), then the exponent.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const MAGIC: f32 = 12_582_912.0 + 127.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // max(a, b) as the trait has it; min through negation.
    let x = s.max(x, s.splat(-87.0));
    let zero = s.splat(0.0);
    let x = s.sub(zero, s.max(s.sub(zero, x), s.splat(-88.0)));
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

    struct Exp<'a>(&'a [f32; 16], &'a mut [f32; 16]);

    impl Work for Exp<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            // SAFETY: both arrays hold 16 f32.
            unsafe { s.store(self.1.as_mut_ptr(), exp(s, s.load(self.0.as_ptr()))) }
        }
    }

    struct Sums<'a>(&'a [[f32; 16]; 16], &'a mut [f32; 16], &'a mut [f32; 16]);

    impl Work for Sums<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            // SAFETY: every array holds 16 f32.
            unsafe {
                let v: [S::V; 16] = std::array::from_fn(|i| s.load(self.0[i].as_ptr()));
                s.store(self.1.as_mut_ptr(), s.sum16(v));
                for (sum, &v) in self.2.iter_mut().zip(&v) {
                    *sum = s.sum(v);
                }
            }
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
    fn sums_follow_the_tree_on_every_instruction_set() {
        let v: [[f32; 16]; 16] =
            std::array::from_fn(|i| std::array::from_fn(|j| ((i * 31 + j * 17) % 97) as f32 * 0.37 - 11.0));
        let expected = v.map(|mut lanes| {
            for half in [8, 4, 2, 1] {
                for l in 0..half {
                    lanes[l] += lanes[l + half];
                }
            }
            lanes[0].to_bits()
        });
        for isa in Isa::available() {
            let (mut together, mut alone) = ([0.0; 16], [0.0; 16]);
            isa.run(Sums(&v, &mut together, &mut alone));
            assert_eq!(together.map(f32::to_bits), expected, "{}", isa.name());
            assert_eq!(alone.map(f32::to_bits), expected, "{}", isa.name());
        }
    }

    struct Keep<'a>(u16, &'a [f32; 16], &'a mut [f32; 16]);

    impl Work for Keep<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            // SAFETY: both arrays hold 16 f32.
            unsafe { s.store(self.2.as_mut_ptr(), s.keep(self.0, s.load(self.1.as_ptr()))) }
        }
    }

    #[test]
    fn lanes_are_kept_by_their_bits_and_the_others_are_zero_whatever_they_held() {
        let x: [f32; 16] = std::array::from_fn(|i| if i % 5 == 0 { f32::NAN } else { i as f32 });
        for isa in Isa::available() {
            for lanes in (0..=u16::MAX).step_by(257).chain([1, 0x8000]) {
                let mut y = [9.0; 16];
                isa.run(Keep(lanes, &x, &mut y));
                for l in 0..16 {
                    let expected = if lanes >> l & 1 == 1 { x[l] } else { 0.0 };
                    assert_eq!(y[l].to_bits(), expected.to_bits(), "{} lane {l} of {lanes:x}", isa.name());
                }
            }
        }
    }

    struct AtLeast<'a>(&'a [f32; 16], &'a [f32; 16]);

    impl Work for AtLeast<'_> {
        type Output = u16;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> u16 {
            // SAFETY: both arrays hold 16 f32.
            unsafe { s.at_least(s.load(self.0.as_ptr()), s.load(self.1.as_ptr())) }
        }
    }

    #[test]
    fn lanes_that_are_at_least_as_large_are_bits_and_nan_is_not() {
        const VALUES: [f32; 7] = [f32::NAN, f32::NEG_INFINITY, -1.0, -0.0, 0.0, 1.0, f32::INFINITY];
        for isa in Isa::available() {
            for shift in 0..49 {
                let a: [f32; 16] = std::array::from_fn(|i| VALUES[(i + shift) % 7]);
                let b: [f32; 16] = std::array::from_fn(|i| VALUES[(i * 3 + shift / 7) % 7]);
                let expected = (0..16).fold(0, |bits, l| bits | u16::from(a[l] >= b[l]) << l);
                assert_eq!(isa.run(AtLeast(&a, &b)), expected, "{} {a:?} {b:?}", isa.name());
            }
        }
    }

    #[test]
    fn an_instruction_set_that_is_not_there_is_refused_with_those_that_are() {
        let error = Isa::named("avx1024").unwrap_err().to_string();
        assert!(error.contains("avx1024") && error.contains("portable"), "{error}");
        assert_eq!(Isa::named("portable").unwrap().name(), "portable");
    }
}
