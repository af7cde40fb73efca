//! Training images changed at random as they are read. What happens to an image is a function of the data seed, the
//! draw (which batch it is) and its place in the batch alone: the same for any number of threads, for a resumed run,
//! and however a batch is divided.

use rigl_base::random::{Purpose, Stream};
use rigl_base::{Error, Result};

/// Random crop and flip (the paper's recipe for CIFAR): an image is padded on all sides by mirroring, border pixels
/// repeated (numpy's `symmetric`), cut to its old size at a random place, and in half of the cases turned round from
/// left to right.
#[derive(Clone, Copy, Debug)]
pub struct CropFlip {
    seed: u64,
    channels: usize,
    rows: usize,
    columns: usize,
    padding: u16,
}

impl CropFlip {
    /// For images of this shape, `[channels, rows, columns]`, with so many pixels of padding; `seed` is the data
    /// seed.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for any other shape, or images of 2³¹ values or more.
    pub fn new(seed: u64, shape: &[usize], padding: u16) -> Result<CropFlip> {
        let values = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        match *shape {
            [channels, rows, columns] if values.is_some_and(|n| n < 1 << 31) => {
                Ok(CropFlip { seed, channels, rows, columns, padding })
            }
            _ => Err(Error::usage(format!(
                "samples of shape {shape:?} cannot be cropped, expected channels, rows and columns"
            ))),
        }
    }

    /// Replaces `into` by image `place` of batch `draw`, changed at random.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if the image does not have that shape.
    pub fn apply<T: Copy>(&self, draw: u64, place: usize, image: &[T], into: &mut Vec<T>) -> Result<()> {
        let &CropFlip { rows, columns, padding, .. } = self;
        if image.len() != self.channels * rows * columns {
            return Err(Error::data(format!(
                "an image of {} values cannot be cropped, expected {} × {rows} × {columns}",
                image.len(),
                self.channels
            )));
        }
        into.clear();
        if image.is_empty() {
            return Ok(());
        }
        let [down, right, flip, _] = Stream::new(self.seed, Purpose::Augment, draw).block(place as u64);
        let (down, right) = (offset(down, padding), offset(right, padding));
        for plane in image.chunks_exact(rows * columns) {
            for row in 0..rows {
                let from = mirrored(row as i64 + down, rows);
                let start = into.len();
                shifted(&plane[from * columns..][..columns], right, into);
                if flip & 1 == 1 {
                    into[start..].reverse();
                }
            }
        }
        Ok(())
    }
}

/// A whole number from −padding to padding, each as often as any other, but for a share of 2⁻¹⁵ at most.
fn offset(word: u32, padding: u16) -> i64 {
    let places = 2 * u64::from(padding) + 1;
    ((u64::from(word) * places) >> 32) as i64 - i64::from(padding)
}

/// The index in `0 … len − 1` that stands at `i` when a row is continued by mirroring on both sides.
fn mirrored(i: i64, len: usize) -> usize {
    let period = 2 * len as i64;
    let i = i.rem_euclid(period);
    i.min(period - 1 - i) as usize
}

