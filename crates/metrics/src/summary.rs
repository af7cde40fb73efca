//! `summary.json`: what a run came to, on one page, for people and scripts.

use std::io::Read;
use std::path::Path;

use rigl_base::{Error, Result, files, named_enum};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::data::DataRecord;
use crate::number::or_nan;

/// The version of the file.
pub const VERSION: u32 = 1;

/// Most bytes that a summary may have: 16 MiB.
const LARGEST: u64 = 16 << 20;

named_enum! {
    /// How a run ended.
    pub enum Status {
        /// All steps were done, or as many as its patience let it take.
        Finished = "finished",
        /// It was stopped, and can be resumed.
        Interrupted = "interrupted",
        /// A number was not finite.
        Diverged = "diverged",
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
        let name = String::deserialize(deserializer)?;
        Status::from_name(&name).ok_or_else(|| {
            serde::de::Error::custom("unknown status, expected `finished`, `interrupted` or `diverged`")
        })
    }
}

/// What a run came to. Numbers that are not finite are `null` in the file and NaN, or `None`, when read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of the file: [`VERSION`].
    pub version: u32,
    /// How the run ended.
    pub status: Status,
    /// The topology method, `rigl`.
    pub method: String,
    /// The share of weights that are absent in the end, 0 to 1: of all, those of dense layers among them.
    #[serde(deserialize_with = "or_nan")]
    pub sparsity: f64,
    /// The sparsity distribution, `erk`.
    pub distribution: String,
    /// `seeds.init` of its configuration, by which its runs are told apart.
    pub seed: u64,
    /// Final accuracy, 0 to 1, where the task has one.
    pub accuracy: Option<f64>,
    /// Final test error, 0 to 1: one minus the accuracy on the test set.
    pub test_error: Option<f64>,
    /// Final loss.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Loss over all training samples in the end, each seen as test samples are; `None` where it was not asked for.
    #[serde(default)]
    pub train_loss: Option<f64>,
    /// Accuracy on them, 0 to 1; `None` where it was not asked for, or the task has none.
    #[serde(default)]
    pub train_accuracy: Option<f64>,
    /// Active weights.
    pub active: u64,
    /// The most weights that were active at once, those of a dense network before its first patterns among them; `None`
    /// where the run began under a version that did not tell.
    #[serde(default)]
    pub most_active: Option<u64>,
    /// All positions of weights, active or not.
    pub weights: u64,
    /// Size: four bytes for each active weight and each bias, one bit for each weight of a sparse layer.
    pub bytes: u64,
    /// R_s: the fraction of all sparse layers' weights that were ever active.
    #[serde(deserialize_with = "or_nan")]
    pub explored: f64,
    /// FLOPs of inference, for one sample.
    pub inference: Flops,
    /// FLOPs of training, for one training sample, as the mean over the run.
    pub training: Flops,
    /// Optimiser steps that were taken.
    pub steps: u64,
    /// Whether they are fewer than the length of the run, since nothing better came for as long as its patience says.
    #[serde(default)]
    pub stopped_early: bool,
    /// Batches consumed.
    pub draws: u64,
    /// Topology updates.
    pub updates: u64,
    /// Training time, added up over resumes: steps, updates, records and checkpoints, but not evaluations.
    #[serde(deserialize_with = "or_nan")]
    pub seconds: f64,
    /// Time of evaluations, in no other number of the summary; `None` where `seconds` has it, as it had once.
    #[serde(default)]
    pub evaluation_seconds: Option<f64>,
    /// Training samples per second of these `seconds`.
    #[serde(deserialize_with = "or_nan")]
    pub samples_per_s: f64,
    /// The most memory the process held at once, if the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// A CRC-32C of the final weights: equal for two runs that ended at the same ones.
    pub weights_crc32c: u32,
    /// The data it was trained on; `None` in summaries of releases that did not tell.
    #[serde(default)]
    pub data: Option<DataRecord>,
    /// Every layer that has weights.
    pub layers: Vec<Layer>,
    /// Name and version of the program that ended the run; empty in files of earlier versions.
    #[serde(default)]
    pub program: String,
    /// The commit it was built from, if known.
    #[serde(default)]
    pub commit: Option<String>,
}

/// The weights of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The parameter's name, `fc1.weight`.
    pub name: String,
    /// Active weights.
    pub active: u64,
    /// All its positions, active or not.
    pub weights: u64,
    /// R_s: the fraction of its weights that were ever active.
    #[serde(deserialize_with = "or_nan")]
    pub explored: f64,
}

/// A number of FLOPs beside that of the dense network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flops {
    /// Of this network.
    #[serde(deserialize_with = "or_nan")]
    pub flops: f64,
    /// Of the dense network.
    #[serde(deserialize_with = "or_nan")]
    pub dense: f64,
    /// The first divided by the second.
    #[serde(deserialize_with = "or_nan")]
    pub fraction: f64,
}

impl Flops {
    /// So many FLOPs where the dense network takes `dense`.
    pub fn new(flops: f64, dense: f64) -> Flops {
        Flops { flops, dense, fraction: flops / dense }
    }
}

