//! The backward pass of pooling.

use crate::error::Error;
use crate::map::{
    DataGradient, GradientView, Gradients, SUM_ROWS, Target, View, blocks, scatter, scatter_workspace,
};
use crate::pool::shape::{Kind, PoolShape};
use crate::run::{Machine, Workspace, WorkspaceSize};
use crate::simd::{LANES, RawWork, Simd};

/// The gradient of a [`MaxPool`](crate::pool::MaxPool): that of an output goes to the first of its largest inputs.
#[derive(Debug)]
pub struct MaxPoolBackward<'a> {
    /// The windows.
    pub shape: PoolShape,
    /// The input of the forward pass.
    pub x: View<'a>,
    /// The gradient of the output.
    pub gradient: GradientView<'a>,
    /// Where the gradient of the input goes.
    pub data: DataGradient<'a>,
    /// Samples of the batch.
    pub samples: usize,
}

impl MaxPoolBackward<'_> {
    /// The scratch that it needs.
    pub fn workspace(shape: &PoolShape, samples: usize) -> WorkspaceSize {
        backward_workspace(shape, samples)
    }

    /// Runs it. The result is zero (or unchanged, where it is added up) in lanes behind the last sample.
    ///
    /// # Errors
    /// If the shape is none, a length does not fit it, the workspace is too small, or a worker panicked.
    pub fn run(self, machine: &Machine, scratch: &mut Workspace) -> Result<(), Error> {
        let MaxPoolBackward { shape, x, gradient, data, samples } = self;
        backward(machine, Kind::Max, (shape, samples), x, gradient, data, scratch)
    }
}

/// The gradient of an [`AveragePool`](crate::pool::AveragePool): that of an output goes to all its inputs alike.
#[derive(Debug)]
pub struct AveragePoolBackward<'a> {
    /// The windows.
    pub shape: PoolShape,
    /// The input of the forward pass.
    pub x: View<'a>,
    /// The gradient of the output.
    pub gradient: GradientView<'a>,
    /// Where the gradient of the input goes.
    pub data: DataGradient<'a>,
    /// Samples of the batch.
    pub samples: usize,
}

impl AveragePoolBackward<'_> {
    /// The scratch that it needs.
    pub fn workspace(shape: &PoolShape, samples: usize) -> WorkspaceSize {
        backward_workspace(shape, samples)
    }

    /// Runs it. The result is zero (or unchanged, where it is added up) in lanes behind the last sample.
    ///
    /// # Errors
    /// If the shape is none, a length does not fit it, the workspace is too small, or a worker panicked.
    pub fn run(self, machine: &Machine, scratch: &mut Workspace) -> Result<(), Error> {
        let AveragePoolBackward { shape, x, gradient, data, samples } = self;
        backward(machine, Kind::Average, (shape, samples), x, gradient, data, scratch)
    }
}

/// A worker has a strip of one channel; nothing runs on a shape that is none.
fn backward_workspace(shape: &PoolShape, samples: usize) -> WorkspaceSize {
    if shape.check().is_err() {
        return WorkspaceSize::default();
    }
    scatter_workspace(shape.input(), samples, shape.rows.min(SUM_ROWS) * shape.columns * LANES)
}

fn backward(
    machine: &Machine,
    kind: Kind,
    (shape, samples): (PoolShape, usize),
    x: View,
    gradient: GradientView,
    data: DataGradient,
    scratch: &mut Workspace,
) -> Result<(), Error> {
    shape.check()?;
    gradient.check(shape.output(), blocks(samples))?;
    let size = backward_workspace(&shape, samples);
    scatter(machine, (shape.input(), samples), x, data, (scratch, size), &|target| {
        // SAFETY: the gradient was checked above, and the scratch is as asked for.
        unsafe { machine.isa.run_raw(BackwardPart { kind, shape, gradient, target }) };
    })
}

/// The gradient of a part of the input.
///
/// # Safety
/// The gradient of the output has been checked against the shape; the target is that of [`scatter`] with the scratch of
/// [`backward_workspace`].
struct BackwardPart<'a> {
    kind: Kind,
    shape: PoolShape,
    gradient: GradientView<'a>,
    target: Target<'a>,
}

impl RawWork for BackwardPart<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let BackwardPart { kind, shape, gradient, target } = self;
        let (block, rows, scratch) = (target.part.block, &target.part.rows, target.scratch);
        let (input, output) = (shape.input(), shape.output());
        let share = s.splat(1.0 / (shape.kernel * shape.kernel) as f32);
        for c in target.part.channels.clone() {
            // SAFETY: windows lie inside the input (`PoolShape::window`), the output rows inside the output; the
            // scratch is written only at rows of the part, and read as it was written.
            unsafe {
                let mut sink = target.channel(s, c);
                let gradients = Gradients::new(s, &gradient, c, target.part.lanes);
                for v in 0..rows.len() * input.columns {
                    s.store(scratch.add(v * LANES), s.splat(0.0));
                }
                for i in shape.seen_by(rows, output.rows) {
                    let window_rows = shape.window(i, input.rows);
                    for j in 0..output.columns {
                        let window_columns = shape.window(j, input.columns);
                        let g = gradients.value(s, output.at(block, i, c, j));
                        if kind == Kind::Average {
                            let g = s.mul(g, share);
                            for r in window_rows.start.max(rows.start)..window_rows.end.min(rows.end) {
                                for q in window_columns.clone() {
                                    let place = scratch.add(((r - rows.start) * input.columns + q) * LANES);
                                    s.store(place, s.add(s.load(place), g));
                                }
                            }
                            continue;
                        }
                        let mut largest = s.splat(f32::NEG_INFINITY);
                        for r in window_rows.clone() {
                            for q in window_columns.clone() {
                                largest = s.max_or_nan(sink.value(s, input.at(block, r, c, q)), largest);
                            }
                        }
                        // The lanes whose largest value has not been met yet.
                        let mut left = u16::MAX;
                        for r in window_rows.start..window_rows.end.min(rows.end) {
                            for q in window_columns.clone() {
                                let x = sink.value(s, input.at(block, r, c, q));
                                let found = left & s.is_max(x, largest);
                                left ^= found;
                                if r >= rows.start {
                                    let place = scratch.add(((r - rows.start) * input.columns + q) * LANES);
                                    s.store(place, s.add(s.load(place), s.keep(found, g)));
                                }
                            }
                        }
                    }
                }
                for r in rows.clone() {
                    for q in 0..input.columns {
                        let dv = s.load(scratch.add(((r - rows.start) * input.columns + q) * LANES));
                        sink.put(s, input.at(block, r, c, q), dv);
                    }
                }
                target.finish(s, c, sink);
            }
        }
    }
}
