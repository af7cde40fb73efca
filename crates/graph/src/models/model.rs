//! A model: a function from what the data set states, and the values of the model's own options, to a graph.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use rigl_base::{Error, Result};

use super::option::{ModelOption, OptionValue, Values};
use crate::graph::Graph;

/// What a model is built from: what the data set states, and the model's own options.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The shape of one sample: `[channels, rows, columns]` for images.
    pub sample_shape: Vec<usize>,
    /// The number of classes.
    pub classes: usize,
    /// Label smoothing of the loss, at least 0 and below 1.
    pub label_smoothing: f32,
    /// Values of the model's options. A model's function finds all of them here, a caller sets those that are not to
    /// be the model's own.
    pub options: Values,
}

impl ModelSpec {
    /// A model for such samples, with its own options and without label smoothing.
    pub fn new(sample_shape: &[usize], classes: usize) -> ModelSpec {
        ModelSpec {
            sample_shape: sample_shape.to_vec(),
            classes,
            label_smoothing: 0.0,
            options: Values::default(),
        }
    }

    /// The same with this value of an option.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OptionValue>) -> ModelSpec {
        self.options.set(name, value);
        self
    }

    /// The value of an option that is a whole number.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if the model declares no such option; so for the other kinds.
    pub fn whole(&self, name: &str) -> Result<usize> {
        match self.options.get(name) {
            Some(&OptionValue::Whole(n)) => Ok(n),
            other => Err(undeclared(name, "a whole number", other)),
        }
    }

    /// The value of an option that is a number.
    ///
    /// # Errors
    /// See [`whole`](ModelSpec::whole).
    pub fn number(&self, name: &str) -> Result<f64> {
        match self.options.get(name) {
            Some(&OptionValue::Number(x)) => Ok(x),
            other => Err(undeclared(name, "a number", other)),
        }
    }

    /// The value of an option that is a list of sizes.
    ///
    /// # Errors
    /// See [`whole`](ModelSpec::whole).
    pub fn sizes(&self, name: &str) -> Result<&[usize]> {
        match self.options.get(name) {
            Some(OptionValue::Sizes(sizes)) => Ok(sizes),
            other => Err(undeclared(name, "a list of sizes", other)),
        }
    }

    /// The value of an option that is a word.
    ///
    /// # Errors
    /// See [`whole`](ModelSpec::whole).
    pub fn word(&self, name: &str) -> Result<&str> {
        match self.options.get(name) {
            Some(OptionValue::Word(word)) => Ok(word),
            other => Err(undeclared(name, "a word", other)),
        }
    }

    /// The value of an option that is yes or no.
    ///
    /// # Errors
    /// See [`whole`](ModelSpec::whole).
    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.options.get(name) {
            Some(&OptionValue::Flag(flag)) => Ok(flag),
            other => Err(undeclared(name, "a flag", other)),
        }
    }
}

fn undeclared(name: &str, what: &str, found: Option<&OptionValue>) -> Error {
    Error::internal(match found {
        None => format!("the model asks for its option `{name}`, but declares none of that name"),
        Some(found) => format!("the model asks for {what} as its option `{name}`, which is `{found}`"),
    })
}

/// The samples that a model is usually for, where no data set says which.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usual {
    /// Channels, rows, columns of a sample.
    pub sample_shape: &'static [usize],
    /// The number of classes.
    pub classes: usize,
}

impl Usual {
    /// Digits of MNIST.
    pub const MNIST: Usual = Usual { sample_shape: &[1, 28, 28], classes: 10 };
    /// Images of CIFAR-10.
    pub const CIFAR10: Usual = Usual { sample_shape: &[3, 32, 32], classes: 10 };
    /// Images of ImageNet, as they are usually cut.
    pub const IMAGENET: Usual = Usual { sample_shape: &[3, 224, 224], classes: 1000 };
}

type Build = dyn Fn(&ModelSpec) -> Result<Graph> + Send + Sync;

/// A model, with all that is known of it.
///
/// ```
/// use rigl_graph::models::{Model, ModelOption, ModelSpec};
/// use rigl_graph::{Builder, Linear};
///
/// let perceptron = Model::new("perceptron", |spec| {
///     let mut g = Builder::new("perceptron");
///     let x = g.input("image", &spec.sample_shape);
///     let x = g.flatten(x);
///     let x = if spec.flag("relu")? { g.relu(x) } else { x };
///     let logits = g.linear("fc", x, spec.classes, Linear::default());
///     g.cross_entropy(logits, spec.classes, spec.label_smoothing);
///     g.finish()
/// })
/// .option(ModelOption::flag("relu", false).doc("Whether inputs below 0 are cut off."));
///
/// let graph = perceptron.build(&ModelSpec::new(&[1, 28, 28], 10).with("relu", true))?;
/// assert!(graph.find_node("relu").is_some());
/// # Ok::<(), rigl_base::Error>(())
/// ```
#[derive(Clone)]
pub struct Model {
    /// Its name: `wrn-22-2`.
    pub name: Cow<'static, str>,
    /// What it is, in a few words.
    pub about: Cow<'static, str>,
    /// The samples it is usually for, if that is known.
    pub usual: Option<Usual>,
    /// Its options, in the order in which they are shown.
    pub options: Vec<ModelOption>,
    build: Arc<Build>,
}

impl Model {
    /// A model without options. `build` is given a spec with a value for each option that the model has.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        build: impl Fn(&ModelSpec) -> Result<Graph> + Send + Sync + 'static,
    ) -> Model {
        Model {
            name: name.into(),
            about: "".into(),
            usual: None,
            options: Vec::new(),
            build: Arc::new(build),
        }
    }

    /// The same with these words about it.
    #[must_use]
    pub fn about(self, about: impl Into<Cow<'static, str>>) -> Model {
        Model { about: about.into(), ..self }
    }

    /// The same, usually for such samples.
    #[must_use]
    pub fn usual(self, usual: Usual) -> Model {
        Model { usual: Some(usual), ..self }
    }

    /// The same with one more option.
    #[must_use]
    pub fn option(mut self, option: ModelOption) -> Model {
        self.options.push(option);
        self
    }

    /// Its network, for what `spec` says; options that it does not set have their defaults.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for options that the model does not have or take, and if it cannot be
    /// built so.
    pub fn build(&self, spec: &ModelSpec) -> Result<Graph> {
        let options = spec.options.complete(&self.name, &self.options)?;
        (self.build)(&ModelSpec { options, ..spec.clone() })
    }

    /// The option of that name.
    pub fn find_option(&self, name: &str) -> Option<&ModelOption> {
        self.options.iter().find(|option| option.name == name)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Model { name, about, usual, options, build: _ } = self;
        f.debug_struct("Model")
            .field("name", name)
            .field("about", about)
            .field("usual", usual)
            .field("options", options)
            .finish_non_exhaustive()
    }
}
