//! The rows that come with the crate, and how the rest of the literature would fit.
//!
//! | method | what would be added to the table |
//! |---|---|
//! | lottery ticket | not a row: [`Pattern::of_largest`](crate::Pattern::of_largest) of a trained network's \|w\|, original initial values, then `static` or `rigl` |
//! | GraNet | nothing: `pruning` with `grow` = `gradient` |
//! | ITOP | nothing: `set` or `rigl` with other schedule values; [`Explored`](crate::Explored) measures what it is about |
//! | SRigL | `rigl` in another `Structure`: constant fan-in is one selection per output; ablation is a statistic of whole outputs that `budget` reads |
//! | MEST | a `DropScore` \|w\| + λ\|g\|; [`LayerUpdate::begin`](crate::LayerUpdate::begin) would take the active gradients too |
//! | Top-KAST | like `dnw`, with a second, larger pattern per layer for the backward pass: the widest change, in [`Needs`](crate::Needs) and in the engine |
//! | AC/DC | phases: `budget` grows every position, later drops to the target by magnitude |
//! | N:M, blocks | any row in another `Structure`: selection within groups of M, or by sums of scores over blocks |

use std::borrow::Cow;

use crate::method::{Method, ScheduleDefaults};
use crate::names::{
    AfterStep, DensityDecay, DropScore, GrowScore, GrownInit, Initial, Redistribution, StateHandling,
    StepPolicy, Structure, UpdateTiming,
};

impl Method {
    /// The dense network.
    pub const DENSE: Method = Method {
        name: Cow::Borrowed("dense"),
        summary: Cow::Borrowed("every weight active, nothing updated"),
        initial: Initial::Dense,
        ..Method::STATIC
    };

    /// A dense network, narrowed until it has as many weights as the sparse one (RigL, §4).
    pub const SMALL_DENSE: Method = Method {
        name: Cow::Borrowed("small-dense"),
        summary: Cow::Borrowed("a narrower dense network with as many weights as the sparse one"),
        initial: Initial::Narrow,
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
        density_decay: DensityDecay::None,
        redistribution: Redistribution::None,
        update_timing: UpdateTiming::Scheduled,
        after_step: AfterStep::None,
        step_policy: StepPolicy::After,
        schedule: ScheduleDefaults::PAPER,
    };

    /// Single-shot network pruning (Lee et al., ICLR 2019), within each layer at the distribution's sparsity.
    pub const SNIP: Method = Method {
        name: Cow::Borrowed("snip"),
        summary: Cow::Borrowed("prunes once, before training, by |w · gradient| of one batch"),
        initial: Initial::Saliency,
        ..Method::STATIC
    };

    /// Sparse evolutionary training (Mocanu et al., Nature Communications 2018), with RigL's schedule.
    pub const SET: Method = Method {
        name: Cow::Borrowed("set"),
        summary: Cow::Borrowed("drops the smallest weights, grows at random"),
        drop: DropScore::Magnitude,
        grow: GrowScore::Random,
        ..Method::STATIC
    };

    /// Sparse networks from scratch (Dettmers & Zettlemoyer, 2019), with RigL's schedule and a distribution that stays;
    /// [`Redistribution::Momentum`] moves weights between layers as the original does.
    pub const SNFS: Method = Method {
        name: Cow::Borrowed("snfs"),
        summary: Cow::Borrowed(
            "drops the smallest weights, grows where averaged dense gradients are largest",
        ),
        grow: GrowScore::Momentum,
        ..Method::SET
    };

    /// "Rigging the Lottery" (Evci et al., ICML 2020).
    pub const RIGL: Method = Method {
        name: Cow::Borrowed("rigl"),
        summary: Cow::Borrowed("drops the smallest weights, grows where the dense gradient is largest"),
        grow: GrowScore::Gradient,
        step_policy: StepPolicy::Replace,
        ..Method::SET
    };

    /// Gradual magnitude pruning (Zhu & Gupta, 2017).
    pub const PRUNING: Method = Method {
        name: Cow::Borrowed("pruning"),
        summary: Cow::Borrowed("starts dense and drops the smallest weights, ever fewer at a time"),
        initial: Initial::Full,
        drop: DropScore::Magnitude,
        density_decay: DensityDecay::Cubic,
        ..Method::STATIC
    };

    /// Deep rewiring (Bellec et al., ICLR 2018).
    pub const DEEPR: Method = Method {
        name: Cow::Borrowed("deepr"),
        summary: Cow::Borrowed("drops weights that change their sign under noise, grows at random"),
        drop: DropScore::SignChange,
        grow: GrowScore::Random,
        update_timing: UpdateTiming::EveryStep,
        after_step: AfterStep::Noise,
        ..Method::STATIC
    };

    /// Dynamic sparse reparameterisation (Mostafa & Wang, ICML 2019), with RigL's schedule.
    pub const DSR: Method = Method {
        name: Cow::Borrowed("dsr"),
        summary: Cow::Borrowed("drops below one threshold, grows at random in layers with most weights left"),
        drop: DropScore::Threshold,
        grow: GrowScore::Random,
        redistribution: Redistribution::Survivors,
        ..Method::STATIC
    };

    /// Discovering neural wirings (Wortsman et al., NeurIPS 2019).
    pub const DNW: Method = Method {
        name: Cow::Borrowed("dnw"),
        summary: Cow::Borrowed("keeps the largest of all weights at every step; gradients reach them all"),
        initial: Initial::Magnitude,
        drop: DropScore::Magnitude,
        grow: GrowScore::Magnitude,
        state: StateHandling::Kept,
        update_timing: UpdateTiming::EveryStep,
        ..Method::STATIC
    };

    /// The rows that come with the crate.
    pub const ALL: &'static [Method] = &[
        Method::DENSE,
        Method::SMALL_DENSE,
        Method::STATIC,
        Method::SNIP,
        Method::SET,
        Method::SNFS,
        Method::RIGL,
        Method::PRUNING,
        Method::DEEPR,
        Method::DSR,
        Method::DNW,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_those_of_the_papers() {
        let rows: Vec<_> = Method::ALL
            .iter()
            .map(|m| (&*m.name, m.initial.name(), m.drop.name(), m.grow.name(), m.step_policy.name()))
            .collect();
        assert_eq!(
            rows,
            [
                ("dense", "dense", "none", "none", "after"),
                ("small-dense", "narrow", "none", "none", "after"),
                ("static", "random", "none", "none", "after"),
                ("snip", "saliency", "none", "none", "after"),
                ("set", "random", "magnitude", "random", "after"),
                ("snfs", "random", "magnitude", "momentum", "after"),
                ("rigl", "random", "magnitude", "gradient", "replace"),
                ("pruning", "full", "magnitude", "none", "after"),
                ("deepr", "random", "sign-change", "random", "after"),
                ("dsr", "random", "threshold", "random", "after"),
                ("dnw", "magnitude", "magnitude", "magnitude", "after"),
            ]
        );
    }
}
