//! Maps of images inside a network: `[block of 16 samples][row][channel][column][16]`. A row of all channels, the
//! unit in which convolutions read and write, is one contiguous piece; one weight multiplies whole vectors.
//!
//! Only the inputs of batch norms and the results of additions are stored. What is pointwise after them is a
//! [`View`], and what is pointwise before a gradient a [`GradientView`]: both are computed from the stored maps
//! when a row is staged for a convolution. Staging and storing of rows, in `rows`, are the only places that touch
//! stored maps.

use crate::Error;
use crate::error::check_len;
use crate::simd::LANES;

/// Samples of a block.
pub const BLOCK: usize = LANES;

/// Blocks that `samples` fill.
pub fn blocks(samples: usize) -> usize {
    samples.div_ceil(BLOCK)
}

/// The shape of a map for one sample.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MapShape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl MapShape {
    /// Length in f32 of a map of `blocks`.
    ///
    /// # Errors
    /// [`Error::Shape`] if it cannot be addressed, nor could a part of it.
    pub fn len(self, blocks: usize) -> Result<usize, Error> {
        let sides = [self.channels, self.rows, self.columns, blocks];
        // As if there were one of what there is none of, so that no product of some of them overflows either.
        sides
            .iter()
            .try_fold(BLOCK, |product, &n| product.checked_mul(n.max(1)))
            .filter(|n| n.checked_mul(4).is_some_and(|bytes| bytes <= isize::MAX as usize))
            .map(|n| if sides.contains(&0) { 0 } else { n })
            .ok_or_else(|| {
                let MapShape { channels, rows, columns } = self;
                Error::Shape(format!("{channels} × {rows} × {columns} in {blocks} blocks of {BLOCK}"))
            })
    }

    /// f32 in a row of all channels.
    pub(crate) fn row_len(self) -> usize {
        self.channels * self.columns * BLOCK
    }

    /// f32 in a block.
    pub(crate) fn block_len(self) -> usize {
        self.rows * self.row_len()
    }

    /// Where a vector begins.
    #[inline(always)]
    pub(crate) fn at(self, block: usize, row: usize, channel: usize, column: usize) -> usize {
        (((block * self.rows + row) * self.channels + channel) * self.columns + column) * BLOCK
    }
}

/// The lanes of block `block` that hold samples, as bits.
pub(crate) fn lanes(samples: usize, block: usize) -> u16 {
    match samples.saturating_sub(block * BLOCK) {
        n if n >= BLOCK => u16::MAX,
        n => (1u16 << n) - 1,
    }
}

/// Values as their consumers see them: a stored map, then a batch norm, then ReLU, then dropout, as far as each is
/// there.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The stored map.
    pub map: &'a [f32],
    /// The batch norm behind it.
    pub norm: Option<Affine<'a>>,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// The dropout behind that.
    pub dropout: Option<Dropout<'a>>,
}

impl<'a> View<'a> {
    /// A map as it is.
    pub fn plain(map: &'a [f32]) -> View<'a> {
        View { map, norm: None, relu: false, dropout: None }
    }

    pub(crate) fn check(&self, shape: MapShape, blocks: usize) -> Result<(), Error> {
        let len = shape.len(blocks)?;
        check_len("map", self.map.len(), len)?;
        if let Some(Affine { mean, scale, offset }) = self.norm {
            check_len("mean", mean.len(), shape.channels)?;
            check_len("scale", scale.len(), shape.channels)?;
            check_len("offset", offset.len(), shape.channels)?;
        }
        match self.dropout {
            Some(dropout) => check_len("dropout", dropout.keep.len(), len / LANES),
            None => Ok(()),
        }
    }
}

/// A batch norm with its statistics known: (x − mean) · scale + offset, one of each per channel.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// μ.
    pub mean: &'a [f32],
    /// γ / √(σ² + ε).
    pub scale: &'a [f32],
    /// β.
    pub offset: &'a [f32],
}

/// Dropout with its mask drawn: kept values times `scale`, the others 0.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// One word per vector of the map: bit l says whether lane l is kept.
    pub keep: &'a [u16],
    /// 1 / (1 − p).
    pub scale: f32,
}

/// The gradient of a stored map as the sum of what its consumers say: some directly, one through a batch norm.
#[derive(Clone, Copy, Debug, Default)]
pub struct GradientView<'a> {
    /// A gradient of the map as it is.
    pub direct: Option<&'a [f32]>,
    /// A gradient behind a batch norm of the map.
    pub norm: Option<NormGradient<'a>>,
}

/// The backward pass of a batch norm with its sums known: scale · dz + slope · (x − mean) + shift, one of each per
/// channel.
#[derive(Clone, Copy, Debug)]
pub struct NormGradient<'a> {
    /// The gradient of the norm's result.
    pub dz: &'a [f32],
    /// The map that was normalised.
    pub x: &'a [f32],
    /// μ.
    pub mean: &'a [f32],
    /// γ / √(σ² + ε).
    pub scale: &'a [f32],
    /// −scale · Σ dz·(x − μ) / (n (σ² + ε)).
    pub slope: &'a [f32],
    /// −scale · Σ dz / n.
    pub shift: &'a [f32],
}

impl GradientView<'_> {
    pub(crate) fn check(&self, shape: MapShape, blocks: usize) -> Result<(), Error> {
        let len = shape.len(blocks)?;
        if let Some(direct) = self.direct {
            check_len("direct", direct.len(), len)?;
        }
        if let Some(norm) = self.norm {
            check_len("dz", norm.dz.len(), len)?;
            check_len("x", norm.x.len(), len)?;
            for (what, values) in
                [("mean", norm.mean), ("scale", norm.scale), ("slope", norm.slope), ("shift", norm.shift)]
            {
                check_len(what, values.len(), shape.channels)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_as_many_numbers_as_its_shape_says_in_whole_blocks() {
        let shape = MapShape { channels: 3, rows: 5, columns: 7 };
        assert_eq!(shape.len(blocks(17)), Ok(3 * 5 * 7 * 32));
        assert_eq!(shape.len(0), Ok(0));
        assert!(MapShape { channels: usize::MAX / 4, ..shape }.len(1).is_err());
    }

    #[test]
    fn the_lanes_of_the_last_block_are_those_of_its_samples() {
        assert_eq!([lanes(16, 0), lanes(17, 0), lanes(17, 1), lanes(15, 0)], [0xFFFF, 0xFFFF, 1, 0x7FFF]);
        assert_eq!(lanes(16, 1), 0);
    }

    #[test]
    fn views_of_other_lengths_are_refused() {
        let shape = MapShape { channels: 2, rows: 1, columns: 1 };
        let map = [0.0; 32];
        let two = [0.0; 2];
        assert!(View::plain(&map).check(shape, 1).is_ok());
        assert!(View::plain(&map[1..]).check(shape, 1).is_err());
        let norm = Some(Affine { mean: &two, scale: &two[1..], offset: &two });
        assert!(View { norm, ..View::plain(&map) }.check(shape, 1).is_err());
        let dropout = Some(Dropout { keep: &[0], scale: 1.0 });
        assert!(View { dropout, ..View::plain(&map) }.check(shape, 1).is_err());
        assert!(GradientView { direct: Some(&map[1..]), norm: None }.check(shape, 1).is_err());
    }
}
