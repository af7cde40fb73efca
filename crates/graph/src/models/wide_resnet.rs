//! Wide residual networks (Zagoruyko and Komodakis, 2016), the paper's network for CIFAR-10 (RigL, appendix on
//! CIFAR-10). A block is `h = relu(bn1(x))`, then `conv2(dropout(relu(bn2(conv1(h))))) + skip`, where the skip is
//! `x`, or a 1 × 1 convolution of `h` where the shape changes. Parameters are named as in the usual PyTorch code.

use rigl_base::Result;

use super::sizes::{bn_momentum, depth_of_groups, multiple, norm, width};
use super::{Model, ModelOption, ModelSpec, Usual};
use crate::builder::{BatchNorm, Builder, Conv2d, Linear};
use crate::graph::Graph;
use crate::parameter::NodeId;

pub(super) fn wide_resnet() -> Model {
    Model::new("wide-resnet", |spec| build("wide-resnet", spec, spec.whole("depth")?))
        .about("wide residual networks (Zagoruyko and Komodakis, 2016)")
        .usual(Usual::CIFAR10)
        .option(depth_of_groups(22, 4))
        .option(width(2.0))
        .option(dropout())
        .option(bn_momentum())
}

/// The paper's. A small-dense network of it has another width.
pub(super) fn wrn_22_2() -> Model {
    Model::new("wrn-22-2", |spec| build("wrn-22-2", spec, 22))
        .about("`wide-resnet` at depth 22")
        .usual(Usual::CIFAR10)
        .option(width(2.0))
        .option(dropout())
        .option(bn_momentum())
}

fn dropout() -> ModelOption {
    ModelOption::number("dropout", 0.0, 0.0..1.0)
        .doc("Probability with which dropout sets a value to 0, between the convolutions of a block.")
}

fn build(name: &str, spec: &ModelSpec, depth: usize) -> Result<Graph> {
    let blocks = (depth - 4) / 6;
    let (factor, norm) = (spec.number("width")?, norm(spec)?);
    let dropout = spec.number("dropout")? as f32;

    let mut g = Builder::new(name);
    let x = g.input("image", &spec.sample_shape);
    let mut channels = 16;
    let mut h = g.conv2d("conv1", x, channels, Conv2d::k3());
    for (group, base) in [16, 32, 64].into_iter().enumerate() {
        let width = multiple(base, factor);
        for i in 0..blocks {
            let stride = if group > 0 && i == 0 { 2 } else { 1 };
            let block = Block { width, stride, resized: stride != 1 || channels != width, norm };
            h = block.build(&mut g, &format!("block{}.layer.{i}", group + 1), h, dropout);
            channels = width;
        }
    }
    let h = g.batch_norm("bn1", h, norm);
    let h = g.relu(h);
    let h = g.global_avg_pool(h);
    let h = g.linear("fc", h, spec.classes, Linear::default());
    g.cross_entropy(h, spec.classes, spec.label_smoothing);
    g.finish()
}

/// A residual block, the norm before the convolution.
struct Block {
    width: usize,
    stride: usize,
    /// Whether its output has another shape than its input.
    resized: bool,
    norm: BatchNorm,
}

