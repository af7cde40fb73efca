//! A window of staged rows that moves down a map, in scratch that is used round and round.

use crate::map::{MapShape, Staging};
use crate::simd::LANES;

/// The last `slots` staged rows of a map, and a row of zeros for those outside the map.
pub(crate) struct Window {
    zero: *mut f32,
    base: *mut f32,
    row_len: usize,
    slots: isize,
    rows: isize,
    /// The first row that has not been staged.
    next: isize,
    /// Whether the row of zeros has been written: only blocks' edges need it.
    zeroed: bool,
}

impl Window {
    /// f32 of scratch that a window of so many slots needs.
    pub(crate) fn len(staging: Staging, channels: usize, slots: usize) -> usize {
        (slots + 1) * staging.row_len(channels)
    }

    /// An empty window with zero borders.
    ///
    /// # Safety
    /// `scratch` is valid for writes of [`Window::len`] f32 for the shape's channels, and stays so.
    pub(crate) unsafe fn new(scratch: *mut f32, staging: Staging, shape: MapShape, slots: usize) -> Window {
        let row_len = staging.row_len(shape.channels);
        // SAFETY: the caller vouches for the scratch.
        unsafe {
            // Only borders need to be cleared: staged rows cover the rest.
            let zero = |first: usize, count: usize| {
                for slot in 1..=slots {
                    for channel in 0..shape.channels {
                        let at = slot * row_len + (channel * staging.channel() + first) * LANES;
                        std::slice::from_raw_parts_mut(scratch.add(at), count * LANES).fill(0.0);
                    }
                }
            };
            for plane in 0..staging.planes {
                // Vector v of the plane is column v · planes + plane − left.
                let before = staging.left.saturating_sub(plane).div_ceil(staging.planes).min(staging.plane);
                let end = (shape.columns + staging.left).saturating_sub(plane).div_ceil(staging.planes);
                let end = end.clamp(before, staging.plane);
                if before > 0 {
                    zero(plane * staging.plane, before);
                }
                if end < staging.plane {
                    zero(plane * staging.plane + end, staging.plane - end);
                }
            }
            Window {
                zero: scratch,
                base: scratch.add(row_len),
                row_len,
                slots: slots as isize,
                rows: shape.rows as isize,
                next: isize::MIN,
                zeroed: false,
            }
        }
    }

    /// Where row `row` is staged, if it was; the row of zeros if it is outside the map, if such a row was asked for.
    pub(crate) fn row(&self, row: isize) -> *mut f32 {
        if row < 0 || row >= self.rows {
            return self.zero;
        }
        // SAFETY: the remainder is below the number of slots.
        unsafe { self.base.add((row % self.slots) as usize * self.row_len) }
    }

    /// Makes sure that rows `from ..= to` are staged, at most as many as there are slots: `stage(row, place)` is called
    /// for those inside the map that are not.
    pub(crate) fn stage(&mut self, from: isize, to: isize, mut stage: impl FnMut(usize, *mut f32)) {
        if !self.zeroed && (from < 0 || to >= self.rows) {
            // SAFETY: the scratch begins with a row for zeros (`Window::new`).
            unsafe { std::slice::from_raw_parts_mut(self.zero, self.row_len).fill(0.0) };
            self.zeroed = true;
        }
        for row in self.next.max(from).max(0)..=to.min(self.rows - 1) {
            stage(row as usize, self.row(row));
        }
        self.next = self.next.max(to + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::shape::ConvShape;

    /// The example of `docs/convolution-window.md`.
    const SHAPE: ConvShape =
        ConvShape { inputs: 2, rows: 8, columns: 8, outputs: 1, kernel: 3, stride: 2, padding: 1, groups: 1 };

    #[test]
    fn offsets_are_those_of_the_example() {
        assert_eq!(SHAPE.input_staging(), Staging { left: 1, planes: 2, plane: 5 });
        let offsets = |channel| [0, 1, 2].map(|column| SHAPE.input_offset(channel, column));
        assert_eq!([offsets(0), offsets(1)], [[0, 5, 1], [10, 15, 11]]);
        assert_eq!((SHAPE.tile_rows(), SHAPE.window_rows(), SHAPE.bands()), (2, 5, 2));
        assert_eq!(SHAPE.gradient_staging(), Staging { left: 0, planes: 1, plane: 5 });
        assert_eq!([SHAPE.class_first(0), SHAPE.class_first(1)], [1, 0]);
        assert_eq!([SHAPE.class_taps(0), SHAPE.class_taps(1)], [2, 1]);
        let offset = |class, tap| SHAPE.gradient_offset(0, class, tap);
        assert_eq!([offset(0, 0), offset(0, 1), offset(1, 0)], [1, 0, 0]);
    }

    #[test]
    fn rows_are_staged_where_the_example_has_them_and_zeros_stand_for_those_outside() {
        let (staging, shape) = (SHAPE.input_staging(), SHAPE.input());
        let mut scratch = vec![f32::NAN; Window::len(staging, shape.channels, 5)];
        // SAFETY: the scratch is as long as was asked for.
        let mut window = unsafe { Window::new(scratch.as_mut_ptr(), staging, shape, 5) };
        let slots = |window: &Window, rows: std::ops::Range<isize>| -> Vec<isize> {
            let of = |row| {
                // SAFETY: both are in the scratch.
                unsafe { window.row(row).offset_from(window.zero) / window.row_len as isize - 1 }
            };
            rows.map(of).collect()
        };
        let mut staged = Vec::new();
        window.stage(-1, 3, |row, _| staged.push(row));
        assert_eq!(
            (staged.as_slice(), slots(&window, -1..4)),
            ([0, 1, 2, 3].as_slice(), vec![-1, 0, 1, 2, 3])
        );
        staged.clear();
        window.stage(3, 7, |row, _| staged.push(row));
        assert_eq!((staged.as_slice(), slots(&window, 3..8)), ([4, 5, 6, 7].as_slice(), vec![3, 4, 0, 1, 2]));
        // Zeros, and borders, of every row.
        assert!(scratch[..staging.row_len(2)].iter().all(|&x| x == 0.0));
        for row in scratch.chunks(staging.row_len(2)).skip(1) {
            for channel in row.chunks(10 * LANES) {
                assert!(channel[..LANES].iter().chain(&channel[9 * LANES..]).all(|&x| x == 0.0));
                assert!(channel[LANES..9 * LANES].iter().all(|x| x.is_nan()));
            }
        }
    }
}
