//! Data sets by name. Users add their own to the table; there are no cases by name anywhere else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rigl_base::{Error, Result, unknown};

use crate::dataset::{Dataset, Sets, Spec};
use crate::identity::{Fingerprint, Identity};
use crate::options::DataOptions;
use crate::source::Source;
use crate::subset::Subset;
use crate::{array, cifar, drawn, mnist};

type LoadFn = Arc<dyn Fn(&DataOptions) -> Result<Sets> + Send + Sync>;

type FindFn = fn(Option<&Path>) -> Result<()>;

/// A table of data sets by name. [`Datasets::default`] has `array`, `cifar10`, `cifar100`, `drawn-digits`,
/// `fashion-mnist` and `mnist`.
///
/// ```
/// use std::sync::Arc;
/// use rigl_data::{DataOptions, Datasets, InMemory, Sets, Spec};
/// let mut datasets = Datasets::default();
/// datasets.insert("dots", |_| {
///     let spec = Spec::new("dots", [1, 1, 2], ["left", "right"]);
///     let set = Arc::new(InMemory::new(spec, vec![255, 0, 0, 255], vec![0, 1])?);
///     Ok(Sets::new(set.clone(), set))
/// });
/// assert_eq!(datasets.load("dots", &DataOptions::default())?.train.len(), 2);
/// # Ok::<(), rigl_base::Error>(())
/// ```
#[derive(Clone)]
pub struct Datasets {
    load: BTreeMap<String, LoadFn>,
    specs: BTreeMap<String, Described>,
    sources: BTreeMap<String, Source<'static>>,
    /// Those that are read from files of the user's own, and what looks for these.
    own_files: BTreeMap<String, FindFn>,
}

/// What is known of a data set without its files.
#[derive(Clone)]
struct Described {
    spec: Spec,
    train_samples: usize,
    test_samples: usize,
}

impl Default for Datasets {
    fn default() -> Datasets {
        let mut datasets = Datasets::empty();
        datasets.insert(array::NAME, array::sets);
        datasets.own_files.insert(array::NAME.into(), |folder| array::find(folder).map(drop));
        datasets.insert(drawn::NAME, drawn::sets);
        datasets.describe(drawn::spec(), drawn::TRAIN.count(), drawn::TEST.count());
        for family in &mnist::FAMILIES {
            datasets.insert(family.source.name, move |options| family.sets(options));
            datasets.describe(family.spec(), mnist::TRAIN, mnist::TEST);
            datasets.add_source(family.source.clone());
        }
        for family in &cifar::FAMILIES {
            datasets.insert(family.source.name, move |options| family.sets(options));
            datasets.describe(family.spec(), cifar::TRAIN, cifar::TEST);
            datasets.add_source(family.source.clone());
        }
        datasets
    }
}

/// Beginnings of the names of data sets that others read, and we do not.
const ELSEWHERE: &[&str] = &[
    "ade20k",
    "celeba",
    "cityscapes",
    "coco",
    "emnist",
    "folder",
    "imagefolder",
    "imagenet",
    "kmnist",
    "librispeech",
    "places365",
    "stl10",
    "svhn",
    "tinyimagenet",
    "usps",
    "voc",
    "wikitext",
];

impl Datasets {
    /// A table with nothing in it.
    pub fn empty() -> Datasets {
        Datasets {
            load: BTreeMap::new(),
            specs: BTreeMap::new(),
            sources: BTreeMap::new(),
            own_files: BTreeMap::new(),
        }
    }

