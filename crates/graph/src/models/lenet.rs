//! LeNet-300-100 (LeCun et al., 1998): two hidden linear layers, the network of the paper's MNIST experiment
//! (RigL, appendix B). The paper's start from a found architecture such as 408-100-69 is an `mlp` of those sizes.

use super::sizes::width;
use super::{Model, Usual, mlp};

pub(super) fn lenet_300_100() -> Model {
    Model::new("lenet-300-100", |spec| mlp::build("lenet-300-100", spec, &[300, 100]))
        .about("two hidden linear layers (LeCun et al., 1998)")
        .usual(Usual::MNIST)
        .option(width(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Init;
    use crate::models::ModelSpec;

    #[test]
    fn it_has_266200_weights_and_410_biases() {
        let graph = lenet_300_100().build(&ModelSpec::new(&[1, 28, 28], 10)).unwrap();
        let of = |weight: bool| -> Vec<_> {
            graph.parameters().iter().filter(|p| p.is_weight() == weight).map(|p| (p.len(), p.init)).collect()
        };
        assert_eq!(of(true), [235_200, 30_000, 1000].map(|n| (n, Init::GlorotUniform)));
        assert_eq!(of(false), [300, 100, 10].map(|n| (n, Init::Zeros)));
    }

    #[test]
    fn a_width_makes_it_smaller() {
        let spec = ModelSpec::new(&[1, 28, 28], 10).with("width", 0.1);
        let shapes: Vec<_> =
            lenet_300_100().build(&spec).unwrap().weights().map(|(_, p)| p.shape.clone()).collect();
        assert_eq!(shapes, [[30, 784], [10, 30], [10, 10]]);
    }

    #[test]
    fn other_hidden_sizes_are_refused() {
        let spec = ModelSpec::new(&[1, 28, 28], 10).with("hidden", vec![10]);
        let error = lenet_300_100().build(&spec).unwrap_err();
        assert_eq!(error.message(), "`lenet-300-100` has no option `hidden`, allowed are `width`");
    }
}
