//! Sparse linear layers. One nonzero weight multiplies whole vectors of samples: no gather, no tail.
//!
//! Shapes: F inputs, O outputs, G groups of 64 samples; x `[G][F][64]`, y `[G][O][64]`; values, gradients in the
//! forward order of the layer's [`LinearStream`].

use std::ops::Range;

use crate::error::{Error, check_len};
use crate::linear::epilogue::Epilogue;
use crate::linear::shape::{self, flops};
use crate::linear::stream::{LinearStream, Order};
use crate::run::simulate::{TaskWork, list};
use crate::run::{Machine, Runs, Shared};
use crate::simd::{Finite, LANES, LaneSums, RawWork, Simd};
use crate::vector::layout::{BLOCK_GROUPS, GROUP, VECTORS, map_len};

/// Forward: y = W·x + b, then the epilogue. Sums start at the bias and run over inputs in ascending order.
///
/// # Errors
/// If a length does not fit the shapes, or a worker panicked.
#[allow(clippy::too_many_arguments)]
pub fn forward(
    machine: &Machine,
    stream: &LinearStream,
    values: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
    y: &mut [f32],
    groups: usize,
    epilogue: Epilogue,
) -> Result<(), Error> {
    if let Some(bias) = bias {
        check_len("bias", bias.len(), stream.outputs)?;
    }
    let rows = stream.outputs;
    let product = Product {
        order: &stream.forward,
        source: None,
        values,
        bias,
        accumulate: false,
        rows,
        columns: stream.inputs,
    };
    product.run(machine, x, y, groups, epilogue)
}

/// Backward data: dx = Wᵀ·dy, then the epilogue. Sums run over outputs in ascending order. With `accumulate` they start
/// at what `dx` holds, which the epilogue then sees too: a gate that has passed over it before changes nothing in it.
///
/// # Errors
/// If a length does not fit the shapes, or a worker panicked.
#[allow(clippy::too_many_arguments)]
pub fn backward_data(
    machine: &Machine,
    stream: &LinearStream,
    values: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    groups: usize,
    epilogue: Epilogue,
    accumulate: bool,
) -> Result<(), Error> {
    let product = Product {
        order: &stream.backward,
        source: Some(&stream.source),
        values,
        bias: None,
        accumulate,
        rows: stream.inputs,
        columns: stream.outputs,
    };
    product.run(machine, dy, dx, groups, epilogue)
}

/// The nonzeros of one order times a map of its columns.
#[derive(Clone, Copy)]
struct Product<'a> {
    order: &'a Order,
    /// Where each nonzero's value is, if not at the nonzero's own position.
    source: Option<&'a [u32]>,
    values: &'a [f32],
    bias: Option<&'a [f32]>,
    /// Whether sums start at what the result holds.
    accumulate: bool,
    rows: usize,
    columns: usize,
}

impl Product<'_> {
    fn run(
        self,
        machine: &Machine,
        x: &[f32],
        y: &mut [f32],
        groups: usize,
        epilogue: Epilogue,
    ) -> Result<(), Error> {
        check_len("values", self.values.len(), self.order.columns.len())?;
        check_len("x", x.len(), map_len(self.columns, groups)?)?;
        check_len("y", y.len(), map_len(self.rows, groups)?)?;
        epilogue.check(y.len())?;
        if self.rows == 0 {
            return Ok(());
        }
        let y = Shared::new(y);
        // A row is begun and stored too, however few nonzeros it has.
        let flops = flops(self.values.len().saturating_add(2 * self.rows), groups);
        let cut = Cut::new(self.order, groups, machine.threads(flops));
        machine.run(cut.runs.tasks(), flops, &|_, task| {
            let (strip, groups) = cut.strip(task);
            // SAFETY: everything was checked above; strip and groups are within the shapes, and in one task.
            let finite =
                unsafe { machine.isa.run_raw(Strip { product: self, x, y, strip, groups, epilogue }) };
            machine.note(finite);
        })
    }
}

/// How a product is cut: into strips of pairs of groups, or of single groups where threads are many.
struct Cut {
    strips: usize,
    groups: usize,
    runs: Runs,
}

impl Cut {
    fn new(order: &Order, groups: usize, threads: usize) -> Cut {
        let strips = (order.cells.len() - 1) / order.tiles;
        let units = strips.saturating_mul(groups.div_ceil(BLOCK_GROUPS)).saturating_mul(BLOCK_GROUPS);
        // A pair reads every weight once: alone, a group takes a fifth more.
        let runs =
            Runs::new(units, (BLOCK_GROUPS, BLOCK_GROUPS), threads, |n| if n == 1 { 1.2 } else { n as f64 });
        Cut { strips, groups, runs }
    }

    /// A task's strip, and its groups: none, where the last pair lacks one.
    fn strip(&self, task: usize) -> (usize, Range<usize>) {
        let units = self.runs.units(task);
        let (pair, first) = (units.start / BLOCK_GROUPS, units.start % BLOCK_GROUPS);
        let group = pair / self.strips * BLOCK_GROUPS + first;
        (pair % self.strips, group.min(self.groups)..self.groups.min(group.saturating_add(units.len())))
    }
}

