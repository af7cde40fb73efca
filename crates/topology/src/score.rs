//! By which scores weights are grown, and scores of one's own: functions of what is known of one weight.

use std::fmt;

/// What a [`Score`] may look at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weight {
    /// Its value; 0 of one that is inactive.
    pub value: f32,
    /// ∂L/∂w on this batch, without the L2 term.
    pub gradient: f32,
    /// The optimiser's velocity; 0 without momentum, and of a weight that is inactive.
    pub velocity: f32,
}

/// A score, larger for weights that matter more. Of equal ones the lower position is the better, NaN is worse than any
/// number.
///
/// ```
/// use rigl_topology::{Score, Weight};
///
/// // What a step along the gradient would leave.
/// let left = Score { name: "left", of: |w: Weight| (w.value - 0.1 * w.gradient).abs() };
/// assert_eq!((left.of)(Weight { value: 0.5, gradient: 5.0, velocity: 0.0 }), 0.0);
/// ```
#[derive(Clone, Copy)]
pub struct Score {
    /// What configurations call it. Two scores of one name are taken for the same.
    pub name: &'static str,
    /// The score of a weight. It is asked from several threads and in no order: the same weight has the same score.
    pub of: fn(Weight) -> f32,
}

impl PartialEq for Score {
    fn eq(&self, other: &Score) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Score").field(&self.name).finish()
    }
}

impl Score {
    /// That of a weight which is not active, by its gradient.
    pub fn of_inactive(self, gradient: f32) -> f32 {
        (self.of)(Weight { gradient, ..Weight::default() })
    }
}

/// By which score an update of one layer grows weights; the largest come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GrowScore {
    /// Nothing is grown.
    None,
    /// |∂L/∂w| of this batch, dense, without the L2 term.
    Gradient,
    /// A program's own.
    Own(Score),
    /// The magnitude of an average of dense gradients over all steps so far.
    Momentum,
    /// |w| of inactive weights, which are kept and trained for that.
    Magnitude,
    /// Uniformly at random.
    Random,
}
