//! VGG networks for small images (Simonyan and Zisserman, 2015), with batch norm and one linear layer in place of the
//! three. Parameters are numbered as in PyTorch's code: `features.N`, `classifier`.

use rigl_base::{Error, Result};

use super::sizes::{at_depth, bn_momentum, depth_of_table, multiple, norm, width};
use super::{Model, ModelSpec, Usual};
use crate::builder::{Builder, Conv2d, Linear, Pool};
use crate::graph::Graph;
use crate::init::Init;

/// The depths: each stage's number of convolutions.
const DEPTHS: [(usize, [usize; 5]); 4] =
    [(11, [1, 1, 2, 2, 2]), (13, [2, 2, 2, 2, 2]), (16, [2, 2, 3, 3, 3]), (19, [2, 2, 4, 4, 4])];

/// Rows and columns of which five halvings leave one.
const LEAST: usize = 32;

pub(super) fn vgg_cifar() -> Model {
    Model::new("vgg-cifar", build)
        .about("VGG networks for small images, with batch norm (Simonyan and Zisserman, 2015)")
        .usual(Usual::CIFAR10)
        .option(depth_of_table(16, &DEPTHS))
        .option(width(1.0))
        .option(bn_momentum())
}

fn build(spec: &ModelSpec) -> Result<Graph> {
    let stages = at_depth(&DEPTHS, spec)?;
    let (width, norm) = (spec.number("width")?, norm(spec)?);

    if let &[_, rows, columns] = &spec.sample_shape[..]
        && rows.min(columns) < LEAST
    {
        return Err(Error::usage(format!(
            "`vgg-cifar` halves images five times, so they must have {LEAST}×{LEAST} pixels at least, found {rows}×{columns}"
        )));
    }
    let mut g = Builder::new("vgg-cifar");
    let mut h = g.input("image", &spec.sample_shape);
    // The places of convolution, norm, ReLU and pooling in one list.
    let mut place = 0;
    for (&convolutions, base) in stages.iter().zip([64, 128, 256, 512, 512]) {
        for _ in 0..convolutions {
            let conv = Conv2d::k3().init(Init::HeNormal);
            h = g.conv2d(&format!("features.{place}"), h, multiple(base, width), conv);
            h = g.batch_norm(&format!("features.{}", place + 1), h, norm);
            h = g.relu(h);
            place += 3;
        }
        h = g.max_pool(h, Pool::k(2));
        place += 1;
    }
    let h = g.global_avg_pool(h);
    let h = g.linear("classifier", h, spec.classes, Linear::default());
    g.cross_entropy(h, spec.classes, spec.label_smoothing);
    g.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Cost;

    fn of(depth: usize, width: f64) -> Result<Graph> {
        vgg_cifar().build(&ModelSpec::new(&[3, 32, 32], 10).with("depth", depth).with("width", width))
    }

    #[test]
    fn depths_have_that_many_layers_with_weights() {
        // Of the original's three linear layers one is left.
        for (depth, _) in DEPTHS {
            assert_eq!(of(depth, 1.0).unwrap().weights().count(), depth - 2);
        }
        let cost = Cost::dense(&of(16, 1.0).unwrap()).unwrap();
        assert_eq!((cost.weights, cost.dense_flops / 2), (14_715_584, 313_201_664));
    }

    #[test]
    fn layers_are_numbered_as_in_a_list_of_modules() {
        let graph = of(11, 0.25).unwrap();
        let names: Vec<_> = graph.weights().map(|(_, p)| p.layer()).collect();
        let places = [0, 4, 8, 11, 15, 18, 22, 25].map(|n| format!("features.{n}"));
        assert_eq!(names[..8], places);
        assert_eq!(names[8], "classifier");
        assert!(graph.find_buffer("features.1.running_mean").is_some());
        assert_eq!(graph.parameter(graph.find_parameter("classifier.weight").unwrap()).shape, [10, 128]);
    }

    #[test]
    fn other_depths_and_too_small_images_are_refused() {
        let error = of(18, 1.0).unwrap_err();
        assert_eq!(error.message(), "`depth` of model `vgg-cifar` is `18`, expected one of 11, 13, 16, 19");
        assert_eq!(error.hint_text(), Some("19"));
        let error = vgg_cifar().build(&ModelSpec::new(&[3, 28, 28], 10)).unwrap_err();
        assert_eq!(
            error.message(),
            "`vgg-cifar` halves images five times, so they must have 32×32 pixels at least, found 28×28"
        );
    }
}
