//! Where a run begins: initial values under the method's first pattern, or another run that is finished.

use std::path::Path;

use rigl_base::{Error, Result};
use rigl_engine::Session;
use rigl_formats::{Checkpoint, Metadata, Store, checkpoint};
use rigl_graph::Parameter;
use rigl_graph::account::Cost;
use rigl_graph::state::{self, Role, State, Tensor, Values};
use rigl_metrics::RunFolder;
use rigl_topology::{self as topology, Pattern, slots};

use crate::config::{Config, StartValues};
use crate::design::Design;
use crate::registry::Registry;

/// What a run takes over from another.
pub(crate) struct Start {
    /// The pattern of each parameter of the graph; `None` for dense.
    pub(crate) patterns: Vec<Option<Pattern>>,
    /// Seed of the initial values; where values are taken over, of those that are not there.
    pub(crate) seed: u64,
    /// Values and running statistics, where they are taken over.
    pub(crate) state: Option<State<'static>>,
}

/// The entry of a checkpoint's metadata that says with which values a run began that started from another: the seed
/// of its initial values, or that they were trained.
pub(crate) const BEGAN_WITH: &str = "began-with";
const TRAINED: &str = "trained";

/// By what the positions of a dense layer are scored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Score {
    /// |w|.
    Magnitude,
    /// |w · g|, with the gradient of the last pass.
    Saliency,
}

/// Gives each layer of a dense network that is to be sparse the weights of best score; for saliencies, by the gradients
/// of the last pass.
pub(crate) fn score(session: &mut Session, design: &Design, score: Score) -> Result<()> {
    let sparse = design.active.iter().enumerate().filter_map(|(parameter, &count)| Some((parameter, count?)));
    let (parameters, counts): (Vec<usize>, Vec<usize>) = sparse.unzip();
    let make_sparse = |place: usize, p: &mut rigl_engine::Parameter| {
        let scores = match score {
            Score::Magnitude => slots::magnitudes(&p.values()),
            Score::Saliency => slots::saliencies(&p.values(), &p.gradient()),
        };
        p.make_sparse(Pattern::of_largest(&scores, counts[place])?)
    };
    session.with_parameters(&parameters, &make_sparse).map(drop)
}

impl Design {
    /// Counts with the patterns of the run that `method.start-from` names: what a run that begins with them costs.
    ///
    /// # Errors
    /// If that run cannot be read, is not finished, or holds another network.
    pub fn start_from(&mut self, config: &Config, registry: &Registry) -> Result<()> {
        self.take_over(config, registry).map(drop)
    }

    /// The same; and what is taken over.
    pub(crate) fn take_over(&mut self, config: &Config, registry: &Registry) -> Result<Start> {
        let from = &config.method.start_from;
        let context = |e: Error| e.context(format!("`method.start-from` = `{from}`"));
        let start = Start::read(Path::new(from), config, self, registry).map_err(context)?;
        let decays = self.method.prunes();
        for (active, pattern) in self.active.iter_mut().zip(&start.patterns) {
            let found = pattern.as_ref().map(Pattern::count);
            // A decaying density still ends at what the configuration says.
            *active = if decays { active.or(found).min(found) } else { found };
        }
        // Nothing is scored where patterns are there.
        self.method = self.method.starting(topology::Start::Given);
        self.cost = Cost::of(&self.graph, &self.active)?;
        Ok(start)
    }
}

impl Start {
    /// Reads what `config` takes over from the run in `path`.
    ///
    /// # Errors
    /// If it cannot be read, is not finished, or holds another network.
    pub(crate) fn read(path: &Path, config: &Config, design: &Design, registry: &Registry) -> Result<Start> {
        let (Checkpoint { metadata, state }, file) = if path.is_dir() {
            let run = RunFolder::open(path)?;
            if run.finished()?.is_none() {
                return Err(Error::usage("the run is not finished")
                    .hint(format!("rigl train --resume {}", path.display())));
            }
            let latest = Store::new(run.checkpoints()).latest()?;
            (latest.checkpoint, latest.path.display().to_string())
        } else {
            (checkpoint::read(path)?, path.display().to_string())
        };
        let before = Config::from_text(&file, &metadata.configuration, &registry.known())?;
        let method = &design.method;
        let (dense, decays, kept) = (method.is_dense(), method.prunes(), method.keeps_inactive());
        let mut patterns = Vec::new();
        let mut taken: State<'static> = Vec::new();
        for (parameter, &active) in design.graph.parameters().iter().zip(&design.active) {
            let found = Found::of(parameter, &state)?;
            let pattern = match (found.indices, active) {
                _ if dense || !parameter.is_weight() => None,
                (Some(indices), _) => Some(Pattern::new(parameter.len(), indices.to_vec())?),
                (None, None) => None,
                // What is not dropped yet is dropped on the way.
                (None, Some(_)) if decays => Some(Pattern::full(parameter.len())?),
                (None, Some(count)) => {
                    let scores: Vec<f32> = found.values.iter().map(|w| w.abs()).collect();
                    Some(Pattern::of_largest(&scores, count)?)
                }
            };
            taken.push(found.under(parameter, pattern.as_ref()));
            if kept && pattern.is_some() {
                taken.push(found.kept(parameter, &state));
            }
            patterns.push(pattern);
        }
        taken.extend(state.into_iter().filter(|tensor| tensor.role == Role::Buffer));
        let (seed, state) = match config.method.start_values {
            StartValues::Initial => (first_values(&before, &metadata)?, None),
            StartValues::Trained => (config.seeds.init, Some(taken)),
            _ => (config.seeds.init, None),
        };
        Ok(Start { patterns, seed, state })
    }

