//! The instruction sets of this machine, and how work runs with one.

use crate::error::Error;
#[cfg(target_arch = "x86_64")]
use crate::simd::avx2;
#[cfg(target_arch = "x86_64")]
use crate::simd::avx512;
use crate::simd::lanes::{RawWork, Safe, Simd, Work};
use crate::simd::portable;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Set {
    Portable(portable::Portable<true>),
    Unfused(portable::Portable<false>),
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

/// An instruction set that this machine has. Holding one is the permission to use it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Isa(Set);

impl Isa {
    /// Every instruction set of this machine, best first. The last ones are plain Rust: `portable`, and where the machine
    /// has multiply-add instructions `unfused`, which is what `portable` is on a machine that has none.
    pub fn available() -> Vec<Isa> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            sets.extend(avx512::Avx512::detect().map(|s| Isa(Set::Avx512(s))));
            sets.extend(avx2::Avx2::detect().map(|s| Isa(Set::Avx2(s))));
        }
        sets.extend(portable::Portable::detect().map(|s| Isa(Set::Portable(s))));
        sets.push(Isa(Set::Unfused(portable::Portable::new())));
        sets
    }

    /// The best instruction set of this machine.
    pub fn detect() -> Isa {
        Isa::available().swap_remove(0)
    }

    /// The instruction set of that name: `avx512`, `avx2`, `portable` or `unfused`.
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
            Set::Portable(_) => "portable",
            Set::Unfused(_) if portable::Portable::detect().is_none() => "portable",
            Set::Unfused(_) => "unfused",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
        }
    }

    /// Does the work with this instruction set.
    #[inline]
    pub(crate) fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: safe work asks for nothing.
        unsafe { self.run_raw(Safe(work)) }
    }

    /// Does work that goes by pointers.
    ///
    /// # Safety
    /// That of the work.
    #[inline]
    pub(crate) unsafe fn run_raw<W: RawWork>(self, work: W) -> W::Output {
        // SAFETY: passed on.
        unsafe {
            match self.0 {
                Set::Portable(s) => portable::run(s, work),
                Set::Unfused(s) => portable::run(s, work),
                #[cfg(target_arch = "x86_64")]
                Set::Avx2(s) => avx2::run(s, work),
                #[cfg(target_arch = "x86_64")]
                Set::Avx512(s) => avx512::run(s, work),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Of a and b: the maxima, ReLU and its gate, and which lanes of a are maxima.
    struct Compare<'a>(&'a [f32; 16], &'a [f32; 16], [&'a mut [f32; 16]; 4]);

    impl Work for Compare<'_> {
        type Output = u16;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> u16 {
            // SAFETY: every array holds 16 f32.
            unsafe {
                let (a, b) = (s.load(self.0.as_ptr()), s.load(self.1.as_ptr()));
                let [max, or_nan, relu, gated] = self.2;
                s.store(max.as_mut_ptr(), s.max(a, b));
                s.store(or_nan.as_mut_ptr(), s.max_or_nan(a, b));
                s.store(relu.as_mut_ptr(), s.relu(a));
                s.store(gated.as_mut_ptr(), s.relu_gate(a, b));
                s.is_max(a, b)
            }
        }
    }

    #[test]
    fn comparisons_are_as_defined_and_nan_passes_through_relu_and_its_gate() {
        const VALUES: [f32; 7] = [f32::NAN, f32::NEG_INFINITY, -1.0, -0.0, 0.0, 1.0, f32::INFINITY];
        for isa in Isa::available() {
            for shift in 0..49 {
                let a: [f32; 16] = std::array::from_fn(|i| VALUES[(i + shift) % 7]);
                let b: [f32; 16] = std::array::from_fn(|i| VALUES[(i * 3 + shift / 7) % 7]);
                let mut out = [[9.0f32; 16]; 4];
                let bits = isa.run(Compare(&a, &b, out.each_mut()));
                for l in 0..16 {
                    let (a, b) = (a[l], b[l]);
                    let or_nan = if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) };
                    let expected = [
                        if a > b { a } else { b },
                        or_nan,
                        if a < 0.0 { 0.0 } else { a },
                        if a <= 0.0 { 0.0 } else { b },
                    ];
                    for (k, expected) in expected.into_iter().enumerate() {
                        let found = out[k][l];
                        let equal = found == expected || found.is_nan() && expected.is_nan();
                        assert!(equal, "{} {k}: {found} of {a}, {b}", isa.name());
                    }
                    assert_eq!(bits >> l & 1 == 1, a >= b || a.is_nan(), "{} {a} {b}", isa.name());
                }
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
