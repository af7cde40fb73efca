//! A sweep made definite: each run with its folder, its whole configuration, and what it will cost. All of it is
//! resolved before the first run starts.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use rigl_base::error::short;
use rigl_base::{Error, Result};
use rigl_data::{Column, Sets, Spec};
use rigl_train::config::{Base, Known, Limit, Override, Shared, Sources, named, taken_unread};
use rigl_train::{Config, DataSpec, Design, MachineOptions, Origin, Registry, Settings};

use crate::file::Sweep;
use crate::grid::Combination;

/// What a plan is made from.
pub struct Request<'a> {
    /// The grid and what all its runs have in common.
    pub sweep: &'a Sweep,
    /// Where its runs begin: what [`Sweep::start`] names, read.
    pub base: Base<'a>,
    /// Scales the length of all runs, whatever their own multiplier.
    pub multiplier: Option<f64>,
    /// Settings that win over the file's.
    pub overrides: &'a [Override],
    /// What `{variant}` stands for in the file.
    pub variant: &'a str,
    /// Where the folders of its runs are to lie.
    pub folder: PathBuf,
    /// What names there are.
    pub registry: &'a Registry,
    /// What each run may use of the machine.
    pub machine: &'a MachineOptions,
}

/// The runs of a sweep.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The folder in which theirs lie.
    pub folder: PathBuf,
    /// The keys of the grid that vary, without seeds.
    pub columns: Vec<String>,
    /// The runs, in the order of the grid.
    pub runs: Vec<PlannedRun>,
}

/// A run of a sweep.
#[derive(Clone, Debug)]
pub struct PlannedRun {
    /// What it is called.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Its whole configuration.
    pub config: Config,
    /// Its values for [`Plan::columns`]. Runs that have the same ones differ in seeds alone.
    pub values: Vec<String>,
    /// The sparsity it ends with, of all weights of its network; `None` for a network all of whose weights are there.
    pub sparsity: Option<f64>,
    /// Its optimiser steps.
    pub steps: u64,
    /// FLOPs of its training.
    pub flops: f64,
    /// Bytes of memory it needs.
    pub bytes: u64,
    /// Whether these two are counted as the distribution says, since the run it starts from could not be read.
    pub guessed: bool,
    /// Whether its data were looked at; else these numbers are those of the data set as it is published.
    pub seen: bool,
    /// What is odd about it, a line each ([`Design::remarks`]).
    pub remarks: Vec<String>,
    /// How long it takes beside others, in no unit.
    pub work: f64,
}

/// What a step takes however few weights there are, as a share of what a dense one takes: norms, activations, samples.
/// Measured for WRN-22-2 (docs/performance.md: 55 ms at 98 % against 287 ms dense).
const FIXED_SHARE: f64 = 0.2;

impl Plan {
    /// Resolves and checks every run.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), naming file, line, key, what was found and what is allowed.
    pub fn new(request: Request<'_>) -> Result<Plan> {
        let Request { sweep, overrides, .. } = &request;
        let path = |set: &Override| named(&set.key).map_or_else(|| set.key.clone(), |key| key.path.clone());
        let grid: Vec<Override> = sweep.grid_settings().flat_map(|set| set.leaves()).collect();
        let of_grid: HashSet<String> = grid.iter().map(path).collect();
        let varied = |set: &&Override| of_grid.contains(&path(set));
        let leaves: Vec<Override> = overrides.iter().flat_map(Override::leaves).collect();
        if let Some(set) = leaves.iter().find(varied) {
            return Err(Error::usage(format!(
                "`{}`: `{}` is varied by the grid of `{}`",
                set.origin, set.key, sweep.name
            )));
        }
        let shown: Vec<usize> = (0..sweep.axes.len())
            .filter(|&number| sweep.axes[number].values.len() > 1 && !sweep.axes[number].is_seed())
            .collect();
        let mut planner =
            Planner { known: request.registry.known(), request: &request, shown, sets: HashMap::new() };
        let combinations = sweep.combinations()?;
        let planned =
            combinations.iter().map(|combination| planner.run(combination)).collect::<Result<Vec<_>>>()?;
        let (runs, shared): (Vec<PlannedRun>, Vec<Vec<Shared>>) = planned.into_iter().unzip();
        // What nothing of a run reads tells it from others all the same where earlier versions took it: they trained both.
        let unread = |combination: &Combination, shared: &[Shared]| -> Vec<String> {
            let idle = |key: &str| shared.iter().any(|set| set.key == key && set.idle.is_some());
            let axes = sweep.axes.iter().zip(&combination.0);
            let unread = axes.filter(|(axis, _)| taken_unread(&axis.key) && idle(&axis.key));
            unread.map(|(axis, &choice)| axis.labels[0][choice].clone()).collect()
        };
        let unread: Vec<Vec<String>> = combinations
            .iter()
            .zip(&shared)
            .map(|(combination, shared)| unread(combination, shared))
            .collect();
        refuse_idle(&runs, shared)?;
        let mut names = HashSet::new();
        if let Some(run) = runs.iter().find(|run| !names.insert(&run.name)) {
            return Err(Error::usage(format!("`{}`: two runs would be called `{}`", sweep.name, run.name)));
        }
        let mut configurations = HashMap::new();
        for (run, unread) in runs.iter().zip(unread) {
            let configuration = (run.config.to_toml(), unread);
            let Some(first) = configurations.insert(configuration, &run.name) else { continue };
            return Err(Error::usage(format!(
                "`{}`: `{first}` and `{}` are one run with the same settings, and would count as two",
                sweep.name, run.name
            ))
            .hint("leave one out with `[[exclude]]`, or take out the setting that wins over the grid's"));
        }
        let columns = planner.shown.iter().map(|&number| sweep.axes[number].key.clone()).collect();
        Ok(Plan { folder: request.folder, columns, runs })
    }
}

