//! What a configuration means: everything that follows from its keys alone, made once. Training, planning and measuring
//! read this; the configuration itself is printed, compared and saved.

use std::path::PathBuf;
use std::time::Duration;

use rigl_base::{Error, Result};
use rigl_data::{CropFlip, Sets, Spec};
use rigl_engine::{Compute, Options, StepConstants};
use rigl_graph::models::Model;
use rigl_topology::{Budget, Method};

use crate::config::{Augment, Config, Seeds, StartValues};
use crate::data;
use crate::inputs;
use crate::machine::MachineOptions;
use crate::registry::Registry;

/// Samples of an evaluation batch, at least.
const EVALUATED_AT_ONCE: usize = 500;

/// Pixels of padding before an image is cut.
const PADDING: u16 = 4;

/// A configuration as training reads it.
#[derive(Clone, Debug)]
pub struct Settings {
    config: Config,
    /// The method, with the configuration's columns.
    pub(crate) method: Method,
    /// What the network may keep, and how it is spread.
    pub(crate) budget: Budget,
    /// The same at the initial sparsity, where there is one.
    pub(crate) initial_budget: Option<Budget>,
    /// The run that this one starts from.
    pub(crate) start_from: Option<StartFrom>,
    /// Samples of an optimiser step, and the equal parts they are computed in.
    batch: usize,
    parts: usize,
    /// Whether the network is ever evaluated.
    evaluates: bool,
    /// Arithmetic of sparse layers.
    pub(crate) compute: Compute,
    /// The optimiser's constants; the learning rate is each step's own.
    pub(crate) optimizer: StepConstants,
    /// Where random numbers start.
    pub(crate) seeds: Seeds,
    /// Evaluations without a better validation accuracy after which the run ends.
    pub(crate) patience: Option<u64>,
    /// When something is recorded and saved.
    pub(crate) records: Records,
}

/// The run that another starts from, and what is taken over besides its patterns.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StartFrom {
    pub(crate) path: PathBuf,
    pub(crate) values: StartValues,
}

/// When something is recorded and saved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Records {
    /// Steps from one record of the loss to the next.
    pub(crate) every_steps: u64,
    /// The pattern of every n-th update is kept; 0 for none.
    pub(crate) patterns: u64,
    pub(crate) tensorboard: bool,
    /// Whether the run ends with an evaluation on all training samples.
    pub(crate) training_loss: bool,
    /// Time from one checkpoint to the next, and how many are kept.
    pub(crate) checkpoint_every: Duration,
    pub(crate) checkpoints_kept: usize,
}

impl Settings {
    /// What `config` means with these methods.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there is no such method, or its columns do not go together.
    pub fn new(config: Config, registry: &Registry) -> Result<Settings> {
        let method = config.method_row(&registry.methods)?;
        Ok(Settings::by(method, config))
    }

    /// What `config` means for whoever does not train, so that its method need not be known.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if its method's columns do not go together.
    pub(crate) fn untrained(config: Config, registry: &Registry) -> Result<Settings> {
        let method = config.row(&registry.methods, true)?;
        Ok(Settings::by(method, config))
    }

    fn by(method: Method, config: Config) -> Settings {
        let from = &config.method.start.run;
        let values = config.method.start.values;
        let (data, optimizer) = (&config.data, &config.optimizer);
        let parts = data.micro_batches.max(1);
        Settings {
            budget: config.budget(),
            initial_budget: method.initial_sparsity().map(|sparsity| config.budget_at(sparsity)),
            start_from: (!from.is_empty()).then(|| StartFrom { path: from.into(), values }),
            batch: data.batch,
            parts,
            evaluates: true,
            compute: config.compute,
            optimizer: StepConstants {
                learning_rate: 0.0,
                momentum: optimizer.momentum,
                nesterov: optimizer.nesterov,
                l2: optimizer.l2,
            },
            seeds: config.seeds.clone(),
            patience: config.patience(),
            records: Records {
                every_steps: config.log.every_steps,
                patterns: config.log.patterns,
                tensorboard: config.log.tensorboard,
                training_loss: config.log.training_loss,
                checkpoint_every: Duration::from_secs_f64(config.checkpoint.every_seconds),
                checkpoints_kept: config.checkpoint.keep,
            },
            method,
            config,
        }
    }

    /// The configuration, to be printed, compared and saved.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Has the data looked for in this folder first.
    pub(crate) fn look_in(&mut self, folder: &str) {
        self.config.data.dir = folder.into();
    }

    /// Notes where the data were found.
    pub(crate) fn note_data(&mut self, sets: &Sets) {
        data::note_folder(&mut self.config, sets);
    }

    /// The method, with the configuration's columns.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The network's declaration.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there is none of that name.
    pub(crate) fn network<'a>(&self, registry: &'a Registry) -> Result<&'a Model> {
        let found = registry.models.get(&self.config.model.name);
        found.map_err(|error| self.config.blame("model.name", error))
    }

    /// Samples of an optimiser step.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Equal parts that the samples of a step are computed in, one after the other.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Samples of one part of a step's batch.
    pub fn micro_batch(&self) -> usize {
        self.batch / self.parts
    }

    /// Samples of an evaluation batch.
    pub fn evaluation_batch(&self) -> usize {
        if self.evaluates { self.micro_batch().max(EVALUATED_AT_ONCE) } else { 1 }
    }

    /// The same for what is never evaluated.
    #[must_use]
    pub fn without_evaluation(self) -> Settings {
        Settings { evaluates: false, ..self }
    }

    /// The same with another batch, in as many parts.
    pub(crate) fn with_batch(&self, batch: usize) -> Settings {
        Settings { batch, ..self.clone() }
    }

    /// What the engine is made with, for initial values of this seed.
    pub fn engine(&self, machine: &MachineOptions, seed: u64) -> Options {
        Options {
            batch: self.micro_batch(),
            evaluation_batch: self.evaluation_batch(),
            threads: machine.threads(),
            isa: machine.isa.clone(),
            compute: self.compute,
            seed,
        }
    }

    /// Whether what the configuration says of samples fits those that are like this.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if it does not.
    pub fn check_inputs(&self, spec: &Spec) -> Result<()> {
        inputs::check(&self.config, spec)?;
        self.augmentation(&spec.shape).map(drop)
    }

    /// What is done at random to training samples of this shape.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if that cannot be done to them.
    pub(crate) fn augmentation(&self, shape: &[usize]) -> Result<Option<CropFlip>> {
        match self.config.data.augment {
            Augment::None => Ok(None),
            Augment::CropFlip => {
                let crop = CropFlip::new(self.seeds.data, shape, PADDING);
                let refused = |e: Error| self.config.blame("data.augment", e.context("`data.augment`"));
                crop.map(Some).map_err(refused)
            }
        }
    }

    /// Says in the configuration what it leaves to the samples to decide: it then means the same wherever they are.
    pub fn settle(&mut self, spec: &Spec) {
        self.config.data.standardize = inputs::standardize(&self.config, spec.values);
    }
}
