//! What holds of every graph, and the check of it: run after building and after parsing, and by tests.

use std::collections::HashSet;

use rigl_base::{Error, Result};

use crate::graph::Graph;
use crate::op::Op;
use crate::parameter::{BufferId, NodeId, ParameterId};
use crate::words::{MAX_ITEMS, clip, shape_text};

/// The most nodes a graph may have.
pub const MAX_NODES: usize = 1 << 16;

/// The longest name of a network or node, in bytes.
pub const MAX_NAME: usize = 128;

impl Graph {
    /// Checks that
    /// - names are made of ASCII letters, digits, `_`, `-` and `.`, and are unique among nodes and among
    ///   parameters and buffers;
    /// - a node reads earlier nodes only, as many as its operation takes: the order of the nodes is topological;
    /// - attributes are in range, and shapes are those of the operations' rules;
    /// - parameters and buffers are those that the operations ask for, in the order of the nodes, each owned by one node;
    /// - there is one loss, the last node, which nothing reads, and the one output is what it reads; or there is none, and
    ///   the outputs are 1 to 64 different nodes that are no inputs;
    /// - every other node is read by a later one;
    /// - sizes are within this module's limits.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal): graphs are verified when they are made and never change.
    pub fn verify(&self) -> Result<()> {
        check(self).map_err(|e| Error::internal(format!("network `{}`: {e}", clip(&self.name))))
    }
}

pub(crate) fn check(graph: &Graph) -> Result<(), String> {
    check_name(&graph.name).map_err(|e| format!("network {e}"))?;
    if graph.nodes.is_empty() || graph.nodes.len() > MAX_NODES {
        return Err(format!("expects 1 to {MAX_NODES} nodes, found {}", graph.nodes.len()));
    }
    let mut names = HashSet::new();
    let mut read = vec![false; graph.nodes.len()];
    let mut owned = Owned::default();
    for (id, node) in graph.iter() {
        let place = |e: String| format!("node `{}`: {e}", clip(&node.name));
        check_name(&node.name).map_err(|e| format!("node {e}"))?;
        if !names.insert(node.name.as_str()) {
            return Err(place("the name is used twice".into()));
        }
        for &input in &node.inputs {
            if input >= id {
                return Err(place(format!("reads node number {}, which does not come before it", input.0)));
            }
            read[input.0] = true;
        }
        owned = check_node(graph, id, owned).map_err(place)?;
    }
    if let Some(stray) = graph.parameters.get(owned.parameters) {
        return Err(format!("parameter `{}` belongs to no node", clip(&stray.name)));
    }
    if let Some(stray) = graph.buffers.get(owned.buffers) {
        return Err(format!("buffer `{}` belongs to no node", clip(&stray.name)));
    }
    let mut names = HashSet::new();
    let all = graph.parameters.iter().map(|p| &p.name).chain(graph.buffers.iter().map(|b| &b.name));
    if let Some(twice) = all.into_iter().find(|name| !names.insert(name.as_str())) {
        return Err(format!("parameter or buffer `{}`: the name is used twice", clip(twice)));
    }
    check_ends(graph, &read)
}

/// How many parameters and buffers the nodes up to some point own.
#[derive(Clone, Copy, Default)]
struct Owned {
    parameters: usize,
    buffers: usize,
}

/// One node: shape, parameters and buffers by the table of operations. `before` is what earlier nodes own; returns
/// the same with the node's own.
fn check_node(graph: &Graph, id: NodeId, before: Owned) -> Result<Owned, String> {
    let node = graph.node(id);
    let inputs = graph.input_shapes(node);
    let shape = node.op.shape(&inputs)?;
    if shape != node.shape {
        return Err(format!("expects shape {}, found {}", shape_text(&shape), shape_text(&node.shape)));
    }
    let parameters = node.op.parameters(id, &node.name, &inputs);
    let buffers = node.op.buffers(id, &node.name, &inputs);
    let after =
        Owned { parameters: before.parameters + parameters.len(), buffers: before.buffers + buffers.len() };
    let range = before.parameters..after.parameters;
    let ids: Vec<ParameterId> = range.clone().map(ParameterId).collect();
    if node.parameters != ids || graph.parameters.get(range) != Some(&parameters) {
        return Err(format!(
            "its parameters are not the {} that `{}` owns",
            parameters.len(),
            node.op.word()
        ));
    }
    let range = before.buffers..after.buffers;
    let ids: Vec<BufferId> = range.clone().map(BufferId).collect();
    if node.buffers != ids || graph.buffers.get(range) != Some(&buffers) {
        return Err(format!("its buffers are not the {} that `{}` owns", buffers.len(), node.op.word()));
    }
    Ok(after)
}

