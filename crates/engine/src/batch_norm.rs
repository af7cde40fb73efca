//! The batch norms of a network: what is trained lies with the parameters, what is carried along lies here.

use rigl_base::Result;
use rigl_graph::{Graph, Op};
use rigl_kernels::map::norm;
use rigl_kernels::map::{Affine, NormGradient};

use crate::parameter::Parameter;
use crate::request::kernel;

/// A batch norm.
#[derive(Debug)]
pub(crate) struct BatchNorm {
    /// γ and β, by number among the parameters.
    gamma: usize,
    beta: usize,
    epsilon: f32,
    momentum: f32,
    /// Positions over which a sample is averaged.
    positions: usize,
    pub(crate) running_mean: Buffer,
    pub(crate) running_variance: Buffer,
    /// Of the batch, or in evaluation the running ones.
    mean: Vec<f32>,
    variance: Vec<f32>,
    scale: Vec<f32>,
    /// Of the backward pass.
    slope: Vec<f32>,
    shift: Vec<f32>,
}

/// Numbers that training carries along and that are saved with the weights.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) name: String,
    pub(crate) values: Vec<f32>,
}

impl BatchNorm {
    /// The norms of a network in the order of the graph, before training.
    pub(crate) fn all(graph: &Graph) -> Vec<BatchNorm> {
        let norm = |node: &rigl_graph::Node| {
            let Op::BatchNorm { epsilon, momentum, .. } = node.op else { return None };
            let (&[gamma, beta], &[mean, variance]) = (&node.parameters[..], &node.buffers[..]) else {
                return None;
            };
            let channels = node.shape.first().copied()?;
            let buffer = |id| {
                let of = graph.buffer(id);
                Buffer { name: of.name.clone(), values: vec![of.initial; channels] }
            };
            let zeros = || vec![0.0; channels];
            Some(BatchNorm {
                gamma: gamma.index(),
                beta: beta.index(),
                epsilon,
                momentum,
                positions: node.shape[1..].iter().product(),
                running_mean: buffer(mean),
                running_variance: buffer(variance),
                mean: zeros(),
                variance: zeros(),
                scale: zeros(),
                slope: zeros(),
                shift: zeros(),
            })
        };
        graph.nodes().iter().filter_map(norm).collect()
    }

    /// Its channels.
    pub(crate) fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Takes the statistics of a batch from sums that were shifted by `shift`, and moves the running ones.
    pub(crate) fn measured(
        &mut self,
        sums: &[f64],
        shift: &[f32],
        samples: usize,
        parameters: &[Parameter],
    ) -> Result<()> {
        let count = samples * self.positions;
        let gamma = &parameters[self.gamma].values;
        let mut update = || {
            norm::moments(sums, shift, count, &mut self.mean, &mut self.variance)?;
            norm::scale(gamma, &self.variance, self.epsilon, &mut self.scale)?;
            norm::run_on(
                self.momentum,
                count,
                &self.mean,
                &self.variance,
                &mut self.running_mean.values,
                &mut self.running_variance.values,
            )
        };
        update().map_err(kernel)
    }

    /// Whether the running statistics are finite: they are not, if those of a batch were not.
    pub(crate) fn runs_on_finite(&self) -> bool {
        [&self.running_mean, &self.running_variance].iter().all(|of| of.values.iter().all(|x| x.is_finite()))
    }

    /// Takes the running statistics, for evaluation.
    pub(crate) fn settle(&mut self, parameters: &[Parameter]) -> Result<()> {
        self.mean.copy_from_slice(&self.running_mean.values);
        self.variance.copy_from_slice(&self.running_variance.values);
        norm::scale(&parameters[self.gamma].values, &self.variance, self.epsilon, &mut self.scale)
            .map_err(kernel)
    }

    /// Takes the sums of its gradient, and leaves the gradients of γ and β.
    pub(crate) fn finish(
        &mut self,
        sums: &[f64],
        samples: usize,
        accumulate: bool,
        parameters: &mut [Parameter],
    ) -> Result<()> {
        let mut gamma = std::mem::take(&mut parameters[self.gamma].gradient);
        let beta = &mut parameters[self.beta].gradient;
        let out = norm::Gradients {
            slope: &mut self.slope,
            shift: &mut self.shift,
            gamma: &mut gamma,
            beta,
            accumulate,
        };
        let count = samples * self.positions;
        let result = norm::backward(sums, count, &self.scale, &self.variance, self.epsilon, out);
        parameters[self.gamma].gradient = gamma;
        result.map_err(kernel)
    }

    /// What it does to values.
    pub(crate) fn affine<'a>(&'a self, parameters: &'a [Parameter]) -> Affine<'a> {
        Affine { mean: &self.mean, scale: &self.scale, offset: &parameters[self.beta].values }
    }

    /// What it does to the gradient `dz` of its result, of the map `x`.
    pub(crate) fn gradient<'a>(&'a self, dz: &'a [f32], x: &'a [f32]) -> NormGradient<'a> {
        NormGradient { dz, x, mean: &self.mean, scale: &self.scale, slope: &self.slope, shift: &self.shift }
    }
}
