//! Products with dense weights: forward, and of the data's gradient.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::error::{Error, check_len};
use crate::linear::epilogue::Epilogue;
use crate::linear::shape::{LinearShape, flops};
use crate::run::simulate::{TaskWork, list};
use crate::run::{Machine, Runs, Shared};
use crate::simd::{Finite, LANES, RawWork, Simd};
use crate::vector::layout::{BLOCK_GROUPS, GROUP, VECTORS};

/// Forward: y = W·x + b, then the epilogue.
///
/// # Errors
/// If a length does not fit the shapes, or a worker panicked.
#[allow(clippy::too_many_arguments)]
pub fn forward(
    machine: &Machine,
    shape: LinearShape,
    weights: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
    y: &mut [f32],
    epilogue: Epilogue,
) -> Result<(), Error> {
    shape.check(x.len(), y.len())?;
    check_len("weights", weights.len(), shape.weights()?)?;
    if let Some(bias) = bias {
        check_len("bias", bias.len(), shape.outputs)?;
    }
    epilogue.check(y.len())?;
    let product = Product {
        weights,
        row_stride: shape.inputs,
        column_stride: 1,
        rows: shape.outputs,
        columns: shape.inputs,
        bias,
        accumulate: false,
        x,
        y: Shared::new(y),
        epilogue,
    };
    product.run(machine, shape)
}

/// Backward data: dx = Wᵀ·dy, then the epilogue; `accumulate` as in the sparse form.
///
/// # Errors
/// If a length does not fit the shapes, or a worker panicked.
pub fn backward_data(
    machine: &Machine,
    shape: LinearShape,
    weights: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    epilogue: Epilogue,
    accumulate: bool,
) -> Result<(), Error> {
    shape.check(dx.len(), dy.len())?;
    check_len("weights", weights.len(), shape.weights()?)?;
    epilogue.check(dx.len())?;
    let product = Product {
        weights,
        row_stride: 1,
        column_stride: shape.inputs,
        rows: shape.inputs,
        columns: shape.outputs,
        bias: None,
        accumulate,
        x: dy,
        y: Shared::new(dx),
        epilogue,
    };
    product.run(machine, shape)
}

/// A dense matrix, read by rows of the result, times a map of its columns.
#[derive(Clone, Copy)]
struct Product<'a> {
    weights: &'a [f32],
    row_stride: usize,
    column_stride: usize,
    rows: usize,
    columns: usize,
    bias: Option<&'a [f32]>,
    /// Whether sums start at what the result holds.
    accumulate: bool,
    x: &'a [f32],
    y: Shared<f32>,
    epilogue: Epilogue<'a>,
}

/// Rows of a unit: of a strip, at least.
const UNIT: usize = 8;

/// Rows of a strip, at most: the part of the weights of its columns stays in the first cache.
const STRIP: usize = 64;

/// Columns multiplied before the next rows are: their part of x stays in the second cache, and the part of the
/// weights of a strip in the first.
const COLUMNS: usize = 128;

/// The weights of a strip for these columns, copied so that they lie together: `[column][row of the strip]`.
#[repr(align(64))]
struct Panel([[MaybeUninit<f32>; STRIP]; COLUMNS]);

/// How a product of so many rows is cut: pairs of groups × units of rows, rows innermost.
struct Cut {
    rows: usize,
    units: usize,
    groups: usize,
    runs: Runs,
}

impl Cut {
    fn new(rows: usize, groups: usize, threads: usize) -> Cut {
        let units = rows.div_ceil(UNIT);
        let runs =
            Runs::new(units.saturating_mul(groups.div_ceil(BLOCK_GROUPS)), (STRIP / UNIT, 1), threads, |n| {
                n as f64 + 0.1
            });
        Cut { rows, units, groups, runs }
    }

    /// Calls `strip(rows, groups)` for the strips of a task.
    fn strips(&self, task: usize, mut strip: impl FnMut(Range<usize>, Range<usize>)) {
        let Range { start: mut unit, end } = self.runs.units(task);
        while unit < end {
            let (pair, first) = (unit / self.units, unit % self.units);
            let last = self.units.min(first + end - unit);
            let group = pair * BLOCK_GROUPS;
            strip(first * UNIT..self.rows.min(last * UNIT), group..self.groups.min(group + BLOCK_GROUPS));
            unit += last - first;
        }
    }
}

pub(super) fn tasks(rows: usize, columns: usize, groups: usize, threads: usize) -> Vec<TaskWork> {
    let cut = Cut::new(rows, groups, threads);
    let of_task = |task| {
        let mut work = TaskWork::default();
        cut.strips(task, |rows, groups| {
            work.add(TaskWork { flops: flops(rows.len().saturating_mul(columns), groups.len()), staged: 0 });
        });
        work
    };
    list(cut.runs.tasks(), of_task)
}

impl Product<'_> {
    fn run(self, machine: &Machine, shape: LinearShape) -> Result<(), Error> {
        let cut = Cut::new(self.rows, shape.groups, machine.threads(shape.flops()));
        machine.run(cut.runs.tasks(), shape.flops(), &|_, task| {
            cut.strips(task, |rows, groups| {
                // SAFETY: the callers checked every length; strips are within the shape, and each is in one task.
                machine.note(unsafe { machine.isa.run_raw(Strip { product: self, rows, groups }) });
            });
        })
    }
}

