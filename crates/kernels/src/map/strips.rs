//! A map cut into strips of rows: the tasks of passes that no convolution makes, and the sums of each.

use std::ops::Range;

use crate::map::rows::Staging;
use crate::map::shape::{MapShape, blocks};
use crate::map::sums::{AddLanes, SUM_ROWS};
use crate::run::Machine;
use crate::simd::LANES;

/// f64 for two sums per channel of every task.
pub(crate) fn task_sums(shape: MapShape, samples: usize) -> usize {
    if shape.columns == 0 {
        return 0;
    }
    let tasks = blocks(samples).saturating_mul(shape.rows.div_ceil(SUM_ROWS));
    tasks.saturating_mul(2).saturating_mul(shape.channels)
}

/// A map cut into strips of rows.
#[derive(Clone, Copy)]
pub(crate) struct Strips {
    shape: MapShape,
    blocks: usize,
    strips: usize,
}

impl Strips {
    /// Of a shape whose length is known; of an empty map there are none.
    pub(crate) fn new(shape: MapShape, samples: usize) -> Strips {
        let strips = if shape.row_len() == 0 { 0 } else { shape.rows.div_ceil(SUM_ROWS) };
        Strips { shape, blocks: blocks(samples), strips }
    }

    pub(crate) fn tasks(&self) -> usize {
        self.blocks * self.strips
    }

    /// The block and the rows of a task.
    pub(crate) fn strip(&self, task: usize) -> (usize, Range<usize>) {
        let first = task % self.strips * SUM_ROWS;
        (task / self.strips, first..self.shape.rows.min(first + SUM_ROWS))
    }

    /// Operations in all, for the rule on what is worth other threads: memory is what these passes wait for.
    pub(crate) fn cost(&self) -> usize {
        self.blocks.saturating_mul(self.shape.block_len()).saturating_mul(16)
    }

    /// How a row lies in scratch: as in the map.
    pub(crate) fn staging(&self) -> Staging {
        Staging { left: 0, planes: 1, plane: self.shape.columns }
    }

    /// Calls `row(block, row, scratch for a row, lane sums)` for every row of a task, and adds up the lane sums.
    ///
    /// # Safety
    /// `scratch` holds a row and the lane sums, `sums` those of all tasks.
    pub(crate) unsafe fn task(
        &self,
        task: usize,
        scratch: *mut f32,
        sums: *mut f64,
        summed: bool,
        mut row: impl FnMut(usize, usize, *mut f32, *mut f32),
        machine: &Machine,
    ) {
        let count = 2 * self.shape.channels;
        let (block, rows) = self.strip(task);
        // SAFETY: the caller vouches for scratch and sums.
        unsafe {
            let lane_sums = scratch.add(self.shape.row_len());
            let sums = sums.add(task * count);
            std::slice::from_raw_parts_mut(lane_sums, count * LANES).fill(0.0);
            std::slice::from_raw_parts_mut(sums, count).fill(0.0);
            for r in rows {
                row(block, r, scratch, lane_sums);
            }
            if summed {
                machine.isa.run(AddLanes { lanes: lane_sums, sums, count });
            }
        }
    }
}
