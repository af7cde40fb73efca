//! From a configuration to everything a run needs, without a step taken or a byte written: data, network,
//! allocation, recipe, cost. `--dry-run`, `rigl flops` and training all start here.

use std::path::PathBuf;

use rigl_base::{Error, Result};
use rigl_data::{CropFlip, Sets};
use rigl_engine::{Options, Preprocessing, Session};
use rigl_topology::{self as topology, Pattern};

use crate::config::{Augment, Config, Standardize};
use crate::design::Design;
use crate::memory::{evaluation_batch, micro_batch, options, planned_bytes};
use crate::recipe::Recipe;
use crate::registry::Registry;
use crate::start::{Score, Start};
use crate::weights;

/// What a run uses of the machine. No result depends on it.
#[derive(Clone, Debug, Default)]
pub struct MachineOptions {
    /// Where data sets are looked for.
    pub data_folder: Option<PathBuf>,
    /// Threads; 0 for as many as there are physical cores, as far as this process may use them.
    pub threads: usize,
    /// Instruction set by name; the best there is without.
    pub isa: Option<String>,
}

impl MachineOptions {
    /// The number of threads, resolved.
    pub fn threads(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        // An affinity or a quota may leave a process fewer processors than there are cores.
        let cores = rigl_metrics::machine::cores().map(|n| n as usize);
        let allowed = std::thread::available_parallelism().ok().map(usize::from);
        cores.into_iter().chain(allowed).min().unwrap_or(1)
    }
}

/// Everything a run needs.
pub struct Prepared {
    /// The configuration.
    pub config: Config,
    /// The samples.
    pub sets: Sets,
    /// The network and its sparsities.
    pub design: Design,
    /// The numbers of the run.
    pub recipe: Recipe,
    /// What is done to training samples at random.
    pub augmentation: Option<CropFlip>,
    /// How samples become numbers.
    pub preprocessing: Preprocessing,
    /// Threads.
    pub threads: usize,
    /// Instruction set by name.
    pub isa: Option<String>,
    /// The run it starts from, once that is read.
    pub(crate) start: Option<Start>,
}

impl Prepared {
    /// Loads data and builds the network.
    ///
    /// # Errors
    /// Of the configuration, the data or the machine, before anything is written.
    pub fn new(config: Config, registry: &Registry, machine: &MachineOptions) -> Result<Prepared> {
        let threads = machine.threads();
        // The network is checked before data is read where that can be done: the data set may take a while, or have to
        // be downloaded first.
        match registry.datasets.description(&config.data.name) {
            Some((spec, _)) => {
                inputs(&config, &spec.shape)?;
                Design::new(&config, registry, &spec.shape, spec.classes.len())?.graph.logits()?;
            }
            None => _ = registry.models.get(&config.model.name)?,
        }
        let sets = registry.sets(&config, machine.data_folder.as_deref(), threads)?;
        let spec = sets.train.spec();
        let design = Design::new(&config, registry, &spec.shape, spec.classes.len())?;
        let recipe = Recipe::new(&config, &design.method, sets.train.len())?;
        let (preprocessing, augmentation) = inputs(&config, &spec.shape)?;
        let isa = machine.isa.clone();
        let start = None;
        let prepared =
            Prepared { config, sets, design, recipe, augmentation, preprocessing, threads, isa, start };
        prepared.check_memory()?;
        Ok(prepared)
    }

    /// Samples of one part of a step's batch.
    pub fn micro_batch(&self) -> usize {
        micro_batch(&self.config)
    }

    /// Samples of an evaluation batch.
    pub fn evaluation_batch(&self) -> usize {
        evaluation_batch(self.micro_batch())
    }

    /// A session with the initial values and patterns of this configuration.
    ///
    /// # Errors
    /// If the machine has no memory or no such instruction set.
    pub fn session(&self) -> Result<Session> {
        let patterns = self.design.patterns(self.config.seeds.topology)?;
        self.session_with(patterns, self.config.seeds.init)
    }

    pub(crate) fn session_with(&self, patterns: Vec<Option<Pattern>>, seed: u64) -> Result<Session> {
        Session::new(
            &self.design.graph,
            patterns,
            &Options { seed, ..options(&self.config, self.threads, self.isa.clone()) },
        )
    }

