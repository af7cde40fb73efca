//! From a graph to the passes of its forward half: what is computed in passing, what is stored. Every decision that
//! needs to know neighbours is made here.

use rigl_base::{Error, Result};
use rigl_graph::{Graph, Node, NodeId, Op};
use rigl_kernels::elementwise::Activation as Function;
use rigl_kernels::pool::PoolShape;

use crate::buffers::Buffers;
use crate::layout::Layout;
use crate::passes::{
    Activation, Add, Conv, CrossEntropy, Flatten, GlobalPool, Linear, Multiply, Pass, Pool, PoolKind,
    Purpose, Unflatten, conv_shape,
};
use crate::run::Dropout;
use crate::value::{BufferId, Operand, Source, Value, View};

/// What this step of compilation makes.
pub(super) struct Lowered {
    pub(super) passes: Vec<Box<dyn Pass>>,
    pub(super) buffers: Buffers,
    pub(super) dropouts: Vec<Dropout>,
    /// How samples enter.
    pub(super) input: Layout,
    /// What the network says of a sample, as the graph names it: the logits, where there is a loss.
    pub(super) outputs: Vec<Operand>,
}

/// The value of a node, as its readers find it.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// A value as it is seen.
    Seen(Operand),
    /// The result of a linear layer that has applied the ReLU behind it; before and after that ReLU.
    Rectified(Operand),
    /// The loss.
    Nothing,
}

/// Lowers a graph.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage), naming the node that this engine cannot run; for a network without a loss that
/// is to be trained.
pub(super) fn lower(graph: &Graph, purpose: Purpose) -> Result<Lowered> {
    if purpose == Purpose::Training {
        graph.logits()?;
    }
    let mut compiler = Compiler {
        graph,
        purpose,
        readers: vec![Vec::new(); graph.nodes().len()],
        found: Vec::with_capacity(graph.nodes().len()),
        passes: Vec::new(),
        buffers: Buffers::default(),
        dropouts: Vec::new(),
        input: Layout::Vector(0),
        logits: None,
        with_residual: Vec::new(),
        norms: 0,
    };
    for (id, node) in graph.iter() {
        for input in &node.inputs {
            compiler.readers[input.index()].push(id);
        }
    }
    if graph.loss().is_none() {
        // Whoever asks for an output reads it too, so nothing behind it is fused into it: it counts as a reader of itself.
        graph.outputs().iter().for_each(|&id| compiler.readers[id.index()].push(id));
    }
    for (id, node) in graph.iter() {
        let found = compiler.node(id, node).map_err(|why| {
            Error::usage(format!("network `{}`, node `{}`: {why}", graph.name(), node.name))
        })?;
        compiler.found.push(found);
    }
    let outputs = compiler.outputs()?;
    compiler.measure();
    let Compiler { passes, buffers, dropouts, input, .. } = compiler;
    Ok(Lowered { passes, buffers, dropouts, input, outputs })
}

struct Compiler<'g> {
    graph: &'g Graph,
    purpose: Purpose,
    /// The readers of each node.
    readers: Vec<Vec<NodeId>>,
    found: Vec<Found>,
    passes: Vec<Box<dyn Pass>>,
    buffers: Buffers,
    dropouts: Vec<Dropout>,
    input: Layout,
    logits: Option<Operand>,
    /// Buffers of convolutions that have done the addition behind them.
    with_residual: Vec<BufferId>,
    /// Norms met so far; they are numbered in the order of the graph.
    norms: usize,
}

