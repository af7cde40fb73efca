//! How a convolution's backward pass is cut into tasks.
//!
//! Both gradients read the same rows. On few threads a task computes both, for a run of partial weight gradients, from
//! rows staged once. Where more threads find more to do apart, partials are computed in pieces, each for all its bands,
//! and data gradients in units. Sums are the same either way.

use std::ops::Range;

use crate::conv::cut::{Partials, Units, flops_of};
use crate::conv::product::SIDE;
use crate::conv::shape::ConvShape;
use crate::conv::stream::{ConvStream, Order};
use crate::conv::taps::ConvTaps;
use crate::conv::weights::{Sections, Weights};
use crate::map::blocks;
use crate::run::Runs;
use crate::run::simulate::{STAGED, TaskWork, list};

/// Which gradient of the weight is computed.
#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
    None,
    Sparse(&'a ConvStream),
    Dense(&'a ConvTaps),
}

/// Squares of results and weights that a dense gradient is computed in.
pub(crate) fn squares(shape: &ConvShape) -> usize {
    shape.outputs.div_ceil(SIDE) * (shape.weight_len() / shape.outputs).div_ceil(SIDE)
}

impl Kind<'_> {
    /// Numbers of a partial.
    pub(crate) fn count(self) -> usize {
        match self {
            Kind::None => 0,
            Kind::Sparse(stream) => stream.count(),
            Kind::Dense(taps) => squares(&taps.shape) * SIDE * SIDE,
        }
    }

    /// How often a partial may be cut, by outputs and by inputs.
    fn grid(self) -> (usize, usize) {
        match self {
            Kind::None => (1, 1),
            Kind::Sparse(stream) => (stream.forward.sections, stream.forward.panels()),
            Kind::Dense(taps) => (taps.shape.outputs.div_ceil(SIDE), 1),
        }
    }

    /// The piece number `piece` of so many.
    fn piece(self, piece: usize, of: (usize, usize)) -> Piece {
        let (sections, panels) = self.grid();
        let part = |n: usize, of: usize, all: usize| (n * all / of, (n + 1) * all / of);
        Piece { sections: part(piece / of.1, of.0, sections), panels: part(piece % of.1, of.1, panels) }
    }

    /// The outputs of a piece, in whole squares if it is dense.
    pub(crate) fn outputs(self, piece: Piece, shape: &ConvShape) -> Range<usize> {
        let (from, to) = piece.sections;
        match self {
            Kind::None => 0..shape.outputs,
            Kind::Sparse(stream) => Sections::Ends(&stream.outputs).channels(&(from..to)),
            Kind::Dense(_) => from * SIDE..shape.outputs.min(to * SIDE),
        }
    }

    /// The inputs of a piece.
    pub(crate) fn inputs(self, piece: Piece, shape: &ConvShape) -> Range<usize> {
        match self {
            Kind::None => 0..0,
            Kind::Sparse(stream) => stream.forward.summed(&(piece.panels.0..piece.panels.1), shape.inputs),
            Kind::Dense(_) => 0..shape.inputs,
        }
    }

    /// Numbers of a piece.
    fn numbers(self, piece: Piece, shape: &ConvShape) -> usize {
        match self {
            Kind::None => 0,
            Kind::Sparse(stream) => {
                let ((s, t), (p, q)) = (piece.sections, piece.panels);
                stream.forward.count_of(&(p..q), &(s..t))
            }
            Kind::Dense(taps) => self.outputs(piece, shape).len() * taps.forward.taps.len(),
        }
    }
}

/// Some of a partial weight gradient: sections of outputs and panels of inputs, each from, to. Of a dense gradient
/// sections are squares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) sections: (usize, usize),
    pub(crate) panels: (usize, usize),
}

/// What is computed of some bands of a block.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) block: usize,
    pub(crate) bands: Range<usize>,
    pub(crate) weights: Option<Piece>,
    /// Sections of the data gradient.
    pub(crate) data: Option<Range<usize>>,
    /// Whether the output's gradient is left to others, and the bias's made, of the outputs that it stages: by one task
    /// for each band.
    pub(crate) keeps: bool,
}

/// All tasks of a pass.
#[derive(Clone, Copy)]
pub(crate) struct Tasks<'a> {
    kind: Kind<'a>,
    partials: Partials,
    way: Way,
}

/// How gradients of weight and data are computed.
#[derive(Clone, Copy)]
enum Way {
    /// Both from the same staged rows, for runs of partials; the data gradient in so many sections.
    Together(Runs, usize),
    /// The weight's in so many pieces of each partial by outputs and inputs, if at all, then the data's, if at all.
    Apart((usize, usize), Option<Units>),
}

