//! The forward pass of a convolution.

use std::ops::Range;

use crate::conv::ahead::{Ahead, NOTHING, rows_ahead};
use crate::conv::cut::{Units, flops_of};
use crate::conv::product::Place;
use crate::conv::shape::ConvShape;
use crate::conv::stream::gather;
use crate::conv::tile::{BASES, Bases, dense_product, sparse_product};
use crate::conv::weights::{Sections, Weights, cost};
use crate::conv::window::Window;
use crate::error::{Error, check_len};
use crate::map::{
    AddLanes, Source, StageView, Statistics, StoreForward, StoredMut, View, add_up, blocks, lanes,
};
use crate::run::simulate::{TaskWork, list};
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

/// Maps of this many bytes and more are written past the caches: they would leave nothing else in a core's second.
const PAST_BYTES: usize = 4 << 20;

/// f32 of a worker's window, row buffer and lane sums.
fn worker_parts(shape: &ConvShape) -> [usize; 3] {
    let window = Window::len(shape.input_staging(), shape.inputs, shape.window_rows());
    [window, shape.tile_rows() * shape.output().row_len(), 2 * LANES * shape.outputs]
}

impl Forward<'_> {
    /// The scratch that it needs for a weight of `weights` numbers and a batch of `samples`; none for a shape that
    /// [`ConvShape::check`] refuses.
    pub fn workspace(shape: &ConvShape, weights: usize, samples: usize) -> WorkspaceSize {
        if shape.check().is_err() {
            return WorkspaceSize::default();
        }
        let bands = shape.bands().saturating_mul(blocks(samples));
        WorkspaceSize {
            worker: worker_parts(shape).iter().sum(),
            shared: weights,
            sums: bands.saturating_mul(2 * shape.outputs),
        }
    }

    /// The tasks that it is cut into on so many threads.
    ///
    /// # Panics
    /// If there are more than 2²⁴.
    pub fn tasks(weights: &Weights, samples: usize, threads: usize) -> Vec<TaskWork> {
        let shape = weights.shape();
        let units = units(weights, samples, threads);
        let of_part = |bands: &Range<usize>, sections: &Range<usize>| {
            let rows = shape.band_rows(bands);
            let seen = shape.seen_inputs(&rows);
            let weights = match weights {
                Weights::Sparse(stream, _) => {
                    stream.forward.count_of(&(0..stream.forward.panels()), sections)
                }
                Weights::Dense(taps, _) => {
                    weights.forward_sections().channels(sections).len() * taps.forward.taps.len()
                }
            };
            let flops = flops_of(&shape, weights, rows.len());
            TaskWork { flops, staged: seen.len() * shape.input().row_len() }
        };
        let of_task = |task| {
            let mut work = TaskWork::default();
            units.parts(task, |_, bands, sections| work.add(of_part(&bands, &sections)));
            work
        };
        list(units.tasks(), of_task)
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
            gather(machine, &stream.forward.source, values, parts.shared)?;
        }
        let sections = weights.forward_sections();
        let cost = cost(&shape, weights.count(), samples);
        let units = units(&weights, samples, machine.threads(cost));
        let past = y.len() * 4 >= PAST_BYTES && (y.as_ptr() as usize).is_multiple_of(64);
        let pass = Pass {
            machine,
            weights,
            sections,
            values: &*parts.shared,
            bias,
            x,
            residual,
            y: Shared::new(y),
            shift: statistics.as_ref().map(|statistics| statistics.shift),
            sums: Shared::new(parts.sums),
            samples,
            past,
        };
        let workers = parts.workers;
        machine.run(units.tasks(), cost, &|worker, task| {
            units.parts(task, |block, bands, sections| {
                // SAFETY: everything was checked above; workers have their own scratch, units their own part of the
                // result and their own sums.
                unsafe { pass.part(block, bands, sections, workers[worker].get()) };
            });
        })?;
        match statistics {
            Some(statistics) => add_up(machine, parts.sums, statistics.sums),
            None => Ok(()),
        }
    }
}

/// The units that it is cut into.
fn units(weights: &Weights, samples: usize, threads: usize) -> Units {
    let (shape, sections) = (weights.shape(), weights.forward_sections().count());
    let staged = (shape.input().row_len(), shape.stride);
    Units::new(&shape, (weights.count(), sections), staged, samples, threads)
}

