//! Bytes turned round: sixteen images of sixteen bytes become sixteen features of sixteen lanes.

use crate::simd::lanes::LANES;

/// A square of bytes.
pub(crate) type Square = [[u8; LANES]; LANES];

/// Columns become rows.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn transpose(square: &Square) -> Square {
    transpose_plainly(square)
}

/// Columns become rows: four rounds that interleave rows by bytes, pairs, fours and eights. SSE2, which every
/// x86-64 processor has.
#[cfg(target_arch = "x86_64")]
pub(crate) fn transpose(square: &Square) -> Square {
    use std::arch::x86_64::*;
    use std::array::from_fn;
    // SAFETY: every row is 16 bytes.
    let rows: [__m128i; 16] = from_fn(|i| unsafe { _mm_loadu_si128(square[i].as_ptr().cast()) });
    // Each round takes rows i and i + 8 to rows 2 i and 2 i + 1. After the four rounds the index of a byte within
    // its row has become the index of its row.
    let round = |rows: [__m128i; 16]| -> [__m128i; 16] {
        // SAFETY: SSE2 is part of x86-64.
        from_fn(|i| unsafe {
            match i % 2 {
                0 => _mm_unpacklo_epi8(rows[i / 2], rows[i / 2 + 8]),
                _ => _mm_unpackhi_epi8(rows[i / 2], rows[i / 2 + 8]),
            }
        })
    };
    let rows = round(round(round(round(rows))));
    let mut out = [[0; LANES]; LANES];
    for (out, row) in out.iter_mut().zip(rows) {
        // SAFETY: every row is 16 bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), row) };
    }
    out
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn transpose_plainly(square: &Square) -> Square {
    std::array::from_fn(|i| std::array::from_fn(|j| square[j][i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_rows() {
        let square: Square = std::array::from_fn(|i| std::array::from_fn(|j| (i * 16 + j) as u8));
        assert_eq!(transpose(&square), transpose_plainly(&square));
        assert_eq!(transpose(&transpose(&square)), square);
    }
}
