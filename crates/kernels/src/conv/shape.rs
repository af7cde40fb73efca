//! What a convolution's numbers are, and everything that follows from them: staging, classes of positions, tiles, bands.
//! Nothing here depends on threads or on the machine.

use std::ops::Range;

use crate::error::Error;
use crate::map::{MapShape, Staging};

/// Positions of a tile: outputs that are computed together, and over which a weight's gradient is one chain.
pub(crate) const TILE: usize = 16;

/// A convolution, as PyTorch's `Conv2d` with square kernels: maps of `inputs` channels, `rows` × `columns`, to
/// `outputs` channels. Its weight is `[outputs, inputs / groups, kernel, kernel]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConvShape {
    /// Channels of the input.
    pub inputs: usize,
    /// Rows of the input.
    pub rows: usize,
    /// Columns of the input.
    pub columns: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Rows and columns from one output to the next.
    pub stride: usize,
    /// Rows and columns of zeros on every side.
    pub padding: usize,
    /// Groups of channels that do not see each other; `inputs` of them for a depthwise convolution.
    pub groups: usize,
}

impl ConvShape {
    /// Refuses what is no convolution, or too large to be addressed.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn check(&self) -> Result<(), Error> {
        let ConvShape { inputs, rows, columns, outputs, kernel, stride, padding, groups } = *self;
        let wrong = |why: &str| Err(Error::Shape(format!("{why}: {self:?}")));
        if [inputs, rows, columns, outputs, kernel, stride, groups].contains(&0) {
            return wrong("a convolution of nothing");
        }
        if !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            return wrong("groups that do not divide the channels");
        }
        // Far above anything useful, far below any overflow in what follows.
        if [rows, columns, padding].iter().any(|&n| n > 1 << 16) || kernel > 64 || stride > 16 {
            return wrong("sides too large");
        }
        if padding >= kernel {
            return wrong("outputs that see only padding");
        }
        if rows + 2 * padding < kernel || columns + 2 * padding < kernel {
            return wrong("a kernel larger than the map");
        }
        if inputs > 1 << 20 || outputs > 1 << 20 || self.weight_len() > u32::MAX as usize {
            return wrong("too many weights");
        }
        // Offsets inside a staged row, in vectors, have 24 bits.
        let input = inputs.saturating_mul(self.input_staging().channel() + 2 * kernel);
        let gradient = outputs.saturating_mul(self.gradient_staging().plane + 2 * kernel);
        if input.max(gradient) >= 1 << OFFSET_BITS {
            return wrong("rows too wide");
        }
        Ok(())
    }

    /// Values of the weight; as many as can be counted, of a shape that [`ConvShape::check`] refuses.
    pub fn weight_len(&self) -> usize {
        let of_output = (self.inputs / self.groups.max(1)).saturating_mul(self.kernel.saturating_pow(2));
        self.outputs.saturating_mul(of_output)
    }

    /// The shape of the input.
    pub fn input(&self) -> MapShape {
        MapShape { channels: self.inputs, rows: self.rows, columns: self.columns }
    }

    /// The shape of the output; of no use, if the shape is one that [`ConvShape::check`] refuses.
    pub fn output(&self) -> MapShape {
        let side = |n: usize| {
            let padded = n.saturating_add(self.padding.saturating_mul(2));
            (padded.saturating_sub(self.kernel) / self.stride.max(1)).saturating_add(1)
        };
        MapShape { channels: self.outputs, rows: side(self.rows), columns: side(self.columns) }
    }

    /// How rows of the input are staged: columns one stride apart side by side.
    pub(crate) fn input_staging(&self) -> Staging {
        let padded = self.columns + 2 * self.padding;
        Staging { left: self.padding, planes: self.stride, plane: padded.div_ceil(self.stride) }
    }

    /// Where an input row's staged vector for channel c and kernel column kw begins, for output column 0.
    pub(crate) fn input_offset(&self, channel: usize, kernel_column: usize) -> usize {
        let staging = self.input_staging();
        channel * staging.channel()
            + kernel_column % self.stride * staging.plane
            + kernel_column / self.stride
    }

    /// Kernel rows (or columns) of class `class`: those that equal it modulo the stride.
    pub(crate) fn class_taps(&self, class: usize) -> usize {
        if class < self.kernel { (self.kernel - class).div_ceil(self.stride) } else { 0 }
    }

    /// The first input column of class `class`: (column + padding) mod stride is the class.
    pub(crate) fn class_first(&self, class: usize) -> usize {
        (class + self.stride - self.padding % self.stride) % self.stride
    }

    /// Input columns of class `class`.
    pub(crate) fn class_columns(&self, class: usize) -> usize {
        let first = self.class_first(class);
        if first < self.columns { (self.columns - first).div_ceil(self.stride) } else { 0 }
    }

    /// How rows of the output's gradient are staged: with borders wide enough for every class of input columns.
    pub(crate) fn gradient_staging(&self) -> Staging {
        let columns = self.output().columns;
        let (mut left, mut right) = (0, 0);
        for class in 0..self.stride {
            let (taps, count) = (self.class_taps(class), self.class_columns(class));
            if taps == 0 || count == 0 {
                continue;
            }
            let first = (self.class_first(class) + self.padding) / self.stride;
            left = left.max((taps - 1).saturating_sub(first));
            right = right.max((first + count).saturating_sub(columns));
        }
        Staging { left, planes: 1, plane: left + columns + right }
    }

    /// Where a gradient row's staged vector begins for channel o and tap m of a class of columns, for the first
    /// column of the class.
    pub(crate) fn gradient_offset(&self, channel: usize, class: usize, tap: usize) -> usize {
        let staging = self.gradient_staging();
        let first = (self.class_first(class) + self.padding) / self.stride;
        channel * staging.plane + staging.left + first - tap
    }

    /// The gradient rows that the data gradient of input rows `stride · (row, row + rows)` reads, relative to `row`: from,
    /// to, which may lie outside the map.
    pub(crate) fn reach(&self, rows: usize) -> (isize, isize) {
        let [k, s, p] = [self.kernel, self.stride, self.padding].map(|n| n as isize);
        let from = -(k - 1 - p).div_euclid(s).max(0);
        let to = rows as isize + (p - 1).div_euclid(s);
        (from, to.max(rows as isize - 1))
    }

    /// Output rows of a tile: two where there are two, since a tile of 2 × 8 positions sees fewer inputs than one
    /// of 16.
    pub(crate) fn tile_rows(&self) -> usize {
        2.min(self.output().rows)
    }

    /// Input rows that a tile sees: slots of the window of staged rows.
    pub(crate) fn window_rows(&self) -> usize {
        self.kernel + (self.tile_rows() - 1) * self.stride
    }

    /// Columns of a full tile of so many rows.
    pub(crate) fn tile_columns(&self) -> usize {
        TILE / self.tile_rows()
    }

    /// Bands of a block: rows of tiles.
    pub(crate) fn bands(&self) -> usize {
        self.output().rows.div_ceil(self.tile_rows())
    }

    /// The output rows of some bands.
    pub(crate) fn band_rows(&self, bands: &Range<usize>) -> Range<usize> {
        let (rows, tile) = (self.output().rows, self.tile_rows());
        (bands.start * tile).min(rows)..(bands.end * tile).min(rows)
    }

    /// The input rows that some output rows see.
    pub(crate) fn seen_inputs(&self, outputs: &Range<usize>) -> Range<usize> {
        let first = (outputs.start * self.stride).saturating_sub(self.padding);
        let end = (outputs.end.saturating_sub(1) * self.stride + self.kernel).saturating_sub(self.padding);
        first.min(self.rows)..end.min(self.rows)
    }

    /// The input rows whose gradients some bands compute: those behind what the last output row sees belong to the last
    /// band.
    pub(crate) fn band_inputs(&self, bands: &Range<usize>) -> Range<usize> {
        let each = self.tile_rows() * self.stride;
        let end = if bands.end >= self.bands() { self.rows } else { bands.end * each };
        (bands.start * each).min(self.rows)..end.min(self.rows)
    }
}