impl<'a> Tasks<'a> {
    pub(crate) fn new(
        weights: &Weights,
        kind: Kind<'a>,
        data: bool,
        samples: usize,
        threads: usize,
    ) -> Tasks<'a> {
        let shape = weights.shape();
        let partials = Partials::new(&shape, samples);
        let rows = shape.output().rows.saturating_mul(blocks(samples));
        let flops = flops_of(&shape, kind.count(), rows);
        let sections = weights.backward_sections().count();
        let weight = !matches!(kind, Kind::None);
        // Where there is nothing to compute, the output's gradient may still be wanted.
        let staged = (shape.output().row_len(), shape.stride * shape.input().row_len());
        let pieces = match weight || !data {
            true => partials.pieces(flops, kind.grid(), staged, threads),
            false => (0, 0),
        };
        let of_data = (weights.count(), sections);
        let units = data.then(|| Units::new(&shape, of_data, (staged.0, 1), samples, threads));
        let apart = Way::Apart(pieces, units);
        let way = match units {
            Some(units) if weight => {
                // Per output row: products of the weight and the data, staging of gradient and input.
                let of_weight = flops_of(&shape, kind.count(), 1) as f64;
                let of_data = flops_of(&shape, weights.count(), 1) as f64;
                let (gradient, input) = (STAGED * staged.0 as f64, STAGED * staged.1 as f64);
                let (rows, twice, n) = (rows as f64, (shape.kernel - 1) as f64, threads.max(1) as f64);
                let each = rows / partials.count.max(1) as f64;
                let of_run = |length: usize| {
                    let rows = (partials.bands_of(length) * shape.tile_rows()) as f64;
                    rows * (of_weight + of_data) + (rows + twice) * (gradient + input)
                };
                let runs = partials.runs(threads, of_run);
                let tasks = runs.tasks();
                let together =
                    tasks.div_ceil(threads.max(1)) as f64 * of_run(partials.count.div_ceil(tasks.max(1)));
                let (outputs, inputs) = (pieces.0 as f64, pieces.1 as f64);
                let count = partials.count as f64 * outputs * inputs;
                let piece = each * (of_weight / (outputs * inputs) + gradient / outputs + input / inputs);
                let of_units = rows * (of_data + gradient) + units.tasks() as f64 * twice * gradient;
                // All threads are at work until the last tasks.
                if together <= (count * piece + of_units) / n + piece / 2.0 {
                    Way::Together(runs, sections)
                } else {
                    apart
                }
            }
            _ => apart,
        };
        Tasks { kind, partials, way }
    }

    pub(crate) fn count(&self) -> usize {
        match self.way {
            Way::Together(runs, _) => runs.tasks(),
            Way::Apart((outputs, inputs), units) => (self.partials.count * outputs * inputs)
                .saturating_add(units.map_or(0, |units| units.tasks())),
        }
    }

    /// Calls `part` for the parts of a task, in their order.
    pub(crate) fn parts(&self, task: usize, mut part: impl FnMut(Part)) {
        let (of, units) = match self.way {
            Way::Together(runs, sections) => {
                let weights = Some(self.kind.piece(0, (1, 1)));
                return self.partials.parts(runs.units(task), |block, bands| {
                    part(Part { block, bands, weights, data: Some(0..sections), keeps: true });
                });
            }
            Way::Apart(of, units) => (of, units),
        };
        let pieces = of.0 * of.1;
        if task < self.partials.count * pieces {
            let (partial, piece) = (task / pieces, task % pieces);
            // Of its outputs, the first by inputs.
            let keeps = units.is_none() && piece % of.1 == 0;
            let weights = Some(self.kind.piece(piece, of));
            self.partials.parts(partial..partial + 1, |block, bands| {
                part(Part { block, bands, weights, data: None, keeps });
            });
        } else if let Some(units) = units {
            units.parts(task - self.partials.count * pieces, |block, bands, sections| {
                let keeps = sections.start == 0;
                part(Part { block, bands, weights: None, data: Some(sections), keeps });
            });
        }
    }

    /// What each task does.
    pub(crate) fn works(&self, weights: &Weights, kind: Kind) -> Vec<TaskWork> {
        let of_task = |task| {
            let mut work = TaskWork::default();
            self.parts(task, |part| work.add(part.work(weights, kind)));
            work
        };
        list(self.count(), of_task)
    }
}

impl Part {
    fn work(&self, weights: &Weights, kind: Kind) -> TaskWork {
        let shape = weights.shape();
        let rows = shape.band_rows(&self.bands);
        let (from, to) = self.gradient_rows(&shape);
        let gradient_rows = (to.min(shape.output().rows as isize - 1) - from.max(0) + 1).max(0) as usize;
        let outputs = self.outputs(kind, &shape).len();
        let mut work =
            TaskWork { flops: 0, staged: gradient_rows * shape.output().row_len() / shape.outputs * outputs };
        if let Some(piece) = self.weights {
            let channels = kind.inputs(piece, &shape).len();
            let staged = shape.seen_inputs(&rows).len() * shape.input().row_len() / shape.inputs * channels;
            work.add(TaskWork { flops: flops_of(&shape, kind.numbers(piece, &shape), rows.len()), staged });
        }
        if let Some(sections) = &self.data {
            let numbers = match weights {
                Weights::Sparse(stream, _) => {
                    let of = |order: &Order| order.count_of(&(0..order.panels()), sections);
                    stream.backward.iter().map(of).sum::<usize>()
                }
                Weights::Dense(taps, _) => {
                    weights.backward_sections().channels(sections).len() * taps.shape.weight_len()
                        / shape.inputs
                }
            };
            work.add(TaskWork { flops: flops_of(&shape, numbers, rows.len()), staged: 0 });
        }
        work
    }

    /// The outputs whose gradients it stages.
    pub(crate) fn outputs(&self, kind: Kind, shape: &ConvShape) -> Range<usize> {
        match (self.weights, &self.data) {
            (Some(piece), None) => kind.outputs(piece, shape),
            _ => 0..shape.outputs,
        }
    }

    /// The first and the last gradient row that it reads, whether there are such or not.
    fn gradient_rows(&self, shape: &ConvShape) -> (isize, isize) {
        let rows = shape.band_rows(&self.bands);
        if self.data.is_none() {
            return (rows.start as isize, rows.end as isize - 1);
        }
        let steps = shape.band_inputs(&self.bands).len().div_ceil(shape.stride).max(rows.len());
        let (from, to) = shape.reach(steps);
        (rows.start as isize + from, rows.start as isize + to)
    }
}