/// Appends a row seen `right` pixels further right.
fn shifted<T: Copy>(row: &[T], right: i64, into: &mut Vec<T>) {
    let len = row.len() as i64;
    let (before, after) = ((-right).clamp(0, len), right.clamp(0, len));
    into.extend((right..right + before).map(|i| row[mirrored(i, row.len())]));
    into.extend_from_slice(&row[after as usize..(len - before) as usize]);
    into.extend((len..len + after).map(|i| row[mirrored(i + right - after, row.len())]));
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rigl_base::Kind;

    use super::*;

    /// An image padded, cut at (down, right) from the middle, and flipped, pixel by pixel.
    fn plainly(image: &[u8], [c, h, w]: [usize; 3], down: i64, right: i64, flip: bool) -> Vec<u8> {
        let mirror = |i: i64, len: usize| {
            let mut i = i;
            while i < 0 || i >= len as i64 {
                i = if i < 0 { -1 - i } else { 2 * len as i64 - 1 - i };
            }
            i as usize
        };
        let mut out = Vec::new();
        for channel in 0..c {
            for row in 0..h {
                for column in 0..w {
                    let column = if flip { w - 1 - column } else { column };
                    let (y, x) = (mirror(row as i64 + down, h), mirror(column as i64 + right, w));
                    out.push(image[(channel * h + y) * w + x]);
                }
            }
        }
        out
    }

    #[test]
    fn an_image_is_a_crop_of_the_mirrored_one_and_every_crop_occurs() {
        for shape in [[3, 32, 32], [1, 5, 7], [2, 3, 2], [1, 1, 1]] {
            let image: Vec<u8> =
                (0..shape.iter().product::<usize>()).map(|i| (i * 37 + i / 7) as u8).collect();
            let mut all = HashMap::new();
            for (n, (down, right)) in (-4..=4).flat_map(|d| (-4..=4).map(move |r| (d, r))).enumerate() {
                for flip in [false, true] {
                    all.insert(plainly(&image, shape, down, right, flip), 2 * n + usize::from(flip));
                }
            }
            let crop = CropFlip::new(3, &shape, 4).unwrap();
            let (mut out, mut seen) = (vec![7; 9], HashMap::new());
            for draw in 0..20 {
                for place in 0..128 {
                    crop.apply(draw, place, &image, &mut out).unwrap();
                    assert!(all.contains_key(&out), "{shape:?} {draw} {place}");
                    *seen.entry(out.clone()).or_insert(0) += 1;
                }
            }
            assert_eq!(seen.len(), all.len(), "{shape:?}");
            if shape == [3, 32, 32] {
                // 2560 images, 162 crops: each about 16 times.
                assert_eq!(all.len(), 162);
                assert!(seen.values().all(|&n| (2..=40).contains(&n)), "{seen:?}");
            }
        }
    }

    #[test]
    fn rows_are_continued_as_numpy_does() {
        let row = |right| {
            let mut out = Vec::new();
            shifted(&[1, 2, 3, 4, 5], right, &mut out);
            out
        };
        // numpy.pad([1, 2, 3, 4, 5], 7, "symmetric") is 4 5 5 4 3 2 1 | 1 2 3 4 5 | 5 4 3 2 1 1 2.
        assert_eq!(row(0), [1, 2, 3, 4, 5]);
        assert_eq!(row(-2), [2, 1, 1, 2, 3]);
        assert_eq!(row(3), [4, 5, 5, 4, 3]);
        assert_eq!(row(-7), [4, 5, 5, 4, 3]);
        assert_eq!(row(7), [3, 2, 1, 1, 2]);
    }

    #[test]
    fn what_happens_is_decided_by_seed_draw_and_place_alone() {
        let image: Vec<u8> = (0..3072).map(|i| (i * i) as u8).collect();
        let apply = |seed, draw, place| {
            let mut out = Vec::new();
            CropFlip::new(seed, &[3, 32, 32], 4).unwrap().apply(draw, place, &image, &mut out).unwrap();
            out
        };
        let base = apply(1, 2, 3);
        assert_eq!(apply(1, 2, 3), base);
        // Part of what a resumed run relies on: these numbers must stay.
        assert_eq!(base, plainly(&image, [3, 32, 32], 1, -2, true));
        for other in [apply(2, 2, 3), apply(1, 3, 3), apply(1, 2, 4)] {
            assert_ne!(other, base);
        }
    }

    #[test]
    fn what_has_no_rows_and_columns_is_refused() {
        for shape in [&[784][..], &[28, 28], &[1, 2, 3, 4], &[1, usize::MAX, 2]] {
            assert_eq!(CropFlip::new(0, shape, 4).unwrap_err().kind(), Kind::Usage);
        }
        let crop = CropFlip::new(0, &[1, 2, 2], 4).unwrap();
        assert_eq!(crop.apply(0, 0, &[1u8, 2, 3], &mut Vec::new()).unwrap_err().kind(), Kind::Data);
        CropFlip::new(0, &[1, 0, 2], 4).unwrap().apply::<u8>(0, 0, &[], &mut Vec::new()).unwrap();
    }
}
