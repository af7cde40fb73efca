//! AVX2 with FMA: two registers are one vector.

use std::arch::x86_64::*;

use crate::simd::lanes::{RawWork, Simd};

/// Proof that this processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Avx2> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

/// # Safety
/// That of the work.
#[inline]
pub(crate) unsafe fn run<W: RawWork>(simd: Avx2, work: W) -> W::Output {
    #[target_feature(enable = "avx2,fma")]
    unsafe fn compiled<W: RawWork>(simd: Avx2, work: W) -> W::Output {
        // SAFETY: the caller vouches for the work.
        unsafe { work.run_raw(simd) }
    }
    // SAFETY: `simd` exists only where `detect` found the features of `compiled`; the caller vouches for the work.
    unsafe { compiled(simd, work) }
}

/// Lanes 0–7 and 8–15.
#[derive(Clone, Copy)]
pub(crate) struct Pair(__m256, __m256);

impl Simd for Avx2 {
    type V = Pair;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        // SAFETY: `self` proves AVX2 and FMA (so for every block in this file without a pointer).
        let v = unsafe { _mm256_set1_ps(x) };
        Pair(v, v)
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Pair {
        // SAFETY: the caller vouches for 16 readable f32 at `p`.
        unsafe { Pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Pair) {
        // SAFETY: the caller vouches for 16 writable f32 at `p`.
        unsafe {
            _mm256_storeu_ps(p, v.0);
            _mm256_storeu_ps(p.add(8), v.1);
        }
    }

    #[inline(always)]
    unsafe fn store_past(self, p: *mut f32, v: Pair) {
        // SAFETY: the caller vouches for 16 writable f32 at `p` and for its alignment.
        unsafe {
            _mm256_stream_ps(p, v.0);
            _mm256_stream_ps(p.add(8), v.1);
        }
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
    unsafe fn load_u8(self, p: *const u8) -> Pair {
        // SAFETY: the caller vouches for 16 readable bytes at `p`.
        unsafe {
            let bytes = _mm_loadu_si128(p.cast());
            Pair(
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes))),
            )
        }
    }

    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: see `splat`.
        unsafe { Pair(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: see `splat`.
        unsafe { Pair(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: see `splat`.
        unsafe { Pair(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: see `splat`.
        unsafe { Pair(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn fma(self, a: Pair, b: Pair, c: Pair) -> Pair {
        // SAFETY: see `splat`.
        unsafe { Pair(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }

    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: see `splat`. The instruction gives b where either is NaN.
        unsafe { Pair(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn max_or_nan(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: see `splat`. The maximum is b where either is NaN.
        unsafe {
            let (low, high) = (_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1));
            Pair(
                _mm256_blendv_ps(low, a.0, _mm256_cmp_ps::<_CMP_UNORD_Q>(a.0, a.0)),
                _mm256_blendv_ps(high, a.1, _mm256_cmp_ps::<_CMP_UNORD_Q>(a.1, a.1)),
            )
        }
    }

    #[inline(always)]
    fn relu_gate(self, v: Pair, x: Pair) -> Pair {
        // SAFETY: see `splat`. The comparison is "not ≤", which NaN is.
        unsafe {
            let zero = _mm256_setzero_ps();
            Pair(
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLE_UQ>(v.0, zero), x.0),
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLE_UQ>(v.1, zero), x.1),
            )
        }
    }

    #[inline(always)]
    fn is_max(self, a: Pair, b: Pair) -> u16 {
        // SAFETY: see `splat`.
        unsafe {
            macro_rules! bits {
                ($a:expr, $b:expr) => {{
                    let larger = _mm256_cmp_ps::<_CMP_GE_OQ>($a, $b);
                    _mm256_movemask_ps(_mm256_or_ps(larger, _mm256_cmp_ps::<_CMP_UNORD_Q>($a, $a)))
                }};
            }
            (bits!(a.0, b.0) | bits!(a.1, b.1) << 8) as u16
        }
    }

    #[inline(always)]
    fn keep(self, lanes: u16, x: Pair) -> Pair {
        // SAFETY: see `splat`.
        unsafe {
            macro_rules! mask {
                ($lanes:expr) => {{
                    let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                    let set = _mm256_and_si256(_mm256_set1_epi32($lanes), bits);
                    _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bits))
                }};
            }
            let lanes = i32::from(lanes);
            Pair(_mm256_and_ps(mask!(lanes), x.0), _mm256_and_ps(mask!(lanes >> 8), x.1))
        }
    }

    #[inline(always)]
    fn exponent(self, n_and_magic: Pair) -> Pair {
        // SAFETY: see `splat`.
        unsafe {
            let shift = |v: __m256| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(v)));
            Pair(shift(n_and_magic.0), shift(n_and_magic.1))
        }
    }

    #[inline(always)]
    fn sum(self, v: Pair) -> f32 {
        // SAFETY: see `splat`; AVX2 implies SSE.
        unsafe {
            let v8 = _mm256_add_ps(v.0, v.1);
            let v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps::<1>(v8));
            let v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
            let v1 = _mm_add_ss(v2, _mm_shuffle_ps::<1>(v2, v2));
            _mm_cvtss_f32(v1)
        }
    }

    #[inline(always)]
    fn sum16(self, v: [Pair; 16]) -> Pair {
        // Like the AVX-512 form, on halves: eight vectors at a time.
        macro_rules! quad {
            ($j:expr) => {{
                let (a, b) = (_mm256_add_ps(v[$j].0, v[$j].1), _mm256_add_ps(v[$j + 4].0, v[$j + 4].1));
                _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
            }};
        }
        macro_rules! two {
            ($p:expr, $q:expr) => {{
                let (p, q) = (_mm256_castps_pd($p), _mm256_castps_pd($q));
                _mm256_add_ps(
                    _mm256_castpd_ps(_mm256_unpacklo_pd(p, q)),
                    _mm256_castpd_ps(_mm256_unpackhi_pd(p, q)),
                )
            }};
        }
        macro_rules! half {
            ($j:expr) => {{
                let (p, q) = (two!(quad!($j), quad!($j + 1)), two!(quad!($j + 2), quad!($j + 3)));
                _mm256_add_ps(_mm256_shuffle_ps::<0x88>(p, q), _mm256_shuffle_ps::<0xDD>(p, q))
            }};
        }
        // SAFETY: see `splat`.
        unsafe { Pair(half!(0), half!(8)) }
    }
}
