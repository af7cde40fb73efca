//! The arrays that are trained, and those that are only carried along: their names, shapes and roles, and the
//! numbers by which graphs refer to them and to their nodes.

use crate::init::Init;

/// The number of a node in its graph.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// Its place in [`Graph::nodes`](crate::Graph::nodes).
    pub fn index(self) -> usize {
        self.0
    }
}

/// The number of a parameter in its graph.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ParameterId(pub(crate) usize);

impl ParameterId {
    /// Its place in [`Graph::parameters`](crate::Graph::parameters).
    pub fn index(self) -> usize {
        self.0
    }
}

/// The number of a buffer in its graph.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BufferId(pub(crate) usize);

impl BufferId {
    /// Its place in [`Graph::buffers`](crate::Graph::buffers).
    pub fn index(self) -> usize {
        self.0
    }
}

rigl_base::named_enum! {
    /// What a parameter is to its layer. Filters (L2, sparsity) go by this.
    pub enum ParameterKind {
        /// The matrix of a linear layer, `[outputs, inputs]`.
        LinearWeight = "linear-weight",
        /// The kernels of a convolution, `[outputs, inputs / groups, kernel, kernel]`.
        ConvWeight = "conv-weight",
        /// Added to each output.
        Bias = "bias",
        /// γ of a norm, which each channel is multiplied by.
        NormScale = "norm-scale",
        /// β of a norm, which is added to each channel.
        NormShift = "norm-shift",
    }
}

impl ParameterKind {
    /// Whether it is a weight of a convolution, linear or recurrent layer.
    pub fn is_weight(self) -> bool {
        match self {
            ParameterKind::LinearWeight | ParameterKind::ConvWeight => true,
            ParameterKind::Bias | ParameterKind::NormScale | ParameterKind::NormShift => false,
        }
    }
}

/// An array that is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name, unique in the graph: the node's name and `.weight` or `.bias`.
    pub name: String,
    /// Its natural shape, row-major; `[outputs, inputs]` for a linear weight, `[outputs, inputs / groups, kernel,
    /// kernel]` for a convolution's, as in PyTorch.
    pub shape: Vec<usize>,
    /// What it is to its layer.
    pub kind: ParameterKind,
    /// How it starts.
    pub init: Init,
    /// Inputs of each output of its layer, counted dense; the second dimension times the kernel's positions.
    pub fan_in: usize,
    /// Outputs that each input of its layer reaches, counted dense; the first dimension times the kernel's positions,
    /// as PyTorch counts it, whatever the groups.
    pub fan_out: usize,
    /// The node that owns it.
    pub node: NodeId,
    /// Multiply-accumulates per value per sample: the number of output positions a convolution's weight is
    /// used at, 1 for a linear weight, 0 for biases and norms, which are not counted.
    pub positions: usize,
}

impl Parameter {
    /// How many values it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values; never so in a verified graph.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a weight of a convolution, linear or recurrent layer, the only parameters that get L2 and
    /// can be sparse.
    pub fn is_weight(&self) -> bool {
        self.kind.is_weight()
    }

    /// The name that users write for its layer, and that globs match: without `.weight`.
    pub fn layer(&self) -> &str {
        self.name.strip_suffix(".weight").unwrap_or(&self.name)
    }

    /// Multiply-accumulates per sample when dense.
    pub fn macs(&self) -> u64 {
        self.len() as u64 * self.positions as u64
    }
}

/// An array that is carried along with the parameters but not trained: a running statistic of a norm.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Its name, unique in the graph: the node's name and `.running_mean` or `.running_var`.
    pub name: String,
    /// Its sizes: one value for each channel of the norm.
    pub shape: Vec<usize>,
    /// What all its values start at.
    pub initial: f32,
    /// The node that owns it.
    pub node: NodeId,
}

impl Buffer {
    /// How many values it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values; never so in a verified graph.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
