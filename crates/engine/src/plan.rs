//! The plan of a network for one batch size: which passes run in which order, and where their results lie in
//! the arena. A plan is data, compiled once; it owns neither weights nor memory.

use std::ops::Range;

use rigl_base::{Error, Result};
use rigl_graph::{Graph, NodeId, Op};
use rigl_kernels::{LANES, layout};

use crate::lifetimes::{Buffer, place};

/// Where a pass reads from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// The packed batch.
    Batch,
    /// A range of the arena.
    Arena(Range<usize>),
}

/// One pass over the network's maps, with everything its forward and backward need.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pass {
    /// A linear layer, with the ReLU behind it if there is one.
    Linear {
        weight: usize,
        bias: Option<usize>,
        inputs: usize,
        outputs: usize,
        relu: bool,
        /// Whether the input is the result of a fused ReLU, so that its gradient is kept where it is positive.
        gated: bool,
        x: Source,
        y: Range<usize>,
        /// Gradients of input and output; none for the input of the first layer, none in evaluation.
        dx: Option<Range<usize>>,
        dy: Range<usize>,
    },
    /// A ReLU on its own.
    Relu { x: Source, y: Range<usize>, dx: Option<Range<usize>>, dy: Range<usize> },
    /// The loss.
    Loss { classes: usize, smoothing: f32, logits: Range<usize>, gradient: Range<usize> },
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
    /// Largest number of samples of a batch.
    pub(crate) batch: usize,
    /// Values of one sample as it enters.
    pub(crate) features: usize,
    /// f32 that the arena must hold.
    pub(crate) arena: usize,
}

impl Plan {
    /// Compiles a plan.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for a network that this engine cannot run, naming the node.
    pub(crate) fn compile(graph: &Graph, batch: usize, purpose: Purpose) -> Result<Plan> {
        let chain = chain(graph)?;
        let groups = layout::groups(batch);
        let map = |node: NodeId| {
            let features = graph.node(node).shape.iter().product();
            layout::map_len(features, groups).map_err(|e| {
                Error::usage(format!("network `{}`, node `{}`", graph.name(), graph.node(node).name))
                    .caused_by(e)
            })
        };

        // First the passes with numbers of buffers in place of ranges, then the ranges.
        struct Draft<'g> {
            node: NodeId,
            op: &'g Op,
            relu: bool,
            x: Option<usize>,
            gated: bool,
            y: usize,
        }
        let mut drafts: Vec<Draft> = Vec::new();
        let mut sizes: Vec<usize> = Vec::new();
        let mut features = 0;
        // The buffer that holds the current value, and whether a fused ReLU made it; none: the batch.
        let (mut x, mut gated) = (None, false);
        let mut i = 0;
        while i < chain.len() {
            let (node, op) = (chain[i], &graph.node(chain[i]).op);
            match op {
                Op::Input { shape } => features = shape.iter().product(),
                // Row-major features are in the same order flattened or not.
                Op::Flatten => {}
                Op::Linear { .. } => {
                    // The ReLU's derivative is applied by the linear layer behind it.
                    let relu = matches!(chain.get(i + 1), Some(&n) if graph.node(n).op == Op::Relu)
                        && matches!(chain.get(i + 2), Some(&n) if matches!(graph.node(n).op, Op::Linear { .. }));
                    sizes.push(map(node)?);
                    drafts.push(Draft { node, op, relu, x, gated, y: sizes.len() - 1 });
                    (x, gated) = (Some(sizes.len() - 1), relu);
                    i += usize::from(relu);
                }
                Op::Relu => {
                    sizes.push(map(node)?);
                    drafts.push(Draft { node, op, relu: false, x, gated: false, y: sizes.len() - 1 });
                    (x, gated) = (Some(sizes.len() - 1), false);
                }
                Op::CrossEntropy { .. } => {
                    drafts.push(Draft { node, op, relu: false, x, gated: false, y: usize::MAX });
                }
                Op::Conv2d { .. }
                | Op::BatchNorm { .. }
                | Op::Add
                | Op::MaxPool { .. }
                | Op::AvgPool { .. }
                | Op::GlobalAvgPool
                | Op::Dropout { .. } => {
                    return Err(Error::usage(format!(
                        "network `{}`: node `{}`: `{}` cannot be trained yet",
                        graph.name(),
                        graph.node(node).name,
                        op.word()
                    )));
                }
            }
            i += 1;
        }

