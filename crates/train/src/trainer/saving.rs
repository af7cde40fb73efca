//! What a run leaves behind: its log, checkpoints, patterns and summary.

use std::time::Instant;

use rigl_base::{Error, Kind, Result};
use rigl_engine::ARITHMETIC_VERSION;
use rigl_formats::Metadata;
use rigl_graph::state::{Role, State, Tensor, Values};
use rigl_metrics::event::{self, Event};
use rigl_metrics::summary::{self, Flops};
use rigl_metrics::{Status, Summary};

use rigl_topology::Pattern;

use super::Trainer;

impl Trainer<'_> {
    pub(super) fn record(&mut self, event: impl Into<Event>) -> Result<()> {
        self.recorder.record(self.position.step, self.position.draw, event)
    }

    pub(super) fn state(&self) -> State<'_> {
        let mut state = self.stepper.session.state();
        state.extend(self.position.tensors(self.design.graph()));
        state
    }

    pub(super) fn metadata(&self) -> Result<Metadata> {
        let settings = self.design.settings();
        Ok(Metadata {
            arithmetic_version: ARITHMETIC_VERSION,
            step: self.position.step,
            draw: self.position.draw,
            updated: self.position.updated,
            elapsed_s: self.recorder.clock.elapsed_s(),
            log_length: self.recorder.log_length(),
            configuration: settings.config().to_toml(),
            graph: self.design.graph().to_text(),
            classes: self.sets.train.spec().classes.clone(),
            preprocessing: self.inputs.text(),
            data: Some(self.data_text()?),
            extra: self.position.sums.write()?,
            ..Metadata::default()
        })
    }

    fn data_text(&self) -> Result<String> {
        serde_json::to_string(&self.data)
            .map_err(|e| Error::internal("the record of the data cannot be printed").caused_by(e))
    }

    /// Makes the state safe, log first: the checkpoint tells how much of the log belongs to it.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        self.recorder.sync()?;
        let metadata = self.metadata()?;
        let mut state = self.stepper.session.state();
        state.extend(self.position.tensors(self.design.graph()));
        let saved = self.store.save(&state, &metadata);
        let (path, bytes) = saved.map_err(|e| self.after_step_number(e))?;
        self.recorder.clock.last_checkpoint = Instant::now();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.record(event::Checkpoint { file, bytes })
    }

    /// The state with the best validation accuracy so far, in a file of its own.
    pub(super) fn save_best(&self) -> Result<()> {
        let path = self.run.checkpoints().join("best.safetensors");
        let written = rigl_formats::checkpoint::write(&path, &self.state(), &self.metadata()?);
        written.map(|_| ()).map_err(|e| self.after_step_number(e))
    }

    /// Says at which step a number was found that is not finite: such a state is not saved.
    fn after_step_number(&self, error: Error) -> Error {
        match error.kind() {
            Kind::Diverged => error.context(format!("after step {}", self.position.step)).hint(self.slower()),
            _ => error,
        }
    }

    /// The patterns as they are, in a file of their own.
    pub(super) fn save_patterns(&self) -> Result<()> {
        let graph = self.design.graph();
        let tensor = |&p: &usize| {
            let pattern = self.stepper.session.pattern(p)?;
            Some(Tensor {
                name: format!("pattern/{}", graph.parameters()[p].name).into(),
                role: Role::Method,
                shape: vec![pattern.count()],
                values: Values::U32(pattern.indices().into()),
                indices: None,
            })
        };
        let state: State<'_> = self.stepper.sparse().iter().filter_map(tensor).collect();
        // Written at the same place by a resumed run, with the same bytes: nothing in it tells the time.
        let metadata =
            Metadata { elapsed_s: 0.0, log_length: 0, extra: Default::default(), ..self.metadata()? };
        let path = self.run.patterns().join(format!("{}.safetensors", self.position.step));
        rigl_formats::checkpoint::write(&path, &state, &metadata).map(|_| ())
    }

    pub(super) fn log_end(&mut self, status: Status, reason: &str) -> Result<()> {
        let cost = &self.cost;
        let evaluation = self.position.sums.evaluation.as_ref();
        let end = event::End {
            status,
            reason: reason.to_string(),
            loss: evaluation.map_or(f64::NAN, |e| e.loss),
            accuracy: evaluation.and_then(|e| e.accuracy),
            active: cost.active as u64,
            weights: cost.weights as u64,
            explored: self.position.explored_fraction(),
        };
        self.record(end)?;
        self.recorder.sync()
    }

    pub(super) fn summary(&self) -> Result<Summary> {
        let (settings, sums) = (self.design.settings(), &self.position.sums);
        let cost = &self.cost;
        let evaluation = self.position.sums.evaluation.as_ref();
        let accuracy = evaluation.and_then(|e| e.accuracy);
        let on_training = sums.training_evaluation.as_ref();
        let reference = self.design.reference_flops() as f64;
        // Per sample, as the mean over every batch of the run.
        let training = sums.training_flops as f64 / self.position.draw.max(1) as f64;
        let seconds = self.recorder.clock.elapsed_s() - sums.evaluation_seconds.unwrap_or(0.0);
        let weights = self.design.graph().weights().map(|(id, p)| {
            let explored = self.position.explored[id.index()].as_ref();
            summary::Layer {
                name: p.name.clone(),
                active: self.stepper.session.pattern(id.index()).map_or(p.len(), Pattern::count) as u64,
                weights: p.len() as u64,
                explored: explored.map_or(1.0, |e| e.fraction()),
            }
        });
        let weights_crc32c = rigl_formats::checkpoint::parameters_crc32c(&self.stepper.session.state())
            .map_err(|e| self.after_step_number(e))?;
        Ok(Summary {
            version: summary::VERSION,
            status: Status::Finished,
            method: settings.config().method.name.clone(),
            sparsity: cost.sparsity,
            distribution: settings.budget.distribution.to_string(),
            seed: settings.seeds.init,
            accuracy,
            train_accuracy: on_training.and_then(|e| e.accuracy),
            train_loss: on_training.map(|e| e.loss),
            test_error: accuracy.map(|a| 1.0 - a),
            loss: evaluation.map_or(f64::NAN, |e| e.loss),
            active: cost.active as u64,
            most_active: sums.most_active,
            weights: cost.weights as u64,
            bytes: cost.bytes,
            explored: self.position.explored_fraction(),
            inference: Flops::new(cost.flops as f64, reference),
            training: Flops::new(training, 3.0 * reference),
            steps: self.position.step,
            stopped_early: self.stops_early(),
            draws: self.position.draw,
            updates: sums.updates,
            seconds,
            evaluation_seconds: sums.evaluation_seconds,
            samples_per_s: self.position.draw as f64 * settings.batch() as f64 / seconds,
            peak_memory_bytes: rigl_metrics::machine::peak_memory_bytes(),
            weights_crc32c,
            data: Some(self.data.clone()),
            layers: weights.collect(),
            program: self.program.to_string(),
            commit: self.program.commit.clone(),
        })
    }
}
