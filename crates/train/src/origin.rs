//! Where the weights and patterns of a run come from, read before anything is designed.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use rigl_base::{Error, Result, shell};
use rigl_formats::{Checkpoint, Latest, Metadata, Store, checkpoint};
use rigl_graph::state::State;
use rigl_metrics::{DataRecord, RunFolder};

use crate::config::{Config, StartValues};
use crate::data;
use crate::registry::Registry;
use crate::settings::{Settings, StartFrom};

/// Where a run begins.
pub enum Origin {
    /// Initial values under the first pattern that the method gives.
    Fresh,
    /// Initial values under random patterns of as many weights as the run ends with: what a step takes does not depend on
    /// which weights these are, so this is how steps are measured.
    Settled,
    /// A finished run.
    Run(Finished),
    /// The run itself, from its newest good checkpoint on.
    Resumed(Box<Latest>),
}

/// A finished run that another starts from.
pub struct Finished {
    pub(crate) from: StartFrom,
    pub(crate) state: State<'static>,
    /// Seed of the initial values; where values are taken over, of those that are not there.
    pub(crate) seed: u64,
    /// The data that it was trained on, if it tells.
    data: Option<DataRecord>,
}

impl Origin {
    /// What a run with these settings begins from: reads the run that they name, if they name one.
    ///
    /// # Errors
    /// If that run cannot be read, is not finished, has lost its last checkpoint, or began with values that cannot be
    /// had again.
    pub fn begin(settings: &Settings, registry: &Registry) -> Result<Origin> {
        let Some(from) = &settings.start_from else { return Ok(Origin::Fresh) };
        Finished::read(from, settings, registry).map(Origin::Run).map_err(|error| from.context(error))
    }
}

impl Origin {
    /// Where the data set of that name was, of a run that starts from another which was trained on it.
    pub(crate) fn data_folder(&self, name: &str) -> Option<&str> {
        let Origin::Run(Finished { data: Some(data), .. }) = self else { return None };
        data.folder.as_deref().filter(|_| data.name == name)
    }

    /// The data that the run was trained on, of one that goes on, if its checkpoint tells.
    pub(crate) fn recorded_data(&self) -> Result<Option<DataRecord>> {
        let Origin::Resumed(latest) = self else { return Ok(None) };
        let found = data::recorded(latest.checkpoint().metadata.data.as_deref());
        found.map_err(|e| e.context(format!("checkpoint `{}`", latest.path().display())))
    }
}

impl StartFrom {
    /// Says which run an error is about.
    pub(crate) fn context(&self, error: Error) -> Error {
        error.context(format!("`method.start.run` = `{}`", self.path.display()))
    }
}

impl Finished {
    fn read(from: &StartFrom, settings: &Settings, registry: &Registry) -> Result<Finished> {
        let path = &from.path;
        let (Checkpoint { metadata, state }, file) = if path.is_dir() {
            let run = RunFolder::open(path)?;
            if run.finished()?.is_none() {
                return Err(Error::usage("the run is not finished")
                    .hint(format!("rigl train --resume {}", shell::path(path))));
            }
            // Of a finished run there is nothing to warn of.
            last_checkpoint(&run)?.warned(drop)
        } else {
            (checkpoint::read(path)?, path.clone())
        };
        let before = Config::of_run(&file.display().to_string(), &metadata.configuration, &registry.known())?;
        let seed = match from.values {
            StartValues::Initial => first_values(&before, &metadata)?,
            StartValues::Trained | StartValues::Redrawn => settings.seeds.init,
        };
        let data = data::recorded(metadata.data.as_deref())
            .map_err(|e| e.context(format!("checkpoint `{}`", file.display())))?;
        Ok(Finished { from: from.clone(), state, seed, data })
    }
}

/// The newest good checkpoint of a run, for reading. Of a finished run that is the last one, and nothing else will do.
///
/// # Errors
/// If there is none, or the run is finished and its last one is damaged or gone.
pub fn last_checkpoint(run: &RunFolder) -> Result<Latest> {
    let latest = Store::new(run.checkpoints()).latest()?;
    let Some(summary) = run.finished()? else { return Ok(latest) };
    let Metadata { step, draw, .. } = latest.checkpoint().metadata;
    if latest.warnings().is_empty() && (step, draw) == (summary.steps, summary.draws) {
        return Ok(latest);
    }
    let run = run.path().display();
    let what = match latest.warnings().first() {
        Some(warning) => warning.clone(),
        None => format!("of step {} there is none", summary.steps),
    };
    Err(Error::data(format!("the last checkpoint of the finished run `{run}` cannot be read: {what}"))
        .hint(format!("an earlier one, of step {step}, is `{}`", shell::path(latest.path()))))
}

/// What the first values were of a run that started from another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BeganWith {
    /// Initial values of this seed.
    Seed(u64),
    /// Trained ones.
    Trained,
}

impl BeganWith {
    /// The entry of a checkpoint's metadata that says it.
    const KEY: &str = "began-with";
}

const TRAINED: &str = "trained";

impl fmt::Display for BeganWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BeganWith::Seed(seed) => seed.fmt(f),
            BeganWith::Trained => f.write_str(TRAINED),
        }
    }
}

impl FromStr for BeganWith {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<BeganWith, ParseIntError> {
        if text == TRAINED { Ok(BeganWith::Trained) } else { text.parse().map(BeganWith::Seed) }
    }
}

/// The seed of the values that a run began with.
fn first_values(run: &Config, metadata: &Metadata) -> Result<u64> {
    if run.method.start.run.is_empty() {
        return Ok(run.seeds.init);
    }
    let found = match metadata.extra.get(BeganWith::KEY).map(|said| said.parse()) {
        Some(Ok(BeganWith::Seed(seed))) => return Ok(seed),
        Some(Ok(BeganWith::Trained)) => "trained ones",
        Some(Err(_)) | None => "values it does not tell",
    };
    Err(Error::usage(format!(
        "the run began with {found}, which `method.start.values` = `initial` cannot begin with again"
    ))
    .hint("--set method.start.values=trained"))
}
