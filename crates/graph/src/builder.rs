//! Building a graph. Model code reads like the architecture, so the builder's methods return plain node ids;
//! the first mistake is kept and reported by [`Builder::finish`].

use std::collections::HashMap;

use rigl_base::{Error, Result};

use crate::graph::{Graph, Node};
use crate::init::Init;
use crate::op::Op;
use crate::parameter::{Buffer, BufferId, NodeId, Parameter, ParameterId};
use crate::verify::{self, MAX_NODES};
use crate::words::shape_text;

/// Options of [`Builder::linear`]: with bias and Glorot uniform weights unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Whether a bias is added.
    pub bias: bool,
    /// How the weights start.
    pub init: Init,
}

impl Default for Linear {
    fn default() -> Linear {
        Linear { bias: true, init: Init::GlorotUniform }
    }
}

impl Linear {
    /// Without a bias.
    #[must_use]
    pub fn no_bias(self) -> Linear {
        Linear { bias: false, ..self }
    }

    /// With weights that start this way.
    #[must_use]
    pub fn init(self, init: Init) -> Linear {
        Linear { init, ..self }
    }
}

/// Options of [`Builder::conv2d`]: one group, no bias (a norm follows most convolutions) and Glorot uniform weights
/// unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// Rows and columns of the kernel, odd.
    pub kernel: usize,
    /// Rows and columns from one output to the next.
    pub stride: usize,
    /// Rows and columns of zeros on every side.
    pub padding: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Whether each output channel has a bias.
    pub bias: bool,
    /// How the weights start.
    pub init: Init,
}

impl Conv2d {
    /// A kernel of this size, padded so that at stride 1 the map keeps its size.
    pub fn k(kernel: usize) -> Conv2d {
        let init = Init::GlorotUniform;
        Conv2d { kernel, stride: 1, padding: kernel / 2, groups: 1, bias: false, init }
    }

    /// A 1 × 1 kernel.
    pub fn k1() -> Conv2d {
        Conv2d::k(1)
    }

    /// A 3 × 3 kernel with padding 1.
    pub fn k3() -> Conv2d {
        Conv2d::k(3)
    }

    /// With so many rows and columns from one output to the next.
    #[must_use]
    pub fn stride(self, stride: usize) -> Conv2d {
        Conv2d { stride, ..self }
    }

    /// With so many rows and columns of zeros on each side of the map.
    #[must_use]
    pub fn padding(self, padding: usize) -> Conv2d {
        Conv2d { padding, ..self }
    }

    /// With so many groups.
    #[must_use]
    pub fn groups(self, groups: usize) -> Conv2d {
        Conv2d { groups, ..self }
    }

    /// With a bias for each output channel.
    #[must_use]
    pub fn bias(self) -> Conv2d {
        Conv2d { bias: true, ..self }
    }

    /// With weights that start this way.
    #[must_use]
    pub fn init(self, init: Init) -> Conv2d {
        Conv2d { init, ..self }
    }
}

/// Options of [`Builder::batch_norm`]: ε 1e-5, momentum .1 and γ of 1 unless said otherwise, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to variances.
    pub epsilon: f32,
    /// Share of the new statistics in the running ones.
    pub momentum: f32,
    /// What γ starts at.
    pub scale: f32,
}

impl Default for BatchNorm {
    fn default() -> BatchNorm {
        BatchNorm { epsilon: 1e-5, momentum: 0.1, scale: 1.0 }
    }
}

impl BatchNorm {
    /// With this momentum, in PyTorch's sense: .1 keeps .9 of the running statistics.
    #[must_use]
    pub fn momentum(self, momentum: f32) -> BatchNorm {
        BatchNorm { momentum, ..self }
    }

    /// With γ that starts at this value.
    #[must_use]
    pub fn scale(self, scale: f32) -> BatchNorm {
        BatchNorm { scale, ..self }
    }
}

/// Windows of [`Builder::max_pool`] and [`Builder::avg_pool`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pool {
    /// Rows and columns of a window.
    pub kernel: usize,
    /// Rows and columns from one window to the next.
    pub stride: usize,
    /// Rows and columns around the map that windows may reach into.
    pub padding: usize,
}

impl Pool {
    /// Windows of this size side by side, without padding.
    pub fn k(kernel: usize) -> Pool {
        Pool { kernel, stride: kernel, padding: 0 }
    }

