//! The models that ship with rigl, and the table in which they are looked up by name. A model is a function from a
//! [`ModelSpec`] to a graph and a declaration of its options; it holds no sparsity, no masks and no training code.

use rigl_base::{Result, unknown};

use crate::graph::Graph;

mod elsewhere;
mod lenet;
mod mlp;
mod mobilenet_v1;
mod mobilenet_v2;
mod model;
mod option;
mod resnet;
mod resnet_cifar;
mod sizes;
mod vgg_cifar;
mod wide_resnet;

pub use elsewhere::elsewhere;
pub use model::{Model, ModelSpec, Usual};
pub use option::{ModelOption, OptionRange, OptionValue, Values, no_option};

/// Models by name. The default holds those that ship with rigl.
#[derive(Clone, Debug)]
pub struct Models(Vec<Model>);

impl Default for Models {
    fn default() -> Models {
        Models(vec![
            lenet::lenet_300_100(),
            mlp::mlp(),
            mobilenet_v1::mobilenet_v1(),
            mobilenet_v2::mobilenet_v2(),
            resnet::resnet(),
            resnet::resnet_50(),
            resnet_cifar::resnet_cifar(),
            vgg_cifar::vgg_cifar(),
            wide_resnet::wide_resnet(),
            wide_resnet::wrn_22_2(),
        ])
    }
}

impl Models {
    /// Adds a model; one of the same name is replaced.
    pub fn insert(&mut self, model: Model) -> &mut Models {
        match self.0.iter_mut().find(|known| known.name == model.name) {
            Some(known) => *known = model,
            None => self.0.push(model),
        }
        self
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Model> + Clone {
        self.0.iter()
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(|model| &*model.name)
    }

    /// The model of that name, if there is one.
    pub fn find(&self, name: &str) -> Option<&Model> {
        self.0.iter().find(|model| model.name == name)
    }

    /// The model of that name.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), listing the names; the hint is the nearest, or which of ours others call so.
    pub fn get(&self, name: &str) -> Result<&Model> {
        self.find(name).ok_or_else(|| {
            let error = unknown("model", name, self.names());
            match elsewhere(name) {
                Some(ours) => error.hint(ours),
                None => error,
            }
        })
    }

    /// Builds the model of that name.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there is no such model or it cannot be built so.
    pub fn build(&self, name: &str, spec: &ModelSpec) -> Result<Graph> {
        self.get(name)?.build(spec)
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
            let names: Vec<String> = models.names().map(|name| format!("`{name}`")).collect();
            let message = format!("no model is called `{name}`, allowed are {}", names.join(", "));
            assert_eq!(error.message(), message);
            assert_eq!(error.hint_text(), near, "{name}");
        }
    }

    #[test]
    fn a_users_own_model_is_found_beside_ours_and_takes_the_place_of_one_of_its_name() {
        let ours = Models::default();
        let mut models = ours.clone();
        let no_hidden = Values::default();
        models.insert(Model::new("mine", move |spec| {
            assert_eq!(spec.options, no_hidden);
            ours.build("mlp", &spec.clone().with("hidden", vec![]))
        }));
        let graph = models.build("mine", &ModelSpec::new(&[4], 3)).unwrap();
        assert_eq!(graph.parameters()[0].shape, [3, 4]);
        assert!(models.names().any(|name| name == "mine"));
        models.insert(Model::new("mlp", |_| Err(rigl_base::Error::usage("another"))));
        assert_eq!(models.names().filter(|name| *name == "mlp").count(), 1);
        assert_eq!(models.build("mlp", &ModelSpec::new(&[4], 3)).unwrap_err().message(), "another");
        assert_eq!(models.find("mlp").unwrap().usual, None);
    }

    #[test]
    fn every_model_is_valid_and_survives_its_text_form() {
        let models = Models::default();
        for name in models.names() {
            let graph = models.build(name, &ModelSpec::new(&[3, 33, 40], 6)).unwrap();
            graph.verify().unwrap();
            assert_eq!(graph.name(), name);
            assert_eq!(graph.classes().unwrap(), 6);
            assert_eq!(Graph::parse(&graph.to_text()).unwrap(), graph);
        }
    }

