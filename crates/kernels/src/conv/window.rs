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
            std::slice::from_raw_parts_mut(scratch, row_len).fill(0.0);
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
            }
        }
    }

    /// Where row `row` is staged; the row of zeros if it is outside the map.
    pub(crate) fn row(&self, row: isize) -> *mut f32 {
        if row < 0 || row >= self.rows {
            return self.zero;
        }
        // SAFETY: the remainder is below the number of slots.
        unsafe { self.base.add((row % self.slots) as usize * self.row_len) }
    }

    /// Makes sure that rows `from ..= to` are staged, at most as many as there are slots: `stage(row, place)` is called
    /// for those that are not.
    pub(crate) fn stage(&mut self, from: isize, to: isize, mut stage: impl FnMut(usize, *mut f32)) {
        for row in self.next.max(from).max(0)..=to.min(self.rows - 1) {
            stage(row as usize, self.row(row));
        }
        self.next = self.next.max(to + 1);
    }
}
