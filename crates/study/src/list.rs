//! A list of runs: of each what it trains, where it stands and what it came to, by its folder alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rigl_base::{Error, Result};
use rigl_metrics::event::TRAIN_SPLIT;
use rigl_metrics::folder::is_aside;
use rigl_metrics::{Event, EventReader, RunFolder, Status, Summary};
use rigl_train::Config;
use rigl_train::config::Known;

use crate::folder::{configuration, has_traces, may_be_run};

/// A run in a list.
#[derive(Debug)]
pub struct ListedRun {
    /// Its folder.
    pub path: PathBuf,
    /// What is known of it, or why nothing is.
    pub known: Result<KnownRun>,
}

/// What the folder of a run tells.
#[derive(Clone, Debug)]
pub struct KnownRun {
    /// The recipe that it follows, resolved.
    pub config: Config,
    /// Where it stands.
    pub standing: Standing,
    /// Optimiser steps done.
    pub step: u64,
    /// The share of weights that are absent, as far as its log or its summary tells.
    pub sparsity: Option<f64>,
    /// Accuracy on its last evaluation, 0 to 1.
    pub accuracy: Option<f64>,
    /// What that evaluation was on: `test`, `validation`.
    pub split: Option<String>,
    /// Seconds of the run so far, evaluations included.
    pub seconds: f64,
}

/// Where a run stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It came to its end: all its steps are done, or as many as its patience let it take.
    Finished,
    /// Somebody trains it now: `process 1234 on host a`.
    Training(String),
    /// It was stopped, or killed, and can be gone on with.
    Stopped,
    /// It diverged; why, in one line.
    Diverged(String),
}

impl Standing {
    /// The word that tables show for it.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Finished => "finished",
            Standing::Training(_) => "training",
            Standing::Stopped => "stopped",
            Standing::Diverged(_) => "diverged",
        }
    }
}

/// How deep below a folder runs are looked for: sweeps and comparisons are folders of runs.
const DEPTH: usize = 2;

/// The runs in a folder and in the folders in it, in the order of their names; the folder may be a run itself. Files and
/// folders that are no runs are passed over.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if the folder cannot be read. What is wrong with a single run
/// stands in the list.
pub fn list_runs(path: &Path, known: &Known) -> Result<Vec<ListedRun>> {
    let mut runs = Vec::new();
    collect(path, known, DEPTH, &mut runs)?;
    Ok(runs)
}

fn collect(path: &Path, known: &Known, depth: usize, runs: &mut Vec<ListedRun>) -> Result<()> {
    match RunFolder::open(path) {
        Ok(run) => {
            runs.push(ListedRun { path: path.into(), known: KnownRun::read(&run, known) });
            return Ok(());
        }
        // Of the folder that was asked for the reason is told below.
        Err(error) if has_traces(path) || (depth < DEPTH && may_be_run(path, &error)) => {
            runs.push(ListedRun { path: path.into(), known: Err(error) });
            return Ok(());
        }
        Err(_) => {}
    }
    if depth == 0 {
        return Ok(());
    }
    let cannot = |e| Error::io("cannot read folder", path, e);
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        // What a killed process was replacing is no run beside the others.
        if !is_aside(&entry.file_name()) && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    for folder in folders {
        if let Err(error) = collect(&folder, known, depth - 1, runs) {
            runs.push(ListedRun { path: folder, known: Err(error) });
        }
    }
    Ok(())
}

impl KnownRun {
    fn read(run: &RunFolder, known: &Known) -> Result<KnownRun> {
        let config = configuration(run, known)?;
        if let Some(summary) = run.finished()? {
            return Ok(KnownRun::finished(config, &summary));
        }
        let mut found = KnownRun {
            config,
            standing: Standing::Stopped,
            step: 0,
            sparsity: None,
            accuracy: None,
            split: None,
            seconds: 0.0,
        };
        if run.log().is_file() {
            found.follow(&run.log())?;
        }
        if let Some(holder) = run.in_use()? {
            found.standing = Standing::Training(holder);
        }
        Ok(found)
    }

    fn finished(config: Config, summary: &Summary) -> KnownRun {
        KnownRun {
            config,
            standing: Standing::Finished,
            step: summary.steps,
            sparsity: Some(summary.sparsity),
            accuracy: summary.accuracy,
            split: Some("test".into()),
            seconds: summary.seconds + summary.evaluation_seconds.unwrap_or(0.0),
        }
    }

    /// Takes in what the log tells.
    fn follow(&mut self, log: &Path) -> Result<()> {
        // Active weights and weights of each parameter.
        let mut layers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for record in EventReader::open(log)? {
            let record = record?;
            (self.step, self.seconds) = (record.step, record.time_s);
            match record.event {
                Event::Network(network) => {
                    let parameters = network.parameters.into_iter();
                    layers = parameters.map(|p| (p.name, (p.active, p.weights))).collect();
                    self.sparsity = absent_of(&layers);
                }
                Event::Update(update) => {
                    for p in update.parameters {
                        if let Some(layer) = layers.get_mut(&p.name) {
                            layer.0 = p.active;
                        }
                    }
                    self.sparsity = absent_of(&layers);
                }
                // Of training samples there may be one in the end: it says nothing of how good the run is.
                Event::Evaluation(evaluation) if evaluation.split == TRAIN_SPLIT => {}
                Event::Evaluation(evaluation) => {
                    (self.accuracy, self.split) = (evaluation.accuracy, Some(evaluation.split));
                }
                // Who goes on with a run takes back how it ended.
                Event::Resume(_) => self.standing = Standing::Stopped,
                Event::End(end) => {
                    self.sparsity = absent(end.active, end.weights);
                    if end.status == Status::Diverged {
                        self.standing = Standing::Diverged(end.reason);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The share of weights that are absent of all these parameters.
fn absent_of(layers: &BTreeMap<String, (u64, u64)>) -> Option<f64> {
    absent(layers.values().map(|layer| layer.0).sum(), layers.values().map(|layer| layer.1).sum())
}

/// The share of weights that are absent; `None` without weights.
fn absent(active: u64, weights: u64) -> Option<f64> {
    (weights > 0).then(|| 1.0 - active as f64 / weights as f64)
}
