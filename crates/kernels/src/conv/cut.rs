//! How the passes of a convolution are cut.
//!
//! - A *band* is a row of tiles: up to two output rows of a block of 16 samples.
//! - A *section* is a run of result channels: outputs in a forward pass, inputs in a data gradient.
//! - A *unit* of a forward pass or a data gradient is a band in one section. Results depend on nothing else, and the sums
//!   that norms need are made per band, whoever computes it.
//! - A weight gradient is the sum of a few *partials*, in order, each over a run of bands. A *piece* is some weights of a
//!   partial: those of some outputs and some inputs.
//!
//! Bands and partials follow from the shape and the number of samples. Sections and pieces change no sum: sections follow
//! from the pattern, so that a unit has some work, where there is any; pieces from the number of threads too.

use std::ops::Range;

use crate::conv::shape::ConvShape;
use crate::map::{BLOCK, blocks};
use crate::run::Runs;
use crate::run::simulate::STAGED;

/// Floating-point operations that a unit should have: at the 50 GFLOP/s that sparse products reach some 50 µs of one
/// core, against which what its task prepares, and the hand-over to a thread, are small. Few in tests, so that small
/// shapes are cut too.
const UNIT_FLOPS: usize = if cfg!(test) { 20_000 } else { 2_500_000 };

/// Partial gradients of a weight, at most, whatever the batch: they are stored. More where all of them together have no
/// more than [`PARTIAL_NUMBERS`] (2.5 MiB), so that weights with few numbers but large maps have as many tasks.
const PARTIALS: usize = 8;
const MORE_PARTIALS: usize = 64;
const PARTIAL_NUMBERS: usize = 10 << 16;

/// Output rows of a partial, about, at least.
const PARTIAL_ROWS: usize = 4;

/// Pieces of a partial, at most.
const PIECES: usize = 16;

/// Into how many sections `results` channels are cut for a weight of `weights` numbers: as many as leave a unit enough
/// work, of at least `least` channels.
pub(crate) fn sections(shape: &ConvShape, weights: usize, results: usize, least: usize) -> usize {
    let of_band = flops_of(shape, weights, shape.tile_rows());
    (of_band / UNIT_FLOPS).clamp(1, (results / least).max(1))
}

/// Floating-point operations of `weights` numbers on so many output rows of a block.
pub(crate) fn flops_of(shape: &ConvShape, weights: usize, rows: usize) -> usize {
    weights.saturating_mul(2 * BLOCK).saturating_mul(rows.saturating_mul(shape.output().columns))
}

/// A pass cut into units: (block, band, section), sections innermost.
#[derive(Clone, Copy)]
pub(crate) struct Units {
    /// Bands of a block.
    bands: usize,
    sections: usize,
    runs: Runs,
}

impl Units {
    /// Of a pass that has `weights` numbers and stages rows of `row` numbers, `stride` of them for every row of results.
    pub(crate) fn new(
        shape: &ConvShape,
        (weights, sections): (usize, usize),
        (row, stride): (usize, usize),
        samples: usize,
        threads: usize,
    ) -> Units {
        let bands = shape.bands();
        let of_block = bands * sections;
        let product = flops_of(shape, weights, shape.tile_rows()) as f64 / sections as f64;
        let (of_band, twice) =
            ((shape.tile_rows() * stride) as f64, shape.kernel.saturating_sub(stride) as f64);
        let runs =
            Runs::new(blocks(samples).saturating_mul(of_block), (of_block, sections), threads, |length| {
                let rows = length.div_ceil(sections) as f64 * of_band + twice;
                length as f64 * product + rows * STAGED * row as f64
            });
        Units { bands, sections, runs }
    }

    pub(crate) fn tasks(&self) -> usize {
        self.runs.tasks()
    }

    /// Calls `part(block, bands, sections)` for each part of a task: bands of one block, in the same sections.
    pub(crate) fn parts(&self, task: usize, mut part: impl FnMut(usize, Range<usize>, Range<usize>)) {
        let Range { start: mut unit, end } = self.runs.units(task);
        while unit < end {
            let (number, first) = (unit / self.sections, unit % self.sections);
            let (block, band) = (number / self.bands, number % self.bands);
            let whole = (end - unit) / self.sections;
            let (bands, sections) = if first == 0 && whole > 0 {
                (whole.min(self.bands - band), 0..self.sections)
            } else {
                (1, first..self.sections.min(first + end - unit))
            };
            unit = (number + bands - 1) * self.sections + sections.end;
            part(block, band..band + bands, sections);
        }
    }
}

