//! Residual networks for ImageNet (He et al., 2016), ResNet-50 among them, the paper's network there (RigL, §4.1). They
//! are of the form called v1.5: a block of three convolutions strides on its 3 × 3. Parameters are named as in
//! torchvision. As in the paper's code, convolutions start truncated normal, the classifier normal with deviation .01,
//! and the scale of a block's last norm at 0, so that every block starts as its skip.

use rigl_base::Result;

use super::sizes::{
    as_in_the_paper, at_depth, bn_momentum, cut_off, depth_of_table, multiple, norm, rounding, width,
};
use super::{Model, ModelSpec, Usual};
use crate::builder::{BatchNorm, Builder, Conv2d, Linear, Pool};
use crate::graph::Graph;
use crate::init::Init;
use crate::parameter::NodeId;

/// Depth 50: the blocks of each group, and how a block is made.
const FIFTY: ([usize; 4], Form) = ([3, 4, 6, 3], Form::Bottleneck);

/// The same for each depth there is.
const DEPTHS: [(usize, ([usize; 4], Form)); 5] = [
    (18, ([2, 2, 2, 2], Form::Basic)),
    (34, ([3, 4, 6, 3], Form::Basic)),
    (50, FIFTY),
    (101, ([3, 4, 23, 3], Form::Bottleneck)),
    (152, ([3, 8, 36, 3], Form::Bottleneck)),
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// Two 3 × 3 convolutions.
    Basic,
    /// A 1 × 1, a 3 × 3 and a 1 × 1 convolution, the last to four times the channels.
    Bottleneck,
}

pub(super) fn resnet() -> Model {
    Model::new("resnet", |spec| build("resnet", spec, *at_depth(&DEPTHS, spec)?))
        .about("residual networks for ImageNet, stride on the 3×3 (He et al., 2016)")
        .usual(Usual::IMAGENET)
        .option(depth_of_table(50, &DEPTHS))
        .option(width(1.0))
        .option(rounding())
        .option(bn_momentum())
}

pub(super) fn resnet_50() -> Model {
    Model::new("resnet-50", |spec| build("resnet-50", spec, FIFTY))
        .about("`resnet` at depth 50")
        .usual(Usual::IMAGENET)
        .option(width(1.0))
        .option(rounding())
        .option(bn_momentum())
}

fn build(name: &str, spec: &ModelSpec, (blocks, form): ([usize; 4], Form)) -> Result<Graph> {
    let (factor, norm) = (spec.number("width")?, norm(spec)?);
    let paper = as_in_the_paper(spec)?;
    let size = |base| if paper { cut_off(base, factor) } else { multiple(base, factor) };

    let mut g = Builder::new(name);
    let x = g.input("image", &spec.sample_shape);
    let mut channels = size(64);
    let h = g.conv2d("conv1", x, channels, conv(7).stride(2));
    let h = g.batch_norm("bn1", h, norm);
    let h = g.relu(h);
    let mut h = g.max_pool(h, Pool::k(3).stride(2).padding(1));
    for ((group, base), count) in [64, 128, 256, 512].into_iter().enumerate().zip(blocks) {
        let width = size(base);
        let output = match form {
            Form::Basic => width,
            Form::Bottleneck if paper => 4 * width,
            Form::Bottleneck => size(4 * base),
        };
        for i in 0..count {
            let stride = if group > 0 && i == 0 { 2 } else { 1 };
            let block =
                Block { form, width, output, stride, resized: stride != 1 || channels != output, norm };
            h = block.build(&mut g, &format!("layer{}.{i}", group + 1), h);
            channels = output;
        }
    }
    let h = g.global_avg_pool(h);
    let h = g.linear("fc", h, spec.classes, Linear::default().init(Init::Normal(0.01)));
    g.cross_entropy(h, spec.classes, spec.label_smoothing);
    g.finish()
}

fn conv(kernel: usize) -> Conv2d {
    Conv2d::k(kernel).init(Init::TruncatedNormal)
}

/// A residual block, the norm behind the convolution.
struct Block {
    form: Form,
    width: usize,
    output: usize,
    stride: usize,
    /// Whether its output has another shape than its input.
    resized: bool,
    norm: BatchNorm,
}

