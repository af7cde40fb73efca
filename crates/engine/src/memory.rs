//! How many bytes training of a network holds at once, told before a byte is asked for.

use rigl_base::Result;
use rigl_graph::{Graph, Parameter, ParameterKind};
use rigl_kernels::WorkspaceSize;
use rigl_kernels::linear::LinearStream;
use rigl_topology::slots::KEPT;
use rigl_topology::{MethodSlot, Over};

use crate::passes::Purpose;
use crate::plan::Plan;
use crate::request::{Extra, Options, PatternChange};
use crate::storage::{Compute, is_sparse};

/// See [`Session::planned_bytes`](crate::Session::planned_bytes).
pub(crate) fn planned_bytes(
    graph: &Graph,
    active: &[Option<usize>],
    options: &Options,
    momentum: bool,
    extra: &Extra,
) -> Result<usize> {
    let mut plans = vec![Plan::compile(graph, options.evaluation_batch, Purpose::Evaluation)?];
    if options.batch > 0 {
        plans.push(Plan::compile(graph, options.batch, Purpose::Training)?);
    }
    let activations = plans.iter().map(|plan| plan.arena).max().unwrap_or(0).saturating_mul(4);
    let scratch = plans.iter().fold(WorkspaceSize::default(), |size, plan| size.max(plan.workspace));
    let scratch = scratch.bytes(options.threads);
    let masks = plans.iter().flat_map(|plan| &plan.dropouts).map(|dropout| dropout.mask_words(options.batch));
    let masks = 2 * masks.sum::<Result<usize>>()?;
    let layers: Vec<Layer> = graph
        .parameters()
        .iter()
        .zip(active)
        .map(|(parameter, &count)| Layer::new(parameter, count, options.compute))
        .collect();
    let parameters: usize = layers.iter().map(|layer| layer.bytes(momentum)).sum();
    let passing = passing_bytes(&layers, options.threads, momentum, extra);
    let all = [parameters, kept_bytes(&layers, momentum, extra), activations, scratch, masks, passing];
    Ok(all.into_iter().fold(0, usize::saturating_add))
}

/// A parameter with so many active values.
struct Layer<'a> {
    parameter: &'a Parameter,
    len: usize,
    /// Active values; all of a dense one.
    active: usize,
    form: Form,
}

/// How the numbers of a layer are stored.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Dense,
    Masked,
    /// Of a linear layer, in an order of their own.
    LinearStream,
    /// Of a convolution, in the order of the pattern.
    ConvStream,
}

impl Layer<'_> {
    fn new(parameter: &Parameter, count: Option<usize>, compute: Compute) -> Layer<'_> {
        let len = parameter.len();
        let form = match count {
            None => Form::Dense,
            Some(count) if !is_sparse(count as f64 / len.max(1) as f64, compute) => Form::Masked,
            Some(_) if parameter.kind == ParameterKind::LinearWeight => Form::LinearStream,
            Some(_) => Form::ConvStream,
        };
        Layer { parameter, len, active: count.unwrap_or(len), form }
    }

    fn is_sparse(&self) -> bool {
        self.form != Form::Dense
    }

    /// Values, gradient and velocity, and what tells where they belong.
    fn bytes(&self, momentum: bool) -> usize {
        let (arrays, active) = (4 * (2 + usize::from(momentum)), self.active);
        match (self.form, &*self.parameter.shape) {
            (Form::Dense, _) => arrays * self.len,
            // Mask and pattern.
            (Form::Masked, _) => (arrays + 1) * self.len + 4 * active,
            (Form::LinearStream, &[outputs, inputs]) => {
                (arrays + 4) * active + LinearStream::planned_bytes(outputs, inputs, active)
            }
            // Pattern, two orders of at most 32-bit columns, their links, and visits of rows, of which there are fewer
            // than nonzeros in each order.
            _ => (arrays + 4 + 2 * 4 + 4 + 4 + 2 * 4) * active,
        }
    }

    /// Numbers of active values, where these are copied to be put into the order of the pattern.
    fn copy(&self) -> usize {
        match self.form {
            Form::Dense | Form::ConvStream => 0,
            Form::Masked | Form::LinearStream => 4 * self.active,
        }
    }

    /// What an update holds of this layer while it works on it: copies of values and of what it looks at beside them, and
    /// scores with their order;
    /// later what stays, what is grown, and the new numbers.
    fn update(&self, replaced: f64, copies: usize) -> usize {
        let grown = grown(self.active, replaced);
        self.copy() * copies + (12 * self.active).max(4 * self.active + 12 * grown)
    }
}

