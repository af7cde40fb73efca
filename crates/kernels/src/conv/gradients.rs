//! The work of a convolution's backward pass: gradients of some bands, from rows staged once.

use std::ops::Range;

use crate::conv::ahead::{Ahead, NOTHING, rows_ahead};
use crate::conv::cut::Partials;
use crate::conv::product::Place;
use crate::conv::shape::ConvShape;
use crate::conv::tasks::{Kind, Part, Piece};
use crate::conv::tile::{
    Bases, GradientRows, dense_gradient, dense_product, sparse_gradient, sparse_product,
};
use crate::conv::weights::Weights;
use crate::conv::window::Window;
use crate::map::{
    AddLanes, Classes, GradientSource, GradientView, SUM_ROWS, StageGradient, StageView, StoreGradient,
    StoredMut, SumRow, View, lanes,
};
use crate::run::{Machine, Shared};
use crate::simd::LANES;

fn gradient_slots(shape: &ConvShape) -> usize {
    let (from, to) = shape.reach(shape.tile_rows());
    (to - from + 1) as usize
}

/// f32 of a worker's two windows, row buffer, and two kinds of lane sums.
pub(crate) fn worker_parts(shape: &ConvShape) -> [usize; 5] {
    let input = Window::len(shape.input_staging(), shape.inputs, shape.window_rows());
    let gradient = Window::len(shape.gradient_staging(), shape.outputs, gradient_slots(shape));
    let buffer = shape.tile_rows() * shape.stride * shape.input().row_len();
    [input, gradient, buffer, 2 * LANES * shape.inputs, LANES * shape.outputs]
}

/// What all tasks share.
pub(crate) struct Pass<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) weights: Weights<'a>,
    /// The weight's values in the order of the data gradient's classes.
    pub(crate) values: &'a [f32],
    pub(crate) x: View<'a>,
    pub(crate) gradient: GradientView<'a>,
    pub(crate) keep: Option<Shared<f32>>,
    /// As many numbers as the kind has for each partial.
    pub(crate) partials: Shared<f32>,
    pub(crate) weight: Kind<'a>,
    /// The map, and whether it is added to.
    pub(crate) data: Option<(Shared<f32>, bool)>,
    /// Two for every input of every band, if wanted.
    pub(crate) data_sums: Option<Shared<f64>>,
    /// One for every output of every band, if wanted.
    pub(crate) bias_sums: Option<Shared<f64>>,
    pub(crate) samples: usize,
    pub(crate) bands: Partials,
}