impl Summary {
    /// Writes the summary, all or nothing.
    ///
    /// # Errors
    /// `Kind::Environment`, naming the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::internal("cannot write the summary").caused_by(e))?;
        text.push('\n');
        files::write_atomic(path, text.as_bytes())
    }

    /// Reads a summary. Fields that this release does not know are ignored.
    ///
    /// # Errors
    /// `Kind::Environment` if the file cannot be read, `Kind::Data` if it is not a summary.
    pub fn read(path: &Path) -> Result<Summary> {
        let cannot = |e| Error::io("cannot read", path, e);
        let mut bytes = Vec::new();
        files::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > LARGEST {
            return Err(Error::data(format!("`{}`: longer than {LARGEST} bytes", path.display())));
        }
        Summary::parse(&bytes, &path.display().to_string())
    }

    /// Parses the bytes of a summary; `name` stands for the file in messages.
    ///
    /// # Errors
    /// `Kind::Data` if they are not a summary.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Summary> {
        serde_json::from_slice(bytes)
            .map_err(|e| Error::data(format!("`{name}` is not a summary")).caused_by(e))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rigl_base::Kind;

    pub(crate) fn sample() -> Summary {
        Summary {
            version: VERSION,
            status: Status::Finished,
            method: "rigl".into(),
            sparsity: 0.9,
            distribution: "erk".into(),
            seed: u64::MAX,
            accuracy: Some(0.9856),
            test_error: Some(0.0144),
            loss: 0.1 + 0.2,
            train_loss: Some(0.1),
            train_accuracy: Some(0.99),
            active: 100,
            most_active: Some(150),
            weights: 1000,
            bytes: 31_914,
            explored: 0.5,
            inference: Flops::new(100.0, 1000.0),
            training: Flops::new(310.0, 3000.0),
            steps: 300,
            stopped_early: true,
            draws: 303,
            updates: 3,
            seconds: 12.5,
            evaluation_seconds: Some(0.5),
            samples_per_s: 1e5,
            peak_memory_bytes: Some(1 << 20),
            weights_crc32c: u32::MAX,
            data: Some(DataRecord {
                name: "mnist".into(),
                folder: Some("/data".into()),
                train_samples: 60_000,
                test_samples: 10_000,
                fingerprint: "1c0ffee5-00ddba11".into(),
                published: Some(true),
            }),
            layers: vec![Layer { name: "fc1.weight".into(), active: 100, weights: 1000, explored: 0.5 }],
            program: "rigl 0.1.0".into(),
            commit: Some("1a2b3c".into()),
        }
    }

    #[test]
    fn a_summary_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        for status in Status::ALL {
            let summary = Summary { status: *status, ..sample() };
            summary.write(&path).unwrap();
            assert_eq!(Summary::read(&path).unwrap(), summary);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\n  \"version\": 1,\n  \"status\": \"diverged\",\n"), "{text}");
    }

    #[test]
    fn numbers_that_are_not_finite_are_null_and_come_back_as_nan_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        let flops = Flops::new(0.0, 0.0);
        let summary = Summary { loss: f64::INFINITY, accuracy: Some(f64::NAN), inference: flops, ..sample() };
        summary.write(&path).unwrap();
        let read = Summary::read(&path).unwrap();
        assert!(read.loss.is_nan() && read.inference.fraction.is_nan());
        assert_eq!((read.accuracy, read.inference.dense), (None, 0.0));
    }

    #[test]
    fn what_is_not_a_summary_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        assert_eq!(Summary::read(&path).unwrap_err().kind(), Kind::Environment);
        sample().write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for length in 0..text.len() - 1 {
            assert!(serde_json::from_str::<Summary>(&text[..length]).is_err(), "cut to {length}");
        }
        for wrong in ["", "[]", "{}", &text.replace("finished", "abandoned")] {
            files::write_atomic(&path, wrong.as_bytes()).unwrap();
            let error = Summary::read(&path).unwrap_err();
            assert_eq!(error.kind(), Kind::Data);
            assert!(error.to_string().contains("summary.json"), "{error}");
        }
    }

    #[test]
    fn a_summary_that_does_not_tell_the_data_is_read() {
        let mut value = serde_json::to_value(sample()).unwrap();
        value.as_object_mut().unwrap().remove("data");
        let read = Summary::parse(value.to_string().as_bytes(), "s").unwrap();
        assert_eq!(read, Summary { data: None, ..sample() });
    }

    #[test]
    fn a_summary_without_what_is_told_since_reads() {
        let mut value = serde_json::to_value(sample()).unwrap();
        let fields = value.as_object_mut().unwrap();
        for field in ["most_active", "evaluation_seconds", "train_loss", "train_accuracy", "stopped_early"] {
            assert!(fields.remove(field).is_some(), "{field}");
        }
        let read = Summary::parse(value.to_string().as_bytes(), "summary.json").unwrap();
        let untold = Summary { most_active: None, evaluation_seconds: None, ..sample() };
        assert_eq!(read, Summary { train_loss: None, train_accuracy: None, stopped_early: false, ..untold });
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        let text = serde_json::to_string(&sample()).unwrap().replacen('{', "{\"mood\":{\"a\":[]},", 1);
        files::write_atomic(&path, text.as_bytes()).unwrap();
        assert_eq!(Summary::read(&path).unwrap(), sample());
    }
}
