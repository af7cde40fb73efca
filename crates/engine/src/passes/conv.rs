//! Convolutions, with the addition behind one if it is the only reader.

use rigl_base::{Error, Result};
use rigl_graph::{Graph, Node, Op};
use rigl_kernels::conv::{Backward, ConvShape, Forward, WeightGradient};
use rigl_kernels::map::{DataGradient, passes};
use rigl_kernels::{Machine, WorkspaceSize};

use super::{Pass, Purpose, Reread};
use crate::parameter::Parameter;
use crate::request::kernel;
use crate::run::{Collect, Collectors, Lent, Run, statistics};
use crate::storage::{DenseConv, Form, Storage, Stream};
use crate::value::{Back, Operand, Target, Value};

/// The convolution of a node.
pub(crate) fn conv_shape(graph: &Graph, node: &Node) -> Option<ConvShape> {
    let Op::Conv2d { channels, kernel, stride, padding, groups, .. } = node.op else { return None };
    let &[inputs, rows, columns] = graph.input_shapes(node).first().copied()? else { return None };
    Some(ConvShape { inputs, rows, columns, outputs: channels, kernel, stride, padding, groups })
}

/// y = W ∗ x + b (+ residual), with the statistics of y for the norms that read it.
#[derive(Debug)]
pub(crate) struct Conv {
    weight: usize,
    bias: Option<usize>,
    shape: ConvShape,
    /// x, then the residual if there is one.
    operands: Vec<Operand>,
    y: Value,
    norms: Vec<usize>,
}

impl Conv {
    /// A convolution by the parameters of these numbers.
    pub(crate) fn new(
        (weight, bias): (usize, Option<usize>),
        shape: ConvShape,
        x: Operand,
        residual: Option<Operand>,
        y: Value,
    ) -> Conv {
        let operands = std::iter::once(x).chain(residual).collect();
        Conv { weight, bias, shape, operands, y, norms: Vec::new() }
    }

    fn x(&self) -> Operand {
        self.operands[0]
    }

    fn residual(&self) -> Option<Operand> {
        self.operands.get(1).copied()
    }
}

impl Pass for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn operands(&self) -> &[Operand] {
        &self.operands
    }

    fn output(&self) -> Option<Value> {
        Some(self.y)
    }

    fn weight(&self) -> Option<usize> {
        Some(self.weight)
    }

    fn rereads(&self) -> &'static [Reread] {
        &[Reread::Operand(0)]
    }

    fn hands_on(&self, operand: usize) -> bool {
        operand == 1
    }

    fn measure(&mut self, norms: &[usize]) -> bool {
        self.norms = norms.to_vec();
        true
    }

    #[cfg(test)]
    fn measures(&self) -> &[usize] {
        &self.norms
    }

    fn workspace(&self, samples: usize, purpose: Purpose) -> WorkspaceSize {
        let (shape, n) = (&self.shape, self.shape.weight_len());
        let forward = Forward::workspace(shape, n, samples);
        match purpose {
            Purpose::Evaluation => forward,
            Purpose::Training => forward
                .max(Backward::workspace(shape, n, n, samples))
                .max(passes::workspace(shape.output(), samples)),
        }
    }

    fn forward(&self, run: &mut Run<'_>) -> Result<()> {
        let samples = run.samples();
        let channels = run.shift(&self.norms);
        let reads = [
            run.buffers.source(self.x().source, samples),
            self.residual().map_or(0..0, |r| run.buffers.source(r.source, samples)),
        ];
        let writes = [run.buffers.range(self.y.buffer, samples)];
        let Lent { reads: [x, r], writes: [y], views, sums, shift, machine, workspace } =
            run.lend(reads, writes)?;
        Forward {
            weights: views.parameters[self.weight].conv_weights()?,
            bias: self.bias.map(|bias| views.parameters[bias].values.as_slice()),
            x: views.of(self.x(), x),
            residual: self.residual().map(|residual| views.of(residual, r)),
            y,
            statistics: statistics(shift, sums, channels),
            samples,
        }
        .run(machine, workspace)
        .map_err(kernel)?;
        run.measured(&self.norms, channels)
    }

    fn backward(&self, run: &mut Run<'_>, back: &Back) -> Result<()> {
        let part = run.part()?;
        let (first, last) = (part.first, part.last);
        // The gradient may be read where it is for the side that is no convolution.
        if let (Some(residual), Some(&Some(target))) = (self.residual(), back.targets.get(1)) {
            run.route(back.gradient, residual, target)?;
        }
        let data = back.targets.first().copied().flatten();
        // What is written beside the arena is taken out of the run meanwhile.
        let mut taken = Taken {
            weight: std::mem::take(&mut run.parameters[self.weight].gradient),
            bias: self.bias.map(|bias| std::mem::take(&mut run.parameters[bias].gradient)),
            dense: std::mem::take(&mut run.parameters[self.weight].dense),
        };
        let result = self.gradients(run, back, data, first, last, &mut taken);
        run.parameters[self.weight].gradient = taken.weight;
        run.parameters[self.weight].dense = taken.dense;
        if let (Some(bias), Some(gradient)) = (self.bias, taken.bias) {
            run.parameters[bias].gradient = gradient;
        }
        result?;
        run.finish(data)
    }
}

/// Gradients of parameters.
struct Taken {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    /// The whole gradient of a weight of which some is active, where it is wanted.
    dense: Vec<f32>,
}

