//! The weight of a convolution in either form.

use std::ops::Range;

use crate::conv::cut::sections;
use crate::conv::shape::ConvShape;
use crate::conv::stream::ConvStream;
use crate::conv::taps::ConvTaps;
use crate::error::{Error, check_len};
use crate::map::blocks;
use crate::run::simulate::STAGED;

/// The weight of a convolution, as it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// Values of the nonzeros, in the order of their flat indices.
    Sparse(&'a ConvStream, &'a [f32]),
    /// All values, `[outputs, inputs, kernel, kernel]`.
    Dense(&'a ConvTaps, &'a [f32]),
}

impl Weights<'_> {
    pub(crate) fn shape(&self) -> ConvShape {
        match self {
            Weights::Sparse(stream, _) => stream.shape,
            Weights::Dense(taps, _) => taps.shape,
        }
    }

    /// Numbers that it holds.
    pub(crate) fn count(&self) -> usize {
        match self {
            Weights::Sparse(stream, _) => stream.count(),
            Weights::Dense(taps, _) => taps.shape.weight_len(),
        }
    }

    /// The sections of a forward pass: outputs.
    pub(crate) fn forward_sections(&self) -> Sections<'_> {
        match self {
            Weights::Sparse(stream, _) => Sections::Ends(&stream.outputs),
            Weights::Dense(taps, _) => Sections::even(&taps.shape, taps.shape.outputs),
        }
    }

    /// The sections of a data gradient: inputs.
    pub(crate) fn backward_sections(&self) -> Sections<'_> {
        match self {
            Weights::Sparse(stream, _) => Sections::Ends(&stream.inputs),
            Weights::Dense(taps, _) => Sections::even(&taps.shape, taps.shape.inputs),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Weights::Sparse(_, values) | Weights::Dense(_, values) => {
                check_len("weights", values.len(), self.count())
            }
        }
    }
}

/// What a weight with `weights` numbers costs on a batch.
fn flops(shape: &ConvShape, weights: usize, samples: usize) -> usize {
    let output = shape.output();
    (2 * weights).saturating_mul(output.rows * output.columns).saturating_mul(samples)
}

/// What a pass with so many weights costs in floating-point operations: its maps are staged and stored too, however few
/// weights there are.
pub(crate) fn cost(shape: &ConvShape, weights: usize, samples: usize) -> usize {
    let (input, output) = (shape.input(), shape.output());
    let numbers = input.block_len().saturating_add(output.block_len()).saturating_mul(blocks(samples));
    flops(shape, weights, samples).saturating_add(numbers.saturating_mul(STAGED as usize))
}

/// Result channels in sections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sections<'a> {
    /// Where each ends.
    Ends(&'a [u32]),
    /// So many alike, of whole tiles of results.
    Even { results: usize, count: usize },
}

/// Results of a tile of a dense product.
const TILE_RESULTS: usize = 4;

/// Channels of a section of a dense weight, at least. Few in tests.
const SECTION: usize = if cfg!(test) { TILE_RESULTS } else { 16 };

impl Sections<'_> {
    /// Those of a dense weight.
    fn even(shape: &ConvShape, results: usize) -> Sections<'static> {
        Sections::Even { results, count: sections(shape, shape.weight_len(), results, SECTION) }
    }

    pub(crate) fn count(&self) -> usize {
        match self {
            Sections::Ends(ends) => ends.len(),
            Sections::Even { count, .. } => *count,
        }
    }

    /// The channels of some sections.
    pub(crate) fn channels(&self, sections: &Range<usize>) -> Range<usize> {
        let end = |before: usize| match self {
            _ if before == 0 => 0,
            Sections::Ends(ends) => ends[before - 1] as usize,
            Sections::Even { results, count } => {
                (results.div_ceil(TILE_RESULTS) * before / count * TILE_RESULTS).min(*results)
            }
        };
        end(sections.start)..end(sections.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_a_dense_weight_are_all_results_in_whole_tiles() {
        for results in [1, 3, 16, 33, 100, 512] {
            for count in 1..=(results / SECTION).max(1) {
                let sections = Sections::Even { results, count };
                let mut next = 0;
                for section in 0..count {
                    let channels = sections.channels(&(section..section + 1));
                    assert!(channels.start == next && !channels.is_empty());
                    assert!(channels.end == results || channels.end.is_multiple_of(TILE_RESULTS));
                    next = channels.end;
                }
                assert_eq!(next, results);
                assert_eq!(sections.channels(&(0..count)), 0..results);
            }
        }
    }
}
