//! Dense linear layers, for dense baselines, masked storage and the gradients that decide on growth.
//!
//! Shapes as in the sparse form; weights row-major (outputs × inputs). Sums run in the same order as there, so a
//! dense layer whose inactive weights are zero gives the bits of the sparse one.

use crate::error::{Error, check_len};
use crate::linear::epilogue::Epilogue;
use crate::run::{Machine, Shared};
use crate::simd::{LANES, Simd, Work};
use crate::vector::layout::{BLOCK_GROUPS, GROUP, VECTORS, map_len};

/// The shape of a linear layer on a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinearShape {
    /// Outputs.
    pub outputs: usize,
    /// Inputs.
    pub inputs: usize,
    /// Groups of 64 samples.
    pub groups: usize,
}

impl LinearShape {
    fn check(&self, x: usize, y: usize) -> Result<(), Error> {
        check_len("x", x, map_len(self.inputs, self.groups)?)?;
        check_len("y", y, map_len(self.outputs, self.groups)?)
    }

    fn weights(&self) -> Result<usize, Error> {
        self.outputs
            .checked_mul(self.inputs)
            .filter(|&n| n <= isize::MAX as usize / 4)
            .ok_or_else(|| Error::Shape(format!("linear layer of {} × {}", self.outputs, self.inputs)))
    }

    fn flops(&self) -> usize {
        (2 * GROUP).saturating_mul(self.groups).saturating_mul(self.outputs.saturating_mul(self.inputs))
    }
}

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

/// Rows that one task computes: borders of tasks depend on shapes alone.
const STRIP: usize = 64;

/// Columns multiplied before the next rows are: their part of x stays in the second cache, and the part of the
/// weights of a strip in the first.
const COLUMNS: usize = 128;

/// The weights of a strip for these columns, copied so that they lie together: `[column][row of the strip]`.
#[repr(align(64))]
struct Panel([[f32; STRIP]; COLUMNS]);

impl Product<'_> {
    fn run(self, machine: &Machine, shape: LinearShape) -> Result<(), Error> {
        let strips = self.rows.div_ceil(STRIP);
        machine.run(strips * shape.groups.div_ceil(BLOCK_GROUPS), shape.flops(), &|_, task| {
            let (strip, first) = (task % strips, task / strips * BLOCK_GROUPS);
            machine.isa.run(Strip {
                product: self,
                rows: strip * STRIP..self.rows.min((strip + 1) * STRIP),
                groups: first..shape.groups.min(first + BLOCK_GROUPS),
            });
        })
    }
}

/// One task: a strip of rows for one or two groups.
struct Strip<'a> {
    product: Product<'a>,
    rows: std::ops::Range<usize>,
    groups: std::ops::Range<usize>,
}

impl Work for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = &self.product;
        let mut panel = Panel([[0.0; STRIP]; COLUMNS]);
        // A result without columns is its bias: one empty block.
        for first in (0..p.columns.max(1)).step_by(COLUMNS) {
            let columns = first..p.columns.min(first + COLUMNS);
            // Where a row of the result is a column of the matrix, neighbours lie apart: by a power of two, often,
            // so that they fight for the same lines of the cache.
            let (weights, row_stride, column_stride) = if p.row_stride == 1 && p.column_stride > STRIP {
                for (row, column) in panel.0.iter_mut().zip(columns.clone()) {
                    let at = column * p.column_stride + self.rows.start;
                    row[..self.rows.len()].copy_from_slice(&p.weights[at..][..self.rows.len()]);
                }
                (panel.0.as_ptr().cast::<f32>(), 1, STRIP)
            } else {
                let at = self.rows.start * p.row_stride + columns.start * p.column_stride;
                (p.weights.as_ptr().wrapping_add(at), p.row_stride, p.column_stride)
            };
            let block = Block { strip: &self, weights, row_stride, column_stride, columns };
            // SAFETY: the callers of `Product::run` checked every length; rows, columns and groups are within
            // the shape, and `weights` with its strides are those of these rows and columns.
            unsafe {
                if S::WIDE {
                    block.rows::<S, 4, 4>(s);
                } else {
                    block.rows::<S, 2, 2>(s);
                }
            }
        }
    }
}