/// Which halves of a backward pass are run.
#[derive(Clone, Copy, PartialEq)]
enum Half {
    Both,
    Weights,
    Data,
}

impl Conv {
    /// All gradients, and what is wanted of the dense one.
    fn gradients(
        &self,
        run: &mut Run<'_>,
        back: &Back,
        data: Option<Target>,
        first: bool,
        last: bool,
        taken: &mut Taken,
    ) -> Result<()> {
        if run.stopwatch.is_none() {
            self.half(run, back, data, first, Half::Both, taken)?;
        } else {
            // One half after the other, so that each has its time.
            if data.is_some() {
                run.lap(|times| &mut times.data);
            }
            self.half(run, back, data, first, Half::Weights, taken)?;
            run.lap(|times| &mut times.weights);
            if data.is_some() {
                self.half(run, back, data, first, Half::Data, taken)?;
            }
        }
        let collect = run.collects.get(self.weight).and_then(Option::as_ref);
        let p = &run.parameters[self.weight];
        match (collect, p.pattern()) {
            (Some(Collect::Best(collectors)), Some(pattern)) if last => {
                let scores: &[f32] = if taken.dense.is_empty() { &taken.weight } else { &taken.dense };
                push(run.machine, collectors, scores, pattern.indices())?;
                taken.dense = Vec::new();
            }
            // A gradient that is dense anyway holds those of inactive positions until the step.
            (Some(Collect::All), _) if last && taken.weight.len() == p.len() => {
                taken.dense.clear();
                taken.dense.extend_from_slice(&taken.weight);
            }
            _ => {}
        }
        Ok(())
    }

    /// The kernel.
    fn half(
        &self,
        run: &mut Run<'_>,
        back: &Back,
        data: Option<Target>,
        first: bool,
        half: Half,
        taken: &mut Taken,
    ) -> Result<()> {
        let samples = run.samples();
        let (weights, data) = (half != Half::Data, data.filter(|_| half != Half::Weights));
        let store = back.store.filter(|_| weights);
        let [direct, dz, map] = run.gradient_ranges(back.gradient);
        let reads = [run.buffers.source(self.x().source, samples), direct, dz, map];
        let out = data.map(|target| target.out);
        let writes = [run.buffers.optional(store, samples), run.buffers.optional(out, samples)];
        let collecting = run.collects.get(self.weight).is_some_and(Option::is_some);
        let Lent { reads: [x, direct, dz, map], writes: [kept, dx], views, sums, machine, workspace, .. } =
            run.lend(reads, writes)?;
        let p = &views.parameters[self.weight];
        // Where positions are to grow, the whole gradient is computed, and that of the active ones is read from it.
        let grows = collecting && weights && matches!(p.storage, Storage::Sparse { .. });
        if grows {
            taken.dense.resize(p.len(), 0.0);
        }
        let weight = match weights {
            true => weight_gradient(p, grows, &mut taken.weight, &mut taken.dense)?,
            false => WeightGradient::None,
        };
        Backward {
            weights: p.conv_weights()?,
            x: views.of(self.x(), x),
            gradient: views.gradient(back.gradient, [direct, dz, map]),
            keep: store.map(|_| kept),
            weight,
            bias: taken.bias.as_deref_mut().filter(|_| weights),
            accumulate: !first,
            data: data.map(|target| DataGradient {
                out: dx,
                accumulate: target.accumulate,
                sums: views.sums(target, sums),
            }),
            samples,
        }
        .run(machine, workspace)
        .map_err(kernel)?;
        if let (true, Some(pattern)) = (grows, p.pattern()) {
            let active = taken.weight.iter_mut().zip(pattern.indices());
            active.for_each(|(g, &i)| *g = taken.dense[i as usize]);
        }
        Ok(())
    }
}

/// How the gradient of a weight is computed, and where it goes.
fn weight_gradient<'a>(
    p: &'a Parameter,
    grows: bool,
    of_weight: &'a mut [f32],
    of_dense: &'a mut [f32],
) -> Result<WeightGradient<'a>> {
    Ok(match (&p.storage, &p.form) {
        (Storage::Sparse { .. }, Form::Conv(_, Some(DenseConv::Taps(taps)))) if grows => {
            WeightGradient::Dense(taps, of_dense)
        }
        (Storage::Sparse { .. }, Form::Conv(_, Some(DenseConv::Full(stream)))) if grows => {
            WeightGradient::Sparse(stream, of_dense)
        }
        (Storage::Sparse { stream: Stream::Conv(stream), .. }, _) => {
            WeightGradient::Sparse(stream, of_weight)
        }
        (_, Form::Conv(_, Some(DenseConv::Taps(taps)))) => WeightGradient::Dense(taps, of_weight),
        (_, Form::Conv(_, Some(DenseConv::Full(stream)))) => WeightGradient::Sparse(stream, of_weight),
        _ => return Err(Error::internal(format!("parameter `{}` is of no convolution", p.name()))),
    })
}

/// Numbers of a dense gradient that one task scores.
const SCORED: usize = 1 << 14;

/// Pushes a dense gradient to the selection, piece by piece.
fn push(machine: &Machine, collectors: &Collectors, scores: &[f32], active: &[u32]) -> Result<()> {
    let score = |worker: usize, piece: usize| {
        let first = piece * SCORED;
        let piece = &scores[first..scores.len().min(first + SCORED)];
        collectors.push(worker, first as u32, piece, active);
    };
    machine.pool.run(scores.len().div_ceil(SCORED), &score).map_err(kernel)
}
