//! A layer as a method sees it.

use rigl_base::{Error, Result, named_enum};

use crate::sorted;

named_enum! {
    /// What a weight does in its network.
    pub enum LayerKind {
        /// A matrix [out, in].
        Linear = "linear",
        /// A convolution [out, in / groups, kernel height, kernel width].
        Conv = "conv",
        /// A convolution with one input channel per group.
        Depthwise = "depthwise",
        /// A matrix of a recurrent cell, the gates stacked: [gates · out, in].
        Recurrent = "recurrent",
        /// A table of vectors [entries, width].
        Embedding = "embedding",
    }
}

/// One weight tensor that could be sparse: its name, shape and kind, and nothing of the graph around it.
///
/// ```
/// use rigl_topology::{Layer, LayerKind};
/// let layer = Layer::new("layer1.0.conv1.weight", &[64, 16, 3, 3], LayerKind::Conv, false)?;
/// assert_eq!((layer.weights(), layer.fan_in(), layer.fan_out()), (9216, 144, 576));
/// assert_eq!(layer.short_name(), "layer1.0.conv1");
/// # Ok::<(), rigl_base::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layer {
    name: String,
    shape: Vec<usize>,
    kind: LayerKind,
    first: bool,
    weights: usize,
}

impl Layer {
    /// A layer of parameter `name` (`conv1.weight`) and PyTorch's shape: [out, in, kernel …]. `first` marks the
    /// weight that meets the network's input.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for a shape of fewer than two dimensions, a dimension of 0, or
    /// more than `u32::MAX` positions.
    pub fn new(name: impl Into<String>, shape: &[usize], kind: LayerKind, first: bool) -> Result<Layer> {
        let name = name.into();
        if shape.len() < 2 || shape.contains(&0) {
            return Err(Error::usage(format!(
                "layer `{name}` has shape {shape:?}, expected [out, in, kernel …], each at least 1"
            )));
        }
        let weights = shape.iter().fold(1usize, |product, &n| product.saturating_mul(n));
        sorted::check_len(weights).map_err(|e| e.context(format!("layer `{name}`")))?;
        Ok(Layer { name, shape: shape.to_vec(), kind, first, weights })
    }

    /// The parameter's name; it keys the layer's random streams.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name without `.weight`: what globs match and people read.
    pub fn short_name(&self) -> &str {
        self.name.strip_suffix(".weight").unwrap_or(&self.name)
    }

    /// [out, in, kernel …], as in PyTorch.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What the weight does.
    pub fn kind(&self) -> LayerKind {
        self.kind
    }

    /// Whether the weight meets the network's input.
    pub fn first(&self) -> bool {
        self.first
    }

    /// All positions, active or not.
    pub fn weights(&self) -> usize {
        self.weights
    }

    /// Weights into one output, counted dense: in · kernel.
    pub fn fan_in(&self) -> usize {
        self.weights / self.shape[0]
    }

    /// Weights out of one input, counted dense: out · kernel.
    pub fn fan_out(&self) -> usize {
        self.weights / self.shape[1]
    }

    /// Whether the kind is a convolution of either sort.
    pub fn is_convolution(&self) -> bool {
        matches!(self.kind, LayerKind::Conv | LayerKind::Depthwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_are_no_weight_are_refused_by_name() {
        for shape in [&[3][..], &[], &[4, 0], &[1 << 20, 1 << 20], &[usize::MAX, usize::MAX]] {
            let error = Layer::new("fc.weight", shape, LayerKind::Linear, false).unwrap_err();
            assert!(error.to_string().contains("`fc.weight`"), "{error}");
        }
    }

    #[test]
    fn names_without_the_suffix_stay_as_they_are() {
        let layer = Layer::new("gru.weight_ih_l0", &[12, 5], LayerKind::Recurrent, false).unwrap();
        assert_eq!(layer.short_name(), "gru.weight_ih_l0");
        assert_eq!((layer.fan_in(), layer.fan_out()), (5, 12));
    }
}
