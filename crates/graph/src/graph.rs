//! The graph: nodes in topological order, and the parameters and buffers they own. It is plain data, made by
//! [`Builder`](crate::Builder) or by [`Graph::parse`], always verified, never changed afterwards.

use rigl_base::{Error, Result};

use crate::op::Op;
use crate::parameter::{Buffer, BufferId, NodeId, Parameter, ParameterId};

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
    /// The buffers it owns: running mean and running variance of a batch norm.
    pub buffers: Vec<BufferId>,
}

/// A network. [`verify`](Graph::verify) lists what always holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) outputs: Vec<NodeId>,
    pub(crate) loss: Option<NodeId>,
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

    /// The node that is called exactly so; `None` if there is none.
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

    /// The nodes whose outputs are what the network says of a sample: the logits that the loss reads or, in a network
    /// without a loss, those that it ends in.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// The loss, the last node; a network without one can be evaluated but not trained.
    pub fn loss(&self) -> Option<NodeId> {
        self.loss
    }

    /// The node whose output is classified: what the loss reads.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for a network without a loss, naming the node it ends in.
    pub fn logits(&self) -> Result<NodeId> {
        match (self.loss, &self.outputs[..]) {
            (Some(_), &[logits, ..]) => Ok(logits),
            _ => Err(self.no_loss()),
        }
    }

    /// The number of classes: the logits of one sample.
    ///
    /// # Errors
    /// See [`logits`](Graph::logits).
    pub fn classes(&self) -> Result<usize> {
        Ok(self.node(self.logits()?).shape.iter().product())
    }

    /// What is said to whoever wants to train a network without a loss.
    pub fn no_loss(&self) -> Error {
        let first = self.outputs.first().map_or("nothing", |&id| &self.node(id).name);
        let others = match self.outputs.len().saturating_sub(1) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Error::usage(format!(
            "network `{}` cannot be trained: it ends in `{first}`{others}, not in a loss",
            self.name
        ))
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

    /// The parameter that is called exactly so, `fc1.weight`; `None` if there is none.
    pub fn find_parameter(&self, name: &str) -> Option<ParameterId> {
        self.parameters.iter().position(|p| p.name == name).map(ParameterId)
    }

    /// All buffers, in the order of their nodes.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// A buffer.
    ///
    /// # Panics
    /// If `id` is of another, larger graph.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0]
    }

    /// The buffer that is called exactly so, `bn1.running_mean`; `None` if there is none.
    pub fn find_buffer(&self, name: &str) -> Option<BufferId> {
        self.buffers.iter().position(|b| b.name == name).map(BufferId)
    }

    /// The weights, see [`Parameter::is_weight`]: what L2 applies to and what can be sparse.
    pub fn weights(&self) -> impl DoubleEndedIterator<Item = (ParameterId, &Parameter)> {
        self.iter_parameters().filter(|(_, p)| p.is_weight())
    }
}

#[cfg(test)]
mod tests {
    use crate::account::Cost;
    use crate::builder::{Builder, Linear};
    use crate::models::{ModelSpec, Models};
    use crate::parameter::ParameterKind;

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
        assert_eq!(graph.node(graph.logits().unwrap()).name, "fc3");
        assert_eq!(graph.outputs(), [graph.logits().unwrap()]);
        assert_eq!(graph.classes().unwrap(), 10);
        assert_eq!(graph.loss().unwrap().index(), graph.nodes().len() - 1);
    }

    #[test]
    fn a_network_without_a_loss_says_what_it_ends_in() {
        let mut g = Builder::new("net");
        let x = g.input("image", &[4]);
        let h = g.linear("fc", x, 3, Linear::default());
        let r = g.relu(h);
        g.outputs(&[r, h]);
        let graph = g.finish().unwrap();
        let names: Vec<_> = graph.outputs().iter().map(|&id| graph.node(id).name.as_str()).collect();
        assert_eq!((names, graph.loss()), (vec!["relu", "fc"], None));
        let error = graph.logits().unwrap_err();
        assert_eq!(error.kind(), rigl_base::Kind::Usage);
        assert_eq!(
            error.message(),
            "network `net` cannot be trained: it ends in `relu` and 1 more, not in a loss"
        );
        assert_eq!(graph.classes().unwrap_err().message(), error.message());
        assert_eq!(Cost::dense(&graph).unwrap().weights, 12);
    }

    #[test]
    fn only_weights_are_weights() {
        for &kind in ParameterKind::ALL {
            assert_eq!(kind.is_weight(), kind.name().ends_with("weight"));
        }
    }
}
