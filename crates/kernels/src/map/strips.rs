//! A map cut into parts: strips of rows of a block, in a few channels. They are the tasks of passes that no convolution
//! makes, and each has its own sums.

use std::ops::Range;

use crate::error::Error;
use crate::map::shape::{MapShape, blocks, lanes};
use crate::map::sums::SUM_ROWS;
use crate::run::Machine;
use crate::simd::LANES;

/// Numbers of a part, about: 128 KiB, which take a core some ten microseconds to read, and fit its second cache.
const PART: usize = 1 << 15;

/// A map cut into parts.
#[derive(Clone, Copy)]
pub(crate) struct Strips {
    shape: MapShape,
    samples: usize,
    /// Strips of a block.
    strips: usize,
    /// Channels of a part.
    channels: usize,
}

/// A part of a map.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) block: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) channels: Range<usize>,
    /// The lanes of the block that hold samples.
    pub(crate) lanes: u16,
    /// The number of the strip: where its sums are.
    pub(crate) strip: usize,
}

impl Strips {
    /// Of a shape whose length is known; of an empty map there are none.
    pub(crate) fn new(shape: MapShape, samples: usize) -> Strips {
        let strips = if shape.row_len() == 0 { 0 } else { shape.rows.div_ceil(SUM_ROWS) };
        let of_channel = SUM_ROWS.min(shape.rows) * shape.columns * LANES;
        let parts = shape.channels.div_ceil((PART / of_channel.max(1)).max(1)).max(1);
        Strips { shape, samples, strips, channels: shape.channels.div_ceil(parts).max(1) }
    }

    /// Strips in all.
    pub(crate) fn count(&self) -> usize {
        blocks(self.samples) * self.strips
    }

    pub(crate) fn channels(&self) -> usize {
        self.shape.channels
    }

    /// Parts of a strip.
    fn of_strip(&self) -> usize {
        self.shape.channels.div_ceil(self.channels)
    }

    pub(crate) fn tasks(&self) -> usize {
        self.count() * self.of_strip()
    }

    pub(crate) fn part(&self, task: usize) -> Part {
        let (strip, part) = (task / self.of_strip(), task % self.of_strip());
        let (block, first) = (strip / self.strips, strip % self.strips * SUM_ROWS);
        let channel = part * self.channels;
        Part {
            block,
            rows: first..self.shape.rows.min(first + SUM_ROWS),
            channels: channel..self.shape.channels.min(channel + self.channels),
            lanes: lanes(self.samples, block),
            strip,
        }
    }

    /// Operations in all, for the rule on what is worth other threads: memory is what these passes wait for.
    pub(crate) fn cost(&self) -> usize {
        blocks(self.samples).saturating_mul(self.shape.block_len()).saturating_mul(16)
    }

    /// Runs `work(worker, part)` for every part.
    pub(crate) fn run(
        &self,
        machine: &Machine,
        cost: usize,
        work: &(dyn Fn(usize, Part) + Sync),
    ) -> Result<(), Error> {
        machine.run(self.tasks(), cost, &|worker, task| work(worker, self.part(task)))
    }
}

/// f64 for two sums per channel of every strip; of any number of samples and any shape, even one whose length cannot be
/// counted.
pub(crate) fn strip_sums(shape: MapShape, samples: usize) -> usize {
    if shape.columns == 0 {
        return 0;
    }
    let strips = blocks(samples).saturating_mul(shape.rows.div_ceil(SUM_ROWS));
    strips.saturating_mul(2).saturating_mul(shape.channels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_map_once_and_are_small() {
        for [channels, rows, columns] in [
            [1, 1, 1],
            [3, 11, 5],
            [128, 8, 8],
            [2048, 7, 7],
            [16, 32, 32],
            [5, 9, 300],
            [0, 3, 3],
            [3, 0, 3],
        ] {
            for samples in [0, 1, 17, 128] {
                let shape = MapShape { channels, rows, columns };
                let strips = Strips::new(shape, samples);
                let mut seen = vec![0; shape.len(blocks(samples)).unwrap() / LANES];
                for task in 0..strips.tasks() {
                    let Part { block, rows, channels, strip, .. } = strips.part(task);
                    assert!(strip < strips.count());
                    assert!(channels.len() == 1 || rows.len() * channels.len() * columns * LANES <= PART);
                    for r in rows {
                        for c in channels.clone() {
                            (0..columns).for_each(|q| seen[shape.at(block, r, c, q) / LANES] += 1);
                        }
                    }
                }
                assert!(seen.iter().all(|&n| n == 1), "{shape:?}");
                assert!(strips.count() * 2 * channels <= strip_sums(shape, samples));
            }
        }
        // 4 MiB: work for more than a few threads.
        assert!(Strips::new(MapShape { channels: 128, rows: 8, columns: 8 }, 128).tasks() >= 32);
    }
}
