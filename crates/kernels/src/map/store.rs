//! Rows of results on their way out of kernels, with what is fused behind them.

use std::ops::Range;

use crate::map::channel::{GradientSink, Gradients, TwoSums, ValueSink, Values};
use crate::map::shape::{BLOCK, MapShape};
use crate::map::stored::StoredMut;
use crate::map::view::{GradientView, View};
use crate::simd::{LANES, RawWork, Simd};

/// Two sums of lanes for each channel, while rows go by: `[channel][first, second][16]`.
pub(crate) type RowSums = *mut f32;

/// Where the values of a row come from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// A row that a kernel has left, `[channel][column][16]`.
    Row(*const f32),
    /// A view.
    View(View<'a>),
}

/// Stores some channels of a finished row of a forward pass: adds the residual, and adds up what the next batch norm
/// needs, Σ(y − shift) and Σ(y − shift)², over lanes with samples.
///
/// # Safety
/// A row of `from` is one of the shape; views, `y` and `shift` have been checked against it, channels, block and row are
/// within it; no other task has the same part of `y` or the same sums, which there are for every channel.
pub(crate) struct StoreForward<'a> {
    pub(crate) from: Source<'a>,
    pub(crate) residual: Option<View<'a>>,
    pub(crate) shape: MapShape,
    pub(crate) channels: Range<usize>,
    pub(crate) block: usize,
    pub(crate) row: usize,
    pub(crate) lanes: u16,
    /// The map, if the row is to be stored at all.
    pub(crate) y: Option<StoredMut>,
    /// The running mean, by which sums are shifted, and the sums.
    pub(crate) statistics: Option<(&'a [f32], RowSums)>,
    /// Whether stores go past the caches; the map then begins at a multiple of 64 bytes.
    pub(crate) past: bool,
}

impl RawWork for StoreForward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let StoreForward { from, residual, shape, channels, block, row, lanes, y, statistics, past } = self;
        for c in channels {
            let at = shape.at(block, row, c, 0);
            // SAFETY: the caller vouches for all of this.
            unsafe {
                let mut sink = ValueSink { y, past, lanes, shift: s.splat(0.0), sums: TwoSums::zero(s) };
                if let Some((shift, sums)) = statistics {
                    sink.shift = s.splat(*shift.get_unchecked(c));
                    sink.sums = TwoSums::resume(s, sums.add(c * 2 * LANES));
                }
                match (&from, &residual) {
                    (Source::Row(from), None) => {
                        let from = from.add(c * shape.columns * BLOCK);
                        for q in 0..shape.columns {
                            sink.put(s, at + q * LANES, s.load(from.add(q * LANES)));
                        }
                    }
                    (Source::Row(from), Some(residual)) => {
                        let from = from.add(c * shape.columns * BLOCK);
                        let residual = Values::new(s, residual, c);
                        for q in 0..shape.columns {
                            let at = at + q * LANES;
                            sink.put(s, at, s.add(s.load(from.add(q * LANES)), residual.value(s, at)));
                        }
                    }
                    (Source::View(from), None) => {
                        let from = Values::new(s, from, c);
                        for q in 0..shape.columns {
                            sink.put(s, at + q * LANES, from.value(s, at + q * LANES));
                        }
                    }
                    (Source::View(from), Some(residual)) => {
                        let (from, residual) = (Values::new(s, from, c), Values::new(s, residual, c));
                        for q in 0..shape.columns {
                            let at = at + q * LANES;
                            sink.put(s, at, s.add(from.value(s, at), residual.value(s, at)));
                        }
                    }
                }
                if let Some((_, sums)) = statistics {
                    sink.sums.leave(s, sums.add(c * 2 * LANES));
                }
            }
        }
        if past {
            s.fence();
        }
    }
}

