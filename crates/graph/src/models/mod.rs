//! The models that ship with rigl, and the table in which they are looked up by name. A model is a plain
//! function from a [`ModelSpec`] to a graph; it holds no sparsity, no masks and no training code.

use std::collections::BTreeMap;

use rigl_base::{Error, Result};

use crate::graph::Graph;

mod lenet;
mod mlp;

/// What a model is built from: what the data set states, and the model's own options.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The shape of one sample: `[channels, rows, columns]` for images.
    pub sample_shape: Vec<usize>,
    /// The number of classes.
    pub classes: usize,
    /// Sizes of the hidden layers, where the model lets them be chosen; `None` for the model's own.
    pub hidden: Option<Vec<usize>>,
    /// Label smoothing of the loss, at least 0 and below 1.
    pub label_smoothing: f32,
}

impl ModelSpec {
    /// A model for such samples, with its own sizes and without label smoothing.
    pub fn new(sample_shape: &[usize], classes: usize) -> ModelSpec {
        ModelSpec { sample_shape: sample_shape.to_vec(), classes, hidden: None, label_smoothing: 0.0 }
    }
}

/// A model: its graph for a data set and options.
pub type BuildModel = fn(&ModelSpec) -> Result<Graph>;

/// Models by name. The default holds those that ship with rigl.
#[derive(Clone, Debug)]
pub struct Models(BTreeMap<String, BuildModel>);

impl Default for Models {
    fn default() -> Models {
        let mut models = Models(BTreeMap::new());
        models.insert("lenet-300-100", lenet::lenet_300_100);
        models.insert("mlp", mlp::mlp);
        models
    }
}

impl Models {
    /// Adds a model; one of the same name is replaced.
    pub fn insert(&mut self, name: &str, build: BuildModel) -> &mut Models {
        self.0.insert(name.into(), build);
        self
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The model of that name.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), listing the names; the hint is the nearest.
    pub fn get(&self, name: &str) -> Result<BuildModel> {
        if let Some(&build) = self.0.get(name) {
            return Ok(build);
        }
        let known: Vec<String> = self.names().map(|n| format!("`{n}`")).collect();
        let name = crate::words::clip(name);
        let error = Error::usage(format!("no model is called `{name}`, allowed are {}", known.join(", ")));
        Err(match nearest(&name, self.names()) {
            Some(near) => error.hint(near),
            None => error,
        })
    }

    /// Builds the model of that name.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there is no such model or it cannot be built so.
    pub fn build(&self, name: &str, spec: &ModelSpec) -> Result<Graph> {
        self.get(name)?(spec)
    }
}

/// The name most like `name`, if it is like it at all: it begins the same, or few keys were hit wrongly.
fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_lowercase();
    let likeness = |n: &str| {
        let slips = strsim::normalized_damerau_levenshtein(&name, n);
        if slips > 0.6 { 1.0 + slips } else { strsim::jaro_winkler(&name, n) }
    };
    names
        .map(|n| (likeness(n), n))
        .filter(|(x, _)| *x > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, n)| n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rigl_base::Kind;

    #[test]
    fn unknown_names_list_the_models_and_the_nearest() {
        let models = Models::default();
        for (name, near) in
            [("lenet", Some("lenet-300-100")), ("MPL", Some("mlp")), ("resnet50", None), ("", None)]
        {
            let error = models.get(name).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert_eq!(
                error.message(),
                format!("no model is called `{name}`, allowed are `lenet-300-100`, `mlp`")
            );
            assert_eq!(error.hint_text(), near, "{name}");
        }
    }

    #[test]
    fn a_users_own_model_is_found_beside_ours() {
        let mut models = Models::default();
        models.insert("mine", |spec| {
            Models::default().build("mlp", &ModelSpec { hidden: Some(vec![]), ..spec.clone() })
        });
        let graph = models.build("mine", &ModelSpec::new(&[4], 3)).unwrap();
        assert_eq!(graph.parameters()[0].shape, [3, 4]);
        assert_eq!(models.names().collect::<Vec<_>>(), ["lenet-300-100", "mine", "mlp"]);
    }

    #[test]
    fn every_model_is_valid_and_survives_its_text_form() {
        let models = Models::default();
        for name in models.names() {
            let graph = models.build(name, &ModelSpec::new(&[3, 5, 7], 6)).unwrap();
            graph.verify().unwrap();
            assert_eq!(graph.name(), name);
            assert_eq!(graph.classes(), 6);
            assert_eq!(Graph::parse(&graph.to_text()).unwrap(), graph);
        }
    }
}
