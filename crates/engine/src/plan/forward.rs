//! From a graph to the passes of its forward half: what is computed in passing, what is stored.

use rigl_base::{Error, Result};
use rigl_graph::{Graph, Node, NodeId, Op};
use rigl_kernels::conv::ConvShape;
use rigl_kernels::map::MapShape;
use rigl_kernels::pool::PoolShape;

use super::{BufferId, DropoutOf, Form, Pass, PoolKind, Purpose, Source, ViewOf, one_position};
use crate::batch::InputLayout;

/// What this step of compilation makes.
pub(super) struct Forward {
    pub(super) passes: Vec<Pass>,
    pub(super) forms: Vec<Form>,
    pub(super) dropouts: Vec<DropoutOf>,
    pub(super) input: InputLayout,
}

/// The value of a node, as its readers find it.
#[derive(Clone, Copy, Debug)]
enum Value {
    /// A vector of so many features; the batch itself or a buffer.
    Vector(usize, Source),
    /// A map.
    Map(MapShape, ViewOf),
    /// The loss.
    Nothing,
}

/// The convolution of a node.
pub(crate) fn conv_shape(graph: &Graph, node: &Node) -> Option<ConvShape> {
    let Op::Conv2d { channels, kernel, stride, padding, groups, .. } = node.op else { return None };
    let &[inputs, rows, columns] = graph.input_shapes(node).first().copied()? else { return None };
    Some(ConvShape { inputs, rows, columns, outputs: channels, kernel, stride, padding, groups })
}

/// Compiles the forward half.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage), naming the node that this engine cannot run.
pub(super) fn passes(graph: &Graph, purpose: Purpose) -> Result<Forward> {
    let mut compiler = Compiler {
        graph,
        purpose,
        readers: vec![Vec::new(); graph.nodes().len()],
        values: Vec::with_capacity(graph.nodes().len()),
        forward: Forward {
            passes: Vec::new(),
            forms: Vec::new(),
            dropouts: Vec::new(),
            input: InputLayout::Vector { features: 0 },
        },
        norms: 0,
    };
    for (id, node) in graph.iter() {
        for input in &node.inputs {
            compiler.readers[input.index()].push(id);
        }
    }
    for (id, node) in graph.iter() {
        let value = compiler.node(id, node).map_err(|why| {
            Error::usage(format!("network `{}`, node `{}`: {why}", graph.name(), node.name))
        })?;
        compiler.values.push(value);
    }
    compiler.measure();
    Ok(compiler.forward)
}

struct Compiler<'g> {
    graph: &'g Graph,
    purpose: Purpose,
    /// The readers of each node.
    readers: Vec<Vec<NodeId>>,
    values: Vec<Value>,
    forward: Forward,
    /// Norms met so far; they are numbered in the order of the graph.
    norms: usize,
}