fn grown(active: usize, replaced: f64) -> usize {
    (active as f64 * replaced).ceil() as usize
}

/// What a method keeps from one step to the next.
fn kept_bytes(layers: &[Layer<'_>], momentum: bool, extra: &Extra) -> usize {
    let sparse = || layers.iter().filter(|layer| layer.is_sparse());
    let all: usize = sparse().map(|layer| layer.len).sum();
    let active: usize = sparse().map(|layer| layer.active).sum();
    // All weights of a sparse layer have a velocity where they are kept.
    let slot = |slot: &MethodSlot| match slot.over {
        Over::Active => active,
        Over::All => all * (1 + usize::from(slot.name == KEPT && momentum)),
    };
    let gradients = if extra.gradients { all } else { 0 };
    // What was explored is told by a bit of each position at most.
    let explored = if extra.change.is_some() { all / 8 } else { 0 };
    4 * (gradients + extra.slots.iter().map(slot).sum::<usize>()) + explored
}

/// Bytes that an allocator keeps of a thread's arrays when these are given back in another order than they were asked for:
/// what glibc has in one piece for a thread.
const LEFT: usize = 64 << 20;

/// The most that is held for a while: by a pass that scores positions, by a change of patterns, by saving.
fn passing_bytes(layers: &[Layer<'_>], threads: usize, momentum: bool, extra: &Extra) -> usize {
    let sparse = || layers.iter().filter(|layer| layer.is_sparse());
    let slots = extra.slots.iter().filter(|slot| slot.over == Over::Active).count();
    let saving = layers.iter().map(Layer::copy).sum::<usize>() * (1 + usize::from(momentum) + slots);
    match &extra.change {
        &None => saving,
        Some(PatternChange::Chosen(left)) => {
            let chosen = |(layer, left): (&Layer<'_>, &Option<usize>)| Some(4 * layer.len + 16 * (*left)?);
            saving.max(at_once(layers.iter().zip(left).filter_map(chosen).collect(), threads))
        }
        &Some(PatternChange::Update { replaced, gradient }) => {
            let convolutions = sparse().filter(|layer| layer.parameter.kind == ParameterKind::ConvWeight);
            let whole = 4 * convolutions.map(|layer| layer.len).max().unwrap_or(0);
            let of = |layer: &Layer<'_>| grown(layer.active, replaced);
            // Each thread collects the best that it sees, with room for as many again.
            let collected =
                sparse().map(|layer| (16 * of(layer) * threads).min(8 * layer.len)).sum::<usize>();
            let candidates = sparse().map(|layer| 8 * of(layer)).sum::<usize>();
            let (scoring, candidates) = if extra.scored { (whole + collected, candidates) } else { (0, 0) };
            // Each layer's change is told to the end of the update.
            let changes: usize = sparse().map(|layer| 4 * layer.active).sum();
            // Of a slot there are the old numbers, the carried and the new ones.
            let copies = 1 + usize::from(gradient) + 3 * slots;
            let work = at_once(sparse().map(|layer| layer.update(replaced, copies)).collect(), threads);
            let left = (work / 2).min(LEFT * threads);
            saving.max(scoring).max(candidates + changes + work + left)
        }
    }
}

/// The most that so many threads hold, each working on one of these after the other.
fn at_once(mut each: Vec<usize>, threads: usize) -> usize {
    each.sort_unstable();
    each.iter().rev().take(threads).sum()
}
