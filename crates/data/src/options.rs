//! What a data set is loaded with.

use std::path::PathBuf;

use crate::array::table::TableOptions;

/// What is known when a data set is loaded.
#[derive(Clone, Debug)]
pub struct DataOptions {
    /// Where files are looked for.
    pub folder: Option<PathBuf>,
    /// The data seed: chooses the validation split and which samples a limit keeps.
    pub seed: u64,
    /// Threads that loading may use. The result does not depend on it.
    pub threads: usize,
    /// Files of records with more bytes than this are not held in memory, but read as they are needed. The result
    /// does not depend on it.
    pub in_memory: u64,
    /// Share of the training set that is split off for validation; 0 for none.
    pub validation: f64,
    /// Keep only so many training samples (after the split).
    pub train_samples: Option<usize>,
    /// Keep only so many test samples.
    pub test_samples: Option<usize>,
    /// How tables are read.
    pub table: TableOptions,
}

impl Default for DataOptions {
    fn default() -> DataOptions {
        DataOptions {
            folder: None,
            seed: 0,
            threads: 1,
            in_memory: 1 << 30,
            validation: 0.0,
            train_samples: None,
            test_samples: None,
            table: TableOptions::default(),
        }
    }
}
