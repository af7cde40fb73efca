//! The forward pass of a convolution.

use crate::conv::ahead::{Ahead, NOTHING, rows_ahead};
use crate::conv::product::Place;
use crate::conv::shape::ConvShape;
use crate::conv::stream::gather;
use crate::conv::tile::{BASES, Bases, dense_product, sparse_product};
use crate::conv::weights::{Weights, flops};
use crate::conv::window::Window;
use crate::error::{Error, check_len};
use crate::map::{AddLanes, SUM_ROWS, StageView, Statistics, StoreForward, View, add_up, blocks, lanes};
use crate::run::{Machine, Shared, Workspace, WorkspaceSize};
use crate::simd::LANES;

/// y = W ∗ x + b (+ residual), with the sums that the next batch norm needs.
#[derive(Debug)]
pub struct Forward<'a> {
    /// The weight, which brings the shape.
    pub weights: Weights<'a>,
    /// One number per output channel.
    pub bias: Option<&'a [f32]>,
    /// The input.
    pub x: View<'a>,
    /// What is added to the result.
    pub residual: Option<View<'a>>,
    /// The output map.
    pub y: &'a mut [f32],
    /// Sums over the output.
    pub statistics: Option<Statistics<'a>>,
    /// Samples of the batch.
    pub samples: usize,
}

/// Maps of this many bytes and more are written past the caches.
const PAST_BYTES: usize = 4 << 20;

/// f32 of a worker's window, row buffer and lane sums.
fn worker_parts(shape: &ConvShape) -> [usize; 3] {
    let window = Window::len(shape.input_staging(), shape.inputs, shape.window_rows());
    [window, shape.tile_rows() * shape.output().row_len(), 2 * LANES * shape.outputs]
}

impl Forward<'_> {
    /// The scratch that it needs for a weight of `weights` numbers and a batch of `samples`; none for a shape that [`ConvShape::check`] refuses.
    pub fn workspace(shape: &ConvShape, weights: usize, samples: usize) -> WorkspaceSize {
        if shape.check().is_err() {
            return WorkspaceSize::default();
        }
        let tasks = shape.strips(samples).saturating_mul(blocks(samples));
        WorkspaceSize {
            worker: worker_parts(shape).iter().sum(),
            shared: weights,
            sums: tasks.saturating_mul(2 * shape.outputs),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// If a length does not fit the shapes, the workspace is too small, or a worker panicked.
    pub fn run(self, machine: &Machine, workspace: &mut Workspace) -> Result<(), Error> {
        let Forward { weights, bias, x, residual, y, statistics, samples } = self;
        let shape = weights.shape();
        weights.check()?;
        let blocks = blocks(samples);
        let (input, output) = (shape.input(), shape.output());
        if let Some(bias) = bias {
            check_len("bias", bias.len(), shape.outputs)?;
        }
        x.check(input, blocks)?;
        check_len("y", y.len(), output.len(blocks)?)?;
        if let Some(residual) = &residual {
            residual.check(output, blocks)?;
        }
        if let Some(statistics) = &statistics {
            statistics.check(shape.outputs)?;
        }
        let size = Forward::workspace(&shape, weights.count(), samples);
        let parts = workspace.parts(machine.pool.threads(), size)?;
        if let Weights::Sparse(stream, values) = weights {
            gather(&stream.forward.source, values, parts.shared);
        }
        let strips = shape.strips(samples);
        let past = y.len() * 4 >= PAST_BYTES && (y.as_ptr() as usize).is_multiple_of(64);
        let pass = Pass {
            machine,
            weights,
            values: parts.shared.as_ptr(),
            bias,
            x,
            residual,
            shift: statistics.as_ref().map(|statistics| statistics.shift),
            samples,
            strips,
            past,
        };
        let pass = SyncPass(pass);
        let (y, sums) = (Shared::new(y), Shared::new(parts.sums));
        let workers = parts.workers;
        machine.run(strips * blocks, flops(&shape, weights.count(), samples), &|worker, task| {
            // SAFETY: everything was checked above; workers have their own scratch, tasks their own rows and sums.
            unsafe { pass.get().task(task, y.get(), workers[worker].get(), sums.get()) };
        })?;
        if let Some(statistics) = statistics {
            add_up(&parts.sums[..strips * blocks * 2 * shape.outputs], statistics.sums);
        }
        Ok(())
    }
}

/// What all tasks share.
struct Pass<'a> {
    machine: &'a Machine,
    weights: Weights<'a>,
    /// Of a sparse weight, in the order of its stream.
    values: *const f32,
    bias: Option<&'a [f32]>,
    x: View<'a>,
    residual: Option<View<'a>>,
    shift: Option<&'a [f32]>,
    samples: usize,
    strips: usize,
    past: bool,
}

