//! The shape of a map, and where its numbers lie.

use crate::error::Error;
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
}
