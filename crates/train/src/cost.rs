//! What training costs, from the timeline alone: the operations of every batch of a run, counted as the paper does
//! (RigL, appendix on calculating FLOPs), with f_D for a forward pass of the dense network and f_S for the sparse one.
//!
//! A batch takes a forward pass, the gradient of activations and the gradient of weights: 3 f_S. Where the dense
//! gradient of weights is needed, f_D stands in place of the last f_S. A method that moves weights between layers by
//! what it finds on the way (DSR, SNFS with redistribution) is counted as if they stayed; what such a run really took is
//! in its summary, counted from the densities that it held.

use rigl_base::Result;
use rigl_topology::{Gradients, OptimizerStep, Updates};

/// Operations of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    /// Per training sample while updates go on: the formula of the paper's table.
    pub per_sample: f64,
    /// Per training sample, as the mean over all batches of the run.
    pub mean: f64,
    /// Batches of the run: its steps, and the batches that updates or the start took besides.
    pub batches: u64,
}

/// Operations per sample of one batch.
pub fn batch_flops(gradients: Gradients, dense: u64, sparse: u64) -> u64 {
    2 * sparse + if gradients == Gradients::Active { sparse } else { dense }
}

/// What a run with these updates costs, with f_D = `dense`, after `scored` batches of the dense network. `sparse` gives
/// f_S where so much of the way of a decaying density is left ([`Update::excess`](rigl_topology::Update::excess)).
pub(crate) fn training(
    updates: &Updates,
    dense: u64,
    scored: u64,
    sparse: impl Fn(Option<f64>) -> Result<u64>,
) -> Result<Training> {
    let batch = |gradients, sparse| u128::from(batch_flops(gradients, dense, sparse));
    let mut total = u128::from(scored) * batch(Gradients::Kept, dense);
    let mut batches = scored;
    let mut now = sparse(updates.settled().map(|_| 1.0))?;
    for phase in updates.phases() {
        // An update comes of a batch with the weights there were before it, which only the first of a phase changes.
        let first = phase.updates.min(1);
        total += u128::from(first) * batch(phase.at_updates, now);
        if phase.excess.is_some() {
            now = sparse(phase.excess)?;
        }
        total += u128::from(phase.updates - first) * batch(phase.at_updates, now);
        total += u128::from(phase.batches() - phase.updates) * batch(phase.between, now);
        batches += phase.batches();
    }
    let mean = total as f64 / batches as f64;
    let cost = |step, updated| batch(updates.needs(step, updated).gradients, now) as f64;
    let per_sample = match updates.first() {
        _ if updates.settled().is_some() => mean,
        None => cost(0, false),
        Some(first) => {
            let (with, without, interval) =
                (cost(first, false), cost(first, true), updates.interval() as f64);
            match updates.needs(first, false).step {
                OptimizerStep::Skipped => (with + without * interval) / (interval + 1.0),
                OptimizerStep::Taken => (with + without * (interval - 1.0)) / interval,
            }
        }
    };
    Ok(Training { per_sample, mean, batches })
}
