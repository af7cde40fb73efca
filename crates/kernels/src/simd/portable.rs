//! Plain Rust on arrays of 16: the form for every machine without a form of its own. Compilers vectorise it
//! well where multiply-add is an instruction (NEON); where it is not, it is correct but slow.

use crate::simd::lanes::Simd;

/// Sixteen lanes in an array.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Lanes([f32; 16]);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Portable;

#[inline(always)]
fn zip(a: Lanes, b: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    Lanes(std::array::from_fn(|i| f(a.0[i], b.0[i])))
}

impl Simd for Portable {
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
        Lanes(unsafe { p.cast::<[u8; 16]>().read_unaligned() }.map(f32::from))
    }

    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        Lanes(std::array::from_fn(|i| a.0[i].mul_add(b.0[i], c.0[i])))
    }

    #[inline(always)]
    fn max(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn where_positive(self, gate: Lanes, x: Lanes) -> Lanes {
        zip(gate, x, |g, x| if g > 0.0 { x } else { 0.0 })
    }

    #[inline(always)]
    fn at_least(self, a: Lanes, b: Lanes) -> u16 {
        let mut bits = 0;
        for l in 0..16 {
            bits |= u16::from(a.0[l] >= b.0[l]) << l;
        }
        bits
    }

    #[inline(always)]
    fn keep(self, lanes: u16, x: Lanes) -> Lanes {
        Lanes(std::array::from_fn(|l| if lanes >> l & 1 == 1 { x.0[l] } else { 0.0 }))
    }

    #[inline(always)]
    fn exponent(self, n_and_magic: Lanes) -> Lanes {
        Lanes(n_and_magic.0.map(|x| f32::from_bits(x.to_bits() << 23)))
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
        Lanes(v.map(|v| self.sum(v)))
    }
}
