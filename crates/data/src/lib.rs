//! Samples: what a data set is, where it comes from, in which order it is seen and how it reaches training.
//!
//! * [`dataset`]: the trait [`Dataset`], samples, subsets, the three [`Sets`] of a task;
//! * [`identity`]: which samples these are, so that a run goes on with the same ones;
//! * [`registry`]: data sets by name, users' own among them;
//! * [`idx`] and [`mnist`]: the files of MNIST and Fashion-MNIST;
//! * [`records`], [`archive`] and [`cifar`]: the files of CIFAR-10 and CIFAR-100;
//! * [`mod@array`]: one's own files, arrays of numpy and tables;
//! * [`source`]: which files a data set has and whether they are whole; with the feature `fetch`, a module of that
//!   name downloads them;
//! * [`drawn`]: handwritten-like digits drawn by this crate, so that a fresh machine needs no download;
//! * [`order`]: which samples make up which batch;
//! * [`augment`]: training images changed at random;
//! * [`loader`]: batches assembled ahead of use by background threads.
//!
//! A crate of its own because it knows nothing of networks: it hands samples to a packing function it is given.
#![forbid(unsafe_code)]

pub mod archive;
pub mod array;
pub mod augment;
pub mod cifar;
pub mod dataset;
pub mod drawn;
#[cfg(feature = "fetch")]
pub mod fetch;
mod gzip;
pub mod identity;
pub mod idx;
pub mod loader;
mod memory;
pub mod mnist;
mod options;
pub mod order;
mod positioned;
pub mod records;
pub mod registry;
pub mod source;
mod subset;

pub use array::table::{Column, TableOptions};
pub use augment::CropFlip;
pub use dataset::{Dataset, Sample, Sets, Spec, Values};
pub use identity::{Fingerprint, Identity};
pub use loader::{EvaluationLoader, Loader, LoaderOptions};
pub use memory::InMemory;
pub use options::DataOptions;
pub use order::{BatchOrder, Order};
pub use records::{RecordFormat, Records};
pub use registry::Datasets;
pub use subset::Subset;
