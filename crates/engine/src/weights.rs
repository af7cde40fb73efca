//! The parameters of a network as this machine keeps them: values, gradient and optimiser slot of each, dense,
//! masked or sparse. They outlive plans.

use std::borrow::Cow;

use rigl_base::{Error, Result};
use rigl_kernels::conv::{ConvShape, ConvStream, ConvTaps, Weights};
use rigl_kernels::linear::LinearStream;
use rigl_topology::Pattern;

rigl_base::named_enum! {
    /// In which arithmetic sparse layers are computed.
    pub enum Compute {
        /// Sparse below half density, masked above: a fixed rule on the layer's density.
        Auto = "auto",
        /// Only nonzeros are stored and multiplied.
        Sparse = "sparse",
        /// Dense arrays with inactive weights held at zero: the same results, slower; for checking.
        Masked = "masked",
    }
}

/// Above this density the dense kernels win (measured: docs/performance.md).
const SPARSE_BELOW: f64 = 0.5;

/// How a parameter is stored.
#[derive(Debug)]
pub(crate) enum Storage {
    /// Every value is active.
    Dense,
    /// A dense array; positions outside the pattern hold 0.
    Masked { pattern: Pattern, mask: Vec<bool> },
    /// Values, gradient and slot of the active positions alone, in the stream's order.
    Sparse { pattern: Pattern, stream: Stream },
}

/// A compiled pattern.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Of a linear layer: numbers are stored in its forward order.
    Linear(Box<LinearStream>),
    /// Of a convolution: numbers are stored in the order of the pattern.
    Conv(Box<ConvStream>),
}

/// What a parameter is to its kernels.
#[derive(Debug)]
pub(crate) enum Form {
    /// The weight of a linear layer.
    Linear,
    /// The weight of a convolution, with what its dense arithmetic needs.
    Conv(ConvShape, DenseConv),
    /// Any other.
    Vector,
}

/// How a convolution whose weight is a dense array is computed.
#[derive(Debug)]
pub(crate) enum DenseConv {
    /// By the dense kernels.
    Taps(Box<ConvTaps>),
    /// With groups: by the sparse kernels, with every weight active.
    Full(Box<ConvStream>),
}

/// A parameter.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// Whether it is a weight: L2 applies, and it may be sparse.
    pub(crate) is_weight: bool,
    pub(crate) values: Vec<f32>,
    pub(crate) gradient: Vec<f32>,
    /// Momentum; empty until an optimiser asks for it.
    pub(crate) momentum: Vec<f32>,
    /// The signs that active weights started with (1 or −1), in the order of storage; empty unless a method asks.
    pub(crate) signs: Vec<f32>,
    /// An average of dense gradients; empty unless a method asks.
    pub(crate) average: Vec<f32>,
    /// All weights, where a method keeps inactive ones.
    pub(crate) kept: Option<Kept>,
    pub(crate) storage: Storage,
    pub(crate) form: Form,
}

/// All weights of a sparse parameter, active or not, with their momentum. The values of the active ones are copied
/// from here after each step.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) values: Vec<f32>,
    /// Empty until an optimiser asks for it.
    pub(crate) momentum: Vec<f32>,
}

impl Form {
    /// Of a convolution.
    pub(crate) fn conv(shape: ConvShape) -> Result<Form> {
        let impossible = |e| Error::internal("convolution").caused_by(e);
        let dense = match shape.groups {
            1 => DenseConv::Taps(Box::new(ConvTaps::new(shape).map_err(impossible)?)),
            _ => DenseConv::Full(Box::new(ConvStream::full(shape).map_err(impossible)?)),
        };
        Ok(Form::Conv(shape, dense))
    }
}

impl Parameter {
    /// A parameter with `pattern` (none: dense) whose value at flat position i is `value(i)`.
    pub(crate) fn new(
        name: &str,
        shape: &[usize],
        is_weight: bool,
        form: Form,
        pattern: Option<Pattern>,
        compute: Compute,
        value: impl Fn(usize) -> f32,
    ) -> Result<Parameter> {
        let len = shape.iter().product();
        let sorted: Vec<f32> = match &pattern {
            None => (0..len).map(&value).collect(),
            Some(pattern) if pattern.len() != len => {
                return Err(Error::internal(format!(
                    "pattern of {} positions for parameter `{name}` of {len} values",
                    pattern.len()
                )));
            }
            Some(pattern) => pattern.indices().iter().map(|&i| value(i as usize)).collect(),
        };
        let mut parameter = Parameter {
            name: name.to_string(),
            shape: shape.to_vec(),
            is_weight,
            values: Vec::new(),
            gradient: Vec::new(),
            momentum: Vec::new(),
            signs: Vec::new(),
            average: Vec::new(),
            kept: None,
            storage: Storage::Dense,
            form,
        };
        parameter.set(pattern, compute, sorted, None)?;
        Ok(parameter)
    }

