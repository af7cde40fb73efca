//! The rows that come with the crate, and how the rest of the literature would fit.
//!
//! | method | what would be added to the table |
//! |---|---|
//! | lottery ticket | not a row: [`Pattern::of_largest`](crate::Pattern::of_largest) of a trained network's \|w\|, original initial values, then `static` or `rigl` |
//! | GraNet | nothing: `pruning` from an initial sparsity, that grows by gradient |
//! | ITOP | nothing: `set` or `rigl` with other schedule values; [`Explored`](crate::Explored) measures what it is about |
//! | SRigL | `rigl` with selection within each output (constant fan-in); ablation is a statistic of whole outputs that `budget` reads |
//! | Top-KAST | like `dnw`, with a second, larger pattern per layer for the backward pass: the widest change, in [`Needs`](crate::Needs) and in the engine |
//! | AC/DC | phases: `budget` grows every position, later drops to the target by magnitude |
//! | N:M, blocks | any row with selection within groups of M, or by sums of scores over blocks |

use std::borrow::Cow;

use crate::drop_rule::{DropRule, Noise};
use crate::method::{Dynamics, GrowRule, Method, Start, Topology, UpdateRule};
use crate::names::{NarrowTo, Redistribution, StepPolicy};

/// A row.
const fn row(name: &'static str, summary: &'static str, topology: Topology) -> Method {
    Method { name: Cow::Borrowed(name), summary: Cow::Borrowed(summary), topology, schedule: None }
}

impl Method {
    /// The dense network.
    pub const DENSE: Method = row("dense", "every weight active, nothing updated", Topology::Dense);

    /// A dense network, narrowed until it has as many weights as the sparse one (RigL, §4).
    pub const SMALL_DENSE: Method = row(
        "small-dense",
        "a narrower dense network with as many weights as the sparse one",
        Topology::Narrow(NarrowTo::Weights),
    );

    /// A random topology that never changes.
    pub const STATIC: Method =
        row("static", "a random topology that never changes", Topology::Static(Start::Random));

    /// Single-shot network pruning (Lee et al., ICLR 2019), within each layer at the distribution's sparsity.
    pub const SNIP: Method = row(
        "snip",
        "prunes once, before training, by |w · gradient| of one batch",
        Topology::Static(Start::Saliency),
    );

    /// Sparse evolutionary training (Mocanu et al., Nature Communications 2018), with RigL's schedule.
    pub const SET: Method = row(
        "set",
        "drops the smallest weights, grows at random",
        Topology::dynamic(Dynamics::new(UpdateRule::replace(DropRule::Magnitude, GrowRule::RANDOM))),
    );

    /// Memory-economic sparse training (Yuan et al., NeurIPS 2021), its elastic mutation, with RigL's schedule.
    pub const MEST: Method = row(
        "mest",
        "drops weights of smallest |w| + λ |gradient|, grows at random",
        Topology::dynamic(Dynamics::new(UpdateRule::replace(
            DropRule::Importance { gradient: 1.0 },
            GrowRule::RANDOM,
        ))),
    );

    /// Sparse networks from scratch (Dettmers & Zettlemoyer, 2019), with RigL's schedule and a distribution that stays;
    /// [`Redistribution::Momentum`] moves weights between layers as the original does.
    pub const SNFS: Method = row(
        "snfs",
        "drops the smallest weights, grows where averaged dense gradients are largest",
        Topology::dynamic(Dynamics::new(UpdateRule::replace(DropRule::Magnitude, GrowRule::MOMENTUM))),
    );

    /// "Rigging the Lottery" (Evci et al., ICML 2020).
    pub const RIGL: Method = row(
        "rigl",
        "drops the smallest weights, grows where the dense gradient is largest",
        Topology::dynamic(Dynamics {
            step_policy: StepPolicy::Replace,
            ..Dynamics::new(UpdateRule::replace(DropRule::Magnitude, GrowRule::GRADIENT))
        }),
    );

    /// Gradual magnitude pruning (Zhu & Gupta, 2017).
    pub const PRUNING: Method = row(
        "pruning",
        "starts dense and drops the smallest weights, ever fewer at a time",
        Topology::dynamic(Dynamics::new(UpdateRule::Prune { initial_sparsity: 0.0, grow: None })),
    );

    /// Deep rewiring (Bellec et al., ICLR 2018).
    pub const DEEPR: Method = row(
        "deepr",
        "drops weights that change their sign under noise, grows at random",
        Topology::dynamic(Dynamics {
            every_step: true,
            ..Dynamics::new(UpdateRule::replace(
                DropRule::SignChange { noise: Some(Noise { pull: 1e-4, temperature: None }) },
                GrowRule::RANDOM,
            ))
        }),
    );

    /// Dynamic sparse reparameterisation (Mostafa & Wang, ICML 2019), with RigL's schedule.
    pub const DSR: Method = row(
        "dsr",
        "drops below one threshold, grows at random in layers with most weights left",
        Topology::dynamic(Dynamics::new(UpdateRule::Replace {
            drop: DropRule::Threshold { start: 1e-3 },
            grow: GrowRule::RANDOM,
            redistribution: Some(Redistribution::Survivors),
        })),
    );

    /// Discovering neural wirings (Wortsman et al., NeurIPS 2019).
    pub const DNW: Method = row(
        "dnw",
        "keeps the largest of all weights at every step; gradients reach them all",
        Topology::Dynamic(
            Start::Magnitude,
            Dynamics { every_step: true, ..Dynamics::new(UpdateRule::Compete) },
        ),
    );

    /// The rows that come with the crate.
    pub const ALL: &'static [Method] = &[
        Method::DENSE,
        Method::SMALL_DENSE,
        Method::STATIC,
        Method::SNIP,
        Method::SET,
        Method::MEST,
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
    use crate::score::GrowScore;

    #[test]
    fn the_rows_are_those_of_the_papers() {
        let row = |m: &'static Method| {
            let of = |d: &Dynamics| (m.drop_rule(), m.grow_score(), d.step_policy, d.every_step);
            (&*m.name, m.start(), m.dynamics().map(of))
        };
        let random = Some(Start::Random);
        let (magnitude, after) = (DropRule::Magnitude, StepPolicy::After);
        let of = |drop, grow| Some((drop, grow, after, false));
        let schedule = |grow| of(magnitude, grow);
        assert_eq!(
            Method::ALL.iter().map(row).collect::<Vec<_>>(),
            [
                ("dense", None, None),
                ("small-dense", None, None),
                ("static", random, None),
                ("snip", Some(Start::Saliency), None),
                ("set", random, schedule(GrowScore::Random)),
                ("mest", random, of(DropRule::Importance { gradient: 1.0 }, GrowScore::Random)),
                ("snfs", random, schedule(GrowScore::Momentum)),
                ("rigl", random, Some((magnitude, GrowScore::Gradient, StepPolicy::Replace, false))),
                ("pruning", random, schedule(GrowScore::None)),
                ("deepr", random, Some((Method::DEEPR.drop_rule(), GrowScore::Random, after, true))),
                ("dsr", random, of(Method::DSR.drop_rule(), GrowScore::Random)),
                ("dnw", Some(Start::Magnitude), Some((magnitude, GrowScore::Magnitude, after, true))),
            ]
        );
        assert!(Method::PRUNING.prunes() && Method::DNW.keeps_inactive() && Method::DEEPR.noise().is_some());
    }
}