    /// Adds a data set, or replaces the one of that name. `load` makes its training and test set; split and
    /// limits are applied to what it returns.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        load: impl Fn(&DataOptions) -> Result<Sets> + Send + Sync + 'static,
    ) -> &mut Datasets {
        let name = name.into();
        self.specs.remove(&name);
        self.sources.remove(&name);
        self.own_files.remove(&name);
        self.load.insert(name, Arc::new(load));
        self
    }

    /// Says what the data set of the name in `spec` is like, and how many training and test samples it has, so that
    /// networks for it can be built, and their cost told, where its files are not.
    pub fn describe(&mut self, spec: Spec, train_samples: usize, test_samples: usize) -> &mut Datasets {
        self.specs.insert(spec.name.clone(), Described { spec, train_samples, test_samples });
        self
    }

    /// What [`Datasets::describe`] was told of the data set of that name: what it is like, and its training samples.
    pub fn description(&self, name: &str) -> Option<(&Spec, usize)> {
        self.specs.get(name).map(|of| (&of.spec, of.train_samples))
    }

    /// The number of test samples by the same.
    pub fn test_samples(&self, name: &str) -> Option<usize> {
        self.specs.get(name).map(|of| of.test_samples)
    }

    /// Says of which files the data set of the name in `source` consists, and where they can be had.
    pub fn add_source(&mut self, source: Source<'static>) -> &mut Datasets {
        self.sources.insert(source.name.to_string(), source);
        self
    }

    /// The error for a name that there is not.
    fn none(&self, name: &str) -> Error {
        let error = unknown("data set", name, self.names());
        let letters = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
        match ELSEWHERE.iter().any(|other| letters(name).starts_with(other)) {
            true => error.hint("docs/data.md says what is read, and how a program reads data of its own"),
            false => error,
        }
    }

    /// Whether the data set of that name is read from files of the user's own, of which nothing is known beforehand.
    pub fn has_own_files(&self, name: &str) -> bool {
        self.own_files.contains_key(name)
    }

    /// The files of the data set of that name, as they are published; `None` if it needs none, or none are.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for an unknown name, with the nearest one as hint.
    pub fn source(&self, name: &str) -> Result<Option<&Source<'static>>> {
        if !self.load.contains_key(name) {
            return Err(self.none(name));
        }
        Ok(self.sources.get(name))
    }

    /// Whether the files of the data set of that name, if it is read from any, are in this data folder.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for an unknown name; [`Kind::Environment`](rigl_base::Kind::Environment),
    /// naming what is missing.
    pub fn check_files(&self, name: &str, folder: Option<&Path>) -> Result<()> {
        match (self.source(name)?, self.own_files.get(name)) {
            (Some(source), _) => source.find(folder).map(drop),
            (None, Some(find)) => find(folder),
            (None, None) => Ok(()),
        }
    }

    /// The names in the table, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.load.keys().map(String::as_str)
    }

    /// Loads the data set of that name, notes which samples it has, then applies the validation split and the limits of
    /// `options`.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for an unknown name (with the nearest one as hint), a share or a
    /// limit that leaves nothing; [`Kind::Environment`](rigl_base::Kind::Environment) if files are missing;
    /// [`Kind::Data`](rigl_base::Kind::Data) if a set is damaged or empty.
    pub fn load(&self, name: &str, options: &DataOptions) -> Result<Sets> {
        let load = self.load.get(name).ok_or_else(|| self.none(name))?;
        let mut sets = load(options)?;
        for (part, set) in [("training", &sets.train), ("test", &sets.test)] {
            if set.is_empty() {
                return Err(Error::data(format!(
                    "data set `{name}` has no {part} samples, at least 1 is needed"
                )));
            }
        }
        sets.identity = Identity {
            train: sets.train.len(),
            test: sets.test.len(),
            fingerprint: Fingerprint::of(&sets)?,
            ..sets.identity
        };
        if options.validation != 0.0 {
            let (train, validation) = Subset::split(&sets.train, options.validation, options.seed)?;
            sets.train = Arc::new(train);
            sets.validation = Some(Arc::new(validation));
        }
        limit(&mut sets.train, options.train_samples, options.seed, "training")?;
        limit(&mut sets.test, options.test_samples, options.seed, "test")?;
        Ok(sets)
    }
}

fn limit(set: &mut Arc<dyn Dataset>, count: Option<usize>, seed: u64, part: &str) -> Result<()> {
    match count {
        Some(0) => Err(Error::usage(format!("the {part} set is limited to 0 samples, at least 1 is needed"))),
        Some(count) if count < set.len() => {
            *set = Arc::new(Subset::limited(set, count, seed));
            Ok(())
        }
        _ => Ok(()),
    }
}