    /// With so many rows and columns from one window to the next.
    #[must_use]
    pub fn stride(self, stride: usize) -> Pool {
        Pool { stride, ..self }
    }

    /// With windows that reach so far over each side of the map.
    #[must_use]
    pub fn padding(self, padding: usize) -> Pool {
        Pool { padding, ..self }
    }
}

/// Builds a [`Graph`] node by node; the crate's front page has an example. Nodes that own parameters are
/// named by the caller, the others by their operation: `flatten`, `relu`, `relu2`.
#[derive(Clone, Debug)]
pub struct Builder {
    draft: Draft,
    /// How many nodes were named by their operation.
    unnamed: HashMap<&'static str, usize>,
    error: Option<String>,
}

impl Builder {
    /// Begins a network of that name.
    pub fn new(name: &str) -> Builder {
        Builder { draft: Draft::new(name), unnamed: HashMap::new(), error: None }
    }

    /// An input: the data set's field `name`, of this shape per sample.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> NodeId {
        self.push(name, Op::Input { shape: shape.to_vec() }, &[])
    }

    /// All values of a sample as one vector.
    pub fn flatten(&mut self, x: NodeId) -> NodeId {
        self.push_unnamed(Op::Flatten, &[x])
    }

    /// A linear layer with parameters `<name>.weight` and `<name>.bias`.
    pub fn linear(&mut self, name: &str, x: NodeId, features: usize, options: Linear) -> NodeId {
        self.push(name, Op::Linear { features, bias: options.bias, init: options.init }, &[x])
    }

    /// A convolution to `channels` channels, with parameters `<name>.weight` and perhaps `<name>.bias`.
    pub fn conv2d(&mut self, name: &str, x: NodeId, channels: usize, options: Conv2d) -> NodeId {
        let Conv2d { kernel, stride, padding, groups, bias, init } = options;
        self.push(name, Op::Conv2d { channels, kernel, stride, padding, groups, bias, init }, &[x])
    }

    /// A batch norm over channels, with parameters `<name>.weight` (γ) and `<name>.bias` (β), and buffers
    /// `<name>.running_mean` and `<name>.running_var`.
    pub fn batch_norm(&mut self, name: &str, x: NodeId, options: BatchNorm) -> NodeId {
        let BatchNorm { epsilon, momentum, scale } = options;
        self.push(name, Op::BatchNorm { epsilon, momentum, scale }, &[x])
    }

    /// `a + b`, of one shape.
    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.push_unnamed(Op::Add, &[a, b])
    }

    /// The largest value of each window.
    pub fn max_pool(&mut self, x: NodeId, Pool { kernel, stride, padding }: Pool) -> NodeId {
        self.push_unnamed(Op::MaxPool { kernel, stride, padding }, &[x])
    }

    /// The mean of each window, with padding counted as zeros.
    pub fn avg_pool(&mut self, x: NodeId, Pool { kernel, stride, padding }: Pool) -> NodeId {
        self.push_unnamed(Op::AvgPool { kernel, stride, padding }, &[x])
    }

    /// The mean of each channel.
    pub fn global_avg_pool(&mut self, x: NodeId) -> NodeId {
        self.push_unnamed(Op::GlobalAvgPool, &[x])
    }

    /// Dropout with this probability, in training only.
    pub fn dropout(&mut self, x: NodeId, probability: f32) -> NodeId {
        self.push_unnamed(Op::Dropout { probability }, &[x])
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self, x: NodeId) -> NodeId {
        self.push_unnamed(Op::Relu, &[x])
    }

    /// `x` where it is positive, else `slope · x`.
    pub fn leaky_relu(&mut self, x: NodeId, slope: f32) -> NodeId {
        self.push_unnamed(Op::LeakyRelu { slope }, &[x])
    }

    /// `1 / (1 + e⁻ˣ)`.
    pub fn sigmoid(&mut self, x: NodeId) -> NodeId {
        self.push_unnamed(Op::Sigmoid, &[x])
    }

    /// `a · b`, number by number, of one shape.
    pub fn multiply(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.push_unnamed(Op::Multiply, &[a, b])
    }

    /// Ends the network with the softmax cross-entropy of `logits`; the node is called `loss`.
    pub fn cross_entropy(&mut self, logits: NodeId, classes: usize, label_smoothing: f32) -> NodeId {
        self.push("loss", Op::CrossEntropy { classes, label_smoothing }, &[logits])
    }

    /// Ends a network without a loss: these nodes, one at least, are what it says of a sample. It can be evaluated but
    /// not trained.
    pub fn outputs(&mut self, nodes: &[NodeId]) {
        self.draft.outputs = nodes.to_vec();
    }

    /// The finished graph.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for the first mistake made: the network, the node, what was found
    /// and what was expected.
    pub fn finish(self) -> Result<Graph> {
        let name = self.draft.name.clone();
        let result = match self.error {
            Some(error) => Err(error),
            None => self.draft.finish(),
        };
        result.map_err(|e| Error::usage(format!("network `{}`: {e}", crate::words::clip(&name))))
    }

    fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> NodeId {
        // After a mistake ids mean nothing any more; the rest of the network is passed over.
        if self.error.is_none() {
            match self.draft.push(name, op, inputs) {
                Ok(id) => return id,
                Err(error) => self.error = Some(error),
            }
        }
        NodeId(0)
    }

    fn push_unnamed(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        let word = op.word();
        let count = self.unnamed.entry(word).or_default();
        let name = loop {
            *count += 1;
            let name = if *count == 1 { word.to_string() } else { format!("{word}{count}") };
            if self.draft.find(&name).is_none() {
                break name;
            }
        };
        self.push(&name, op, inputs)
    }
}

