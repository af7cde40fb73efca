//! AVX-512: one register is one vector.

use std::arch::x86_64::*;

use crate::simd::lanes::{RawWork, Simd};

/// Proof that this processor has AVX-512 F.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Avx512> {
        is_x86_feature_detected!("avx512f").then_some(Avx512(()))
    }
}

/// # Safety
/// That of the work.
#[inline]
pub(crate) unsafe fn run<W: RawWork>(simd: Avx512, work: W) -> W::Output {
    #[target_feature(enable = "avx512f")]
    unsafe fn compiled<W: RawWork>(simd: Avx512, work: W) -> W::Output {
        // SAFETY: the caller vouches for the work.
        unsafe { work.run_raw(simd) }
    }
    // SAFETY: `simd` exists only where `detect` found the features of `compiled`; the caller vouches for the work.
    unsafe { compiled(simd, work) }
}

impl Simd for Avx512 {
    type V = __m512;
    const WIDE: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512 F (so for every block in this file without a pointer).
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the caller vouches for 16 readable f32 at `p`.
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: the caller vouches for 16 writable f32 at `p`.
        unsafe { _mm512_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn store_past(self, p: *mut f32, v: __m512) {
        // SAFETY: the caller vouches for 16 writable f32 at `p` and for its alignment.
        unsafe { _mm512_stream_ps(p, v) }
    }

    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: every x86-64 processor has it, and it faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    #[inline(always)]
    fn fence(self) {
        // SAFETY: every x86-64 processor has it.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    unsafe fn load_u8(self, p: *const u8) -> __m512 {
        // SAFETY: the caller vouches for 16 readable bytes at `p`.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`. The instruction gives b where either is NaN.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn max_or_nan(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`. The maximum is b where either is NaN.
        unsafe { _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), a) }
    }

    #[inline(always)]
    fn relu_gate(self, v: __m512, x: __m512) -> __m512 {
        // SAFETY: see `splat`. The comparison is "not ≤", which NaN is.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLE_UQ>(v, _mm512_setzero_ps()), x) }
    }

    #[inline(always)]
    fn is_max(self, a: __m512, b: __m512) -> u16 {
        // SAFETY: see `splat`.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, b) | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a) }
    }

    #[inline(always)]
    fn keep(self, lanes: u16, x: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_maskz_mov_ps(lanes, x) }
    }

    #[inline(always)]
    fn exponent(self, n_and_magic: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(n_and_magic))) }
    }

    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        // SAFETY: see `splat`; AVX-512 F implies AVX and SSE.
        unsafe {
            let high = _mm512_shuffle_f32x4::<0b01_00_11_10>(v, v);
            let v8 = _mm512_castps512_ps256(_mm512_add_ps(v, high));
            let v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps::<1>(v8));
            let v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
            let v1 = _mm_add_ss(v2, _mm_shuffle_ps::<1>(v2, v2));
            _mm_cvtss_f32(v1)
        }
    }

    #[inline(always)]
    fn sum16(self, v: [__m512; 16]) -> __m512 {
        // Each stage folds two vectors into one that holds the half sums of both. The order of the inputs is
        // chosen so that the last stage leaves lane i with the sum of v[i]. Macros, because closures are not
        // compiled for the caller's instruction set and would be called.
        macro_rules! eight {
            ($a:expr, $b:expr) => {
                _mm512_add_ps(
                    _mm512_shuffle_f32x4::<0x44>(v[$a], v[$b]),
                    _mm512_shuffle_f32x4::<0xEE>(v[$a], v[$b]),
                )
            };
        }
        // Block k of 128 bits of quad(j) holds four partial sums of v[j + 4 k].
        macro_rules! quad {
            ($j:expr) => {{
                let (ab, cd) = (eight!($j, $j + 4), eight!($j + 8, $j + 12));
                _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xDD>(ab, cd))
            }};
        }
        macro_rules! two {
            ($p:expr, $q:expr) => {{
                let (p, q) = (_mm512_castps_pd($p), _mm512_castps_pd($q));
                _mm512_add_ps(
                    _mm512_castpd_ps(_mm512_unpacklo_pd(p, q)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(p, q)),
                )
            }};
        }
        // SAFETY: see `splat`.
        unsafe {
            let (p, q) = (two!(quad!(0), quad!(1)), two!(quad!(2), quad!(3)));
            _mm512_add_ps(_mm512_shuffle_ps::<0x88>(p, q), _mm512_shuffle_ps::<0xDD>(p, q))
        }
    }
}
