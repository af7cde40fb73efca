//! What training costs, from the schedule alone: the operations of every batch of a run, counted as the paper does
//! (RigL, appendix on calculating FLOPs), with f_D for a forward pass of the dense network and f_S for the sparse one.
//!
//! A batch takes a forward pass, the gradient of activations and the gradient of weights: 3 f_S. Where the dense
//! gradient of weights is needed, f_D stands in place of the last f_S. A method that moves weights between layers by
//! what it finds on the way (DSR, SNFS with redistribution) is counted as if they stayed; what such a run really took is
//! in its summary, counted from the densities that it held.

use rigl_base::Result;
use rigl_graph::account::Cost;
use rigl_topology::{
    DensityDecay, Gradients, GrowScore, Initial, LayerStatistics, Method, OptimizerStep, StateHandling,
    UpdateTiming,
};

use crate::prepare::Design;
use crate::recipe::Recipe;

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

/// Updates that are walked through one by one; of more than these every n-th is.
const WALKED: u64 = 100_000;

/// What a run of this design and recipe costs.
///
/// # Errors
/// None for a design that was built.
pub fn training(design: &Design, recipe: &Recipe) -> Result<Training> {
    let Design { method, cost, .. } = design;
    let (dense, sparse) = (cost.dense_flops, cost.flops);
    let (steps, updates) = (recipe.steps, updates(method, recipe));
    let plain = u128::from(batch_flops(Gradients::Active, dense, sparse));
    let with_dense = u128::from(batch_flops(Gradients::Kept, dense, sparse));
    // An update in the place of a step has a batch of its own.
    let first = method.needs(&recipe.updates, recipe.updates.begin, false);
    let replaces = updates > 0 && first.step == OptimizerStep::Skipped;
    let extra = if replaces { updates } else { 0 };
    let batches = steps + extra;
    let averaged = || recipe.updates.last().map_or(0, |last| steps.min(last + 1)) + extra;
    let of_dense = match (method.state, method.grow) {
        (StateHandling::Kept, _) => batches,
        (_, GrowScore::Momentum) if method.update_timing == UpdateTiming::EveryStep => batches,
        (_, GrowScore::Momentum) => averaged(),
        _ if first.gradients != Gradients::Active => updates,
        _ => 0,
    };
    let mut total = u128::from(batches - of_dense) * plain + u128::from(of_dense) * with_dense;
    if method.density_decay != DensityDecay::None {
        // What is dense for longer costs more than the final counts say.
        total += decaying(design, recipe, updates)?;
    }
    let mut batches = batches;
    if method.initial == Initial::Saliency {
        total += 3 * u128::from(dense);
        batches += 1;
    }
    let (f, interval) = (|x: u128| x as f64, recipe.updates.interval as f64);
    let per_sample = match of_dense {
        _ if method.density_decay != DensityDecay::None => total as f64 / batches as f64,
        0 => f(plain),
        _ if of_dense > updates || method.update_timing == UpdateTiming::EveryStep => f(with_dense),
        _ if replaces => (f(plain) * interval + f(with_dense)) / (interval + 1.0),
        _ => (f(plain) * (interval - 1.0) + f(with_dense)) / interval,
    };
    Ok(Training { per_sample, mean: total as f64 / batches as f64, batches })
}

/// How many updates a run has.
fn updates(method: &Method, recipe: &Recipe) -> u64 {
    let schedule = &recipe.updates;
    let last = match (method.updates(), method.update_timing, method.density_decay) {
        (false, ..) => None,
        (true, UpdateTiming::EveryStep, _) => return recipe.steps,
        (true, _, DensityDecay::None) => schedule.last(),
        (true, ..) => Some(schedule.last_with_end()),
    };
    let last = last.map(|last| last.min(recipe.steps - 1)).filter(|&last| last >= schedule.begin);
    last.map_or(0, |last| (last - schedule.begin) / schedule.interval + 1)
}

/// Operations of a run whose density decays, beyond those at its final counts.
fn decaying(design: &Design, recipe: &Recipe, updates: u64) -> Result<u128> {
    let (method, schedule, steps) = (&design.method, &recipe.updates, recipe.steps);
    let end = u128::from(3 * design.cost.flops);
    let flops = |step: Option<u64>| -> Result<u128> {
        let count = |(p, &target): (&rigl_graph::Parameter, &Option<usize>)| {
            let (target, positions) = (target?, p.len());
            let layer =
                LayerStatistics { positions, active: positions, target, below: 0, crossed: 0, momentum: 0.0 };
            Some(step.map_or(positions, |step| method.wanted(schedule, step, &layer)))
        };
        let active: Vec<_> = design.graph.parameters().iter().zip(&design.active).map(count).collect();
        Ok(u128::from(3 * Cost::of(&design.graph, &active)?.flops))
    };
    // Until the first update all is there; a step that is updated after has been taken before.
    let first = schedule.begin.min(steps - 1) + 1;
    let mut beyond = u128::from(first.min(steps)) * (flops(None)? - end);
    let stride = updates.div_ceil(WALKED).max(1);
    let mut number = 0;
    while number < updates {
        let step = schedule.begin + number * schedule.interval;
        let next = (step + stride * schedule.interval).min(steps - 1);
        let covered = if number + stride >= updates { steps - 1 - step } else { next - step };
        beyond += u128::from(covered) * (flops(Some(step))? - end);
        number += stride;
    }
    Ok(beyond)
}
