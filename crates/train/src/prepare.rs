//! From a configuration to everything a run needs, without a step taken or a byte written: data, design, and what its
//! session begins with. `--dry-run` and training both start here.

use rigl_base::Result;
use rigl_data::{CropFlip, Sets};
use rigl_engine::Preprocessing;
use rigl_formats::Latest;

use crate::config::Config;
use crate::design::{DataSpec, Design};
use crate::machine::MachineOptions;
use crate::memory;
use crate::network::Network;
use crate::origin::Origin;
use crate::registry::Registry;
use crate::settings::Settings;
use crate::start::Start;

/// Everything a run needs.
pub struct Prepared {
    pub(crate) design: Design,
    pub(crate) sets: Sets,
    pub(crate) start: Start,
    pub(crate) machine: MachineOptions,
    /// How samples become numbers, and what is done to training samples at random.
    pub(crate) preprocessing: Preprocessing,
    pub(crate) augmentation: Option<CropFlip>,
}

impl Prepared {
    /// A run that begins: reads the run that it starts from, if it names one, and loads its data.
    ///
    /// # Errors
    /// Of the configuration, that run, the data or the machine, before anything is written.
    pub fn new(config: Config, registry: &Registry, machine: &MachineOptions) -> Result<Prepared> {
        let settings = Settings::new(config, registry)?;
        let origin = Origin::begin(&settings, registry)?;
        Prepared::from(settings, origin, registry, machine)
    }

    /// A run that goes on from its newest good checkpoint.
    ///
    /// # Errors
    /// As [`Prepared::new`], and if the checkpoint is of another network.
    pub fn resume(
        config: Config,
        registry: &Registry,
        machine: &MachineOptions,
        checkpoint: Latest,
    ) -> Result<Prepared> {
        let settings = Settings::new(config, registry)?;
        Prepared::from(settings, Origin::Resumed(checkpoint), registry, machine)
    }

    fn from(
        settings: Settings,
        origin: Origin,
        registry: &Registry,
        machine: &MachineOptions,
    ) -> Result<Prepared> {
        let (data, model) = (&settings.config().data, &settings.config().model);
        // The network is checked before data is read where that can be done: the data set may take a while, or have to
        // be downloaded first.
        match registry.datasets.description(&data.name) {
            Some((spec, _)) => {
                settings.inputs(&spec.shape)?;
                Network::new(&settings, registry, &spec.shape, spec.classes.len())?.graph.logits()?;
            }
            None => _ = registry.models.get(&model.name)?,
        }
        let sets = registry.sets(settings.config(), machine.data_folder.as_deref(), machine.threads())?;
        let data = DataSpec::of(&sets);
        let design = Design::new(&settings, registry, &data, &origin)?;
        design.graph().logits()?;
        let (preprocessing, augmentation) = settings.inputs(&data.shape)?;
        check_memory(&design, machine)?;
        let start = Start::new(&design, origin)?;
        Ok(Prepared { design, sets, start, machine: machine.clone(), preprocessing, augmentation })
    }

    /// The configuration it was prepared from.
    pub fn config(&self) -> &Config {
        self.design.settings().config()
    }

    /// What is trained.
    pub fn design(&self) -> &Design {
        &self.design
    }

    /// Whether it goes on from a checkpoint.
    pub fn goes_on(&self) -> bool {
        matches!(self.start, Start::Resumed(_))
    }

    /// The samples.
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    /// What the run uses of the machine.
    pub fn machine(&self) -> &MachineOptions {
        &self.machine
    }
}

/// Refuses what the machine has no memory for.
fn check_memory(design: &Design, machine: &MachineOptions) -> Result<()> {
    memory::check("training", design.memory(machine)?.bytes(), |limit| {
        // What does not depend on the batch stays; the rest shrinks with it.
        let (parts, mut batch) = (design.settings().parts(), design.settings().batch());
        let fits =
            |batch: usize| design.memory_at(batch, machine).is_ok_and(|memory| memory.bytes() <= limit);
        while batch > parts && !fits(batch) {
            batch = (batch / 2 / parts * parts).max(parts);
        }
        fits(batch).then(|| format!("--set data.batch={batch}"))
    })
}