/// A block of columns of a strip.
struct Block<'a> {
    strip: &'a Strip<'a>,
    /// The weight of the strip's first row and the block's first column.
    weights: *const f32,
    row_stride: usize,
    column_stride: usize,
    columns: std::ops::Range<usize>,
}

impl Block<'_> {
    /// All rows, M at a time, V vectors of a group at a time.
    ///
    /// # Safety
    /// As for [`Block::tile`], for all rows and groups of the strip.
    #[inline(always)]
    unsafe fn rows<S: Simd, const M: usize, const V: usize>(&self, s: S) {
        let rows = self.strip.rows.len();
        let mut row = 0;
        while row < rows {
            let count = if rows - row >= M { M } else { 1 };
            for group in self.strip.groups.clone() {
                for first in (0..VECTORS).step_by(V) {
                    // SAFETY: passed on.
                    unsafe {
                        if count == M {
                            self.tile::<S, M, V>(s, row, group, first);
                        } else {
                            self.tile::<S, 1, V>(s, row, group, first);
                        }
                    }
                }
            }
            row += count;
        }
    }

    /// Rows `row .. row + M` of the strip, vectors `first .. first + V` of the group.
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
    ) {
        let p = &self.strip.product;
        let is_first = self.columns.start == 0 && !p.accumulate;
        let is_last = self.columns.end == p.columns;
        let at = |m: usize, v: usize| {
            (group * p.rows + self.strip.rows.start + row + m) * GROUP + (first + v) * LANES
        };
        // SAFETY: offsets are those of rows, columns and vectors inside the shape.
        unsafe {
            let mut sums: [[S::V; V]; M] = std::array::from_fn(|m| {
                if is_first {
                    [s.splat(p.bias.map_or(0.0, |b| *b.get_unchecked(self.strip.rows.start + row + m))); V]
                } else {
                    std::array::from_fn(|v| s.load(p.y.get().add(at(m, v))))
                }
            });
            let mut w = self.weights.wrapping_add(row * self.row_stride);
            let at_x = (group * p.columns + self.columns.start) * GROUP + first * LANES;
            // Without columns there is nothing to point at.
            let mut x = p.x.as_ptr().wrapping_add(at_x);
            for _ in self.columns.clone() {
                let xs: [S::V; V] = std::array::from_fn(|v| s.load(x.add(v * LANES)));
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
                    let sum = if is_last { p.epilogue.apply(s, sum, at(m, v)) } else { sum };
                    s.store(p.y.get().add(at(m, v)), sum);
                }
            }
        }
    }
}

/// Dense weight gradient, row-major. Order of sums as in the sparse form. With `accumulate` it is added to what
/// `gradient` holds.
///
/// # Errors
/// If a length does not fit the shapes, or a worker panicked.
pub fn gradient(
    machine: &Machine,
    shape: LinearShape,
    x: &[f32],
    dy: &[f32],
    gradient: &mut [f32],
    accumulate: bool,
) -> Result<(), Error> {
    shape.check(x.len(), dy.len())?;
    check_len("gradient", gradient.len(), shape.weights()?)?;
    if gradient.is_empty() {
        return Ok(());
    }
    let out = Shared::new(gradient);
    machine.run(shape.outputs.div_ceil(STRIP), shape.flops(), &|_, strip| {
        let last = shape.outputs.min((strip + 1) * STRIP);
        for first in (0..shape.inputs).step_by(CHUNK) {
            let width = CHUNK.min(shape.inputs - first);
            for row in (strip * STRIP..last).step_by(ROWS) {
                let count = ROWS.min(last - row);
                // SAFETY: the rows of a strip are the task's own, inside the checked length.
                let rows: [&mut [f32]; ROWS] = std::array::from_fn(|r| unsafe {
                    let len = if r < count { width } else { 0 };
                    let at = (row + r.min(count - 1)) * shape.inputs + first;
                    std::slice::from_raw_parts_mut(out.get().add(at), len)
                });
                machine.isa.run(GradientRows { shape, x, dy, row, first, rows, accumulate });
            }
        }
    })
}

