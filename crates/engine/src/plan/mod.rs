//! The plan of a network for one batch size: which passes run in which order, forward and backward, and where
//! their results lie in the arena. A plan is data, compiled once; it owns neither weights nor memory.
//!
//! Values between passes are vectors or maps. Of maps only what cannot be computed in passing is stored: results of
//! convolutions, additions and pooling. A batch norm, a ReLU and a dropout behind one are a
//! [`View`](crate::value::View) that its readers evaluate; a convolution whose result is only added to something is one
//! pass with the addition. All such decisions are made in `lower`, the one place that knows neighbours. Backward, the
//! gradient of a stored value is what its readers left ([`Gradient`](crate::value::Gradient)): directly, or behind a
//! batch norm, through which it passes when it is read; `route` says who leaves what where.

mod lower;
mod route;

use rigl_base::Result;
use rigl_graph::Graph;
use rigl_kernels::WorkspaceSize;

use crate::buffers::Buffers;
use crate::layout::Layout;
use crate::passes::{Pass, Purpose, Reread};
use crate::run::Dropout;
use crate::value::{Back, BufferId, Operand, Source};

/// The plan of a network for one batch size.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) passes: Vec<Box<dyn Pass>>,
    /// Empty in evaluation.
    pub(crate) backs: Vec<Back>,
    pub(crate) buffers: Buffers,
    pub(crate) dropouts: Vec<Dropout>,
    /// Largest number of samples of a batch.
    pub(crate) batch: usize,
    /// How samples enter.
    pub(crate) input: Layout,
    /// What the network says of a sample, as the graph names it: the logits, where there is a loss.
    pub(crate) outputs: Vec<Operand>,
    /// f32 that the arena must hold.
    pub(crate) arena: usize,
    /// Scratch of the largest pass.
    pub(crate) workspace: WorkspaceSize,
}

impl Plan {
    /// Compiles a plan.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for a network that this engine cannot run, naming the node.
    pub(crate) fn compile(graph: &Graph, batch: usize, purpose: Purpose) -> Result<Plan> {
        let lower::Lowered { passes, mut buffers, dropouts, input, outputs } = lower::lower(graph, purpose)?;
        let backs = match purpose {
            Purpose::Training => route::route(&passes, &mut buffers)?,
            Purpose::Evaluation => Vec::new(),
        };
        for (time, pass) in passes.iter().enumerate() {
            forward_buffers(&**pass).for_each(|buffer| buffers.touch(time, buffer));
        }
        for (time, back) in (passes.len()..).zip(&backs) {
            backward_buffers(&*passes[back.pass], back).for_each(|buffer| buffers.touch(time, buffer));
        }
        // Whoever asks for the outputs does so when all passes are done.
        let asked = if purpose == Purpose::Evaluation { &outputs[..] } else { &[] };
        asked.iter().filter_map(|&of| buffer_of(of)).for_each(|buffer| buffers.touch(passes.len(), buffer));
        let arena = buffers
            .place(batch)
            .map_err(|e| rigl_base::Error::usage(format!("network `{}`", graph.name())).caused_by(e))?;
        let workspace = passes.iter().map(|pass| pass.workspace(batch, purpose));
        let workspace = workspace.fold(WorkspaceSize::default(), WorkspaceSize::max);
        Ok(Plan { passes, backs, buffers, dropouts, batch, input, outputs, arena, workspace })
    }
}

fn buffer_of(operand: Operand) -> Option<BufferId> {
    match operand.source {
        Source::Batch => None,
        Source::Buffer(buffer) => Some(buffer),
    }
}

/// The buffers that a pass may touch forwards.
pub(crate) fn forward_buffers(pass: &dyn Pass) -> impl Iterator<Item = BufferId> + '_ {
    let reads = pass.operands().iter().copied().filter_map(buffer_of);
    reads.chain(pass.output().map(|value| value.buffer)).chain(pass.leaves())
}

/// The buffers that a pass may touch backwards.
pub(crate) fn backward_buffers<'a>(
    pass: &'a dyn Pass,
    back: &'a Back,
) -> impl Iterator<Item = BufferId> + 'a {
    let gathered = back.gather.iter();
    let gathered = gathered.flat_map(|(gradient, target)| gradient.buffers().chain([target.out]));
    let again = pass.rereads().iter().filter_map(|reread| match *reread {
        Reread::Operand(number) => pass.operands().get(number).copied().and_then(buffer_of),
        Reread::Output => pass.output().map(|value| value.buffer),
    });
    // An operand whose gradient is brought to it is seen again.
    let targets = pass.operands().iter().zip(&back.targets).enumerate();
    let seen = targets.filter(|(number, (_, target))| target.is_some() && pass.hands_on(*number));
    let seen = seen.filter_map(|(_, (operand, _))| buffer_of(*operand));
    let outs = back.targets.iter().flatten().map(|target| target.out);
    let gradients = back.gradient.buffers().chain(back.store);
    gathered.chain(again).chain(seen).chain(gradients).chain(outs)
}

#[cfg(test)]
mod tests;
