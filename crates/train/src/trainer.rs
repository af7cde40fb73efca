//! The training loop.
//!
//! Two counters drive everything: `step`, optimiser steps done, which schedules and updates go by; and `draw`,
//! batches consumed, which the order of samples goes by. A topology update that replaces a step advances `draw`
//! alone. A run's state is (step, draw, updated at this step) with the weights: from there it goes on to the bit.

mod clock;
mod evaluating;
mod recorder;
mod saving;

use std::fmt::Arguments;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rigl_base::{Error, Kind, Result, shown};
use rigl_data::{Loader, LoaderOptions, Order, Sample, Sets};
use rigl_engine::{ARITHMETIC_VERSION, Outcome, Preprocessing};
use rigl_formats::{Checkpoint, Store};
use rigl_graph::account::Cost;
use rigl_metrics::{DataRecord, Machine, RunWriter, Status, Summary, event, jsonl};
use rigl_topology::{Change, Gradients, OptimizerStep, Update};

use crate::advice::slower;
use crate::cost::batch_flops;
use crate::design::Design;
use crate::evaluate::Packed;
use crate::inputs::{Inputs, channels};
use crate::memory::LOADER_DEPTH;
use crate::observer::{Observer, Progress};
use crate::position::{Position, Waiting};
use crate::prepare::Prepared;
use crate::program::Program;
use crate::start::Beginning;
use crate::stepper::{At, Iteration, Stepper};
use crate::weights::Score;
use clock::Pace;
use recorder::{Before, Recorder};

/// Progress is reported this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// How training ended.
#[derive(Debug)]
pub enum Ended {
    /// All steps are done.
    Finished(Box<Summary>),
    /// It was asked to stop, and a checkpoint is safe.
    Interrupted,
}

/// Trains to the end, or until `stop` is set.
///
/// # Errors
/// [`Kind::Diverged`] if a number is not finite: the last checkpoint before that is kept. Else whatever the engine, the
/// data or the disk refuses.
pub fn train(
    prepared: Prepared,
    run: &RunWriter,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Ended> {
    prepared.warnings.iter().for_each(|warning| observer.warning(warning));
    let (mut trainer, resumed) = Trainer::new(prepared, run, observer)?;
    let begun = match resumed {
        None => trainer.begin(),
        Some(resumed) => trainer.go_on(resumed),
    };
    let ended = begun.and_then(|()| trainer.run(stop));
    if let Err(error) = &ended
        && error.kind() == Kind::Diverged
    {
        trainer.log_end(Status::Diverged, error.message())?;
    }
    ended
}

struct Trainer<'a> {
    design: Arc<Design>,
    program: Program,
    sets: Sets,
    data: DataRecord,
    inputs: Inputs,
    preprocessing: Preprocessing,
    run: &'a RunWriter,
    recorder: Recorder<'a>,
    stepper: Stepper,
    position: Position,
    /// What the network costs as it is.
    cost: Cost,
    store: Store,
    loader: Loader<Packed>,
}

/// The checkpoint that a run goes on from: the name of its file, its size, what was damaged, and what else was not as it
/// should be.
struct Resumed {
    file: String,
    bytes: u64,
    damage: Vec<String>,
    warnings: Vec<String>,
}

