//! What pooling's numbers are: windows over rows and columns.

use std::ops::Range;

use crate::error::Error;
use crate::map::MapShape;

/// Pooling of maps of `channels`, `rows` × `columns`, with square windows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PoolShape {
    /// Channels of input and output.
    pub channels: usize,
    /// Rows of the input.
    pub rows: usize,
    /// Columns of the input.
    pub columns: usize,
    /// Rows and columns of a window.
    pub kernel: usize,
    /// Rows and columns from one window to the next.
    pub stride: usize,
    /// Rows and columns of padding on every side.
    pub padding: usize,
}

/// Sides, kernels and strides at most: far above anything useful, far below any overflow.
const LARGEST: usize = 1 << 16;

impl PoolShape {
    /// Refuses what is no pooling, or too large to be addressed.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn check(&self) -> Result<(), Error> {
        let PoolShape { channels, rows, columns, kernel, stride, padding } = *self;
        let wrong = |why: &str| Err(Error::Shape(format!("{why}: {self:?}")));
        if [channels, rows, columns, kernel, stride].contains(&0) {
            return wrong("pooling of nothing");
        }
        if [rows, columns, kernel, stride].iter().any(|&n| n > LARGEST) {
            return wrong("sides too large");
        }
        if padding >= kernel {
            return wrong("windows that see only padding");
        }
        if rows + 2 * padding < kernel || columns + 2 * padding < kernel {
            return wrong("a window larger than the map");
        }
        Ok(())
    }

    /// The shape of the input.
    pub fn input(&self) -> MapShape {
        MapShape { channels: self.channels, rows: self.rows, columns: self.columns }
    }

    /// The shape of the output, of a shape that [`PoolShape::check`] lets pass; without rows and columns of others.
    pub fn output(&self) -> MapShape {
        let MapShape { channels, rows, columns } = self.input();
        if self.check().is_err() {
            return MapShape { channels, rows: 0, columns: 0 };
        }
        let side = |n: usize| (n + 2 * self.padding - self.kernel) / self.stride + 1;
        MapShape { channels, rows: side(rows), columns: side(columns) }
    }

    /// The input rows (or columns, of `side`) that output row `out` sees: at least one.
    #[inline(always)]
    pub(crate) fn window(&self, out: usize, side: usize) -> Range<usize> {
        let first = out * self.stride;
        first.saturating_sub(self.padding)..side.min(first + self.kernel - self.padding)
    }

    /// The output rows (of `outputs`) that see any of the input rows.
    #[inline(always)]
    pub(crate) fn seen_by(&self, rows: &Range<usize>, outputs: usize) -> Range<usize> {
        let from = (rows.start + self.padding + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        let to = (rows.end + self.padding).div_ceil(self.stride).min(outputs);
        from.min(to)..to
    }
}

/// What is made of a window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Max,
    Average,
}
