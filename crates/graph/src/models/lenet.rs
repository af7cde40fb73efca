//! LeNet-300-100 (LeCun et al., 1998): two hidden linear layers, the network of the paper's MNIST experiment
//! (RigL, appendix B). The paper's start from a found architecture such as 408-100-69 is an `mlp` of those sizes.

use rigl_base::{Error, Result};

use super::{ModelSpec, mlp};
use crate::graph::Graph;

pub(super) fn lenet_300_100(spec: &ModelSpec) -> Result<Graph> {
    if let Some(hidden) = &spec.hidden {
        let error = Error::usage(format!("`lenet-300-100` has hidden layers of its own, found {hidden:?}"));
        return Err(error.hint("mlp"));
    }
    spec.takes("lenet-300-100", &["width"])?;
    mlp::build("lenet-300-100", spec, &[300, 100])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Init;

    #[test]
    fn it_has_266200_weights_and_410_biases() {
        let graph = lenet_300_100(&ModelSpec::new(&[1, 28, 28], 10)).unwrap();
        let of = |weight: bool| -> Vec<_> {
            graph.parameters().iter().filter(|p| p.is_weight() == weight).map(|p| (p.len(), p.init)).collect()
        };
        assert_eq!(of(true), [235_200, 30_000, 1000].map(|n| (n, Init::GlorotUniform)));
        assert_eq!(of(false), [300, 100, 10].map(|n| (n, Init::Zeros)));
    }

    #[test]
    fn a_width_makes_it_smaller() {
        let spec = ModelSpec { width: Some(0.1), ..ModelSpec::new(&[1, 28, 28], 10) };
        let shapes: Vec<_> = lenet_300_100(&spec).unwrap().weights().map(|(_, p)| p.shape.clone()).collect();
        assert_eq!(shapes, [[30, 784], [10, 30], [10, 10]]);
    }

    #[test]
    fn other_hidden_sizes_are_refused() {
        let spec = ModelSpec { hidden: Some(vec![10]), ..ModelSpec::new(&[1, 28, 28], 10) };
        assert_eq!(lenet_300_100(&spec).unwrap_err().hint_text(), Some("mlp"));
    }
}
