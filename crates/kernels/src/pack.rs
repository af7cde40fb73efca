//! Images on their way into a network: bytes become scaled numbers, sixteen samples side by side. Every sample has
//! its own scale and shift for each channel, `x = byte · scale + shift`, so that images can be standardised one by
//! one; those of all samples lie one after the other, `scale[sample][channel]`.

use std::ops::Range;

use crate::error::{Error, check_len};
use crate::map::{BLOCK, MapShape, blocks};
use crate::simd::{Isa, LANES, Simd, Work, bytes};
use crate::vector::layout::{GROUP, VECTORS, groups, map_len};

/// Packs images into a map of vectors: `map[group][feature][lane] = image[feature] · scale[c] + shift[c]`, c the
/// channel of the feature, of which there are equally many of each. Lanes behind the last image are zero.
///
/// # Errors
/// If images differ in length, channels do not divide it, or another slice is not as long as it must be.
pub fn pack_vectors(
    isa: Isa,
    images: &[&[u8]],
    channels: usize,
    scale: &[f32],
    shift: &[f32],
    map: &mut [f32],
) -> Result<(), Error> {
    let features = images.first().map_or(0, |image| image.len());
    if features > 0 && (channels == 0 || !features.is_multiple_of(channels)) {
        return Err(Error::Length { what: "channels", found: channels, expected: 1 });
    }
    check(images, features, channels, scale, shift)?;
    check_len("map", map.len(), map_len(features, groups(images.len()))?)?;
    if features > 0 {
        isa.run(Vectors(Packing { images, channels, scale, shift }, map));
    }
    Ok(())
}

/// Packs images, each `[channel][row][column]`, into a map of that shape:
/// `map[block][row][channel][column][lane] = image[channel][row][column] · scale[channel] + shift[channel]`. Lanes
/// behind the last image are zero.
///
/// # Errors
/// If an image or another slice is not as long as the shape says.
pub fn pack_maps(
    isa: Isa,
    images: &[&[u8]],
    shape: MapShape,
    scale: &[f32],
    shift: &[f32],
    map: &mut [f32],
) -> Result<(), Error> {
    let len = shape.len(blocks(images.len()))?;
    check(images, shape.len(1)? / BLOCK, shape.channels, scale, shift)?;
    check_len("map", map.len(), len)?;
    if len > 0 {
        let packing = Packing { images, channels: shape.channels, scale, shift };
        isa.run(Maps(packing, shape, map));
    }
    Ok(())
}

fn check(
    images: &[&[u8]],
    features: usize,
    channels: usize,
    scale: &[f32],
    shift: &[f32],
) -> Result<(), Error> {
    for image in images {
        check_len("image", image.len(), features)?;
    }
    let values = images
        .len()
        .checked_mul(channels)
        .ok_or_else(|| Error::Shape(format!("{} images of {channels} channels", images.len())))?;
    check_len("scale", scale.len(), values)?;
    check_len("shift", shift.len(), values)
}

struct Packing<'a> {
    images: &'a [&'a [u8]],
    channels: usize,
    scale: &'a [f32],
    shift: &'a [f32],
}

impl Packing<'_> {
    /// The images from `first` on, which there must be, and how many of them are lanes. Lanes behind the last
    /// image read the first one; their scale and shift are zero.
    #[inline(always)]
    fn lanes(&self, first: usize) -> ([&[u8]; LANES], usize) {
        let count = (self.images.len() - first).min(LANES);
        (std::array::from_fn(|l| self.images[first + if l < count { l } else { 0 }]), count)
    }

    /// One value per lane for a channel.
    #[inline(always)]
    fn values<S: Simd>(&self, s: S, values: &[f32], first: usize, count: usize, channel: usize) -> S::V {
        let mut lanes = [0.0; LANES];
        for (l, lane) in lanes.iter_mut().enumerate().take(count) {
            *lane = values[(first + l) * self.channels + channel];
        }
        // SAFETY: `lanes` holds 16.
        unsafe { s.load(lanes.as_ptr()) }
    }
}

/// Packs the bytes in `range` of sixteen images: those of byte `range.start + i` go to `out[i · stride ..][.. 16]`.
#[inline(always)]
fn pack<S: Simd>(
    s: S,
    images: &[&[u8]; LANES],
    range: Range<usize>,
    (scale, shift): (S::V, S::V),
    out: &mut [f32],
    stride: usize,
) {
    let mut start = range.start;
    while start < range.end {
        let width = (range.end - start).min(LANES);
        let mut tile = [[0u8; LANES]; LANES];
        for (row, image) in tile.iter_mut().zip(images) {
            match image[start..].first_chunk() {
                Some(chunk) => *row = *chunk,
                None => row[..width].copy_from_slice(&image[start..][..width]),
            }
        }
        let tile = bytes::transpose(&tile);
        for (i, bytes) in tile.iter().take(width).enumerate() {
            let out = &mut out[(start - range.start + i) * stride..][..LANES];
            // SAFETY: `bytes` and `out` are 16 long.
            unsafe { s.store(out.as_mut_ptr(), s.fma(s.load_u8(bytes.as_ptr()), scale, shift)) };
        }
        start += width;
    }
}

struct Vectors<'a>(Packing<'a>, &'a mut [f32]);

impl Work for Vectors<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Vectors(packing, map) = self;
        let features = packing.images[0].len();
        let per_channel = features / packing.channels;
        for (g, group) in map.chunks_exact_mut(features * GROUP).enumerate() {
            for v in 0..VECTORS {
                let first = g * GROUP + v * LANES;
                if first >= packing.images.len() {
                    for row in group.chunks_exact_mut(GROUP) {
                        row[v * LANES..][..LANES].fill(0.0);
                    }
                    continue;
                }
                let (images, count) = packing.lanes(first);
                for channel in 0..packing.channels {
                    let scale = packing.values(s, packing.scale, first, count, channel);
                    let shift = packing.values(s, packing.shift, first, count, channel);
                    let start = channel * per_channel;
                    let out = &mut group[start * GROUP + v * LANES..];
                    pack(s, &images, start..start + per_channel, (scale, shift), out, GROUP);
                }
            }
        }
    }
}

