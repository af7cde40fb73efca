//! Where numbers lie. A map of activations is `[group of 64 samples][feature][64]`: for every feature the
//! values of 64 samples side by side, four vectors of 16 lanes. A batch that is no multiple of 64 is padded;
//! padded lanes hold zeros in the input and weight 0 in the loss, so they change nothing.

use crate::error::Error;
use crate::simd::LANES;

/// Samples of a group.
pub const GROUP: usize = 64;

/// Vectors of a group.
pub(crate) const VECTORS: usize = GROUP / LANES;

/// Groups whose weight gradients are added up in one chain before the lanes are: a block of the batch.
pub(crate) const BLOCK_GROUPS: usize = 2;

/// Groups that `samples` fill.
pub fn groups(samples: usize) -> usize {
    samples.div_ceil(GROUP)
}

/// Length of a map: `features` of a batch in `groups`.
///
/// # Errors
/// [`Error::Shape`] if it cannot be addressed.
pub fn map_len(features: usize, groups: usize) -> Result<usize, Error> {
    features
        .checked_mul(groups)
        .and_then(|n| n.checked_mul(GROUP))
        .filter(|n| n.checked_mul(4).is_some_and(|bytes| bytes <= isize::MAX as usize))
        .ok_or_else(|| Error::Shape(format!("{features} features × {groups} groups of {GROUP} samples")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_counted_up_and_maps_too_large_are_refused() {
        assert_eq!([0, 1, 64, 65].map(groups), [0, 1, 1, 2]);
        assert_eq!(map_len(3, 2), Ok(384));
        assert!(map_len(usize::MAX / 8, 1).is_err());
    }
}