/// Refuses a setting that does nothing in any run which has it; under a name that earlier versions took unread, in any
/// run at all.
fn refuse_idle(runs: &[PlannedRun], shared: Vec<Vec<Shared>>) -> Result<()> {
    let of = |set: &Shared| (set.place.clone(), set.key.clone());
    let read: HashSet<_> = shared.iter().flatten().filter(|set| set.idle.is_none()).map(of).collect();
    let by_another = |key: &str| {
        taken_unread(key) && named(key).is_some_and(|key| runs.iter().any(|run| key.applies_to(&run.config)))
    };
    let mut idle = shared.into_iter().flatten().filter(|set| !read.contains(&of(set)));
    let Some(idle) = idle.find(|set| !by_another(&set.key)) else { return Ok(()) };
    let Shared { place, key, idle: Some(error) } = idle else { return Ok(()) };
    if named(&key).is_none() {
        return Err(no_option(runs, &place, &key, error));
    }
    let message = Error::usage(format!("{place}: `{}` does nothing in any of the runs", short(&key)));
    Err(match error.hint_text() {
        Some(hint) => message.hint(hint),
        None => message,
    })
}

/// The error for an option that no run's network has. `error` is of one of them: which options that one has, it says.
fn no_option(runs: &[PlannedRun], place: &str, key: &str, error: Error) -> Error {
    let networks: BTreeSet<&str> = runs.iter().map(|run| run.config.model.name.as_str()).collect();
    if networks.len() < 2 || !key.starts_with("model.") {
        return error;
    }
    let networks = networks.into_iter().collect::<Vec<_>>().join("`, `");
    let message =
        format!("{place}: none of the networks `{}` has an option `{}`", short(&networks), short(key));
    match error.hint_text() {
        Some(hint) => Error::usage(message).hint(hint),
        None => Error::usage(message),
    }
}

/// What is known of a data set: what its samples are like, and how many there are.
#[derive(Clone)]
struct Samples {
    spec: Spec,
    train: usize,
    /// How many of them are in memory all the time.
    held: usize,
    /// Whether they were looked at, or what is said of the data set is taken for them.
    seen: bool,
}

struct Planner<'a> {
    request: &'a Request<'a>,
    known: Known,
    /// Numbers of the axes that are columns of the table.
    shown: Vec<usize>,
    /// What is known of each data set, read in this way.
    sets: HashMap<(String, Option<bool>, Column, String), Samples>,
}