/// The dense weight gradient, tile by tile, never stored: `take(worker, first index, values)` receives every
/// flat position of the weight once, in pieces of a row. Calls with the same worker never overlap in time.
///
/// # Errors
/// If a length does not fit the shapes, the positions exceed u32, or `take` panicked.
pub fn growth(
    machine: &Machine,
    shape: LinearShape,
    x: &[f32],
    dy: &[f32],
    take: &(dyn Fn(usize, u32, &[f32]) + Sync),
) -> Result<(), Error> {
    shape.check(x.len(), dy.len())?;
    match shape.weights()? {
        0 => return Ok(()),
        n if n > u32::MAX as usize => {
            return Err(Error::Shape(format!("linear layer of {} × {}", shape.outputs, shape.inputs)));
        }
        _ => {}
    }
    machine.run(shape.outputs.div_ceil(STRIP), shape.flops(), &|worker, strip| {
        let mut buffer = [[0.0f32; CHUNK]; ROWS];
        let last = shape.outputs.min((strip + 1) * STRIP);
        for first in (0..shape.inputs).step_by(CHUNK) {
            let width = CHUNK.min(shape.inputs - first);
            for row in (strip * STRIP..last).step_by(ROWS) {
                let count = ROWS.min(last - row);
                let mut parts = buffer.iter_mut().enumerate();
                let rows: [&mut [f32]; ROWS] = std::array::from_fn(|_| match parts.next() {
                    Some((r, part)) if r < count => &mut part[..width],
                    _ => &mut [],
                });
                machine.isa.run(GradientRows { shape, x, dy, row, first, rows, accumulate: false });
                for (r, part) in buffer.iter().enumerate().take(count) {
                    take(worker, ((row + r) * shape.inputs + first) as u32, &part[..width]);
                }
            }
        }
    })
}

/// Inputs whose gradients are computed for all outputs of a strip before the next are: their part of x stays in
/// the second cache.
const CHUNK: usize = 256;

/// Outputs, and inputs, of a tile of the gradient: 16 sums, added up over lanes together.
const ROWS: usize = 4;

/// Gradient of rows `row ..` (as many as `rows` has non-empty slices) and inputs `first ..` (as many as a
/// slice is long).
struct GradientRows<'a> {
    shape: LinearShape,
    x: &'a [f32],
    dy: &'a [f32],
    row: usize,
    first: usize,
    rows: [&'a mut [f32]; ROWS],
    accumulate: bool,
}

impl Work for GradientRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let width = self.rows[0].len();
        if self.shape.groups == 0 && !self.accumulate {
            self.rows.iter_mut().for_each(|row| row.fill(0.0));
        }
        for group in (0..self.shape.groups).step_by(BLOCK_GROUPS) {
            let store = group == 0 && !self.accumulate;
            let blocks = BLOCK_GROUPS.min(self.shape.groups - group);
            for column in (0..width).step_by(ROWS) {
                let mut sums = [s.splat(0.0); LANES];
                // SAFETY: rows and columns beyond the edge are replaced by the last ones, so all are within
                // the maps, whose lengths the callers checked.
                unsafe {
                    if S::WIDE {
                        self.tile::<S, 4>(s, group, blocks, 0, column, &mut sums);
                    } else {
                        self.tile::<S, 1>(s, group, blocks, 0, column, &mut sums);
                        self.tile::<S, 1>(s, group, blocks, 1, column, &mut sums);
                        self.tile::<S, 1>(s, group, blocks, 2, column, &mut sums);
                        self.tile::<S, 1>(s, group, blocks, 3, column, &mut sums);
                    }
                }
                let mut added = [0.0f32; LANES];
                // SAFETY: `added` holds 16 f32.
                unsafe { s.store(added.as_mut_ptr(), s.sum16(sums)) };
                for (row, added) in self.rows.iter_mut().zip(added.chunks_exact(ROWS)) {
                    match row.get_mut(column..column + ROWS) {
                        Some(out) if store => out.copy_from_slice(added),
                        _ => {
                            for (out, &added) in row.iter_mut().skip(column).zip(added) {
                                *out = if store { added } else { *out + added };
                            }
                        }
                    }
                }
            }
        }
    }
}

