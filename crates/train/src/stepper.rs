//! One iteration of any method on a network: gradients, optimiser step, topology update, as the method's row says.
//! Nothing is recorded here, so that what trains and what only measures time do the same.

use rigl_base::random::{Purpose, Stream, name_id, pair_id};
use rigl_base::{Error, Result};
use rigl_engine::{Batch, Growth, MicroBatch, Outcome, Session, StepConstants, Take};
use rigl_graph::Graph;
use rigl_graph::account::Cost;
use rigl_topology::{
    Change, Gradients, Grown, LayerBudget, Method, MethodState, Needs, OptimizerStep, Pattern, Update,
    UpdateRequest, growth_stream,
};

use crate::config::Config;
use crate::design::Design;
use crate::recipe::Recipe;
use crate::weights::{self, Noise};

/// A network under a method, with what that remembers.
pub struct Stepper {
    /// The network.
    pub session: Session,
    /// What the method remembers besides what the session keeps per weight.
    pub memory: MethodState,
    method: Method,
    config: Config,
    recipe: Recipe,
    /// Parameters that the method sees, by number in the graph, and the active counts meant for them.
    sparse: Vec<usize>,
    targets: Vec<usize>,
    names: Vec<String>,
}

/// Where an iteration stands in its run.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Optimiser steps done before it.
    pub step: u64,
    /// Batches consumed before it.
    pub draw: u64,
    /// Whether the topology was updated at this step already.
    pub updated: bool,
}

/// What an iteration did.
pub struct Iteration {
    /// The losses before the step.
    pub outcome: Outcome,
    /// What it computed and did.
    pub needs: Needs,
    /// For each sparse parameter, by number in the graph, its change at an update; empty without one.
    pub changes: Vec<(usize, Change)>,
}

impl Stepper {
    /// A stepper for this session, whose patterns are those to begin or to go on with. What the method keeps of each
    /// weight is begun if the session does not hold it yet.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if session and design do not fit.
    pub fn new(mut session: Session, design: &Design, config: &Config, recipe: &Recipe) -> Result<Stepper> {
        let parameters = design.graph.parameters();
        let sparse: Vec<usize> = (0..parameters.len()).filter(|&p| session.pattern(p).is_some()).collect();
        let target = |&p: &usize| {
            // A network that starts from a run may be sparse where this configuration leaves it dense.
            let active = session.pattern(p).map(|pattern| pattern.count());
            design.active.get(p).copied().flatten().or(active).unwrap_or(0)
        };
        let targets = sparse.iter().map(target).collect();
        let method = design.method.clone();
        weights::keep(&mut session, &sparse, &method.slots(), config.seeds.init)?;
        Ok(Stepper {
            session,
            memory: method.state(),
            method,
            config: config.clone(),
            recipe: recipe.clone(),
            names: parameters.iter().map(|p| p.name.clone()).collect(),
            sparse,
            targets,
        })
    }

    /// Parameters that the method sees, by number in the graph.
    pub fn sparse(&self) -> &[usize] {
        &self.sparse
    }

    /// What the network costs with the patterns that it has.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if it is of another graph.
    pub fn cost(&self, graph: &Graph) -> Result<Cost> {
        let count = |p| self.session.pattern(p).map(Pattern::count);
        let active: Vec<_> = (0..graph.parameters().len()).map(count).collect();
        Cost::of(graph, &active)
    }

    /// What the iteration at this point needs.
    pub fn needs(&self, at: At) -> Needs {
        self.recipe.updates.needs(at.step, at.updated)
    }