/// Lets threads share what only reads.
struct SyncPass<'a>(Pass<'a>);

// SAFETY: the pass is only read, `values` included, while threads share it.
unsafe impl Sync for SyncPass<'_> {}

impl<'a> SyncPass<'a> {
    fn get(&self) -> &Pass<'a> {
        &self.0
    }
}

impl Pass<'_> {
    /// The strip `task % strips` of block `task / strips`.
    ///
    /// # Safety
    /// All lengths fit the shape; `y` is the whole output, `scratch` that of a worker, `sums` those of all tasks,
    /// and no other task writes the same.
    unsafe fn task(&self, task: usize, y: *mut f32, scratch: *mut f32, sums: *mut f64) {
        let shape = self.weights.shape();
        let isa = self.machine.isa;
        let (block, strip) = (task / self.strips, task % self.strips);
        let (input, output) = (shape.input(), shape.output());
        let staging = shape.input_staging();
        let [window_len, buffer_len, sums_len] = worker_parts(&shape);
        let lanes = lanes(self.samples, block);
        let (k, stride, padding) = (shape.kernel as isize, shape.stride as isize, shape.padding as isize);
        let tile_rows = shape.tile_rows();
        // SAFETY: `scratch` holds the parts one behind the other (`Forward::workspace`); a window's rows are staged
        // before they are read, with the borders that the offsets of the taps allow for (`ConvShape`).
        unsafe {
            let mut window = Window::new(scratch, staging, input, shape.window_rows());
            let buffer = scratch.add(window_len);
            let lane_sums = buffer.add(buffer_len);
            let sums = sums.add(task * 2 * shape.outputs);
            std::slice::from_raw_parts_mut(lane_sums, sums_len).fill(0.0);
            std::slice::from_raw_parts_mut(sums, 2 * shape.outputs).fill(0.0);
            let mut summed = 0;
            let range = shape.strip(strip, self.strips);
            let mut row = range.start;
            while row < range.end {
                let rows = tile_rows.min(range.end - row);
                let first = row as isize * stride - padding;
                window.stage(first, first + (rows as isize - 1) * stride + k - 1, |row, out| {
                    isa.run(StageView { view: self.x, shape: input, block, row, staging, out });
                });
                let bases = Bases::new(rows, shape.kernel, |r, tap| {
                    window.row(first + r as isize * stride + tap as isize)
                });
                let place = Place { out: buffer, row: output.row_len(), result: output.columns * LANES };
                let bias = self.bias.map(<[f32]>::as_ptr);
                let size = (rows, output.columns);
                match self.weights {
                    Weights::Sparse(stream, _) => {
                        let next = first + (rows as isize - 1) * stride + k;
                        let next = next.max(0) as usize;
                        let ahead = Ahead {
                            ranges: [
                                rows_ahead(self.x.map, input, block, next..next + tile_rows * shape.stride),
                                self.residual.map_or(NOTHING, |view| {
                                    rows_ahead(view.map, output, block, row..row + rows)
                                }),
                                NOTHING,
                                NOTHING,
                            ],
                        };
                        let (order, values) = (&stream.forward, self.values);
                        sparse_product(isa, order, values, bias, size, &bases, place, ahead);
                    }
                    Weights::Dense(taps, values) => {
                        let (taps, values) = (&taps.forward, values.as_ptr());
                        dense_product(isa, taps, values, bias, shape.outputs, size, &bases, place);
                    }
                }
                for r in 0..rows {
                    isa.run(StoreForward {
                        from: buffer.add(r * output.row_len()),
                        residual: self.residual,
                        shape: output,
                        block,
                        row: row + r,
                        lanes,
                        y: Some(y),
                        statistics: self.shift.map(|shift| (shift, lane_sums)),
                        past: self.past,
                    });
                }
                row += rows;
                summed += rows;
                if self.shift.is_some() && (summed >= SUM_ROWS || row >= range.end) {
                    isa.run(AddLanes { lanes: lane_sums, sums, count: 2 * shape.outputs });
                    summed = 0;
                }
            }
        }
    }
}

// Tables of staged rows are made for two rows of the largest kernel that `ConvShape::check` lets pass.
const _: () = assert!(BASES >= 2 * 64);
