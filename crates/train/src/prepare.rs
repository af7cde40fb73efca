//! From a configuration to everything a run needs, without a step taken or a byte written: data, design, and what its
//! session begins with. `--dry-run` and training both start here.

use rigl_base::Result;
use rigl_data::{CropFlip, Sets};
use rigl_formats::Latest;
use rigl_metrics::DataRecord;

use crate::config::Config;
use crate::data;
use crate::design::{DataSpec, Design};
use crate::expected;
use crate::inputs::{Inputs, channels};
use crate::machine::MachineOptions;
use crate::memory::{self, Memory};
use crate::network::Network;
use crate::origin::Origin;
use crate::program::Program;
use crate::registry::Registry;
use crate::remarks;
use crate::settings::Settings;
use crate::start::Start;

/// Everything a run needs.
pub struct Prepared {
    pub(crate) design: Design,
    pub(crate) sets: Sets,
    pub(crate) start: Start,
    pub(crate) machine: MachineOptions,
    pub(crate) program: Program,
    /// How samples become numbers, and what is done to training samples at random.
    pub(crate) inputs: Inputs,
    pub(crate) augmentation: Option<CropFlip>,
    /// Which samples these are.
    pub(crate) data: DataRecord,
    /// What is not as it should be, and is gone on with, each in one line.
    pub(crate) warnings: Vec<String>,
}

impl Prepared {
    /// A run that begins: reads the run that it starts from, if it names one, and loads its data.
    ///
    /// # Errors
    /// Of the configuration, that run, the data or the machine, before anything is written.
    pub fn new(config: Config, registry: &Registry, machine: &MachineOptions) -> Result<Prepared> {
        let settings = Settings::new(config, registry)?;
        let origin = Origin::begin(&settings, registry)?;
        Prepared::from(settings, origin, registry, machine, false)
    }

    /// A run that goes on from its newest good checkpoint.
    ///
    /// # Errors
    /// As [`Prepared::new`], and if the checkpoint is of another network, or was trained on other data.
    pub fn resume(
        config: Config,
        registry: &Registry,
        machine: &MachineOptions,
        checkpoint: Latest,
    ) -> Result<Prepared> {
        Prepared::resume_accepting(false, config, registry, machine, checkpoint)
    }

    /// The same, on other data too if they are accepted.
    pub(crate) fn resume_accepting(
        other_data: bool,
        config: Config,
        registry: &Registry,
        machine: &MachineOptions,
        checkpoint: Latest,
    ) -> Result<Prepared> {
        let settings = Settings::new(config, registry)?;
        Prepared::from(settings, Origin::Resumed(Box::new(checkpoint)), registry, machine, other_data)
    }

    fn from(
        mut settings: Settings,
        origin: Origin,
        registry: &Registry,
        machine: &MachineOptions,
        accept_data: bool,
    ) -> Result<Prepared> {
        // Its error is told where files are missing; where they are there, their own shape decides below.
        let checked = check_network(&settings, registry);
        let recorded = origin.recorded_data()?;
        // Where the machine's folder lacks them, they may be where the run that it starts from found them.
        if settings.config().data.dir.is_empty()
            && let Some(there) = origin.data_folder(&settings.config().data.name)
            && registry.check_files(settings.config(), machine.data_folder.as_deref()).is_err()
        {
            settings.look_in(there);
        }
        let folder = machine.data_folder.as_deref();
        let sets = match data::load(registry, settings.config(), folder, machine.threads(), recorded.as_ref())
        {
            Err(error) => return Err(checked.err().unwrap_or(error)),
            // Files of one's own may hold samples of another shape than the name promises: with these it is checked below.
            Ok(sets) if is_described(&sets, registry) => checked.map(|()| sets)?,
            Ok(sets) => sets,
        };
        let found = data::record(settings.config(), &sets);
        let mut warnings: Vec<String> = data::moved(settings.config(), &sets).into_iter().collect();
        if let Origin::Resumed(_) = origin {
            warnings.extend(match &recorded {
                Some(recorded) => data::compare(recorded, &found, accept_data)?,
                None => Some(
                    "the run does not tell which data it was trained on: it goes on with those found".into(),
                ),
            });
        }
        settings.note_data(&sets);
        let spec = sets.train.spec();
        settings.check_inputs(spec)?;
        settings.settle(spec);
        let data = DataSpec::of(&sets);
        let design = Design::new(&settings, registry, &data, &origin)?;
        design.graph().logits()?;
        let augmentation = settings.augmentation(&data.shape)?;
        let inputs = match &origin {
            Origin::Resumed(latest) => resumed_inputs(&design, &sets, latest)
                .map_err(|e| e.context(format!("checkpoint `{}`", latest.path().display())))?,
            _ => Inputs::new(settings.config(), sets.train.as_ref())?,
        };
        check_memory(&design, &sets, machine)?;
        let start = Start::new(&design, origin)?;
        let (machine, program) = (machine.clone(), registry.program.clone());
        Ok(Prepared { design, sets, start, machine, program, inputs, augmentation, data: found, warnings })
    }

    /// The configuration it was prepared from.
    pub fn config(&self) -> &Config {
        self.design.settings().config()
    }

    /// What is trained.
    pub fn design(&self) -> &Design {
        &self.design
    }

    /// What is odd about the run though nothing forbids it, a line each: [`Design::remarks`], and what the samples say.
    pub fn remarks(&self) -> Vec<String> {
        let data = &self.config().data;
        let limits = [
            remarks::limit("data.train-samples", data.train_samples, self.sets.train.len()),
            remarks::limit("data.test-samples", data.test_samples, self.sets.test.len()),
        ];
        self.design.remarks().into_iter().chain(limits.into_iter().flatten()).collect()
    }

