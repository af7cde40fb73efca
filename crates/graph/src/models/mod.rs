//! The models that ship with rigl, and the table in which they are looked up by name. A model is a plain
//! function from a [`ModelSpec`] to a graph; it holds no sparsity, no masks and no training code.

use std::collections::BTreeMap;

use rigl_base::{Error, Result, unknown};

use crate::builder::BatchNorm;
use crate::graph::Graph;

mod lenet;
mod mlp;
mod mobilenet_v1;
mod mobilenet_v2;
mod resnet;
mod resnet_cifar;
mod vgg_cifar;
mod wide_resnet;

/// What a model is built from: what the data set states, and the model's own options.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The shape of one sample: `[channels, rows, columns]` for images.
    pub sample_shape: Vec<usize>,
    /// The number of classes.
    pub classes: usize,
    /// Sizes of the hidden layers, where the model lets them be chosen; `None` for the model's own.
    pub hidden: Option<Vec<usize>>,
    /// Layers with weights, where the model lets them be chosen; `None` for the model's own.
    pub depth: Option<usize>,
    /// Multiple of the model's channels or hidden sizes, where it lets them be chosen; `None` for the model's own.
    pub width: Option<f64>,
    /// Probability of dropout where the model has it; `None` for none.
    pub dropout: Option<f32>,
    /// Share of the new statistics in the running ones of batch norms; `None` for .1.
    pub bn_momentum: Option<f32>,
    /// Label smoothing of the loss, at least 0 and below 1.
    pub label_smoothing: f32,
}

impl ModelSpec {
    /// A model for such samples, with its own sizes and without label smoothing.
    pub fn new(sample_shape: &[usize], classes: usize) -> ModelSpec {
        ModelSpec {
            sample_shape: sample_shape.to_vec(),
            classes,
            hidden: None,
            depth: None,
            width: None,
            dropout: None,
            bn_momentum: None,
            label_smoothing: 0.0,
        }
    }

    /// Refuses options that are set but that the model does not take. Options go by their names in a configuration:
    /// `hidden`, `depth`, `width`, `dropout`, `bn-momentum`; label smoothing is every model's.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), naming the model, the option and what it takes.
    pub fn takes(&self, model: &str, options: &[&str]) -> Result<()> {
        let set = [
            ("hidden", self.hidden.is_some()),
            ("depth", self.depth.is_some()),
            ("width", self.width.is_some()),
            ("dropout", self.dropout.is_some()),
            ("bn-momentum", self.bn_momentum.is_some()),
        ];
        let Some((stray, _)) = set.iter().find(|(name, set)| *set && !options.contains(name)) else {
            return Ok(());
        };
        let known: Vec<String> = options.iter().map(|name| format!("`{name}`")).collect();
        let allowed =
            if known.is_empty() { "it has none".into() } else { format!("allowed are {}", known.join(", ")) };
        Err(Error::usage(format!("`{model}` has no option `{stray}`, {allowed}")))
    }
}

/// The options that convolutional models share, checked.
struct Sizes<'n> {
    model: &'n str,
    width: f64,
    dropout: f32,
    norm: BatchNorm,
}

