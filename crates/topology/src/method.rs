//! The table of methods. A method is a row of values, not a class: what a new one shares with the others it
//! says by naming the same values.
//!
//! A caller asks a row four things and does the rest itself:
//! [`initial`](Method::initial) for the pattern a layer starts from; [`needs`](Method::needs) for what a step must
//! compute; at an update [`budget`](Method::budget), the only place that looks across layers; and for each layer
//! [`begin`](Method::begin), which hands over to [`LayerUpdate`].
//!
//! # How the methods of the literature fit
//!
//! Rows of the table: **dense**, **static** (random and fixed), **SET** (Mocanu et al. 2018) and **RigL** (Evci
//! et al. 2020). The others are not here yet; this is what each would add.
//!
//! | method | row and answers | what would be added |
//! |---|---|---|
//! | SNIP | `static` with another `initial` | an `Initial` by saliency: the caller scores \|w·g\| of one dense batch and [`Pattern::of_largest`] takes each layer's count |
//! | SNFS | `set` with another grow score | a `GrowScore` by momentum; `needs` answers dense gradients at every step; an average of dense gradients per layer as method state, pushed to the [`Collector`](crate::Collector) in place of the gradient. Redistribution: its mean becomes a field of [`LayerStatistics`], and `budget` gives layers different `drop` and `grow`, which [`LayerUpdate`] carries out already |
//! | DeepR | random growth at every step | a hook after the optimiser step (noise; sign changes are dropped); the number of sign changes as a statistic that `budget` reads |
//! | DSR | random growth | a `DropScore` by one magnitude threshold for all layers; the number below it as a statistic; `budget` spreads growth over layers and adapts the threshold, a number of method state |
//! | gradual pruning | magnitude, no growth | an `Initial` with every position active; `budget` with `drop` = active − wanted and `grow` = 0 after a cubic density schedule; [`Method::check`] would let a row drop without growing |
//! | DNW | a new pattern at every step | `needs` answers inactive weights kept and dense gradients; the pattern is [`Pattern::of_largest`] of \|w\| over all weights, so [`LayerUpdate`] has no part in it |
//! | lottery ticket | not a row | a recipe of whoever trains: [`Pattern::of_largest`] of a trained network's \|w\|, original initial values, then `static` or `rigl` |
//! | small-dense | not a row | another network under `dense` |
//! | ITOP | `set` or `rigl` with other schedule values | nothing; [`Explored`](crate::Explored) measures what it is about |
//! | SRigL | `rigl` in another `Structure` | constant fan-in: one selection per output; ablation: scores of whole outputs as a statistic that `budget` reads |
//! | GraNet | `rigl`'s scores | `budget` with `drop` > `grow` after a cubic density schedule |
//! | MEST | another drop score | a `DropScore` \|w\| + λ\|g\|; [`LayerUpdate::begin`] would take the active gradients too |
//! | Top-KAST | a new pattern at intervals | a second, larger pattern per layer for the backward pass, and inactive weights kept: the widest change, in [`Needs`] and in the engine |
//! | AC/DC | magnitude, no score for growth | phases: `budget` grows every position, later drops to the target by magnitude |
//! | N:M, blocks | any row in another `Structure` | selection within groups of M, or by sums of scores over blocks |
//!
//! SET and the static baseline take the optimiser step and update in the same iteration; RigL's update takes the
//! place of the step ([`StepPolicy`]).

use std::borrow::Cow;

use rigl_base::random::{Purpose, Stream, name_id, pair_id};
use rigl_base::{Error, Result, counts};

use crate::filter::nearest;
use crate::layer::Layer;
use crate::names::{Decay, DropScore, GrowScore, GrownInit, Initial, StateHandling, StepPolicy, Structure};
use crate::pattern::Pattern;
use crate::schedule::UpdateSchedule;
use crate::update::{LayerBudget, LayerUpdate};

