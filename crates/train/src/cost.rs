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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, NarrowTo, UpdateEnd};
    use crate::registry::Registry;

    /// LeNet-300-100 at .9 uniform: f_D = 532,400, f_S = 53,240. A run of 1,000 steps, updates before step 750.
    fn lenet(method: &str, change: impl FnOnce(&mut Config)) -> (Training, Design) {
        let registry = Registry::default();
        let row = Method::find(&registry.methods, method).unwrap();
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
        // A run that ends before it begins stays dense.
        let (found, _) = lenet("pruning", |config| {
            config.method.update_begin = Some(2000);
            config.method.update_end = UpdateEnd::Step(3000);
        });
        assert_eq!(found.mean, 3.0 * DENSE);
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
