//! Where a run stands, besides its weights: counters, sums under way, what was explored. This and the engine's
//! state are all that a checkpoint holds.

use std::collections::BTreeMap;

use rigl_base::{Error, Result};
use rigl_engine::Outcome;
use rigl_formats::Metadata;
use rigl_graph::account::Cost;
use rigl_graph::state::{self, Role, State, Tensor, Values};
use rigl_graph::{Graph, Parameter};
use rigl_metrics::event;
use rigl_topology::{Explored, Pattern};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::entries::{json, text};
use crate::origin::BeganWith;

/// The counters and sums of a run: where its next step begins.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    /// Optimiser steps done.
    pub(crate) step: u64,
    /// Batches consumed.
    pub(crate) draw: u64,
    /// Whether the topology update due at `step` has been done.
    pub(crate) updated: bool,
    /// Counters and sums.
    pub(crate) sums: Sums,
    /// Per parameter of the graph: the positions that were ever active, where it is sparse.
    pub(crate) explored: Vec<Option<Explored>>,
}

/// How long a run has come to no better validation accuracy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waiting {
    /// Evaluations since the best one.
    pub(crate) evaluations: u64,
    /// The step of that one.
    pub(crate) best_step: u64,
}

/// What a checkpoint says of a run besides its tensors and what its metadata have fields for: text by name, numbers such
/// that they are read back to the bit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Sums {
    /// Topology updates done.
    #[serde(with = "text")]
    pub(crate) updates: u64,
    /// Operations of training so far, per sample of a batch and summed over batches.
    #[serde(with = "text")]
    pub(crate) training_flops: u128,
    /// Since the last record of the log.
    #[serde(with = "text")]
    pub(crate) interval_loss: f64,
    #[serde(with = "text")]
    pub(crate) interval_correct: usize,
    #[serde(with = "text")]
    pub(crate) interval_samples: usize,
    /// What the first values were, of a run that started from another.
    #[serde(with = "text::option", default, skip_serializing_if = "Option::is_none")]
    pub(crate) began_with: Option<BeganWith>,
    /// What the method remembers, once it has updated.
    #[serde(with = "text::option", default, skip_serializing_if = "Option::is_none")]
    pub(crate) threshold: Option<f64>,
    /// The last evaluation on the test set.
    #[serde(with = "json", default, skip_serializing_if = "Option::is_none")]
    pub(crate) evaluation: Option<event::Evaluation>,
    /// The evaluation on all training samples in the end, where it is asked for.
    #[serde(with = "json", default, skip_serializing_if = "Option::is_none")]
    pub(crate) training_evaluation: Option<event::Evaluation>,
    /// The best validation accuracy so far.
    #[serde(with = "text::option", default, skip_serializing_if = "Option::is_none")]
    pub(crate) best_validation_accuracy: Option<f64>,
    /// How long there was no better one, of a run that may end early.
    #[serde(with = "json", default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<Waiting>,
    /// The best test accuracy so far.
    #[serde(with = "text::option", default, skip_serializing_if = "Option::is_none")]
    pub(crate) best_test_accuracy: Option<f64>,
    /// The most weights that were active at once.
    #[serde(with = "text::option", default, skip_serializing_if = "Option::is_none")]
    pub(crate) most_active: Option<u64>,
    /// Seconds of evaluations.
    #[serde(with = "text::option", default, skip_serializing_if = "Option::is_none")]
    pub(crate) evaluation_seconds: Option<f64>,
}

/// The entry of a release whose methods kept every count: batches that took the dense gradient too.
const DENSE_UPDATES: &str = "dense-updates";
pub(crate) const TRAINING_FLOPS: &str = "training-flops";

impl Sums {
    /// Sums since the last record of the log.
    pub(crate) fn interval(&self) -> Outcome {
        Outcome { loss: self.interval_loss, correct: self.interval_correct, samples: self.interval_samples }
    }

    /// Begins an interval with these sums.
    pub(crate) fn set_interval(&mut self, outcome: Outcome) {
        let Outcome { loss, correct, samples } = outcome;
        (self.interval_loss, self.interval_correct, self.interval_samples) = (loss, correct, samples);
    }

    /// As the entries that metadata have no field for.
    pub(crate) fn write(&self) -> Result<BTreeMap<String, String>> {
        serde_json::to_value(self)
            .and_then(serde_json::from_value)
            .map_err(|e| Error::internal("the sums of a run cannot be printed").caused_by(e))
    }