impl<'a> Trainer<'a> {
    fn new(
        prepared: Prepared,
        run: &'a RunWriter,
        observer: &'a mut dyn Observer,
    ) -> Result<(Trainer<'a>, Option<Resumed>)> {
        let Prepared { design, sets, start, machine, program, inputs, augmentation, data, warnings } =
            prepared;
        let preprocessing = inputs.preprocessing(channels(&design.data().shape))?;
        let design = Arc::new(design);
        let (session, begun) = start.session(&design, &machine)?;
        let stepper = Stepper::new(session, Arc::clone(&design))?;
        let cost = stepper.cost()?;
        let settings = design.settings();
        let mut store = Store::new(run.checkpoints()).keeping(settings.records.checkpoints_kept);
        let (position, before, resumed) = match begun {
            Beginning::Anew(began_with) => {
                let mut position = Position::start(&stepper.patterns());
                position.sums.began_with = began_with;
                // A network whose patterns are chosen by scores is dense until they are.
                position.sums.most_active = Some(cost.active as u64);
                position.sums.evaluation_seconds = Some(0.0);
                position.sums.waiting = settings.patience.map(|_| Waiting::default());
                (position, Before::default(), None)
            }
            Beginning::Resumed(latest) => {
                store = store.knowing(&latest);
                let mut damage = Vec::new();
                let (Checkpoint { metadata, state }, path) = latest.warned(|warning| damage.push(warning));
                let position = Position::read(&metadata, &state, design.graph(), &stepper.patterns(), &cost)?;
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let bytes = path.metadata().map_err(|e| Error::io("cannot read", &path, e))?.len();
                let log_length = jsonl::kept_length(&run.log(), metadata.log_length)?;
                if log_length < metadata.log_length {
                    let lost = metadata.log_length - log_length;
                    damage.push(format!("`{}` has lost {lost} bytes at its end", shown::path(&run.log())));
                }
                let before = Before {
                    step: metadata.step,
                    draw: metadata.draw,
                    log_length,
                    seconds: metadata.elapsed_s,
                };
                (position, before, Some(Resumed { file, bytes, damage, warnings }))
            }
        };
        let order = Order { seed: settings.seeds.data, batch: settings.batch(), first_draw: before.draw };
        let (packer, parts) = (stepper.session.packer(&preprocessing), settings.parts());
        let loader = Loader::new(
            Arc::clone(&sets.train),
            order,
            LoaderOptions { threads: 1, depth: LOADER_DEPTH },
            Packed::default,
            move |draw, samples: &mut [Sample], packed: &mut Packed| {
                packed.augment_and_fill(augmentation.as_ref(), &packer, draw, samples, parts);
            },
        )?;
        let recorder = Recorder::open(run, observer, settings.records.tensorboard, before)?;
        let trainer = Trainer {
            design,
            program,
            sets,
            data,
            inputs,
            preprocessing,
            run,
            recorder,
            stepper,
            position,
            cost,
            store,
            loader,
        };
        Ok((trainer, resumed))
    }

    /// The beginning of a run that goes on.
    fn go_on(&mut self, Resumed { file, bytes, damage, mut warnings }: Resumed) -> Result<()> {
        if self.recorder.log_length() == 0 {
            // A log that was lost begins anew, as every log does.
            self.record_run()?;
            self.record_network()?;
        }
        // The log was cut before this event: a checkpoint notes the length that the log had before it was safe.
        self.record(event::Checkpoint { file: file.clone(), bytes })?;
        if let Some(threshold) = self.position.sums.threshold {
            self.stepper.memory.threshold = threshold;
        }
        for warning in &damage {
            self.recorder.observer.warning(warning);
        }
        warnings.extend(damage);
        let (program, commit) = (self.program.to_string(), self.program.commit.clone());
        let (machine, data) = (self.machine(), Some(self.data.clone()));
        self.record(event::Resume { program, commit, checkpoint: file, data, machine, warnings })
    }

    /// The beginning of a new run.
    fn begin(&mut self) -> Result<()> {
        self.record_run()?;
        self.choose()?;
        self.record_network()?;
        if self.design.settings().records.patterns > 0 {
            self.save_patterns()?;
        }
        // Proves the disk, and makes a kill at any later moment resumable.
        self.checkpoint()?;
        // A leftover is no reason not to train.
        if let Err(error) = self.run.begun() {
            self.recorder.observer.warning(&format!("the run that was replaced is not gone: {error}"));
        }
        Ok(())
    }

    /// The first event of the log.
    fn record_run(&mut self) -> Result<()> {
        self.record(event::Run {
            program: self.program.to_string(),
            commit: self.program.commit.clone(),
            arithmetic_version: ARITHMETIC_VERSION,
            configuration: self.design.settings().config().to_toml(),
            data: Some(self.data.clone()),
            machine: self.machine(),
        })
    }

