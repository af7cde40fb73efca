//! Plain Rust on arrays of 16: the form for every machine without a form of its own, which compilers make vectors of. There
//! are two: one where multiply-add is an instruction, and one where it is not and is made of doubles ([`fused`]). Which of
//! them a machine runs is known by its architecture, but on x86-64 only once the processor is asked; there the first is
//! compiled for AVX2 and FMA, the second for every processor.
//!
//! Plain loops, as in all kernels: a closure would not be compiled for the caller's instruction set.

use crate::simd::fused::fused;
use crate::simd::lanes::{RawWork, Simd};

/// Sixteen lanes in an array.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Lanes([f32; 16]);

/// Proof that this machine can run the form with (`HARDWARE`) or without multiply-add instructions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Portable<const HARDWARE: bool>(());

impl Portable<true> {
    pub(crate) fn detect() -> Option<Portable<true>> {
        #[cfg(target_arch = "x86_64")]
        let there = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        // Every processor of these has it, and the compiler knows.
        #[cfg(not(target_arch = "x86_64"))]
        let there = cfg!(any(
            target_feature = "fma",
            target_arch = "aarch64",
            target_arch = "loongarch64",
            target_arch = "powerpc64",
            target_arch = "riscv64",
            target_arch = "s390x",
        ));
        there.then_some(Portable(()))
    }
}

impl Portable<false> {
    /// Every machine can.
    pub(crate) fn new() -> Portable<false> {
        Portable(())
    }
}

/// # Safety
/// That of the work.
#[inline]
pub(crate) unsafe fn run<const HARDWARE: bool, W: RawWork>(simd: Portable<HARDWARE>, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if HARDWARE {
        #[target_feature(enable = "avx2,fma")]
        unsafe fn compiled<S: Simd, W: RawWork>(simd: S, work: W) -> W::Output {
            // SAFETY: the caller vouches for the work.
            unsafe { work.run_raw(simd) }
        }
        // SAFETY: `simd` exists only where `detect` found the features of `compiled`; the caller vouches for the work.
        return unsafe { compiled(simd, work) };
    }
    // SAFETY: the caller vouches for the work.
    unsafe { work.run_raw(simd) }
}

/// Lane by lane: `lanewise!(a, b => a + b)`.
macro_rules! lanewise {
    ($($lane:ident),+ => $value:expr) => {{
        let mut out = [0.0f32; 16];
        for (l, out) in out.iter_mut().enumerate() {
            $(let $lane = $lane.0[l];)+
            *out = $value;
        }
        Lanes(out)
    }};
}

impl<const HARDWARE: bool> Simd for Portable<HARDWARE> {
    type V = Lanes;
    // NEON: 32 registers of 4 lanes are 8 vectors of ours.
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Lanes {
        Lanes([x; 16])
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Lanes {
        // SAFETY: the caller vouches for 16 readable f32 at `p`.
        Lanes(unsafe { p.cast::<[f32; 16]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Lanes) {
        // SAFETY: the caller vouches for 16 writable f32 at `p`.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(v.0) }
    }

    #[inline(always)]
    unsafe fn store_past(self, p: *mut f32, v: Lanes) {
        // SAFETY: the caller vouches for 16 writable f32 at `p`.
        unsafe { self.store(p, v) }
    }

    #[inline(always)]
    fn prefetch(self, _: *const f32) {}

    #[inline(always)]
    fn fence(self) {}

    #[inline(always)]
    unsafe fn load_u8(self, p: *const u8) -> Lanes {
        // SAFETY: the caller vouches for 16 readable bytes at `p`.
        let bytes = unsafe { p.cast::<[u8; 16]>().read_unaligned() };
        let mut out = [0.0; 16];
        for (out, byte) in out.iter_mut().zip(bytes) {
            *out = f32::from(byte);
        }
        Lanes(out)
    }

    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        lanewise!(a, b => a + b)
    }

    #[inline(always)]
    fn sub(self, a: Lanes, b: Lanes) -> Lanes {
        lanewise!(a, b => a - b)
    }

    #[inline(always)]
    fn mul(self, a: Lanes, b: Lanes) -> Lanes {
        lanewise!(a, b => a * b)
    }

    #[inline(always)]
    fn div(self, a: Lanes, b: Lanes) -> Lanes {
        lanewise!(a, b => a / b)
    }

    #[inline(always)]
    fn fma(self, a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        if HARDWARE { lanewise!(a, b, c => a.mul_add(b, c)) } else { lanewise!(a, b, c => fused(a, b, c)) }
    }

    #[inline(always)]
    fn max(self, a: Lanes, b: Lanes) -> Lanes {
        lanewise!(a, b => if a > b { a } else { b })
    }

    #[inline(always)]
    fn max_or_nan(self, a: Lanes, b: Lanes) -> Lanes {
        lanewise!(a, b => if a > b || a.is_nan() { a } else { b })
    }

    #[inline(always)]
    fn relu_gate(self, v: Lanes, x: Lanes) -> Lanes {
        lanewise!(v, x => if v <= 0.0 { 0.0 } else { x })
    }

    #[inline(always)]
    fn is_max(self, a: Lanes, b: Lanes) -> u16 {
        let mut bits = 0;
        for l in 0..16 {
            bits |= u16::from(a.0[l] >= b.0[l] || a.0[l].is_nan()) << l;
        }
        bits
    }

    #[inline(always)]
    fn keep(self, lanes: u16, x: Lanes) -> Lanes {
        let mut out = [0.0; 16];
        for (l, out) in out.iter_mut().enumerate() {
            *out = if lanes >> l & 1 == 1 { x.0[l] } else { 0.0 };
        }
        Lanes(out)
    }

    #[inline(always)]
    fn exponent(self, n_and_magic: Lanes) -> Lanes {
        lanewise!(n_and_magic => f32::from_bits(n_and_magic.to_bits() << 23))
    }

    #[inline(always)]
    fn sum(self, v: Lanes) -> f32 {
        let mut lanes = v.0;
        for half in [8, 4, 2, 1] {
            for l in 0..half {
                lanes[l] += lanes[l + half];
            }
        }
        lanes[0]
    }

    #[inline(always)]
    fn sum16(self, v: [Lanes; 16]) -> Lanes {
        let mut out = [0.0; 16];
        for (out, &v) in out.iter_mut().zip(&v) {
            *out = self.sum(v);
        }
        Lanes(out)
    }
}