impl Block {
    fn build(&self, g: &mut Builder, name: &str, x: NodeId, dropout: f32) -> NodeId {
        let part = |part: &str| format!("{name}.{part}");
        let h = g.batch_norm(&part("bn1"), x, self.norm);
        let h = g.relu(h);
        let r = g.conv2d(&part("conv1"), h, self.width, Conv2d::k3().stride(self.stride));
        let r = g.batch_norm(&part("bn2"), r, self.norm);
        let r = g.relu(r);
        let r = if dropout > 0.0 { g.dropout(r, dropout) } else { r };
        let r = g.conv2d(&part("conv2"), r, self.width, Conv2d::k3());
        let skip = if self.resized {
            g.conv2d(&part("convShortcut"), h, self.width, Conv2d::k1().stride(self.stride))
        } else {
            x
        };
        g.add(r, skip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Cost;
    use crate::init::Init;
    use crate::op::Op;

    fn cifar() -> ModelSpec {
        ModelSpec::new(&[3, 32, 32], 10)
    }

    #[test]
    fn wrn_22_2_has_the_weights_and_operations_of_the_paper() {
        let graph = wrn_22_2().build(&cifar()).unwrap();
        let cost = Cost::dense(&graph).unwrap();
        assert_eq!(cost.weights, 1_076_912);
        assert_eq!((cost.dense_flops as f64 / 2e4).round() / 100.0, 157.73);
        // Norms of each group: one of the channels before it, five of its own; the last of all. Each has γ and β.
        let channels = (16 + 5 * 32) + (32 + 5 * 64) + (64 + 5 * 128) + 128;
        assert_eq!(graph.buffers().len(), 2 * 19);
        assert_eq!(cost.biases, 2 * channels + 10);
        for p in graph.parameters().iter().filter(|p| p.is_weight()) {
            assert_eq!(p.init, Init::GlorotUniform, "{}", p.name);
        }
    }

    #[test]
    fn names_are_those_of_the_pytorch_code() {
        let graph = wrn_22_2().build(&cifar()).unwrap();
        for name in [
            "conv1.weight",
            "block1.layer.0.bn1.weight",
            "block1.layer.0.conv1.weight",
            "block1.layer.0.bn2.bias",
            "block1.layer.0.conv2.weight",
            "block1.layer.0.convShortcut.weight",
            "block3.layer.2.conv2.weight",
            "bn1.bias",
            "fc.weight",
            "fc.bias",
        ] {
            assert!(graph.find_parameter(name).is_some(), "{name}");
        }
        assert!(graph.find_buffer("block2.layer.1.bn2.running_var").is_some());
        assert!(graph.find_parameter("block1.layer.1.convShortcut.weight").is_none());
        assert!(graph.find_parameter("conv1.bias").is_none());
    }

    #[test]
    fn the_skip_convolution_reads_the_normed_input_and_strides_with_the_block() {
        let graph = wrn_22_2().build(&cifar()).unwrap();
        let node = |name: &str| graph.node(graph.find_node(name).unwrap());
        let (skip, conv) = (node("block2.layer.0.convShortcut"), node("block2.layer.0.conv1"));
        assert_eq!(skip.inputs, conv.inputs);
        assert_eq!(skip.shape, [64, 16, 16]);
        assert_eq!(graph.node(skip.inputs[0]).op, Op::Relu);
    }

    #[test]
    fn depth_width_dropout_and_momentum_are_options() {
        let spec = cifar().with("depth", 10usize).with("width", 1.0).with("dropout", 0.3);
        let graph = wide_resnet().build(&spec.with("bn-momentum", 0.01)).unwrap();
        let count = |of: fn(&Op) -> bool| graph.nodes().iter().filter(|n| of(&n.op)).count();
        // The first block keeps its 16 channels and so its input.
        assert_eq!(count(|op| matches!(op, Op::Conv2d { .. })), 1 + 3 * 2 + 2);
        assert_eq!(count(|op| *op == Op::Dropout { probability: 0.3 }), 3);
        assert_eq!(count(|op| matches!(op, Op::BatchNorm { .. })), 7);
        assert_eq!(count(|op| matches!(op, Op::BatchNorm { momentum: 0.01, .. })), 7);
        assert_eq!(
            wide_resnet().build(&cifar()).unwrap().parameters(),
            wrn_22_2().build(&cifar()).unwrap().parameters()
        );
    }

    #[test]
    fn other_depths_are_refused_with_the_nearest() {
        let refused = |depth| wide_resnet().build(&cifar().with("depth", depth)).unwrap_err();
        let error = refused(20);
        assert_eq!(
            error.message(),
            "`depth` of model `wide-resnet` is `20`, expected a whole number 6n + 4 from 10 to 2002"
        );
        assert_eq!(error.hint_text(), Some("22"));
        assert_eq!(refused(0usize).hint_text(), Some("10"));
        assert_eq!(refused(usize::MAX).hint_text(), Some("2002"));
        let error = wrn_22_2().build(&cifar().with("depth", 28usize)).unwrap_err();
        assert_eq!(
            error.message(),
            "`wrn-22-2` has no option `depth`, allowed are `width`, `dropout`, `bn-momentum`"
        );
    }
}