/// The tasks that a product is cut into on so many threads.
///
/// # Panics
/// If there are more than 2²⁴.
pub fn tasks(stream: &LinearStream, of: shape::Product, groups: usize, threads: usize) -> Vec<TaskWork> {
    let work = |nonzeros, groups| TaskWork { flops: flops(nonzeros, groups), staged: 0 };
    let product = |order: &Order| {
        let cut = Cut::new(order, groups, threads);
        let of_task = |task| {
            let (strip, groups) = cut.strip(task);
            work(order.nonzeros(strip * order.tiles..(strip + 1) * order.tiles), groups.len())
        };
        list(cut.runs.tasks(), of_task)
    };
    match of {
        _ if stream.outputs == 0 || stream.inputs == 0 => Vec::new(),
        shape::Product::Forward => product(&stream.forward),
        shape::Product::Data => product(&stream.backward),
        shape::Product::Gradient => {
            let cells = cells(stream, threads);
            list(cells.tasks(), |task| work(stream.forward.nonzeros(cells.units(task)), groups))
        }
    }
}

/// A strip of rows for one or two groups; says whether they are finite.
///
/// # Safety
/// The lengths of x, y, values, bias and gate fit the product's shape, and strip and groups are within it; no other task
/// has these rows of these groups.
struct Strip<'a> {
    product: Product<'a>,
    x: &'a [f32],
    y: Shared<f32>,
    strip: usize,
    groups: Range<usize>,
    epilogue: Epilogue<'a>,
}

impl RawWork for Strip<'_> {
    type Output = bool;

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) -> bool {
        let mut finite = Finite::new(s);
        // SAFETY: passed on.
        unsafe {
            if S::WIDE && self.groups.len() == 2 {
                self.multiply::<S, 2>(s, self.groups.start, &mut finite);
            } else {
                for group in self.groups.clone() {
                    self.multiply::<S, 1>(s, group, &mut finite);
                }
            }
        }
        finite.all(s)
    }
}

impl Strip<'_> {
    /// The strip's rows of groups `group .. group + G`.
    ///
    /// # Safety
    /// As for the strip, of which the groups are.
    #[inline(always)]
    unsafe fn multiply<S: Simd, const G: usize>(&self, s: S, group: usize, finite: &mut Finite<S>) {
        let Product { order, source, values, bias, accumulate, rows, columns } = self.product;
        let (x_stride, y_stride) = (columns * GROUP, rows * GROUP);
        let begins = !accumulate;
        for tile in 0..order.tiles {
            let (is_first, is_last) = (tile == 0, tile + 1 == order.tiles);
            // SAFETY: `cells` has an entry for every (strip, tile) and one more; its entries are positions in
            // `visits` and of nonzeros; rows of the strip and columns of the tile are inside the shape (invariants
            // of `LinearStream`), so offsets stay inside maps of the checked lengths.
            unsafe {
                let begin = *order.cells.get_unchecked(self.strip * order.tiles + tile);
                let end = *order.cells.get_unchecked(self.strip * order.tiles + tile + 1);
                let x = self.x.as_ptr().add(group * x_stride).wrapping_add(tile * order.tile * GROUP);
                let mut j = begin.nonzero as usize;
                for visit in order.visits.get_unchecked(begin.visit as usize..end.visit as usize) {
                    let row = self.strip * order.strip + visit.row as usize;
                    let at = group * y_stride + row * GROUP;
                    let mut sums = [[s.splat(0.0); VECTORS]; G];
                    if begins && is_first {
                        let bias = s.splat(bias.map_or(0.0, |b| *b.get_unchecked(row)));
                        sums = [[bias; VECTORS]; G];
                    } else {
                        for (g, sums) in sums.iter_mut().enumerate() {
                            for (v, sum) in sums.iter_mut().enumerate() {
                                *sum = s.load(self.y.get().add(at + g * y_stride + v * LANES));
                            }
                        }
                    }
                    for _ in 0..visit.count {
                        let value = source.map_or(j, |source| *source.get_unchecked(j) as usize);
                        let w = s.splat(*values.get_unchecked(value));
                        let x = x.add(*order.columns.get_unchecked(j) as usize * GROUP);
                        for (g, sums) in sums.iter_mut().enumerate() {
                            for (v, sum) in sums.iter_mut().enumerate() {
                                *sum = s.fma(w, s.load(x.add(g * x_stride + v * LANES)), *sum);
                            }
                        }
                        j += 1;
                    }
                    if is_last {
                        let mut of_row = Finite::new(s);
                        for (g, sums) in sums.iter_mut().enumerate() {
                            for (v, sum) in sums.iter_mut().enumerate() {
                                *sum = self.epilogue.apply(s, *sum, at + g * y_stride + v * LANES);
                                of_row.see(s, *sum);
                            }
                        }
                        finite.join(s, of_row);
                    }
                    for (g, sums) in sums.iter().enumerate() {
                        for (v, &sum) in sums.iter().enumerate() {
                            s.store(self.y.get().add(at + g * y_stride + v * LANES), sum);
                        }
                    }
                }
            }
        }
    }
}