/// One row of the table: a sparse-training method. A row of one's own is a plain value, checked by
/// [`Method::check`].
///
/// ```
/// use rigl_topology::{GrowScore, Method};
/// // RigL's schedule and step policy with SET's growth.
/// let mine = Method { name: "mine".into(), grow: GrowScore::Random, ..Method::RIGL };
/// mine.check()?;
/// # Ok::<(), rigl_base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// What users write.
    pub name: Cow<'static, str>,
    /// One line on what it does.
    pub summary: Cow<'static, str>,
    /// The pattern a layer starts from.
    pub initial: Initial,
    /// By which score active weights are dropped.
    pub drop: DropScore,
    /// By which score weights are grown.
    pub grow: GrowScore,
    /// Within what weights compete.
    pub structure: Structure,
    /// The value a grown weight starts from.
    pub grown_init: GrownInit,
    /// What becomes of the optimiser's slots.
    pub state: StateHandling,
    /// What happens to the optimiser's step at an update.
    pub step_policy: StepPolicy,
    /// The schedule used where the user gives none.
    pub schedule: ScheduleDefaults,
}

/// Schedule values of a method, independent of a run's length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduleDefaults {
    /// ΔT in steps.
    pub interval: u64,
    /// The step of the first update.
    pub begin: u64,
    /// T_end as a share of all steps, in [0, 1].
    pub end: f64,
    /// α.
    pub drop_fraction: f64,
    /// How α shrinks.
    pub decay: Decay,
}

impl ScheduleDefaults {
    /// The paper's: every 100 steps, from step 0 through three quarters of the run, α = 0.3, cosine.
    pub const PAPER: ScheduleDefaults =
        ScheduleDefaults { interval: 100, begin: 0, end: 0.75, drop_fraction: 0.3, decay: Decay::Cosine };

    /// The schedule of a run of `steps` optimiser steps.
    pub fn for_steps(&self, steps: u64) -> UpdateSchedule {
        UpdateSchedule {
            interval: self.interval,
            begin: self.begin,
            end: (counts::trunc(steps as f64 * self.end) as u64).max(self.begin),
            drop_fraction: self.drop_fraction,
            decay: self.decay,
        }
    }
}

/// Of which weights gradients must be computed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Gradients {
    /// Of active weights.
    Active,
    /// Of all weights, one layer at a time: scored and thrown away.
    Dense,
}

/// What becomes of the values of inactive weights.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Inactive {
    /// They are gone.
    Dropped,
    /// They are kept and may come back.
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Needs {
    /// Of which weights gradients must be computed.
    pub gradients: Gradients,
    /// What becomes of the values of inactive weights.
    pub inactive: Inactive,
    /// What becomes of the optimiser step.
    pub step: OptimizerStep,
    /// Whether the topology is updated.
    pub update: bool,
}

/// What [`Method::budget`] knows of one sparse layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LayerStatistics {
    /// Positions, active or not.
    pub positions: usize,
    /// Active positions.
    pub active: usize,
}

impl LayerStatistics {
    /// The statistics of a layer with this pattern.
    pub fn new(pattern: &Pattern) -> LayerStatistics {
        LayerStatistics { positions: pattern.len(), active: pattern.count() }
    }
}

impl Method {
    /// The dense network.
    pub const DENSE: Method = Method {
        name: Cow::Borrowed("dense"),
        summary: Cow::Borrowed("every weight active, nothing updated"),
        initial: Initial::Dense,
        ..Method::STATIC
    };

    /// A random topology that never changes.
    pub const STATIC: Method = Method {
        name: Cow::Borrowed("static"),
        summary: Cow::Borrowed("a random topology that never changes"),
        initial: Initial::Random,
        drop: DropScore::None,
        grow: GrowScore::None,
        structure: Structure::Unstructured,
        grown_init: GrownInit::Zeros,
        state: StateHandling::Reset,
        step_policy: StepPolicy::After,
        schedule: ScheduleDefaults::PAPER,
    };

