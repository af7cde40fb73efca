//! Linear layers, with the ReLU behind one if another linear layer is all that reads it.

use rigl_base::{Error, Result};
use rigl_kernels::linear::{self, Epilogue, LinearShape};
use rigl_kernels::vector::layout;

use super::{Pass, Reread};
use crate::parameter::Parameter;
use crate::request::kernel;
use crate::run::{Collect, Lent, Run, stored};
use crate::storage::{Storage, Stream};
use crate::value::{Back, BufferId, Operand, Value};

/// y = W·x + b, then a ReLU if it is fused.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
    /// Whether the ReLU behind it is applied to the result.
    pub(crate) relu: bool,
    /// Whether what it reads is the result of a ReLU that was applied so: its gradient then passes through that here.
    pub(crate) gated: bool,
    pub(crate) x: Operand,
    pub(crate) y: Value,
}

impl Linear {
    fn shape(&self, samples: usize) -> LinearShape {
        let (outputs, inputs) = (self.y.layout.features(), self.x.layout.features());
        LinearShape { outputs, inputs, groups: layout::groups(samples) }
    }
}

impl Pass for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn operands(&self) -> &[Operand] {
        std::slice::from_ref(&self.x)
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

    fn forward(&self, run: &mut Run<'_>) -> Result<()> {
        let samples = run.samples();
        let shape = self.shape(samples);
        let reads = [run.buffers.source(self.x.source, samples)];
        let writes = [run.buffers.range(self.y.buffer, samples)];
        let Lent { reads: [x], writes: [y], views, machine, .. } = run.lend(reads, writes)?;
        let x = stored(self.x.source, x, views.batch);
        let bias = self.bias.map(|b| views.parameters[b].values.as_slice());
        let epilogue = if self.relu { Epilogue::Relu } else { Epilogue::None };
        let p = &views.parameters[self.weight];
        match &p.storage {
            Storage::Sparse { stream: Stream::Linear(stream), .. } => {
                linear::sparse::forward(machine, stream, &p.values, bias, x, y, shape.groups, epilogue)
            }
            Storage::Sparse { .. } => return Err(wrong_storage(p)),
            Storage::Dense | Storage::Masked { .. } => {
                linear::dense::forward(machine, shape, &p.values, bias, x, y, epilogue)
            }
        }
        .map_err(kernel)
    }

    fn backward(&self, run: &mut Run<'_>, back: &Back) -> Result<()> {
        let Some(dy) = back.gradient.direct else { return Ok(()) };
        // What is written beside the arena is taken out of the run meanwhile.
        let mut of_weight = std::mem::take(&mut run.parameters[self.weight].gradient);
        let mut of_bias = self.bias.map(|bias| std::mem::take(&mut run.parameters[bias].gradient));
        let mut dense = std::mem::take(&mut run.parameters[self.weight].dense);
        let result = self.parameter_gradients(run, dy, &mut of_weight, of_bias.as_deref_mut(), &mut dense);
        run.parameters[self.weight].gradient = of_weight;
        run.parameters[self.weight].dense = dense;
        if let (Some(bias), Some(of_bias)) = (self.bias, of_bias) {
            run.parameters[bias].gradient = of_bias;
        }
        result?;
        run.lap(|times| &mut times.weights);
        let Some(&Some(target)) = back.targets.first() else { return Ok(()) };
        let samples = run.samples();
        let shape = self.shape(samples);
        let reads = [run.buffers.source(self.x.source, samples), run.buffers.range(dy, samples)];
        let writes = [run.buffers.range(target.out, samples)];
        let Lent { reads: [x, dy], writes: [dx], views, machine, .. } = run.lend(reads, writes)?;
        let epilogue = if self.gated { Epilogue::Gate(x) } else { Epilogue::None };
        let (p, accumulate) = (&views.parameters[self.weight], target.accumulate);
        match &p.storage {
            Storage::Dense | Storage::Masked { .. } => {
                linear::dense::backward_data(machine, shape, &p.values, dy, dx, epilogue, accumulate)
            }
            Storage::Sparse { stream: Stream::Linear(stream), .. } => {
                let (values, groups) = (&p.values, shape.groups);
                linear::sparse::backward_data(machine, stream, values, dy, dx, groups, epilogue, accumulate)
            }
            Storage::Sparse { .. } => return Err(wrong_storage(p)),
        }
        .map_err(kernel)
    }
}

impl Linear {
    /// The gradients of weight and bias, and the growth candidates among the dense gradient if they are asked for.
    fn parameter_gradients(
        &self,
        run: &mut Run<'_>,
        dy: BufferId,
        of_weight: &mut [f32],
        of_bias: Option<&mut [f32]>,
        dense: &mut Vec<f32>,
    ) -> Result<()> {
        let (samples, part) = (run.samples(), run.part()?);
        let (first, last) = (part.first, part.last);
        let shape = self.shape(samples);
        let collect = run.collects.get(self.weight).and_then(Option::as_ref);
        let reads = [run.buffers.source(self.x.source, samples), run.buffers.range(dy, samples)];
        let Lent { reads: [x, dy], views, machine, .. } = run.lend(reads, [])?;
        let x = stored(self.x.source, x, views.batch);
        if let Some(of_bias) = of_bias {
            linear::dense::bias_gradient(machine, shape.outputs, shape.groups, dy, of_bias, !first)
                .map_err(kernel)?;
        }
        let push = |worker: usize, first: u32, tile: &[f32], active: &[u32]| {
            if let Some(Collect::Best(collectors)) = collect {
                collectors.push(worker, first, tile, active);
            }
        };
        let p = &views.parameters[self.weight];
        match &p.storage {
            Storage::Dense | Storage::Masked { .. } => {
                linear::dense::gradient(machine, shape, x, dy, of_weight, !first).map_err(kernel)?;
                match (collect, &p.storage) {
                    (Some(Collect::All), _) if last => {
                        dense.clear();
                        dense.extend_from_slice(of_weight);
                    }
                    (_, Storage::Masked { pattern, .. }) if last => push(0, 0, of_weight, pattern.indices()),
                    _ => {}
                }
            }
            Storage::Sparse { stream: Stream::Conv(_), .. } => return Err(wrong_storage(p)),
            Storage::Sparse { pattern, stream: Stream::Linear(stream) } => {
                linear::sparse::gradient(machine, stream, x, dy, of_weight, shape.groups, !first)
                    .map_err(kernel)?;
                if matches!(collect, Some(Collect::Best(_))) && first && last {
                    // One micro-batch: the dense gradient is scored tile by tile and never stored.
                    let push = |worker: usize, first: u32, tile: &[f32]| {
                        push(worker, first, tile, pattern.indices());
                    };
                    linear::dense::growth(machine, shape, x, dy, &push).map_err(kernel)?;
                } else if collect.is_some() {
                    dense.resize(shape.outputs * shape.inputs, 0.0);
                    linear::dense::gradient(machine, shape, x, dy, dense, !first).map_err(kernel)?;
                    if last && matches!(collect, Some(Collect::Best(_))) {
                        push(0, 0, dense, pattern.indices());
                        *dense = Vec::new();
                    }
                }
            }
        }
        Ok(())
    }
}

fn wrong_storage(p: &Parameter) -> Error {
    Error::internal(format!("parameter `{}` is stored for another kind of layer", p.name()))
}
