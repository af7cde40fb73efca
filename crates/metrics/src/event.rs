//! The events of a run's log, one JSON object each. Fields are only ever added, a changed meaning gets a new
//! name, and readers ignore what they do not know. The log is described in `docs/run-directory.md`.
//!
//! Numbers that are not finite are written as `null` and read as NaN, or as `None` where a number may be absent.

use rigl_base::{Error, Result};
use serde::{Deserialize, Serialize, Serializer};

use crate::data::DataRecord;
use crate::machine::Machine;
use crate::number::or_nan;
use crate::summary::Status;

/// The version that every event carries.
pub const VERSION: u32 = 1;

/// An event, and when it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Optimiser steps taken.
    pub step: u64,
    /// Batches consumed.
    pub draw: u64,
    /// Training time in seconds, added up over resumes.
    pub time_s: f64,
    /// What happened.
    pub event: Event,
}

/// One list of events makes the enum, the names, and both directions of JSON.
macro_rules! events {
    ($($(#[$doc:meta])* $event:ident = $name:literal),+ $(,)?) => {
        /// What happened.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Event { $($(#[$doc])* $event($event)),+ }

        impl Event {
            /// The name it has in the log.
            pub fn name(&self) -> &'static str {
                match self { $(Event::$event(_) => $name),+ }
            }

            fn parse(name: &str, line: &[u8]) -> serde_json::Result<Option<Event>> {
                match name {
                    $($name => serde_json::from_slice(line).map(|e| Some(Event::$event(e))),)+
                    _ => Ok(None),
                }
            }
        }

        impl Serialize for Fields<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 { $(Event::$event(e) => e.serialize(serializer)),+ }
            }
        }

        $(impl From<$event> for Event {
            fn from(event: $event) -> Event {
                Event::$event(event)
            }
        })+
    };
}

/// The fields of an event alone.
struct Fields<'a>(&'a Event);

events! {
    /// A run begins.
    Run = "run",
    /// The network it trains.
    Network = "network",
    /// An interval of training has passed.
    Train = "train",
    /// The network was evaluated.
    Evaluation = "evaluation",
    /// The topology was updated.
    Update = "update",
    /// A checkpoint is safe on the disk.
    Checkpoint = "checkpoint",
    /// The run goes on from a checkpoint.
    Resume = "resume",
    /// The run ends.
    End = "end",
}

/// A run begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Name and version of the program, `rigl 0.1.0`.
    pub program: String,
    /// The commit it was built from, if known.
    pub commit: Option<String>,
    /// Raised whenever a change alters a bit of any result: bits are promised within one.
    pub arithmetic_version: u32,
    /// The resolved configuration (TOML).
    pub configuration: String,
    /// The data it is trained on; `None` in logs of releases that did not tell.
    #[serde(default)]
    pub data: Option<DataRecord>,
    /// Where it runs.
    pub machine: Machine,
}

/// The network a run trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Its parameters, in the order of the graph.
    pub parameters: Vec<NetworkParameter>,
}

/// What a parameter is as a run begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkParameter {
    /// Its name, `fc1.weight`.
    pub name: String,
    /// Its natural shape.
    pub shape: Vec<u64>,
    /// Its weights, active or not.
    pub weights: u64,
    /// Its active weights.
    pub active: u64,
    /// How the engine stores it: `dense`, `masked`, `sparse`.
    pub storage: String,
    /// Forward FLOPs of one sample with the active weights, two for each multiply-accumulate.
    pub flops: u64,
}

/// An interval of training has passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Train {
    /// Passes over the training set so far.
    #[serde(deserialize_with = "or_nan")]
    pub epoch: f64,
    /// Mean loss over the interval.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Accuracy over the interval, 0 to 1, where the task has one.
    pub accuracy: Option<f64>,
    /// The learning rate of the last step.
    #[serde(deserialize_with = "or_nan")]
    pub learning_rate: f64,
    /// Training samples per second over the interval.
    #[serde(deserialize_with = "or_nan")]
    pub samples_per_s: f64,
    /// Floating-point operations of training so far, all samples together; NaN in logs of releases that did not tell.
    #[serde(default = "unknown", deserialize_with = "or_nan")]
    pub training_flops: f64,
}

fn unknown() -> f64 {
    f64::NAN
}

/// The split of the samples that are trained on.
pub const TRAIN_SPLIT: &str = "train";

