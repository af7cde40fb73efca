//! Which data a run was trained on, as its log, its summary and its checkpoints tell.

use rigl_base::error::short;
use serde::{Deserialize, Serialize};

/// Which data a run was trained on. Samples are counted before any split or limit of the configuration.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    /// The data set's name, as in `data.name`.
    pub name: String,
    /// The data folder that held its files, absolute; `None` where it is read from no files.
    pub folder: Option<String>,
    /// Training samples.
    pub train_samples: u64,
    /// Test samples.
    pub test_samples: u64,
    /// What tells these samples from others: checksums of all labels and images.
    pub fingerprint: String,
    /// Whether they are the published samples of that name; `None` if nobody can tell.
    pub published: Option<bool>,
}

impl DataRecord {
    /// Whether another one is of the same samples, wherever they lie.
    pub fn same_samples(&self, other: &DataRecord) -> bool {
        let samples = |record: &DataRecord| (record.train_samples, record.test_samples);
        self.fingerprint == other.fingerprint && samples(self) == samples(other)
    }

    /// `600 + 100 samples, fingerprint 1c0ffee5-00ddba11`.
    pub fn samples_text(&self) -> String {
        let DataRecord { train_samples, test_samples, fingerprint, .. } = self;
        format!("{train_samples} + {test_samples} samples, fingerprint {}", short(fingerprint))
    }
}