/// Loss, outputs, inputs, and nodes that lead nowhere.
fn check_ends(graph: &Graph, read: &[bool]) -> Result<(), String> {
    if !graph.nodes.iter().any(|n| matches!(n.op, Op::Input { .. })) {
        return Err("there is no input".into());
    }
    let losses: Vec<NodeId> = graph.iter().filter(|(_, n)| n.op.is_loss()).map(|(id, _)| id).collect();
    if losses != graph.loss.as_slice() {
        return Err(format!("expects exactly one loss or none, found {}", losses.len()));
    }
    match graph.loss {
        Some(loss) if graph.node(loss).inputs != graph.outputs => {
            return Err("the output is not what the loss reads".into());
        }
        Some(loss) if read[loss.0] => {
            return Err(format!("the loss `{}` is read by another node", graph.node(loss).name));
        }
        Some(_) => {}
        None => check_outputs(graph)?,
    }
    match graph.iter().find(|(id, node)| !read[id.0] && !node.op.is_loss() && !graph.outputs.contains(id)) {
        Some((_, node)) => Err(format!("node `{}` is read by no other node; it leads nowhere", node.name)),
        None => Ok(()),
    }
}

/// What a network without a loss ends in.
fn check_outputs(graph: &Graph) -> Result<(), String> {
    let outputs = &graph.outputs;
    if outputs.is_empty() || outputs.len() > MAX_ITEMS {
        return Err(format!("expects 1 to {MAX_ITEMS} outputs, found {}", outputs.len()));
    }
    for (i, &id) in outputs.iter().enumerate() {
        let Some(node) = graph.nodes.get(id.0) else {
            return Err(format!("output number {} does not exist in this network", id.0));
        };
        if matches!(node.op, Op::Input { .. }) {
            return Err(format!("the output `{}` is an input", node.name));
        }
        if outputs[..i].contains(&id) {
            return Err(format!("the output `{}` is named twice", node.name));
        }
    }
    Ok(())
}