    /// Sparse evolutionary training (Mocanu et al., Nature Communications 2018), with RigL's schedule.
    pub const SET: Method = Method {
        name: Cow::Borrowed("set"),
        summary: Cow::Borrowed("drops the smallest weights, grows at random"),
        drop: DropScore::Magnitude,
        grow: GrowScore::Random,
        ..Method::STATIC
    };

    /// "Rigging the Lottery" (Evci et al., ICML 2020).
    pub const RIGL: Method = Method {
        name: Cow::Borrowed("rigl"),
        summary: Cow::Borrowed("drops the smallest weights, grows where the dense gradient is largest"),
        grow: GrowScore::Gradient,
        step_policy: StepPolicy::Replace,
        ..Method::SET
    };

    /// The rows that come with the crate.
    pub const ALL: &'static [Method] = &[Method::DENSE, Method::STATIC, Method::SET, Method::RIGL];

    /// The row called `name`.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) with all names, and the nearest one as hint.
    pub fn find<'a>(methods: &'a [Method], name: &str) -> Result<&'a Method> {
        methods.iter().find(|method| method.name == name).ok_or_else(|| {
            let names: Vec<&str> = methods.iter().map(|method| &*method.name).collect();
            let allowed = names.join("`, `");
            let error = Error::usage(format!("no method is called `{name}`, allowed are `{allowed}`"));
            match nearest(name, names.into_iter()).first() {
                Some(&nearest) => error.hint(nearest),
                None => error,
            }
        })
    }

    /// Checks that the row's values go together.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for a row without name, one that drops without growing or grows
    /// without dropping (counts are constant), and one that updates dense layers.
    pub fn check(&self) -> Result<()> {
        let name = &self.name;
        if name.is_empty() {
            return Err(Error::usage("a method has no name"));
        }
        let (drops, grows) = (self.drop != DropScore::None, self.grow != GrowScore::None);
        if drops != grows {
            let (drop, grow) = (self.drop, self.grow);
            return Err(Error::usage(format!(
                "method `{name}` has `drop` = `{drop}` and `grow` = `{grow}`, allowed are both `none` or neither"
            )));
        }
        if drops && self.initial == Initial::Dense {
            return Err(Error::usage(format!(
                "method `{name}` starts dense, so there is nothing to drop and grow"
            )));
        }
        let end = self.schedule.end;
        if !(0.0..=1.0).contains(&end) {
            return Err(Error::usage(format!(
                "method `{name}` updates through `{end}` of a run, allowed is 0 to 1"
            )));
        }
        UpdateSchedule { end: u64::MAX, ..self.schedule.for_steps(0) }
            .check()
            .map_err(|e| e.context(format!("method `{name}`")))
    }

    /// Whether the method ever changes a topology.
    pub fn updates(&self) -> bool {
        self.drop != DropScore::None || self.grow != GrowScore::None
    }

    /// The pattern that `layer` starts from with the `active` weights that
    /// [`allocate`](crate::allocate) gives it; `None` for a dense layer. Random ones follow from the seed and
    /// the layer's name alone.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if the layer has fewer than `active` weights.
    pub fn initial(&self, layer: &Layer, active: Option<usize>, seed: u64) -> Result<Option<Pattern>> {
        match (self.initial, active) {
            (Initial::Dense, _) | (_, None) => Ok(None),
            (Initial::Random, Some(count)) => {
                let stream = Stream::new(seed, Purpose::Topology, name_id(layer.name()));
                let pattern = Pattern::random(layer.weights(), count, stream);
                pattern.map(Some).map_err(|e| e.context(format!("layer `{}`", layer.short_name())))
            }
        }
    }

    /// What the iteration at `step` needs. `updated` says whether the topology has been updated at this step
    /// already; the caller keeps that, together with the step.
    pub fn needs(&self, schedule: &UpdateSchedule, step: u64, updated: bool) -> Needs {
        let update = self.updates() && !updated && schedule.due(step);
        let dense = update && self.grow == GrowScore::Gradient;
        let skipped = update && self.step_policy == StepPolicy::Replace;
        Needs {
            gradients: if dense { Gradients::Dense } else { Gradients::Active },
            inactive: Inactive::Dropped,
            step: if skipped { OptimizerStep::Skipped } else { OptimizerStep::Taken },
            update,
        }
    }

    /// How many weights each sparse layer drops and grows at `step`: k = trunc(active · fraction) of both, so that
    /// no count changes. The only answer that looks across layers.
    pub fn budget(
        &self,
        schedule: &UpdateSchedule,
        step: u64,
        layers: &[LayerStatistics],
    ) -> Vec<LayerBudget> {
        let fraction = if self.updates() { schedule.fraction(step) } else { 0.0 };
        let replace = |layer: &LayerStatistics| {
            LayerBudget::replace(layer.active, counts::trunc_product(layer.active, fraction))
        };
        layers.iter().map(replace).collect()
    }

    /// Begins the update of one layer by choosing what it drops; see [`LayerUpdate::begin`].
    ///
    /// # Errors
    /// As [`LayerUpdate::begin`].
    pub fn begin(&self, pattern: &Pattern, values: &[f32], budget: LayerBudget) -> Result<LayerUpdate> {
        LayerUpdate::begin(pattern, values, self.drop, budget)
    }
}