/// The network was evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The samples it was evaluated on: `train`, `validation`, `test`.
    pub split: String,
    /// Mean loss.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Accuracy, 0 to 1, where the task has one.
    pub accuracy: Option<f64>,
    /// How many samples there were.
    pub samples: u64,
    /// Whether no evaluation of the run so far was as accurate, on the samples that choices are made by: the validation
    /// split, and the test set where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<bool>,
}

impl Evaluation {
    /// What the samples are called where `train` are the intervals of training.
    pub fn samples_name(&self) -> &str {
        if self.split == TRAIN_SPLIT { "training-set" } else { &self.split }
    }
}

/// The topology was updated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The drop fraction of this update.
    #[serde(deserialize_with = "or_nan")]
    pub drop_fraction: f64,
    /// What happened to each sparse parameter.
    pub parameters: Vec<UpdateParameter>,
}

/// What an update did to one sparse parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateParameter {
    /// Its name, `fc1.weight`.
    pub name: String,
    /// Active weights afterwards.
    pub active: u64,
    /// Weights dropped.
    pub dropped: u64,
    /// Weights grown, regrown ones among them.
    pub grown: u64,
    /// Weights dropped and grown again in this same update.
    pub regrown: u64,
    /// R_s: the fraction of all weights that were ever active.
    #[serde(deserialize_with = "or_nan")]
    pub explored: f64,
}

/// A checkpoint is safe on the disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The name of its file in `checkpoints/`.
    pub file: String,
    /// Its size.
    pub bytes: u64,
}

/// The run goes on from a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// Name and version of the program that goes on with it.
    pub program: String,
    /// The commit it was built from, if known.
    #[serde(default)]
    pub commit: Option<String>,
    /// The name of the checkpoint's file in `checkpoints/`.
    pub checkpoint: String,
    /// The data it goes on with; `None` in logs of releases that did not tell.
    #[serde(default)]
    pub data: Option<DataRecord>,
    /// Where it runs now.
    pub machine: Machine,
    /// What was not as it should be, such as a damaged checkpoint that was passed over.
    pub warnings: Vec<String>,
}

/// The run ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Whether it is finished, and if not why not.
    pub status: Status,
    /// Why, in words: `all steps done`, `interrupted by a signal`, the layer that diverged.
    pub reason: String,
    /// Loss on the last evaluation, or of training if there was none.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Accuracy on the last evaluation, 0 to 1, where the task has one.
    pub accuracy: Option<f64>,
    /// Active weights.
    pub active: u64,
    /// All positions of weights, active or not.
    pub weights: u64,
    /// R_s: the fraction of all sparse parameters' weights that were ever active.
    #[serde(deserialize_with = "or_nan")]
    pub explored: f64,
}

