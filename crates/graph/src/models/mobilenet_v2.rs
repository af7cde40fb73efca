//! MobileNet-v2 (Sandler et al., 2018): blocks that widen their input by a 1 × 1 convolution, filter it depthwise, and
//! narrow it again without a ReLU, with a skip between equal shapes. Parameters are named as in torchvision. As in the
//! paper's code (RigL) activations are plain ReLUs, which the original cuts off at 6, there is no
//! dropout, and convolutions start truncated normal, the classifier normal with deviation .01.

use rigl_base::Result;

use super::sizes::{
    as_in_the_paper, bn_momentum, eights, eights_of_the_paper, norm, rounding_to_eights, width,
};
use super::{Model, ModelSpec, Usual};
use crate::builder::{BatchNorm, Builder, Conv2d, Linear};
use crate::graph::Graph;
use crate::init::Init;
use crate::parameter::NodeId;

/// Groups of blocks: how many times a block widens its input, channels behind it, how many blocks, stride of the first.
const GROUPS: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// Channels before the classifier: as many at width 1, more above, never fewer.
const LAST: usize = 1280;

pub(super) fn mobilenet_v2() -> Model {
    Model::new("mobilenet-v2", build)
        .about("inverted residual blocks (Sandler et al., 2018)")
        .usual(Usual::IMAGENET)
        .option(width(1.0))
        .option(rounding_to_eights())
        .option(bn_momentum())
}

fn build(spec: &ModelSpec) -> Result<Graph> {
    let (width, norm) = (spec.number("width")?, norm(spec)?);
    let paper = as_in_the_paper(spec)?;

    let mut g = Builder::new("mobilenet-v2");
    let x = g.input("image", &spec.sample_shape);
    let mut channels = eights(32, width);
    let mut h = with_relu(&mut g, "features.0", x, channels, conv(3).stride(2), norm);
    let mut place = 1;
    for (group, (widening, base, blocks, first_stride)) in GROUPS.into_iter().enumerate() {
        let output = if paper { eights_of_the_paper(group, base, width) } else { eights(base, width) };
        for i in 0..blocks {
            let stride = if i == 0 { first_stride } else { 1 };
            let block = Block { input: channels, widening, output, stride, norm };
            h = block.build(&mut g, &format!("features.{place}.conv"), h);
            channels = output;
            place += 1;
        }
    }
    let h = with_relu(&mut g, &format!("features.{place}"), h, eights(LAST, width).max(LAST), conv(1), norm);
    let h = g.global_avg_pool(h);
    let h = g.linear("classifier.1", h, spec.classes, Linear::default().init(Init::Normal(0.01)));
    g.cross_entropy(h, spec.classes, spec.label_smoothing);
    g.finish()
}

fn conv(kernel: usize) -> Conv2d {
    Conv2d::k(kernel).init(Init::TruncatedNormal)
}

/// A convolution `<name>.0`, its norm `<name>.1` and a ReLU.
fn with_relu(
    g: &mut Builder,
    name: &str,
    x: NodeId,
    channels: usize,
    conv: Conv2d,
    norm: BatchNorm,
) -> NodeId {
    let h = g.conv2d(&format!("{name}.0"), x, channels, conv);
    let h = g.batch_norm(&format!("{name}.1"), h, norm);
    g.relu(h)
}

/// An inverted residual block.
struct Block {
    input: usize,
    widening: usize,
    output: usize,
    stride: usize,
    norm: BatchNorm,
}

impl Block {
    fn build(&self, g: &mut Builder, name: &str, x: NodeId) -> NodeId {
        let &Block { input, widening, output, stride, norm } = self;
        let inner = input * widening;
        let mut places = 0..;
        let mut part = || format!("{name}.{}", places.next().unwrap_or(0));
        let mut h = x;
        if widening != 1 {
            h = with_relu(g, &part(), h, inner, conv(1), norm);
        }
        h = with_relu(g, &part(), h, inner, conv(3).stride(stride).groups(inner), norm);
        h = g.conv2d(&part(), h, output, conv(1));
        h = g.batch_norm(&part(), h, norm);
        if stride == 1 && input == output { g.add(h, x) } else { h }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Cost;
    use crate::op::Op;

    fn of(width: f64) -> Graph {
        mobilenet_v2().build(&ModelSpec::new(&[3, 224, 224], 1000).with("width", width)).unwrap()
    }

    #[test]
    fn widths_have_the_parameters_and_operations_of_torchvision() {
        for (width, parameters, macs) in
            [(1.0, 3_504_872, 300_774_272), (0.5, 1_968_680, 97_131_840), (1.4, 6_108_776, 582_195_824)]
        {
            let cost = Cost::dense(&of(width)).unwrap();
            assert_eq!((cost.weights + cost.biases, cost.dense_flops / 2), (parameters, macs), "{width}");
        }
    }

    #[test]
    fn names_are_those_of_torchvision() {
        let graph = of(1.0);
        for (name, shape) in [
            ("features.0.0", &[32, 3, 3, 3][..]),
            ("features.0.1", &[32]),
            ("features.1.conv.0.0", &[32, 1, 3, 3]),
            ("features.1.conv.0.1", &[32]),
            ("features.1.conv.1", &[16, 32, 1, 1]),
            ("features.1.conv.2", &[16]),
            ("features.2.conv.0.0", &[96, 16, 1, 1]),
            ("features.2.conv.1.0", &[96, 1, 3, 3]),
            ("features.17.conv.2", &[320, 960, 1, 1]),
            ("features.17.conv.3", &[320]),
            ("features.18.0", &[1280, 320, 1, 1]),
            ("features.18.1", &[1280]),
            ("classifier.1", &[1000, 1280]),
        ] {
            let found =
                graph.find_parameter(&format!("{name}.weight")).map(|id| &graph.parameter(id).shape[..]);
            assert_eq!(found, Some(shape), "{name}");
        }
        assert_eq!(graph.weights().count(), 53);
    }

    #[test]
    fn blocks_between_equal_shapes_have_a_skip_and_end_without_a_relu() {
        let graph = of(1.0);
        let sums: Vec<_> = graph.nodes().iter().filter(|node| node.op == Op::Add).collect();
        // All but the first of each group.
        assert_eq!(sums.len(), 10);
        for sum in sums {
            let narrowed = graph.node(sum.inputs[0]);
            assert!(matches!(narrowed.op, Op::BatchNorm { scale: 1.0, .. }), "{}", narrowed.name);
        }
    }
}
