//! The training loop.
//!
//! Two counters drive everything: `step`, optimiser steps done, which schedules and updates go by; and `draw`,
//! batches consumed, which the order of samples goes by. A topology update that replaces a step advances `draw`
//! alone. A run's state is (step, draw, updated at this step) with the weights: from there it goes on to the bit.

mod saving;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rigl_base::{Error, Kind, Result};
use rigl_data::{Dataset, Loader, LoaderOptions, Order, Sample};
use rigl_engine::{ARITHMETIC_VERSION, Growth, MicroBatch, Outcome, Session, StepConstants, UpdateRequest};
use rigl_formats::{Checkpoint, Store};
use rigl_metrics::{EventLog, Machine, RunWriter, Status, Summary, TensorBoard, event};
use rigl_topology::{Change, Gradients, LayerStatistics, Needs, OptimizerStep, Pattern, growth_stream};

use crate::evaluate::{Packed, evaluate};
use crate::observer::{Observer, Progress};
use crate::position::Position;
use crate::prepare::{LOADER_DEPTH, Prepared};

/// Progress is reported this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What may help a run that diverged.
const SMALLER: &str = "--set schedule.learning-rate=… (a smaller one)";

/// What a run goes on from, if not from its beginning.
pub struct From {
    /// The checkpoint.
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
    session: Session,
    position: Position,
    store: Store,
    log: EventLog,
    tensorboard: Option<TensorBoard>,
    loader: Loader<Packed>,
    /// Parameters that a method sees, by number in the graph.
    sparse: Vec<usize>,
    clock: Clock,
}

/// Monotonic time of this process, on top of what earlier ones spent.
struct Clock {
    before_s: f64,
    started: Instant,
    last_progress: Instant,
    last_checkpoint: Instant,
    last_record: Instant,
    /// When the first step of this process was done, and which step it was.
    warm: Option<(Instant, u64)>,
}

impl Clock {
    fn new(before_s: f64) -> Clock {
        let now = Instant::now();
        Clock {
            before_s,
            started: now,
            last_progress: now,
            last_checkpoint: now,
            last_record: now,
            warm: None,
        }
    }

    fn elapsed_s(&self) -> f64 {
        self.before_s + self.started.elapsed().as_secs_f64()
    }
}

