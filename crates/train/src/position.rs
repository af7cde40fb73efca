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

use crate::start::BEGAN_WITH;

/// The counters and sums of a run: where its next step begins.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    /// Optimiser steps done.
    pub(crate) step: u64,
    /// Batches consumed.
    pub(crate) draw: u64,
    /// Whether the topology update due at `step` has been done.
    pub(crate) updated: bool,
    /// Topology updates done.
    pub(crate) updates: u64,
    /// Operations of training so far, per sample of a batch and summed over batches.
    pub(crate) flops: u128,
    /// What the first values were, of a run that started from another ([`BEGAN_WITH`]).
    pub(crate) began_with: Option<String>,
    /// What the method remembers, once it has updated.
    pub(crate) threshold: Option<f64>,
    /// Sums since the last record of the log.
    pub(crate) interval: Outcome,
    /// The last evaluation on the test set.
    pub(crate) evaluation: Option<event::Evaluation>,
    /// The best validation accuracy so far.
    pub(crate) best: Option<f64>,
    /// Per parameter of the graph: the positions that were ever active, where it is sparse.
    pub(crate) explored: Vec<Option<Explored>>,
}

impl Position {
    /// The beginning.
    pub(crate) fn start(patterns: &[Option<&Pattern>]) -> Position {
        Position {
            step: 0,
            draw: 0,
            updated: false,
            updates: 0,
            flops: 0,
            began_with: None,
            threshold: None,
            interval: Outcome::default(),
            evaluation: None,
            best: None,
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

    /// The entries that the metadata have no field for.
    pub(crate) fn extra(&self) -> Result<BTreeMap<String, String>> {
        let mut extra = BTreeMap::from([
            ("updates".to_string(), self.updates.to_string()),
            ("training-flops".to_string(), self.flops.to_string()),
            // Printed so that it is read back to the bit.
            ("interval-loss".to_string(), format!("{:?}", self.interval.loss)),
            ("interval-correct".to_string(), self.interval.correct.to_string()),
            ("interval-samples".to_string(), self.interval.samples.to_string()),
        ]);
        if let Some(evaluation) = &self.evaluation {
            let text = serde_json::to_string(evaluation)
                .map_err(|e| Error::internal("cannot print an evaluation").caused_by(e))?;
            extra.insert("evaluation".to_string(), text);
        }
        if let Some(values) = &self.began_with {
            extra.insert(BEGAN_WITH.to_string(), values.clone());
        }
        if let Some(threshold) = self.threshold {
            extra.insert("threshold".to_string(), format!("{threshold:?}"));
        }
        if let Some(best) = self.best {
            extra.insert("best-validation-accuracy".to_string(), format!("{best:?}"));
        }
        Ok(extra)
    }

    /// Reads a position back. `patterns` are those of the state read with it, `cost` theirs.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if something is missing or does not fit the graph.
    pub(crate) fn read(
        metadata: &Metadata,
        state: &[Tensor<'_>],
        graph: &Graph,
        patterns: &[Option<&Pattern>],
        cost: &Cost,
    ) -> Result<Position> {
        let mut position = Position::start(patterns);
        position.step = metadata.step;
        position.draw = metadata.draw;
        position.updated = metadata.updated;
        position.updates = number(metadata, "updates")?;
        position.flops = match metadata.extra.contains_key("dense-updates") {
            // Of a release whose methods kept every count: 3 f_S for a batch, and the dense gradient of some.
            true => {
                let dense: u64 = number(metadata, "dense-updates")?;
                u128::from(metadata.draw) * u128::from(3 * cost.flops)
                    + u128::from(dense) * u128::from(cost.dense_flops.saturating_sub(cost.flops))
            }
            false => number(metadata, "training-flops")?,
        };
        position.began_with = metadata.extra.get(BEGAN_WITH).cloned();
        position.interval = Outcome {
            loss: number(metadata, "interval-loss")?,
            correct: number(metadata, "interval-correct")?,
            samples: number(metadata, "interval-samples")?,
        };
        if let Some(text) = metadata.extra.get("evaluation") {
            let evaluation = serde_json::from_str(text);
            position.evaluation =
                Some(evaluation.map_err(|e| Error::data("checkpoint: `evaluation`").caused_by(e))?);
        }
        if metadata.extra.contains_key("threshold") {
            position.threshold = Some(number(metadata, "threshold")?);
        }
        if metadata.extra.contains_key("best-validation-accuracy") {
            position.best = Some(number(metadata, "best-validation-accuracy")?);
        }
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

fn number<T: std::str::FromStr>(metadata: &Metadata, key: &str) -> Result<T> {
    let found = metadata.extra.get(key);
    found.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Error::data(format!("checkpoint: `{key}` is `{}`, expected a number", found.map_or("missing", |s| s)))
    })
}