struct Maps<'a>(Packing<'a>, MapShape, &'a mut [f32]);

impl Work for Maps<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Maps(packing, shape, map) = self;
        let MapShape { channels, rows, columns } = shape;
        for (b, block) in map.chunks_exact_mut(shape.block_len()).enumerate() {
            let first = b * BLOCK;
            let (images, count) = packing.lanes(first);
            for channel in 0..channels {
                let scale = packing.values(s, packing.scale, first, count, channel);
                let shift = packing.values(s, packing.shift, first, count, channel);
                for row in 0..rows {
                    let start = (channel * rows + row) * columns;
                    let out = &mut block[(row * channels + channel) * columns * BLOCK..];
                    pack(s, &images, start..start + columns, (scale, shift), out, BLOCK);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [usize; 9] = [0, 1, 15, 16, 17, 33, 64, 65, 130];

    /// Images whose bytes do not repeat soon, and signed numbers for each sample and channel.
    fn images(samples: usize, features: usize, channels: usize) -> (Vec<Vec<u8>>, Vec<f32>, Vec<f32>) {
        let image = |s: usize| (0..features).map(|f| (s * 7 + f * 13 + f * f) as u8).collect();
        let numbers = |salt: f32| (0..samples * channels).map(|i| (i as f32 * 0.7 + salt).sin()).collect();
        ((0..samples).map(image).collect(), numbers(0.0), numbers(1.0))
    }

    fn views(images: &[Vec<u8>]) -> Vec<&[u8]> {
        images.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn vectors_are_packed_lane_by_lane_and_padding_is_zero() {
        for isa in Isa::available() {
            for samples in SAMPLES {
                for (features, channels) in [(3, 1), (18, 3), (48, 3), (33, 11), (5, 5), (784, 1)] {
                    let (images, scale, shift) = images(samples, features, channels);
                    let mut map = vec![f32::NAN; map_len(features, groups(samples)).unwrap()];
                    pack_vectors(isa, &views(&images), channels, &scale, &shift, &mut map).unwrap();
                    for (i, &x) in map.iter().enumerate() {
                        let (g, f, l) = (i / (features * GROUP), i / GROUP % features, i % GROUP);
                        let sample = g * GROUP + l;
                        let at = sample * channels + f / (features / channels);
                        let expected = match images.get(sample) {
                            Some(image) => f32::from(image[f]).mul_add(scale[at], shift[at]),
                            None => 0.0,
                        };
                        assert_eq!(x.to_bits(), expected.to_bits(), "sample {sample} feature {f}");
                    }
                }
            }
        }
    }

    #[test]
    fn maps_are_packed_lane_by_lane_and_padding_is_zero() {
        for isa in Isa::available() {
            for samples in SAMPLES {
                for [channels, rows, columns] in
                    [[1, 1, 1], [3, 2, 5], [2, 3, 16], [1, 4, 17], [3, 5, 32], [17, 1, 3]]
                {
                    let shape = MapShape { channels, rows, columns };
                    let (images, scale, shift) = images(samples, channels * rows * columns, channels);
                    let mut map = vec![f32::NAN; shape.len(blocks(samples)).unwrap()];
                    pack_maps(isa, &views(&images), shape, &scale, &shift, &mut map).unwrap();
                    let mut at = map.iter();
                    for block in 0..blocks(samples) {
                        for row in 0..rows {
                            for channel in 0..channels {
                                for column in 0..columns {
                                    for lane in 0..BLOCK {
                                        let sample = block * BLOCK + lane;
                                        let value = sample * channels + channel;
                                        let expected = images.get(sample).map_or(0.0, |image| {
                                            let byte = image[(channel * rows + row) * columns + column];
                                            f32::from(byte).mul_add(scale[value], shift[value])
                                        });
                                        let x = at.next().unwrap();
                                        assert_eq!(x.to_bits(), expected.to_bits(), "{shape:?} {sample}");
                                    }
                                }
                            }
                        }
                    }
                    assert_eq!(at.next(), None);
                }
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let isa = Isa::detect();
        let image: &[u8] = &[1, 2, 3, 4];
        let mut map = vec![0.0; 64 * 4];
        assert!(pack_vectors(isa, &[image], 1, &[1.0], &[0.0], &mut map).is_ok());
        assert!(pack_vectors(isa, &[image, &[1]], 1, &[1.0; 2], &[0.0; 2], &mut map).is_err());
        assert!(pack_vectors(isa, &[image], 3, &[1.0; 3], &[0.0; 3], &mut map).is_err());
        assert!(pack_vectors(isa, &[image; 2], 1, &[1.0], &[0.0], &mut map).is_err());
        assert!(pack_vectors(isa, &[image], 1, &[1.0], &[0.0], &mut map[1..]).is_err());
        let shape = MapShape { channels: 2, rows: 1, columns: 2 };
        let map = &mut map[..64];
        assert!(pack_maps(isa, &[image], shape, &[1.0; 2], &[0.0; 2], map).is_ok());
        assert!(pack_maps(isa, &[image], shape, &[1.0; 2], &[0.0], map).is_err());
        assert!(pack_maps(isa, &[image], shape, &[1.0; 2], &[0.0; 2], &mut map[1..]).is_err());
        assert!(pack_maps(isa, &[&image[1..]], shape, &[1.0; 2], &[0.0; 2], map).is_err());
    }
}
