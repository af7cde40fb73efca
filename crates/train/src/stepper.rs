//! One iteration of any method on a network: gradients, optimiser step, topology update, as the method's row says.
//! Nothing is recorded here, so that what trains and what only measures time do the same.

use std::sync::Arc;

use rigl_base::random::{Purpose, Stream, name_id, pair_id};
use rigl_base::{Error, Result};
use rigl_engine::{Batch, Growth, MicroBatch, NonFinite, Outcome, Session, StepConstants, Take};
use rigl_graph::account::Cost;
use rigl_topology::{
    Change, Gradients, GrowScore, Grown, LayerBudget, MethodState, Needs, OptimizerStep, Pattern, Update,
    UpdateRequest, growth_stream,
};

use crate::design::Design;
use crate::weights::{self, Noise, Score};

/// A network under a method, with what that remembers.
pub struct Stepper {
    /// The network.
    pub session: Session,
    /// What the method remembers besides what the session keeps per weight.
    pub(crate) memory: MethodState,
    design: Arc<Design>,
    /// Parameters that the method sees, by number in the graph, and the active counts that they end with.
    sparse: Vec<usize>,
    targets: Vec<usize>,
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
    /// A stepper for a session of this design. What the method keeps of each weight is begun if the session does not hold
    /// it yet and the first patterns are there.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if session and design do not fit.
    pub fn new(session: Session, design: Arc<Design>) -> Result<Stepper> {
        let mut stepper = Stepper {
            session,
            memory: design.method().state(),
            sparse: design.layers().iter().map(|layer| layer.parameter).collect(),
            targets: design.layers().iter().map(|layer| layer.end).collect(),
            design,
        };
        if stepper.design.scored().is_none() {
            stepper.keep()?;
        }
        Ok(stepper)
    }

    /// Begins to keep what the method needs of each weight.
    fn keep(&mut self) -> Result<()> {
        let settings = self.design.settings();
        weights::keep(&mut self.session, &self.sparse, &settings.method().slots(), settings.seeds.init)
    }

    /// Chooses the first patterns of a dense network by these scores; for saliencies, by the gradients of the last pass.
    pub(crate) fn choose(&mut self, score: Score) -> Result<()> {
        let counts: Vec<usize> = self.design.layers().iter().map(|layer| layer.now).collect();
        weights::choose(&mut self.session, &self.sparse, &counts, score)?;
        self.keep()
    }

    /// Parameters that the method sees, by number in the graph.
    pub fn sparse(&self) -> &[usize] {
        &self.sparse
    }

    /// The pattern of each parameter of the graph; `None` for dense.
    pub(crate) fn patterns(&self) -> Vec<Option<&Pattern>> {
        let parameters = self.design.graph().parameters().len();
        (0..parameters).map(|p| self.session.pattern(p)).collect()
    }

    /// Where the last pass, or the step after it, first met a number that is not finite.
    pub(crate) fn non_finite(&self) -> Option<&NonFinite> {
        self.session.non_finite()
    }

    /// What the network costs with the patterns that it has.
    ///
    /// # Errors
    /// None for a session of this design.
    pub fn cost(&self) -> Result<Cost> {
        let active: Vec<_> = self.patterns().into_iter().map(|p| p.map(Pattern::count)).collect();
        Cost::of(self.design.graph(), &active)
    }

    /// What the iteration at this point needs.
    pub fn needs(&self, at: At) -> Needs {
        self.design.updates().needs(at.step, at.updated)
    }