    #[test]
    fn every_model_can_be_built_for_its_usual_samples_and_says_what_it_is() {
        for model in Models::default().iter() {
            let usual = model.usual.unwrap();
            let graph = model.build(&ModelSpec::new(usual.sample_shape, usual.classes)).unwrap();
            assert_eq!(graph.classes().unwrap(), usual.classes, "{}", model.name);
            assert!(!model.about.is_empty() && !model.about.ends_with('.'), "{}", model.name);
            for option in &model.options {
                assert!(option.doc.ends_with('.'), "{} {}", model.name, option.name);
                assert_eq!(option.check(&option.default).as_ref(), Ok(&option.default));
                assert!(option.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", option.name);
            }
        }
    }

    #[test]
    fn every_option_changes_the_network_and_its_default_does_not() {
        let models = Models::default();
        for model in models.iter() {
            for option in &model.options {
                // At an odd width, since how it is rounded is an option too.
                let narrow = option.name != "width" && model.find_option("width").is_some();
                let spec = || {
                    let spec = ModelSpec::new(&[3, 33, 40], 6);
                    if narrow { spec.with("width", 0.465) } else { spec }
                };
                let own = model.build(&spec()).unwrap();
                let with = |value: OptionValue| model.build(&spec().with(&option.name, value)).unwrap();
                assert_eq!(with(option.default.clone()), own, "{} {}", model.name, option.name);
                let other: OptionValue = match &option.range {
                    OptionRange::Whole { first, .. } => (*first).into(),
                    OptionRange::OneOf(numbers) => numbers[0].into(),
                    OptionRange::Number(..) => 0.3.into(),
                    OptionRange::Sizes => vec![7].into(),
                    OptionRange::Word(words) => words[words.len() - 1].into(),
                    OptionRange::Flag => (option.default != true.into()).into(),
                };
                assert_ne!(with(other), own, "{} {}", model.name, option.name);
            }
        }
    }

    #[test]
    fn options_that_a_model_does_not_have_are_refused() {
        let spec = || ModelSpec::new(&[3, 32, 32], 10);
        let refused = |model: &str, spec: ModelSpec| {
            Models::default().build(model, &spec).unwrap_err().message().to_string()
        };
        assert_eq!(
            refused("mlp", spec().with("depth", 3usize)),
            "`mlp` has no option `depth`, allowed are `hidden`, `width`"
        );
        assert_eq!(
            refused("lenet-300-100", spec().with("dropout", 0.5)),
            "`lenet-300-100` has no option `dropout`, allowed are `width`"
        );
        assert_eq!(
            refused("resnet-cifar", spec().with("dropout", 0.5)),
            "`resnet-cifar` has no option `dropout`, allowed are `depth`, `width`, `bn-momentum`"
        );
        assert_eq!(
            refused("wrn-22-2", spec().with("depth", 28usize)),
            "`wrn-22-2` has no option `depth`, allowed are `width`, `dropout`, `bn-momentum`"
        );
        assert!(refused("wrn-22-2", spec().with("hidden", vec![])).contains("option `hidden`"));
        for width in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            let message = refused("wide-resnet", spec().with("width", width));
            assert_eq!(
                message,
                format!(
                    "`width` of model `wide-resnet` is `{width}`, expected a number with 0 < width ≤ 1000"
                )
            );
        }
        assert!(refused("wrn-22-2", spec().with("dropout", 1.0)).contains("0 ≤ dropout < 1"));
        assert!(refused("wrn-22-2", spec().with("bn-momentum", 0.0)).contains("0 < bn-momentum ≤ 1"));
        assert!(refused("wrn-22-2", ModelSpec::new(&[784], 10)).contains("expects maps"));
    }

    #[test]
    fn a_model_that_asks_for_what_it_does_not_declare_is_at_fault() {
        let model = Model::new("mine", |spec| Err(spec.whole("depth").unwrap_err()))
            .option(ModelOption::number("width", 1.0, ..));
        let error = model.build(&ModelSpec::new(&[4], 2)).unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        assert!(error.message().contains("`depth`, but declares none"), "{error}");
        let model = Model::new("mine", |spec| Err(spec.flag("width").unwrap_err()))
            .option(ModelOption::number("width", 1.0, ..));
        let error = model.build(&ModelSpec::new(&[4], 2)).unwrap_err();
        assert!(error.message().contains("asks for a flag as its option `width`, which is `1`"), "{error}");
    }

    #[test]
    fn small_widths_leave_a_channel_everywhere() {
        let models = Models::default();
        for model in models.names() {
            let spec = ModelSpec::new(&[3, 32, 32], 10).with("width", 1e-9);
            let graph = models.build(model, &spec).unwrap();
            assert_eq!(graph.node(graph.logits().unwrap()).shape, [10]);
        }
    }

    /// The tables of docs/models.md, as the declarations have them.
    fn documentation() -> String {
        let mut text = String::from(
            "| name | options (`model.…`), with their defaults | usual samples | what it is |\n|---|---|---|---|\n",
        );
        let models = Models::default();
        for model in models.iter() {
            let Usual { sample_shape, classes } = model.usual.unwrap();
            let shape = sample_shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
            let options: Vec<String> =
                model.options.iter().map(|o| format!("`{}` = {}", o.name, o.default)).collect();
            let (name, about) = (&model.name, &model.about);
            text.push_str(&format!(
                "| `{name}` | {} | {shape}, {classes} classes | {about} |\n",
                options.join(", ")
            ));
        }
        text.push_str("\n| option | of | takes | meaning |\n|---|---|---|---|\n");
        let all: Vec<&ModelOption> = models.iter().flat_map(|model| &model.options).collect();
        let alike =
            |a: &ModelOption, b: &ModelOption| a.name == b.name && a.range == b.range && a.doc == b.doc;
        for (number, option) in all.iter().enumerate() {
            if all[..number].iter().any(|other| alike(option, other)) {
                continue;
            }
            let has = |model: &&Model| model.options.iter().any(|other| alike(option, other));
            let of: Vec<String> =
                models.iter().filter(has).map(|model| format!("`{}`", model.name)).collect();
            let of = if of.len() == models.iter().count() { "all".into() } else { of.join(", ") };
            let (name, allowed, doc) = (&option.name, option.allowed(), &option.doc);
            text.push_str(&format!("| `{name}` | {of} | {allowed} | {doc} |\n"));
        }
        text
    }

    #[test]
    fn the_document_on_models_has_the_declarations() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/models.md");
        let (document, wanted) = (std::fs::read_to_string(path).unwrap(), documentation());
        assert!(document.contains(&wanted), "docs/models.md must hold these tables:\n\n{wanted}");
    }
}
