//! The training loop.
//!
//! Two counters drive everything: `step`, optimiser steps done, which schedules and updates go by; and `draw`,
//! batches consumed, which the order of samples goes by. A topology update that replaces a step advances `draw`
//! alone. A run's state is (step, draw, updated at this step) with the weights: from there it goes on to the bit.

mod clock;
mod saving;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rigl_base::{Error, Kind, Result};
use rigl_data::{Dataset, Loader, LoaderOptions, Order, Sample};
use rigl_engine::{ARITHMETIC_VERSION, Outcome};
use rigl_formats::{Checkpoint, Store};
use rigl_graph::account::Cost;
use rigl_metrics::{EventLog, Machine, RunWriter, Status, Summary, TensorBoard, event};
use rigl_topology::{Change, Gradients, OptimizerStep, Pattern, Update};

use crate::cost::batch_flops;
use crate::evaluate::{Packed, evaluate};
use crate::memory::LOADER_DEPTH;
use crate::observer::{Observer, Progress};
use crate::position::Position;
use crate::prepare::Prepared;
use crate::start::{Score, Start, score};
use crate::stepper::{At, Iteration, Stepper, gradients};
use clock::{Clock, Pace};

/// Progress is reported this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What may help a run that diverged.
const SMALLER: &str = "--set schedule.learning-rate=… (a smaller one)";

/// What a run goes on from, if not from its beginning.
pub struct From {
    /// The state to begin with.
    pub checkpoint: Checkpoint,
    /// The name of its file.
    pub file: String,
    /// What was not as it should be.
    pub warnings: Vec<String>,
}

/// How training ended.
#[derive(Debug)]
pub enum Ended {
    /// All steps are done.
    Finished(Box<Summary>),
    /// It was asked to stop, and a checkpoint is safe.
    Interrupted,
}

/// Trains to the end, or until `stop` is set. The program's name and version go into the log.
///
/// # Errors
/// [`Kind::Diverged`] if the loss is not finite: the last checkpoint before that is kept. Else whatever the
/// engine, the data or the disk refuses.
pub fn train(
    prepared: &Prepared,
    run: &RunWriter,
    from: Option<From>,
    program: &str,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Ended> {
    let mut trainer = Trainer::new(prepared, run, from, program, observer)?;
    let ended = trainer.run(stop);
    if let Err(error) = &ended
        && error.kind() == Kind::Diverged
    {
        trainer.log_end(Status::Diverged, error.message())?;
    }
    ended
}

struct Trainer<'a> {
    prepared: &'a Prepared,
    run: &'a RunWriter,
    observer: &'a mut dyn Observer,
    stepper: Stepper,
    position: Position,
    /// What the network costs as it is.
    cost: Cost,
    store: Store,
    log: EventLog,
    tensorboard: Option<TensorBoard>,
    loader: Loader<Packed>,
    clock: Clock,
}

