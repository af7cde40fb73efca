//! The one timeline of a run's topology updates: at which steps they fall, how much each of them replaces, how far
//! density has decayed by then, and what the batches at them and between them need. Training, cost, planned memory and
//! messages all ask it.

use std::ops::Range;

use rigl_base::math;

use crate::method::{GrowRule, Method, UpdateRule};
use crate::names::{Decay, GrownInit, StepPolicy};
use crate::schedule::UpdateSchedule;

/// Of which weights gradients must be computed; later ones hold what earlier ones do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Gradients {
    /// Of active weights.
    Active,
    /// Of all weights, one layer at a time: scored and thrown away.
    Dense,
    /// Of all weights, those of all layers at once: to be averaged, stepped with, or scored after the step.
    Kept,
}

/// What becomes of the optimiser step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OptimizerStep {
    /// It is taken, and the step counter advances.
    Taken,
    /// It is skipped, and the step counter stays: the next batch runs this step.
    Skipped,
}

/// What one iteration must compute and do: first the optimiser step, if taken, then the update, if due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needs {
    /// Of which weights gradients must be computed.
    pub gradients: Gradients,
    /// What becomes of the optimiser step.
    pub step: OptimizerStep,
    /// The topology update that is due.
    pub update: Option<Update>,
}

/// A topology update of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Its number among the updates of the run, from 0.
    pub number: u64,
    /// The step at which it falls.
    pub step: u64,
    /// The share of a layer's active weights that it replaces.
    pub fraction: f64,
    /// Where density decays: what is left, after it, of the way from the initial sparsity s₀ of a layer to its target s,
    /// from 1 to 0. It then has s + (s₀ − s) · excess.
    pub excess: Option<f64>,
    /// Whether no other comes after it.
    pub last: bool,
}

/// Steps over which updates fall evenly, or not at all, and every batch of a kind needs the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// The steps.
    pub steps: Range<u64>,
    /// Updates among them: the first falls at the first step, where there is any.
    pub updates: u64,
    /// What becomes of the optimiser step at an update.
    pub step: OptimizerStep,
    /// Gradients that the batches of updates need.
    pub at_updates: Gradients,
    /// Gradients that all other batches need.
    pub between: Gradients,
    /// [`Update::excess`] after the first of the updates; 1 before there was any.
    pub excess: Option<f64>,
}

impl Phase {
    /// Batches: one for each step, and one for each update that takes the place of a step.
    pub fn batches(&self) -> u64 {
        let besides = if self.step == OptimizerStep::Skipped { self.updates } else { 0 };
        self.steps.end - self.steps.start + besides
    }
}

/// A density that decays is followed through so many phases; of more updates, several make one phase.
const PHASES: u64 = 100_000;

/// The topology updates of a run. The same method, schedule and number of steps give the same timeline.
///
/// ```
/// use rigl_topology::{Method, ScheduleDefaults, Updates};
/// let updates = Updates::new(&Method::RIGL, ScheduleDefaults::PAPER.for_steps(1000), 1000);
/// assert_eq!((updates.count(), updates.last()), (8, Some(700)));
/// assert_eq!(updates.at(200).map(|update| update.number), Some(2));
/// assert_eq!(updates.at(201), None);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Updates {
    schedule: UpdateSchedule,
    steps: u64,
    /// Step of the first update, steps from each to the next, and how many there are.
    first: u64,
    interval: u64,
    count: u64,
    /// The step from which on a decaying density has reached its target.
    settled: Option<u64>,
    at_updates: Gradients,
    while_updating: Gradients,
    afterwards: Gradients,
    step: OptimizerStep,
}

