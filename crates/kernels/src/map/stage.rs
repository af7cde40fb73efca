//! Rows of maps on their way into kernels: a row of a view, or of a gradient, is computed into scratch, inside zero
//! borders.

use std::ops::Range;

use crate::map::channel::{Gradients, Values};
use crate::map::shape::MapShape;
use crate::map::stored::StoredMut;
use crate::map::view::{GradientView, View};
use crate::simd::{Finite, LANES, RawWork, Simd};

/// How a staged row lies in scratch: per channel `planes` planes of `plane` vectors each. Column q, which stands
/// `left` columns behind the row's left edge, is vector (q + left) / planes of plane (q + left) mod planes, so
/// that columns one stride apart are neighbours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Staging {
    pub(crate) left: usize,
    pub(crate) planes: usize,
    pub(crate) plane: usize,
}

impl Staging {
    /// Vectors from one channel to the next.
    pub(crate) fn channel(self) -> usize {
        self.planes * self.plane
    }

    /// f32 of a row of so many channels.
    pub(crate) fn row_len(self, channels: usize) -> usize {
        channels * self.channel() * LANES
    }

    /// Where column q of a channel is, in vectors from the channel's beginning.
    #[inline(always)]
    fn at(self, column: usize) -> usize {
        let padded = column + self.left;
        padded % self.planes * self.plane + padded / self.planes
    }
}

/// Computes some channels of row `row` of block `block` of a view into scratch; says whether they are finite.
///
/// # Safety
/// The view has been checked against the shape, channels, block and row are within it, and `out` holds a row of
/// `staging.row_len(channels)` f32, made for these columns.
pub(crate) struct StageView<'a> {
    pub(crate) view: View<'a>,
    pub(crate) shape: MapShape,
    pub(crate) channels: Range<usize>,
    pub(crate) block: usize,
    pub(crate) row: usize,
    pub(crate) staging: Staging,
    pub(crate) out: *mut f32,
}

impl RawWork for StageView<'_> {
    type Output = bool;

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) -> bool {
        let StageView { view, shape, channels, block, row, staging, out } = self;
        let mut all = Finite::new(s);
        for c in channels {
            let at = shape.at(block, row, c, 0);
            // SAFETY: the caller vouches for view and scratch; columns stay inside their planes (`Staging`).
            unsafe {
                let (values, mut of_channel) = (Values::new(s, &view, c), Finite::new(s));
                let out = out.add(c * staging.channel() * LANES);
                if staging.planes == 1 {
                    let out = out.add(staging.left * LANES);
                    for q in 0..shape.columns {
                        let v = values.value(s, at + q * LANES);
                        of_channel.see(s, v);
                        s.store(out.add(q * LANES), v);
                    }
                } else {
                    for q in 0..shape.columns {
                        let v = values.value(s, at + q * LANES);
                        of_channel.see(s, v);
                        s.store(out.add(staging.at(q) * LANES), v);
                    }
                }
                all.join(s, of_channel);
            }
        }
        all.all(s)
    }
}

/// Computes some channels of row `row` of block `block` of a gradient into scratch, zero in lanes without samples; with
/// `keep` they are written there as well. Says whether they are finite.
///
/// # Safety
/// As [`StageView`], for a staging of one plane; `keep` is a map of the shape, of which no other task writes these
/// channels of the row.
pub(crate) struct StageGradient<'a> {
    pub(crate) view: GradientView<'a>,
    pub(crate) shape: MapShape,
    pub(crate) channels: Range<usize>,
    pub(crate) block: usize,
    pub(crate) row: usize,
    pub(crate) lanes: u16,
    pub(crate) staging: Staging,
    pub(crate) out: *mut f32,
    pub(crate) keep: Option<StoredMut>,
}

impl RawWork for StageGradient<'_> {
    type Output = bool;

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) -> bool {
        let StageGradient { view, shape, channels, block, row, lanes, staging, out, keep } = self;
        let mut all = Finite::new(s);
        for c in channels {
            let at = shape.at(block, row, c, 0);
            // SAFETY: the caller vouches for gradient, scratch and `keep`.
            unsafe {
                let (gradients, mut of_channel) = (Gradients::new(s, &view, c, lanes), Finite::new(s));
                let out = out.add((c * staging.channel() + staging.left) * LANES);
                for q in 0..shape.columns {
                    let v = gradients.value(s, at + q * LANES);
                    of_channel.see(s, v);
                    s.store(out.add(q * LANES), v);
                    if let Some(keep) = keep {
                        keep.store(s, at + q * LANES, v);
                    }
                }
                all.join(s, of_channel);
            }
        }
        all.all(s)
    }
}
