//! The table of methods. A method is a row of values, not a class: what a new one shares with the others it
//! says by naming the same values.
//!
//! A caller asks a row four things and does the rest itself:
//! [`initial`](Method::initial) for the pattern a layer starts from; [`needs`](Method::needs) for what a step must
//! compute; at an update [`budget`](Method::budget), the only place that looks across layers; and for each layer
//! [`begin`](Method::begin), which hands over to [`LayerUpdate`]. Where a row has
//! [`AfterStep::Noise`](crate::AfterStep), the caller adds it after every optimiser step.
//!
//! The methods that come with the crate, and how others would fit: [`crate::rows`].
//!
//! SET, SNFS and the static baseline take the optimiser step and update in the same iteration; RigL's update takes the
//! place of the step ([`StepPolicy`]).

use std::borrow::Cow;

use rigl_base::random::{Purpose, Stream, name_id, pair_id};
use rigl_base::{Error, Result, counts};

use crate::filter::nearest;
use crate::layer::Layer;
use crate::names::{
    AfterStep, Decay, DensityDecay, DropScore, GrowScore, GrownInit, Initial, Redistribution, StateHandling,
    StepPolicy, Structure, UpdateTiming,
};
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
    /// What becomes of inactive weights and of the optimiser's slots.
    pub state: StateHandling,
    /// How the number of active weights shrinks to what the distribution gives.
    pub density_decay: DensityDecay,
    /// How growth is spread over layers.
    pub redistribution: Redistribution,
    /// When updates fall.
    pub update_timing: UpdateTiming,
    /// What happens to active weights after each optimiser step.
    pub after_step: AfterStep,
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
    /// Of all weights, those of all layers at once: to be averaged, stepped with, or scored after the step.
    Kept,
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