impl Updates {
    /// The updates of a run of `steps` optimiser steps by this method.
    ///
    /// They fall at begin + i · ΔT before the end; where density decays, at the end too; at every step of the run where
    /// the method says so, and never where it neither drops nor grows.
    pub fn new(method: &Method, schedule: UpdateSchedule, steps: u64) -> Updates {
        let UpdateSchedule { begin, end, .. } = schedule;
        let spacing = if method.every_step() { 1 } else { schedule.interval.max(1) };
        let (first, interval, limit) = match method.dynamics() {
            None => (0, 1, 0),
            Some(dynamics) if dynamics.every_step => (0, spacing, steps),
            Some(_) if method.prunes() => (begin, spacing, end.saturating_add(1)),
            Some(_) => (begin, spacing, end),
        };
        let count = limit.min(steps).saturating_sub(first).div_ceil(interval);
        let span = end.saturating_sub(begin);
        let kept = if method.keeps_inactive() { Gradients::Kept } else { Gradients::Active };
        // An average of gradients is of use while there are updates to come.
        let averaged = method.average().is_some() && count > 0;
        let skipped = method.dynamics().is_some_and(|dynamics| dynamics.step_policy == StepPolicy::Replace);
        Updates {
            schedule,
            steps,
            first,
            interval,
            count,
            settled: method.prunes().then_some(begin + span - span % spacing),
            at_updates: of_growth(method).max(kept),
            while_updating: if averaged { Gradients::Kept } else { kept },
            afterwards: kept,
            step: if skipped { OptimizerStep::Skipped } else { OptimizerStep::Taken },
        }
    }

    /// The numbers it was made from.
    pub fn schedule(&self) -> &UpdateSchedule {
        &self.schedule
    }

    /// How many updates fall into the run.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The step of the first update, if there is any.
    pub fn first(&self) -> Option<u64> {
        (self.count > 0).then_some(self.first)
    }

    /// The step of the last update, if there is any.
    pub fn last(&self) -> Option<u64> {
        self.count.checked_sub(1).map(|number| self.step_of(number))
    }

    /// Steps from one update to the next.
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// The step from which on a decaying density has reached its target, which may lie beyond the run; `None` where
    /// density does not decay.
    pub fn settled(&self) -> Option<u64> {
        self.settled
    }

    /// The most that any batch of the run needs.
    pub fn gradients(&self) -> Gradients {
        if self.count > 0 { self.at_updates.max(self.while_updating) } else { self.afterwards }
    }

    /// The update of this number, counted from 0.
    pub fn numbered(&self, number: u64) -> Option<Update> {
        (number < self.count).then(|| self.update(number))
    }

    /// The update that falls at `step`.
    pub fn at(&self, step: u64) -> Option<Update> {
        let since = step.checked_sub(self.first)?;
        let number = since / self.interval;
        (since.is_multiple_of(self.interval) && number < self.count).then(|| self.update(number))
    }

    /// What the batch at `step` needs. `updated` says whether the topology has been updated at this step already; the
    /// caller keeps that, together with the step.
    pub fn needs(&self, step: u64, updated: bool) -> Needs {
        let update = if updated { None } else { self.at(step) };
        let gradients = match self.last() {
            Some(last) if step < last || (step == last && !updated) => self.while_updating,
            _ => self.afterwards,
        };
        match update {
            None => Needs { gradients, step: OptimizerStep::Taken, update },
            Some(_) => Needs { gradients: gradients.max(self.at_updates), step: self.step, update },
        }
    }

    /// How many updates are done once so many steps are; `updated` says that the one that takes the place of the next step
    /// is done too. `None` where there is no such update.
    pub fn done(&self, step: u64, updated: bool) -> Option<u64> {
        let before = step.saturating_sub(self.first).div_ceil(self.interval).min(self.count);
        match updated {
            false => Some(before),
            true => (self.step == OptimizerStep::Skipped && self.at(step).is_some()).then_some(before + 1),
        }
    }

    /// Batches that so many steps and updates take.
    pub fn batches(&self, steps: u64, updates: u64) -> u64 {
        let besides = if self.step == OptimizerStep::Skipped { updates } else { 0 };
        steps.saturating_add(besides)
    }

    /// The run in phases, in order. A density that decays over more than 100,000 updates is told more coarsely: a phase
    /// then holds several, with what the first of them leaves.
    pub fn phases(&self) -> impl Iterator<Item = Phase> {
        let before = (self.count == 0 || self.first > 0).then(|| Phase {
            steps: 0..self.first().unwrap_or(self.steps),
            updates: 0,
            between: if self.count > 0 { self.while_updating } else { self.afterwards },
            excess: self.settled.map(|_| 1.0),
            ..self.phase(0..0)
        });
        let mut number = 0;
        let rest = std::iter::from_fn(move || {
            let begin = (number < self.count).then_some(number)?;
            number += self.alike(begin);
            Some(self.phase(begin..number))
        });
        before.into_iter().chain(rest)
    }

