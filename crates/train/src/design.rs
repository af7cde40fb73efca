//! What is trained: a network, its active counts from here to the end, its recipe and updates, and what all that costs.
//! One function makes it, of values that are there already; nobody changes it afterwards.

use rigl_base::{Error, Result};
use rigl_data::{Sets, Spec};
use rigl_formats::{Checkpoint, Latest};
use rigl_graph::account::Cost;
use rigl_graph::{Graph, Parameter};
use rigl_topology::{LayerStatistics, Method, Pattern, Start as First, Updates};

use crate::cost::{self, Training};
use crate::machine::MachineOptions;
use crate::memory::{Memory, Planned};
use crate::network::{self, Narrowed, Network};
use crate::norms;
use crate::origin::Origin;
use crate::recipe::Recipe;
use crate::registry::Registry;
use crate::remarks;
use crate::settings::Settings;
use crate::taken::{self, Found};
use crate::weights::Score;

/// What samples a network is for, and how many of them it is trained on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataSpec {
    /// Shape of a sample.
    pub shape: Vec<usize>,
    /// Classes.
    pub classes: usize,
    /// Training samples, what is left of them after the validation split.
    pub samples: usize,
}

impl DataSpec {
    /// So many training samples of this kind.
    pub fn new(spec: &Spec, samples: usize) -> DataSpec {
        DataSpec { shape: spec.shape.clone(), classes: spec.classes.len(), samples }
    }

    /// These sets.
    pub fn of(sets: &Sets) -> DataSpec {
        DataSpec::new(sets.train.spec(), sets.train.len())
    }
}

/// A weight that is or becomes sparse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SparseLayer {
    /// Its number among the parameters of the graph.
    pub parameter: usize,
    /// Active weights where the design begins, with patterns that are chosen by scores chosen.
    pub now: usize,
    /// Active weights at the initial sparsity, from which a decaying density is counted.
    pub start: usize,
    /// Active weights at the end of the run. A method that moves weights between layers changes that on the way.
    pub end: usize,
}

impl SparseLayer {
    /// Active weights of so many where this is left of a decaying density ([`Update::excess`](rigl_topology::Update)).
    fn decayed(&self, positions: usize, excess: Option<f64>) -> usize {
        let (active, start, target) = (self.now, self.start, self.end);
        let layer = LayerStatistics { positions, active, start, target, below: 0, crossed: 0, momentum: 0.0 };
        layer.wanted(excess)
    }
}

/// A run as it will be, from where it begins to its end.
#[derive(Clone, Debug)]
pub struct Design {
    settings: Settings,
    data: DataSpec,
    graph: Graph,
    layers: Vec<SparseLayer>,
    /// Active counts as the distribution gives them, one of each parameter of the graph.
    allocated: Vec<Option<usize>>,
    epsilon: Option<f64>,
    reference_flops: u64,
    spread: bool,
    narrowed: Option<Narrowed>,
    /// By what the first patterns are chosen, of a dense network.
    scored: Option<Score>,
    recipe: Recipe,
    updates: Updates,
    cost: Cost,
}

impl Design {
    /// The same arguments give the same design: no file is read, nothing is run.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for an unknown name, values that do not fit the network or the run, and
    /// an origin of another network.
    pub fn new(settings: &Settings, registry: &Registry, data: &DataSpec, origin: &Origin) -> Result<Design> {
        let network = Network::new(settings, registry, &data.shape, data.classes)?;
        norms::check(&network.graph, settings)?;
        let recipe = Recipe::new(settings, data.samples)?;
        let counts = Counts::new(&network, settings, origin)?;
        if matches!(origin, Origin::Run(_)) {
            check_taken(&network, &counts, settings)?;
        }
        let Network { graph, allocated, first, epsilon, spread, narrowed, reference_flops } = network;
        let layers: Vec<SparseLayer> = (0..allocated.len())
            .filter_map(|parameter| {
                let (now, end) = (counts.now[parameter]?, counts.end[parameter]?);
                Some(SparseLayer { parameter, now, start: first[parameter].unwrap_or(now), end })
            })
            .collect();
        let updates = match layers.is_empty() {
            // Where nothing is sparse there is nothing to update.
            true => Updates::new(&Method::DENSE, *recipe.updates.schedule(), recipe.steps),
            false => recipe.updates.clone(),
        };
        let cost = Cost::of(&graph, &counts.end)?;
        let design = Design {
            settings: settings.clone(),
            data: data.clone(),
            graph,
            layers,
            allocated,
            epsilon,
            reference_flops,
            spread,
            narrowed,
            scored: counts.scored,
            recipe,
            updates,
            cost,
        };
        remarks::refuse(&design)?;
        Ok(design)
    }