/// A strip of rows for one or two groups; says whether they are finite.
///
/// # Safety
/// The lengths of weights, bias, x, y and the epilogue's gate fit the product's shape; the rows, up to [`STRIP`], and the
/// groups are within it, and no other task has the same.
struct Strip<'a> {
    product: Product<'a>,
    rows: Range<usize>,
    groups: Range<usize>,
}

impl RawWork for Strip<'_> {
    type Output = bool;

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) -> bool {
        let p = &self.product;
        let mut finite = Finite::new(s);
        let mut panel = Panel([[MaybeUninit::uninit(); STRIP]; COLUMNS]);
        // A result without columns is its bias: one empty block.
        for first in (0..p.columns.max(1)).step_by(COLUMNS) {
            let columns = first..p.columns.min(first + COLUMNS);
            // Where a row of the result is a column of the matrix, neighbours lie apart: by a power of two, often,
            // so that they fight for the same lines of the cache.
            let (weights, row_stride, column_stride) = if p.row_stride == 1 && p.column_stride > STRIP {
                for (row, column) in panel.0.iter_mut().zip(columns.clone()) {
                    let at = column * p.column_stride + self.rows.start;
                    for (to, &from) in row.iter_mut().zip(&p.weights[at..][..self.rows.len()]) {
                        to.write(from);
                    }
                }
                (panel.0.as_ptr().cast::<f32>(), 1, STRIP)
            } else {
                let at = self.rows.start * p.row_stride + columns.start * p.column_stride;
                (p.weights.as_ptr().wrapping_add(at), p.row_stride, p.column_stride)
            };
            let block = Block { strip: &self, weights, row_stride, column_stride, columns };
            // SAFETY: the caller vouches for the lengths; rows, columns and groups are within the shape, and `weights`
            // with its strides are those of these rows and columns, in the panel the ones just written.
            unsafe {
                if S::WIDE {
                    block.rows::<S, 4, 4>(s, &mut finite);
                } else {
                    block.rows::<S, 2, 2>(s, &mut finite);
                }
            }
        }
        finite.all(s)
    }
}

/// A block of columns of a strip.
struct Block<'a> {
    strip: &'a Strip<'a>,
    /// The weight of the strip's first row and the block's first column.
    weights: *const f32,
    row_stride: usize,
    column_stride: usize,
    columns: Range<usize>,
}

impl Block<'_> {
    /// All rows, M at a time, V vectors of a group at a time.
    ///
    /// # Safety
    /// As for [`Block::tile`], for all rows and groups of the strip.
    #[inline(always)]
    unsafe fn rows<S: Simd, const M: usize, const V: usize>(&self, s: S, finite: &mut Finite<S>) {
        let rows = self.strip.rows.len();
        let mut row = 0;
        while row < rows {
            let count = if rows - row >= M { M } else { 1 };
            for group in self.strip.groups.clone() {
                for first in (0..VECTORS).step_by(V) {
                    // SAFETY: passed on.
                    unsafe {
                        if count == M {
                            finite.join(s, self.tile::<S, M, V>(s, row, group, first));
                        } else {
                            finite.join(s, self.tile::<S, 1, V>(s, row, group, first));
                        }
                    }
                }
            }
            row += count;
        }
    }

    /// Rows `row .. row + M` of the strip, vectors `first .. first + V` of the group; what was seen of the results.
    ///
    /// # Safety
    /// These rows and vectors, the block's columns and the group are within maps and weights of the product's
    /// shape, and the task alone writes them.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const V: usize>(
        &self,
        s: S,
        row: usize,
        group: usize,
        first: usize,
    ) -> Finite<S> {
        let p = &self.strip.product;
        let mut finite = Finite::new(s);
        let is_first = self.columns.start == 0 && !p.accumulate;
        let is_last = self.columns.end == p.columns;
        let row_of_all = self.strip.rows.start + row;
        // Of row 0 and vector 0 of the tile; rows are a group apart.
        let at = (group * p.rows + row_of_all) * GROUP + first * LANES;
        // SAFETY: offsets are those of rows, columns and vectors inside the shape.
        unsafe {
            let y = p.y.get().add(at);
            let mut sums = [[s.splat(0.0); V]; M];
            for (m, sums) in sums.iter_mut().enumerate() {
                if !is_first {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = s.load(y.add(m * GROUP + v * LANES));
                    }
                } else if let Some(bias) = p.bias {
                    *sums = [s.splat(*bias.get_unchecked(row_of_all + m)); V];
                }
            }
            let mut w = self.weights.wrapping_add(row * self.row_stride);
            let at_x = (group * p.columns + self.columns.start) * GROUP + first * LANES;
            // Without columns there is nothing to point at.
            let mut x = p.x.as_ptr().wrapping_add(at_x);
            for _ in self.columns.clone() {
                let mut xs = [s.splat(0.0); V];
                for (v, xs) in xs.iter_mut().enumerate() {
                    *xs = s.load(x.add(v * LANES));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let w = s.splat(*w.add(m * self.row_stride));
                    for (sum, &x) in sums.iter_mut().zip(&xs) {
                        *sum = s.fma(w, x, *sum);
                    }
                }
                // The last round steps past the end without reading there.
                w = w.wrapping_add(self.column_stride);
                x = x.wrapping_add(GROUP);
            }
            for (m, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    let offset = m * GROUP + v * LANES;
                    let mut sum = sum;
                    if is_last {
                        sum = p.epilogue.apply(s, sum, at + offset);
                        finite.see(s, sum);
                    }
                    s.store(y.add(offset), sum);
                }
            }
        }
        finite
    }
}