impl<'n> Sizes<'n> {
    /// Those of `spec`, or this width.
    fn of(model: &'n str, spec: &ModelSpec, width: f64) -> Result<Sizes<'n>> {
        let width = width_of(model, spec, width)?;
        let mut norm = BatchNorm::default();
        norm.momentum = spec.bn_momentum.unwrap_or(norm.momentum);
        Ok(Sizes { model, width, dropout: spec.dropout.unwrap_or(0.0), norm })
    }

    /// Channels that are this many at width 1.
    fn channels(&self, base: usize) -> usize {
        multiple(base, self.width)
    }

    /// The same in whole eights, 8 at least, and no more than a tenth below the multiple.
    fn eights(&self, base: usize) -> usize {
        let wanted = base as f64 * self.width;
        let near = 8 * ((wanted / 8.0).round() as usize).max(1);
        if (near as f64) < 0.9 * wanted { near + 8 } else { near }
    }

    /// Blocks in each of three groups, n, of a network of depth 6n + `rest`; `own` if the depth is not chosen.
    fn blocks(&self, spec: &ModelSpec, own: usize, rest: usize) -> Result<usize> {
        let depth = spec.depth.unwrap_or(own);
        let n = (depth.saturating_sub(rest).saturating_add(3) / 6).clamp(1, MAX_BLOCKS);
        if depth == 6 * n + rest {
            return Ok(n);
        }
        let (model, least, most) = (self.model, 6 + rest, 6 * MAX_BLOCKS + rest);
        let error =
            Error::usage(format!("`{model}` has depths 6n + {rest} from {least} to {most}, found {depth}"));
        Err(error.hint((6 * n + rest).to_string()))
    }
}

/// The width that `spec` asks for, or this one.
fn width_of(model: &str, spec: &ModelSpec, own: f64) -> Result<f64> {
    let width = spec.width.unwrap_or(own);
    if width > 0.0 && width <= MAX_WIDTH {
        return Ok(width);
    }
    let allowed = format!("above 0 and at most {MAX_WIDTH}");
    Err(Error::usage(format!("`{model}` has widths {allowed}, found {width}")))
}

/// A size that is `base` at width 1, rounded; 1 at least, unless `base` is 0.
fn multiple(base: usize, width: f64) -> usize {
    ((base as f64 * width).round() as usize).max(base.min(1))
}

/// What belongs to a depth in a table of those there are, in ascending order.
fn at_depth<'t, T>(model: &str, table: &'t [(usize, T)], depth: usize) -> Result<&'t T> {
    if let Some((_, found)) = table.iter().find(|(known, _)| *known == depth) {
        return Ok(found);
    }
    let depths: Vec<String> = table.iter().map(|(known, _)| known.to_string()).collect();
    let known = match depths.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "no depth".into(),
    };
    let error = Error::usage(format!("`{model}` has depths {known}, found {depth}"));
    Err(match table.iter().map(|(known, _)| *known).min_by_key(|known| known.abs_diff(depth)) {
        Some(near) => error.hint(near.to_string()),
        None => error,
    })
}

/// Far beyond networks in use.
const MAX_WIDTH: f64 = 1000.0;
const MAX_BLOCKS: usize = 333;

/// A model: its graph for a data set and options.
pub type BuildModel = fn(&ModelSpec) -> Result<Graph>;

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

/// Models by name. The default holds those that ship with rigl.
#[derive(Clone, Debug)]
pub struct Models(BTreeMap<String, (BuildModel, Option<Usual>)>);

impl Default for Models {
    fn default() -> Models {
        let all: [(Usual, &str, BuildModel); 10] = [
            (Usual::MNIST, "lenet-300-100", lenet::lenet_300_100),
            (Usual::MNIST, "mlp", mlp::mlp),
            (Usual::IMAGENET, "mobilenet-v1", mobilenet_v1::mobilenet_v1),
            (Usual::IMAGENET, "mobilenet-v2", mobilenet_v2::mobilenet_v2),
            (Usual::IMAGENET, "resnet", resnet::resnet),
            (Usual::IMAGENET, "resnet-50", resnet::resnet_50),
            (Usual::CIFAR10, "resnet-cifar", resnet_cifar::resnet_cifar),
            (Usual::CIFAR10, "vgg-cifar", vgg_cifar::vgg_cifar),
            (Usual::CIFAR10, "wide-resnet", wide_resnet::wide_resnet),
            (Usual::CIFAR10, "wrn-22-2", wide_resnet::wrn_22_2),
        ];
        let mut models = Models(BTreeMap::new());
        for (usual, name, build) in all {
            models.insert_for(usual, name, build);
        }
        models
    }
}

impl Models {
    /// Adds a model; one of the same name is replaced.
    pub fn insert(&mut self, name: &str, build: BuildModel) -> &mut Models {
        self.0.insert(name.into(), (build, None));
        self
    }

    /// The same for a model that is usually for such samples.
    pub fn insert_for(&mut self, usual: Usual, name: &str, build: BuildModel) -> &mut Models {
        self.0.insert(name.into(), (build, Some(usual)));
        self
    }

    /// Whether there is a model of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The samples that the model of that name is usually for, if that is known.
    pub fn usual(&self, name: &str) -> Option<Usual> {
        self.0.get(name)?.1
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
        if let Some(&(build, _)) = self.0.get(name) {
            return Ok(build);
        }
        Err(unknown("model", name, self.names()))
    }

