//! The backward pass of a convolution: both gradients from rows that are staged once.

use crate::conv::cut::Partials;
use crate::conv::gradients::{Pass, worker_parts};
use crate::conv::product::SIDE;
use crate::conv::shape::ConvShape;
use crate::conv::stream::{ConvStream, gather};
use crate::conv::taps::ConvTaps;
use crate::conv::tasks::{Kind, Tasks, squares};
use crate::conv::weights::{Weights, cost};
use crate::error::{Error, check_len};
use crate::map::{DataGradient, GradientView, View, add_up, blocks};
use crate::run::simulate::TaskWork;
use crate::run::{Machine, Shared, Workspace, WorkspaceSize};

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

    fn kind(&self) -> Kind<'_> {
        match self {
            WeightGradient::None => Kind::None,
            WeightGradient::Sparse(stream, _) => Kind::Sparse(stream),
            WeightGradient::Dense(taps, _) => Kind::Dense(taps),
        }
    }
}

impl Backward<'_> {
    /// The scratch that it needs for a weight of `weights` numbers, a weight gradient of up to `gradient` numbers (all
    /// that the weight has when dense: a dense one too), and batches of up to `samples`; none for a shape that
    /// [`ConvShape::check`] refuses.
    pub fn workspace(shape: &ConvShape, weights: usize, gradient: usize, samples: usize) -> WorkspaceSize {
        if shape.check().is_err() {
            return WorkspaceSize::default();
        }
        Backward::scratch(shape, weights, gradient, samples, Partials::most(shape, samples))
    }

    /// The scratch for so many partial gradients.
    fn scratch(
        shape: &ConvShape,
        weights: usize,
        gradient: usize,
        samples: usize,
        partials: usize,
    ) -> WorkspaceSize {
        // In squares a dense gradient takes a little more than its numbers.
        let gradient =
            if gradient < shape.weight_len() { gradient } else { squares(shape).saturating_mul(SIDE * SIDE) };
        let bands = shape.bands().saturating_mul(blocks(samples));
        WorkspaceSize {
            worker: worker_parts(shape).iter().sum(),
            shared: partials.saturating_mul(gradient).saturating_add(weights),
            sums: bands.saturating_mul(2 * shape.inputs + shape.outputs),
        }
    }

    /// The tasks that it is cut into on so many threads, with or without a data gradient.
    ///
    /// # Panics
    /// If there are more than 2²⁴.
    pub fn tasks(
        weights: &Weights,
        gradient: &WeightGradient,
        data: bool,
        samples: usize,
        threads: usize,
    ) -> Vec<TaskWork> {
        let kind = gradient.kind();
        Tasks::new(weights, kind, data, samples, threads).works(weights, kind)
    }

    /// Runs it.
    ///
    /// # Errors
    /// If a length does not fit the shapes, the workspace is too small, or a worker panicked.
    pub fn run(self, machine: &Machine, workspace: &mut Workspace) -> Result<(), Error> {
        let Backward { weights, x, gradient, mut keep, mut weight, bias, accumulate, mut data, samples } =
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
        let count = weight.kind().count();
        let partials = Partials::new(&shape, samples);
        let size = Backward::scratch(&shape, weights.count(), count, samples, partials.count);
        let parts = workspace.parts(machine.pool.threads(), size)?;
        let (values, numbers) = parts.shared.split_at_mut(weights.count());
        if data.is_some() {
            match weights {
                Weights::Sparse(stream, from) => {
                    let mut at = 0;
                    for order in &stream.backward {
                        gather(machine, &order.source, from, &mut values[at..at + order.source.len()])?;
                        at += order.source.len();
                    }
                }
                Weights::Dense(taps, from) => taps.turn(machine, from, values)?,
            }
        }
        let bands = shape.bands() * blocks;
        let (data_sums, bias_sums) = parts.sums.split_at_mut(bands * 2 * shape.inputs);
        let summed = data.as_ref().is_some_and(|data| data.sums.is_some());
        let cost = cost(&shape, weights.count() + count, samples);
        let tasks = Tasks::new(&weights, weight.kind(), data.is_some(), samples, machine.threads(cost));
        let pass = Pass {
            machine,
            weights,
            values,
            x,
            gradient,
            keep: keep.as_mut().map(|keep| Shared::new(keep)),
            partials: Shared::new(numbers),
            weight: weight.kind(),
            data: data.as_mut().map(|data| (Shared::new(data.out), data.accumulate)),
            data_sums: summed.then(|| Shared::new(data_sums)),
            bias_sums: bias.is_some().then(|| Shared::new(bias_sums)),
            samples,
            bands: partials,
        };
        let workers = parts.workers;
        machine.run(tasks.count(), cost, &|worker, task| {
            // SAFETY: everything was checked above; workers have their own scratch, and tasks their own parts.
            tasks.parts(task, |part| unsafe { pass.part(part, workers[worker].get()) });
        })?;
        let numbers = (&*numbers, partials.count);
        match &mut weight {
            WeightGradient::None => {}
            WeightGradient::Sparse(stream, out) => {
                let source = stream.forward.source.as_slice();
                let place = |i: usize| Some(source[i] as usize);
                reduce(machine, numbers, count, &place, out, accumulate)?;
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
                reduce(machine, numbers, count, &place, out, accumulate)?;
            }
        }
        if let Some(bias) = bias {
            let of_band = bias.len();
            // An addition for every number read.
            machine.chunks(bias, CHANNELS, bias_sums.len().saturating_mul(4), &|first, bias| {
                let mut sums = [0.0f64; CHANNELS];
                for band in bias_sums.chunks_exact(of_band) {
                    sums.iter_mut().zip(&band[first..]).for_each(|(sum, part)| *sum += part);
                }
                for (out, sum) in bias.iter_mut().zip(sums) {
                    *out = if accumulate { *out + sum as f32 } else { sum as f32 };
                }
            })?;
        }
        match data {
            Some(DataGradient { sums: Some(sums), .. }) => add_up(machine, data_sums, sums),
            _ => Ok(()),
        }
    }
}

/// Channels whose bias gradients one task adds up.
const CHANNELS: usize = 64;

/// Numbers of partial gradients that one task adds up.
const CHUNK: usize = 1 << 10;

/// Adds the partial gradients, `count` numbers each, in their order; number i goes to `place(i)`, if anywhere.
fn reduce(
    machine: &Machine,
    (partials, number): (&[f32], usize),
    count: usize,
    place: &(dyn Fn(usize) -> Option<usize> + Sync),
    out: &mut [f32],
    accumulate: bool,
) -> Result<(), Error> {
    let target = Shared::new(out);
    let len = out.len();
    machine.run(count.div_ceil(CHUNK), count * number * 2, &|_, chunk| {
        let range = chunk * CHUNK..count.min((chunk + 1) * CHUNK);
        let mut sums = [0.0f32; CHUNK];
        let sums = &mut sums[..range.len()];
        if accumulate {
            for (i, sum) in range.clone().zip(&mut *sums) {
                // SAFETY: places are below the length, and different, so no other task writes here.
                *sum = place(i).filter(|&at| at < len).map_or(0.0, |at| unsafe { *target.get().add(at) });
            }
        }
        for (partial, values) in partials.chunks_exact(count).take(number).enumerate() {
            let values = &values[range.clone()];
            if partial == 0 && !accumulate {
                sums.copy_from_slice(values);
            } else {
                sums.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value);
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