impl Pass<'_> {
    /// Computes a part.
    ///
    /// # Safety
    /// All lengths fit the shape, and the part is of this pass. `scratch` is a worker's, as much as
    /// [`Backward::workspace`](crate::conv::Backward::workspace) says; no other task has this part.
    pub(crate) unsafe fn part(&self, part: Part, scratch: *mut f32) {
        let shape = self.weights.shape();
        let isa = self.machine.isa;
        let g_channels = part.outputs(self.weight, &shape);
        let Part { block, bands, weights, data, keeps } = part;
        let (input, output) = (shape.input(), shape.output());
        let (x_staging, g_staging) = (shape.input_staging(), shape.gradient_staging());
        let [x_len, g_len, buffer_len, x_sums_len, g_sums_len] = worker_parts(&shape);
        let (stride, padding) = (shape.stride as isize, shape.padding as isize);
        let keep = self.keep.filter(|_| keeps).map(|keep| StoredMut::new(keep.get()));
        let bias_sums = self.bias_sums.filter(|_| keeps);
        let own = shape.band_rows(&bands);
        // SAFETY: `scratch` holds the parts one behind the other; rows of a window are staged before they are read;
        // pieces, sums and rows of maps are this task's own.
        unsafe {
            let mut xs = Window::new(scratch, x_staging, input, shape.window_rows());
            let mut gs = Window::new(scratch.add(x_len), g_staging, output, gradient_slots(&shape));
            let buffer = scratch.add(x_len + g_len);
            let x_sums = buffer.add(buffer_len);
            let g_sums = x_sums.add(x_sums_len);
            std::slice::from_raw_parts_mut(x_sums, x_sums_len + g_sums_len).fill(0.0);
            let x_channels = weights.map_or(0..0, |piece| self.weight.inputs(piece, &shape));
            for band in bands {
                let rows = shape.band_rows(&(band..band + 1));
                let first = rows.start as isize;
                let number = block * shape.bands() + band;
                let (from, to) =
                    if data.is_some() { shape.reach(rows.len()) } else { (0, rows.len() as isize - 1) };
                self.stage_gradient(&mut gs, block, (first + from, first + to), (&g_channels, &own), keep);
                if let Some(piece) = weights {
                    let x_first = first * stride - padding;
                    let x_last = x_first + (rows.len() as isize - 1) * stride + shape.kernel as isize - 1;
                    xs.stage(x_first, x_last, |row, out| {
                        // Whether it is finite was seen in the forward pass.
                        let (view, channels, staging) = (self.x, x_channels.clone(), x_staging);
                        isa.run_raw(StageView { view, shape: input, channels, block, row, staging, out });
                    });
                    // While this is computed, the gradient's next rows come; the input's, with the other half.
                    let ahead = self.gradient_ahead(block, first + to + 1, rows.len());
                    self.weights_of_band((&xs, &gs), rows.clone(), (piece, self.bands.of(number)), ahead);
                }
                if let Some(sums) = bias_sums {
                    for r in rows.clone() {
                        isa.run_raw(SumRow {
                            row: gs.row(r as isize).add(g_staging.left * LANES),
                            channels: g_channels.clone(),
                            columns: output.columns,
                            channel: g_staging.channel(),
                            sums: g_sums,
                        });
                    }
                    let (first, count) = (g_channels.start, g_channels.len());
                    let sums = sums.get().add(number * shape.outputs + first);
                    std::slice::from_raw_parts_mut(sums, count).fill(0.0);
                    isa.run_raw(AddLanes { lanes: g_sums.add(first * LANES), sums, count });
                }
                let (Some(sections), Some((out, accumulate))) = (&data, self.data) else { continue };
                let channels = self.weights.backward_sections().channels(sections);
                let sums = self.data_sums.map(|sums| sums.get().add(number * 2 * shape.inputs));
                let (sums_first, sums_count) = (2 * channels.start, 2 * channels.len());
                if let Some(sums) = sums {
                    std::slice::from_raw_parts_mut(sums.add(sums_first), sums_count).fill(0.0);
                }
                let inputs = shape.band_inputs(&(band..band + 1));
                let mut summed = 0;
                // The buffer holds the input rows of a band; the last may have more.
                for start in inputs.clone().step_by(shape.tile_rows() * shape.stride) {
                    let range = start..inputs.end.min(start + shape.tile_rows() * shape.stride);
                    let row = (start / shape.stride) as isize;
                    let (from, to) = shape.reach(range.len().div_ceil(shape.stride));
                    self.stage_gradient(&mut gs, block, (row + from, row + to), (&g_channels, &own), keep);
                    let next = range.end + shape.kernel / 2;
                    let ahead = Ahead {
                        ranges: [
                            rows_ahead(self.x.map, input, block, next..next + range.len()),
                            NOTHING,
                            NOTHING,
                            NOTHING,
                        ],
                    };
                    self.data_of_rows(&gs, range.clone(), sections, buffer, ahead);
                    let mut begins = [0; 16];
                    let classes = self.classes(&mut begins);
                    for r in range.clone() {
                        let from = buffer.add((r - range.start) * input.row_len());
                        isa.run_raw(StoreGradient {
                            from: GradientSource::Row(from, classes),
                            view: self.x,
                            shape: input,
                            channels: channels.clone(),
                            block,
                            row: r,
                            out: StoredMut::new(out.get()),
                            accumulate,
                            sums: sums.map(|_| x_sums),
                        });
                    }
                    summed += range.len();
                    if let Some(sums) = sums.filter(|_| summed >= SUM_ROWS || range.end == inputs.end) {
                        summed = 0;
                        let lanes = x_sums.add(sums_first * LANES);
                        isa.run_raw(AddLanes { lanes, sums: sums.add(sums_first), count: sums_count });
                    }
                }
            }
        }
    }

    /// Stages some channels of rows `from ..= to` of the output's gradient, and leaves those of the task's own rows to
    /// others.
    ///
    /// # Safety
    /// As [`Pass::part`]; the window has room for the rows.
    unsafe fn stage_gradient(
        &self,
        window: &mut Window,
        block: usize,
        (from, to): (isize, isize),
        (channels, own): (&Range<usize>, &Range<usize>),
        keep: Option<StoredMut>,
    ) {
        let shape = self.weights.shape();
        window.stage(from, to, |row, out| {
            // SAFETY: passed on.
            unsafe {
                let finite = self.machine.isa.run_raw(StageGradient {
                    view: self.gradient,
                    shape: shape.output(),
                    channels: channels.clone(),
                    block,
                    row,
                    lanes: lanes(self.samples, block),
                    staging: shape.gradient_staging(),
                    out,
                    keep: keep.filter(|_| own.contains(&row)),
                });
                self.machine.note(finite);
            }
        });
    }

    /// Where the classes of columns begin in a row of the buffer.
    fn classes<'b>(&self, begins: &'b mut [usize; 16]) -> Classes<'b> {
        let shape = self.weights.shape();
        let mut begin = 0;
        for (class, slot) in begins.iter_mut().enumerate().take(shape.stride) {
            *slot = begin;
            begin += shape.class_columns(class);
        }
        Classes { padding: shape.padding, begins: &begins[..shape.stride] }
    }

    /// The rows of the gradient's maps to bring near: `rows` from row `from` on.
    fn gradient_ahead(&self, block: usize, from: isize, rows: usize) -> Ahead {
        let output = self.weights.shape().output();
        let from = from.max(0) as usize;
        let of = |map: &[f32]| rows_ahead(map, output, block, from..from + rows);
        let norm = self.gradient.norm;
        Ahead {
            ranges: [
                self.gradient.direct.map_or(NOTHING, of),
                norm.map_or(NOTHING, |norm| of(norm.dz)),
                norm.map_or(NOTHING, |norm| of(norm.x)),
                NOTHING,
            ],
        }
    }

    /// A piece of the weight gradient of a band, whose rows are staged with the input rows they see: added to a partial,
    /// of which it may be the first band.
    ///
    /// # Safety
    /// As [`Pass::part`].
    unsafe fn weights_of_band(
        &self,
        (xs, gs): (&Window, &Window),
        rows: Range<usize>,
        (piece, (partial, first)): (Piece, (usize, bool)),
        ahead: Ahead,
    ) {
        let shape = self.weights.shape();
        let isa = self.machine.isa;
        let staging = shape.gradient_staging();
        let (row, rows) = (rows.start, rows.len());
        let x_first = (row * shape.stride) as isize - shape.padding as isize;
        let bases =
            Bases::new(rows, shape.kernel, |r, tap| xs.row(x_first + (r * shape.stride + tap) as isize));
        // SAFETY: the window's rows hold all channels and columns behind their left border.
        let dy = |r: usize| unsafe { gs.row((row + r) as isize).add(staging.left * LANES) }.cast_const();
        let dy = GradientRows { rows: [dy(0), dy(rows - 1)], channel: staging.channel() * LANES };
        let size = (rows, shape.output().columns);
        // SAFETY: the rows are staged, and every offset of a tap stays inside its row (`ConvShape`); there is room for
        // all partials.
        unsafe {
            let partial = self.partials.get().add(partial * self.weight.count());
            match self.weight {
                Kind::None => {}
                Kind::Sparse(stream) => {
                    let ((from, to), (p, q)) = (piece.sections, piece.panels);
                    let order = (&stream.forward, &(p..q), &(from..to));
                    sparse_gradient(isa, order, size, &bases, dy, partial, first, ahead);
                }
                Kind::Dense(taps) => {
                    let (taps, results) = (&taps.forward, self.weight.outputs(piece, &shape));
                    dense_gradient(isa, taps, &results, size, &bases, dy, partial, first);
                }
            }
        }
    }

    /// The data gradient of some input rows into the buffer, class by class.
    ///
    /// # Safety
    /// As [`Pass::part`]; the gradient rows that they are reached from are staged, and the buffer holds the rows.
    unsafe fn data_of_rows(
        &self,
        gs: &Window,
        range: Range<usize>,
        sections: &Range<usize>,
        buffer: *mut f32,
        ahead: Ahead,
    ) {
        let shape = self.weights.shape();
        let isa = self.machine.isa;
        let (input, s) = (shape.input(), shape.stride);
        let channels = self.weights.backward_sections().channels(sections);
        let mut values = self.values.as_ptr();
        for row_class in 0..s {
            let row_taps = shape.class_taps(row_class);
            let mut begin = 0;
            for column_class in 0..s {
                let class = row_class * s + column_class;
                let columns = shape.class_columns(column_class);
                let place = |row: usize| Place {
                    out: buffer.wrapping_add((row - range.start) * input.row_len() + begin * LANES),
                    row: s * input.row_len(),
                    result: input.columns * LANES,
                };
                // The first row of the class that is in the range, then up to two at a time.
                let offset = (row_class + s - (range.start + shape.padding) % s) % s;
                let mut row = range.start + offset;
                while row < range.end && columns > 0 {
                    let rows = if row + s < range.end { shape.tile_rows().min(2) } else { 1 };
                    let from = ((row + shape.padding) / s) as isize;
                    let bases = Bases::new(rows, row_taps, |r, tap| gs.row(from + r as isize - tap as isize));
                    let size = (rows, columns);
                    // SAFETY: as in `weights_of_band`; a class without taps reads nothing and leaves zeros.
                    unsafe {
                        match self.weights {
                            Weights::Sparse(stream, _) => {
                                let order = (&stream.backward[class], sections);
                                let ahead = ahead.part(class, s * s);
                                let place = place(row);
                                sparse_product(isa, order, values, None, size, &bases, place, ahead);
                            }
                            Weights::Dense(taps, _) => {
                                let (taps, results) = (&taps.backward[class], channels.clone());
                                dense_product(isa, taps, values, None, results, size, &bases, place(row));
                            }
                        }
                    }
                    row += rows * s;
                }
                begin += columns;
                values = values.wrapping_add(match self.weights {
                    Weights::Sparse(stream, _) => stream.backward[class].source.len(),
                    Weights::Dense(taps, _) => taps.backward[class].taps.len() * shape.inputs,
                });
            }
        }
    }
}