impl Record {
    /// The event as a line of the log, with its line feed.
    ///
    /// # Errors
    /// `Kind::Internal`; none is known.
    pub fn to_line(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            version: u32,
            event: &'a str,
            step: u64,
            draw: u64,
            time_s: f64,
            #[serde(flatten)]
            fields: Fields<'a>,
        }
        let Record { step, draw, time_s, event } = self;
        let (event, fields) = (event.name(), Fields(event));
        let line = Line { version: VERSION, event, step: *step, draw: *draw, time_s: *time_s, fields };
        let mut line = serde_json::to_string(&line)
            .map_err(|e| Error::internal(format!("cannot write event `{event}`")).caused_by(e))?;
        line.push('\n');
        Ok(line)
    }

    /// Parses a line; `None` if it is an event that this release does not know.
    ///
    /// # Errors
    /// `Kind::Data` if the line is not an event, or lacks a field.
    pub fn parse(line: &[u8]) -> Result<Option<Record>> {
        #[derive(Deserialize)]
        struct Name {
            event: String,
        }
        #[derive(Deserialize)]
        struct Time {
            step: u64,
            draw: u64,
            #[serde(deserialize_with = "or_nan")]
            time_s: f64,
        }
        let parse = || -> serde_json::Result<Option<Record>> {
            let Name { event } = serde_json::from_slice(line)?;
            let Some(event) = Event::parse(&event, line)? else { return Ok(None) };
            let Time { step, draw, time_s } = serde_json::from_slice(line)?;
            Ok(Some(Record { step, draw, time_s, event }))
        };
        parse().map_err(|e| Error::data("not an event").caused_by(e))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An event of each kind.
    pub(crate) fn samples() -> Vec<Record> {
        let machine = Machine::of(2, "avx2");
        let events: [Event; 8] = [
            Run {
                program: "rigl 0.1.0".into(),
                commit: None,
                arithmetic_version: 1,
                configuration: "[model]\nname = \"lenet\"\n".into(),
                data: crate::summary::tests::sample().data,
                machine: machine.clone(),
            }
            .into(),
            Network {
                parameters: vec![NetworkParameter {
                    name: "fc1.weight".into(),
                    shape: vec![300, 784],
                    weights: 235_200,
                    active: 2352,
                    storage: "sparse".into(),
                    flops: 4704,
                }],
            }
            .into(),
            Train {
                epoch: 0.5,
                loss: 0.1 + 0.2,
                accuracy: Some(0.9),
                learning_rate: 0.2,
                samples_per_s: 1e5,
                training_flops: 3e12,
            }
            .into(),
            Evaluation {
                split: "test".into(),
                loss: 0.25,
                accuracy: None,
                samples: 10_000,
                best: Some(true),
            }
            .into(),
            Update {
                drop_fraction: 0.3,
                parameters: vec![UpdateParameter {
                    name: "fc1.weight".into(),
                    active: 2352,
                    dropped: 705,
                    grown: 705,
                    regrown: 3,
                    explored: 0.02,
                }],
            }
            .into(),
            Checkpoint { file: "step-000000300-draw-000000303.safetensors".into(), bytes: 12_345 }.into(),
            Resume {
                program: "rigl 0.1.0".into(),
                commit: Some("1a2b3c".into()),
                checkpoint: "a".into(),
                data: None,
                machine,
                warnings: vec!["b".into()],
            }
            .into(),
            End {
                status: Status::Finished,
                reason: "all steps done".into(),
                loss: 0.25,
                accuracy: Some(0.98),
                active: 2352,
                weights: 235_200,
                explored: 0.5,
            }
            .into(),
        ];
        let record = |(i, event)| Record { step: i as u64, draw: u64::MAX, time_s: i as f64 / 3.0, event };
        events.into_iter().enumerate().map(record).collect()
    }

    #[test]
    fn every_event_survives_its_line() {
        for record in samples() {
            let line = record.to_line().unwrap();
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
            assert_eq!(Record::parse(line.as_bytes()).unwrap(), Some(record));
        }
    }

    #[test]
    fn every_line_begins_with_version_name_and_time() {
        let line = samples()[3].to_line().unwrap();
        let start =
            r#"{"version":1,"event":"evaluation","step":3,"draw":18446744073709551615,"time_s":1.0,"split""#;
        assert!(line.starts_with(start), "{line}");
    }

    #[test]
    fn numbers_that_are_not_finite_are_null_and_come_back_as_nan_or_none() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let event =
                Evaluation { split: "test".into(), loss: bad, accuracy: Some(bad), samples: 1, best: None }
                    .into();
            let line = Record { step: 1, draw: 1, time_s: bad, event }.to_line().unwrap();
            assert!(line.contains(r#""loss":null,"accuracy":null"#), "{line}");
            let record = Record::parse(line.as_bytes()).unwrap().unwrap();
            let Event::Evaluation(evaluation) = record.event else { panic!("{line}") };
            assert!(evaluation.loss.is_nan() && record.time_s.is_nan());
            assert_eq!(evaluation.accuracy, None);
        }
    }

    #[test]
    fn unknown_events_and_fields_are_ignored() {
        assert_eq!(Record::parse(br#"{"event":"party","version":"x"}"#).unwrap(), None);
        let record = &samples()[5];
        let line = record.to_line().unwrap().replace(r#""bytes""#, r#""new":{"a":[1,null]},"bytes""#);
        assert_eq!(Record::parse(line.as_bytes()).unwrap().as_ref(), Some(record));
    }

    #[test]
    fn what_is_not_an_event_is_refused() {
        let cases: [&[u8]; 8] = [
            b"",
            b"{",
            b"[]",
            b"null",
            b"{}",
            br#"{"event":1}"#,
            br#"{"event":"checkpoint","step":1,"draw":1,"time_s":1}"#,
            b"{\"event\":\"\xff\"}",
        ];
        for line in cases {
            let error = Record::parse(line).unwrap_err();
            assert_eq!(error.kind(), rigl_base::Kind::Data, "{line:?}");
        }
        let no_step = samples()[5].to_line().unwrap().replace("\"step\"", "\"stop\"");
        assert!(Record::parse(no_step.as_bytes()).unwrap_err().to_string().contains("`step`"));
        let deep = format!(r#"{{"event":{}"#, "[".repeat(100_000));
        assert!(Record::parse(deep.as_bytes()).is_err());
    }
}
