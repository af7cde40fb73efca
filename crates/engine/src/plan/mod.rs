//! The plan of a network for one batch size: which passes run in which order, forward and backward, and where
//! their results lie in the arena. A plan is data, compiled once; it owns neither weights nor memory.
//!
//! Values between passes are vectors or maps. Of maps only what cannot be computed in passing is stored: results of
//! convolutions, additions and pooling. A batch norm, a ReLU and a dropout behind one are a *view* ([`ViewOf`]) that
//! its readers evaluate; a convolution whose result is only added to something is one pass with the addition.
//! Backward, the gradient of a stored map is what its readers left ([`GradientOf`]): directly, or behind a batch
//! norm, through which it passes when it is read.

mod backward;
mod forward;

use std::ops::Range;

use rigl_base::{Error, Result};
use rigl_graph::Graph;
use rigl_kernels::conv::ConvShape;
use rigl_kernels::map::{self, MapShape};
use rigl_kernels::pool::PoolShape;
use rigl_kernels::vector::layout;
use rigl_kernels::{LANES, WorkspaceSize};

use crate::batch::InputLayout;
use crate::lifetimes::{Buffer, place};
pub(crate) use forward::conv_shape;

/// A buffer of the arena, by number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BufferId(usize);

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// So many features, in groups of samples.
    Vector(usize),
    /// A map, in blocks of samples.
    Map(MapShape),
}

impl Form {
    /// Length in f32 for a batch.
    fn len(self, samples: usize) -> Result<usize, rigl_kernels::Error> {
        match self {
            Form::Vector(features) => layout::map_len(features, layout::groups(samples)),
            Form::Map(shape) => shape.len(map::blocks(samples)),
        }
    }
}

/// Where a pass reads from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// The packed batch.
    Batch,
    /// A buffer of the arena.
    Buffer(BufferId),
}

/// A stored map as a reader sees it. Norms and dropouts are numbered in the order of the graph.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ViewOf {
    pub(crate) source: Source,
    pub(crate) norm: Option<usize>,
    pub(crate) relu: bool,
    pub(crate) dropout: Option<usize>,
}

impl ViewOf {
    pub(crate) fn plain(source: Source) -> ViewOf {
        ViewOf { source, norm: None, relu: false, dropout: None }
    }

    fn is_plain(&self) -> bool {
        *self == ViewOf::plain(self.source)
    }
}

/// The gradient of a stored map: what readers left directly, and what they left behind a norm of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GradientOf {
    /// The map itself.
    pub(crate) of: Source,
    pub(crate) direct: Option<BufferId>,
    pub(crate) norm: Option<(usize, BufferId)>,
}

/// Where the gradient of a view, or of a vector, goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) out: BufferId,
    /// Whether an earlier reader left something there.
    pub(crate) accumulate: bool,
    /// The norm whose gradient is complete with this.
    pub(crate) finishes: Option<usize>,
}

/// How a pool computes its results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PoolKind {
    Max,
    Average,
}

/// One pass over the network's values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pass {
    /// A linear layer, with the ReLU behind it if there is one.
    Linear {
        weight: usize,
        bias: Option<usize>,
        inputs: usize,
        outputs: usize,
        relu: bool,
        x: Source,
        y: BufferId,
    },
    /// A ReLU of a vector, on its own.
    Relu { features: usize, x: Source, y: BufferId },
    /// A convolution, with the addition behind it if there is one.
    Conv {
        weight: usize,
        bias: Option<usize>,
        shape: ConvShape,
        x: ViewOf,
        residual: Option<ViewOf>,
        y: BufferId,
        /// Norms that read the result and take their statistics from this pass.
        norms: Vec<usize>,
    },
    /// y = a (+ b): additions, and views that must be stored.
    Add { shape: MapShape, a: ViewOf, b: Option<ViewOf>, y: BufferId, norms: Vec<usize> },
    /// The statistics of a map that something else made.
    Measure { shape: MapShape, x: Source, norms: Vec<usize> },
    /// Max or average pooling.
    Pool { kind: PoolKind, shape: PoolShape, x: ViewOf, y: BufferId },
    /// The mean of each channel, a vector.
    GlobalPool { shape: MapShape, x: ViewOf, y: BufferId },
    /// A map as a vector.
    Flatten { shape: MapShape, x: ViewOf, y: BufferId },
    /// A vector as a map of one position, for what only maps have: norms and dropout.
    Unflatten { features: usize, x: Source, y: BufferId, norms: Vec<usize> },
    /// The loss; with a gradient in training.
    Loss { classes: usize, smoothing: f32, logits: Source, gradient: Option<BufferId> },
}