impl Compiler<'_> {
    fn buffer(&mut self, form: Form) -> BufferId {
        self.forward.forms.push(form);
        BufferId(self.forward.forms.len() - 1)
    }

    fn value(&self, node: &Node, input: usize) -> Value {
        self.values[node.inputs[input].index()]
    }

    /// What a node reads, as a map: a vector becomes one of a single position.
    fn map(&mut self, node: &Node, input: usize) -> Result<(MapShape, ViewOf), String> {
        match self.value(node, input) {
            Value::Map(shape, view) => Ok((shape, view)),
            Value::Vector(features, x) => {
                let shape = one_position(features);
                let y = self.buffer(Form::Map(shape));
                self.forward.passes.push(Pass::Unflatten { features, x, y, norms: Vec::new() });
                Ok((shape, ViewOf::plain(Source::Buffer(y))))
            }
            Value::Nothing => Err(format!("`{}` reads the loss", node.op.word())),
        }
    }

    /// What a node reads, as a vector.
    fn vector(&mut self, node: &Node, input: usize) -> Result<(usize, Source), String> {
        match self.value(node, input) {
            Value::Vector(features, source) => Ok((features, source)),
            Value::Map(shape, view) => Ok(self.flat(shape, view)),
            Value::Nothing => Err(format!("`{}` reads the loss", node.op.word())),
        }
    }

    /// A map as a vector.
    fn flat(&mut self, shape: MapShape, x: ViewOf) -> (usize, Source) {
        let features = shape.channels * shape.rows * shape.columns;
        let y = self.buffer(Form::Vector(features));
        self.forward.passes.push(Pass::Flatten { shape, x, y });
        (features, Source::Buffer(y))
    }

    /// The one reader of a node.
    fn only_reader(&self, id: NodeId) -> Option<(NodeId, &Node)> {
        match self.readers[id.index()][..] {
            [reader] => Some((reader, self.graph.node(reader))),
            _ => None,
        }
    }

    fn node(&mut self, id: NodeId, node: &Node) -> Result<Value, String> {
        let training = self.purpose == Purpose::Training;
        Ok(match node.op {
            Op::Input { ref shape } => self.input(id, shape)?,
            Op::Flatten => match self.value(node, 0) {
                Value::Map(shape, x) => {
                    let (features, y) = self.flat(shape, x);
                    Value::Vector(features, y)
                }
                // Row-major features are in the same order flattened or not.
                value => value,
            },
            Op::Linear { features, bias, .. } => {
                let (inputs, x) = self.vector(node, 0)?;
                let y = self.buffer(Form::Vector(features));
                self.forward.passes.push(Pass::Linear {
                    weight: node.parameters[0].index(),
                    bias: bias.then(|| node.parameters[1].index()),
                    inputs,
                    outputs: features,
                    relu: self.fuses_relu(id),
                    x,
                    y,
                });
                Value::Vector(features, Source::Buffer(y))
            }
            Op::Relu => match self.value(node, 0) {
                Value::Map(_, view) if view.relu => self.value(node, 0),
                Value::Map(shape, view) if view.dropout.is_none() => {
                    Value::Map(shape, ViewOf { relu: true, ..view })
                }
                Value::Map(shape, view) => {
                    let view = self.stored(shape, view);
                    Value::Map(shape, ViewOf { relu: true, ..view })
                }
                Value::Vector(features, x) => {
                    // The linear layer before it has done it already.
                    let fused = matches!(
                        (x, self.forward.passes.last()),
                        (Source::Buffer(x), Some(&Pass::Linear { relu: true, y, .. })) if x == y
                    );
                    if fused {
                        return Ok(Value::Vector(features, x));
                    }
                    let y = self.buffer(Form::Vector(features));
                    self.forward.passes.push(Pass::Relu { features, x, y });
                    Value::Vector(features, Source::Buffer(y))
                }
                Value::Nothing => Value::Nothing,
            },
            Op::Conv2d { bias, .. } => {
                let (_, x) = self.map(node, 0)?;
                let shape = conv_shape(self.graph, node).ok_or("it reads no map")?;
                shape.check().map_err(|e| e.to_string())?;
                let residual = self.residual(id);
                let y = self.buffer(Form::Map(shape.output()));
                self.forward.passes.push(Pass::Conv {
                    weight: node.parameters[0].index(),
                    bias: bias.then(|| node.parameters[1].index()),
                    shape,
                    x,
                    residual,
                    y,
                    norms: Vec::new(),
                });
                Value::Map(shape.output(), ViewOf::plain(Source::Buffer(y)))
            }
            Op::BatchNorm { .. } => {
                let (shape, view) = self.map(node, 0)?;
                let view = if view.is_plain() { view } else { self.stored(shape, view) };
                self.norms += 1;
                Value::Map(shape, ViewOf { norm: Some(self.norms - 1), ..view })
            }
            Op::Dropout { probability } if !training || probability == 0.0 => self.value(node, 0),
            Op::Dropout { probability } => {
                let (shape, view) = self.map(node, 0)?;
                let view = if view.dropout.is_none() { view } else { self.stored(shape, view) };
                let name = node.name.clone();
                self.forward.dropouts.push(DropoutOf { name, shape, probability });
                Value::Map(shape, ViewOf { dropout: Some(self.forward.dropouts.len() - 1), ..view })
            }
            Op::Add => {
                let (shape, a) = self.map(node, 0)?;
                let (_, b) = self.map(node, 1)?;
                // One side may be a convolution that has added the other already.
                if let Some(done) = self.added(node) {
                    return Ok(Value::Map(shape, ViewOf::plain(Source::Buffer(done))));
                }
                let y = self.buffer(Form::Map(shape));
                self.forward.passes.push(Pass::Add { shape, a, b: Some(b), y, norms: Vec::new() });
                Value::Map(shape, ViewOf::plain(Source::Buffer(y)))
            }
            Op::MaxPool { kernel, stride, padding } => {
                self.pool(node, PoolKind::Max, kernel, stride, padding)?
            }
            Op::AvgPool { kernel, stride, padding } => {
                self.pool(node, PoolKind::Average, kernel, stride, padding)?
            }
            Op::GlobalAvgPool => {
                let (shape, x) = self.map(node, 0)?;
                let y = self.buffer(Form::Vector(shape.channels));
                self.forward.passes.push(Pass::GlobalPool { shape, x, y });
                Value::Vector(shape.channels, Source::Buffer(y))
            }
            Op::CrossEntropy { classes, label_smoothing } => {
                let (_, logits) = self.vector(node, 0)?;
                if logits == Source::Batch {
                    return Err("the loss reads the input itself".into());
                }
                let gradient = training.then(|| self.buffer(Form::Vector(classes)));
                let smoothing = label_smoothing;
                self.forward.passes.push(Pass::Loss { classes, smoothing, logits, gradient });
                Value::Nothing
            }
        })
    }

    /// Samples enter as maps if anything reads them as such.
    fn input(&mut self, id: NodeId, shape: &[usize]) -> Result<Value, String> {
        if self.graph.inputs().count() > 1 {
            return Err("networks with several inputs cannot be trained yet".into());
        }
        let flattened = self.readers[id.index()].iter().all(|&reader| {
            matches!(self.graph.node(reader).op, Op::Flatten | Op::Linear { .. } | Op::CrossEntropy { .. })
        });
        match *shape {
            [channels, rows, columns] if !flattened => {
                let shape = MapShape { channels, rows, columns };
                self.forward.input = InputLayout::Map(shape);
                Ok(Value::Map(shape, ViewOf::plain(Source::Batch)))
            }
            _ => {
                let features = shape.iter().product();
                self.forward.input = InputLayout::Vector { features };
                Ok(Value::Vector(features, Source::Batch))
            }
        }
    }

    fn pool(
        &mut self,
        node: &Node,
        kind: PoolKind,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Value, String> {
        let (MapShape { channels, rows, columns }, x) = self.map(node, 0)?;
        let shape = PoolShape { channels, rows, columns, kernel, stride, padding };
        shape.check().map_err(|e| e.to_string())?;
        let y = self.buffer(Form::Map(shape.output()));
        self.forward.passes.push(Pass::Pool { kind, shape, x, y });
        Ok(Value::Map(shape.output(), ViewOf::plain(Source::Buffer(y))))
    }

    /// A view as a map of its own, for what can only be seen behind a stored map.
    fn stored(&mut self, shape: MapShape, view: ViewOf) -> ViewOf {
        let y = self.buffer(Form::Map(shape));
        self.forward.passes.push(Pass::Add { shape, a: view, b: None, y, norms: Vec::new() });
        ViewOf::plain(Source::Buffer(y))
    }

    /// Whether a linear layer does the ReLU behind it: the layer behind that one then applies its derivative.
    fn fuses_relu(&self, id: NodeId) -> bool {
        let Some((relu, node)) = self.only_reader(id) else { return false };
        node.op == Op::Relu
            && matches!(self.only_reader(relu), Some((_, next)) if matches!(next.op, Op::Linear { .. }))
    }

    /// What a convolution adds to its result: the other side of an addition that alone reads it, if that is there
    /// by now.
    fn residual(&self, id: NodeId) -> Option<ViewOf> {
        let (_, add) = self.only_reader(id).filter(|(_, reader)| reader.op == Op::Add)?;
        let other = *add.inputs.iter().find(|&&input| input != id)?;
        match self.values.get(other.index())? {
            Value::Map(_, view) => Some(*view),
            _ => None,
        }
    }

    /// The result of the convolution that has done this addition already.
    fn added(&self, node: &Node) -> Option<BufferId> {
        let later = *node.inputs.iter().max_by_key(|input| input.index())?;
        let Value::Map(_, ViewOf { source: Source::Buffer(buffer), .. }) = self.values[later.index()] else {
            return None;
        };
        let is_conv = matches!(self.graph.node(later).op, Op::Conv2d { .. });
        (is_conv && self.residual_of(buffer)).then_some(buffer)
    }

    fn residual_of(&self, buffer: BufferId) -> bool {
        self.forward
            .passes
            .iter()
            .any(|pass| matches!(pass, Pass::Conv { residual: Some(_), y, .. } if *y == buffer))
    }

    /// Tells the passes which norms take their statistics from them; maps that none can measure get a pass of their
    /// own.
    fn measure(&mut self) {
        if self.purpose == Purpose::Evaluation {
            return;
        }
        let mut readers: Vec<(Source, MapShape, Vec<usize>)> = Vec::new();
        for value in &self.values {
            if let Value::Map(shape, ViewOf { source, norm: Some(norm), .. }) = *value {
                match readers.iter_mut().find(|(of, ..)| *of == source) {
                    Some((.., norms)) if norms.contains(&norm) => {}
                    Some((.., norms)) => norms.push(norm),
                    None => readers.push((source, shape, vec![norm])),
                }
            }
        }
        for (source, shape, of_source) in readers {
            let mut at = 0;
            for (number, pass) in self.forward.passes.iter_mut().enumerate() {
                match pass {
                    Pass::Conv { y, norms, .. }
                    | Pass::Add { y, norms, .. }
                    | Pass::Unflatten { y, norms, .. }
                        if Source::Buffer(*y) == source =>
                    {
                        norms.clone_from(&of_source);
                    }
                    Pass::Pool { y, .. } if Source::Buffer(*y) == source => at = number + 1,
                    _ => continue,
                }
            }
            let measured = self.forward.passes.iter().any(|pass| {
                matches!(
                    pass,
                    Pass::Conv { y, .. } | Pass::Add { y, .. } | Pass::Unflatten { y, .. }
                        if Source::Buffer(*y) == source
                )
            });
            if !measured {
                self.forward.passes.insert(at, Pass::Measure { shape, x: source, norms: of_source });
            }
        }
    }
}