    /// Whether it goes on from a checkpoint.
    pub fn goes_on(&self) -> bool {
        matches!(self.start, Start::Resumed(_))
    }

    /// The samples.
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    /// Who trains.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Bytes that training holds at once.
    ///
    /// # Errors
    /// None for what was prepared.
    pub fn memory(&self) -> Result<Memory> {
        memory_at(&self.design, &self.sets, self.design.settings().batch(), &self.machine)
    }

    /// Which samples these are, as the run notes it.
    pub fn data(&self) -> &DataRecord {
        &self.data
    }

    /// What is not as it should be, and is gone on with, each in one line. Training tells its observer.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What the run uses of the machine.
    pub fn machine(&self) -> &MachineOptions {
        &self.machine
    }
}

/// The inputs of a run that goes on from a checkpoint, which must be what such a run writes.
fn resumed_inputs(design: &Design, sets: &Sets, latest: &Latest) -> Result<Inputs> {
    let checkpoint = latest.checkpoint();
    let (config, channels) = (design.settings().config(), channels(&design.data().shape));
    let inputs = Inputs::recorded(config, channels, &checkpoint.metadata.preprocessing)?;
    expected::check(design, &sets.train.spec().classes, &inputs.text(), checkpoint)?;
    Ok(inputs)
}

/// What training takes with such a batch on these sets.
fn memory_at(design: &Design, sets: &Sets, batch: usize, machine: &MachineOptions) -> Result<Memory> {
    let all = [Some(&sets.train), sets.validation.as_ref(), Some(&sets.test)];
    let samples = all.into_iter().flatten().filter(|set| set.is_held()).map(|set| set.len()).sum();
    Ok(design.memory_at(batch, machine)?.with_samples(samples, sets.train.spec().sample_bytes().unwrap_or(0)))
}

/// Whether the network fits what is known of samples without their files.
fn check_network(settings: &Settings, registry: &Registry) -> Result<()> {
    let Some((spec, _)) = registry.datasets.description(&settings.config().data.name) else {
        return settings.network(registry).map(drop);
    };
    settings.check_inputs(spec)?;
    Network::new(settings, registry, &spec.shape, spec.classes.len())?.graph.logits().map(drop)
}

/// Whether these samples are like what is known of them without their files.
fn is_described(sets: &Sets, registry: &Registry) -> bool {
    let found = sets.train.spec();
    let described = registry.datasets.description(&found.name).map(|(spec, _)| spec);
    described.is_none_or(|spec| (&spec.shape, spec.classes.len()) == (&found.shape, found.classes.len()))
}

/// Refuses what the machine has no memory for.
fn check_memory(design: &Design, sets: &Sets, machine: &MachineOptions) -> Result<()> {
    // What does not depend on the batch stays; the rest shrinks with it.
    let (parts, mut batch) = (design.settings().parts(), design.settings().batch());
    let planned = |batch: usize| Ok(memory_at(design, sets, batch, machine)?.bytes());
    memory::check("training", planned(batch)?, |limit| {
        let fits = |batch: usize| planned(batch).is_ok_and(|bytes: u64| bytes <= limit);
        while batch > parts && !fits(batch) {
            batch = (batch / 2 / parts * parts).max(parts);
        }
        fits(batch).then(|| format!("--set data.batch={batch}"))
    })
}

#[cfg(test)]
mod tests {
    use rigl_base::Kind;

    use super::*;
    use crate::config::{Base, Override, Sources};

    fn refused(base: Base, settings: &[&str], message: &str, hint: Option<&str>) {
        let overrides: Vec<_> = settings.iter().map(|text| Override::parse("--set", text).unwrap()).collect();
        let registry = Registry::default();
        let config = Config::resolve(&Sources { base, overrides: &overrides }, &registry.known()).unwrap();
        let machine = MachineOptions { data_folder: None, threads: 1, isa: None };
        let error = Prepared::new(config, &registry, &machine).map(drop).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let found = error.to_string();
        assert_eq!((found.split(", allowed are").next().unwrap(), error.hint_text()), (message, hint));
    }

    #[test]
    fn what_is_found_out_from_network_and_samples_is_refused_where_it_was_set() {
        let file = |text: &str, message: &str, hint| {
            refused(Base::File { name: "my.toml", text }, &[], message, hint);
        };
        file(
            "[model]\nname = 'lenet'",
            "`my.toml` line 2: no model is called `lenet`",
            Some("lenet-300-100"),
        );
        file("[data]\nname = 'minst'", "`my.toml` line 2: no data set is called `minst`", Some("mnist"));
        file(
            "[data]\nmean = [1, 2]",
            "`my.toml` line 2: `data.mean` has 2 values, expected 1 or one for each of the 1 channels",
            None,
        );
        let nearest = "no layer matches `fc9`, nearest are `fc1`, `fc2`, `fc3`";
        file(
            "[method.layers]\nfc1 = 0.5\nfc9 = 0.3",
            &format!("`my.toml` line 3: `method.layers`: {nearest}"),
            Some("fc1"),
        );
        file(
            "method.filter = ['fc9']",
            &format!("`my.toml` line 1: `method.filter`: {nearest}"),
            Some("fc1"),
        );
        let set = |setting: &str, message: &str, hint| refused(Base::Default, &[setting], message, hint);
        set("method.layers.fc9=0.3", &format!("`--set`: `method.layers`: {nearest}"), Some("fc1"));
        set(
            "method.filter=[]",
            "`--set`: `method.filter`: no layer of the network is chosen to be sparse",
            Some("method.filter = \"all\""),
        );
    }
}
