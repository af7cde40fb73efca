//! The backward pass of a convolution: both gradients from rows that are staged once.

use crate::conv::ahead::{Ahead, NOTHING, rows_ahead};
use crate::conv::product::{Place, SIDE};
use crate::conv::shape::ConvShape;
use crate::conv::stream::{ConvStream, gather};
use crate::conv::taps::ConvTaps;
use crate::conv::tile::{
    Bases, GradientRows, dense_gradient, dense_product, sparse_gradient, sparse_product,
};
use crate::conv::weights::{Weights, flops};
use crate::conv::window::Window;
use crate::error::{Error, check_len};
use crate::map::{
    AddLanes, Classes, DataGradient, GradientView, SUM_ROWS, StageGradient, StageView, StoreGradient, SumRow,
    View, add_up, blocks, lanes,
};
use crate::run::{Machine, Shared, Workspace, WorkspaceSize};
use crate::simd::LANES;

/// The gradients of a convolution's weight, bias and input.
#[derive(Debug)]
pub struct Backward<'a> {
    /// The weight, which brings the shape.
    pub weights: Weights<'a>,
    /// The input.
    pub x: View<'a>,
    /// The gradient of the output.
    pub gradient: GradientView<'a>,
    /// Where that gradient is written as it is evaluated, for others to read.
    pub keep: Option<&'a mut [f32]>,
    /// The gradient of the weight.
    pub weight: WeightGradient<'a>,
    /// The gradient of the bias, one number per output channel.
    pub bias: Option<&'a mut [f32]>,
    /// Whether the gradients of weight and bias are added to what is there.
    pub accumulate: bool,
    /// The gradient of the input.
    pub data: Option<DataGradient<'a>>,
    /// Samples of the batch.
    pub samples: usize,
}

/// Which gradient of the weight is computed. It need not be stored like the weight.
#[derive(Debug)]
pub enum WeightGradient<'a> {
    /// None.
    None,
    /// At the nonzeros of a pattern, in the order of their flat indices.
    Sparse(&'a ConvStream, &'a mut [f32]),
    /// All of it.
    Dense(&'a ConvTaps, &'a mut [f32]),
}

impl WeightGradient<'_> {
    fn check(&self, shape: &ConvShape) -> Result<(), Error> {
        let same = |of: &ConvShape| {
            if of == shape { Ok(()) } else { Err(Error::Shape(format!("a gradient of {of:?}: {shape:?}"))) }
        };
        match self {
            WeightGradient::None => Ok(()),
            WeightGradient::Sparse(stream, out) => {
                same(&stream.shape)?;
                check_len("weight gradient", out.len(), stream.count())
            }
            WeightGradient::Dense(taps, out) => {
                same(&taps.shape)?;
                check_len("weight gradient", out.len(), shape.weight_len())
            }
        }
    }

    /// Numbers of a task's part of it.
    fn count(&self) -> usize {
        match self {
            WeightGradient::None => 0,
            WeightGradient::Sparse(_, out) => out.len(),
            WeightGradient::Dense(taps, _) => squares(&taps.shape) * SIDE * SIDE,
        }
    }
}

/// Squares of results and weights that a dense gradient is computed in.
fn squares(shape: &ConvShape) -> usize {
    shape.outputs.div_ceil(SIDE) * (shape.weight_len() / shape.outputs).div_ceil(SIDE)
}

/// The gradient rows that the data gradient of input rows `stride · (row, row + rows)` needs beside `row .. row +
/// rows`, relative to `row`: from, to.
fn reach(shape: &ConvShape, rows: usize) -> (isize, isize) {
    let [k, s, p] = [shape.kernel, shape.stride, shape.padding].map(|n| n as isize);
    let from = -(k - 1 - p).div_euclid(s).max(0);
    let to = rows as isize + (p - 1).div_euclid(s);
    (from, to.max(rows as isize - 1))
}

fn gradient_slots(shape: &ConvShape) -> usize {
    let (from, to) = reach(shape, shape.tile_rows());
    (to - from + 1) as usize
}

