//! Memory asked for before it is needed.

use std::ops::Range;

use crate::map::{MapShape, lines};
use crate::simd::{LANES, Simd};

/// Stored rows that will be staged next, brought near while a tile is computed: staging them would else wait for
/// memory, and computing for nothing.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    /// Where they lie, and how many lines.
    pub(crate) ranges: [(*const f32, usize); AHEAD],
}

/// Ranges of rows that a convolution may stage at a time.
pub(crate) const AHEAD: usize = 4;

impl Ahead {
    /// The part for one of `of` tiles.
    pub(crate) fn part(&self, tile: usize, of: usize) -> Ahead {
        let part = |(start, lines): (*const f32, usize)| {
            let each = lines.div_ceil(of.max(1));
            let first = (tile * each).min(lines);
            (start.wrapping_add(first * LANES), each.min(lines - first))
        };
        Ahead { ranges: self.ranges.map(part) }
    }

    /// Spreads the lines over so many visits.
    pub(crate) fn over(&self, visits: usize) -> Fetch {
        let lines: usize = self.ranges.iter().map(|(_, lines)| lines).sum();
        Fetch { ranges: self.ranges, range: 0, each: lines.div_ceil(visits.max(1)) }
    }
}

/// Lines on their way.
pub(crate) struct Fetch {
    ranges: [(*const f32, usize); AHEAD],
    range: usize,
    each: usize,
}

impl Fetch {
    /// Brings the next lines near.
    #[inline(always)]
    pub(crate) fn next<S: Simd>(&mut self, s: S) {
        let mut left = self.each;
        while left > 0 {
            let Some((start, lines)) = self.ranges.get_mut(self.range) else { return };
            let now = left.min(*lines);
            for line in 0..now {
                s.prefetch(start.wrapping_add(line * LANES));
            }
            *start = start.wrapping_add(now * LANES);
            *lines -= now;
            left -= now;
            self.range += usize::from(*lines == 0);
        }
    }
}

/// Nothing to bring near.
pub(crate) const NOTHING: (*const f32, usize) = (std::ptr::null(), 0);

/// Rows of a stored map to bring near, as far as there are such.
pub(crate) fn rows_ahead(
    map: &[f32],
    shape: MapShape,
    block: usize,
    rows: Range<usize>,
) -> (*const f32, usize) {
    let (first, end) = (rows.start.min(shape.rows), rows.end.min(shape.rows));
    let start = block * shape.block_len() + first * shape.row_len();
    lines(map, start..start + (end - first) * shape.row_len())
}
