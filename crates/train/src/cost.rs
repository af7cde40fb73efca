//! What training costs, from the schedule alone: the operations of every batch of a run, counted as the paper does
//! (RigL, appendix on calculating FLOPs), with f_D for a forward pass of the dense network and f_S for the sparse one.
//!
//! A batch takes a forward pass, the gradient of activations and the gradient of weights: 3 f_S. Where the dense
//! gradient of weights is needed, f_D stands in place of the last f_S. A method that moves weights between layers by
//! what it finds on the way (DSR, SNFS with redistribution) is counted as if they stayed; what such a run really took is
//! in its summary, counted from the densities that it held.

use rigl_base::Result;
use rigl_graph::account::Cost;
use rigl_topology::{Gradients, LayerStatistics, OptimizerStep, Start};

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

/// What a run of this design and recipe costs. Density that decays is counted from all weights on, also where the run
/// starts from another that has fewer.
///
/// # Errors
/// None for a design that was built.
pub fn training(design: &Design, recipe: &Recipe) -> Result<Training> {
    let updates = &recipe.updates;
    let dense = design.cost.dense_flops;
    let batch = |gradients, sparse| u128::from(batch_flops(gradients, dense, sparse));
    let (mut total, mut batches) = (0, 0);
    let mut sparse = match updates.settled() {
        Some(_) => decayed(design, 1.0)?,
        None => design.cost.flops,
    };
    for phase in updates.phases() {
        // An update comes of a batch with the weights there were before it, which only the first of a phase changes.
        let first = phase.updates.min(1);
        total += u128::from(first) * batch(phase.at_updates, sparse);
        if let Some(excess) = phase.excess {
            sparse = decayed(design, excess)?;
        }
        total += u128::from(phase.updates - first) * batch(phase.at_updates, sparse);
        total += u128::from(phase.batches() - phase.updates) * batch(phase.between, sparse);
        batches += phase.batches();
    }
    if design.method.start() == Some(Start::Saliency) {
        total += u128::from(batch_flops(Gradients::Kept, dense, dense));
        batches += 1;
    }
    let mean = total as f64 / batches as f64;
    let cost = |step, updated| batch(updates.needs(step, updated).gradients, sparse) as f64;
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

/// Operations of a forward pass where density decays and so much of the way to its target is left.
fn decayed(design: &Design, excess: f64) -> Result<u64> {
    let count = |(p, &target): (&rigl_graph::Parameter, &Option<usize>)| {
        let (target, positions) = (target?, p.len());
        let layer =
            LayerStatistics { positions, active: positions, target, below: 0, crossed: 0, momentum: 0.0 };
        Some(layer.wanted(Some(excess)))
    };
    let active: Vec<_> = design.graph.parameters().iter().zip(&design.active).map(count).collect();
    Ok(Cost::of(&design.graph, &active)?.flops)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rigl_topology::{Method, NarrowTo, StepPolicy};

    use super::*;
    use crate::config::{Config, UpdateEnd};
    use crate::registry::Registry;

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
        let recipe = Recipe::new(&config, &design.method, 60_000).unwrap();
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

    /// The same, counted batch by batch.
    fn counted(design: &Design, recipe: &Recipe) -> (u128, u64) {
        let updates = &recipe.updates;
        let (mut total, mut batches) = (0, 0);
        let mut sparse = match updates.settled() {
            Some(_) => decayed(design, 1.0).unwrap(),
            None => design.cost.flops,
        };
        let mut at = (0, false);
        while at.0 < recipe.steps {
            let needs = updates.needs(at.0, at.1);
            total += u128::from(batch_flops(needs.gradients, design.cost.dense_flops, sparse));
            batches += 1;
            if let Some(excess) = needs.update.and_then(|update| update.excess) {
                sparse = decayed(design, excess).unwrap();
            }
            at = match needs.step {
                OptimizerStep::Taken => (at.0 + 1, false),
                OptimizerStep::Skipped => (at.0, true),
            };
        }
        (total, batches)
    }

    proptest! {
        #[test]
        fn the_cost_of_a_run_is_that_of_all_its_batches(
            length in 1..400u32, interval in 1..90u64, begin in proptest::option::of(0..300u64),
            end in proptest::option::of(1..500u64), every_step: bool, replace: bool,
        ) {
            for row in Method::ALL.iter().filter(|row| row.updates()) {
                let mut config = Config::default().with_method(row);
                config.schedule.unit = crate::config::Unit::Steps;
                config.schedule.length = f64::from(length);
                config.method.update_interval = interval;
                config.method.update_begin = begin;
                config.method.update_end = end.map_or(UpdateEnd::Auto, UpdateEnd::Step);
                if every_step {
                    config.method.update_timing = crate::config::UpdateTiming::EveryStep;
                }
                if replace {
                    config.method.step_policy = StepPolicy::Replace;
                }
                let design = Design::new(&config, &Registry::default(), &[1, 28, 28], 10).unwrap();
                let Ok(recipe) = Recipe::new(&config, &design.method, 60_000) else { continue };
                let (mut total, mut batches) = counted(&design, &recipe);
                if design.method.start() == Some(Start::Saliency) {
                    total += u128::from(3 * design.cost.dense_flops);
                    batches += 1;
                }
                let found = training(&design, &recipe).unwrap();
                prop_assert_eq!(found.batches, batches, "{}", row.name);
                prop_assert_eq!(found.mean, total as f64 / batches as f64, "{}", row.name);
            }
        }
    }
}