impl std::fmt::Debug for Datasets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.load.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use rigl_base::Kind;

    use super::*;
    use crate::{InMemory, Spec};

    fn table() -> Datasets {
        let mut datasets = Datasets::empty();
        let set = |len: usize| {
            let spec = Spec::new("dots", [1, 1, 1], ["only"]);
            InMemory::new(spec, vec![0; len], vec![0; len]).map(Arc::new)
        };
        datasets.insert("dots", move |_| Ok(Sets::new(set(100)?, set(20)?)));
        datasets.insert("nothing", move |_| Ok(Sets::new(set(0)?, set(20)?)));
        datasets
    }

    fn lengths(options: &DataOptions) -> Result<[usize; 3]> {
        let sets = table().load("dots", options)?;
        Ok([sets.train.len(), sets.validation.map_or(0, |set| set.len()), sets.test.len()])
    }

    #[test]
    fn the_default_table_has_the_documented_names() {
        let datasets = Datasets::default();
        assert_eq!(
            datasets.names().collect::<Vec<_>>(),
            ["array", "cifar10", "cifar100", "drawn-digits", "fashion-mnist", "mnist"]
        );
    }

    #[test]
    fn descriptions_are_those_of_the_sets_themselves() {
        let datasets = Datasets::default();
        let (spec, train_samples) = datasets.description("drawn-digits").unwrap();
        let sets = datasets.load("drawn-digits", &DataOptions::default()).unwrap();
        assert_eq!((spec, train_samples), (sets.train.spec(), sets.train.len()));
        assert_eq!(datasets.test_samples("drawn-digits"), Some(sets.test.len()));
        assert_eq!(datasets.description("mnist").unwrap().0.shape, [1, 28, 28]);
        assert_eq!(table().description("dots"), None);
    }

    #[test]
    fn what_is_read_from_files_says_from_which() {
        let mut datasets = Datasets::default();
        assert_eq!(datasets.source("mnist").unwrap().unwrap().files.len(), 4);
        assert!(datasets.source("drawn-digits").unwrap().is_none());
        assert!(datasets.has_own_files("array") && !datasets.has_own_files("mnist"));
        assert_eq!(datasets.source("minst").unwrap_err().hint_text(), Some("mnist"));
        // One's own data set of that name need not be read from these files.
        datasets.insert("mnist", |options| Datasets::default().load("drawn-digits", options));
        assert!(datasets.source("mnist").unwrap().is_none());
    }

    #[test]
    fn an_unknown_name_is_answered_with_all_names_and_the_nearest() {
        let error = Datasets::default().load("minst", &DataOptions::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(
            error.to_string(),
            "no data set is called `minst`, allowed are `array`, `cifar10`, `cifar100`, `drawn-digits`, `fashion-mnist`, `mnist`"
        );
        assert_eq!(error.hint_text(), Some("mnist"));
        let error = Datasets::default().load("imagenet", &DataOptions::default()).unwrap_err();
        assert!(error.hint_text().unwrap().starts_with("docs/data.md says"));
        assert_eq!(Datasets::empty().load("x", &DataOptions::default()).unwrap_err().hint_text(), None);
    }

    #[test]
    fn split_and_limits_apply_to_any_set() {
        let options = DataOptions::default();
        assert_eq!(lengths(&options).unwrap(), [100, 0, 20]);
        let options =
            DataOptions { validation: 0.1, train_samples: Some(50), test_samples: Some(7), ..options };
        assert_eq!(lengths(&options).unwrap(), [50, 10, 7]);
        let options = DataOptions { train_samples: Some(1000), ..options };
        assert_eq!(lengths(&options).unwrap(), [90, 10, 7]);
    }

    #[test]
    fn nothing_to_train_or_test_on_is_an_error() {
        let no_test = DataOptions { test_samples: Some(0), ..DataOptions::default() };
        assert_eq!(lengths(&no_test).unwrap_err().kind(), Kind::Usage);
        let all_validation = DataOptions { validation: 1.0, ..DataOptions::default() };
        assert_eq!(lengths(&all_validation).unwrap_err().kind(), Kind::Usage);
        let error = table().load("nothing", &DataOptions::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.to_string().contains("no training samples"), "{error}");
    }
}