/// The bands of all blocks, dealt out evenly to partials, in order.
#[derive(Clone, Copy)]
pub(crate) struct Partials {
    /// Bands of a block.
    bands: usize,
    /// Bands of all blocks.
    all: usize,
    pub(crate) count: usize,
}

impl Partials {
    pub(crate) fn new(shape: &ConvShape, samples: usize) -> Partials {
        Partials::of_blocks(shape, blocks(samples))
    }

    /// How many there are, at most, in batches of up to so many samples.
    pub(crate) fn most(shape: &ConvShape, samples: usize) -> usize {
        // From this many blocks on they are as many for every batch.
        let blocks = blocks(samples).min(MORE_PARTIALS + 1);
        (0..=blocks).map(|blocks| Partials::of_blocks(shape, blocks).count).max().unwrap_or(0)
    }

    fn of_blocks(shape: &ConvShape, blocks: usize) -> Partials {
        let bands = shape.bands();
        let most = (PARTIAL_NUMBERS / shape.weight_len().max(1)).clamp(PARTIALS, MORE_PARTIALS);
        let all = bands.saturating_mul(blocks);
        if blocks > most || blocks == 0 {
            return Partials { bands, all, count: most.min(blocks) };
        }
        // As many in each block, of equal size if that is possible.
        let rows = shape.output().rows.div_ceil(PARTIAL_ROWS);
        let least = (PARTIALS / blocks).clamp(1, rows);
        let each = (most / blocks).clamp(least, rows);
        let even = (least..=each).rev().find(|&n| bands.is_multiple_of(n));
        Partials { bands, all, count: blocks * even.unwrap_or(each) }
    }

    /// The partial of band `band` of all, and whether it is the first of its bands.
    pub(crate) fn of(&self, band: usize) -> (usize, bool) {
        // The only n with n · all / count ≤ band < (n + 1) · all / count, rounded down.
        let partial = ((band + 1) * self.count - 1) / self.all;
        (partial, band == partial * self.all / self.count)
    }

    /// Calls `part(block, bands)` for the bands of some partials, block by block.
    pub(crate) fn parts(&self, partials: Range<usize>, mut part: impl FnMut(usize, Range<usize>)) {
        let mut band = partials.start * self.all / self.count;
        let end = partials.end * self.all / self.count;
        while band < end {
            let (block, first) = (band / self.bands, band % self.bands);
            let bands = first..self.bands.min(first + end - band);
            band += bands.len();
            part(block, bands);
        }
    }

    /// Bands of so many partials, at most.
    pub(crate) fn bands_of(&self, partials: usize) -> usize {
        self.all.saturating_mul(partials).div_ceil(self.count.max(1))
    }

    /// Runs of partials whose gradients are computed together with those of the data, up to those of a block in
    /// each; `cost` says what a number of partials takes.
    pub(crate) fn runs(&self, threads: usize, cost: impl Fn(usize) -> f64) -> Runs {
        Runs::new(self.count, ((self.count * self.bands / self.all.max(1)).max(1), 1), threads, cost)
    }