    /// The second event of the log, once there are patterns.
    fn record_network(&mut self) -> Result<()> {
        let parameters = self.stepper.session.parameters().iter().zip(&self.cost.parameters);
        let parameters = parameters.map(|(p, cost)| event::NetworkParameter {
            name: p.name().to_string(),
            shape: p.shape().iter().map(|&n| n as u64).collect(),
            weights: p.len() as u64,
            active: p.active() as u64,
            storage: p.storage().to_string(),
            flops: cost.flops,
        });
        let network = event::Network { parameters: parameters.collect() };
        self.record(network)
    }

    /// Chooses the first patterns, where they are chosen by scores.
    fn choose(&mut self) -> Result<()> {
        let Some(score) = self.design.scored() else { return Ok(()) };
        if score == Score::Saliency {
            let mut packed = self.loader.next()?;
            let outcome = self.stepper.gradients(packed.parts()?, 0, &[]);
            self.stepper.session.look_at_gradients();
            self.loader.recycle(packed);
            self.position.draw = 1;
            let dense = self.cost.dense_flops;
            self.position.sums.training_flops = u128::from(batch_flops(Gradients::Kept, dense, dense));
            outcome?;
            self.check_finite(format_args!("before step 0"))?;
        }
        self.stepper.choose(score)?;
        self.cost = self.stepper.cost()?;
        self.position.explored = Position::start(&self.stepper.patterns()).explored;
        Ok(())
    }

