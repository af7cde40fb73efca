//! Networks of linear layers: `fc1`, `fc2`, …, with ReLU between them, Glorot uniform weights and zero biases. A width
//! is a multiple of the hidden sizes.

use rigl_base::Result;

use super::sizes::{multiple, width};
use super::{Model, ModelOption, ModelSpec, Usual};
use crate::builder::{Builder, Linear};
use crate::graph::Graph;

pub(super) fn mlp() -> Model {
    Model::new("mlp", |spec| build("mlp", spec, spec.sizes("hidden")?))
        .about("linear layers with ReLU between them")
        .usual(Usual::MNIST)
        .option(ModelOption::sizes("hidden", [300, 100]).doc("Sizes of the hidden layers."))
        .option(width(1.0))
}

pub(super) fn build(name: &str, spec: &ModelSpec, hidden: &[usize]) -> Result<Graph> {
    let width = spec.number("width")?;
    let mut g = Builder::new(name);
    let x = g.input("image", &spec.sample_shape);
    let mut h = g.flatten(x);
    for (i, &features) in hidden.iter().enumerate() {
        h = g.linear(&format!("fc{}", i + 1), h, multiple(features, width), Linear::default());
        h = g.relu(h);
    }
    let h = g.linear(&format!("fc{}", hidden.len() + 1), h, spec.classes, Linear::default());
    g.cross_entropy(h, spec.classes, spec.label_smoothing);
    g.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(hidden: &[usize]) -> Result<Graph> {
        mlp().build(&ModelSpec::new(&[1, 8, 8], 10).with("hidden", hidden.to_vec()))
    }

    #[test]
    fn layers_are_numbered_and_have_the_sizes_asked_for() {
        let shapes = |g: &Graph| {
            g.weights().map(|(_, p)| (p.layer().to_string(), p.shape.clone())).collect::<Vec<_>>()
        };
        let three = with(&[20, 5]).unwrap();
        let expected = [("fc1", vec![20, 64]), ("fc2", vec![5, 20]), ("fc3", vec![10, 5])];
        assert_eq!(shapes(&three), expected.map(|(n, s)| (n.to_string(), s)));
        assert_eq!(shapes(&with(&[]).unwrap()), [("fc1".to_string(), vec![10, 64])]);
        let own = mlp().build(&ModelSpec::new(&[64], 10)).unwrap();
        assert_eq!(shapes(&own)[0], ("fc1".to_string(), vec![300, 64]));
    }

    #[test]
    fn a_width_scales_hidden_sizes_and_leaves_one_at_least() {
        let sizes = |width: f64, hidden: &[usize]| {
            let spec = ModelSpec::new(&[1, 8, 8], 10).with("width", width).with("hidden", hidden.to_vec());
            mlp().build(&spec).unwrap().weights().map(|(_, p)| p.shape[0]).collect::<Vec<_>>()
        };
        assert_eq!(sizes(0.5, &[300, 100]), [150, 50, 10]);
        assert_eq!(sizes(0.15, &[20, 10, 1]), [3, 2, 1, 10]);
        assert_eq!(sizes(1e-9, &[300, 100]), [1, 1, 10]);
        let error = mlp().build(&ModelSpec::new(&[4], 10).with("width", 0.0)).unwrap_err();
        assert_eq!(error.message(), "`width` of model `mlp` is `0`, expected a number with 0 < width ≤ 1000");
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let message = |hidden: &[usize]| with(hidden).unwrap_err().message().to_string();
        let sizes = "expected a list of whole numbers from 1 to 16777216";
        assert_eq!(message(&[0]), format!("`hidden` of model `mlp` is `[0]`, {sizes}"));
        assert!(message(&[5, usize::MAX]).ends_with(sizes));
        assert!(message(&[1 << 24, 1 << 24]).contains("`fc2`"));
        assert!(mlp().build(&ModelSpec::new(&[], 10)).is_err());
        assert!(mlp().build(&ModelSpec::new(&[4], 1)).unwrap_err().message().contains("classes"));
    }
}
