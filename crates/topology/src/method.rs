//! The table of methods. A method is a row of values, not a class: what a new one shares with the others it
//! says by naming the same values. What would contradict itself cannot be written: a dense network has no updates,
//! an update that drops says what it grows, and parameters stand where they are read.
//!
//! A caller asks a row four things and does the rest itself:
//! [`initial`](Method::initial) for the pattern a layer starts from; [`Updates`](crate::Updates) for when updates fall and
//! what a step must compute; at an update [`budget`](Method::budget), the only place that looks across layers; and for each layer
//! [`LayerUpdate`](crate::LayerUpdate), by [`drop_rule`](Method::drop_rule) and [`grow_score`](Method::grow_score).
//! Where a row has [`Noise`], the caller adds it after every optimiser step.
//!
//! The methods that come with the crate, and how others would fit: [`crate::rows`].
//!
//! SET, SNFS and the static baseline take the optimiser step and update in the same iteration; RigL's update takes the
//! place of the step ([`StepPolicy`]).

use std::borrow::Cow;

use rigl_base::random::{Purpose, Stream, name_id, pair_id};
use rigl_base::{Error, Result, counts};

use crate::drop_rule::{DropRule, Noise};
use crate::layer::Layer;
use crate::names::{Decay, GrownInit, NarrowTo, Redistribution, StepPolicy};
use crate::pattern::Pattern;
use crate::schedule::UpdateSchedule;
use crate::score::{GrowScore, Score};
use crate::transition::needs_gradient;

/// One row of the table: a sparse-training method. A row of one's own is a plain value.
///
/// ```
/// use rigl_topology::{DropRule, Dynamics, GrowRule, Method, StepPolicy, Topology, UpdateRule};
/// // RigL's step policy with SET's growth.
/// let rule = UpdateRule::replace(DropRule::Magnitude, GrowRule::RANDOM);
/// let dynamics = Dynamics { step_policy: StepPolicy::Replace, ..Dynamics::new(rule) };
/// let mine = Method { name: "mine".into(), topology: Topology::dynamic(dynamics), ..Method::RIGL };
/// mine.check()?;
/// # Ok::<(), rigl_base::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// What users write.
    pub name: Cow<'static, str>,
    /// One line on what it does.
    pub summary: Cow<'static, str>,
    /// Which weights there are, and how that changes.
    pub topology: Topology,
    /// The schedule used where the user gives none; without, that of the recipe.
    pub schedule: Option<ScheduleDefaults>,
}

/// Which weights there are, and how that changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Topology {
    /// Every layer is dense and stays so.
    Dense,
    /// Every layer is dense, in a network whose layers are narrowed until it is as large as the sparse one.
    Narrow(NarrowTo),
    /// Static sparse training: layers keep the pattern that they start from.
    Static(Start),
    /// Dynamic sparse training: updates change the patterns that layers start from.
    Dynamic(Start, Dynamics),
}

impl Topology {
    /// Dynamic sparse training from random patterns.
    pub const fn dynamic(dynamics: Dynamics) -> Topology {
        Topology::Dynamic(Start::Random, dynamics)
    }
}

/// The patterns that layers start from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// As many positions as the distribution gives, at random.
    Random,
    /// Those of largest |w · ∂L/∂w| on one batch of the dense network.
    Saliency,
    /// Those of largest initial |w|.
    Magnitude,
    /// Those that the caller has, of a finished run.
    Given,
}

/// How patterns change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dynamics {
    /// What an update does.
    pub rule: UpdateRule,
    /// Whether updates fall at every step of the run, in place of every ΔT-th between begin and end.
    pub every_step: bool,
    /// What happens to the optimiser's step at an update.
    pub step_policy: StepPolicy,
}

impl Dynamics {
    /// This change on the schedule, after the optimiser's step.
    pub const fn new(rule: UpdateRule) -> Dynamics {
        Dynamics { rule, every_step: false, step_policy: StepPolicy::After }
    }
}