        // Lifetimes on one time line: forward passes 0 .. n, backward passes n .. 2n in reverse order. Value k
        // and its gradient are buffers k and sizes.len() + k.
        let n = drafts.len();
        let values = sizes.len();
        let (mut first, mut last) = (vec![usize::MAX; 2 * values], vec![0; 2 * values]);
        let mut touch = |buffer: usize, time: usize| {
            first[buffer] = first[buffer].min(time);
            last[buffer] = last[buffer].max(time);
        };
        for (i, draft) in drafts.iter().enumerate() {
            let (forward, backward) = (i, 2 * n - 1 - i);
            let is_loss = matches!(draft.op, Op::CrossEntropy { .. });
            if !is_loss {
                touch(draft.y, forward);
            }
            if let Some(x) = draft.x {
                touch(x, forward);
            }
            if purpose == Purpose::Training {
                // The loss and its gradient are one kernel, in the forward half.
                let backward = if is_loss { forward } else { backward };
                if !is_loss {
                    touch(values + draft.y, backward);
                    if matches!(draft.op, Op::Relu) {
                        touch(draft.y, backward);
                    }
                }
                if let Some(x) = draft.x {
                    touch(x, backward);
                    touch(values + x, backward);
                }
            }
        }
        let buffers: Vec<Buffer> = (0..2 * values)
            .map(|b| {
                let len = if first[b] == usize::MAX { 0 } else { sizes[b % values] };
                Buffer { len, first: first[b].min(last[b]), last: last[b] }
            })
            .collect();
        let (offsets, arena) = place(&buffers, LANES);
        let range = |b: usize| offsets[b]..offsets[b] + buffers[b].len;
        let source = |x: Option<usize>| x.map_or(Source::Batch, |x| Source::Arena(range(x)));
        let gradient =
            |x: Option<usize>| x.map(|x| range(values + x)).filter(|_| purpose == Purpose::Training);

        let mut passes = Vec::with_capacity(n);
        for draft in &drafts {
            let node = graph.node(draft.node);
            passes.push(match *draft.op {
                Op::Linear { features, bias, .. } => Pass::Linear {
                    weight: node.parameters[0].index(),
                    bias: bias.then(|| node.parameters[1].index()),
                    inputs: graph.input_shapes(node)[0].iter().product(),
                    outputs: features,
                    relu: draft.relu,
                    gated: draft.gated,
                    x: source(draft.x),
                    y: range(draft.y),
                    dx: gradient(draft.x),
                    dy: range(values + draft.y),
                },
                Op::Relu => Pass::Relu {
                    x: source(draft.x),
                    y: range(draft.y),
                    dx: gradient(draft.x),
                    dy: range(values + draft.y),
                },
                Op::CrossEntropy { classes, label_smoothing } => {
                    let x = draft.x.ok_or_else(|| {
                        Error::usage(format!("network `{}`: the loss reads the input itself", graph.name()))
                    })?;
                    Pass::Loss {
                        classes,
                        smoothing: label_smoothing,
                        logits: range(x),
                        gradient: range(values + x),
                    }
                }
                _ => unreachable!("they make no pass"),
            });
        }
        Ok(Plan { passes, batch, features, arena })
    }
}

/// The nodes from the one input to the loss, each the only reader of the one before it: the networks that this
/// engine runs so far.
fn chain(graph: &Graph) -> Result<Vec<NodeId>> {
    let mut chain = vec![graph.loss()];
    while let Some(&[before]) = chain.last().map(|&node| graph.node(node).inputs.as_slice()) {
        chain.push(before);
    }
    chain.reverse();
    match graph.iter().find(|(id, _)| !chain.contains(id)) {
        None => Ok(chain),
        Some((_, node)) => Err(Error::usage(format!(
            "network `{}`: node `{}` is not on the one path from the input to the loss; networks that branch cannot be trained yet",
            graph.name(),
            node.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use rigl_graph::{Builder, Linear};

    use super::*;

    fn lenet() -> Graph {
        let mut g = Builder::new("net");
        let x = g.input("image", &[1, 4, 5]);
        let h = g.flatten(x);
        let h = g.linear("fc1", h, 30, Linear::default());
        let h = g.relu(h);
        let h = g.linear("fc2", h, 10, Linear::default());
        g.cross_entropy(h, 10, 0.0);
        g.finish().unwrap()
    }

    #[test]
    fn a_relu_between_linear_layers_is_fused_with_both() {
        let plan = Plan::compile(&lenet(), 100, Purpose::Training).unwrap();
        assert_eq!(plan.features, 20);
        let kinds: Vec<(bool, bool, bool)> = plan
            .passes
            .iter()
            .filter_map(|p| match p {
                Pass::Linear { relu, gated, dx, .. } => Some((*relu, *gated, dx.is_some())),
                _ => None,
            })
            .collect();
        assert_eq!(kinds, [(true, false, false), (false, true, true)]);
        assert_eq!(plan.passes.len(), 3);
    }

    #[test]
    fn evaluation_needs_less_memory_than_training() {
        let training = Plan::compile(&lenet(), 100, Purpose::Training).unwrap();
        let evaluation = Plan::compile(&lenet(), 100, Purpose::Evaluation).unwrap();
        // Training: the hidden map lives with its gradient and that of the logits.
        assert!(evaluation.arena < training.arena);
        assert_eq!(evaluation.arena, 128 * 40);
    }

    #[test]
    fn a_network_that_branches_is_refused_by_the_name_of_the_node() {
        let mut g = Builder::new("net");
        let x = g.input("image", &[20]);
        let a = g.linear("a", x, 10, Linear::default());
        g.linear("b", x, 10, Linear::default());
        g.cross_entropy(a, 10, 0.0);
        if let Ok(graph) = g.finish() {
            let error = Plan::compile(&graph, 1, Purpose::Training).unwrap_err();
            assert!(error.to_string().contains('b'), "{error}");
        }
    }
}