impl Block {
    fn build(&self, g: &mut Builder, name: &str, x: NodeId) -> NodeId {
        let &Block { width, output, stride, norm, .. } = self;
        let part = |part: &str| format!("{name}.{part}");
        let convolutions = match self.form {
            Form::Basic => vec![(width, conv(3).stride(stride)), (output, conv(3))],
            Form::Bottleneck => vec![(width, conv(1)), (width, conv(3).stride(stride)), (output, conv(1))],
        };
        let last = convolutions.len();
        let mut r = x;
        for (n, (channels, conv)) in (1..).zip(convolutions) {
            r = g.conv2d(&part(&format!("conv{n}")), r, channels, conv);
            let norm = if n == last { norm.scale(0.0) } else { norm };
            r = g.batch_norm(&part(&format!("bn{n}")), r, norm);
            r = if n == last { r } else { g.relu(r) };
        }
        let skip = if self.resized {
            let skip = g.conv2d(&part("downsample.0"), x, output, conv(1).stride(stride));
            g.batch_norm(&part("downsample.1"), skip, norm)
        } else {
            x
        };
        let sum = g.add(r, skip);
        g.relu(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Cost;

    fn imagenet() -> ModelSpec {
        ModelSpec::new(&[3, 224, 224], 1000)
    }

    #[test]
    fn resnet_50_has_the_weights_and_operations_of_the_paper() {
        let cost = Cost::dense(&resnet_50().build(&imagenet()).unwrap()).unwrap();
        assert_eq!(cost.weights, 25_502_912);
        assert_eq!(cost.dense_flops, 8_178_368_512);
    }

    #[test]
    fn every_depth_has_the_parameters_and_operations_of_torchvision() {
        for (depth, parameters, macs) in [
            (18usize, 11_689_512, 1_814_073_344),
            (34, 21_797_672, 3_663_761_408),
            (50, 25_557_032, 4_089_184_256),
            (101, 44_549_160, 7_801_405_440),
            (152, 60_192_808, 11_513_626_624),
        ] {
            let graph = resnet().build(&imagenet().with("depth", depth)).unwrap();
            let cost = Cost::dense(&graph).unwrap();
            assert_eq!((cost.weights + cost.biases, cost.dense_flops / 2), (parameters, macs), "{depth}");
        }
        assert_eq!(
            resnet().build(&imagenet()).unwrap().parameters(),
            resnet_50().build(&imagenet()).unwrap().parameters(),
            "50 by default"
        );
    }

    #[test]
    fn names_are_those_of_torchvision_and_the_stride_is_on_the_3_by_3() {
        let graph = resnet_50().build(&imagenet()).unwrap();
        let shape =
            |name: &str| &graph.parameter(graph.find_parameter(&format!("{name}.weight")).unwrap()).shape[..];
        assert_eq!(shape("conv1"), [64, 3, 7, 7]);
        assert_eq!(shape("layer1.0.downsample.0"), [256, 64, 1, 1]);
        assert_eq!(shape("layer1.0.downsample.1"), [256]);
        assert_eq!(shape("layer4.2.conv3"), [2048, 512, 1, 1]);
        assert_eq!(shape("fc"), [1000, 2048]);
        assert!(graph.find_node("layer1.1.downsample.0").is_none());
        assert!(graph.find_parameter("conv1.bias").is_none());
        let rows = |name: &str| graph.node(graph.find_node(name).unwrap()).shape[1];
        let names = ["conv1", "max-pool", "layer2.0.conv1", "layer2.0.conv2", "layer4.2.conv3"];
        assert_eq!(names.map(rows), [112, 56, 56, 28, 7]);
    }

    #[test]
    fn parameters_start_as_in_the_papers_code() {
        for depth in [18usize, 50] {
            let graph = resnet().build(&imagenet().with("depth", depth)).unwrap();
            let last = if depth == 18 { "bn2" } else { "bn3" };
            for p in graph.parameters() {
                let expected = match (p.layer(), p.shape.len()) {
                    ("fc", 2) => Init::Normal(0.01),
                    (_, 4) => Init::TruncatedNormal,
                    _ if p.name.ends_with(".bias") => Init::Zeros,
                    (layer, _) if layer.starts_with("layer") && layer.ends_with(last) => Init::Constant(0.0),
                    _ => Init::Constant(1.0),
                };
                assert_eq!(p.init, expected, "{}", p.name);
            }
        }
    }

    #[test]
    fn the_papers_small_dense_widths_have_the_size_of_the_sparse_networks() {
        // In bytes, where a sparse network also needs a bit for every position: ERK at .8, .9 and .95.
        for (width, megabytes) in [(0.465, 23.683), (0.34, 13.499), (0.26, 8.399)] {
            let graph = resnet_50().build(&imagenet().with("width", width)).unwrap();
            let ratio = Cost::dense(&graph).unwrap().bytes as f64 / 1e6 / megabytes;
            assert!((ratio - 1.0).abs() < 0.021, "{width}: {ratio}");
        }
    }

    #[test]
    fn rounded_as_in_the_paper_channels_are_cut_off_and_a_block_ends_at_four_times_its_width() {
        for (rounding, first, inner, output) in [("nearest", 30, 30, 119), ("paper", 29, 29, 116)] {
            let spec = imagenet().with("width", 0.465).with("rounding", rounding);
            let graph = resnet_50().build(&spec).unwrap();
            let shape = |name: &str| &graph.parameter(graph.find_parameter(name).unwrap()).shape[..];
            assert_eq!(shape("conv1.weight"), [first, 3, 7, 7], "{rounding}");
            assert_eq!(shape("layer1.0.conv3.weight"), [output, inner, 1, 1], "{rounding}");
        }
    }

    #[test]
    fn other_depths_are_refused_with_the_nearest() {
        let error = resnet().build(&imagenet().with("depth", 44usize)).unwrap_err();
        assert_eq!(
            error.message(),
            "`depth` of model `resnet` is `44`, expected one of 18, 34, 50, 101, 152"
        );
        assert_eq!(error.hint_text(), Some("50"));
        let error = resnet_50().build(&imagenet().with("depth", 50usize)).unwrap_err();
        assert_eq!(
            error.message(),
            "`resnet-50` has no option `depth`, allowed are `width`, `rounding`, `bn-momentum`"
        );
    }
}