    /// Bytes that training holds at once: parameters with their slots, activations, batches ahead of use.
    ///
    /// # Errors
    /// If the network cannot be run.
    pub fn planned_bytes(&self) -> Result<u64> {
        self.planned_bytes_at(self.config.data.batch)
    }

    fn planned_bytes_at(&self, batch: usize) -> Result<u64> {
        let mut config = self.config.clone();
        config.data.batch = batch;
        planned_bytes(&self.design, &self.recipe, &config, &self.sets.train.spec().shape, self.threads)
    }

    /// Reads the run that `method.start-from` names, if it names one, and counts with its patterns from then on. Only a
    /// run that begins needs this; one that goes on has all of it in its checkpoint.
    ///
    /// # Errors
    /// If that run cannot be read, holds another network, or takes more memory than there is.
    pub fn read_start(&mut self, registry: &Registry) -> Result<()> {
        if self.config.method.start_from.is_empty() {
            return Ok(());
        }
        self.start = Some(self.design.take_over(&self.config, registry)?);
        self.check_memory()
    }

    /// A session at its beginning. Patterns that come of scores are not there yet: [`score`](crate::start::score).
    pub(crate) fn begin(&self) -> Result<Session> {
        let Some(start) = &self.start else { return self.session() };
        let mut session = self.session_with(start.patterns.clone(), start.seed)?;
        if let Some(state) = &start.state {
            session.load(state)?;
        }
        let sparse = (0..start.patterns.len()).filter(|&p| start.patterns[p].is_some());
        let sparse: Vec<usize> = sparse.collect();
        weights::keep(&mut session, &sparse, &self.design.method.slots(), start.seed)?;
        Ok(session)
    }

    /// Whether the first patterns come of scores, and whether these need the gradients of a batch.
    pub(crate) fn scored(&self) -> Option<Score> {
        match self.design.method.start()? {
            topology::Start::Saliency => Some(Score::Saliency),
            topology::Start::Magnitude => Some(Score::Magnitude),
            topology::Start::Random | topology::Start::Given => None,
        }
    }

    fn check_memory(&self) -> Result<()> {
        let planned = self.planned_bytes()?;
        // A part of it is for samples, the program itself and the copies made while saving.
        let limit = rigl_metrics::machine::memory_limit_bytes().map(|limit| limit / 16 * 15);
        let Some(limit) = limit.filter(|&limit| planned > limit) else { return Ok(()) };
        let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        let error = Error::environment(format!(
            "training needs {:.1} GiB of memory, and the machine has {:.1} GiB for it",
            gib(planned),
            gib(limit)
        ));
        // What does not depend on the batch stays; the rest shrinks with it.
        let parts = self.config.data.micro_batches.max(1);
        let mut batch = self.config.data.batch;
        let fits = |batch: usize| self.planned_bytes_at(batch).is_ok_and(|bytes| bytes <= limit);
        while batch > parts && !fits(batch) {
            batch = (batch / 2 / parts * parts).max(parts);
        }
        Err(if fits(batch) { error.hint(format!("--set data.batch={batch}")) } else { error })
    }
}

/// How samples of this shape become numbers, and what is done to training samples at random.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage) if what `config` says of them does not fit the shape.
pub fn inputs(config: &Config, shape: &[usize]) -> Result<(Preprocessing, Option<CropFlip>)> {
    let data = &config.data;
    let channels = shape.first().copied().unwrap_or(1);
    for (key, values) in [("data.mean", &data.mean), ("data.std", &data.std)] {
        if values.len() != 1 && values.len() != channels {
            return Err(Error::usage(format!(
                "`{key}` has {} values, expected 1 or one for each of the {channels} channels",
                values.len()
            )));
        }
    }
    let wide = |values: &[f64]| if values.len() == 1 { vec![values[0]; channels] } else { values.to_vec() };
    let preprocessing = match data.standardize {
        Standardize::Fixed => Preprocessing::new(&wide(&data.mean), &wide(&data.std))?,
        Standardize::PerImage => Preprocessing::per_image(),
    };
    let augmentation = match data.augment {
        Augment::None => None,
        Augment::CropFlip => {
            let crop = CropFlip::new(config.seeds.data, shape, PADDING);
            Some(crop.map_err(|e| e.context("`data.augment`"))?)
        }
    };
    Ok((preprocessing, augmentation))
}

/// Pixels of padding before an image is cut.
const PADDING: u16 = 4;