    /// Replaces pattern, values and (if given) momentum; all in sorted order.
    pub(crate) fn set(
        &mut self,
        pattern: Option<Pattern>,
        compute: Compute,
        values: Vec<f32>,
        momentum: Option<Vec<f32>>,
    ) -> Result<()> {
        self.storage = match pattern {
            None => Storage::Dense,
            Some(pattern) => {
                if is_sparse(pattern.density(), compute) {
                    let failed = |e| Error::internal(format!("parameter `{}`", self.name)).caused_by(e);
                    let stream = match (&self.form, &self.shape[..]) {
                        (Form::Conv(shape, _), _) => {
                            let stream = ConvStream::new(*shape, pattern.indices()).map_err(failed)?;
                            Stream::Conv(Box::new(stream))
                        }
                        (Form::Linear, &[outputs, inputs]) => {
                            let stream =
                                LinearStream::new(outputs, inputs, pattern.indices()).map_err(failed)?;
                            Stream::Linear(Box::new(stream))
                        }
                        _ => return Err(Error::internal(format!("parameter `{}` is no weight", self.name))),
                    };
                    Storage::Sparse { pattern, stream }
                } else {
                    let mut mask = vec![false; pattern.len()];
                    pattern.indices().iter().for_each(|&i| mask[i as usize] = true);
                    Storage::Masked { pattern, mask }
                }
            }
        };
        self.values = self.stored(values);
        if let Some(momentum) = momentum {
            self.momentum = self.stored(momentum);
        }
        self.gradient.clear();
        self.gradient.resize(self.values.len(), 0.0);
        Ok(())
    }

    /// Brings numbers of the active positions, in sorted order, into the order of storage.
    pub(crate) fn stored(&self, sorted: Vec<f32>) -> Vec<f32> {
        match &self.storage {
            Storage::Dense => sorted,
            Storage::Masked { pattern, .. } => {
                let mut dense = vec![0.0; pattern.len()];
                pattern.indices().iter().zip(sorted).for_each(|(&i, x)| dense[i as usize] = x);
                dense
            }
            Storage::Sparse { stream: Stream::Linear(stream), .. } => stream.to_forward(&sorted),
            Storage::Sparse { stream: Stream::Conv(_), .. } => sorted,
        }
    }

    /// Numbers in the order of storage, of the active positions alone and in sorted order.
    pub(crate) fn sorted<'a>(&self, stored: &'a [f32]) -> Cow<'a, [f32]> {
        match &self.storage {
            Storage::Dense => stored.into(),
            Storage::Masked { pattern, .. } => {
                pattern.indices().iter().map(|&i| stored[i as usize]).collect()
            }
            Storage::Sparse { stream: Stream::Linear(stream), .. } => stream.to_sorted(stored).into(),
            Storage::Sparse { stream: Stream::Conv(_), .. } => stored.into(),
        }
    }

    /// The signs that active weights started with, in sorted order; empty where they are not kept.
    pub(crate) fn sorted_signs(&self) -> Cow<'_, [f32]> {
        if self.signs.is_empty() { Cow::Borrowed(&[]) } else { self.sorted(&self.signs) }
    }

    /// Which positions are active; `None` where all are, and none can be otherwise.
    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        match &self.storage {
            Storage::Dense => None,
            Storage::Masked { pattern, .. } | Storage::Sparse { pattern, .. } => Some(pattern),
        }
    }

    /// The weight of a convolution for its kernels.
    pub(crate) fn conv_weights(&self) -> Result<Weights<'_>> {
        Ok(match (&self.storage, &self.form) {
            (Storage::Sparse { stream: Stream::Conv(stream), .. }, _) => {
                Weights::Sparse(stream, &self.values)
            }
            (_, Form::Conv(_, DenseConv::Taps(taps))) => Weights::Dense(taps, &self.values),
            (_, Form::Conv(_, DenseConv::Full(stream))) => Weights::Sparse(stream, &self.values),
            _ => return Err(Error::internal(format!("parameter `{}` is of no convolution", self.name))),
        })
    }

    /// Values when dense.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The name of its storage, for tables and logs.
    pub(crate) fn storage_name(&self) -> &'static str {
        match self.storage {
            Storage::Dense => "dense",
            Storage::Masked { .. } => "masked",
            Storage::Sparse { .. } => "sparse",
        }
    }
}

/// 1, or −1 for negative numbers.
pub(crate) fn sign(w: f32) -> f32 {
    if w < 0.0 { -1.0 } else { 1.0 }
}

/// Bytes that a parameter of `len` values takes, `count` of them active (none: dense), in the storage that
/// [`Parameter::set`] would choose.
pub(crate) fn planned_bytes(len: usize, count: Option<usize>, compute: Compute, momentum: bool) -> usize {
    let arrays = 4 * (2 + usize::from(momentum));
    match count {
        None => arrays * len,
        // Mask and pattern.
        Some(count) if !is_sparse(count as f64 / len.max(1) as f64, compute) => {
            (arrays + 1) * len + 4 * count
        }
        // Pattern, two orders of at most 32-bit columns, their links, and visits of rows, of which there are fewer
        // than nonzeros in each order.
        Some(count) => (arrays + 4 + 2 * 4 + 4 + 4 + 2 * 4) * count,
    }
}

/// The storage rule.
fn is_sparse(density: f64, compute: Compute) -> bool {
    match compute {
        Compute::Sparse => true,
        Compute::Masked => false,
        Compute::Auto => density < SPARSE_BELOW,
    }
}