    /// Builds the model of that name.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there is no such model or it cannot be built so.
    pub fn build(&self, name: &str, spec: &ModelSpec) -> Result<Graph> {
        self.get(name)?(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rigl_base::Kind;

    #[test]
    fn unknown_names_list_the_models_and_the_nearest() {
        let models = Models::default();
        for (name, near) in [
            ("lenet", Some("lenet-300-100")),
            ("MPL", Some("mlp")),
            ("resnet50", Some("resnet-50")),
            ("vgg", Some("vgg-cifar")),
            ("", None),
        ] {
            let error = models.get(name).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert_eq!(
                error.message(),
                format!(
                    "no model is called `{name}`, allowed are `lenet-300-100`, `mlp`, `mobilenet-v1`, `mobilenet-v2`, \
                     `resnet`, `resnet-50`, `resnet-cifar`, `vgg-cifar`, `wide-resnet`, `wrn-22-2`"
                )
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
        assert!(models.names().any(|name| name == "mine"));
    }

    #[test]
    fn every_model_is_valid_and_survives_its_text_form() {
        let models = Models::default();
        for name in models.names() {
            let graph = models.build(name, &ModelSpec::new(&[3, 33, 40], 6)).unwrap();
            graph.verify().unwrap();
            assert_eq!(graph.name(), name);
            assert_eq!(graph.classes(), 6);
            assert_eq!(Graph::parse(&graph.to_text()).unwrap(), graph);
        }
    }

    #[test]
    fn every_model_can_be_built_for_its_usual_samples_and_an_own_one_has_none() {
        let mut models = Models::default();
        for name in models.names() {
            let usual = models.usual(name).unwrap();
            let graph = models.build(name, &ModelSpec::new(usual.sample_shape, usual.classes)).unwrap();
            assert_eq!(graph.classes(), usual.classes, "{name}");
        }
        models.insert("mlp", mlp::mlp);
        assert_eq!(models.usual("mlp"), None);
    }

    #[test]
    fn eights_are_the_nearest_but_never_a_tenth_too_few() {
        for (wanted, eights) in
            [(0.1, 8), (8.8, 8), (8.9, 16), (12.0, 16), (17.0, 16), (18.0, 24), (63.36, 64), (1000.0, 1000)]
        {
            let spec = ModelSpec { width: Some(wanted / 100.0), ..ModelSpec::new(&[3, 32, 32], 10) };
            assert_eq!(Sizes::of("net", &spec, 1.0).unwrap().eights(100), eights, "{wanted}");
        }
    }

    #[test]
    fn options_that_a_model_does_not_have_are_refused() {
        let spec = || ModelSpec::new(&[3, 32, 32], 10);
        let refused = |model: &str, spec: &ModelSpec| {
            Models::default().build(model, spec).unwrap_err().message().to_string()
        };
        assert_eq!(
            refused("mlp", &ModelSpec { depth: Some(3), ..spec() }),
            "`mlp` has no option `depth`, allowed are `hidden`, `width`"
        );
        assert_eq!(
            refused("lenet-300-100", &ModelSpec { dropout: Some(0.5), ..spec() }),
            "`lenet-300-100` has no option `dropout`, allowed are `width`"
        );
        assert_eq!(
            refused("resnet-cifar", &ModelSpec { dropout: Some(0.5), ..spec() }),
            "`resnet-cifar` has no option `dropout`, allowed are `depth`, `width`, `bn-momentum`"
        );
        assert!(
            refused("wrn-22-2", &ModelSpec { hidden: Some(vec![]), ..spec() }).contains("option `hidden`")
        );
        for width in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            let message = refused("wide-resnet", &ModelSpec { width: Some(width), ..spec() });
            assert!(message.starts_with("`wide-resnet` has widths above 0"), "{message}");
        }
        assert!(
            refused("wrn-22-2", &ModelSpec { dropout: Some(1.0), ..spec() }).contains("must be in [0, 1)")
        );
        assert!(refused("wrn-22-2", &ModelSpec { bn_momentum: Some(0.0), ..spec() }).contains("momentum"));
        assert!(refused("wrn-22-2", &ModelSpec::new(&[784], 10)).contains("expects maps"));
    }

    #[test]
    fn small_widths_leave_a_channel_everywhere() {
        let models = Models::default();
        for model in models.names().filter(|name| *name != "wrn-22-2") {
            let spec = ModelSpec { width: Some(1e-9), ..ModelSpec::new(&[3, 32, 32], 10) };
            let graph = models.build(model, &spec).unwrap();
            assert_eq!(graph.node(graph.logits()).shape, [10]);
        }
    }
}