impl Compiler<'_> {
    /// The outputs as they are stored.
    fn outputs(&mut self) -> Result<Vec<Operand>> {
        if let Some(logits) = self.logits {
            return Ok(vec![logits]);
        }
        let found = self.graph.outputs().iter().map(|id| match self.found[id.index()] {
            Found::Seen(operand) | Found::Rectified(operand) => Ok(operand),
            Found::Nothing => Err(Error::internal("the loss of a network without one")),
        });
        let found: Vec<Operand> = found.collect::<Result<_>>()?;
        Ok(found.into_iter().map(|operand| self.as_stored(operand)).collect())
    }

    /// Room for a value.
    fn value(&mut self, layout: Layout) -> Value {
        Value { buffer: self.buffers.add(layout), layout }
    }

    /// One more pass, which leaves this value.
    fn push(&mut self, pass: impl Pass + 'static, value: Value) -> Operand {
        self.passes.push(Box::new(pass));
        value.operand()
    }

    /// What a node reads.
    fn operand(&self, node: &Node, input: usize) -> Result<Operand, String> {
        match self.found[node.inputs[input].index()] {
            Found::Seen(operand) | Found::Rectified(operand) => Ok(operand),
            Found::Nothing => Err(format!("`{}` reads the loss", node.op.word())),
        }
    }

    /// What a node reads, as a map: a vector becomes one of a single position.
    fn map(&mut self, node: &Node, input: usize) -> Result<Operand, String> {
        let x = self.operand(node, input)?;
        if matches!(x.layout, Layout::Map(_)) {
            return Ok(x);
        }
        let y = self.value(Layout::Map(x.layout.map_shape()));
        Ok(self.push(Unflatten::new(x, y), y))
    }

    /// What a node reads, as a vector.
    fn vector(&mut self, node: &Node, input: usize) -> Result<Operand, String> {
        let x = self.operand(node, input)?;
        if matches!(x.layout, Layout::Vector(_)) {
            return Ok(x);
        }
        // Row-major features are in the same order flattened or not.
        let y = self.value(Layout::Vector(x.layout.features()));
        Ok(self.push(Flatten { x, y }, y))
    }

    /// An operand as a value of its own, for what can only be seen behind a stored one.
    fn stored(&mut self, x: Operand) -> Operand {
        let y = self.value(x.layout);
        self.push(Add::stored(x, y), y)
    }

    /// An operand as it is stored.
    fn as_stored(&mut self, x: Operand) -> Operand {
        if x.is_plain() { x } else { self.stored(x) }
    }

    /// A function of an operand.
    fn activation(&mut self, function: Function, x: Operand) -> Operand {
        let x = self.as_stored(x);
        let y = self.value(x.layout);
        self.push(Activation { function, x, y }, y)
    }

    /// The one reader of a node.
    fn only_reader(&self, id: NodeId) -> Option<(NodeId, &Node)> {
        match self.readers[id.index()][..] {
            [reader] => Some((reader, self.graph.node(reader))),
            _ => None,
        }
    }

    fn node(&mut self, id: NodeId, node: &Node) -> Result<Found, String> {
        let training = self.purpose == Purpose::Training;
        Ok(Found::Seen(match node.op {
            Op::Input { ref shape } => self.input(id, shape)?,
            Op::Flatten => self.vector(node, 0)?,
            Op::Linear { features, bias, .. } => return self.linear(id, node, features, bias),
            Op::Relu => match self.found[node.inputs[0].index()] {
                Found::Rectified(operand) => return Ok(Found::Rectified(operand)),
                _ => self.relu(node)?,
            },
            Op::Conv2d { bias, .. } => {
                let x = self.map(node, 0)?;
                let shape = conv_shape(self.graph, node).ok_or("it reads no map")?;
                shape.check().map_err(|e| e.to_string())?;
                let residual = self.residual(id);
                let y = self.value(Layout::Map(shape.output()));
                if residual.is_some() {
                    self.with_residual.push(y.buffer);
                }
                let parameters = (node.parameters[0].index(), bias.then(|| node.parameters[1].index()));
                self.push(Conv::new(parameters, shape, x, residual, y), y)
            }
            Op::BatchNorm { .. } => {
                let x = self.map(node, 0)?;
                let x = self.as_stored(x);
                self.norms += 1;
                Operand { view: View { norm: Some(self.norms - 1), ..x.view }, ..x }
            }
            Op::Dropout { probability } if !training || probability == 0.0 => self.operand(node, 0)?,
            Op::Dropout { probability } => {
                let x = self.map(node, 0)?;
                let x = if x.view.dropout.is_none() { x } else { self.stored(x) };
                let (name, shape) = (node.name.clone(), x.layout.map_shape());
                self.dropouts.push(Dropout { name, shape, probability });
                Operand { view: View { dropout: Some(self.dropouts.len() - 1), ..x.view }, ..x }
            }
            Op::Add => {
                let (a, b) = (self.map(node, 0)?, self.map(node, 1)?);
                // One side may be a convolution that has added the other already.
                if let Some(done) = self.added(node) {
                    return Ok(Found::Seen(done));
                }
                let y = self.value(a.layout);
                self.push(Add::sum(a, b, y), y)
            }
            Op::Sigmoid => {
                let x = self.operand(node, 0)?;
                self.activation(Function::Sigmoid, x)
            }
            Op::LeakyRelu { slope } => {
                let x = self.operand(node, 0)?;
                self.activation(Function::LeakyRelu { slope }, x)
            }
            Op::Multiply => {
                let (a, b) = (self.operand(node, 0)?, self.operand(node, 1)?);
                // Of the same shape, but one may have been flattened from what the other is not.
                let (a, b) = match a.layout == b.layout {
                    true => (a, b),
                    false => (self.map(node, 0)?, self.map(node, 1)?),
                };
                let factors = [self.as_stored(a), self.as_stored(b)];
                let y = self.value(a.layout);
                self.push(Multiply { factors, y }, y)
            }
            Op::MaxPool { kernel, stride, padding } => {
                self.pool(node, PoolKind::Max, kernel, stride, padding)?
            }
            Op::AvgPool { kernel, stride, padding } => {
                self.pool(node, PoolKind::Average, kernel, stride, padding)?
            }
            Op::GlobalAvgPool => {
                let x = self.map(node, 0)?;
                let y = self.value(Layout::Vector(x.layout.map_shape().channels));
                self.push(GlobalPool { x, y }, y)
            }
            Op::CrossEntropy { classes, label_smoothing } => {
                let logits = self.vector(node, 0)?;
                if logits.source == Source::Batch {
                    return Err("the loss reads the input itself".into());
                }
                let gradient = training.then(|| self.buffers.add(logits.layout));
                let smoothing = label_smoothing;
                self.passes.push(Box::new(CrossEntropy { classes, smoothing, logits, gradient }));
                self.logits = Some(logits);
                return Ok(Found::Nothing);
            }
        }))
    }

    fn linear(&mut self, id: NodeId, node: &Node, features: usize, bias: bool) -> Result<Found, String> {
        let gated = matches!(self.found[node.inputs[0].index()], Found::Rectified(_));
        let x = self.vector(node, 0)?;
        let y = self.value(Layout::Vector(features));
        let relu = self.fuses_relu(id);
        let (weight, bias) = (node.parameters[0].index(), bias.then(|| node.parameters[1].index()));
        let y = self.push(Linear { weight, bias, relu, gated, x, y }, y);
        Ok(if relu { Found::Rectified(y) } else { Found::Seen(y) })
    }

    fn relu(&mut self, node: &Node) -> Result<Operand, String> {
        let x = self.operand(node, 0)?;
        if matches!(x.layout, Layout::Vector(_)) {
            return Ok(self.activation(Function::Relu, x));
        }
        let behind = x.view.dropout.is_some() && !x.view.relu;
        let x = if behind { self.stored(x) } else { x };
        Ok(Operand { view: View { relu: true, ..x.view }, ..x })
    }

    /// Samples enter as maps if anything reads them as such.
    fn input(&mut self, id: NodeId, shape: &[usize]) -> Result<Operand, String> {
        if self.graph.inputs().count() > 1 {
            return Err("networks with several inputs cannot be trained yet".into());
        }
        let flattened = self.readers[id.index()].iter().all(|&reader| {
            matches!(self.graph.node(reader).op, Op::Flatten | Op::Linear { .. } | Op::CrossEntropy { .. })
        });
        self.input = match *shape {
            [channels, rows, columns] if !flattened => {
                Layout::Map(rigl_kernels::map::MapShape { channels, rows, columns })
            }
            _ => Layout::Vector(shape.iter().product()),
        };
        Ok(Operand::plain(Source::Batch, self.input))
    }

    fn pool(
        &mut self,
        node: &Node,
        kind: PoolKind,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Operand, String> {
        let x = self.map(node, 0)?;
        let rigl_kernels::map::MapShape { channels, rows, columns } = x.layout.map_shape();
        let shape = PoolShape { channels, rows, columns, kernel, stride, padding };
        shape.check().map_err(|e| e.to_string())?;
        let y = self.value(Layout::Map(shape.output()));
        Ok(self.push(Pool { kind, shape, x, y }, y))
    }

    /// Whether a linear layer does the ReLU behind it: the layer behind that one then applies its derivative.
    fn fuses_relu(&self, id: NodeId) -> bool {
        let Some((relu, node)) = self.only_reader(id) else { return false };
        node.op == Op::Relu
            && matches!(self.only_reader(relu), Some((_, next)) if matches!(next.op, Op::Linear { .. }))
    }

    /// What a convolution adds to its result: the other side of an addition that alone reads it, if that is there
    /// by now.
    fn residual(&self, id: NodeId) -> Option<Operand> {
        let (_, add) = self.only_reader(id).filter(|(_, reader)| reader.op == Op::Add)?;
        let other = *add.inputs.iter().find(|&&input| input != id)?;
        match self.found.get(other.index())? {
            Found::Seen(operand) if matches!(operand.layout, Layout::Map(_)) => Some(*operand),
            _ => None,
        }
    }

    /// The result of the convolution that has done this addition already.
    fn added(&self, node: &Node) -> Option<Operand> {
        let later = *node.inputs.iter().max_by_key(|input| input.index())?;
        let Found::Seen(operand) = self.found[later.index()] else { return None };
        let Source::Buffer(buffer) = operand.source else { return None };
        let is_conv = matches!(self.graph.node(later).op, Op::Conv2d { .. });
        (is_conv && self.with_residual.contains(&buffer)).then_some(operand)
    }

    /// Tells the passes which norms take their statistics from them; values that none can measure get a pass of their
    /// own.
    fn measure(&mut self) {
        if self.purpose == Purpose::Evaluation {
            return;
        }
        let mut measured: Vec<(Operand, Vec<usize>)> = Vec::new();
        for found in &self.found {
            let Found::Seen(operand) = *found else { continue };
            let Some(norm) = operand.view.norm else { continue };
            let plain = Operand { view: View::PLAIN, ..operand };
            match measured.iter_mut().find(|(of, _)| *of == plain) {
                Some((_, norms)) if norms.contains(&norm) => {}
                Some((_, norms)) => norms.push(norm),
                None => measured.push((plain, vec![norm])),
            }
        }
        for (operand, norms) in measured {
            let made = |value: Value| value.operand() == operand;
            let maker = self.passes.iter().position(|pass| pass.output().is_some_and(made));
            if maker.is_some_and(|maker| self.passes[maker].measure(&norms)) {
                continue;
            }
            let at = maker.map_or(0, |maker| maker + 1);
            self.passes.insert(at, Box::new(Add::statistics(operand, norms)));
        }
    }
}
