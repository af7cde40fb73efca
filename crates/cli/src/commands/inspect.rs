//! `rigl inspect`: what a run or a file holds, read without an engine.

mod args;
mod file;
mod layers;
mod log;
mod pixels;
mod run;
mod tensors;

use std::process::ExitCode;

use rigl_base::{Error, Result};
use rigl_formats::Checkpoint;
use rigl_graph::{Buffer, Graph, Parameter, ParameterKind, state};
use rigl_train::Registry;
use serde_json::{Map, Value};

use crate::output::Printer;
pub(crate) use args::Inspect;
use layers::Layer;
use pixels::Pixels;

pub(crate) fn run(args: &Inspect, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let found = args.path.metadata().map_err(|e| Error::io("cannot read", &args.path, e))?;
    if found.is_dir() {
        run::inspect(args, registry, printer)?;
    } else if !found.is_file() {
        // Reading a pipe would wait for its writer.
        return Err(Error::environment(format!("cannot read `{}`: not a file", args.path.display())));
    } else {
        file::inspect(args, registry, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The network in a file of checkpoints or patterns.
struct Network {
    graph: Graph,
    layers: Vec<Layer>,
    /// What else there is, in numbers; nothing in a file of patterns.
    others: Vec<(&'static str, usize)>,
    pixels: Option<Pixels>,
}

impl Network {
    fn of(checkpoint: &Checkpoint, pixels: bool) -> Result<Network> {
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
        let weights = layers::weights(&graph, state)?;
        let layers = weights.iter().map(Layer::of).collect();
        let pixels = if pixels { Some(Pixels::of(&graph, &weights)?) } else { None };
        drop(weights);
        Ok(Network { graph, layers, others, pixels })
    }

    /// Its layers, and its pixels where these are wanted; then the tensors it was read from, and with `all` each of
    /// them and the nodes.
    fn text(&self, state: &[state::Tensor<'_>], all: bool) -> String {
        let mut text = layers::table(&self.layers, &self.others).to_string();
        if let Some(pixels) = &self.pixels {
            text += &format!("\n{pixels}");
        }
        text += &format!("\n{}", if all { tensors::each(state) } else { tensors::by_kind(state) });
        if all {
            text += &format!("\n{}", self.graph);
        }
        text
    }

    fn json(&self, fields: &mut Map<String, Value>) {
        fields.insert("network".into(), self.graph.name().into());
        fields.insert("layers".into(), self.layers.iter().map(Layer::json).collect());
        if let Some(pixels) = &self.pixels {
            fields.insert("pixels".into(), pixels.json());
        }
    }
}

/// Whether a file holds the patterns of a moment and no values.
fn is_patterns(checkpoint: &Checkpoint) -> bool {
    !checkpoint.state.is_empty()
        && checkpoint
            .state
            .iter()
            .all(|t| t.role == state::Role::Method && t.name.starts_with(layers::PATTERN))
}
