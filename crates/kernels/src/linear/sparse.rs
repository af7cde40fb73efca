//! Sparse linear layers. One nonzero weight multiplies whole vectors of samples: no gather, no tail.
//!
//! Shapes: F inputs, O outputs, G groups of 64 samples; x `[G][F][64]`, y `[G][O][64]`; values, gradients in the
//! forward order of the layer's [`LinearStream`].

use crate::error::{Error, check_len};
use crate::linear::epilogue::Epilogue;
use crate::linear::stream::{LinearStream, Order, STRIP};
use crate::run::{Machine, Shared};
use crate::simd::{LANES, Simd, Work};
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
        let strips = self.rows.div_ceil(STRIP);
        let y = Shared::new(y);
        let flops = 2 * self.values.len() * groups * GROUP;
        machine.run(strips * groups.div_ceil(BLOCK_GROUPS), flops, &|_, task| {
            let (strip, first_group) = (task % strips, task / strips * BLOCK_GROUPS);
            machine.isa.run(Strip {
                product: self,
                x,
                y,
                strip,
                groups: first_group..groups.min(first_group + BLOCK_GROUPS),
                epilogue,
            });
        })
    }
}

/// One task: a strip of rows for one or two groups.
struct Strip<'a> {
    product: Product<'a>,
    x: &'a [f32],
    y: Shared<f32>,
    strip: usize,
    groups: std::ops::Range<usize>,
    epilogue: Epilogue<'a>,
}

impl Work for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: `Product::run` checked every length; strip and groups are within the shapes.
        unsafe {
            if S::WIDE && self.groups.len() == 2 {
                self.multiply::<S, 2>(s, self.groups.start);
            } else {
                for group in self.groups.clone() {
                    self.multiply::<S, 1>(s, group);
                }
            }
        }
    }
}

impl Strip<'_> {
    /// The strip's rows of groups `group .. group + G`.
    ///
    /// # Safety
    /// The lengths of x, y, values, bias and gate fit the product's shape, and strip and groups are within it.
    /// The task alone writes these rows of these groups.
    #[inline(always)]
    unsafe fn multiply<S: Simd, const G: usize>(&self, s: S, group: usize) {
        let Product { order, source, values, bias, accumulate, rows, columns } = self.product;
        let (x_stride, y_stride) = (columns * GROUP, rows * GROUP);
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
                    let row = self.strip * STRIP + visit.row as usize;
                    let at = group * y_stride + row * GROUP;
                    let mut sums: [[S::V; VECTORS]; G] = if is_first && !accumulate {
                        let bias = s.splat(bias.map_or(0.0, |b| *b.get_unchecked(row)));
                        [[bias; VECTORS]; G]
                    } else {
                        std::array::from_fn(|g| {
                            std::array::from_fn(|v| s.load(self.y.get().add(at + g * y_stride + v * LANES)))
                        })
                    };
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
                    for (g, sums) in sums.iter().enumerate() {
                        for (v, &sum) in sums.iter().enumerate() {
                            let at = at + g * y_stride + v * LANES;
                            let sum = if is_last { self.epilogue.apply(s, sum, at) } else { sum };
                            s.store(self.y.get().add(at), sum);
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
    let flops = 2 * stream.count() * groups * GROUP;
    machine.run(stream.outputs.div_ceil(STRIP), flops, &|_, strip| {
        machine.isa.run(GradientStrip { stream, x, dy, out, strip, groups, accumulate });
    })
}

/// One task: the nonzeros of a strip of outputs, which are the task's own part of the gradient.
struct GradientStrip<'a> {
    stream: &'a LinearStream,
    x: &'a [f32],
    dy: &'a [f32],
    out: Shared<f32>,
    strip: usize,
    groups: usize,
    accumulate: bool,
}

impl Work for GradientStrip<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for first in (0..self.groups).step_by(BLOCK_GROUPS) {
            // SAFETY: `gradient` checked every length; the groups are below `self.groups`.
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

impl GradientStrip<'_> {
    /// Adds the block of groups `group .. group + G`.
    ///
    /// # Safety
    /// The lengths of x, dy and out fit the stream's shape; rows and groups are within it.
    #[inline(always)]
    unsafe fn block<S: Simd, const G: usize>(&self, s: S, group: usize) {
        let LinearStream { outputs, inputs, ref forward, .. } = *self.stream;
        let (x_stride, dy_stride) = (inputs * GROUP, outputs * GROUP);
        let store = group == 0 && !self.accumulate;
        for tile in 0..forward.tiles {
            // SAFETY: as in `Strip::multiply`; the nonzeros of a cell are consecutive.
            unsafe {
                let begin = *forward.cells.get_unchecked(self.strip * forward.tiles + tile);
                let end = *forward.cells.get_unchecked(self.strip * forward.tiles + tile + 1);
                let x = self.x.as_ptr().add(group * x_stride).wrapping_add(tile * forward.tile * GROUP);
                // Lane sums wait until there are 16, which are then added up together.
                let mut waiting = [s.splat(0.0); LANES];
                let mut written = begin.nonzero as usize;
                let mut j = written;
                for visit in forward.visits.get_unchecked(begin.visit as usize..end.visit as usize) {
                    let row = self.strip * STRIP + visit.row as usize;
                    let dy = self.dy.as_ptr().add(group * dy_stride + row * GROUP);
                    let dy: [[S::V; VECTORS]; G] = std::array::from_fn(|g| {
                        std::array::from_fn(|v| s.load(dy.add(g * dy_stride + v * LANES)))
                    });
                    for _ in 0..visit.count {
                        let x = x.add(*forward.columns.get_unchecked(j) as usize * GROUP);
                        let mut sum = s.splat(0.0);
                        for (g, dy) in dy.iter().enumerate() {
                            for (v, &dy) in dy.iter().enumerate() {
                                sum = s.fma(dy, s.load(x.add(g * x_stride + v * LANES)), sum);
                            }
                        }
                        *waiting.get_unchecked_mut(j - written) = sum;
                        j += 1;
                        if j - written == LANES {
                            let out = self.out.get().add(written);
                            let mut sums = s.sum16(waiting);
                            if !store {
                                sums = s.add(s.load(out), sums);
                            }
                            s.store(out, sums);
                            written = j;
                        }
                    }
                }
                if j > written {
                    let mut sums = [0.0; LANES];
                    s.store(sums.as_mut_ptr(), s.sum16(waiting));
                    for (k, &sum) in sums.iter().enumerate().take(j - written) {
                        let out = self.out.get().add(written + k);
                        *out = if store { sum } else { *out + sum };
                    }
                }
            }
        }
    }
}
