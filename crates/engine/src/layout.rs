//! How the numbers of a value lie: which of them stand side by side for a vector register. A layout is a property of
//! each value; passes say which they take.

use rigl_base::{Error, Result};
use rigl_kernels::map::{self, MapShape};
use rigl_kernels::vector::layout;

/// A layout with the value's shape for one sample. In both, lanes are samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Layout {
    /// `[group of 64 samples][feature][64]`, so many features.
    Vector(usize),
    /// `[block of 16 samples][row][channel][column][16]`.
    Map(MapShape),
}

impl Layout {
    /// Samples that lie side by side: the last ones of a batch are padded to as many.
    pub(crate) fn piece(self) -> usize {
        match self {
            Layout::Vector(_) => layout::GROUP,
            Layout::Map(_) => map::BLOCK,
        }
    }

    /// Numbers of a batch of so many samples.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if they cannot be addressed.
    pub(crate) fn len(self, samples: usize) -> Result<usize> {
        let pieces = samples.div_ceil(self.piece());
        let len = match self {
            Layout::Vector(features) => layout::map_len(features, pieces),
            Layout::Map(shape) => shape.len(pieces),
        };
        len.map_err(|e| Error::usage("batch").caused_by(e))
    }

    /// The shape as a map: a vector is one of a single position.
    pub(crate) fn map_shape(self) -> MapShape {
        match self {
            Layout::Vector(features) => MapShape { channels: features, rows: 1, columns: 1 },
            Layout::Map(shape) => shape,
        }
    }

    /// Numbers of a sample.
    pub(crate) fn features(self) -> usize {
        let MapShape { channels, rows, columns } = self.map_shape();
        channels * rows * columns
    }

    /// The place of each number of a sample in the piece that it lies in, in the sample's own order (row-major), but for
    /// the lane: that is added to it.
    fn places(self) -> impl Iterator<Item = usize> {
        let piece = self.piece();
        let MapShape { channels, rows, columns } = self.map_shape();
        let row =
            move |c: usize, r: usize| (0..columns).map(move |q| ((r * channels + c) * columns + q) * piece);
        (0..channels).flat_map(move |c| (0..rows).flat_map(move |r| row(c, r)))
    }

    /// Puts the numbers of a sample, in its own order, where they lie in a value of this layout.
    pub(crate) fn put(self, value: &mut [f32], sample: usize, numbers: impl Iterator<Item = f32>) {
        let (piece, each) = (self.piece(), self.features());
        let value = &mut value[sample / piece * piece * each..][..piece * each];
        self.places().zip(numbers).for_each(|(place, number)| value[place + sample % piece] = number);
    }

    /// Appends what a value holds of its first samples, one sample after the other, each in its own order (row-major).
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if the value is of another length.
    pub(crate) fn unpack(self, value: &[f32], samples: usize, numbers: &mut Vec<f32>) -> Result<()> {
        if value.len() != self.len(samples)? {
            return Err(Error::internal("the batch was packed for another network"));
        }
        let piece = self.piece();
        let each = self.features();
        for sample in 0..samples {
            let value = &value[sample / piece * piece * each..][..piece * each];
            numbers.extend(self.places().map(|place| value[place + sample % piece]));
        }
        Ok(())
    }
}