/// Names are letters, digits, `_`, `-`, `.`, and do not begin with `-` or `.`.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let good =
        (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with(['-', '.']);
    if good {
        return Ok(());
    }
    Err(format!(
        "name `{}` is not 1 to {MAX_NAME} of the characters `a-z A-Z 0-9 _ - .` beginning with a letter, digit or `_`",
        clip(name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{ModelSpec, Models};
    use rigl_base::Kind;

    fn lenet() -> Graph {
        Models::default().build("lenet-300-100", &ModelSpec::new(&[1, 28, 28], 10)).unwrap()
    }

    #[test]
    fn every_broken_invariant_is_found() {
        type Break = fn(&mut Graph);
        let breaks: &[(&str, Break)] = &[
            ("network name", |g| g.name = String::new()),
            ("1 to 65536 nodes", |g| g.nodes.clear()),
            ("used twice", |g| g.nodes[1].name = "image".into()),
            ("node name", |g| g.nodes[1].name = "a b".into()),
            ("does not come before", |g| g.nodes[2].inputs[0] = NodeId(2)),
            ("does not come before", |g| g.nodes[2].inputs[0] = NodeId(99)),
            ("inputs must be 1, found 0", |g| g.nodes[2].inputs.clear()),
            ("inputs must be 0, found 1", |g| {
                g.nodes[1].op = Op::Input { shape: vec![784] };
            }),
            ("expects shape [784]", |g| g.nodes[1].shape = vec![785]),
            ("expects shape [300]", |g| g.nodes[2].shape = vec![301]),
            ("its parameters", |g| g.parameters[0].shape = vec![784, 300]),
            ("its parameters", |g| g.parameters[0].node = NodeId(4)),
            ("its parameters", |g| g.parameters.swap(0, 1)),
            ("its parameters", |g| _ = g.parameters.pop()),
            ("its parameters", |g| g.nodes[2].parameters.swap(0, 1)),
            ("its parameters", |g| g.nodes[2].parameters[1] = ParameterId(usize::MAX)),
            ("belongs to no node", |g| g.parameters.push(g.parameters[0].clone())),
            ("the output is not", |g| g.outputs = vec![NodeId(0)]),
            ("the output is not", |g| g.outputs.push(NodeId(1))),
            ("the output is not", |g| g.outputs.clear()),
            ("expects exactly one loss", |g| g.loss = Some(NodeId(0))),
            ("expects exactly one loss", |g| g.loss = None),
            ("expects exactly one loss or none, found 2", |g| {
                let loss = crate::Node { name: "loss2".into(), ..g.nodes.last().unwrap().clone() };
                g.nodes.push(loss);
            }),
            ("leads nowhere", |g| {
                let relu = crate::Node { name: "spare".into(), ..g.nodes[3].clone() };
                g.nodes.push(relu);
            }),
        ];
        for (i, (part, broken)) in breaks.iter().enumerate() {
            let mut graph = lenet();
            graph.verify().unwrap();
            broken(&mut graph);
            let error = graph.verify().expect_err(&format!("case {i}: {part}"));
            assert_eq!(error.kind(), Kind::Internal);
            assert!(error.message().contains(part), "case {i}: {part}: {error}");
        }
    }

    #[test]
    fn every_broken_end_of_a_network_without_a_loss_is_found() {
        type Break = fn(&mut Graph);
        let breaks: &[(&str, Break)] = &[
            ("expects 1 to 64 outputs, found 0", |g| g.outputs.clear()),
            ("expects 1 to 64 outputs, found 65", |g| g.outputs = (0..65).map(NodeId).collect()),
            ("output number 9 does not exist", |g| g.outputs[0] = NodeId(9)),
            ("the output `image` is an input", |g| g.outputs[0] = NodeId(0)),
            ("the output `fc` is named twice", |g| g.outputs[1] = g.outputs[0]),
            ("node `relu` is read by no other node", |g| _ = g.outputs.pop()),
            ("expects exactly one loss or none, found 0", |g| g.loss = Some(NodeId(2))),
        ];
        for (part, broken) in breaks {
            let mut g = crate::Builder::new("net");
            let x = g.input("image", &[4]);
            let h = g.linear("fc", x, 3, crate::Linear::default());
            let r = g.relu(h);
            g.outputs(&[h, r]);
            let mut graph = g.finish().unwrap();
            graph.verify().unwrap();
            broken(&mut graph);
            let error = graph.verify().expect_err(part);
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn every_broken_buffer_is_found() {
        type Break = fn(&mut Graph);
        let breaks: &[(&str, Break)] = &[
            ("its buffers are not the 2", |g| _ = g.buffers.pop()),
            ("its buffers are not the 2", |g| g.buffers.swap(0, 1)),
            ("its buffers are not the 2", |g| g.buffers[1].initial = 0.0),
            ("its buffers are not the 2", |g| g.nodes[1].buffers.clear()),
            ("its buffers are not the 0", |g| g.nodes[2].buffers.push(BufferId(1))),
            ("buffer `bn1.running_mean` belongs to no node", |g| g.buffers.push(g.buffers[0].clone())),
        ];
        for (part, broken) in breaks {
            let mut g = crate::Builder::new("net");
            let x = g.input("image", &[4]);
            let h = g.batch_norm("bn1", x, crate::BatchNorm::default());
            g.cross_entropy(h, 4, 0.0);
            let mut graph = g.finish().unwrap();
            broken(&mut graph);
            let error = graph.verify().expect_err(part);
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn names_of_torchvision_are_allowed_and_odd_ones_are_not() {
        for name in ["layer1.0.conv1", "fc", "_x", "lenet-300-100", "0"] {
            check_name(name).unwrap();
        }
        for name in ["", ".", "-a", "a b", "a=b", "ä", "a\n", "a/b", "(", &"x".repeat(129)] {
            check_name(name).unwrap_err();
        }
    }
}