/// Stores some channels of a finished row of a data gradient: through the view's dropout and ReLU, added to what is
/// there or not, and adds up what the backward pass of the view's norm needs, Σ dz and Σ dz·(x − μ).
///
/// # Safety
/// A row of `from` is one of the shape, in which every column has its place in its class; views and `out` have been
/// checked against the shape, channels, block and row are within it; no other task has the same part of `out` or the same
/// sums, which there are for every channel.
pub(crate) struct StoreGradient<'a> {
    pub(crate) from: GradientSource<'a>,
    pub(crate) view: View<'a>,
    pub(crate) shape: MapShape,
    pub(crate) channels: Range<usize>,
    pub(crate) block: usize,
    pub(crate) row: usize,
    pub(crate) out: StoredMut,
    pub(crate) accumulate: bool,
    pub(crate) sums: Option<RowSums>,
}

/// Where the gradients of a row come from.
#[derive(Clone, Copy)]
pub(crate) enum GradientSource<'a> {
    /// A row that a kernel has left, `[channel][class][column of the class][16]`.
    Row(*const f32, Classes<'a>),
    /// A gradient, in these lanes.
    View(GradientView<'a>, u16),
}

/// How the columns of a data gradient are dealt out: column q is in class (q + padding) mod stride, which begins at
/// vector `begins[class]` of a channel; columns of a class follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Classes<'a> {
    pub(crate) padding: usize,
    pub(crate) begins: &'a [usize],
}

impl RawWork for StoreGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let StoreGradient { from, view, shape, channels, block, row, out, accumulate, sums } = self;
        for c in channels {
            let at = shape.at(block, row, c, 0);
            // SAFETY: the caller vouches for all of this.
            unsafe {
                let mut of_channel = TwoSums::zero(s);
                if let Some(sums) = sums {
                    of_channel = TwoSums::resume(s, sums.add(c * 2 * LANES));
                }
                let mut sink = GradientSink::new(s, &view, c, (out, accumulate), of_channel);
                match &from {
                    GradientSource::Row(from, Classes { padding, begins }) => {
                        let (from, stride) = (from.add(c * shape.columns * BLOCK), begins.len());
                        if stride == 1 {
                            for q in 0..shape.columns {
                                sink.put(s, at + q * LANES, s.load(from.add(q * LANES)));
                            }
                        } else {
                            for q in 0..shape.columns {
                                let class = (q + padding) % stride;
                                let first = (class + stride - padding % stride) % stride;
                                let place = begins.get_unchecked(class) + (q - first) / stride;
                                sink.put(s, at + q * LANES, s.load(from.add(place * LANES)));
                            }
                        }
                    }
                    GradientSource::View(from, lanes) => {
                        let from = Gradients::new(s, from, c, *lanes);
                        for q in 0..shape.columns {
                            sink.put(s, at + q * LANES, from.value(s, at + q * LANES));
                        }
                    }
                }
                if let Some(sums) = sums {
                    sink.sums.leave(s, sums.add(c * 2 * LANES));
                }
            }
        }
    }
}

/// Adds some channels of a staged row of a gradient to their lane sums, `[channel][16]`: the gradient of a bias.
///
/// # Safety
/// `row` holds these channels, each of so many columns, and `sums` a vector for each; no other task has the sums.
pub(crate) struct SumRow {
    /// Channel 0, column 0.
    pub(crate) row: *const f32,
    pub(crate) channels: Range<usize>,
    pub(crate) columns: usize,
    /// Vectors from one channel to the next.
    pub(crate) channel: usize,
    pub(crate) sums: *mut f32,
}

impl RawWork for SumRow {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        for c in self.channels {
            // SAFETY: the caller vouches for row and sums.
            unsafe {
                let sums = self.sums.add(c * LANES);
                let row = self.row.add(c * self.channel * LANES);
                let mut sum = s.load(sums);
                for q in 0..self.columns {
                    sum = s.add(sum, s.load(row.add(q * LANES)));
                }
                s.store(sums, sum);
            }
        }
    }
}