impl GradientRows<'_> {
    /// Lane sums of `M` outputs from `r` on × 4 inputs over the block of groups, into `sums[4 r ..]`.
    ///
    /// # Safety
    /// The maps' lengths fit the shape; `self.row`, `self.first + column` and the groups are within it.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize>(
        &self,
        s: S,
        group: usize,
        groups: usize,
        r: usize,
        column: usize,
        sums: &mut [S::V; LANES],
    ) {
        let LinearShape { outputs, inputs, .. } = self.shape;
        // SAFETY: the clamped rows and columns are within the shape, so the offsets are within the maps.
        unsafe {
            let x: [*const f32; ROWS] = std::array::from_fn(|c| {
                let input = (self.first + column + c).min(inputs - 1);
                self.x.as_ptr().add((group * inputs + input) * GROUP)
            });
            let dy: [*const f32; M] = std::array::from_fn(|m| {
                let output = (self.row + r + m).min(outputs - 1);
                self.dy.as_ptr().add((group * outputs + output) * GROUP)
            });
            let mut tile = [[s.splat(0.0); ROWS]; M];
            for g in 0..groups {
                for v in 0..VECTORS {
                    let xs: [S::V; ROWS] =
                        std::array::from_fn(|c| s.load(x[c].add(g * inputs * GROUP + v * LANES)));
                    for (m, tile) in tile.iter_mut().enumerate() {
                        let dy = s.load(dy[m].add(g * outputs * GROUP + v * LANES));
                        for (sum, &x) in tile.iter_mut().zip(&xs) {
                            *sum = s.fma(dy, x, *sum);
                        }
                    }
                }
            }
            for (m, tile) in tile.iter().enumerate() {
                for (c, &sum) in tile.iter().enumerate() {
                    sums[(r + m) * ROWS + c] = sum;
                }
            }
        }
    }
}

/// Bias gradient: the sum of every row of dy over the batch, in the order of weight gradients.
///
/// # Errors
/// If a length does not fit the shapes.
pub fn bias_gradient(
    machine: &Machine,
    outputs: usize,
    groups: usize,
    dy: &[f32],
    gradient: &mut [f32],
    accumulate: bool,
) -> Result<(), Error> {
    check_len("dy", dy.len(), map_len(outputs, groups)?)?;
    check_len("gradient", gradient.len(), outputs)?;
    if !accumulate {
        gradient.fill(0.0);
    }
    if outputs > 0 {
        machine.isa.run(BiasGradient { outputs, groups, dy, gradient });
    }
    Ok(())
}

struct BiasGradient<'a> {
    outputs: usize,
    groups: usize,
    dy: &'a [f32],
    gradient: &'a mut [f32],
}

impl Work for BiasGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let stride = self.outputs * GROUP;
        for first in (0..self.groups).step_by(BLOCK_GROUPS) {
            let last = self.groups.min(first + BLOCK_GROUPS);
            for (row, out) in self.gradient.iter_mut().enumerate() {
                let mut sum = s.splat(0.0);
                for group in first..last {
                    let dy = &self.dy[group * stride + row * GROUP..][..GROUP];
                    for lanes in dy.chunks_exact(LANES) {
                        // SAFETY: `lanes` is 16 long.
                        sum = s.add(sum, unsafe { s.load(lanes.as_ptr()) });
                    }
                }
                *out += s.sum(sum);
            }
        }
    }
}