/// Bits of an offset inside a staged row; the bits above say which row.
pub(crate) const OFFSET_BITS: u32 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(columns: usize, kernel: usize, stride: usize, padding: usize) -> ConvShape {
        ConvShape { inputs: 2, rows: 9, columns, outputs: 3, kernel, stride, padding, groups: 1 }
    }

    #[test]
    fn every_tap_of_every_position_is_inside_its_staged_row() {
        for columns in 1..20 {
            for kernel in [1, 2, 3, 5, 7] {
                for stride in 1..4 {
                    for padding in 0..kernel {
                        let shape = shape(columns, kernel, stride, padding);
                        if shape.check().is_err() {
                            continue;
                        }
                        let out = shape.output().columns;
                        let staging = shape.input_staging();
                        for kw in 0..kernel {
                            let offset = shape.input_offset(0, kw);
                            for j in 0..out {
                                // Column j + kw / stride of plane kw mod stride is padded column j·stride + kw.
                                let padded = j * stride + kw;
                                assert_eq!(
                                    offset + j,
                                    padded % stride * staging.plane + padded / stride,
                                    "{shape:?}"
                                );
                                assert!(padded / stride < staging.plane, "{shape:?}");
                            }
                        }
                        let staging = shape.gradient_staging();
                        let mut covered = 0;
                        for class in 0..stride {
                            covered += shape.class_columns(class);
                            for tap in 0..shape.class_taps(class) {
                                for t in 0..shape.class_columns(class) {
                                    let q = shape.class_first(class) + t * stride;
                                    let at = shape.gradient_offset(0, class, tap) + t;
                                    assert!(at < staging.plane, "{shape:?}");
                                    // The gradient column that this is, if it is no border.
                                    let kw = class + tap * stride;
                                    let j = (q + padding) as isize - kw as isize;
                                    assert_eq!(j % stride as isize, 0);
                                    assert_eq!(
                                        at as isize - staging.left as isize,
                                        j / stride as isize,
                                        "{shape:?}"
                                    );
                                }
                            }
                        }
                        assert_eq!(covered, columns);
                    }
                }
            }
        }
    }

    #[test]
    fn bands_cover_all_rows_of_output_and_input_once() {
        for rows in 1..40 {
            for (kernel, stride, padding) in
                [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (5, 1, 0), (5, 3, 2)]
            {
                let shape = ConvShape { rows, ..shape(rows, kernel, stride, padding) };
                if shape.check().is_err() {
                    continue;
                }
                let (mut next, mut next_input) = (0, 0);
                for band in 0..shape.bands() {
                    let (outputs, inputs) =
                        (shape.band_rows(&(band..band + 1)), shape.band_inputs(&(band..band + 1)));
                    assert_eq!((outputs.start, inputs.start), (next, next_input));
                    assert!(!outputs.is_empty() && outputs.len() <= shape.tile_rows());
                    (next, next_input) = (outputs.end, inputs.end);
                }
                assert_eq!((next, next_input), (shape.output().rows, rows));
                let all = 0..shape.bands();
                assert_eq!((shape.band_rows(&all), shape.band_inputs(&all)), (0..next, 0..rows));
            }
        }
    }

    #[test]
    fn what_is_no_convolution_is_refused() {
        let good = shape(9, 3, 1, 1);
        assert!(good.check().is_ok());
        for bad in [
            ConvShape { inputs: 0, ..good },
            ConvShape { groups: 2, ..good },
            ConvShape { kernel: 65, ..good },
            ConvShape { kernel: 30, ..good },
            ConvShape { stride: 0, ..good },
            ConvShape { padding: 3, ..good },
            ConvShape { rows: usize::MAX, ..good },
            ConvShape { columns: usize::MAX / 2, ..good },
            ConvShape { inputs: usize::MAX, ..good },
            ConvShape { outputs: 1 << 20, inputs: 1 << 20, ..good },
            ConvShape { inputs: 1 << 20, outputs: 1, columns: 1 << 10, ..good },
            // A staged channel is as wide as the stride says: 32 vectors for 17 columns.
            ConvShape {
                inputs: 530_000,
                columns: 17,
                rows: 1,
                outputs: 1,
                kernel: 1,
                stride: 16,
                padding: 0,
                groups: 1,
            },
        ] {
            assert!(matches!(bad.check(), Err(Error::Shape(_))), "{bad:?}");
        }
    }
}