    /// Into how many pieces each partial is cut, where it is computed alone, by outputs and by inputs: so many that every
    /// thread has one, as long as one of `flops` for all partials leaves enough for a piece. `most` says how often either
    /// may be cut, `staged` what of a row is staged of the gradient, in pieces by outputs, and of the input.
    pub(crate) fn pieces(
        &self,
        flops: usize,
        most: (usize, usize),
        staged: (usize, usize),
        threads: usize,
    ) -> (usize, usize) {
        let mut pieces = (1, 1);
        loop {
            let count = self.count * pieces.0 * pieces.1;
            if count >= threads || flops / (2 * count).max(1) < UNIT_FLOPS || pieces.0 * pieces.1 >= PIECES {
                return pieces;
            }
            // In halves, of what is staged more.
            let by_outputs = pieces.0 * 2 <= most.0;
            let by_inputs = pieces.1 * 2 <= most.1;
            let more = staged.0 * pieces.1 >= staged.1 * pieces.0;
            match (by_outputs, by_inputs) {
                (true, true) if more => pieces.0 *= 2,
                (_, true) => pieces.1 *= 2,
                (true, _) => pieces.0 *= 2,
                _ => return pieces,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rows: usize) -> ConvShape {
        let (inputs, outputs) = (64, 64);
        ConvShape { inputs, rows, columns: 8, outputs, kernel: 3, stride: 1, padding: 1, groups: 1 }
    }

    #[test]
    fn every_band_is_in_one_task_for_every_section_and_in_one_partial() {
        for rows in [1, 2, 5, 7, 8, 32] {
            for samples in [0, 1, 17, 100, 128, 300] {
                let shape = shape(rows);
                let all = blocks(samples) * shape.bands();
                let partials = Partials::new(&shape, samples);
                let mut next = 0;
                for partial in 0..partials.count {
                    let before = next;
                    partials.parts(partial..partial + 1, |block, bands| {
                        assert_eq!(block * shape.bands() + bands.start, next);
                        assert!(!bands.is_empty() && bands.end <= shape.bands());
                        for band in next..next + bands.len() {
                            assert_eq!(partials.of(band), (partial, band == before));
                        }
                        next += bands.len();
                    });
                    assert!(next > before);
                }
                assert_eq!(next, all);
                for sections in [1, 2, 3, 4, 7] {
                    for threads in [1, 2, 3, 7, 96] {
                        let units = Units::new(&shape, (36_864, sections), (512, 1), samples, threads);
                        let mut next = 0;
                        for task in 0..units.tasks() {
                            units.parts(task, |block, bands, of| {
                                assert!(!bands.is_empty() && !of.is_empty() && bands.end <= shape.bands());
                                let first = (block * shape.bands() + bands.start) * sections + of.start;
                                assert_eq!(first, next);
                                assert!(bands.len() == 1 || of == (0..sections));
                                next += (bands.len() - 1) * sections + of.len();
                            });
                        }
                        assert_eq!(next, all * sections);
                    }
                }
            }
        }
    }

    #[test]
    fn partials_do_not_grow_with_the_batch_and_blocks_stay_whole_on_few_threads() {
        let small = shape(16);
        let large = ConvShape { inputs: 512, outputs: 512, ..small };
        let count = |shape: &ConvShape, samples| Partials::new(shape, samples).count;
        assert_eq!([1, 64, 100, 128, 4096].map(|samples| count(&large, samples)), [4, 8, 7, 8, 8]);
        assert_eq!([1, 64, 100, 4096].map(|samples| Partials::most(&large, samples)), [4, 8, 8, 8]);
        assert_eq!([1, 64, 128, 4096].map(|samples| count(&small, samples)), [4, 16, 16, 17]);
        assert_eq!(count(&ConvShape { inputs: 3, ..small }, 4096), 64);
        let partials = Partials::new(&large, 128);
        let pieces = |flops, most, n| partials.pieces(flops, most, (2, 1), n);
        let max = usize::MAX;
        assert_eq!(
            [1, 8, 9, 17, 96].map(|n| pieces(max, (8, 8), n)),
            [(1, 1), (1, 1), (2, 1), (4, 1), (8, 2)]
        );
        assert_eq!(
            [(1, 8), (2, 8), (8, 1), (1, 1)].map(|most| pieces(max, most, 96)),
            [(1, 8), (2, 8), (8, 1), (1, 1)]
        );
        for shape in [small, large, shape(1), shape(7)] {
            let found = |samples| Partials::most(&shape, samples);
            assert!((1..3000).step_by(15).all(|n| count(&shape, n) <= found(n) && found(n) <= found(n + 15)));
        }
        // No work, no pieces.
        assert_eq!(pieces(UNIT_FLOPS * 8, (8, 8), 96), (1, 1));
        for threads in [1, 2] {
            let units = Units::new(&large, (20_000, 2), (65_536, 1), 128, threads);
            assert_eq!(units.tasks(), 8);
            units.parts(3, |block, bands, sections| assert_eq!((block, bands, sections), (3, 0..8, 0..2)));
            assert_eq!(partials.runs(threads, |n| n as f64).tasks(), 8);
        }
    }
}
