//! Gradients of dense weights and of biases.

use std::ops::Range;

use crate::error::{Error, check_len};
use crate::linear::shape::{LinearShape, flops};
use crate::run::simulate::{TaskWork, list};
use crate::run::{Machine, Runs, Shared};
use crate::simd::{LANES, RawWork, Simd, Work};
use crate::vector::layout::{BLOCK_GROUPS, GROUP, VECTORS, map_len};

/// Inputs whose gradients are computed for all outputs of a task before the next are: their part of x stays in
/// the second cache.
const CHUNK: usize = 256;

/// Outputs of a unit.
const UNIT: usize = 8;

/// Units of a task, at most: with more of them x is not read much less often.
const MOST: usize = 32;

/// Outputs, and inputs, of a tile of the gradient: 16 sums, added up over lanes together.
const ROWS: usize = 4;

/// How the weight is cut: chunks of inputs × units of outputs, outputs innermost.
struct Cut {
    shape: LinearShape,
    /// Units of a chunk.
    units: usize,
    /// Inputs of a chunk, up to [`CHUNK`]: all are about as wide.
    width: usize,
    runs: Runs,
}

impl Cut {
    fn new(shape: LinearShape, threads: usize) -> Cut {
        let units = shape.outputs.div_ceil(UNIT);
        let chunks = shape.inputs.div_ceil(CHUNK);
        let width = shape.inputs.div_ceil(chunks.max(1)).next_multiple_of(ROWS);
        let runs = Runs::new(units.saturating_mul(chunks), (MOST, 1), threads, |n| n as f64 + 0.2);
        Cut { shape, units, width, runs }
    }

    /// Calls `part(outputs, inputs)` for the parts of a task.
    fn parts(&self, task: usize, mut part: impl FnMut(Range<usize>, Range<usize>)) {
        let Range { start: mut unit, end } = self.runs.units(task);
        while unit < end {
            let (chunk, first) = (unit / self.units, unit % self.units);
            let last = self.units.min(first + end - unit);
            let from = (chunk * self.width).min(self.shape.inputs);
            let inputs = from..self.shape.inputs.min(from + self.width);
            // Rounded up, so many chunks may leave nothing for the last.
            if !inputs.is_empty() {
                part(first * UNIT..self.shape.outputs.min(last * UNIT), inputs);
            }
            unit += last - first;
        }
    }
}