/// What an update does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateRule {
    /// As many weights are grown as are dropped.
    Replace {
        /// What is dropped.
        drop: DropRule,
        /// What is grown.
        grow: GrowRule,
        /// How growth is spread over layers; without, every layer grows what it dropped. That by momentum needs growth
        /// by momentum.
        redistribution: Option<Redistribution>,
    },
    /// The smallest weights are dropped, ever fewer, until a layer has as many as the distribution gives it: at x from 0
    /// to 1 over the updates its sparsity is s + (s₀ − s)(1 − x)³ (Zhu & Gupta, 2017).
    Prune {
        /// The sparsity that the network starts with, spread over layers as the distribution says, in [0, 1); 0 for all
        /// weights. s₀ of a layer follows from it.
        initial_sparsity: f64,
        /// What is grown beside; the share of weights that the schedule says is dropped for it (GraNet).
        grow: Option<GrowRule>,
    },
    /// Inactive weights are kept with their slots, and the dense gradient steps them like active ones: those of largest
    /// |w| of all are active next (DNW).
    Compete,
}

impl UpdateRule {
    /// What is dropped is grown, by every layer for itself.
    pub const fn replace(drop: DropRule, grow: GrowRule) -> UpdateRule {
        UpdateRule::Replace { drop, grow, redistribution: None }
    }
}

/// Which weights an update grows, and the values they start from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GrowRule {
    /// Uniformly at random.
    Random {
        /// The values.
        init: GrownInit,
    },
    /// Those of largest |∂L/∂w| on this batch, without the L2 term.
    Gradient {
        /// The values.
        init: GrownInit,
    },
    /// Those that score most by a program's own score.
    Own {
        /// The score.
        score: Score,
        /// The values.
        init: GrownInit,
    },
    /// Those where an average of dense gradients over all steps so far is largest.
    Momentum {
        /// The share of the average that each step keeps.
        average: f64,
        /// The values.
        init: GrownInit,
    },
}

impl GrowRule {
    /// By a score of one's own, from 0.
    pub const fn own(score: Score) -> GrowRule {
        GrowRule::Own { score, init: GrownInit::Zeros }
    }

    /// At random, from 0.
    pub const RANDOM: GrowRule = GrowRule::Random { init: GrownInit::Zeros };
    /// By gradient, from 0.
    pub const GRADIENT: GrowRule = GrowRule::Gradient { init: GrownInit::Zeros };
    /// By averages of which each step keeps nine tenths, from 0.
    pub const MOMENTUM: GrowRule = GrowRule::Momentum { average: 0.9, init: GrownInit::Zeros };

    /// The values that grown weights start from.
    pub fn init(self) -> GrownInit {
        match self {
            GrowRule::Random { init }
            | GrowRule::Gradient { init }
            | GrowRule::Own { init, .. }
            | GrowRule::Momentum { init, .. } => init,
        }
    }
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
            end: counts::trunc(steps as f64 * self.end) as u64,
            drop_fraction: self.drop_fraction,
            decay: self.decay,
        }
    }
}

/// What a method remembers from one update to the next, besides what the engine keeps per weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MethodState {
    /// The magnitude below which weights are dropped by [`DropRule::Threshold`].
    pub threshold: f64,
}

impl Default for MethodState {
    /// A threshold of 10⁻³, from which DSR starts.
    fn default() -> MethodState {
        MethodState { threshold: 1e-3 }
    }
}

impl Method {
    /// Checks what the types leave open.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for a row without name, growth shared out by an average that is not kept, an
    /// initial sparsity or a schedule that is none.
    pub fn check(&self) -> Result<()> {
        let name = &self.name;
        if name.is_empty() {
            return Err(Error::usage("a method has no name"));
        }
        if let Some(UpdateRule::Replace { grow, redistribution: Some(Redistribution::Momentum), .. }) =
            self.rule()
            && !matches!(grow, GrowRule::Momentum { .. })
        {
            return Err(Error::usage(format!(
                "method `{name}` shares growth out by momentum, which needs growth by momentum"
            )));
        }
        if let Some(sparsity) = self.initial_sparsity().filter(|sparsity| !(0.0..1.0).contains(sparsity)) {
            return Err(Error::usage(format!(
                "method `{name}` starts at sparsity `{sparsity}`, allowed is 0 to below 1"
            )));
        }
        let Some(schedule) = &self.schedule else { return Ok(()) };
        let end = schedule.end;
        if !(end > 0.0 && end <= 1.0) {
            return Err(Error::usage(format!(
                "method `{name}` updates through `{end}` of a run, allowed is above 0 and up to 1"
            )));
        }
        schedule.for_steps(0).check().map_err(|e| e.context(format!("method `{name}`")))
    }

    /// Whether every layer is dense and stays so.
    pub fn is_dense(&self) -> bool {
        match self.topology {
            Topology::Dense | Topology::Narrow(_) => true,
            Topology::Static(_) | Topology::Dynamic(..) => false,
        }
    }

