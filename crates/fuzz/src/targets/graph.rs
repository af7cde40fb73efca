//! The text form of networks: what parses is a valid graph, prints, and parses to the same graph.

use rigl_base::Kind;
use rigl_graph::Graph;
use rigl_graph::account::Cost;

use crate::signal::Signal;

/// Pieces of the text form.
pub const TOKENS: &[&str] = &[
    "network ",
    " = ",
    "input",
    "flatten",
    "linear",
    "relu",
    "sigmoid",
    "leaky-relu",
    "multiply",
    "conv2d",
    "batch-norm",
    "add",
    "max-pool",
    "avg-pool",
    "global-avg-pool",
    "dropout",
    "cross-entropy",
    "outputs(",
    "outputs(h)\n",
    "(",
    ")",
    " -> ",
    "[",
    "]",
    "[]",
    ", ",
    " features=",
    " bias=true",
    " bias=false",
    " init=zeros",
    " init=glorot-uniform",
    " init=truncated-normal",
    " init=normal(0.01)",
    " init=normal(1e-320)",
    " init=he-normal",
    " init=constant(-0.5)",
    " channels=",
    " kernel=3",
    " kernel=1",
    " stride=2",
    " padding=1",
    " groups=2",
    " epsilon=1e-5",
    " momentum=0.1",
    " scale=0.0",
    " slope=0.1",
    " probability=0.3",
    "18446744073709551615",
    "inf",
    "nan",
    "-0",
    " classes=",
    " label-smoothing=0.1",
    "x = input() -> [4]\n",
    "h = relu(x) -> [4]\n",
    "m = input() -> [2, 4, 4]\n",
    "s = add(h, x) -> [4]\n",
    "loss",
    "\n",
    "\r\n",
    "\u{85}",
    "\u{2028}",
    ".weight",
    ".bias",
    ".running_mean",
];

/// A network's text.
pub fn text(bytes: &[u8]) -> Signal {
    let text = String::from_utf8_lossy(bytes);
    match Graph::parse(&text) {
        Err(error) => Signal::refused(&error, &[Kind::Data]),
        Ok(graph) => accepted(&graph),
    }
}

pub(super) fn accepted(graph: &Graph) -> Signal {
    graph.verify().expect("a parsed graph is valid");
    let printed = graph.to_text();
    assert!(
        Graph::parse(&printed).expect("a printed graph parses") == *graph,
        "printed, it is another graph"
    );
    match Cost::dense(graph) {
        Err(error) => Signal::refused(&error, &[Kind::Usage]),
        Ok(_) => Signal::accepted(&[graph.nodes().len(), graph.parameters().len()]),
    }
}