    pub(crate) fn read(metadata: &Metadata, cost: &Cost) -> Result<Sums> {
        let mut entries: serde_json::Map<String, Value> =
            metadata.extra.iter().map(|(key, text)| (key.clone(), text.clone().into())).collect();
        entries.remove(DENSE_UPDATES);
        if let Some(dense) = metadata.extra.get(DENSE_UPDATES) {
            // 3 f_S for a batch, and the dense gradient of some.
            let dense: u64 =
                dense.parse().map_err(|e| Error::data(format!("`{DENSE_UPDATES}`")).caused_by(e))?;
            let flops = u128::from(metadata.draw) * u128::from(3 * cost.flops)
                + u128::from(dense) * u128::from(cost.dense_flops.saturating_sub(cost.flops));
            entries.insert(TRAINING_FLOPS.into(), flops.to_string().into());
        }
        serde_json::from_value(Value::Object(entries))
            .map_err(|e| Error::data("the sums of the run do not read").caused_by(e))
    }

    /// The best test accuracy so far; of a run that began when it was not noted, that of the last evaluation.
    pub(crate) fn best_test_accuracy(&self) -> Option<f64> {
        self.best_test_accuracy.or(self.evaluation.as_ref()?.accuracy)
    }

    /// Whether a run of this patience has come to no better validation accuracy for so long that it ends.
    pub(crate) fn out_of(&self, patience: Option<u64>) -> bool {
        self.waiting.zip(patience).is_some_and(|(waiting, patience)| waiting.evaluations >= patience)
    }

    /// Notes that so many weights are active.
    pub(crate) fn note_active(&mut self, active: usize) {
        self.most_active = self.most_active.map(|most| most.max(active as u64));
    }
}

impl Position {
    /// The beginning.
    pub(crate) fn start(patterns: &[Option<&Pattern>]) -> Position {
        Position {
            step: 0,
            draw: 0,
            updated: false,
            sums: Sums::default(),
            explored: patterns.iter().map(|p| p.map(Explored::new)).collect(),
        }
    }

    /// R_s over all sparse parameters; 1 for a dense network, all of whose weights are active.
    pub(crate) fn explored_fraction(&self) -> f64 {
        let sparse = || self.explored.iter().flatten();
        let all: usize = sparse().map(Explored::len).sum();
        if all == 0 { 1.0 } else { sparse().map(Explored::count).sum::<usize>() as f64 / all as f64 }
    }

    /// The tensors of role "method".
    pub(crate) fn tensors<'a>(&'a self, graph: &Graph) -> State<'a> {
        let tensor = |(p, explored): (&Parameter, &'a Option<Explored>)| {
            let explored = explored.as_ref()?;
            let (form, values) = match (explored.as_indices(), explored.as_bits()) {
                (Some(indices), _) => ("indices", Values::U32(indices.into())),
                (None, bits) => ("bits", Values::U8(bits.unwrap_or_default().into())),
            };
            Some(Tensor {
                name: format!("explored-{form}/{}", p.name).into(),
                role: Role::Method,
                shape: vec![values.len()],
                values,
                indices: None,
            })
        };
        graph.parameters().iter().zip(&self.explored).filter_map(tensor).collect()
    }

    /// Reads a position back. `patterns` are those of the state read with it, `cost` theirs.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if something is missing, or does not fit the graph.
    pub(crate) fn read(
        metadata: &Metadata,
        state: &[Tensor<'_>],
        graph: &Graph,
        patterns: &[Option<&Pattern>],
        cost: &Cost,
    ) -> Result<Position> {
        let Metadata { step, draw, updated, .. } = *metadata;
        let sums = Sums::read(metadata, cost).map_err(|e| e.context("checkpoint"))?;
        let mut position = Position { step, draw, updated, sums, ..Position::start(patterns) };
        for (p, slot) in graph.parameters().iter().zip(&mut position.explored) {
            let Some(slot) = slot else { continue };
            *slot = explored(state, p)?
                .ok_or_else(|| Error::data(format!("checkpoint: what `{}` explored is missing", p.name)))?;
        }
        Ok(position)
    }
}

