//! The graph: nodes in topological order, and the parameters they own. It is plain data, made by
//! [`Builder`](crate::Builder) or by [`Graph::parse`], always verified, never changed afterwards.

use crate::init::Init;
use crate::op::{Op, ParameterKind};

/// The number of a node in its graph.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// Its place in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// The number of a parameter in its graph.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ParameterId(pub(crate) usize);

impl ParameterId {
    /// Its place in [`Graph::parameters`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// One operation of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name, unique in the graph: `fc1`.
    pub name: String,
    /// What it does, with its attributes.
    pub op: Op,
    /// The nodes whose outputs it reads; all come before it.
    pub inputs: Vec<NodeId>,
    /// The shape of its output for one sample; `[]` for the loss, a single number.
    pub shape: Vec<usize>,
    /// The parameters it owns, the weight first.
    pub parameters: Vec<ParameterId>,
}

/// An array that is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name, unique in the graph: the node's name and `.weight` or `.bias`.
    pub name: String,
    /// Its natural shape, row-major; `[outputs, inputs]` for a linear weight, as in PyTorch.
    pub shape: Vec<usize>,
    /// What it is to its layer.
    pub kind: ParameterKind,
    /// How it starts.
    pub init: Init,
    /// Inputs of each output of its layer, counted dense.
    pub fan_in: usize,
    /// Outputs that each input of its layer reaches, counted dense.
    pub fan_out: usize,
    /// The node that owns it.
    pub node: NodeId,
    /// Multiply-accumulates per value per sample: the number of output positions a convolution's weight is
    /// used at, 1 for a linear weight, 0 for biases, whose additions are not counted.
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

/// A network. [`verify`](Graph::verify) lists what always holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) logits: NodeId,
    pub(crate) loss: NodeId,
}

impl Graph {
    /// The name of the architecture.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All nodes. Each comes after its inputs: forward is this order, backward the reverse.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes with their numbers, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i), n))
    }

    /// A node.
    ///
    /// # Panics
    /// If `id` is of another, larger graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node of that name.
    pub fn find_node(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.name == name).map(NodeId)
    }

    /// The shapes that a node reads, one for each of its inputs.
    pub fn input_shapes(&self, node: &Node) -> Vec<&[usize]> {
        node.inputs.iter().map(|&i| self.node(i).shape.as_slice()).collect()
    }

    /// The nodes through which samples enter; a node's name is the field of the data set it reads.
    pub fn inputs(&self) -> impl Iterator<Item = NodeId> {
        self.iter().filter(|(_, n)| matches!(n.op, Op::Input { .. })).map(|(id, _)| id)
    }

    /// The node whose output is classified: what the loss reads.
    pub fn logits(&self) -> NodeId {
        self.logits
    }

    /// The loss: the last node.
    pub fn loss(&self) -> NodeId {
        self.loss
    }

    /// The number of classes: the logits of one sample.
    pub fn classes(&self) -> usize {
        self.node(self.logits).shape.iter().product()
    }

    /// All parameters, in the order of their nodes.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The parameters with their numbers, in order.
    pub fn iter_parameters(
        &self,
    ) -> impl DoubleEndedIterator<Item = (ParameterId, &Parameter)> + ExactSizeIterator {
        self.parameters.iter().enumerate().map(|(i, p)| (ParameterId(i), p))
    }

    /// A parameter.
    ///
    /// # Panics
    /// If `id` is of another, larger graph.
    pub fn parameter(&self, id: ParameterId) -> &Parameter {
        &self.parameters[id.0]
    }

    /// The parameter of that name.
    pub fn find_parameter(&self, name: &str) -> Option<ParameterId> {
        self.parameters.iter().position(|p| p.name == name).map(ParameterId)
    }

    /// The weights, see [`Parameter::is_weight`]: what L2 applies to and what can be sparse.
    pub fn weights(&self) -> impl DoubleEndedIterator<Item = (ParameterId, &Parameter)> {
        self.iter_parameters().filter(|(_, p)| p.is_weight())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{ModelSpec, Models};

    #[test]
    fn a_graph_is_walked_by_ids_names_and_kinds() {
        let graph = Models::default().build("lenet-300-100", &ModelSpec::new(&[1, 28, 28], 10)).unwrap();
        let fc2 = graph.find_node("fc2").unwrap();
        let node = graph.node(fc2);
        assert_eq!(graph.input_shapes(node), [&[300usize][..]]);
        let names: Vec<_> = node.parameters.iter().map(|&p| graph.parameter(p).name.as_str()).collect();
        assert_eq!(names, ["fc2.weight", "fc2.bias"]);
        assert_eq!(graph.parameter(node.parameters[0]).node, fc2);
        assert_eq!(graph.find_parameter("fc2.bias"), Some(node.parameters[1]));
        assert_eq!(graph.find_parameter("fc2"), None);
        let weights: Vec<_> = graph.weights().map(|(_, p)| p.layer()).collect();
        assert_eq!(weights, ["fc1", "fc2", "fc3"]);
        assert_eq!(graph.inputs().map(|i| graph.node(i).name.as_str()).collect::<Vec<_>>(), ["image"]);
        assert_eq!(graph.node(graph.logits()).name, "fc3");
        assert_eq!(graph.classes(), 10);
        assert_eq!(graph.loss().index(), graph.nodes().len() - 1);
    }

    #[test]
    fn only_weights_are_weights() {
        for &kind in ParameterKind::ALL {
            assert_eq!(kind.is_weight(), kind.name().ends_with("weight"));
        }
    }
}