/// A graph that grows: the one way in which nodes are made, for the builder and for the parser.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    name: String,
    nodes: Vec<Node>,
    parameters: Vec<Parameter>,
    buffers: Vec<Buffer>,
    names: HashMap<String, NodeId>,
    /// What a network without a loss ends in.
    pub(crate) outputs: Vec<NodeId>,
}

impl Draft {
    pub(crate) fn new(name: &str) -> Draft {
        Draft { name: name.into(), ..Draft::default() }
    }

    pub(crate) fn find(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }

    /// Adds a node.
    pub(crate) fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, String> {
        verify::check_name(name).map_err(|e| format!("node {e}"))?;
        let place = |e: String| format!("node `{name}`: {}: {e}", op.word());
        let id = NodeId(self.nodes.len());
        if id.0 == MAX_NODES {
            return Err(place(format!("more than {MAX_NODES} nodes")));
        }
        if self.names.contains_key(name) {
            return Err(place("the name is taken by an earlier node".into()));
        }
        if let Some(stray) = inputs.iter().find(|i| **i >= id) {
            return Err(place(format!("input number {} does not exist in this network", stray.0)));
        }
        if let Some(loss) = inputs.iter().map(|i| &self.nodes[i.0]).find(|n| n.op.is_loss()) {
            return Err(place(format!("reads the loss `{}`, which ends the network", loss.name)));
        }
        let shapes: Vec<&[usize]> = inputs.iter().map(|i| self.nodes[i.0].shape.as_slice()).collect();
        let shape = op.shape(&shapes).map_err(place)?;
        let owned = op.parameters(id, name, &shapes);
        let first = self.parameters.len();
        let parameters = (first..first + owned.len()).map(ParameterId).collect();
        self.parameters.extend(owned);
        let carried = op.buffers(id, name, &shapes);
        let first = self.buffers.len();
        let buffers = (first..first + carried.len()).map(BufferId).collect();
        self.buffers.extend(carried);
        self.nodes.push(Node { name: name.into(), op, inputs: inputs.to_vec(), shape, parameters, buffers });
        self.names.insert(name.into(), id);
        Ok(id)
    }

    /// The shape of a node, as text.
    pub(crate) fn shape_text(&self, id: NodeId) -> String {
        shape_text(&self.nodes[id.0].shape)
    }

    /// Whether a node has this shape.
    pub(crate) fn has_shape(&self, id: NodeId, shape: &[usize]) -> bool {
        self.nodes[id.0].shape == shape
    }