impl Planner<'_> {
    /// A run, and what became of the settings that it shares with others.
    fn run(&mut self, combination: &Combination) -> Result<(PlannedRun, Vec<Shared>)> {
        let Request { sweep, folder, registry, machine, .. } = self.request;
        // What was trained under another spelling of the same keys is this run.
        let names = sweep.names_of(combination);
        let there = names.iter().find(|name| folder.join(name).exists());
        let name = there.unwrap_or(&names[0]).clone();
        let (config, shared) = self.config(combination)?;
        let of_run = |error: Error| error.context(format!("run `{name}`"));
        let Samples { spec, train: all, held, seen } = self.samples(&config).map_err(of_run)?;
        let mut settings = Settings::new(config, registry).map_err(of_run)?;
        settings.check_inputs(&spec).map_err(of_run)?;
        // As the run itself will print it.
        settings.settle(&spec);
        let config = settings.config().clone();
        let data = DataSpec::new(&spec, config.training_samples(all));
        let design = |origin: &Origin| Design::new(&settings, registry, &data, origin);
        // The other run may be there only later, or no longer; whether it is needed is asked once it is known what is done.
        let taken = Origin::begin(&settings, registry).and_then(|origin| design(&origin));
        let guessed = taken.is_err();
        let design = taken.or_else(|_| design(&Origin::Fresh)).map_err(of_run)?;
        let memory = design.memory(machine).map_err(of_run)?;
        let bytes = memory.with_samples(held, spec.sample_bytes().unwrap_or(0)).bytes();
        let cost = design.training().map_err(of_run)?;
        let trained = cost.batches as f64 * design.settings().batch() as f64;
        let dense = 3.0 * design.reference_flops() as f64;
        let value = |&number: &usize| {
            let axis = &sweep.axes[number];
            let said = || axis.values[combination.0[number]].clone();
            // A key that this run does not read says nothing of it.
            value(&config, &axis.key).unwrap_or_else(|| match named(&axis.key) {
                Some(_) if !taken_unread(&axis.key) => String::new(),
                _ => said(),
            })
        };
        let run = PlannedRun {
            path: folder.join(&name),
            values: self.shown.iter().map(value).collect(),
            name,
            sparsity: design.sparsity(),
            steps: design.recipe().steps,
            flops: cost.mean * trained,
            bytes,
            guessed,
            seen,
            remarks: design.remarks(),
            work: (cost.mean + FIXED_SHARE * dense) * trained,
            config,
        };
        Ok((run, shared))
    }

    fn config(&self, combination: &Combination) -> Result<(Config, Vec<Shared>)> {
        let Request { sweep, base, overrides, variant, multiplier, .. } = self.request;
        let mut settings = sweep.settings(combination, variant)?;
        settings.extend(overrides.iter().map(|setting| Override { shared: true, ..setting.clone() }));
        let factor = |by: f64| Override::factor("--multiplier", "multiplier", &by.to_string());
        settings.extend(multiplier.map(factor));
        Config::resolve_shared(&Sources { base: *base, overrides: &settings }, &self.known)
    }

    fn samples(&mut self, config: &Config) -> Result<Samples> {
        let Request { registry, machine, .. } = self.request;
        let name = &config.data.name;
        registry.check_dataset(config)?;
        let data = &config.data;
        let read_by = (name.clone(), data.header, data.target.clone(), data.dir.clone());
        if let Some(samples) = self.sets.get(&read_by) {
            return Ok(samples.clone());
        }
        // Looked at once, whole, as training will find it: a data folder may hold a part of a set, or another one in its
        // files.
        let mut whole = config.clone();
        (whole.data.validation, whole.data.train_samples, whole.data.test_samples) =
            (0.0, Limit::All, Limit::All);
        let found = registry.sets(&whole, machine.data_folder.as_deref(), machine.threads());
        let samples = match (found, registry.datasets.description(name)) {
            (Ok(Sets { train, test, .. }), _) => {
                let held = [&train, &test].into_iter().filter(|set| set.is_held()).map(|set| set.len()).sum();
                Samples { spec: train.spec().clone(), train: train.len(), held, seen: true }
            }
            // It may be there only later; whether it is needed is asked once it is known what is done.
            (Err(_), Some((spec, train))) => {
                let held = train.saturating_add(registry.datasets.test_samples(name).unwrap_or(0));
                Samples { spec: spec.clone(), train, held, seen: false }
            }
            (Err(error), None) => return Err(error),
        };
        self.sets.insert(read_by, samples.clone());
        Ok(samples)
    }
}

/// The value of a key as people read it: words without quotes.
pub(crate) fn value(config: &Config, key: &str) -> Option<String> {
    let text = config.get(key)?;
    let word = text.parse::<toml_edit::Value>().ok().and_then(|value| value.as_str().map(String::from));
    Some(word.unwrap_or(text))
}