    /// The patterns that layers start from; `None` where they are dense and stay so.
    pub fn start(&self) -> Option<Start> {
        match self.topology {
            Topology::Dense | Topology::Narrow(_) => None,
            Topology::Static(start) | Topology::Dynamic(start, _) => Some(start),
        }
    }

    /// The same method from other patterns, where it has any.
    #[must_use]
    pub fn starting(&self, start: Start) -> Method {
        let topology = match self.topology {
            dense @ (Topology::Dense | Topology::Narrow(_)) => dense,
            Topology::Static(_) => Topology::Static(start),
            Topology::Dynamic(_, dynamics) => Topology::Dynamic(start, dynamics),
        };
        Method { topology, ..self.clone() }
    }

    /// How patterns change, if they do.
    pub fn dynamics(&self) -> Option<&Dynamics> {
        match &self.topology {
            Topology::Dynamic(_, dynamics) => Some(dynamics),
            Topology::Dense | Topology::Narrow(_) | Topology::Static(_) => None,
        }
    }

    /// What an update does, if there are any.
    pub fn rule(&self) -> Option<UpdateRule> {
        self.dynamics().map(|dynamics| dynamics.rule)
    }

    /// Whether the method ever changes a topology.
    pub fn updates(&self) -> bool {
        self.dynamics().is_some()
    }

    /// Whether updates fall at every step of the run.
    pub fn every_step(&self) -> bool {
        self.dynamics().is_some_and(|dynamics| dynamics.every_step)
    }

    /// Whether layers start with more weights than the distribution gives them, and updates leave ever fewer.
    pub fn prunes(&self) -> bool {
        self.initial_sparsity().is_some()
    }

    /// The sparsity that the network starts with, where that is another than it ends with.
    pub fn initial_sparsity(&self) -> Option<f64> {
        match self.rule()? {
            UpdateRule::Prune { initial_sparsity, .. } => Some(initial_sparsity),
            UpdateRule::Replace { .. } | UpdateRule::Compete => None,
        }
    }

    /// Whether inactive weights are kept with their slots.
    pub fn keeps_inactive(&self) -> bool {
        matches!(self.rule(), Some(UpdateRule::Compete))
    }

    /// Whether an update looks at the gradient of active weights ([`UpdateRequest::needs_gradient`](crate::UpdateRequest)).
    pub fn updates_need_gradient(&self) -> bool {
        needs_gradient(self.drop_rule(), self.grow_score())
    }

    /// Whether the sign that each active weight started with is kept.
    pub fn keeps_signs(&self) -> bool {
        self.drop_rule().keeps_signs()
    }

    /// Which weights updates grow; `None` where they grow none or let all weights compete.
    pub fn grow(&self) -> Option<GrowRule> {
        match self.rule()? {
            UpdateRule::Replace { grow, .. } => Some(grow),
            UpdateRule::Prune { grow, .. } => grow,
            UpdateRule::Compete => None,
        }
    }

    /// The share of the average of dense gradients that each step keeps, where there is one.
    pub fn average(&self) -> Option<f64> {
        match self.grow()? {
            GrowRule::Momentum { average, .. } => Some(average),
            GrowRule::Random { .. } | GrowRule::Gradient { .. } | GrowRule::Own { .. } => None,
        }
    }

    /// What is done to active weights after each optimiser step, if anything.
    pub fn noise(&self) -> Option<Noise> {
        self.drop_rule().noise()
    }

    /// Which active weights updates drop: the smallest, where the rule does not say.
    pub fn drop_rule(&self) -> DropRule {
        match self.rule() {
            Some(UpdateRule::Replace { drop, .. }) => drop,
            Some(UpdateRule::Prune { .. } | UpdateRule::Compete) | None => DropRule::Magnitude,
        }
    }

    /// The scores of a program's own by which it drops and grows.
    pub fn own_scores(&self) -> impl Iterator<Item = Score> + Clone {
        let drop = match self.drop_rule() {
            DropRule::Own(score) => Some(score),
            _ => None,
        };
        let grow = match self.grow() {
            Some(GrowRule::Own { score, .. }) => Some(score),
            _ => None,
        };
        drop.into_iter().chain(grow)
    }