/// What a parameter has explored so far, out of the state in a checkpoint; `None` if that says nothing of it, as
/// for dense parameters.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data) if it does not fit the parameter.
pub fn explored(state: &[Tensor<'_>], parameter: &Parameter) -> Result<Option<Explored>> {
    let find = |form: &str| {
        let name = format!("explored-{form}/{}", parameter.name);
        state::find(state, &Role::Method, &name).map(|t| &t.values)
    };
    match (find("indices"), find("bits")) {
        (Some(Values::U32(indices)), _) => Explored::from_indices(parameter.len(), indices.to_vec()),
        (_, Some(Values::U8(bits))) => Explored::from_bits(parameter.len(), bits.to_vec()),
        (None, None) => return Ok(None),
        _ => Err(Error::data("is of another type")),
    }
    .map(Some)
    .map_err(|e| Error::data(format!("checkpoint: what `{}` explored", parameter.name)).caused_by(e))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sums() -> Sums {
        Sums {
            updates: 7,
            training_flops: u128::MAX,
            interval_loss: 0.1 + 0.2,
            interval_correct: 3,
            interval_samples: 5,
            began_with: Some(BeganWith::Seed(u64::MAX)),
            threshold: Some(1e-3 / 3.0),
            evaluation: Some(event::Evaluation {
                split: "test".into(),
                loss: 1.0 / 3.0,
                accuracy: None,
                samples: 9,
                best: None,
            }),
            training_evaluation: Some(event::Evaluation {
                split: "train".into(),
                loss: 1.0 / 7.0,
                accuracy: Some(0.5),
                samples: 90,
                best: None,
            }),
            best_validation_accuracy: Some(2.0 / 3.0),
            waiting: Some(Waiting { evaluations: 2, best_step: 700 }),
            best_test_accuracy: Some(0.25),
            most_active: Some(cost().weights as u64),
            evaluation_seconds: Some(1.0 / 7.0),
        }
    }

    pub(crate) fn cost() -> Cost {
        let graph = rigl_graph::Models::default().build("mlp", &rigl_graph::ModelSpec::new(&[3], 2)).unwrap();
        Cost::dense(&graph).unwrap()
    }

    fn read(extra: BTreeMap<String, String>) -> Result<Sums> {
        Sums::read(&Metadata { draw: 10, extra, ..Metadata::default() }, &cost())
    }

    #[test]
    fn sums_survive_being_text_to_the_bit() {
        for sums in [sums(), Sums::default(), Sums { began_with: Some(BeganWith::Trained), ..sums() }] {
            assert_eq!(read(sums.write().unwrap()).unwrap(), sums);
        }
        let names: Vec<_> = sums().write().unwrap().into_keys().collect();
        let expected = [
            "began-with",
            "best-test-accuracy",
            "best-validation-accuracy",
            "evaluation",
            "evaluation-seconds",
            "interval-correct",
            "interval-loss",
            "interval-samples",
            "most-active",
            "threshold",
            "training-evaluation",
            "training-flops",
            "updates",
            "waiting",
        ];
        assert_eq!(names, expected, "as docs/file-format.md has them");
    }

    #[test]
    fn sums_as_earlier_releases_wrote_them_read() {
        let entries = |entries: &[(&str, &str)]| {
            entries.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect::<BTreeMap<_, _>>()
        };
        let common = [
            ("updates", "7"),
            ("interval-loss", "2.5e-7"),
            ("interval-correct", "0"),
            ("interval-samples", "0"),
        ];
        let with = |more: &[(&str, &str)]| read(entries(&[&common[..], more].concat()));
        let found = with(&[("training-flops", "123"), ("began-with", "trained")]);
        let expected = Sums {
            updates: 7,
            interval_loss: 2.5e-7,
            training_flops: 123,
            began_with: Some(BeganWith::Trained),
            ..Sums::default()
        };
        assert_eq!(found.unwrap(), expected);
        // Of methods that kept every count: 3 f_S for a batch, and the dense gradient of some.
        let flops = u128::from(10 * 3 * cost().flops);
        assert_eq!(with(&[("dense-updates", "4")]).unwrap().training_flops, flops);
        assert!(with(&[]).unwrap_err().to_string().contains("`training-flops`"));
        assert!(with(&[("training-flops", "-1")]).unwrap_err().to_string().contains("`-1`"));
        let later = with(&[("training-flops", "1"), ("of-a-later-one", "?")]).unwrap_err().to_string();
        assert!(later.contains("unknown field `of-a-later-one`"), "{later}");
    }
}
