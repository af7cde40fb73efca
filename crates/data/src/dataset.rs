//! What a data set is: samples that are read one at a time into buffers that are used again, since later sets
//! do not fit in memory.

use std::path::Path;
use std::sync::Arc;

use rigl_base::{Error, Result};

use crate::identity::Identity;

/// What the values of a sample are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Values {
    /// Whole numbers 0 … 255, as images have them.
    #[default]
    Bytes,
    /// Finite 32-bit numbers.
    Numbers,
}

/// What every sample of a data set has in common. Models are built from it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Spec {
    /// The name of the data set, as in `data.name`.
    pub name: String,
    /// Shape of a sample: that of an image, channels first (`[1, 28, 28]`), or the number of its features (`[4]`).
    pub shape: Vec<usize>,
    /// What a sample is made of.
    pub values: Values,
    /// The names of the classes; a label is an index into them.
    pub classes: Vec<String>,
}

impl Spec {
    /// A specification out of its parts, of samples that are bytes.
    pub fn new<C: Into<String>>(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        classes: impl IntoIterator<Item = C>,
    ) -> Spec {
        Spec {
            name: name.into(),
            shape: shape.into(),
            values: Values::Bytes,
            classes: classes.into_iter().map(Into::into).collect(),
        }
    }

    /// The same of samples that are numbers.
    #[must_use]
    pub fn of_numbers(self) -> Spec {
        Spec { values: Values::Numbers, ..self }
    }

    /// Values of one sample: the product of the shape, or `None` if there cannot be as many.
    pub fn sample_len(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side))
    }

    /// Bytes of one sample in memory.
    pub fn sample_bytes(&self) -> Option<usize> {
        let each = match self.values {
            Values::Bytes => 1,
            Values::Numbers => size_of::<f32>(),
        };
        self.sample_len()?.checked_mul(each)
    }
}

/// One sample. Its buffers are meant to be used again: [`Dataset::read`] replaces what they hold.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// Where [`Spec::values`] are bytes: pixel values 0 … 255 in the order of [`Spec::shape`]. Else empty.
    pub image: Vec<u8>,
    /// Where they are numbers: these, in the same order. Else empty.
    pub numbers: Vec<f32>,
    /// The class, an index into [`Spec::classes`].
    pub label: u32,
}

/// A set of samples that can be read in any order by several threads at once.
pub trait Dataset: Send + Sync {
    /// What all samples have in common.
    fn spec(&self) -> &Spec;

    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether its samples are in memory all the time, not read when they are asked for.
    fn is_held(&self) -> bool {
        true
    }

    /// Reads sample `index` into `into`, replacing what it held and keeping its buffers.
    ///
    /// # Errors
    /// If the sample cannot be read, or there is none of that index (see [`no_such_sample`]).
    fn read(&self, index: usize, into: &mut Sample) -> Result<()>;
}

/// The error of [`Dataset::read`] for an index past the end: the caller's fault, never the user's.
pub fn no_such_sample(dataset: &(impl Dataset + ?Sized), index: usize) -> Error {
    let (name, len) = (&dataset.spec().name, dataset.len());
    Error::internal(format!("sample {index} of data set `{name}` was asked for, which has {len}"))
}

/// The sets of one task.
#[derive(Clone)]
pub struct Sets {
    /// What weights and patterns are learnt from.
    pub train: Arc<dyn Dataset>,
    /// What choices are made on, if a share of the training set was split off for that.
    pub validation: Option<Arc<dyn Dataset>>,
    /// What results are reported on.
    pub test: Arc<dyn Dataset>,
    /// Which samples these are: what a run notes of them.
    pub identity: Identity,
}

impl Sets {
    /// A training and a test set, with no validation set.
    pub fn new(train: Arc<dyn Dataset>, test: Arc<dyn Dataset>) -> Sets {
        Sets { train, validation: None, test, identity: Identity::default() }
    }

    /// Notes that they were read from files in this data folder, where a run that goes on then looks first.
    #[must_use]
    pub fn from_folder(mut self, folder: Option<&Path>) -> Sets {
        self.identity.folder =
            folder.map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf()));
        self
    }

    /// Notes whether they are the published samples of their name.
    #[must_use]
    pub fn published(mut self, published: bool) -> Sets {
        self.identity.published = Some(published);
        self
    }
}

impl std::fmt::Debug for Sets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sets")
            .field("train", &self.train.len())
            .field("validation", &self.validation.as_ref().map(|set| set.len()))
            .field("test", &self.test.len())
            .field("identity", &self.identity)
            .finish()
    }
}
