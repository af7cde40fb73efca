//! What a data set is: samples that are read one at a time into buffers that are used again, since later sets
//! do not fit in memory.

use std::path::Path;
use std::sync::Arc;

use rigl_base::{Error, Result};

use crate::identity::Identity;

/// What every sample of a data set has in common. Models are built from it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Spec {
    /// The name of the data set, as in `data.name`.
    pub name: String,
    /// Shape of an image, channels first: `[1, 28, 28]`.
    pub shape: Vec<usize>,
    /// The names of the classes; a label is an index into them.
    pub classes: Vec<String>,
}

impl Spec {
    /// A specification out of its parts.
    pub fn new<C: Into<String>>(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        classes: impl IntoIterator<Item = C>,
    ) -> Spec {
        Spec {
            name: name.into(),
            shape: shape.into(),
            classes: classes.into_iter().map(Into::into).collect(),
        }
    }

    /// Bytes of one image: the product of the shape, or `None` if that is no number of bytes.
    pub fn image_len(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side))
    }
}

/// One sample. Its buffers are meant to be used again: [`Dataset::read`] replaces what they hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// Pixel values 0 … 255 in the order of [`Spec::shape`].
    pub image: Vec<u8>,
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
