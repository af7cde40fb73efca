//! Residual networks for small images (He et al., 2016, the CIFAR-10 networks of depth 6n + 2): blocks of two 3 × 3
//! convolutions with the norm behind them, and a 1 × 1 convolution with a norm on the skip where the shape changes.
//! Parameters are named as in torchvision.

use rigl_base::Result;

use super::sizes::{bn_momentum, depth_of_groups, multiple, norm, width};
use super::{Model, ModelSpec, Usual};
use crate::builder::{Builder, Conv2d, Linear};
use crate::graph::Graph;
use crate::init::Init;

pub(super) fn resnet_cifar() -> Model {
    Model::new("resnet-cifar", build)
        .about("residual networks for small images (He et al., 2016)")
        .usual(Usual::CIFAR10)
        .option(depth_of_groups(20, 2))
        .option(width(1.0))
        .option(bn_momentum())
}

fn build(spec: &ModelSpec) -> Result<Graph> {
    let blocks = (spec.whole("depth")? - 2) / 6;
    let (factor, norm) = (spec.number("width")?, norm(spec)?);
    let he = |conv: Conv2d| conv.init(Init::HeNormal);

    let mut g = Builder::new("resnet-cifar");
    let x = g.input("image", &spec.sample_shape);
    let mut channels = multiple(16, factor);
    let h = g.conv2d("conv1", x, channels, he(Conv2d::k3()));
    let h = g.batch_norm("bn1", h, norm);
    let mut h = g.relu(h);
    for (group, base) in [16, 32, 64].into_iter().enumerate() {
        let width = multiple(base, factor);
        for i in 0..blocks {
            let stride = if group > 0 && i == 0 { 2 } else { 1 };
            let part = |part: &str| format!("layer{}.{i}.{part}", group + 1);
            let r = g.conv2d(&part("conv1"), h, width, he(Conv2d::k3().stride(stride)));
            let r = g.batch_norm(&part("bn1"), r, norm);
            let r = g.relu(r);
            let r = g.conv2d(&part("conv2"), r, width, he(Conv2d::k3()));
            let r = g.batch_norm(&part("bn2"), r, norm);
            if stride != 1 || channels != width {
                let skip = g.conv2d(&part("downsample.0"), h, width, he(Conv2d::k1().stride(stride)));
                h = g.batch_norm(&part("downsample.1"), skip, norm);
            }
            let sum = g.add(r, h);
            h = g.relu(sum);
            channels = width;
        }
    }
    let h = g.global_avg_pool(h);
    let h = g.linear("fc", h, spec.classes, Linear::default());
    g.cross_entropy(h, spec.classes, spec.label_smoothing);
    g.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Cost;

    fn of(depth: usize, width: f64) -> Result<Graph> {
        resnet_cifar().build(&ModelSpec::new(&[3, 32, 32], 10).with("depth", depth).with("width", width))
    }

    #[test]
    fn depths_have_the_sizes_of_the_paper() {
        // The paper's .27, .46, .66, .85 million parameters have no convolutions on skips: 512 + 2048 weights and two
        // norms of 32 and 64 channels more here.
        for (depth, millions) in [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)] {
            let cost = Cost::dense(&of(depth, 1.0).unwrap()).unwrap();
            let all = cost.weights + cost.biases - (512 + 2048 + 2 * 96);
            assert!((all as f64 / 1e6 - millions).abs() < 0.01, "{depth}: {all}");
        }
        let cost = Cost::dense(&of(20, 1.0).unwrap()).unwrap();
        assert_eq!(cost.weights, 270_896);
    }

    #[test]
    fn names_are_those_of_torchvision() {
        let graph = of(8, 2.0).unwrap();
        for name in ["conv1", "bn1", "layer1.0.conv1", "layer3.0.downsample.0", "layer3.0.downsample.1", "fc"]
        {
            assert!(graph.find_parameter(&format!("{name}.weight")).is_some(), "{name}");
        }
        assert!(graph.find_node("layer1.0.downsample.0").is_none());
        assert_eq!(graph.parameter(graph.find_parameter("fc.weight").unwrap()).shape, [10, 128]);
    }

    #[test]
    fn other_depths_are_refused_with_the_nearest() {
        let error = of(18, 1.0).unwrap_err();
        assert_eq!(
            error.message(),
            "`depth` of model `resnet-cifar` is `18`, expected a whole number 6n + 2 from 8 to 2000"
        );
        assert_eq!(error.hint_text(), Some("20"));
    }
}