impl Method {
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
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for a row without name, one that drops without growing although its
    /// density does not decay, one that updates dense layers, and columns that need others.
    pub fn check(&self) -> Result<()> {
        let name = &self.name;
        let refuse = |problem: String| Err(Error::usage(format!("method `{name}` {problem}")));
        if name.is_empty() {
            return Err(Error::usage("a method has no name"));
        }
        let (drops, grows) = (self.drop != DropScore::None, self.grow != GrowScore::None);
        let decays = self.density_decay != DensityDecay::None;
        let (drop, grow, initial) = (self.drop, self.grow, self.initial);
        if drops != grows && !(drops && decays) {
            return refuse(format!(
                "has `drop` = `{drop}` and `grow` = `{grow}`, allowed are both `none` or neither"
            ));
        }
        if drops && matches!(initial, Initial::Dense | Initial::Narrow) {
            return refuse("starts dense, so there is nothing to drop and grow".into());
        }
        if decays != (initial == Initial::Full) || (decays && drop != DropScore::Magnitude) {
            let decay = self.density_decay;
            return refuse(format!(
                "has `density-decay` = `{decay}`, `initial` = `{initial}` and `drop` = `{drop}`, allowed are `cubic`, \
                 `full` and `magnitude` together, or neither of the first two"
            ));
        }
        let kept = self.state == StateHandling::Kept;
        if kept != (grow == GrowScore::Magnitude) || (kept && drop != DropScore::Magnitude) {
            let state = self.state;
            return refuse(format!(
                "has `state` = `{state}`, `drop` = `{drop}` and `grow` = `{grow}`, allowed are `kept`, `magnitude` \
                 and `magnitude` together, or neither the first nor the last"
            ));
        }
        let (grown_init, after_step) = (self.grown_init, self.after_step);
        if kept && grown_init != GrownInit::Zeros {
            return refuse(format!(
                "has `state` = `kept` and `grown-init` = `{grown_init}`, allowed is `zeros` with it: what grows has a \
                 value already"
            ));
        }
        if after_step != AfterStep::None && drop != DropScore::SignChange {
            return refuse(format!(
                "has `after-step` = `{after_step}` and `drop` = `{drop}`, allowed is `drop` = `sign-change` with it: it pulls \
                 against the sign a weight started with"
            ));
        }
        let redistribution = self.redistribution;
        if redistribution != Redistribution::None && (!grows || decays || kept) {
            return refuse(format!(
                "has `redistribution` = `{redistribution}`, allowed is `none` where nothing is grown, density decays or \
                 inactive weights are kept"
            ));
        }
        if redistribution == Redistribution::Momentum && grow != GrowScore::Momentum {
            return refuse(format!(
                "has `redistribution` = `momentum` and `grow` = `{grow}`, allowed is `grow` = `momentum` with it"
            ));
        }
        let end = self.schedule.end;
        if !(0.0..=1.0).contains(&end) {
            return refuse(format!("updates through `{end}` of a run, allowed is 0 to 1"));
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
    /// [`allocate`](crate::allocate) gives it; `None` for a dense layer, and where the pattern comes of scores
    /// ([`Initial::Saliency`], [`Initial::Magnitude`]): it is then [`Pattern::of_largest`] of these. Random ones
    /// follow from the seed and the layer's name alone.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if the layer has fewer than `active` weights.
    pub fn initial(&self, layer: &Layer, active: Option<usize>, seed: u64) -> Result<Option<Pattern>> {
        let pattern = match (self.initial, active) {
            (Initial::Dense | Initial::Narrow | Initial::Saliency | Initial::Magnitude, _) | (_, None) => {
                return Ok(None);
            }
            (Initial::Full, Some(_)) => Pattern::full(layer.weights()),
            (Initial::Random, Some(count)) => {
                let stream = Stream::new(seed, Purpose::Topology, name_id(layer.name()));
                Pattern::random(layer.weights(), count, stream)
            }
        };
        pattern.map(Some).map_err(|e| e.context(format!("layer `{}`", layer.short_name())))
    }

    /// What the iteration at `step` needs. `updated` says whether the topology has been updated at this step
    /// already; the caller keeps that, together with the step.
    pub fn needs(&self, schedule: &UpdateSchedule, step: u64, updated: bool) -> Needs {
        let update = self.updates() && !updated && self.due(schedule, step);
        let kept = self.state == StateHandling::Kept;
        // An average of gradients is of use while there are updates to come.
        let averaged = self.grow == GrowScore::Momentum && !self.over(schedule, step);
        let by_gradient = self.grow == GrowScore::Gradient || self.grown_init == GrownInit::Gradient;
        // How many positions are to grow must be known before the gradient is computed, and no value of it after.
        let scored = self.grow == GrowScore::Gradient
            && self.grown_init != GrownInit::Gradient
            && self.redistribution == Redistribution::None
            && self.drop == DropScore::Magnitude;
        let gradients = match () {
            () if kept || averaged || (update && by_gradient && !scored) => Gradients::Kept,
            () if update && by_gradient => Gradients::Dense,
            () => Gradients::Active,
        };
        let skipped = update && self.step_policy == StepPolicy::Replace;
        Needs {
            gradients,
            inactive: if kept { Inactive::Kept } else { Inactive::Dropped },
            step: if skipped { OptimizerStep::Skipped } else { OptimizerStep::Taken },
            update,
        }
    }

    /// Whether the schedule has an update at `step`.
    pub fn due(&self, schedule: &UpdateSchedule, step: u64) -> bool {
        match (self.update_timing, self.density_decay) {
            (UpdateTiming::EveryStep, _) => true,
            (UpdateTiming::Scheduled, DensityDecay::None) => schedule.due(step),
            (UpdateTiming::Scheduled, DensityDecay::Cubic) => schedule.due_with_end(step),
        }
    }

    /// Whether no update falls at `step` or after it.
    fn over(&self, schedule: &UpdateSchedule, step: u64) -> bool {
        self.update_timing == UpdateTiming::Scheduled && schedule.last().is_none_or(|last| step > last)
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
            "no method is called `rigle`, allowed are `dense`, `small-dense`, `static`, `snip`, `set`, `snfs`, `rigl`, \
             `pruning`, `deepr`, `dsr`, `dnw`"
        );
        assert_eq!(error.hint_text(), Some("rigl"));
        assert!(Method::find(&[], "rigl").is_err());
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
        for method in [Method::STATIC, Method::SNIP, Method::DENSE, Method::SMALL_DENSE] {
            assert!((0..1000).all(|step| !method.needs(&schedule, step, false).update));
        }
    }

    #[test]
    fn snfs_needs_dense_gradients_until_the_last_update() {
        let schedule = ScheduleDefaults::PAPER.for_steps(1000);
        let gradients = |step| Method::SNFS.needs(&schedule, step, false).gradients;
        assert!((0..=700).all(|step| gradients(step) == Gradients::Kept));
        assert!((701..1000).all(|step| gradients(step) == Gradients::Active));
    }

    #[test]
    fn dnw_keeps_inactive_weights_and_needs_their_gradients_at_every_step() {
        let schedule = ScheduleDefaults::PAPER.for_steps(1000);
        for step in [0, 1, 999] {
            let needs = Method::DNW.needs(&schedule, step, false);
            let expected = Needs {
                gradients: Gradients::Kept,
                inactive: Inactive::Kept,
                step: OptimizerStep::Taken,
                update: true,
            };
            assert_eq!(needs, expected);
        }
        assert!(Method::DEEPR.needs(&schedule, 999, false).update);
        assert_eq!(Method::DEEPR.needs(&schedule, 999, false).gradients, Gradients::Active);
    }

    #[test]
    fn pruning_updates_at_the_end_too() {
        let schedule = ScheduleDefaults::PAPER.for_steps(400);
        let due = |method: Method| (0..400).filter(|&s| method.due(&schedule, s)).collect::<Vec<_>>();
        assert_eq!(due(Method::PRUNING), [0, 100, 200, 300]);
        assert_eq!(due(Method::SET), [0, 100, 200]);
    }

    #[test]
    fn growth_that_cannot_be_scored_on_the_way_keeps_the_dense_gradient() {
        let schedule = ScheduleDefaults::PAPER.for_steps(1000);
        let gradients = |method: &Method| method.needs(&schedule, 100, false).gradients;
        assert_eq!(gradients(&Method { grown_init: GrownInit::Gradient, ..Method::RIGL }), Gradients::Kept);
        assert_eq!(gradients(&Method { grown_init: GrownInit::Gradient, ..Method::SET }), Gradients::Kept);
        assert_eq!(gradients(&Method { grown_init: GrownInit::Redraw, ..Method::RIGL }), Gradients::Dense);
        assert_eq!(gradients(&Method { grow: GrowScore::Gradient, ..Method::DSR }), Gradients::Kept);
        assert_eq!(gradients(&Method::SET), Gradients::Active);
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
        for method in [Method::DENSE, Method::SMALL_DENSE, Method::SNIP, Method::DNW] {
            assert_eq!(pattern(&method, "fc1.weight", 0), None);
        }
        assert_eq!(pattern(&Method::PRUNING, "fc1.weight", 0).unwrap().count(), 600);
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
        refused(
            Method { initial: Initial::Full, ..Method::RIGL },
            "`density-decay` = `none`, `initial` = `full`",
        );
        refused(Method { initial: Initial::Random, ..Method::PRUNING }, "`density-decay` = `cubic`");
        refused(Method { drop: DropScore::Threshold, ..Method::PRUNING }, "`drop` = `threshold`");
        refused(Method { state: StateHandling::Kept, ..Method::RIGL }, "`state` = `kept`");
        refused(Method { grow: GrowScore::Magnitude, ..Method::RIGL }, "`grow` = `magnitude`");
        refused(
            Method { redistribution: Redistribution::Survivors, ..Method::STATIC },
            "where nothing is grown",
        );
        refused(
            Method { redistribution: Redistribution::Momentum, ..Method::RIGL },
            "`grow` = `momentum` with it",
        );
        refused(Method { grown_init: GrownInit::Normal, ..Method::DNW }, "`grown-init` = `normal`");
        for method in [Method::DENSE, Method::STATIC, Method::SET, Method::DNW] {
            refused(Method { after_step: AfterStep::Noise, ..method }, "`drop` = `sign-change` with it");
        }
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
