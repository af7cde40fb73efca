//! Where numbers lie. A map of activations is `[group of 64 samples][feature][64]`: for every feature the
//! values of 64 samples side by side, four vectors of 16 lanes. A batch that is no multiple of 64 is padded;
//! padded lanes hold zeros in the input and weight 0 in the loss, so they change nothing.

use crate::error::check_len;
use crate::simd::{LANES, Simd, Work, bytes};
use crate::{Error, Isa};

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

/// Packs images into a map: `map[group][feature][lane] = image[feature] · scale[c] + shift[c]`, c the channel
/// of the feature. Lanes behind the last image are zero.
///
/// # Errors
/// If an image does not have `features` bytes, channels do not divide features, or the map does not fit.
pub fn pack_images(
    isa: Isa,
    images: &[&[u8]],
    scale: &[f32],
    shift: &[f32],
    map: &mut [f32],
) -> Result<(), Error> {
    let features = images.first().map_or(0, |image| image.len());
    for image in images {
        check_len("image", image.len(), features)?;
    }
    check_len("shift", shift.len(), scale.len())?;
    if features > 0 && (scale.is_empty() || !features.is_multiple_of(scale.len())) {
        return Err(Error::Length { what: "scale", found: scale.len(), expected: 1 });
    }
    check_len("map", map.len(), map_len(features, groups(images.len()))?)?;
    if features > 0 {
        isa.run(Pack { images, features, scale, shift, map });
    }
    Ok(())
}

struct Pack<'a> {
    images: &'a [&'a [u8]],
    features: usize,
    scale: &'a [f32],
    shift: &'a [f32],
    map: &'a mut [f32],
}

impl Work for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let per_channel = self.features / self.scale.len();
        for (g, group) in self.map.chunks_exact_mut(self.features * GROUP).enumerate() {
            for v in 0..VECTORS {
                let first = g * GROUP + v * LANES;
                let count = self.images.len().saturating_sub(first).min(LANES);
                if count == 0 {
                    for row in group.chunks_exact_mut(GROUP) {
                        row[v * LANES..][..LANES].fill(0.0);
                    }
                    continue;
                }
                // Lanes behind the last image read the first image; the mask then zeroes them.
                let images: [&[u8]; LANES] =
                    std::array::from_fn(|l| self.images[first + if l < count { l } else { 0 }]);
                let mut mask = [0.0f32; LANES];
                mask[..count].fill(1.0);
                let mut start = 0;
                while start < self.features {
                    let width = (self.features - start).min(LANES);
                    let mut tile = [[0u8; LANES]; LANES];
                    for (row, image) in tile.iter_mut().zip(&images) {
                        match image[start..].first_chunk() {
                            Some(chunk) => *row = *chunk,
                            None => row[..width].copy_from_slice(&image[start..]),
                        }
                    }
                    let tile = bytes::transpose(&tile);
                    for (f, bytes) in tile.iter().take(width).enumerate() {
                        let channel = (start + f) / per_channel;
                        let out = &mut group[(start + f) * GROUP + v * LANES..][..LANES];
                        // SAFETY: `bytes`, `mask` and `out` are 16 long.
                        unsafe {
                            let x = s.load_u8(bytes.as_ptr());
                            let y = s.fma(x, s.splat(self.scale[channel]), s.splat(self.shift[channel]));
                            let y = s.where_positive(s.load(mask.as_ptr()), y);
                            s.store(out.as_mut_ptr(), y);
                        }
                    }
                    start += width;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_packed_lane_by_lane_and_padding_is_zero() {
        for isa in Isa::available() {
            for (samples, features) in [(1, 3), (15, 18), (17, 48), (64, 33), (100, 5), (130, 784)] {
                let images: Vec<Vec<u8>> =
                    (0..samples).map(|s| (0..features).map(|f| (s * 7 + f * 13) as u8).collect()).collect();
                let views: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
                let mut map = vec![f32::NAN; map_len(features, groups(samples)).unwrap()];
                pack_images(isa, &views, &[0.5], &[0.25], &mut map).unwrap();
                for (i, &x) in map.iter().enumerate() {
                    let (g, f, l) = (i / (features * GROUP), i / GROUP % features, i % GROUP);
                    let sample = g * GROUP + l;
                    let expected =
                        if sample < samples { f32::from(images[sample][f]).mul_add(0.5, 0.25) } else { 0.0 };
                    assert_eq!(x, expected, "sample {sample} feature {f}");
                }
            }
        }
    }

    #[test]
    fn each_channel_has_its_own_scale() {
        let mut map = vec![0.0; map_len(4, 1).unwrap()];
        pack_images(Isa::detect(), &[&[1, 2, 3, 4]], &[1.0, 10.0], &[0.0, 5.0], &mut map).unwrap();
        assert_eq!([map[0], map[64], map[128], map[192]], [1.0, 2.0, 35.0, 45.0]);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let isa = Isa::detect();
        let mut map = vec![0.0; 64 * 4];
        assert!(pack_images(isa, &[&[1, 2, 3, 4], &[1]], &[1.0], &[0.0], &mut map).is_err());
        assert!(pack_images(isa, &[&[1, 2, 3, 4]], &[1.0; 3], &[0.0; 3], &mut map).is_err());
        assert!(pack_images(isa, &[&[1, 2, 3, 4]], &[1.0], &[0.0], &mut map[1..]).is_err());
        assert!(map_len(usize::MAX / 8, 1).is_err());
    }
}
