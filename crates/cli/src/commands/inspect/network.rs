//! What `rigl inspect` tells of a network: layers, pixels, tensors.

use rigl_base::Result;
use rigl_formats::Checkpoint;
use rigl_graph::{Buffer, Graph, Parameter, ParameterKind, state};
use serde_json::{Map, Value};

use super::layers::{Layer, PATTERN, table, weights};
use super::pixels::Pixels;
use super::tensors;

/// The network in a file of checkpoints or patterns.
pub(super) struct Network {
    pub(super) graph: Graph,
    pub(super) layers: Vec<Layer>,
    /// What else there is, in numbers; nothing in a file of patterns.
    pub(super) others: Vec<(&'static str, usize)>,
    pub(super) pixels: Option<Pixels>,
}

impl Network {
    /// The share of weights that are absent.
    pub(super) fn sparsity(&self) -> f64 {
        let (active, weights) = self.layers.iter().fold((0, 0), |sum, layer| layer.add_to(sum));
        1.0 - active as f64 / weights.max(1) as f64
    }

    pub(super) fn of(checkpoint: &Checkpoint, pixels: bool) -> Result<Network> {
        let Checkpoint { metadata, state } = checkpoint;
        let graph = Graph::parse(&metadata.graph)?;
        let mut others = Vec::new();
        if !is_patterns(checkpoint) {
            state::check(&graph, state)?;
            let no_weights = || graph.parameters().iter().filter(|p| !p.is_weight());
            let biases = no_weights().all(|p| p.kind == ParameterKind::Bias);
            let name = if biases { "biases" } else { "norms and biases" };
            others.push((name, no_weights().map(Parameter::len).sum()));
            others.push(("running statistics", graph.buffers().iter().map(Buffer::len).sum()));
            others.retain(|(_, numbers)| *numbers > 0);
        }
        let weights = weights(&graph, state)?;
        let layers = weights.iter().map(Layer::of).collect();
        let pixels = if pixels { Some(Pixels::of(&graph, &weights)?) } else { None };
        drop(weights);
        Ok(Network { graph, layers, others, pixels })
    }

    /// Its layers, and its pixels where these are wanted; then the tensors it was read from, and with `all` each of
    /// them and the nodes.
    pub(super) fn text(&self, state: &[state::Tensor<'_>], all: bool) -> String {
        let mut text = table(&self.layers, &self.others).to_string();
        if let Some(pixels) = &self.pixels {
            text += &format!("\n{pixels}");
        }
        text += &format!("\n{}", if all { tensors::each(state) } else { tensors::by_kind(state) });
        if all {
            text += &format!("\n{}", self.graph);
        }
        text
    }

    pub(super) fn json(&self, fields: &mut Map<String, Value>) {
        fields.insert("network".into(), self.graph.name().into());
        fields.insert("layers".into(), self.layers.iter().map(Layer::json).collect());
        if let Some(pixels) = &self.pixels {
            fields.insert("pixels".into(), pixels.json());
        }
    }
}

/// Whether a file holds the patterns of a moment and no values.
pub(super) fn is_patterns(checkpoint: &Checkpoint) -> bool {
    !checkpoint.state.is_empty()
        && checkpoint.state.iter().all(|t| t.role == state::Role::Method && t.name.starts_with(PATTERN))
}