/// The stream of random growth of the layer called `name` at `step`: every replica draws the same.
pub fn growth_stream(seed: u64, name: &str, step: u64) -> Stream {
    Stream::new(seed, Purpose::Growth, pair_id(name_id(name), step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::LayerKind;

    fn layer(name: &str) -> Layer {
        Layer::new(name, &[20, 30], LayerKind::Linear, false).unwrap()
    }

    #[test]
    fn every_row_is_consistent_and_found_by_its_name() {
        for method in Method::ALL {
            method.check().unwrap();
            assert_eq!(Method::find(Method::ALL, &method.name).unwrap(), method);
        }
        let error = Method::find(Method::ALL, "rigle").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no method is called `rigle`, allowed are `dense`, `static`, `set`, `rigl`"
        );
        assert_eq!(error.hint_text(), Some("rigl"));
        assert!(Method::find(&[], "rigl").is_err());
    }

    #[test]
    fn the_rows_are_those_of_the_paper() {
        let rows: Vec<_> =
            Method::ALL.iter().map(|m| (m.drop.name(), m.grow.name(), m.step_policy.name())).collect();
        assert_eq!(
            rows,
            [
                ("none", "none", "after"),
                ("none", "none", "after"),
                ("magnitude", "random", "after"),
                ("magnitude", "gradient", "replace"),
            ]
        );
    }

    #[test]
    fn an_update_of_rigl_takes_a_batch_but_no_step() {
        let schedule = ScheduleDefaults::PAPER.for_steps(1000);
        assert_eq!((schedule.interval, schedule.begin, schedule.end), (100, 0, 750));
        let (mut step, mut updated, mut batches) = (0, false, 0);
        let mut updates = Vec::new();
        while step < 1000 {
            let needs = Method::RIGL.needs(&schedule, step, updated);
            assert_eq!(needs.update, needs.gradients == Gradients::Dense);
            assert_eq!(needs.update, needs.step == OptimizerStep::Skipped);
            batches += 1;
            updated = needs.update;
            if needs.update {
                updates.push(step);
            } else {
                step += 1;
            }
        }
        assert_eq!(updates, [0, 100, 200, 300, 400, 500, 600, 700]);
        assert_eq!(batches, 1008);
    }

    #[test]
    fn an_update_of_set_comes_after_the_step_of_the_same_batch() {
        let schedule = ScheduleDefaults::PAPER.for_steps(1000);
        let needs = Method::SET.needs(&schedule, 100, false);
        let expected = Needs {
            gradients: Gradients::Active,
            inactive: Inactive::Dropped,
            step: OptimizerStep::Taken,
            update: true,
        };
        assert_eq!(needs, expected);
        assert_eq!(Method::SET.needs(&schedule, 101, false), Needs { update: false, ..expected });
        // RigL's growth after the step needs the dense gradient of that batch.
        let after = Method { step_policy: StepPolicy::After, ..Method::RIGL };
        assert_eq!(after.needs(&schedule, 100, false), Needs { gradients: Gradients::Dense, ..expected });
    }

    #[test]
    fn static_and_dense_never_update() {
        let schedule = ScheduleDefaults::PAPER.for_steps(1000);
        for method in [Method::STATIC, Method::DENSE] {
            assert!((0..1000).all(|step| !method.needs(&schedule, step, false).update));
            let layers = [LayerStatistics { positions: 50, active: 10 }];
            assert_eq!(method.budget(&schedule, 0, &layers), [LayerBudget::replace(10, 0)]);
        }
    }

    #[test]
    fn a_budget_replaces_the_scheduled_share_of_each_layer() {
        let schedule = UpdateSchedule { decay: Decay::Constant, ..ScheduleDefaults::PAPER.for_steps(1000) };
        let layers =
            [(1000, 100), (50, 15), (9, 3)].map(|(positions, active)| LayerStatistics { positions, active });
        let expected =
            [LayerBudget::replace(100, 29), LayerBudget::replace(15, 4), LayerBudget::replace(3, 0)];
        let schedule = UpdateSchedule { drop_fraction: 0.29, ..schedule };
        assert_eq!(Method::RIGL.budget(&schedule, 100, &layers), expected);
        let half = UpdateSchedule { drop_fraction: 0.5, ..schedule };
        assert_eq!(Method::SET.budget(&half, 100, &layers[1..2]), [LayerBudget::replace(15, 7)]);
    }

    #[test]
    fn initial_patterns_follow_from_seed_and_name() {
        let pattern =
            |method: &Method, name: &str, seed| method.initial(&layer(name), Some(60), seed).unwrap();
        let a = pattern(&Method::RIGL, "fc1.weight", 0).unwrap();
        assert_eq!((a.len(), a.count()), (600, 60));
        assert_eq!(Some(&a), pattern(&Method::STATIC, "fc1.weight", 0).as_ref());
        assert_ne!(Some(&a), pattern(&Method::RIGL, "fc2.weight", 0).as_ref());
        assert_ne!(Some(&a), pattern(&Method::RIGL, "fc1.weight", 1).as_ref());
        assert_eq!(pattern(&Method::DENSE, "fc1.weight", 0), None);
        assert_eq!(Method::RIGL.initial(&layer("fc1.weight"), None, 0).unwrap(), None);
        let error = Method::RIGL.initial(&layer("fc1.weight"), Some(601), 0).unwrap_err();
        assert!(error.to_string().starts_with("layer `fc1`"), "{error}");
    }

    #[test]
    fn random_growth_differs_by_layer_and_step() {
        let first = |name, step| growth_stream(0, name, step).block(0);
        assert_eq!(first("fc1.weight", 100), first("fc1.weight", 100));
        assert_ne!(first("fc1.weight", 100), first("fc1.weight", 200));
        assert_ne!(first("fc1.weight", 100), first("fc2.weight", 100));
    }

    #[test]
    fn rows_whose_values_contradict_each_other_are_refused() {
        let refused = |method: Method, part: &str| {
            let error = method.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(Method { name: "".into(), ..Method::RIGL }, "no name");
        refused(Method { grow: GrowScore::None, ..Method::RIGL }, "`grow` = `none`");
        refused(Method { drop: DropScore::None, ..Method::RIGL }, "`drop` = `none`");
        refused(Method { initial: Initial::Dense, ..Method::RIGL }, "starts dense");
        let schedule = |change: fn(&mut ScheduleDefaults)| {
            let mut method = Method::RIGL;
            change(&mut method.schedule);
            method
        };
        refused(schedule(|s| s.end = 1.5), "`1.5` of a run");
        refused(schedule(|s| s.interval = 0), "method `rigl`: `update-interval`");
        refused(schedule(|s| s.drop_fraction = 30.0), "`drop-fraction` is `30`");
    }
}
