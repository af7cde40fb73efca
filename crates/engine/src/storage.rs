//! How the numbers of a parameter are stored: dense, masked or sparse, and the rule that decides it.

use std::borrow::Cow;

use rigl_base::{Error, Result};
use rigl_kernels::conv::{ConvShape, ConvStream, ConvTaps};
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
    /// The weight of a convolution, with what its dense arithmetic needs, where there is any.
    Conv(ConvShape, Option<DenseConv>),
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

impl Storage {
    /// The storage of a parameter of this shape with a pattern (none: dense).
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if it is no weight, or the pattern is of another size.
    pub(crate) fn new(
        pattern: Option<Pattern>,
        form: &Form,
        shape: &[usize],
        compute: Compute,
    ) -> Result<Storage> {
        let Some(pattern) = pattern else { return Ok(Storage::Dense) };
        if !is_sparse(pattern.density(), compute) {
            let mut mask = vec![false; pattern.len()];
            pattern.indices().iter().for_each(|&i| mask[i as usize] = true);
            return Ok(Storage::Masked { pattern, mask });
        }
        let failed = |e| Error::internal("compiled pattern").caused_by(e);
        let stream = match (form, shape) {
            (Form::Conv(shape, _), _) => {
                Stream::Conv(Box::new(ConvStream::new(*shape, pattern.indices()).map_err(failed)?))
            }
            (Form::Linear, &[outputs, inputs]) => {
                let stream = LinearStream::new(outputs, inputs, pattern.indices()).map_err(failed)?;
                Stream::Linear(Box::new(stream))
            }
            _ => return Err(Error::internal("a pattern of what is no weight")),
        };
        Ok(Storage::Sparse { pattern, stream })
    }

    /// Brings numbers of the active positions, in sorted order, into the order of storage.
    pub(crate) fn stored(&self, sorted: Vec<f32>) -> Vec<f32> {
        match self {
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
        match self {
            Storage::Dense => stored.into(),
            Storage::Masked { pattern, .. } => {
                pattern.indices().iter().map(|&i| stored[i as usize]).collect()
            }
            Storage::Sparse { stream: Stream::Linear(stream), .. } => stream.to_sorted(stored).into(),
            Storage::Sparse { stream: Stream::Conv(_), .. } => stored.into(),
        }
    }

    /// Whether a parameter with this pattern (none: dense) is stored by its active values alone.
    pub(crate) fn is_sparse(pattern: Option<&Pattern>, compute: Compute) -> bool {
        pattern.is_some_and(|pattern| is_sparse(pattern.density(), compute))
    }

    /// Which positions are active; `None` where all are, and none can be otherwise.
    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        match self {
            Storage::Dense => None,
            Storage::Masked { pattern, .. } | Storage::Sparse { pattern, .. } => Some(pattern),
        }
    }

    /// Its name, for tables and logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Storage::Dense => "dense",
            Storage::Masked { .. } => "masked",
            Storage::Sparse { .. } => "sparse",
        }
    }
}

impl Form {
    /// Of a convolution; `dense` says whether all its weights are ever worked on.
    pub(crate) fn conv(shape: ConvShape, dense: bool) -> Result<Form> {
        if !dense {
            return Ok(Form::Conv(shape, None));
        }
        let impossible = |e| Error::internal("convolution").caused_by(e);
        let dense = match shape.groups {
            1 => DenseConv::Taps(Box::new(ConvTaps::new(shape).map_err(impossible)?)),
            _ => DenseConv::Full(Box::new(ConvStream::full(shape).map_err(impossible)?)),
        };
        Ok(Form::Conv(shape, Some(dense)))
    }
}

/// The storage rule.
pub(crate) fn is_sparse(density: f64, compute: Compute) -> bool {
    match compute {
        Compute::Sparse => true,
        Compute::Masked => false,
        Compute::Auto => density < SPARSE_BELOW,
    }
}