    /// One batch, in its parts: an optimiser step, a topology update, or both. If the loss is not finite, nothing is
    /// done with it.
    ///
    /// # Errors
    /// Of the engine.
    pub fn iterate(&mut self, parts: &[Batch], at: At) -> Result<Iteration> {
        let needs = self.needs(at);
        // Scoring on the way needs to know beforehand how many positions grow; all else is known after the step only.
        let scored = needs.gradients == Gradients::Dense;
        let mut requests = match &needs.update {
            Some(update) if scored => self.requests(update)?,
            _ => Vec::new(),
        };
        let growth: Vec<Growth> = match needs.gradients {
            Gradients::Dense => {
                let growth = |&(parameter, ref request): &(usize, UpdateRequest)| Growth {
                    parameter,
                    take: Take::Largest(request.budget.grow),
                };
                requests.iter().map(growth).collect()
            }
            Gradients::Kept => {
                self.sparse.iter().map(|&parameter| Growth { parameter, take: Take::All }).collect()
            }
            _ => Vec::new(),
        };
        let outcome = gradients(&mut self.session, parts, at.draw, self.config.seeds.data, &growth)?;
        if !outcome.loss.is_finite() {
            return Ok(Iteration { outcome, needs, changes: Vec::new() });
        }
        if needs.gradients == Gradients::Kept
            && let Some(share) = self.method.average()
        {
            weights::average(&mut self.session, &self.sparse, share)?;
        }
        if needs.step == OptimizerStep::Taken {
            self.step(at.step)?;
        }
        let mut changes = Vec::new();
        if let Some(update) = &needs.update {
            if !scored {
                requests = self.requests(update)?;
            }
            let done = weights::update(&mut self.session, &requests)?;
            changes = requests.iter().map(|&(parameter, _)| parameter).zip(done).collect();
        }
        Ok(Iteration { outcome, needs, changes })
    }

    /// The optimiser step, and the noise after it.
    fn step(&mut self, step: u64) -> Result<()> {
        let optimizer = &self.config.optimizer;
        let learning_rate = self.recipe.learning_rate(step);
        self.session.step(StepConstants {
            learning_rate,
            momentum: optimizer.momentum,
            nesterov: optimizer.nesterov,
            l2: optimizer.l2,
        })?;
        if let Some(rigl_topology::Noise { pull, temperature }) = self.method.noise() {
            // Bellec et al., ICLR 2018, equation (1): deviation √(2ηT).
            let temperature = temperature.unwrap_or(learning_rate * pull * pull / 2.0);
            let noise = Noise {
                pull: learning_rate * pull,
                deviation: rigl_base::math::sqrt(2.0 * learning_rate * temperature),
                seed: self.config.seeds.topology,
                step,
            };
            weights::noise(&mut self.session, &self.sparse, noise)?;
        }
        Ok(())
    }

    /// What an update asks of each sparse parameter.
    fn requests(&mut self, update: &Update) -> Result<Vec<(usize, UpdateRequest)>> {
        let threshold = self.memory.threshold;
        let statistics = weights::statistics(&self.session, &self.sparse, &self.targets, threshold)?;
        let budgets = self.method.budget(update, &statistics, &mut self.memory);
        let (seed, step) = (self.config.seeds.topology, update.step);
        let request = |(&parameter, budget): (&usize, LayerBudget)| {
            let name = self.names.get(parameter).ok_or_else(|| Error::internal("no such parameter"))?;
            let request = UpdateRequest {
                budget,
                drop: self.method.drop_score(),
                grow: self.method.grow_score(),
                stream: growth_stream(seed, name, step),
                grown: Grown {
                    init: self.method.grown_init(),
                    stream: Stream::new(seed, Purpose::Grown, pair_id(name_id(name), step)),
                    learning_rate: self.recipe.learning_rate(step),
                },
            };
            Ok((parameter, request))
        };
        self.sparse.iter().zip(budgets).map(request).collect()
    }
}

/// Forward and backward over the parts of batch `draw`; dropout is drawn by `seed`.
pub(crate) fn gradients(
    session: &mut Session,
    parts: &[Batch],
    draw: u64,
    seed: u64,
    growth: &[Growth],
) -> Result<Outcome> {
    let of_samples = parts.iter().map(Batch::samples).sum();
    let mut outcome = Outcome::default();
    for (i, batch) in parts.iter().enumerate() {
        let (number, first, last) = (i as u64, i == 0, i + 1 == parts.len());
        let part = MicroBatch { batch, of_samples, draw, number, seed, first, last };
        outcome.add(session.accumulate(part, growth)?);
    }
    Ok(outcome)
}