/// What all tasks share.
struct Pass<'a> {
    machine: &'a Machine,
    weights: Weights<'a>,
    sections: Sections<'a>,
    /// Of a sparse weight, in the order of its stream.
    values: &'a [f32],
    bias: Option<&'a [f32]>,
    x: View<'a>,
    residual: Option<View<'a>>,
    y: Shared<f32>,
    shift: Option<&'a [f32]>,
    /// Two for every output of every band.
    sums: Shared<f64>,
    samples: usize,
    past: bool,
}

impl Pass<'_> {
    /// Some bands of a block, in some sections.
    ///
    /// # Safety
    /// All lengths fit the shape; block, bands and sections are within it. `scratch` is a worker's, as much as
    /// [`Forward::workspace`] says, and no other task has these units.
    unsafe fn part(&self, block: usize, bands: Range<usize>, sections: Range<usize>, scratch: *mut f32) {
        let shape = self.weights.shape();
        let isa = self.machine.isa;
        let (input, output) = (shape.input(), shape.output());
        let staging = shape.input_staging();
        let [window_len, buffer_len, sums_len] = worker_parts(&shape);
        let lanes = lanes(self.samples, block);
        let (k, stride, padding) = (shape.kernel as isize, shape.stride as isize, shape.padding as isize);
        let channels = self.sections.channels(&sections);
        // SAFETY: `scratch` holds the parts one behind the other; a window's rows are staged before they are read, with
        // the borders that the offsets of the taps allow for (`ConvShape`).
        unsafe {
            let mut window = Window::new(scratch, staging, input, shape.window_rows());
            let buffer = scratch.add(window_len);
            let lane_sums = buffer.add(buffer_len);
            if self.shift.is_some() {
                std::slice::from_raw_parts_mut(lane_sums, sums_len).fill(0.0);
            }
            for band in bands {
                let range = shape.band_rows(&(band..band + 1));
                let (row, rows) = (range.start, range.len());
                let first = row as isize * stride - padding;
                window.stage(first, first + (rows as isize - 1) * stride + k - 1, |row, out| {
                    let (view, channels) = (self.x, 0..shape.inputs);
                    let row = StageView { view, shape: input, channels, block, row, staging, out };
                    self.machine.note(isa.run_raw(row));
                });
                let bases = Bases::new(rows, shape.kernel, |r, tap| {
                    window.row(first + r as isize * stride + tap as isize)
                });
                let place = Place { out: buffer, row: output.row_len(), result: output.columns * LANES };
                let bias = self.bias.map(<[f32]>::as_ptr);
                let size = (rows, output.columns);
                match self.weights {
                    Weights::Sparse(stream, _) => {
                        let next = (first + (rows as isize - 1) * stride + k).max(0) as usize;
                        let ahead = Ahead {
                            ranges: [
                                rows_ahead(self.x.map, input, block, next..next + rows * shape.stride),
                                self.residual.map_or(NOTHING, |view| {
                                    rows_ahead(view.map, output, block, range.clone())
                                }),
                                NOTHING,
                                NOTHING,
                            ],
                        };
                        let order = (&stream.forward, &sections);
                        sparse_product(isa, order, self.values.as_ptr(), bias, size, &bases, place, ahead);
                    }
                    Weights::Dense(taps, values) => {
                        let (taps, values) = (&taps.forward, values.as_ptr());
                        dense_product(isa, taps, values, bias, channels.clone(), size, &bases, place);
                    }
                }
                for row in range {
                    isa.run_raw(StoreForward {
                        from: Source::Row(buffer.add((row % shape.tile_rows()) * output.row_len())),
                        residual: self.residual,
                        shape: output,
                        channels: channels.clone(),
                        block,
                        row,
                        lanes,
                        y: Some(StoredMut::new(self.y.get())),
                        statistics: self.shift.map(|shift| (shift, lane_sums)),
                        past: self.past,
                    });
                }
                if self.shift.is_some() {
                    let (first, count) = (2 * channels.start, 2 * channels.len());
                    let of_band = (block * shape.bands() + band) * 2 * shape.outputs;
                    let sums = self.sums.get().add(of_band + first);
                    std::slice::from_raw_parts_mut(sums, count).fill(0.0);
                    isa.run_raw(AddLanes { lanes: lane_sums.add(first * LANES), sums, count });
                }
            }
        }
    }
}

// Tables of staged rows are made for two rows of the largest kernel that `ConvShape::check` lets pass.
const _: () = assert!(BASES >= 2 * 64);