    /// The graph, verified.
    pub(crate) fn finish(self) -> Result<Graph, String> {
        let loss = self.nodes.iter().rposition(|n| n.op.is_loss()).map(NodeId);
        let Draft { name, nodes, parameters, buffers, mut outputs, .. } = self;
        match loss.map(|loss| &nodes[loss.0]) {
            Some(loss) if outputs.is_empty() => outputs = loss.inputs.clone(),
            Some(loss) => {
                return Err(format!(
                    "it has the loss `{}` and `outputs`, expected one of the two",
                    loss.name
                ));
            }
            None if outputs.is_empty() => {
                return Err("there is no loss; end the network with `cross-entropy` or `outputs`".into());
            }
            None => {}
        }
        let graph = Graph { name, nodes, parameters, buffers, outputs, loss };
        verify::check(&graph)?;
        Ok(graph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rigl_base::Kind;

    fn error(build: impl FnOnce(&mut Builder)) -> String {
        let mut g = Builder::new("net");
        build(&mut g);
        let error = g.finish().unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        error.message().to_string()
    }

    #[test]
    fn the_first_mistake_is_reported_with_node_and_shapes() {
        let message = error(|g| {
            let x = g.input("image", &[1, 28, 28]);
            let h = g.linear("fc1", x, 300, Linear::default());
            let h = g.linear("fc1", h, 0, Linear::default());
            g.cross_entropy(h, 10, 0.0);
        });
        assert_eq!(
            message,
            "network `net`: node `fc1`: linear: expects a vector [n], found [1, 28, 28]; flatten it first"
        );
    }

    #[test]
    fn mistakes_of_every_kind_are_errors_and_never_panics() {
        let with = |build: fn(&mut Builder, NodeId) -> NodeId| {
            error(|g| {
                let x = g.input("x", &[4]);
                let h = build(g, x);
                g.cross_entropy(h, 4, 0.0);
            })
        };
        let linear = Linear::default();
        assert!(with(|g, x| g.linear("x", x, 4, Linear::default())).contains("name is taken"));
        assert!(with(|g, x| g.linear("a b", x, 4, Linear::default())).contains("`a b`"));
        assert!(with(|g, x| g.linear("", x, 4, Linear::default())).contains("node name"));
        assert!(
            with(|g, x| g.linear("a", x, 3, Linear::default())).contains("one logit per class, 4, found 3")
        );
        assert!(with(|g, x| g.linear("a", x, 0, Linear::default())).contains("[0, 4]"));
        assert!(with(|g, x| g.linear("a", x, usize::MAX, Linear::default())).contains("4294967295"));
        assert!(with(|g, _| g.relu(NodeId(9))).contains("number 9 does not exist"));
        assert!(with(|g, x| g.cross_entropy(x, 4, 0.0)).contains("taken"));
        assert!(
            with(|g, x| {
                g.relu(x);
                x
            })
            .contains("`relu`")
        );
        assert!(error(|g| _ = g.input("x", &[])).contains("at least one dimension"));
        assert!(error(|g| _ = g.input("x", &[3, 0])).contains("[3, 0]"));
        assert!(error(|g| _ = g.input("x", &[usize::MAX, 2])).contains("4294967295"));
        assert!(error(|g| _ = g.input("x", &[1; 9])).contains("dimensions"));
        assert!(error(|g| _ = g.input("x", &[4])).contains("there is no loss"));
        assert!(error(|_| ()).contains("there is no loss"));
        assert!(error(|g| g.outputs(&[])).contains("there is no loss"));
        assert!(error(|g| g.outputs(&[NodeId(9)])).contains("expects 1 to 65536 nodes, found 0"));
        assert!(
            with(|g, x| {
                g.outputs(&[x]);
                x
            })
            .contains("`loss` and `outputs`, expected one of the two")
        );
        let ends = |of: &[usize]| {
            error(|g| {
                let x = g.input("x", &[4]);
                g.relu(x);
                g.outputs(&of.iter().map(|&id| NodeId(id)).collect::<Vec<_>>());
            })
        };
        assert!(ends(&[9]).contains("output number 9 does not exist"));
        assert!(ends(&[0, 1]).contains("the output `x` is an input"));
        assert!(ends(&[1, 1]).contains("the output `relu` is named twice"));
        let after = error(|g| {
            let x = g.input("x", &[4]);
            let loss = g.cross_entropy(x, 4, 0.0);
            g.linear("late", loss, 4, linear);
        });
        assert!(after.contains("node `late`") && after.contains("reads the loss `loss`"), "{after}");
        assert!(Builder::new("a\nb").finish().unwrap_err().message().contains("a\\nb"));
    }

    #[test]
    fn unnamed_nodes_take_the_first_free_name() {
        let mut g = Builder::new("net");
        let x = g.input("relu2", &[4]);
        let h = g.relu(x);
        let h = g.relu(h);
        g.cross_entropy(h, 4, 0.0);
        let graph = g.finish().unwrap();
        let names: Vec<_> = graph.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["relu2", "relu", "relu3", "loss"]);
    }
}