    /// One batch, in its parts: an optimiser step, a topology update, or both. Nothing is done with a pass that met a number
    /// that is not finite, and nothing more with a step that made one.
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
                let growth = |&(parameter, ref request): &(usize, UpdateRequest)| {
                    let count = request.budget.grow;
                    let take = match request.grow {
                        GrowScore::Own(score) => Take::Best(count, score),
                        _ => Take::Largest(count),
                    };
                    Growth { parameter, take }
                };
                requests.iter().map(growth).collect()
            }
            Gradients::Kept => {
                self.sparse.iter().map(|&parameter| Growth { parameter, take: Take::All }).collect()
            }
            _ => Vec::new(),
        };
        let outcome = self.gradients(parts, at.draw, &growth)?;
        if needs.step == OptimizerStep::Skipped {
            self.session.look_at_gradients();
        }
        if self.non_finite().is_some() {
            return Ok(Iteration { outcome, needs, changes: Vec::new() });
        }
        if needs.gradients == Gradients::Kept
            && let Some(share) = self.design.method().average()
        {
            weights::average(&mut self.session, &self.sparse, share)?;
        }
        if needs.step == OptimizerStep::Taken {
            self.step(at.step)?;
        }
        let mut changes = Vec::new();
        let finite = self.non_finite().is_none();
        if let Some(update) = needs.update.as_ref().filter(|_| finite) {
            if !scored {
                requests = self.requests(update)?;
            }
            let done = weights::update(&mut self.session, &requests)?;
            changes = requests.iter().map(|&(parameter, _)| parameter).zip(done).collect();
        }
        Ok(Iteration { outcome, needs, changes })
    }

    /// Forward and backward over the parts of batch `draw`.
    pub(crate) fn gradients(&mut self, parts: &[Batch], draw: u64, growth: &[Growth]) -> Result<Outcome> {
        let (of_samples, seed) = (parts.iter().map(Batch::samples).sum(), self.design.settings().seeds.data);
        let mut outcome = Outcome::default();
        for (i, batch) in parts.iter().enumerate() {
            let (number, first, last) = (i as u64, i == 0, i + 1 == parts.len());
            let part = MicroBatch { batch, of_samples, draw, number, seed, first, last };
            outcome.add(self.session.accumulate(part, growth)?);
        }
        Ok(outcome)
    }

    /// The optimiser step, and the noise after it.
    fn step(&mut self, step: u64) -> Result<()> {
        let settings = self.design.settings();
        let learning_rate = self.design.recipe().learning_rate(step);
        self.session.step(StepConstants { learning_rate, ..settings.optimizer })?;
        if let Some(rigl_topology::Noise { pull, temperature }) = self.design.method().noise() {
            // Bellec et al., ICLR 2018, equation (1): deviation √(2ηT).
            let temperature = temperature.unwrap_or(learning_rate * pull * pull / 2.0);
            let noise = Noise {
                pull: learning_rate * pull,
                deviation: rigl_base::math::sqrt(2.0 * learning_rate * temperature),
                seed: settings.seeds.topology,
                step,
            };
            weights::noise(&mut self.session, &self.sparse, noise)?;
        }
        Ok(())
    }

    /// What an update asks of each sparse parameter.
    fn requests(&mut self, update: &Update) -> Result<Vec<(usize, UpdateRequest)>> {
        let threshold = self.memory.threshold;
        let mut statistics = weights::statistics(&self.session, &self.sparse, &self.targets, threshold)?;
        let layers = self.design.layers();
        statistics.iter_mut().zip(layers).for_each(|(of, layer)| of.start = layer.start);
        let (method, parameters) = (self.design.method(), self.design.graph().parameters());
        let budgets = method.budget(update, &statistics, &mut self.memory);
        let (seed, step) = (self.design.settings().seeds.topology, update.step);
        let learning_rate = self.design.recipe().learning_rate(step);
        let request = |(&parameter, budget): (&usize, LayerBudget)| {
            let of = parameters.get(parameter).ok_or_else(|| Error::internal("no such parameter"))?;
            let name = &of.name;
            let request = UpdateRequest {
                budget,
                drop: method.drop_rule(),
                grow: method.grow_score(),
                stream: growth_stream(seed, name, step),
                grown: Grown {
                    init: method.grown_init(),
                    stream: Stream::new(seed, Purpose::Grown, pair_id(name_id(name), step)),
                    learning_rate,
                },
            };
            Ok((parameter, request))
        };
        self.sparse.iter().zip(budgets).map(request).collect()
    }
}
