//! MobileNet-v1 (Howard et al., 2017): blocks of a depthwise 3 × 3 and a pointwise 1 × 1 convolution, each with norm and
//! ReLU. PyTorch's own collection has none to take names from: they are `conv1`, `blocks.N.depthwise`,
//! `blocks.N.pointwise` with norms `bn1` and `bn2`, and `fc`. Channels are whole eights at every width, unless `rounding`
//! says otherwise, and parameters start as in the paper's code (RigL, §4.1).

use rigl_base::Result;

use super::sizes::{
    as_in_the_paper, bn_momentum, eights, eights_of_the_paper, norm, rounding_to_eights, width,
};
use super::{Model, ModelSpec, Usual};
use crate::builder::{Builder, Conv2d, Linear};
use crate::graph::Graph;
use crate::init::Init;

/// Channels behind each block, and its stride.
const BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

pub(super) fn mobilenet_v1() -> Model {
    Model::new("mobilenet-v1", build)
        .about("blocks of depthwise and pointwise convolutions (Howard et al., 2017)")
        .usual(Usual::IMAGENET)
        .option(width(1.0))
        .option(rounding_to_eights())
        .option(bn_momentum())
}

fn build(spec: &ModelSpec) -> Result<Graph> {
    let (width, norm) = (spec.number("width")?, norm(spec)?);
    let paper = as_in_the_paper(spec)?;
    let conv = |kernel| Conv2d::k(kernel).init(Init::TruncatedNormal);

    let mut g = Builder::new("mobilenet-v1");
    let x = g.input("image", &spec.sample_shape);
    let mut channels = eights(32, width);
    let h = g.conv2d("conv1", x, channels, conv(3).stride(2));
    let h = g.batch_norm("bn1", h, norm);
    let mut h = g.relu(h);
    for (i, (base, stride)) in BLOCKS.into_iter().enumerate() {
        let part = |part: &str| format!("blocks.{i}.{part}");
        h = g.conv2d(&part("depthwise"), h, channels, conv(3).stride(stride).groups(channels));
        h = g.batch_norm(&part("bn1"), h, norm);
        h = g.relu(h);
        channels = if paper { eights_of_the_paper(i, base, width) } else { eights(base, width) };
        h = g.conv2d(&part("pointwise"), h, channels, conv(1));
        h = g.batch_norm(&part("bn2"), h, norm);
        h = g.relu(h);
    }
    let h = g.global_avg_pool(h);
    let h = g.linear("fc", h, spec.classes, Linear::default().init(Init::Normal(0.01)));
    g.cross_entropy(h, spec.classes, spec.label_smoothing);
    g.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Cost;

    fn of(width: f64) -> Graph {
        mobilenet_v1().build(&ModelSpec::new(&[3, 224, 224], 1000).with("width", width)).unwrap()
    }

    #[test]
    fn it_has_the_parameters_and_operations_of_the_paper() {
        let cost = Cost::dense(&of(1.0)).unwrap();
        assert_eq!((cost.weights, cost.weights + cost.biases), (4_209_088, 4_231_976));
        assert_eq!(cost.dense_flops, 1_137_480_704);
    }

    #[test]
    fn widths_have_channels_in_eights() {
        for (width, first, last) in [(0.25, 8, 256), (0.33, 16, 336), (0.75, 24, 768), (1.98, 64, 2024)] {
            let graph = of(width);
            let shape = |name: &str| &graph.parameter(graph.find_parameter(name).unwrap()).shape[..];
            assert_eq!(shape("conv1.weight"), [first, 3, 3, 3], "{width}");
            assert_eq!(shape("blocks.0.depthwise.weight"), [first, 1, 3, 3], "{width}");
            assert_eq!(shape("blocks.12.pointwise.weight"), [last, last, 1, 1], "{width}");
            assert_eq!(shape("fc.weight"), [1000, last], "{width}");
        }
    }

    #[test]
    fn rounded_as_in_the_paper_the_first_block_has_no_eights_and_the_others_those_of_what_is_cut_off() {
        let spec = ModelSpec::new(&[3, 224, 224], 1000).with("rounding", "paper");
        for (width, channels) in [(1.98, [64, 126, 256, 504, 2024]), (0.33, [16, 21, 40, 88, 336])] {
            let graph = mobilenet_v1().build(&spec.clone().with("width", width)).unwrap();
            let outputs = |name: &str| graph.parameter(graph.find_parameter(name).unwrap()).shape[0];
            let names = [
                "conv1",
                "blocks.0.pointwise",
                "blocks.1.pointwise",
                "blocks.3.pointwise",
                "blocks.12.pointwise",
            ];
            assert_eq!(names.map(|name| outputs(&format!("{name}.weight"))), channels, "{width}");
        }
    }

    #[test]
    fn maps_are_halved_five_times() {
        let graph = of(1.0);
        let rows = |name: &str| graph.node(graph.find_node(name).unwrap()).shape[1];
        let blocks: Vec<usize> = (0..13).map(|i| rows(&format!("blocks.{i}.depthwise"))).collect();
        assert_eq!(rows("conv1"), 112);
        assert_eq!(blocks, [112, 56, 56, 28, 28, 14, 14, 14, 14, 14, 14, 7, 7]);
    }

    #[test]
    fn the_classifier_starts_small_and_no_norm_at_zero() {
        for p in of(0.25).parameters() {
            let expected = match (p.layer(), p.shape.len()) {
                ("fc", 2) => Init::Normal(0.01),
                (_, 4) => Init::TruncatedNormal,
                _ if p.name.ends_with(".bias") => Init::Zeros,
                _ => Init::Constant(1.0),
            };
            assert_eq!(p.init, expected, "{}", p.name);
        }
    }
}
