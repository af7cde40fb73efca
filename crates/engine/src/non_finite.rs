//! Numbers that are not finite, as one event.
//!
//! Sparse and masked arithmetic do the same until a number is ±∞ or none: from then on an inactive weight makes 0 · ∞ of
//! it in one of them. So it is looked for in everything that layers with weights read ([`rigl_kernels::Machine`]), in the
//! statistics of batch norms, in the loss, and in weights after a step, pass by pass in the order of the plan; what comes
//! after the first tells nothing any more.

use std::fmt;

/// Where a number was first met that is not finite.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NonFinite {
    /// In the batch.
    Batch,
    /// In the forward pass of a layer: what it read or left.
    Forward(String),
    /// In the loss.
    Loss,
    /// In the backward pass of a layer: the gradient that it read or left.
    Backward(String),
    /// In the gradient of a parameter.
    Gradient(String),
    /// In a parameter after a step.
    Step(String),
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NonFinite::Batch => write!(f, "in the batch"),
            NonFinite::Forward(layer) => write!(f, "in the forward pass of `{layer}`"),
            NonFinite::Loss => write!(f, "in the loss"),
            NonFinite::Backward(layer) => write!(f, "in the backward pass of `{layer}`"),
            NonFinite::Gradient(parameter) => write!(f, "in the gradient of `{parameter}`"),
            NonFinite::Step(parameter) => write!(f, "in the step of `{parameter}`"),
        }
    }
}