impl<'a> Trainer<'a> {
    fn new(
        prepared: &'a Prepared,
        run: &'a RunWriter,
        from: Option<From>,
        program: &str,
        observer: &'a mut dyn Observer,
    ) -> Result<Trainer<'a>> {
        let graph = &prepared.design.graph;
        let parameters = graph.parameters().len();
        let mut session = match &from {
            None => prepared.begin()?,
            Some(from) => {
                if from.checkpoint.metadata.graph != graph.to_text() {
                    return Err(Error::data(format!(
                        "checkpoint `{}` holds another network than the configuration describes",
                        from.file
                    )));
                }
                let mut session = prepared.session()?;
                session
                    .load(&from.checkpoint.state)
                    .map_err(|e| e.context(format!("checkpoint `{}`", from.file)))?;
                session
            }
        };
        let config = &prepared.config;
        let first_draw = from.as_ref().map_or(0, |from| from.checkpoint.metadata.draw);
        let order = Order { seed: config.seeds.data, batch: config.data.batch, first_draw };
        let packer = session.packer(&prepared.preprocessing);
        let (parts, augmentation) = (config.data.micro_batches, prepared.augmentation);
        let mut loader = Loader::new(
            Arc::clone(&prepared.sets.train),
            order,
            LoaderOptions { threads: 1, depth: LOADER_DEPTH },
            Packed::default,
            move |draw, samples: &mut [Sample], packed: &mut Packed| {
                packed.augment_and_fill(augmentation.as_ref(), &packer, draw, samples, parts);
            },
        )?;
        let mut scoring = 0;
        if let (Some(by), None) = (prepared.scored(), &from) {
            if by == Score::Saliency {
                let mut packed = loader.next()?;
                let outcome = gradients(&mut session, packed.parts()?, 0, config.seeds.data, &[])?;
                loader.recycle(packed);
                if !outcome.loss.is_finite() {
                    return Err(Error::diverged("the loss before step 0 is not finite"));
                }
                scoring = 1;
            }
            score(&mut session, &prepared.design, by)?;
        }
        let mut stepper = Stepper::new(session, &prepared.design, config, &prepared.recipe)?;
        let cost = stepper.cost(graph)?;
        let patterns: Vec<Option<&Pattern>> = (0..parameters).map(|p| stepper.session.pattern(p)).collect();
        let position = match &from {
            None => Position {
                draw: scoring,
                began_with: prepared.start.as_ref().map(Start::began_with),
                flops: u128::from(scoring * batch_flops(Gradients::Kept, cost.dense_flops, cost.dense_flops)),
                ..Position::start(&patterns)
            },
            Some(from) => {
                let Checkpoint { metadata, state } = &from.checkpoint;
                Position::read(metadata, state, graph, &patterns, &cost)?
            }
        };
        if let Some(threshold) = position.threshold {
            stepper.memory.threshold = threshold;
        }
        let (log_length, before_s) = from
            .as_ref()
            .map_or((0, 0.0), |f| (f.checkpoint.metadata.log_length, f.checkpoint.metadata.elapsed_s));
        let log = EventLog::open(&run.log(), log_length)?;
        let tensorboard = match config.log.tensorboard {
            true => Some(TensorBoard::begin(run, position.step, before_s)?),
            false => None,
        };
        let mut trainer = Trainer {
            prepared,
            run,
            observer,
            stepper,
            position,
            cost,
            store: Store::new(run.checkpoints()).keeping(config.checkpoint.keep),
            log,
            tensorboard,
            loader,
            clock: Clock::new(before_s, first_draw),
        };
        trainer.log_beginning(from, program)?;
        Ok(trainer)
    }

    fn log_beginning(&mut self, from: Option<From>, program: &str) -> Result<()> {
        let machine = Machine::of(self.stepper.session.threads() as u32, self.stepper.session.isa());
        match from {
            Some(from) => {
                for warning in &from.warnings {
                    self.observer.warning(warning);
                }
                self.record(event::Resume {
                    program: program.to_string(),
                    checkpoint: from.file,
                    machine,
                    warnings: from.warnings,
                })
            }
            None => {
                self.record(event::Run {
                    program: program.to_string(),
                    commit: None,
                    arithmetic_version: ARITHMETIC_VERSION,
                    configuration: self.prepared.config.to_toml(),
                    machine,
                })?;
                let cost = &self.cost;
                let parameters =
                    self.stepper.session.parameters().iter().zip(&cost.parameters).map(|(p, cost)| {
                        event::NetworkParameter {
                            name: p.name().to_string(),
                            shape: p.shape().iter().map(|&n| n as u64).collect(),
                            weights: p.len() as u64,
                            active: p.active() as u64,
                            storage: p.storage().to_string(),
                            flops: cost.flops,
                        }
                    });
                let network = event::Network { parameters: parameters.collect() };
                self.record(network)?;
                if self.prepared.config.log.patterns > 0 {
                    self.save_patterns()?;
                }
                // Proves the disk, and makes a kill at any later moment resumable.
                self.checkpoint()
            }
        }
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<Ended> {
        let steps = self.prepared.recipe.steps;
        while self.position.step < steps {
            if stop.load(Ordering::Relaxed) {
                self.checkpoint()?;
                self.log_end(Status::Interrupted, "asked to stop")?;
                return Ok(Ended::Interrupted);
            }
            self.iteration()?;
        }
        if self.position.evaluation.is_none() {
            self.evaluate()?;
        }
        if self.prepared.config.log.patterns > 0 {
            self.save_patterns()?;
        }
        let summary = self.summary()?;
        self.checkpoint()?;
        self.log_end(Status::Finished, "all steps done")?;
        // The last of all: a run that has one is finished, and is not gone on with.
        summary.write(&self.run.summary())?;
        Ok(Ended::Finished(Box::new(summary)))
    }

    /// One batch: an optimiser step, a topology update, or both.
    fn iteration(&mut self) -> Result<()> {
        let Prepared { recipe, config, .. } = self.prepared;
        let Position { step, draw, updated, .. } = self.position;
        let learning_rate = recipe.learning_rate(step);
        let mut packed = self.loader.next()?;
        let done = self.stepper.iterate(packed.parts()?, At { step, draw, updated });
        self.loader.recycle(packed);
        let Iteration { outcome, needs, changes } = done?;
        if !outcome.loss.is_finite() {
            return Err(self.diverged(&format!("the loss at step {step}")));
        }
        self.position.interval.add(outcome);
        self.position.draw = draw + 1;
        self.position.flops +=
            u128::from(batch_flops(needs.gradients, self.cost.dense_flops, self.cost.flops));
        // The step is over before its update is recorded, so that records tell steps done.
        match needs.step {
            OptimizerStep::Taken => {
                self.position.step = step + 1;
                self.position.updated = false;
            }
            OptimizerStep::Skipped => self.position.updated = true,
        }
        if let Some(update) = needs.update {
            self.after_update(update, &changes)?;
        }
        let draw = self.position.draw;
        self.clock.warm.get_or_insert_with(|| Pace::new(Instant::now(), draw));
        self.report(outcome, learning_rate);
        if needs.step == OptimizerStep::Taken {
            self.after_step(learning_rate)?;
        }
        if self.clock.last_checkpoint.elapsed() >= Duration::from_secs_f64(config.checkpoint.every_seconds) {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn after_update(&mut self, update: Update, changes: &[(usize, Change)]) -> Result<()> {
        let Prepared { design, config, .. } = self.prepared;
        self.position.updates += 1;
        self.position.threshold = Some(self.stepper.memory.threshold);
        let mut parameters = Vec::with_capacity(changes.len());
        for (parameter, change) in changes {
            let explored = self.position.explored[*parameter]
                .as_mut()
                .ok_or_else(|| Error::internal("an update of a dense parameter"))?;
            explored.insert_new(&change.fresh())?;
            parameters.push(event::UpdateParameter {
                name: design.graph.parameters()[*parameter].name.clone(),
                active: change.pattern().count() as u64,
                dropped: change.dropped() as u64,
                grown: change.grown() as u64,
                regrown: change.regrown() as u64,
                explored: explored.fraction(),
            });
        }
        if changes.iter().any(|(_, change)| change.dropped() != change.grown()) {
            self.cost = self.stepper.cost(&design.graph)?;
        }
        // A method that updates at every step would fill the log.
        let each = if design.method.every_step() { config.log.every_steps } else { 1 };
        if self.position.updates.is_multiple_of(each) {
            self.record(event::Update { drop_fraction: update.fraction, parameters })?;
        }
        let every = config.log.patterns;
        if every > 0 && self.position.updates.is_multiple_of(every) {
            self.save_patterns()?;
        }
        Ok(())
    }

    fn after_step(&mut self, learning_rate: f64) -> Result<()> {
        let Prepared { recipe, config, .. } = self.prepared;
        let done = self.position.step;
        if done.is_multiple_of(config.log.every_steps) || done == recipe.steps {
            let interval = std::mem::take(&mut self.position.interval);
            let (now, draw) = (Instant::now(), self.position.draw);
            let batches_per_s = self.clock.record.batches_per_s(now, draw);
            self.record(event::Train {
                epoch: recipe.epochs(done),
                loss: interval.mean_loss(),
                accuracy: Some(interval.accuracy()),
                learning_rate,
                samples_per_s: batches_per_s * config.data.batch as f64,
                training_flops: self.position.flops as f64 * config.data.batch as f64,
            })?;
            self.clock.record = Pace::new(Instant::now(), draw);
        }
        if recipe.evaluates_after(done) {
            let begun = Instant::now();
            self.evaluate()?;
            self.clock.record.pause(begun.elapsed());
        }
        Ok(())
    }

    /// Tells the observer where the run stands, if it has been a while.
    fn report(&mut self, outcome: Outcome, learning_rate: f64) {
        let now = Instant::now();
        if now.duration_since(self.clock.last_progress) < PROGRESS_EVERY {
            return;
        }
        self.clock.last_progress = now;
        let Prepared { recipe, config, .. } = self.prepared;
        let interval = if self.position.interval.samples > 0 { self.position.interval } else { outcome };
        let batches_per_s = self.clock.warm.map(|pace| pace.batches_per_s(now, self.position.draw));
        let samples_per_s = batches_per_s.map_or(f64::NAN, |rate| rate * config.data.batch as f64);
        self.observer.progress(&Progress {
            step: self.position.step,
            steps: recipe.steps,
            epoch: recipe.epochs(self.position.step),
            epochs: recipe.epochs(recipe.steps),
            loss: outcome.mean_loss(),
            mean_loss: interval.mean_loss(),
            accuracy: interval.accuracy(),
            learning_rate,
            sparsity: self.cost.sparsity,
            samples_per_s,
            elapsed_s: self.clock.elapsed_s(),
        });
    }

    /// Evaluates on the validation split, if there is one, and on the test set.
    fn evaluate(&mut self) -> Result<()> {
        if let Some(set) = self.prepared.sets.validation.clone() {
            let evaluation = self.evaluate_on(&set, "validation")?;
            let better = evaluation.accuracy > self.position.best;
            if better {
                self.position.best = evaluation.accuracy;
            }
            if better {
                self.save_best()?;
            }
        }
        let set = Arc::clone(&self.prepared.sets.test);
        self.position.evaluation = Some(self.evaluate_on(&set, "test")?);
        Ok(())
    }

    fn evaluate_on(&mut self, set: &Arc<dyn Dataset>, split: &str) -> Result<event::Evaluation> {
        let batch = self.prepared.evaluation_batch();
        let outcome = evaluate(&mut self.stepper.session, set, &self.prepared.preprocessing, batch)?;
        let evaluation = event::Evaluation {
            split: split.to_string(),
            loss: outcome.mean_loss(),
            accuracy: Some(outcome.accuracy()),
            samples: outcome.samples as u64,
        };
        self.record(evaluation.clone())?;
        if !outcome.loss.is_finite() {
            return Err(self.diverged(&format!("the {split} loss after step {}", self.position.step)));
        }
        Ok(evaluation)
    }

    /// The error for a loss that is not finite.
    fn diverged(&self, what: &str) -> Error {
        let parameter = match self.stepper.session.non_finite() {
            Some(parameter) => format!("; the first parameter with such a number is `{parameter}`"),
            None => String::new(),
        };
        Error::diverged(format!("{what} is not finite{parameter}")).hint(SMALLER)
    }
}