/// f32 of a worker's two windows, row buffer, and two kinds of lane sums.
fn worker_parts(shape: &ConvShape) -> [usize; 5] {
    let input = Window::len(shape.input_staging(), shape.inputs, shape.window_rows());
    let gradient = Window::len(shape.gradient_staging(), shape.outputs, gradient_slots(shape));
    let buffer = shape.tile_rows() * shape.stride * shape.input().row_len();
    [input, gradient, buffer, 2 * LANES * shape.inputs, LANES * shape.outputs]
}

impl Backward<'_> {
    /// The scratch that it needs for a weight of `weights` numbers, a weight gradient of up to `gradient` numbers (all
    /// that the weight has when dense: a dense one too), and a batch of `samples`; none for a shape that
    /// [`ConvShape::check`] refuses.
    pub fn workspace(shape: &ConvShape, weights: usize, gradient: usize, samples: usize) -> WorkspaceSize {
        if shape.check().is_err() {
            return WorkspaceSize::default();
        }
        let tasks = shape.strips(samples).saturating_mul(blocks(samples));
        // In squares a dense gradient takes a little more than its numbers.
        let gradient =
            if gradient < shape.weight_len() { gradient } else { squares(shape).saturating_mul(SIDE * SIDE) };
        WorkspaceSize {
            worker: worker_parts(shape).iter().sum(),
            shared: tasks.saturating_mul(gradient).saturating_add(weights),
            sums: tasks.saturating_mul(2 * shape.inputs + shape.outputs),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// If a length does not fit the shapes, the workspace is too small, or a worker panicked.
    pub fn run(self, machine: &Machine, workspace: &mut Workspace) -> Result<(), Error> {
        let Backward { weights, x, gradient, mut keep, mut weight, mut bias, accumulate, mut data, samples } =
            self;
        let shape = weights.shape();
        weights.check()?;
        weight.check(&shape)?;
        let blocks = blocks(samples);
        let (input, output) = (shape.input(), shape.output());
        x.check(input, blocks)?;
        gradient.check(output, blocks)?;
        if let Some(keep) = &keep {
            check_len("keep", keep.len(), output.len(blocks)?)?;
        }
        if let Some(bias) = &bias {
            check_len("bias gradient", bias.len(), shape.outputs)?;
        }
        if let Some(data) = &data {
            check_len("data gradient", data.out.len(), input.len(blocks)?)?;
            if let Some(sums) = &data.sums {
                check_len("sums", sums.len(), 2 * shape.inputs)?;
            }
        }
        let count = weight.count();
        let size = Backward::workspace(&shape, weights.count(), count, samples);
        let parts = workspace.parts(machine.pool.threads(), size)?;
        let strips = shape.strips(samples);
        let tasks = strips * blocks;
        let (values, partials) = parts.shared.split_at_mut(weights.count());
        if data.is_some() {
            match weights {
                Weights::Sparse(stream, from) => {
                    let mut at = 0;
                    for order in &stream.backward {
                        gather(&order.source, from, &mut values[at..at + order.source.len()]);
                        at += order.source.len();
                    }
                }
                Weights::Dense(taps, from) => taps.turn(from, values),
            }
        }
        let (data_sums, bias_sums) = parts.sums.split_at_mut(tasks * 2 * shape.inputs);
        let pass = Pass {
            machine,
            weights,
            values: values.as_ptr(),
            x,
            gradient,
            keep: keep.as_mut().map(|keep| keep.as_mut_ptr()),
            partials: partials.as_mut_ptr(),
            count,
            weight: match &weight {
                WeightGradient::None => Kind::None,
                WeightGradient::Sparse(stream, _) => Kind::Sparse(stream),
                WeightGradient::Dense(taps, _) => Kind::Dense(taps),
            },
            data: data.as_mut().map(|data| (data.out.as_mut_ptr(), data.accumulate, data.sums.is_some())),
            data_sums: data_sums.as_mut_ptr(),
            bias_sums: bias.is_some().then_some(bias_sums.as_mut_ptr()),
            samples,
            strips,
        };
        let pass = SyncPass(pass);
        let workers = parts.workers;
        let cost = flops(&shape, weights.count() + count, samples);
        machine.run(tasks, cost, &|worker, task| {
            // SAFETY: everything was checked above; workers have their own scratch, tasks their own rows and sums.
            unsafe { pass.get().task(task, workers[worker].get()) };
        })?;
        match &mut weight {
            WeightGradient::None => {}
            WeightGradient::Sparse(stream, out) => {
                let source = stream.forward.source.as_slice();
                let place = |i: usize| Some(source[i] as usize);
                reduce(machine, partials, (tasks, count), &place, out, accumulate)?;
            }
            WeightGradient::Dense(taps, out) => {
                let weights = taps.forward.taps.len();
                let squares = weights.div_ceil(SIDE);
                let place = |i: usize| {
                    let (square, inside) = (i / (SIDE * SIDE), i % (SIDE * SIDE));
                    let result = square / squares * SIDE + inside / SIDE;
                    let weight = square % squares * SIDE + inside % SIDE;
                    (result < shape.outputs && weight < weights).then_some(result * weights + weight)
                };
                reduce(machine, partials, (tasks, count), &place, out, accumulate)?;
            }
        }
        if let Some(bias) = &mut bias {
            for (channel, out) in bias.iter_mut().enumerate() {
                let sum: f64 = bias_sums.iter().skip(channel).step_by(shape.outputs).take(tasks).sum();
                *out = if accumulate { *out + sum as f32 } else { sum as f32 };
            }
        }
        if let Some(DataGradient { sums: Some(sums), .. }) = data {
            add_up(data_sums, sums);
        }
        Ok(())
    }
}

/// Adds the partial gradients of all tasks, `count` numbers each, in their order; number i goes to `place(i)`, if
/// anywhere.
fn reduce(
    machine: &Machine,
    partials: &[f32],
    (tasks, count): (usize, usize),
    place: &(dyn Fn(usize) -> Option<usize> + Sync),
    out: &mut [f32],
    accumulate: bool,
) -> Result<(), Error> {
    const CHUNK: usize = 1 << 10;
    let target = Shared::new(out);
    let len = out.len();
    machine.run(count.div_ceil(CHUNK), count * tasks * 2, &|_, chunk| {
        let range = chunk * CHUNK..count.min((chunk + 1) * CHUNK);
        let mut sums = [0.0f32; CHUNK];
        let sums = &mut sums[..range.len()];
        for (task, partial) in partials.chunks_exact(count).take(tasks).enumerate() {
            let partial = &partial[range.clone()];
            if accumulate && task == 0 {
                for (i, sum) in range.clone().zip(&mut *sums) {
                    // SAFETY: places are below the length, and different, so no other task writes here.
                    *sum = place(i).filter(|&at| at < len).map_or(0.0, |at| unsafe { *target.get().add(at) });
                }
            }
            if task == 0 && !accumulate {
                sums.copy_from_slice(partial);
            } else {
                sums.iter_mut().zip(partial).for_each(|(sum, &part)| *sum += part);
            }
        }
        for (i, &sum) in range.zip(&*sums) {
            if let Some(at) = place(i).filter(|&at| at < len) {
                // SAFETY: as above.
                unsafe { *target.get().add(at) = sum };
            }
        }
    })
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    None,
    Sparse(&'a ConvStream),
    Dense(&'a ConvTaps),
}

/// What all tasks share.
struct Pass<'a> {
    machine: &'a Machine,
    weights: Weights<'a>,
    /// The weight's values in the order of the data gradient's classes.
    values: *const f32,
    x: View<'a>,
    gradient: GradientView<'a>,
    keep: Option<*mut f32>,
    /// `count` numbers for each task.
    partials: *mut f32,
    count: usize,
    weight: Kind<'a>,
    /// The map, whether it is added to, whether its sums are wanted.
    data: Option<(*mut f32, bool, bool)>,
    data_sums: *mut f64,
    bias_sums: Option<*mut f64>,
    samples: usize,
    strips: usize,
}

/// Lets threads share the pass.
struct SyncPass<'a>(Pass<'a>);

// SAFETY: tasks write to disjoint parts of what the pointers point to: their own rows, partials and sums.
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
    /// All lengths fit the shape; `scratch` is that of a worker, and no other task writes the same.
    unsafe fn task(&self, task: usize, scratch: *mut f32) {
        let shape = self.weights.shape();
        let isa = self.machine.isa;
        let (block, strip) = (task / self.strips, task % self.strips);
        let (input, output) = (shape.input(), shape.output());
        let (x_staging, g_staging) = (shape.input_staging(), shape.gradient_staging());
        let [x_len, g_len, buffer_len, x_sums_len, g_sums_len] = worker_parts(&shape);
        let lanes = lanes(self.samples, block);
        let (stride, padding) = (shape.stride as isize, shape.padding as isize);
        // SAFETY: `scratch` holds the parts one behind the other (`Backward::workspace`); rows of a window are staged
        // before they are read; partials, sums and rows of maps are this task's own.
        unsafe {
            let mut xs = Window::new(scratch, x_staging, input, shape.window_rows());
            let mut gs = Window::new(scratch.add(x_len), g_staging, output, gradient_slots(&shape));
            let buffer = scratch.add(x_len + g_len);
            let x_sums = buffer.add(buffer_len);
            let g_sums = x_sums.add(x_sums_len);
            std::slice::from_raw_parts_mut(x_sums, x_sums_len + g_sums_len).fill(0.0);
            let data_sums = self.data_sums.add(task * 2 * shape.inputs);
            std::slice::from_raw_parts_mut(data_sums, 2 * shape.inputs).fill(0.0);
            let bias_sums = self.bias_sums.map(|sums| sums.add(task * shape.outputs));
            if let Some(sums) = bias_sums {
                std::slice::from_raw_parts_mut(sums, shape.outputs).fill(0.0);
            }
            let partial = self.partials.add(task * self.count);
            let range = shape.strip(strip, self.strips);
            if range.is_empty() {
                std::slice::from_raw_parts_mut(partial, self.count).fill(0.0);
            }
            // Input rows behind the last output row's belong to the last strip.
            let mut end = range.end;
            if strip + 1 == self.strips {
                end = end.max(shape.rows.div_ceil(shape.stride));
            }
            let mut summed = 0;
            let mut row = range.start;
            while row < end {
                let rows = shape.tile_rows().min(if row < range.end { range.end - row } else { end - row });
                let first = row as isize;
                let (from, to) =
                    if self.data.is_some() { reach(&shape, rows) } else { (0, rows as isize - 1) };
                gs.stage(first + from, first + to, |row, out| {
                    isa.run(StageGradient {
                        view: self.gradient,
                        shape: output,
                        block,
                        row,
                        lanes,
                        staging: g_staging,
                        out,
                        keep: self.keep.filter(|_| range.contains(&row)),
                    });
                });
                if row < range.end {
                    if !matches!(self.weight, Kind::None) {
                        let x_first = first * stride - padding;
                        let x_last = x_first + (rows as isize - 1) * stride + shape.kernel as isize - 1;
                        xs.stage(x_first, x_last, |row, out| {
                            let (view, staging) = (self.x, x_staging);
                            isa.run(StageView { view, shape: input, block, row, staging, out });
                        });
                        // While this is computed, the gradient's next rows come; the input's, with the other half.
                        let ahead = self.gradient_ahead(block, first + to + 1, rows);
                        self.weights_of_tile((&xs, &gs), row, rows, partial, row == range.start, ahead);
                    }
                    if bias_sums.is_some() {
                        for r in 0..rows {
                            isa.run(SumRow {
                                row: gs.row(first + r as isize).add(g_staging.left * LANES),
                                channels: shape.outputs,
                                columns: output.columns,
                                channel: g_staging.channel(),
                                sums: g_sums,
                            });
                        }
                    }
                }
                if let Some((out, accumulate, sums)) = self.data {
                    let input_row = |row: usize| (row * shape.stride).min(shape.rows);
                    let x_range = input_row(row)..input_row(row + rows);
                    let next = x_range.end + shape.kernel / 2;
                    let wanted = rows * shape.stride;
                    let ahead = Ahead {
                        ranges: [
                            rows_ahead(self.x.map, input, block, next..next + wanted),
                            NOTHING,
                            NOTHING,
                            NOTHING,
                        ],
                    };
                    self.data_of_rows(&gs, x_range.clone(), buffer, ahead);
                    let mut begins = [0; 16];
                    let classes = self.classes(&mut begins);
                    for r in x_range.clone() {
                        isa.run(StoreGradient {
                            from: buffer.add((r - x_range.start) * input.row_len()),
                            classes,
                            view: self.x,
                            shape: input,
                            block,
                            row: r,
                            out,
                            accumulate,
                            sums: sums.then_some(x_sums),
                        });
                    }
                }
                row += rows;
                summed += rows;
                if summed >= SUM_ROWS || row >= end {
                    summed = 0;
                    if self.data.is_some_and(|(_, _, sums)| sums) {
                        isa.run(AddLanes { lanes: x_sums, sums: data_sums, count: 2 * shape.inputs });
                    }
                    if let Some(sums) = bias_sums {
                        isa.run(AddLanes { lanes: g_sums, sums, count: shape.outputs });
                    }
                }
            }
        }
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

    /// The weight gradient of `rows` output rows from `row` on, which are staged with the input rows they see.
    ///
    /// # Safety
    /// As [`Pass::task`]; `partial` holds `count` numbers.
    unsafe fn weights_of_tile(
        &self,
        (xs, gs): (&Window, &Window),
        row: usize,
        rows: usize,
        partial: *mut f32,
        first: bool,
        ahead: Ahead,
    ) {
        let shape = self.weights.shape();
        let isa = self.machine.isa;
        let staging = shape.gradient_staging();
        let x_first = (row * shape.stride) as isize - shape.padding as isize;
        let bases =
            Bases::new(rows, shape.kernel, |r, tap| xs.row(x_first + (r * shape.stride + tap) as isize));
        // SAFETY: the window's rows hold all channels and columns behind their left border.
        let dy = |r: usize| unsafe { gs.row((row + r) as isize).add(staging.left * LANES) }.cast_const();
        let dy = GradientRows { rows: [dy(0), dy(rows - 1)], channel: staging.channel() * LANES };
        let size = (rows, shape.output().columns);
        // SAFETY: the rows are staged, and every offset of a tap stays inside its row (`ConvShape`).
        unsafe {
            match self.weight {
                Kind::None => {}
                Kind::Sparse(stream) => {
                    let order = &stream.forward;
                    sparse_gradient(isa, order, size, &bases, dy, partial, first, ahead);
                }
                Kind::Dense(taps) => {
                    let taps = &taps.forward;
                    dense_gradient(isa, taps, shape.outputs, size, &bases, dy, partial, first);
                }
            }
        }
    }

    /// The data gradient of some input rows into the buffer, class by class.
    ///
    /// # Safety
    /// As [`Pass::task`]; the gradient rows that they are reached from are staged, and the buffer holds the rows.
    unsafe fn data_of_rows(
        &self,
        gs: &Window,
        range: std::ops::Range<usize>,
        buffer: *mut f32,
        ahead: Ahead,
    ) {
        let shape = self.weights.shape();
        let isa = self.machine.isa;
        let (input, s) = (shape.input(), shape.stride);
        let mut values = self.values;
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
                    // SAFETY: as in `weights_of_tile`; a class without taps reads nothing and leaves zeros.
                    unsafe {
                        match self.weights {
                            Weights::Sparse(stream, _) => {
                                let order = &stream.backward[class];
                                let ahead = ahead.part(class, s * s);
                                let place = place(row);
                                sparse_product(isa, order, values, None, size, &bases, place, ahead);
                            }
                            Weights::Dense(taps, _) => {
                                let taps = &taps.backward[class];
                                let inputs = shape.inputs;
                                dense_product(isa, taps, values, None, inputs, size, &bases, place(row));
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