/// Weight gradient at the nonzeros: per block of two groups one multiply-add chain per lane, then the lane
/// tree; blocks are added in order. With `accumulate` to what `gradient` holds, else from the first block.
///
/// # Errors
/// If a length does not fit the shapes, or a worker panicked.
pub fn gradient(
    machine: &Machine,
    stream: &LinearStream,
    x: &[f32],
    dy: &[f32],
    gradient: &mut [f32],
    groups: usize,
    accumulate: bool,
) -> Result<(), Error> {
    check_len("gradient", gradient.len(), stream.count())?;
    check_len("x", x.len(), map_len(stream.inputs, groups)?)?;
    check_len("dy", dy.len(), map_len(stream.outputs, groups)?)?;
    if stream.count() == 0 {
        return Ok(());
    }
    if groups == 0 && !accumulate {
        gradient.fill(0.0);
    }
    let out = Shared::new(gradient);
    let flops = flops(stream.count(), groups);
    let cells = cells(stream, machine.threads(flops));
    machine.run(cells.tasks(), flops, &|_, task| {
        let cells = cells.units(task);
        // SAFETY: everything was checked above; the cells are the stream's, and each is in one task.
        unsafe { machine.isa.run_raw(GradientCells { stream, x, dy, out, cells, groups, accumulate }) };
    })
}

/// The cells of the forward order, in runs: up to a strip, whose part of dy is read for all its tiles.
fn cells(stream: &LinearStream, threads: usize) -> Runs {
    // What of dy lies near is read again for each run: little.
    Runs::new(stream.forward.cells.len() - 1, (stream.forward.tiles, 1), threads, |n| n as f64 + 0.1)
}

/// The gradient at the nonzeros of some cells.
///
/// # Safety
/// The lengths of x, dy and out fit the stream's shape and count, and the cells are the forward order's; no other task
/// has the same.
struct GradientCells<'a> {
    stream: &'a LinearStream,
    x: &'a [f32],
    dy: &'a [f32],
    out: Shared<f32>,
    cells: Range<usize>,
    groups: usize,
    accumulate: bool,
}

impl RawWork for GradientCells<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        for first in (0..self.groups).step_by(BLOCK_GROUPS) {
            // SAFETY: the groups are below `self.groups`.
            unsafe {
                if first + BLOCK_GROUPS <= self.groups {
                    self.block::<S, 2>(s, first);
                } else {
                    self.block::<S, 1>(s, first);
                }
            }
        }
    }
}

impl GradientCells<'_> {
    /// Adds the block of groups `group .. group + G`.
    ///
    /// # Safety
    /// As for the work, of which the groups are.
    #[inline(always)]
    unsafe fn block<S: Simd, const G: usize>(&self, s: S, group: usize) {
        let LinearStream { outputs, inputs, ref forward, .. } = *self.stream;
        let (x_stride, dy_stride) = (inputs * GROUP, outputs * GROUP);
        let add = group > 0 || self.accumulate;
        let mut waiting = [s.splat(0.0); LANES];
        for cell in self.cells.clone() {
            let (strip, tile) = (cell / forward.tiles, cell % forward.tiles);
            // SAFETY: as in `Strip::multiply`; the nonzeros of a cell are consecutive.
            unsafe {
                let begin = *forward.cells.get_unchecked(cell);
                let end = *forward.cells.get_unchecked(cell + 1);
                let x = self.x.as_ptr().add(group * x_stride).wrapping_add(tile * forward.tile * GROUP);
                let mut j = begin.nonzero as usize;
                let mut out = LaneSums::new(&mut waiting, self.out.get().add(j), add);
                for visit in forward.visits.get_unchecked(begin.visit as usize..end.visit as usize) {
                    let row = strip * forward.strip + visit.row as usize;
                    let from = self.dy.as_ptr().add(group * dy_stride + row * GROUP);
                    let mut dy = [[s.splat(0.0); VECTORS]; G];
                    for (g, dy) in dy.iter_mut().enumerate() {
                        for (v, dy) in dy.iter_mut().enumerate() {
                            *dy = s.load(from.add(g * dy_stride + v * LANES));
                        }
                    }
                    for _ in 0..visit.count {
                        let x = x.add(*forward.columns.get_unchecked(j) as usize * GROUP);
                        let mut sum = s.splat(0.0);
                        for (g, dy) in dy.iter().enumerate() {
                            for (v, &dy) in dy.iter().enumerate() {
                                sum = s.fma(dy, s.load(x.add(g * x_stride + v * LANES)), sum);
                            }
                        }
                        out.push(s, sum);
                        j += 1;
                    }
                }
                out.finish(s);
            }
        }
    }
}
