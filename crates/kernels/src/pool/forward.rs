//! The forward pass of pooling.

use crate::error::{Error, check_len};
use crate::map::{Part, StoredMut, Strips, Values, View, blocks};
use crate::pool::shape::{Kind, PoolShape};
use crate::run::{Machine, Shared};
use crate::simd::{RawWork, Simd};

/// y = the largest value of each window of x.
#[derive(Debug)]
pub struct MaxPool<'a> {
    /// The windows.
    pub shape: PoolShape,
    /// The input.
    pub x: View<'a>,
    /// The output map.
    pub y: &'a mut [f32],
    /// Samples of the batch.
    pub samples: usize,
}

impl MaxPool<'_> {
    /// Runs it. Lanes behind the last sample hold the same of what the view holds there.
    ///
    /// # Errors
    /// If the shape is none, a length does not fit it, or a worker panicked.
    pub fn run(self, machine: &Machine) -> Result<(), Error> {
        let MaxPool { shape, x, y, samples } = self;
        forward(machine, Kind::Max, shape, x, y, samples)
    }
}

/// y = the mean value of each window of x, padding counted as zeros.
#[derive(Debug)]
pub struct AveragePool<'a> {
    /// The windows.
    pub shape: PoolShape,
    /// The input.
    pub x: View<'a>,
    /// The output map.
    pub y: &'a mut [f32],
    /// Samples of the batch.
    pub samples: usize,
}

impl AveragePool<'_> {
    /// Runs it. Lanes behind the last sample hold the same of what the view holds there.
    ///
    /// # Errors
    /// If the shape is none, a length does not fit it, or a worker panicked.
    pub fn run(self, machine: &Machine) -> Result<(), Error> {
        let AveragePool { shape, x, y, samples } = self;
        forward(machine, Kind::Average, shape, x, y, samples)
    }
}

fn forward(
    machine: &Machine,
    kind: Kind,
    shape: PoolShape,
    x: View,
    y: &mut [f32],
    samples: usize,
) -> Result<(), Error> {
    shape.check()?;
    let blocks = blocks(samples);
    x.check(shape.input(), blocks)?;
    check_len("y", y.len(), shape.output().len(blocks)?)?;
    let strips = Strips::new(shape.output(), samples);
    // Memory is what it waits for: of the input, where windows lie apart.
    let cost = strips.cost().saturating_add(Strips::new(shape.input(), samples).cost());
    let y = Shared::new(y);
    strips.run(machine, cost, &|_, part| {
        // SAFETY: view and output have been checked against the shape, and parts are of the output.
        unsafe { machine.isa.run_raw(ForwardPart { kind, shape, x, y: StoredMut::new(y.get()), part }) };
    })
}

/// A part of the output.
///
/// # Safety
/// View and output have been checked against the shape, the part is one of the output; no other task writes it.
struct ForwardPart<'a> {
    kind: Kind,
    shape: PoolShape,
    x: View<'a>,
    y: StoredMut,
    part: Part,
}

impl RawWork for ForwardPart<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let ForwardPart { kind, shape, x, y, part } = self;
        let (input, output) = (shape.input(), shape.output());
        let share = s.splat(1.0 / (shape.kernel * shape.kernel) as f32);
        for i in part.rows {
            let window_rows = shape.window(i, input.rows);
            for c in part.channels.clone() {
                // SAFETY: channel, rows and columns are within the shapes of view and output.
                unsafe {
                    let values = Values::new(s, &x, c);
                    for j in 0..output.columns {
                        let window_columns = shape.window(j, input.columns);
                        let mut v = match kind {
                            Kind::Max => s.splat(f32::NEG_INFINITY),
                            Kind::Average => s.splat(0.0),
                        };
                        for r in window_rows.clone() {
                            for q in window_columns.clone() {
                                let x = values.value(s, input.at(part.block, r, c, q));
                                v = match kind {
                                    Kind::Max => s.max_or_nan(x, v),
                                    Kind::Average => s.add(v, x),
                                };
                            }
                        }
                        if kind == Kind::Average {
                            v = s.mul(v, share);
                        }
                        y.store(s, output.at(part.block, i, c, j), v);
                    }
                }
            }
        }
    }
}