pub(super) fn tasks(shape: LinearShape, threads: usize) -> Vec<TaskWork> {
    let cut = Cut::new(shape, threads);
    let of_task = |task| {
        let mut work = TaskWork::default();
        cut.parts(task, |outputs, inputs| {
            work.add(TaskWork {
                flops: flops(outputs.len().saturating_mul(inputs.len()), shape.groups),
                staged: 0,
            });
        });
        work
    };
    list(cut.runs.tasks(), of_task)
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
    let out = Shared::new(gradient);
    let cut = Cut::new(shape, machine.threads(shape.flops()));
    machine.run(cut.runs.tasks(), shape.flops(), &|_, task| {
        cut.parts(task, |outputs, inputs| {
            for row in outputs.clone().step_by(ROWS) {
                let rows = ROWS.min(outputs.end - row);
                // SAFETY: rows and inputs are within the checked lengths, and the task's own.
                unsafe {
                    let out = out.get().add(row * shape.inputs + inputs.start);
                    let (inputs, out) = (inputs.clone(), (out, shape.inputs));
                    machine.isa.run_raw(GradientRows { shape, x, dy, row, rows, inputs, out, accumulate });
                }
            }
        });
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
    if shape.weights()? > u32::MAX as usize {
        return Err(Error::Shape(format!("linear layer of {} × {}", shape.outputs, shape.inputs)));
    }
    let cut = Cut::new(shape, machine.threads(shape.flops()));
    machine.run(cut.runs.tasks(), shape.flops(), &|worker, task| {
        let mut buffer = [[0.0f32; CHUNK]; ROWS];
        cut.parts(task, |outputs, inputs| {
            for row in outputs.clone().step_by(ROWS) {
                let rows = ROWS.min(outputs.end - row);
                let (inputs, out) = (inputs.clone(), (buffer.as_mut_ptr().cast(), CHUNK));
                let (accumulate, width, first) = (false, inputs.len(), inputs.start);
                // SAFETY: rows and inputs are within the checked lengths; the buffer has as many of both.
                unsafe {
                    machine.isa.run_raw(GradientRows { shape, x, dy, row, rows, inputs, out, accumulate });
                }
                for (r, part) in buffer.iter().enumerate().take(rows) {
                    take(worker, ((row + r) * shape.inputs + first) as u32, &part[..width]);
                }
            }
        });
    })
}

/// The gradient of outputs `row .. row + rows`, up to [`ROWS`], and some inputs.
///
/// # Safety
/// The lengths of x and dy fit the shape, outputs and inputs are within it and not none; `out` is where the first
/// gradient goes and how far rows lie apart, with room for all of them, which no other task has.
struct GradientRows<'a> {
    shape: LinearShape,
    x: &'a [f32],
    dy: &'a [f32],
    row: usize,
    rows: usize,
    inputs: Range<usize>,
    out: (*mut f32, usize),
    accumulate: bool,
}

impl RawWork for GradientRows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let (out, stride) = self.out;
        let width = self.inputs.len();
        if self.shape.groups == 0 && !self.accumulate {
            for r in 0..self.rows {
                // SAFETY: the caller vouches for the room.
                unsafe { std::slice::from_raw_parts_mut(out.add(r * stride), width).fill(0.0) };
            }
        }
        for group in (0..self.shape.groups).step_by(BLOCK_GROUPS) {
            let store = group == 0 && !self.accumulate;
            let groups = BLOCK_GROUPS.min(self.shape.groups - group);
            for column in (0..width).step_by(ROWS) {
                let mut sums = [s.splat(0.0); LANES];
                // SAFETY: rows and columns beyond the edge are replaced by the last ones, so all are within
                // the maps, whose lengths the caller vouches for.
                unsafe {
                    if S::WIDE {
                        self.tile::<S, 4>(s, group, groups, 0, column, &mut sums);
                    } else {
                        self.tile::<S, 1>(s, group, groups, 0, column, &mut sums);
                        self.tile::<S, 1>(s, group, groups, 1, column, &mut sums);
                        self.tile::<S, 1>(s, group, groups, 2, column, &mut sums);
                        self.tile::<S, 1>(s, group, groups, 3, column, &mut sums);
                    }
                }
                let mut added = [0.0f32; LANES];
                // SAFETY: `added` holds 16 f32; the caller vouches for the room of every row.
                unsafe {
                    s.store(added.as_mut_ptr(), s.sum16(sums));
                    for (r, added) in added.chunks_exact(ROWS).enumerate().take(self.rows) {
                        let out = out.add(r * stride + column);
                        if store && width - column >= ROWS {
                            std::ptr::copy_nonoverlapping(added.as_ptr(), out, ROWS);
                            continue;
                        }
                        for (c, &added) in added.iter().enumerate().take(width - column) {
                            *out.add(c) = if store { added } else { *out.add(c) + added };
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
    /// As for the work; the column and the groups are within it.
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
            let (mut x, mut dy) = ([std::ptr::null::<f32>(); ROWS], [std::ptr::null::<f32>(); M]);
            for (c, x) in x.iter_mut().enumerate() {
                let input = (self.inputs.start + column + c).min(inputs - 1);
                *x = self.x.as_ptr().add((group * inputs + input) * GROUP);
            }
            for (m, dy) in dy.iter_mut().enumerate() {
                let output = (self.row + r + m).min(outputs - 1);
                *dy = self.dy.as_ptr().add((group * outputs + output) * GROUP);
            }
            let mut tile = [[s.splat(0.0); ROWS]; M];
            for g in 0..groups {
                for v in 0..VECTORS {
                    let mut xs = [s.splat(0.0); ROWS];
                    for (xs, x) in xs.iter_mut().zip(&x) {
                        *xs = s.load(x.add(g * inputs * GROUP + v * LANES));
                    }
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

/// Biases whose gradients one task computes.
const BIASES: usize = 64;

/// Bias gradient: the sum of every row of dy over the batch, in the order of weight gradients.
///
/// # Errors
/// If a length does not fit the shapes, or a worker panicked.
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
    // An addition for every number read.
    machine.chunks(gradient, BIASES, dy.len().saturating_mul(4), &|first, gradient| {
        if !accumulate {
            gradient.fill(0.0);
        }
        machine.isa.run(BiasGradient { outputs, groups, dy, first, gradient });
    })
}

/// The gradients of the biases from `first` on.
struct BiasGradient<'a> {
    outputs: usize,
    groups: usize,
    dy: &'a [f32],
    first: usize,
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
                    let dy = &self.dy[group * stride + (self.first + row) * GROUP..][..GROUP];
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