impl<'a> Trainer<'a> {
    fn new(
        prepared: &'a Prepared,
        run: &'a RunWriter,
        from: Option<From>,
        program: &str,
        observer: &'a mut dyn Observer,
    ) -> Result<Trainer<'a>> {
        let mut session = prepared.session()?;
        let graph = &prepared.design.graph;
        let parameters = graph.parameters().len();
        if let Some(from) = &from {
            if from.checkpoint.metadata.graph != graph.to_text() {
                return Err(Error::data(format!(
                    "checkpoint `{}` holds another network than the configuration describes",
                    from.file
                )));
            }
            session
                .load(&from.checkpoint.state)
                .map_err(|e| e.context(format!("checkpoint `{}`", from.file)))?;
        }
        let patterns: Vec<Option<&Pattern>> = (0..parameters).map(|p| session.pattern(p)).collect();
        let sparse = (0..parameters).filter(|&p| patterns[p].is_some()).collect();
        let position = match &from {
            None => Position::start(&patterns),
            Some(from) => {
                let Checkpoint { metadata, state } = &from.checkpoint;
                Position::read(metadata, state, graph, &patterns)?
            }
        };
        let config = &prepared.config;
        let order = Order { seed: config.seeds.data, batch: config.data.batch, first_draw: position.draw };
        let packer = session.packer(&prepared.preprocessing);
        let (parts, augmentation) = (config.data.micro_batches, prepared.augmentation);
        let loader = Loader::new(
            Arc::clone(&prepared.sets.train),
            order,
            LoaderOptions { threads: 1, depth: LOADER_DEPTH },
            Packed::default,
            move |draw, samples: &mut [Sample], packed: &mut Packed| {
                packed.augment_and_fill(augmentation.as_ref(), &packer, draw, samples, parts);
            },
        )?;
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
            session,
            position,
            store: Store::new(run.checkpoints()).keeping(config.checkpoint.keep),
            log,
            tensorboard,
            loader,
            sparse,
            clock: Clock::new(before_s),
        };
        trainer.log_beginning(from, program)?;
        Ok(trainer)
    }

    fn log_beginning(&mut self, from: Option<From>, program: &str) -> Result<()> {
        let machine = Machine::of(self.session.threads() as u32, self.session.isa());
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
                let cost = &self.prepared.design.cost;
                let parameters =
                    self.session.parameters().into_iter().zip(&cost.parameters).map(|(p, cost)| {
                        event::NetworkParameter {
                            name: p.name,
                            shape: p.shape.iter().map(|&n| n as u64).collect(),
                            weights: p.weights as u64,
                            active: p.active as u64,
                            storage: p.storage.to_string(),
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
        let Prepared { design, recipe, config, .. } = self.prepared;
        let (step, begin_draw) = (self.position.step, self.position.draw);
        let needs = design.method.needs(&recipe.updates, step, self.position.updated);
        let requests = if needs.update { self.requests(step) } else { Vec::new() };
        let learning_rate = recipe.learning_rate(step);

        let packed = self.loader.next()?;
        let outcome = self.gradients(&packed, needs, &requests)?;
        self.loader.recycle(packed);
        if !outcome.loss.is_finite() {
            return Err(self.diverged(&format!("the loss at step {step}")));
        }
        self.position.interval.add(outcome);
        self.position.draw = begin_draw + 1;
        if needs.step == OptimizerStep::Taken {
            self.session.step(StepConstants {
                learning_rate,
                momentum: config.optimizer.momentum,
                nesterov: config.optimizer.nesterov,
                l2: config.optimizer.l2,
            })?;
        }
        // The step is over before its update is recorded, so that records tell steps done.
        match needs.step {
            OptimizerStep::Taken => {
                self.position.step = step + 1;
                self.position.updated = false;
            }
            OptimizerStep::Skipped => self.position.updated = true,
        }
        if needs.update {
            let changes = self.session.update(&requests)?;
            self.after_update(step, needs, &requests, &changes)?;
        }
        self.clock.warm.get_or_insert_with(|| (Instant::now(), self.position.draw));
        self.report(outcome, learning_rate);
        if needs.step == OptimizerStep::Taken {
            self.after_step(learning_rate)?;
        }
        if self.clock.last_checkpoint.elapsed() >= Duration::from_secs_f64(config.checkpoint.every_seconds) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Forward and backward over the parts of a batch.
    fn gradients(&mut self, packed: &Packed, needs: Needs, requests: &[UpdateRequest]) -> Result<Outcome> {
        let growth: Vec<Growth> = match needs.gradients {
            Gradients::Dense => {
                requests.iter().map(|r| Growth { parameter: r.parameter, count: r.budget.grow }).collect()
            }
            _ => Vec::new(),
        };
        let parts = packed.parts()?;
        let of_samples = parts.iter().map(|part| part.samples()).sum();
        let mut outcome = Outcome::default();
        for (i, batch) in parts.iter().enumerate() {
            let part = MicroBatch {
                batch,
                of_samples,
                draw: self.position.draw,
                number: i as u64,
                seed: self.prepared.config.seeds.data,
                first: i == 0,
                last: i + 1 == parts.len(),
            };
            outcome.add(self.session.accumulate(part, &growth)?);
        }
        Ok(outcome)
    }

    /// What the update due at `step` asks of each sparse parameter.
    fn requests(&self, step: u64) -> Vec<UpdateRequest> {
        let Prepared { design, recipe, config, .. } = self.prepared;
        let statistics: Vec<LayerStatistics> =
            self.sparse.iter().filter_map(|&p| self.session.pattern(p)).map(LayerStatistics::new).collect();
        let budgets = design.method.budget(&recipe.updates, step, &statistics);
        let request = |(&parameter, budget)| UpdateRequest {
            parameter,
            budget,
            drop: design.method.drop,
            grow: design.method.grow,
            stream: growth_stream(config.seeds.topology, &design.graph.parameters()[parameter].name, step),
        };
        self.sparse.iter().zip(budgets).map(request).collect()
    }

    fn after_update(
        &mut self,
        step: u64,
        needs: Needs,
        requests: &[UpdateRequest],
        changes: &[Change],
    ) -> Result<()> {
        self.position.updates += 1;
        self.position.dense_updates += u64::from(needs.gradients == Gradients::Dense);
        let mut parameters = Vec::with_capacity(changes.len());
        for (request, change) in requests.iter().zip(changes) {
            let explored = self.position.explored[request.parameter]
                .as_mut()
                .ok_or_else(|| Error::internal("an update of a dense parameter"))?;
            explored.insert_new(&change.fresh())?;
            parameters.push(event::UpdateParameter {
                name: self.prepared.design.graph.parameters()[request.parameter].name.clone(),
                active: change.pattern().count() as u64,
                dropped: change.dropped() as u64,
                grown: change.grown() as u64,
                regrown: change.regrown() as u64,
                explored: explored.fraction(),
            });
        }
        let drop_fraction = self.prepared.recipe.updates.fraction(step);
        self.record(event::Update { drop_fraction, parameters })?;
        let every = self.prepared.config.log.patterns;
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
            let seconds = self.clock.last_record.elapsed().as_secs_f64();
            self.record(event::Train {
                epoch: recipe.epochs(done),
                loss: interval.mean_loss(),
                accuracy: Some(interval.accuracy()),
                learning_rate,
                samples_per_s: interval.samples as f64 / seconds,
            })?;
            self.clock.last_record = Instant::now();
        }
        if recipe.evaluates_after(done) {
            self.evaluate()?;
            self.clock.last_record = Instant::now();
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
        let Prepared { recipe, config, design, .. } = self.prepared;
        let interval = if self.position.interval.samples > 0 { self.position.interval } else { outcome };
        let samples_per_s = self.clock.warm.map_or(f64::NAN, |(since, draw)| {
            let draws = self.position.draw - draw;
            draws as f64 * config.data.batch as f64 / now.duration_since(since).as_secs_f64()
        });
        self.observer.progress(&Progress {
            step: self.position.step,
            steps: recipe.steps,
            epoch: recipe.epochs(self.position.step),
            epochs: recipe.epochs(recipe.steps),
            loss: outcome.mean_loss(),
            mean_loss: interval.mean_loss(),
            accuracy: interval.accuracy(),
            learning_rate,
            sparsity: design.cost.sparsity,
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
        let outcome = evaluate(&mut self.session, set, &self.prepared.preprocessing, batch)?;
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
        let parameter = match self.session.non_finite() {
            Some(parameter) => format!("; the first parameter with such a number is `{parameter}`"),
            None => String::new(),
        };
        Error::diverged(format!("{what} is not finite{parameter}")).hint(SMALLER)
    }
}
