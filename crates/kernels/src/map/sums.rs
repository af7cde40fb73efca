//! Sums over the values of a channel, in one order: lane by lane in f32 over a few rows, then the lanes as the tree
//! into f64, then tasks in their order.

use crate::simd::{LANES, Simd, Work};

/// Rows after which lane sums are added to sums in f64.
pub(crate) const SUM_ROWS: usize = 8;

/// Adds up the sums of all tasks, in their order.
pub(crate) fn add_up(tasks: &[f64], sums: &mut [f64]) {
    sums.fill(0.0);
    for task in tasks.chunks_exact(sums.len().max(1)) {
        sums.iter_mut().zip(task).for_each(|(sum, part)| *sum += part);
    }
}

/// Lane sums of each channel, added by the lane tree to sums of a task.
pub(crate) struct AddLanes {
    pub(crate) lanes: *mut f32,
    pub(crate) sums: *mut f64,
    pub(crate) count: usize,
}

impl Work for AddLanes {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for i in 0..self.count {
            // SAFETY: the caller has `count` vectors and sums; the vectors begin anew at zero.
            unsafe {
                let lanes = self.lanes.add(i * LANES);
                *self.sums.add(i) += f64::from(s.sum(s.load(lanes)));
                s.store(lanes, s.splat(0.0));
            }
        }
    }
}