    /// By which score a layer's update grows weights.
    pub fn grow_score(&self) -> GrowScore {
        match self.grow() {
            None if self.keeps_inactive() => GrowScore::Magnitude,
            None => GrowScore::None,
            Some(GrowRule::Random { .. }) => GrowScore::Random,
            Some(GrowRule::Gradient { .. }) => GrowScore::Gradient,
            Some(GrowRule::Own { score, .. }) => GrowScore::Own(score),
            Some(GrowRule::Momentum { .. }) => GrowScore::Momentum,
        }
    }

    /// The value that a grown weight starts from, where it has none already.
    pub fn grown_init(&self) -> GrownInit {
        self.grow().map_or(GrownInit::Zeros, GrowRule::init)
    }

    /// What the method remembers at the beginning.
    pub fn state(&self) -> MethodState {
        let threshold = self.drop_rule().threshold();
        threshold.map_or_else(MethodState::default, |threshold| MethodState { threshold })
    }

    /// The pattern that `layer` starts from with the `active` weights that
    /// [`allocate`](crate::allocate) gives it, at the initial sparsity if there is one; `None` for a dense layer, and where the pattern comes of scores
    /// ([`Start::Saliency`], [`Start::Magnitude`]: it is then [`Pattern::of_largest`] of these) or of the caller. Random
    /// ones follow from the seed and the layer's name alone.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if the layer has fewer than `active` weights.
    pub fn initial(&self, layer: &Layer, active: Option<usize>, seed: u64) -> Result<Option<Pattern>> {
        let pattern = match (self.start(), active) {
            (None | Some(Start::Saliency | Start::Magnitude | Start::Given), _) | (_, None) => {
                return Ok(None);
            }
            (Some(Start::Random), Some(count)) if count == layer.weights() => Pattern::full(count),
            (Some(Start::Random), Some(count)) => {
                let stream = Stream::new(seed, Purpose::Topology, name_id(layer.name()));
                Pattern::random(layer.weights(), count, stream)
            }
        };
        pattern.map(Some).map_err(|e| e.context(format!("layer `{}`", layer.short_name())))
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
    fn every_row_passes_its_check_and_has_a_name_of_its_own() {
        for (i, method) in Method::ALL.iter().enumerate() {
            method.check().unwrap();
            assert!(Method::ALL[..i].iter().all(|other| other.name != method.name), "{}", method.name);
        }
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
        let full = Method::PRUNING.initial(&layer("fc1.weight"), Some(600), 0).unwrap().unwrap();
        assert_eq!((full.count(), pattern(&Method::PRUNING, "fc1.weight", 0)), (600, Some(a)));
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
    fn a_method_remembers_the_threshold_that_it_starts_from() {
        let rule = UpdateRule::replace(DropRule::Threshold { start: 0.5 }, GrowRule::RANDOM);
        let method = Method { topology: Topology::dynamic(Dynamics::new(rule)), ..Method::DSR };
        assert_eq!((method.state().threshold, Method::DSR.state().threshold), (0.5, 1e-3));
    }

    #[test]
    fn rows_that_types_do_not_exclude_are_refused() {
        let refused = |method: Method, part: &str| {
            let error = method.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(Method { name: "".into(), ..Method::RIGL }, "no name");
        let by_momentum = |grow| {
            let (drop, redistribution) = (DropRule::Magnitude, Some(Redistribution::Momentum));
            let rule = UpdateRule::Replace { drop, grow, redistribution };
            Method { topology: Topology::dynamic(Dynamics::new(rule)), ..Method::SET }
        };
        refused(by_momentum(GrowRule::GRADIENT), "needs growth by momentum");
        by_momentum(GrowRule::MOMENTUM).check().unwrap();
        for initial_sparsity in [-0.1, 1.0, f64::NAN] {
            let rule = UpdateRule::Prune { initial_sparsity, grow: None };
            let method = Method { topology: Topology::dynamic(Dynamics::new(rule)), ..Method::PRUNING };
            refused(method, "starts at sparsity");
        }
        let schedule = |change: fn(&mut ScheduleDefaults)| {
            let mut schedule = ScheduleDefaults::PAPER;
            change(&mut schedule);
            Method { schedule: Some(schedule), ..Method::RIGL }
        };
        refused(schedule(|s| s.end = 1.5), "`1.5` of a run");
        refused(schedule(|s| s.interval = 0), "method `rigl`: `update-interval`");
        refused(schedule(|s| s.drop_fraction = 30.0), "`drop-fraction` is `30`");
    }
}
