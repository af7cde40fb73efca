//! Lengths and dimensions that do not fit.

use rigl_kernels::Error;
use rigl_kernels::vector::layout::GROUP;

use super::guard::{GUARDED, Place};

/// Calls with the right lengths succeed; each length that is wrong is refused, in either place.
pub fn check_lengths<const N: usize>(
    name: &str,
    right: [usize; N],
    call: impl Fn([usize; N], Place) -> Result<(), Error>,
) {
    for place in GUARDED {
        assert_eq!(call(right, place), Ok(()), "{name}");
        for (i, len) in right.into_iter().enumerate() {
            for wrong in [len.saturating_sub(1), len + 1, 0, 1, len / 2, 2 * len, len + GROUP] {
                let mut lengths = right;
                lengths[i] = wrong;
                let result = call(lengths, place);
                let refused = matches!(result, Err(Error::Length { found, .. }) if found == wrong);
                assert!(wrong == len || refused, "{name}: {wrong} for {len} at {i}: {result:?}");
            }
        }
    }
}

/// Dimensions no layer has, and some that one might have.
pub const DIMENSIONS: [usize; 14] = [
    0,
    1,
    4,
    5,
    64,
    1 << 12,
    1 << 16,
    u32::MAX as usize,
    1 << 32,
    1 << 40,
    usize::MAX / 256,
    isize::MAX as usize,
    usize::MAX - 1,
    usize::MAX,
];
