//! What training costs, from the schedule alone: the operations of every batch of a run, counted as the paper does
//! (RigL, appendix on calculating FLOPs), with f_D for a forward pass of the dense network and f_S for the sparse one.
//!
//! A batch takes a forward pass, the gradient of activations and the gradient of weights: 3 f_S. Where the dense
//! gradient of weights is needed, f_D stands in place of the last f_S. A method that moves weights between layers by
//! what it finds on the way (DSR, SNFS with redistribution) is counted as if they stayed; what such a run really took is
//! in its summary, counted from the densities that it held.

use rigl_base::Result;
use rigl_graph::account::Cost;
use rigl_topology::{Gradients, LayerStatistics, Method, Needs, OptimizerStep, Start};

use crate::design::Design;
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

/// What a run of this design and recipe costs. Density that decays is counted from all weights on, also where the run
/// starts from another that has fewer.
///
/// # Errors
/// None for a design that was built.
pub fn training(design: &Design, recipe: &Recipe) -> Result<Training> {
    let (method, steps) = (&design.method, recipe.steps);
    let decays = method.prunes();
    let (first, interval) = spacing(method, recipe);
    let updates = updates(method, recipe);
    let needs = |step, updated| method.needs(&recipe.updates, step, updated);
    let dense = design.cost.dense_flops;
    let batch = |needs: Needs, sparse| u128::from(batch_flops(needs.gradients, dense, sparse));
    let mut sparse = if decays { decayed(design, recipe, None)? } else { design.cost.flops };

    let before = if updates == 0 { steps } else { first };
    let mut total = u128::from(before) * batch(needs(0, true), sparse);
    let mut batches = steps;
    let stride = updates.div_ceil(WALKED).max(1);
    let mut number = 0;
    while number < updates {
        // The last one stands alone: after it fewer gradients may be needed.
        let (step, is_last) = (first + number * interval, number + 1 == updates);
        let many = if is_last { 1 } else { stride.min(updates - 1 - number) };
        let end = if is_last { steps } else { step + many * interval };
        let update = needs(step, false);
        total += u128::from(many) * batch(update, sparse);
        if decays {
            sparse = decayed(design, recipe, Some(step))?;
        }
        if update.step == OptimizerStep::Skipped {
            // An update in the place of a step has a batch of its own.
            total += u128::from(many) * batch(needs(step, true), sparse);
            batches += many;
        }
        total += u128::from(end - step - many) * batch(needs(end - 1, true), sparse);
        number += many;
    }
    if method.start() == Some(Start::Saliency) {
        total += u128::from(batch_flops(Gradients::Kept, dense, dense));
        batches += 1;
    }
    let mean = total as f64 / batches as f64;
    let per_sample = match (updates, needs(first, false)) {
        _ if decays => mean,
        (0, _) => batch(needs(0, true), sparse) as f64,
        (_, update) => {
            let (with, without) = (batch(update, sparse) as f64, batch(needs(first, true), sparse) as f64);
            match update.step {
                OptimizerStep::Skipped => (with + without * interval as f64) / (interval as f64 + 1.0),
                OptimizerStep::Taken => (with + without * (interval as f64 - 1.0)) / interval as f64,
            }
        }
    };
    Ok(Training { per_sample, mean, batches })
}

/// The step of the first update, and steps from one to the next.
fn spacing(method: &Method, recipe: &Recipe) -> (u64, u64) {
    if method.every_step() {
        return (0, 1);
    }
    (recipe.updates.begin, recipe.updates.interval.max(1))
}

/// How many updates a run has.
fn updates(method: &Method, recipe: &Recipe) -> u64 {
    let schedule = &recipe.updates;
    let last = match method.dynamics() {
        None => None,
        Some(dynamics) if dynamics.every_step => Some(recipe.steps - 1),
        Some(_) if method.prunes() => Some(schedule.last_with_end()),
        Some(_) => schedule.last(),
    };
    let (first, interval) = spacing(method, recipe);
    let last = last.map(|last| last.min(recipe.steps - 1));
    last.and_then(|last| last.checked_sub(first)).map_or(0, |span| span / interval + 1)
}