    /// What is odd about the run though nothing forbids it, a line each: keys that reach less than they say, points of the
    /// recipe beyond the run. Empty for most runs.
    pub fn remarks(&self) -> Vec<String> {
        remarks::of(self)
    }

    /// The sparsity that the run ends with, of all weights of the network, those of dense layers among them; `None` for a
    /// network all of whose weights are there.
    pub fn sparsity(&self) -> Option<f64> {
        (!self.layers.is_empty()).then_some(self.cost.sparsity)
    }

    /// Whether `method.sparsity` is of any layer.
    pub(crate) fn spreads(&self) -> bool {
        self.spread
    }

    /// How large a narrowed network was to be.
    pub(crate) fn narrowed(&self) -> Option<Narrowed> {
        self.narrowed
    }

    /// What it was made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The samples it is for.
    pub fn data(&self) -> &DataSpec {
        &self.data
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The method.
    pub fn method(&self) -> &Method {
        self.settings.method()
    }

    /// The weights that are or become sparse, in the graph's order.
    pub fn layers(&self) -> &[SparseLayer] {
        &self.layers
    }

    /// The ε of the Erdős–Rényi distributions, where there is one.
    pub fn epsilon(&self) -> Option<f64> {
        self.epsilon
    }

    /// Length, learning rate, evaluations.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// When the topology is updated.
    pub fn updates(&self) -> &Updates {
        &self.updates
    }

    /// What the network costs with the weights that it ends with.
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// Floating-point operations of the forward pass of the dense network, per sample; of the one that was not
    /// narrowed, where a method narrows it.
    pub fn reference_flops(&self) -> u64 {
        self.reference_flops
    }

    /// What a run costs that begins as this one does.
    ///
    /// # Errors
    /// None for a design that was made.
    pub fn training(&self) -> Result<Training> {
        let scored = u64::from(self.scored == Some(Score::Saliency));
        cost::training(&self.updates, self.cost.dense_flops, scored, |excess| match excess {
            None => Ok(self.cost.flops),
            Some(_) => {
                Ok(Cost::of(&self.graph, &self.counts(|layer, p| layer.decayed(p.len(), excess)))?.flops)
            }
        })
    }

    /// Bytes that training holds at once on this machine, with no samples in memory but those it is trained on.
    ///
    /// # Errors
    /// If the network cannot be run.
    pub fn memory(&self, machine: &MachineOptions) -> Result<Memory> {
        self.memory_at(self.settings.batch(), machine)
    }

    /// The same with another batch.
    ///
    /// # Errors
    /// As [`Design::memory`].
    pub fn memory_at(&self, batch: usize, machine: &MachineOptions) -> Result<Memory> {
        // Where counts shrink, those between are looked at too: how weights are stored depends on their density.
        let between = if self.method().prunes() { 8 } else { 1 };
        let counts: Vec<_> = (0..=between)
            .map(|eighth| {
                self.counts(|layer, _| layer.now - (layer.now - layer.end.min(layer.now)) * eighth / between)
            })
            .collect();
        let settings = &self.settings.with_batch(batch);
        let Design { graph, data, updates, .. } = self;
        let chosen = self.scored.is_some();
        Memory::planned(&Planned { graph, counts: &counts, chosen, updates, settings, data }, machine)
    }

    /// Active weights of a parameter as the distribution has it at the end of the run; `None` for dense.
    pub(crate) fn allocated(&self, parameter: usize) -> Option<usize> {
        self.allocated.get(parameter).copied().flatten()
    }

    /// By what the first patterns are chosen, of a dense network; `None` where they are there.
    pub(crate) fn scored(&self) -> Option<Score> {
        self.scored
    }

    /// The first patterns of a run that starts from no other; `None` for dense.
    pub(crate) fn patterns(&self) -> Result<Vec<Option<Pattern>>> {
        let mut patterns = vec![None; self.graph.parameters().len()];
        if self.scored.is_some() {
            return Ok(patterns);
        }
        let weights = network::layers(&self.graph)?;
        for ((id, _), of) in self.graph.weights().zip(&weights) {
            let Some(layer) = self.layers.iter().find(|layer| layer.parameter == id.index()) else {
                continue;
            };
            patterns[id.index()] =
                Method::STATIC.initial(of, Some(layer.now), self.settings.seeds.topology)?;
        }
        Ok(patterns)
    }

    /// One count for each parameter of the graph, as [`Cost::of`] takes them.
    fn counts(&self, of: impl Fn(&SparseLayer, &Parameter) -> usize) -> Vec<Option<usize>> {
        let parameters = self.graph.parameters();
        let mut counts = vec![None; parameters.len()];
        for layer in &self.layers {
            counts[layer.parameter] = Some(of(layer, &parameters[layer.parameter]));
        }
        counts
    }
}

/// The active counts of a network's parameters, here and at the end of the run; `None` for dense.
struct Counts {
    now: Vec<Option<usize>>,
    end: Vec<Option<usize>>,
    scored: Option<Score>,
}

impl Counts {
    fn new(network: &Network, settings: &Settings, origin: &Origin) -> Result<Counts> {
        let Network { graph, allocated, first, .. } = network;
        let method = settings.method();
        let here = |now: &[Option<usize>]| Counts { now: now.to_vec(), end: allocated.clone(), scored: None };
        let found = match origin {
            Origin::Settled => return Ok(here(allocated)),
            Origin::Fresh => {
                let scored = match method.start() {
                    Some(First::Saliency) => Some(Score::Saliency),
                    Some(First::Magnitude) => Some(Score::Magnitude),
                    Some(First::Random) | None => None,
                    // The run that is named has not been read: its patterns are thought to be as the distribution says.
                    Some(First::Given) if settings.start_from.is_some() => None,
                    Some(First::Given) => {
                        let name = &method.name;
                        return Err(Error::usage(format!(
                            "method `{name}` starts from the patterns of another run"
                        ))
                        .hint("--set method.start.run=RUN"));
                    }
                };
                return Ok(Counts { scored, ..here(first) });
            }
            Origin::Run(run) => {
                taken::counts(graph, &run.state, first, method).map_err(|e| run.from.context(e))?
            }
            Origin::Resumed(latest) => resumed(network, latest, settings)
                .map_err(|e| e.context(format!("checkpoint `{}`", latest.path().display())))?,
        };
        // A decaying density still ends at what the configuration says, all others as they are.
        let end = |(found, allocated): (&Option<usize>, &Option<usize>)| match method.prunes() {
            true => allocated.or(*found).min(*found),
            false => *found,
        };
        Ok(Counts { end: found.iter().zip(allocated).map(end).collect(), now: found, scored: None })
    }
}

/// Refuses a sparsity that was asked for where the patterns that are taken over have another one, and keep it.
fn check_taken(network: &Network, counts: &Counts, settings: &Settings) -> Result<()> {
    const KEY: &str = "method.sparsity";
    let config = settings.config();
    if !config.asks_for(KEY) {
        return Ok(());
    }
    let share = |counts: &[Option<usize>]| Cost::of(&network.graph, counts).map(|cost| cost.sparsity);
    let (found, asked) = (share(&counts.end)?, share(&network.allocated)?);
    if (found - asked).abs() <= remarks::TELLING {
        return Ok(());
    }
    let run = &config.method.start.run;
    let error = Error::usage(format!(
        "`{KEY}` is `{}`, but the patterns of `method.start.run` = `{}` stay as they are, {:.2} % sparse",
        config.method.sparsity,
        rigl_base::error::short(run),
        100.0 * found
    ));
    Err(config.blame(KEY, error.hint("leave it out, or start from a run of that sparsity")))
}

/// The active counts in a checkpoint of this network. A run that starts from no other has those that its distribution
/// gives, in sum, and while density decays no more than it started with.
fn resumed(network: &Network, latest: &Latest, settings: &Settings) -> Result<Vec<Option<usize>>> {
    let Network { graph, allocated, first, .. } = network;
    let Checkpoint { metadata, state } = latest.checkpoint();
    if metadata.graph != graph.to_text() {
        return Err(Error::data("holds another network than the configuration describes"));
    }
    let found = graph.parameters().iter().map(|p| Ok(Found::of(p, state)?.count()));
    let found = found.collect::<Result<Vec<_>>>()?;
    let sum = |counts: &[Option<usize>]| counts.iter().flatten().sum::<usize>();
    let (active, left, most) = (sum(&found), sum(allocated), sum(first));
    let same_layers = found.iter().zip(allocated).all(|(found, count)| found.is_some() == count.is_some());
    let fits = (left..=most).contains(&active);
    if settings.start_from.is_none() && !(same_layers && fits) {
        return Err(Error::data(format!(
            "has {active} active weights in sparse layers, where the configuration leaves {left}"
        )));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