/// One pass backward. `pass` is the number of the forward pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Gradients of weight, bias and input; `gated` where the input came from a fused ReLU.
    Linear { pass: usize, gated: bool, dy: BufferId, dx: Option<Target> },
    /// The gradient before a ReLU.
    Relu { pass: usize, dy: BufferId, dx: Target },
    /// Gradients of weight, bias and input; `keep` stores the gradient of the result for an addition's other side.
    Conv { pass: usize, gradient: GradientOf, keep: Option<BufferId>, data: Option<Target> },
    /// A gradient on its way through a view.
    Route { pass: usize, shape: MapShape, view: ViewOf, gradient: GradientOf, target: Target },
    /// Through a pool.
    Pool { pass: usize, gradient: GradientOf, target: Target },
    /// From a vector to a map, through a global pool or a flattening.
    FromVector { pass: usize, dy: BufferId, target: Target },
    /// From a map of one position to the vector that it was.
    ToVector { pass: usize, gradient: GradientOf, dx: Target },
}

impl Step {
    /// The number of its forward pass.
    pub(crate) fn pass(&self) -> usize {
        match *self {
            Step::Linear { pass, .. }
            | Step::Relu { pass, .. }
            | Step::Conv { pass, .. }
            | Step::Route { pass, .. }
            | Step::Pool { pass, .. }
            | Step::FromVector { pass, .. }
            | Step::ToVector { pass, .. } => pass,
        }
    }
}

/// A dropout whose mask is drawn in every training pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DropoutOf {
    /// The node's name.
    pub(crate) name: String,
    pub(crate) shape: MapShape,
    pub(crate) probability: f32,
}

/// The shape of a vector as a map.
pub(crate) fn one_position(features: usize) -> MapShape {
    MapShape { channels: features, rows: 1, columns: 1 }
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    Training,
    Evaluation,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) passes: Vec<Pass>,
    pub(crate) steps: Vec<Step>,
    pub(crate) dropouts: Vec<DropoutOf>,
    /// Largest number of samples of a batch.
    pub(crate) batch: usize,
    /// How samples enter.
    pub(crate) input: InputLayout,
    /// f32 that the arena must hold.
    pub(crate) arena: usize,
    /// Scratch of the largest pass.
    pub(crate) workspace: WorkspaceSize,
    forms: Vec<Form>,
    starts: Vec<usize>,
}

impl Plan {
    /// Compiles a plan.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for a network that this engine cannot run, naming the node.
    pub(crate) fn compile(graph: &Graph, batch: usize, purpose: Purpose) -> Result<Plan> {
        let forward = forward::passes(graph, purpose)?;
        let mut forms = forward.forms;
        let passes = forward.passes;
        let steps = match purpose {
            Purpose::Training => backward::steps(&passes, &mut forms),
            Purpose::Evaluation => Vec::new(),
        };
        let too_large =
            |e: rigl_kernels::Error| Error::usage(format!("network `{}`", graph.name())).caused_by(e);
        let mut buffers = forms
            .iter()
            .map(|form| Ok(Buffer { len: form.len(batch)?, first: usize::MAX, last: 0 }))
            .collect::<Result<Vec<_>, _>>()
            .map_err(too_large)?;
        let mut touch = |time: usize, buffer: BufferId| {
            let buffer = &mut buffers[buffer.0];
            (buffer.first, buffer.last) = (buffer.first.min(time), buffer.last.max(time));
        };
        for (time, pass) in passes.iter().enumerate() {
            pass.touches(&mut |buffer| touch(time, buffer));
        }
        for (time, step) in (passes.len()..).zip(&steps) {
            step.touches(&passes, &mut |buffer| touch(time, buffer));
        }
        for buffer in &mut buffers {
            if buffer.first == usize::MAX {
                *buffer = Buffer { len: 0, first: 0, last: 0 };
            }
        }
        let (starts, arena) = place(&buffers, LANES);
        let workspace = passes.iter().map(|pass| pass.workspace(batch, purpose));
        let workspace = workspace.fold(WorkspaceSize::default(), WorkspaceSize::max);
        Ok(Plan {
            passes,
            steps,
            dropouts: forward.dropouts,
            batch,
            input: forward.input,
            arena,
            workspace,
            forms,
            starts,
        })
    }

    /// The part of a buffer that a batch of so many samples fills.
    pub(crate) fn range(&self, buffer: BufferId, samples: usize) -> Range<usize> {
        let start = self.starts[buffer.0];
        // It was computed for the plan's batch before, which is no smaller.
        start..start + self.forms[buffer.0].len(samples).unwrap_or(0)
    }

    /// The part of a source in the arena; empty for the batch.
    pub(crate) fn source(&self, source: Source, samples: usize) -> Range<usize> {
        match source {
            Source::Batch => 0..0,
            Source::Buffer(buffer) => self.range(buffer, samples),
        }
    }

    /// The part of an optional buffer; empty without one.
    pub(crate) fn optional(&self, buffer: Option<BufferId>, samples: usize) -> Range<usize> {
        buffer.map_or(0..0, |buffer| self.range(buffer, samples))
    }
}