/// Operations of a forward pass where density decays: after the update at a step, or before the first one.
fn decayed(design: &Design, recipe: &Recipe, step: Option<u64>) -> Result<u64> {
    let count = |(p, &target): (&rigl_graph::Parameter, &Option<usize>)| {
        let (target, positions) = (target?, p.len());
        let layer =
            LayerStatistics { positions, active: positions, target, below: 0, crossed: 0, momentum: 0.0 };
        Some(step.map_or(positions, |step| design.method.wanted(&recipe.updates, step, &layer)))
    };
    let active: Vec<_> = design.graph.parameters().iter().zip(&design.active).map(count).collect();
    Ok(Cost::of(&design.graph, &active)?.flops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, UpdateEnd};
    use crate::registry::Registry;
    use rigl_topology::NarrowTo;

    /// LeNet-300-100 at .9 uniform: f_D = 532,400, f_S = 53,240. A run of 1,000 steps, updates before step 750.
    fn lenet(method: &str, change: impl FnOnce(&mut Config)) -> (Training, Design) {
        let registry = Registry::default();
        let row = registry.methods.iter().find(|row| row.name == method).unwrap();
        let mut config = Config::default().with_method(row);
        config.method.distribution = rigl_topology::Distribution::Uniform;
        config.schedule.unit = crate::config::Unit::Steps;
        config.schedule.length = 1000.0;
        change(&mut config);
        let design = Design::new(&config, &registry, &[1, 28, 28], 10).unwrap();
        let recipe = Recipe::new(&config, 60_000).unwrap();
        (training(&design, &recipe).unwrap(), design)
    }

    const DENSE: f64 = 532_400.0;
    const SPARSE: f64 = 53_240.0;

    #[test]
    fn every_method_costs_what_its_formula_says() {
        let plain = 3.0 * SPARSE;
        let with_dense = 2.0 * SPARSE + DENSE;
        for (method, per_sample, mean, batches) in [
            ("dense", 3.0 * DENSE, 3.0 * DENSE, 1000),
            ("static", plain, plain, 1000),
            ("set", plain, plain, 1000),
            ("dsr", plain, plain, 1000),
            ("deepr", plain, plain, 1000),
            ("snip", plain, (1000.0 * plain + 3.0 * DENSE) / 1001.0, 1001),
            ("dnw", with_dense, with_dense, 1000),
            // Dense gradients until the last update, at step 700.
            ("snfs", with_dense, (701.0 * with_dense + 299.0 * plain) / 1000.0, 1000),
            // Eight updates, at 0, 100, … 700.
            (
                "rigl",
                (100.0 * plain + with_dense) / 101.0,
                (1000.0 * plain + 8.0 * with_dense) / 1008.0,
                1008,
            ),
        ] {
            let (found, _) = lenet(method, |_| ());
            let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * b;
            assert!(close(found.per_sample, per_sample), "{method}: {} {per_sample}", found.per_sample);
            assert!(close(found.mean, mean), "{method}: {} {mean}", found.mean);
            assert_eq!(found.batches, batches, "{method}");
        }
    }

    #[test]
    fn the_papers_multiples_of_resnet_50_follow() {
        // As shares of f_D, at .8 and .9 under ERK.
        for (sparse, printed) in [(0.4138f64, 0.4157), (0.2418, 0.2443)] {
            let per_sample = (3.0 * sparse * 100.0 + 2.0 * sparse + 1.0) / 101.0;
            assert!((per_sample / 3.0 - printed).abs() < 5e-5);
        }
    }

    #[test]
    fn pruning_is_counted_at_the_densities_of_its_schedule() {
        // Two updates, at 200 and 600: all weights through step 200, then x = 0 and x = 1.
        let (found, design) = lenet("pruning", |config| {
            config.method.update_begin = Some(200);
            config.method.update_interval = 400;
            config.method.update_end = UpdateEnd::Step(600);
        });
        let mean = 3.0 * (601.0 * DENSE + 399.0 * SPARSE) / 1000.0;
        assert!((found.mean - mean).abs() < 1e-6, "{} {mean}", found.mean);
        // A third between them, at x = 1/2: s = .9 · (1 − 1/8) = .7875.
        let (found, _) = lenet("pruning", |config| {
            config.method.update_begin = Some(200);
            config.method.update_interval = 200;
            config.method.update_end = UpdateEnd::Step(600);
        });
        let count = |n: usize| rigl_base::counts::active(n, 0.7875);
        let half = 2.0 * (count(235_200) + count(30_000) + count(1000)) as f64;
        let mean = 3.0 * (401.0 * DENSE + 200.0 * half + 399.0 * SPARSE) / 1000.0;
        assert!((found.mean - mean).abs() < 1e-6, "{} {mean}", found.mean);
        assert_eq!(design.cost.flops as f64, SPARSE);
    }

    #[test]
    fn small_dense_has_as_many_weights_and_is_counted_beside_the_whole_network() {
        let (found, design) = lenet("small-dense", |_| ());
        assert_eq!(design.reference_flops as f64, DENSE);
        assert!(design.cost.weights.abs_diff(26_620) < 800, "{}", design.cost.weights);
        assert_eq!(found.mean, 6.0 * design.cost.weights as f64);
        // By size in bytes it may be wider: the sparse one has a bit for each position too.
        let (_, wider) = lenet("small-dense", |config| config.method.narrow_to = NarrowTo::Bytes);
        let sparse = lenet("static", |_| ()).1.cost.bytes;
        assert!(wider.cost.bytes.abs_diff(sparse) < 4 * 800, "{} {sparse}", wider.cost.bytes);
        assert!(wider.cost.weights > design.cost.weights + 800);
    }
}
