//! Which active weights an update drops. All that sets one rule apart from another stands here: how many weights go,
//! by which score, and what is remembered for it.

use std::borrow::Cow;

use rigl_base::{Error, Result, counts};

use crate::score::{Score, Weight};
use crate::statistics::LayerStatistics;

/// Which active weights an update drops where as many are grown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DropRule {
    /// Those of smallest |w|, as many as the drop fraction says.
    Magnitude,
    /// Those of smallest |w| + λ |∂L/∂w| on this batch, without the L2 term, as many as the drop fraction says (Yuan et al.,
    /// NeurIPS 2021).
    Importance {
        /// λ, at least 0.
        gradient: f64,
    },
    /// Those that score least by a program's own score, as many as the drop fraction says.
    Own(Score),
    /// Those with |w| below one threshold for all layers, which adapts so that about as many go as the drop fraction says.
    Threshold {
        /// The threshold of the first update.
        start: f64,
    },
    /// Those whose sign is not the one they started with.
    SignChange {
        /// What is done to active weights after each optimiser step, if anything.
        noise: Option<Noise>,
    },
}

/// A pull towards 0 and Gaussian noise (Bellec et al., ICLR 2018, algorithm 1): with the learning rate η and the sign s
/// that a weight started with, w ← w − ηα s + √(2ηT) z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// α.
    pub pull: f64,
    /// T; without, ηα²/2, with which noise is as large as the pull.
    pub temperature: Option<f64>,
}

/// What a layer holds of its active weights, in the order of its pattern.
#[derive(Clone, Copy, Debug)]
pub struct Active<'a> {
    /// Weights.
    pub values: &'a [f32],
    /// Their gradient on this batch, without the L2 term.
    pub gradient: &'a [f32],
    /// [`SIGN`](crate::slots::SIGN), where it is kept.
    pub sign: Option<&'a [f32]>,
    /// The optimiser's velocity, where it has one.
    pub velocity: Option<&'a [f32]>,
}

impl<'a> Active<'a> {
    /// The score of each.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if there is not a gradient, and a velocity if any, for each.
    pub fn scored(self, score: Score) -> Result<impl Iterator<Item = f32> + 'a> {
        let Active { values, gradient, velocity, .. } = self;
        if gradient.len() != values.len() || velocity.is_some_and(|v| v.len() != values.len()) {
            return Err(Error::internal("no gradient was kept"));
        }
        let weight = move |at: usize| Weight {
            value: values[at],
            gradient: gradient[at],
            velocity: velocity.map_or(0.0, |velocity| velocity[at]),
        };
        Ok((0..values.len()).map(move |at| (score.of)(weight(at))))
    }
}

impl DropRule {
    /// Whether how many weights of a layer go follows from how many it has, whatever their values.
    pub fn by_fraction(self) -> bool {
        match self {
            DropRule::Magnitude | DropRule::Importance { .. } | DropRule::Own(_) => true,
            DropRule::Threshold { .. } | DropRule::SignChange { .. } => false,
        }
    }

    /// How many weights of a layer go at an update that replaces this share of weights.
    pub(crate) fn count(self, layer: &LayerStatistics, fraction: f64) -> usize {
        match self {
            DropRule::Magnitude | DropRule::Importance { .. } | DropRule::Own(_) => {
                counts::trunc_product(layer.active, fraction)
            }
            DropRule::Threshold { .. } => layer.below,
            DropRule::SignChange { .. } => layer.crossed,
        }
    }

    /// The score of each active weight; those of smallest go.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if what a score needs was not kept.
    pub fn scores<'a>(self, active: Active<'a>) -> Result<Cow<'a, [f32]>> {
        let Active { values, gradient, sign, .. } = active;
        let kept = |what: &str, numbers: Option<&'a [f32]>| {
            let whole = numbers.filter(|numbers| numbers.len() == values.len());
            whole.ok_or_else(|| Error::internal(format!("no {what} was kept")))
        };
        Ok(match self {
            DropRule::Magnitude | DropRule::Threshold { .. } => {
                values.iter().map(|w| w.abs()).collect::<Vec<f32>>()
            }
            DropRule::Importance { gradient: share } => {
                let gradient = kept("gradient", Some(gradient))?;
                values.iter().zip(gradient).map(|(w, g)| w.abs() + share as f32 * g.abs()).collect()
            }
            DropRule::Own(score) => active.scored(score)?.collect(),
            DropRule::SignChange { .. } => {
                values.iter().zip(kept("sign", sign)?).map(|(w, s)| w * s).collect()
            }
        }
        .into())
    }

    /// Whether the sign that each active weight started with is kept for it.
    pub(crate) fn keeps_signs(self) -> bool {
        matches!(self, DropRule::SignChange { .. })
    }

    /// The threshold of the first update, if there is one.
    pub(crate) fn threshold(self) -> Option<f64> {
        match self {
            DropRule::Threshold { start } => Some(start),
            DropRule::Magnitude
            | DropRule::Importance { .. }
            | DropRule::Own(_)
            | DropRule::SignChange { .. } => None,
        }
    }

    /// What is done to active weights after each optimiser step, if anything.
    pub(crate) fn noise(self) -> Option<Noise> {
        match self {
            DropRule::SignChange { noise } => noise,
            DropRule::Magnitude
            | DropRule::Importance { .. }
            | DropRule::Own(_)
            | DropRule::Threshold { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_with_the_smallest_scores_are_those_that_each_rule_means() {
        let (values, gradient, sign) =
            ([0.5, -0.1, -2.0, 0.0], [0.0, -3.0, 0.25, 1.0], [1.0, 1.0, -1.0, 1.0]);
        let velocity = [0.0, 8.0, 0.0, 1.0];
        let all =
            Active { values: &values, gradient: &gradient, sign: Some(&sign), velocity: Some(&velocity) };
        let scores = |rule: DropRule| rule.scores(all).unwrap().into_owned();
        assert_eq!(scores(DropRule::Magnitude), [0.5, 0.1, 2.0, 0.0]);
        assert_eq!(scores(DropRule::Threshold { start: 1.0 }), [0.5, 0.1, 2.0, 0.0]);
        assert_eq!(scores(DropRule::Importance { gradient: 0.5 }), [0.5, 1.6, 2.125, 0.5]);
        assert_eq!(scores(DropRule::Importance { gradient: 0.0 }), scores(DropRule::Magnitude));
        assert_eq!(scores(DropRule::SignChange { noise: None }), [0.5, -0.1, 2.0, 0.0]);
        let own = Score { name: "own", of: |w| w.value + w.gradient - w.velocity };
        assert_eq!(scores(DropRule::Own(own)), [0.5, -11.1, -1.75, 0.0]);
        let without = Active { velocity: None, ..all };
        assert_eq!(*DropRule::Own(own).scores(without).unwrap(), [0.5, -3.1, -1.75, 1.0]);
    }

    #[test]
    fn a_score_of_what_was_not_kept_is_an_error() {
        let bare = Active { values: &[1.0, 2.0], gradient: &[], sign: None, velocity: None };
        let without_gradient = DropRule::Importance { gradient: 1.0 }.scores(bare).unwrap_err().to_string();
        assert!(without_gradient.contains("no gradient was kept"), "{without_gradient}");
        let without_sign = DropRule::SignChange { noise: None }.scores(bare).unwrap_err().to_string();
        assert!(without_sign.contains("no sign was kept"), "{without_sign}");
        let own = DropRule::Own(Score { name: "own", of: |w| w.value });
        assert!(own.scores(bare).unwrap_err().to_string().contains("no gradient was kept"));
    }
}
