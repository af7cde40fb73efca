//! Networks of linear layers: `fc1`, `fc2`, …, with ReLU between them, Glorot uniform weights and zero biases. A width
//! is a multiple of the hidden sizes.

use rigl_base::Result;

use super::{ModelSpec, multiple, width_of};
use crate::builder::{Builder, Linear};
use crate::graph::Graph;

/// The hidden layers if none are asked for.
const HIDDEN: [usize; 2] = [300, 100];

/// Any list of hidden layers, none included.
pub(super) fn mlp(spec: &ModelSpec) -> Result<Graph> {
    spec.takes("mlp", &["hidden", "width"])?;
    build("mlp", spec, spec.hidden.as_deref().unwrap_or(&HIDDEN))
}

pub(super) fn build(name: &str, spec: &ModelSpec, hidden: &[usize]) -> Result<Graph> {
    let width = width_of(name, spec, 1.0)?;
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
        mlp(&ModelSpec { hidden: Some(hidden.to_vec()), ..ModelSpec::new(&[1, 8, 8], 10) })
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
        let own = mlp(&ModelSpec::new(&[64], 10)).unwrap();
        assert_eq!(shapes(&own)[0], ("fc1".to_string(), vec![300, 64]));
    }

    #[test]
    fn a_width_scales_hidden_sizes_and_leaves_one_at_least() {
        let sizes = |width: f64, hidden: Option<Vec<usize>>| {
            let spec = ModelSpec { width: Some(width), hidden, ..ModelSpec::new(&[1, 8, 8], 10) };
            mlp(&spec).unwrap().weights().map(|(_, p)| p.shape[0]).collect::<Vec<_>>()
        };
        assert_eq!(sizes(0.5, None), [150, 50, 10]);
        assert_eq!(sizes(0.15, Some(vec![20, 10, 1])), [3, 2, 1, 10]);
        assert_eq!(sizes(1e-9, None), [1, 1, 10]);
        let error = mlp(&ModelSpec { width: Some(0.0), ..ModelSpec::new(&[4], 10) }).unwrap_err();
        assert_eq!(error.message(), "`mlp` has widths above 0 and at most 1000, found 0");
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let message = |hidden: &[usize]| with(hidden).unwrap_err().message().to_string();
        assert!(message(&[0]).contains("`fc1`"), "{}", message(&[0]));
        assert!(message(&[5, usize::MAX]).contains("`fc2`"));
        assert!(mlp(&ModelSpec::new(&[], 10)).is_err());
        assert!(mlp(&ModelSpec::new(&[4], 1)).unwrap_err().message().contains("classes"));
    }
}