    /// The phase that begins with these updates.
    fn phase(&self, updates: Range<u64>) -> Phase {
        let last = updates.end >= self.count;
        Phase {
            steps: self.step_of(updates.start)..if last { self.steps } else { self.step_of(updates.end) },
            updates: updates.end - updates.start,
            step: self.step,
            at_updates: self.gradients(),
            between: if last { self.afterwards } else { self.while_updating },
            excess: self.excess(self.step_of(updates.start)),
        }
    }

    /// How many updates from this one on leave the same, and are followed by batches that need the same.
    fn alike(&self, number: u64) -> u64 {
        // The last one stands alone: after it fewer gradients may be needed.
        let others = (self.count - 1 - number).max(1);
        let step = self.step_of(number);
        // Updates up to and with this step, or before it.
        let through = |limit: u64| (limit - step) / self.interval + 1;
        let until = |limit: u64| (limit - step).div_ceil(self.interval);
        match self.settled {
            Some(settled) if step < settled => {
                let alike = match step <= self.schedule.begin {
                    true => through(self.schedule.begin),
                    false => self.count.div_ceil(PHASES),
                };
                alike.min(until(settled)).min(others)
            }
            _ => others,
        }
    }

    fn step_of(&self, number: u64) -> u64 {
        self.first + number * self.interval
    }

    fn update(&self, number: u64) -> Update {
        let step = self.step_of(number);
        Update {
            number,
            step,
            fraction: self.fraction(step),
            excess: self.excess(step),
            last: number + 1 == self.count,
        }
    }

    /// The share of active weights that is replaced at `step`: with x = (step − begin)/(end − begin), α/2 · (1 + cos πx),
    /// α, α(1 − x) or α(1 − x)³ (RigL, §3, "Update schedule"). 0 outside begin ≤ step < end.
    fn fraction(&self, step: u64) -> f64 {
        let UpdateSchedule { begin, end, drop_fraction, decay, .. } = self.schedule;
        if !(begin..end).contains(&step) {
            return 0.0;
        }
        let x = (step - begin) as f64 / (end - begin) as f64;
        let left = 1.0 - x;
        drop_fraction
            * match decay {
                Decay::Cosine => 0.5 * (1.0 + math::cos(math::PI * x)),
                Decay::Constant => 1.0,
                Decay::Linear => left,
                Decay::Cubic => left * left * left,
            }
    }

    /// [`Update::excess`]: (1 − x)³, where x goes from 0 at begin to 1 at the last update (Zhu & Gupta, 2017,
    /// equation 1).
    fn excess(&self, step: u64) -> Option<f64> {
        let (settled, begin) = (self.settled?, self.schedule.begin);
        if step >= settled {
            return Some(0.0);
        }
        if step <= begin {
            return Some(1.0);
        }
        let left = (settled - step) as f64 / (settled - begin) as f64;
        Some(left * left * left)
    }
}

/// Of which weights an update of this method needs gradients.
fn of_growth(method: &Method) -> Gradients {
    let by_gradient = matches!(method.grow(), Some(GrowRule::Gradient { .. } | GrowRule::Own { .. }));
    if !by_gradient && method.grown_init() != GrownInit::Gradient {
        return Gradients::Active;
    }
    // Scored while it is computed: how many positions are to grow must be known before, and no value of it after.
    let known = match method.rule() {
        Some(UpdateRule::Replace { drop, redistribution, .. }) => {
            drop.by_fraction() && redistribution.is_none()
        }
        Some(UpdateRule::Prune { .. }) => true,
        Some(UpdateRule::Compete) | None => false,
    };
    match known && by_gradient && method.grown_init() != GrownInit::Gradient {
        true => Gradients::Dense,
        false => Gradients::Kept,
    }
}

#[cfg(test)]
mod tests;