    /// What [`BEGAN_WITH`] says of a run that starts here.
    pub(crate) fn began_with(&self) -> String {
        self.state.as_ref().map_or_else(|| self.seed.to_string(), |_| TRAINED.to_string())
    }
}

/// The seed of the values that a run began with.
fn first_values(run: &Config, metadata: &Metadata) -> Result<u64> {
    if run.method.start_from.is_empty() {
        return Ok(run.seeds.init);
    }
    let said = metadata.extra.get(BEGAN_WITH).map(String::as_str);
    said.and_then(|seed| seed.parse().ok()).ok_or_else(|| {
        let found = if said == Some(TRAINED) { "trained ones" } else { "values it does not tell" };
        Error::usage(format!(
            "the run began with {found}, which `method.start-values` = `initial` cannot begin with again"
        ))
        .hint("--set method.start-values=trained")
    })
}

/// What another run holds of a parameter.
struct Found<'a> {
    values: &'a [f32],
    indices: Option<&'a [u32]>,
}

impl<'a> Found<'a> {
    fn of(parameter: &Parameter, state: &'a [Tensor<'_>]) -> Result<Found<'a>> {
        let name = &parameter.name;
        let tensor = state::find(state, &Role::Parameter, name);
        let tensor = tensor.ok_or_else(|| Error::usage(format!("the run has no parameter `{name}`")))?;
        if tensor.shape != parameter.shape {
            let (found, expected) = (&tensor.shape, &parameter.shape);
            return Err(Error::usage(format!(
                "parameter `{name}` has shape {found:?} there, expected {expected:?}"
            )));
        }
        let indices = tensor.indices.as_deref();
        let expected = indices.map_or(parameter.len(), <[u32]>::len);
        match tensor.values.as_f32() {
            Some(values) if values.len() == expected => Ok(Found { values, indices }),
            _ => Err(Error::data(format!("parameter `{name}` does not hold {expected} 32-bit floats"))),
        }
    }

    /// Its values under a pattern, or dense; 0 where the run has none.
    fn under(&self, parameter: &Parameter, pattern: Option<&Pattern>) -> Tensor<'static> {
        let dense = self.dense(parameter);
        let values = match pattern {
            None => dense,
            Some(pattern) => pattern.indices().iter().map(|&i| dense[i as usize]).collect(),
        };
        let indices = pattern.map(|pattern| pattern.indices().to_vec().into());
        Tensor { indices, ..tensor(parameter, &parameter.name, Role::Parameter, values) }
    }

    /// The values of all its positions, as a method keeps them: those kept there, or else 0 where the run has none.
    fn kept(&self, parameter: &Parameter, state: &[Tensor<'_>]) -> Tensor<'static> {
        let name = format!("{}/{}", slots::KEPT, parameter.name);
        let found = state::find(state, &Role::Method, &name).and_then(|tensor| tensor.values.as_f32());
        let values = found.filter(|values| values.len() == parameter.len()).map(<[f32]>::to_vec);
        let values = values.unwrap_or_else(|| self.dense(parameter));
        tensor(parameter, &name, Role::Method, values)
    }

    fn dense(&self, parameter: &Parameter) -> Vec<f32> {
        let mut dense = vec![0.0; parameter.len()];
        match self.indices {
            None => dense.copy_from_slice(self.values),
            Some(indices) => {
                for (&i, &w) in indices.iter().zip(self.values) {
                    if let Some(slot) = dense.get_mut(i as usize) {
                        *slot = w;
                    }
                }
            }
        }
        dense
    }
}

/// A dense tensor of this parameter's shape.
fn tensor(parameter: &Parameter, name: &str, role: Role, values: Vec<f32>) -> Tensor<'static> {
    Tensor {
        name: name.to_string().into(),
        role,
        shape: parameter.shape.clone(),
        values: Values::F32(values.into()),
        indices: None,
    }
}