    fn machine(&self) -> Machine {
        Machine::of(self.stepper.session.threads() as u32, self.stepper.session.isa())
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<Ended> {
        while !self.is_over() {
            if stop.load(Ordering::Relaxed) {
                self.checkpoint()?;
                self.log_end(Status::Interrupted, "asked to stop")?;
                return Ok(Ended::Interrupted);
            }
            self.iteration()?;
        }
        if self.position.sums.interval_samples > 0 {
            let learning_rate = self.design.recipe().learning_rate(self.position.step.saturating_sub(1));
            self.record_interval(learning_rate)?;
        }
        if self.position.sums.evaluation.is_none() {
            self.evaluate()?;
        }
        if self.design.settings().records.training_loss && self.position.sums.training_evaluation.is_none() {
            self.evaluate_training()?;
        }
        if self.design.settings().records.patterns > 0 {
            self.save_patterns()?;
        }
        let summary = self.summary()?;
        self.checkpoint()?;
        let reason = self.why_over();
        self.log_end(Status::Finished, &reason)?;
        // The last of all: a run that has one is finished, and is not gone on with.
        summary.write(&self.run.summary())?;
        Ok(Ended::Finished(Box::new(summary)))
    }

    /// One batch: an optimiser step, a topology update, or both.
    fn iteration(&mut self) -> Result<()> {
        let Position { step, draw, updated, .. } = self.position;
        let learning_rate = self.design.recipe().learning_rate(step);
        let mut packed = self.loader.next()?;
        let done = self.stepper.iterate(packed.parts()?, At { step, draw, updated });
        self.loader.recycle(packed);
        let Iteration { outcome, needs, changes } = done?;
        self.check_finite(format_args!("at step {step}"))?;
        let mut interval = self.position.sums.interval();
        interval.add(outcome);
        self.position.sums.set_interval(interval);
        self.position.draw = draw + 1;
        self.position.sums.training_flops +=
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
        self.recorder.clock.warm.get_or_insert_with(|| Pace::new(Instant::now(), draw));
        self.report(outcome, learning_rate);
        if needs.step == OptimizerStep::Taken {
            self.after_step(learning_rate)?;
        }
        if self.recorder.clock.last_checkpoint.elapsed() >= self.design.settings().records.checkpoint_every {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn after_update(&mut self, update: Update, changes: &[(usize, Change)]) -> Result<()> {
        let records = self.design.settings().records;
        let sums = &mut self.position.sums;
        sums.updates += 1;
        sums.threshold = Some(self.stepper.memory.threshold);
        let updates = sums.updates;
        let mut parameters = Vec::with_capacity(changes.len());
        for (parameter, change) in changes {
            let explored = self.position.explored[*parameter]
                .as_mut()
                .ok_or_else(|| Error::internal("an update of a dense parameter"))?;
            explored.insert_new(&change.fresh())?;
            parameters.push(event::UpdateParameter {
                name: self.design.graph().parameters()[*parameter].name.clone(),
                active: change.pattern().count() as u64,
                dropped: change.dropped() as u64,
                grown: change.grown() as u64,
                regrown: change.regrown() as u64,
                explored: explored.fraction(),
            });
        }
        if changes.iter().any(|(_, change)| change.dropped() != change.grown()) {
            self.cost = self.stepper.cost()?;
            self.position.sums.note_active(self.cost.active);
        }
        // A method that updates at every step would fill the log.
        let each = if self.design.method().every_step() { records.every_steps } else { 1 };
        if updates.is_multiple_of(each) {
            self.record(event::Update { drop_fraction: update.fraction, parameters })?;
        }
        if records.patterns > 0 && updates.is_multiple_of(records.patterns) {
            self.save_patterns()?;
        }
        Ok(())
    }

    fn after_step(&mut self, learning_rate: f64) -> Result<()> {
        let done = self.position.step;
        let (settings, recipe) = (self.design.settings(), self.design.recipe());
        let evaluates = recipe.evaluates_after(done);
        if done.is_multiple_of(settings.records.every_steps) || done == recipe.steps {
            self.record_interval(learning_rate)?;
        }
        if evaluates {
            self.evaluate()?;
        }
        Ok(())
    }

    /// Records the interval of training that ends here, and begins the next.
    fn record_interval(&mut self, learning_rate: f64) -> Result<()> {
        let interval = self.position.sums.interval();
        let (now, draw) = (Instant::now(), self.position.draw);
        let batch = self.design.settings().batch() as f64;
        let train = event::Train {
            epoch: self.design.recipe().epochs(self.position.step),
            loss: interval.mean_loss(),
            accuracy: Some(interval.accuracy()),
            learning_rate,
            samples_per_s: self.recorder.clock.record.batches_per_s(now, draw) * batch,
            training_flops: self.position.sums.training_flops as f64 * batch,
        };
        self.position.sums.set_interval(Outcome::default());
        self.record(train)?;
        self.recorder.clock.record = Pace::new(Instant::now(), draw);
        Ok(())
    }

    /// Tells the observer where the run stands, if it has been a while.
    fn report(&mut self, outcome: Outcome, learning_rate: f64) {
        let now = Instant::now();
        if now.duration_since(self.recorder.clock.last_progress) < PROGRESS_EVERY {
            return;
        }
        self.recorder.clock.last_progress = now;
        let (recipe, sums) = (self.design.recipe(), &self.position.sums);
        let interval = if sums.interval().samples > 0 { sums.interval() } else { outcome };
        let batches_per_s = self.recorder.clock.warm.map(|pace| pace.batches_per_s(now, self.position.draw));
        let samples_per_s =
            batches_per_s.map_or(f64::NAN, |rate| rate * self.design.settings().batch() as f64);
        self.recorder.observer.progress(&Progress {
            step: self.position.step,
            steps: recipe.steps,
            epoch: recipe.epochs(self.position.step),
            epochs: recipe.epochs(recipe.steps),
            loss: outcome.mean_loss(),
            mean_loss: interval.mean_loss(),
            accuracy: interval.accuracy(),
            learning_rate,
            updates: sums.updates,
            all_updates: self.design.updates().count(),
            sparsity: self.cost.sparsity,
            samples_per_s,
            elapsed_s: self.recorder.clock.elapsed_s(),
        });
    }

    /// Ends a run in which a number was met that is not finite. Asked at every step, so nothing is written beforehand.
    fn check_finite(&self, when: Arguments<'_>) -> Result<()> {
        match self.stepper.non_finite() {
            None => Ok(()),
            Some(place) => Err(self.diverged(format!("a number {when} is not finite, first {place}"))),
        }
    }

    /// The error for something that is not finite.
    fn diverged(&self, what: String) -> Error {
        Error::diverged(what).hint(self.slower())
    }

    fn slower(&self) -> String {
        slower(self.design.settings().config(), &self.run.config())
    }
}
