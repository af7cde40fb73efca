//! What passes leave for each other, and how it is seen: values in buffers of the arena, views of them, and on the way
//! back the gradients that readers leave.

use crate::layout::Layout;

/// A buffer of the arena, by number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BufferId(pub(crate) usize);

/// Where a pass reads from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// The packed batch.
    Batch,
    /// A buffer of the arena.
    Buffer(BufferId),
}

/// What is evaluated when a stored map is read: a batch norm, a ReLU and a dropout, in this order. Norms and dropouts
/// are numbered in the order of the graph.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct View {
    pub(crate) norm: Option<usize>,
    pub(crate) relu: bool,
    pub(crate) dropout: Option<usize>,
}

impl View {
    /// What is stored, as it is.
    pub(crate) const PLAIN: View = View { norm: None, relu: false, dropout: None };

    pub(crate) fn is_plain(&self) -> bool {
        *self == View::PLAIN
    }
}

/// A value as one of its readers sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Operand {
    pub(crate) source: Source,
    pub(crate) layout: Layout,
    pub(crate) view: View,
}

impl Operand {
    /// What a source holds, as it is.
    pub(crate) fn plain(source: Source, layout: Layout) -> Operand {
        Operand { source, layout, view: View::PLAIN }
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.view.is_plain()
    }
}

/// A stored value: what a pass leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Value {
    pub(crate) buffer: BufferId,
    pub(crate) layout: Layout,
}

impl Value {
    /// The value as it is stored.
    pub(crate) fn operand(self) -> Operand {
        Operand::plain(Source::Buffer(self.buffer), self.layout)
    }
}

/// The gradient of a stored value: what readers left directly, and what they left behind a norm of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Gradient {
    pub(crate) of: Value,
    pub(crate) direct: Option<BufferId>,
    pub(crate) norm: Option<(usize, BufferId)>,
}

impl Gradient {
    /// The buffers that it is read from.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = BufferId> + use<> {
        // Behind a norm, the value itself is read too.
        let behind = self.norm.map(|(_, dz)| [dz, self.of.buffer]);
        self.direct.into_iter().chain(behind.into_iter().flatten())
    }
}

/// Where the gradient of an operand goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) out: BufferId,
    /// Whether an earlier reader left something there.
    pub(crate) accumulate: bool,
    /// The norm whose gradient is complete with this.
    pub(crate) finishes: Option<usize>,
}

/// What is done backwards for a pass, as [`crate::plan`] has routed it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Back {
    /// The number of the pass.
    pub(crate) pass: usize,
    /// Gradients behind further norms of the pass's value, added up first.
    pub(crate) gather: Vec<(Gradient, Target)>,
    /// The gradient of what the pass left.
    pub(crate) gradient: Gradient,
    /// Where the pass stores that gradient as it evaluates it: somebody takes it over from there.
    pub(crate) store: Option<BufferId>,
    /// Where the gradient of each operand goes; none for the batch, and for an operand that takes over the gradient of
    /// what the pass left.
    pub(crate) targets: Vec<Option<Target>>,
}
