//! Sums over the values of each channel, in one order: lane by lane in f32 over the rows of a task's part of the map, then
//! the lanes by the tree, then these, in f64, in the order of the parts.

use crate::error::Error;
use crate::run::Machine;
use crate::simd::{LANES, RawWork, Simd};

/// Rows after which lane sums are added to sums in f64, at the latest.
pub(crate) const SUM_ROWS: usize = 8;

/// Sums that one task adds up.
const CHUNK: usize = 64;

/// Adds up the sums of all parts, `[part][sum]`, in their order.
pub(crate) fn add_up(machine: &Machine, parts: &[f64], sums: &mut [f64]) -> Result<(), Error> {
    let count = sums.len().max(1);
    // An addition for every number read.
    machine.chunks(sums, CHUNK, parts.len().saturating_mul(4), &|first, sums| {
        sums.fill(0.0);
        for part in parts.chunks_exact(count) {
            sums.iter_mut().zip(&part[first..]).for_each(|(sum, part)| *sum += part);
        }
    })
}

/// Sums of lanes, added by the tree to sums in f64; they begin anew at zero.
///
/// # Safety
/// `lanes` holds `count` vectors and `sums` as many numbers; no other task has them.
pub(crate) struct AddLanes {
    pub(crate) lanes: *mut f32,
    pub(crate) sums: *mut f64,
    pub(crate) count: usize,
}

impl RawWork for AddLanes {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let zero = s.splat(0.0);
        for first in (0..self.count).step_by(LANES) {
            let here = LANES.min(self.count - first);
            let (mut vectors, mut added) = ([zero; LANES], [0.0f32; LANES]);
            // SAFETY: the caller vouches for `count` vectors and sums; `added` holds sixteen numbers.
            unsafe {
                for (i, vector) in vectors.iter_mut().enumerate().take(here) {
                    let lanes = self.lanes.add((first + i) * LANES);
                    *vector = s.load(lanes);
                    s.store(lanes, zero);
                }
                s.store(added.as_mut_ptr(), s.sum16(vectors));
                for (i, &added) in added.iter().enumerate().take(here) {
                    *self.sums.add(first + i) += f64::from(added);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;

    #[test]
    fn lanes_are_added_and_begin_anew_however_many_sums_there_are() {
        for isa in Isa::available() {
            for count in [0, 1, 15, 16, 17, 40] {
                let mut lanes: Vec<f32> = (0..count * LANES).map(|i| i as f32).collect();
                let expected: Vec<f64> =
                    lanes.chunks(LANES).map(|lanes| 0.5 + f64::from(lanes.iter().sum::<f32>())).collect();
                let mut sums = vec![0.5; count];
                // SAFETY: both are as long as `count` says.
                unsafe {
                    isa.run_raw(AddLanes { lanes: lanes.as_mut_ptr(), sums: sums.as_mut_ptr(), count });
                }
                assert_eq!(sums, expected);
                assert!(lanes.iter().all(|&lane| lane == 0.0));
            }
        }
    }

    #[test]
    fn parts_are_added_in_their_order_on_any_number_of_threads() {
        // Large enough for threads, and with numbers whose order matters.
        let (parts, count) = (700, 1000);
        let numbers: Vec<f64> = (0..parts * count).map(|i| 1e17 / (1.0 + (i % 977) as f64)).collect();
        let mut expected = vec![0.0; count];
        for part in numbers.chunks(count) {
            expected.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        for threads in [1, 2, 3, 7] {
            let mut sums = vec![f64::NAN; count];
            add_up(&Machine::new(Isa::detect(), threads), &numbers, &mut sums).unwrap();
            assert_eq!(sums, expected);
        }
    }
}