impl Pass {
    /// Calls `touch` for every buffer that the pass reads or writes.
    fn touches(&self, touch: &mut impl FnMut(BufferId)) {
        let mut source = |source: &Source| {
            if let Source::Buffer(buffer) = source {
                touch(*buffer);
            }
        };
        match self {
            Pass::Linear { x, y, .. } | Pass::Relu { x, y, .. } | Pass::Unflatten { x, y, .. } => {
                source(x);
                touch(*y);
            }
            Pass::Conv { x, residual, y, .. } => {
                source(&x.source);
                residual.iter().for_each(|view| source(&view.source));
                touch(*y);
            }
            Pass::Add { a, b, y, .. } => {
                source(&a.source);
                b.iter().for_each(|view| source(&view.source));
                touch(*y);
            }
            Pass::Measure { x, .. } => source(x),
            Pass::Pool { x, y, .. } | Pass::GlobalPool { x, y, .. } | Pass::Flatten { x, y, .. } => {
                source(&x.source);
                touch(*y);
            }
            Pass::Loss { logits, gradient, .. } => {
                source(logits);
                gradient.iter().for_each(|&gradient| touch(gradient));
            }
        }
    }

    /// The scratch that it and its backward pass need.
    fn workspace(&self, samples: usize, purpose: Purpose) -> WorkspaceSize {
        use rigl_kernels::map::passes;
        use rigl_kernels::vector::reshape;
        use rigl_kernels::{conv, pool};
        match self {
            Pass::Linear { .. } | Pass::Relu { .. } | Pass::Loss { .. } => WorkspaceSize::default(),
            Pass::Conv { shape, .. } => {
                let n = shape.weight_len();
                let forward = conv::Forward::workspace(shape, n, samples);
                match purpose {
                    Purpose::Evaluation => forward,
                    Purpose::Training => forward
                        .max(conv::Backward::workspace(shape, n, n, samples))
                        .max(passes::workspace(shape.output(), samples)),
                }
            }
            Pass::Add { shape, .. } | Pass::Measure { shape, .. } => passes::workspace(*shape, samples),
            Pass::Pool { shape, .. } => pool::MaxPoolBackward::workspace(shape, samples)
                .max(pool::AveragePoolBackward::workspace(shape, samples))
                .max(passes::workspace(shape.output(), samples)),
            Pass::GlobalPool { shape, .. } => reshape::GlobalAveragePoolBackward::workspace(*shape, samples),
            Pass::Flatten { shape, .. } => reshape::FlattenBackward::workspace(*shape, samples),
            Pass::Unflatten { features, .. } => passes::workspace(one_position(*features), samples),
        }
    }
}

impl Step {
    /// Calls `touch` for every buffer that the step reads or writes.
    fn touches(&self, passes: &[Pass], touch: &mut impl FnMut(BufferId)) {
        // What it reads of the forward pass: its inputs; results only where they are named again.
        match (self, &passes[self.pass()]) {
            (Step::Linear { .. }, Pass::Linear { x, .. }) => source(*x, touch),
            (Step::Relu { .. }, Pass::Relu { y, .. }) => touch(*y),
            (Step::Conv { .. }, Pass::Conv { x, .. })
            | (Step::Pool { .. }, Pass::Pool { x, .. })
            | (Step::FromVector { .. }, Pass::GlobalPool { x, .. } | Pass::Flatten { x, .. }) => {
                source(x.source, touch);
            }
            _ => {}
        }
        match self {
            Step::Linear { dy, dx, .. } => {
                touch(*dy);
                dx.iter().for_each(|dx| touch(dx.out));
            }
            Step::Relu { dy, dx, .. } => {
                touch(*dy);
                touch(dx.out);
            }
            Step::Conv { gradient, keep, data, .. } => {
                gradient.touches(touch);
                keep.iter().for_each(|&keep| touch(keep));
                data.iter().for_each(|data| touch(data.out));
            }
            Step::Route { view, gradient, target, .. } => {
                source(view.source, touch);
                gradient.touches(touch);
                touch(target.out);
            }
            Step::Pool { gradient, target, .. } => {
                gradient.touches(touch);
                touch(target.out);
            }
            Step::FromVector { dy, target, .. } => {
                touch(*dy);
                touch(target.out);
            }
            Step::ToVector { gradient, dx, .. } => {
                gradient.touches(touch);
                touch(dx.out);
            }
        }
    }
}

impl GradientOf {
    fn touches(&self, touch: &mut impl FnMut(BufferId)) {
        self.direct.iter().for_each(|&direct| touch(direct));
        if let Some((_, dz)) = self.norm {
            touch(dz);
            source(self.of, touch);
        }
    }
}

fn source(source: Source, touch: &mut impl FnMut(BufferId)) {
    if let Source::Buffer(buffer) = source {
        touch(buffer);
    }
}

#[cfg(test)]
mod tests;
