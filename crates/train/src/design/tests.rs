use proptest::prelude::*;
use rigl_graph::Op;
use rigl_topology::{Distribution, NarrowTo, OptimizerStep, Start, StepPolicy};

use super::*;
use crate::config::{Config, StartKind, Unit, UpdateEnd};

/// A run of this configuration that begins by itself.
fn design(config: Config, shape: &[usize]) -> Result<Design> {
    let registry = Registry::default();
    let data = DataSpec { shape: shape.to_vec(), classes: 10, samples: 60_000 };
    Design::new(&Settings::new(config, &registry)?, &registry, &data, &Origin::Fresh)
}

fn wide(change: impl FnOnce(&mut Config)) -> Result<Design> {
    let mut config = Config::default();
    config.model.name = "wrn-22-2".into();
    config.method.distribution = Distribution::Erk;
    change(&mut config);
    design(config, &[3, 32, 32])
}

#[test]
fn erk_of_wrn_22_2_leaves_the_papers_share_of_operations() {
    for (sparsity, share) in [(0.5, 0.728), (0.8, 0.352), (0.9, 0.174), (0.95, 0.088)] {
        let cost = wide(|config| config.method.sparsity = sparsity).unwrap().cost;
        let found = cost.flops as f64 / cost.dense_flops as f64;
        assert!((found - share).abs() < 5e-4, "{sparsity}: {found}");
    }
}

#[test]
fn at_sparsity_90_erk_leaves_four_layers_of_wrn_22_2_dense() {
    let design = wide(|config| config.method.sparsity = 0.9).unwrap();
    let rows = design.cost.parameters.iter().filter(|row| row.kind.is_weight());
    let dense: Vec<_> = rows.filter(|row| row.active == row.weights).map(|row| row.name.as_str()).collect();
    assert_eq!(
        dense,
        [
            "conv1.weight",
            "block1.layer.0.convShortcut.weight",
            "block2.layer.0.convShortcut.weight",
            "fc.weight"
        ]
    );
}

#[test]
fn uniform_leaves_the_first_convolution_dense() {
    let design = wide(|config| config.method.distribution = Distribution::Uniform).unwrap();
    let rows: Vec<_> = design.cost.parameters.iter().filter(|row| row.kind.is_weight()).collect();
    assert!(!rows[0].sparse);
    assert!(rows[1..].iter().all(|row| row.sparse && (row.sparsity - 0.9).abs() < 1e-2));
}

#[test]
fn norms_and_biases_are_never_sparse() {
    let design = wide(|_| ()).unwrap();
    for layer in &design.layers {
        let parameter = &design.graph.parameters()[layer.parameter];
        assert!(parameter.is_weight(), "{}", parameter.name);
    }
}

#[test]
fn options_reach_the_network_or_are_refused() {
    let design = wide(|config| {
        config.model.name = "wide-resnet".into();
        config.model.options.set("depth", 10usize);
        config.model.options.set("width", 1.5);
        config.model.options.set("dropout", 0.3);
        config.model.options.set("bn-momentum", 0.01);
    })
    .unwrap();
    let ops = || design.graph.nodes().iter().map(|node| &node.op);
    assert!(ops().any(|op| *op == Op::Dropout { probability: 0.3 }));
    assert!(ops().any(|op| matches!(op, Op::BatchNorm { momentum: 0.01, .. })));
    assert_eq!(design.graph.parameter(design.graph.find_parameter("fc.weight").unwrap()).shape, [10, 96]);

    let error = wide(|config| config.model.options.set("depth", 16usize)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`wrn-22-2` has no option `depth`, allowed are `width`, `dropout`, `bn-momentum`"
    );
}

/// LeNet-300-100 at .9 uniform: f_D = 532,400, f_S = 53,240. A run of 1,000 steps, updates before step 750.
fn lenet(method: &str, change: impl FnOnce(&mut Config)) -> (Training, Design) {
    let row = Method::ALL.iter().find(|row| row.name == method).unwrap();
    let mut config = Config::default().with_method(row);
    config.method.distribution = Distribution::Uniform;
    config.schedule.unit = Unit::Steps;
    config.schedule.length = 1000.0;
    change(&mut config);
    let design = design(config, &[1, 28, 28]).unwrap();
    (design.training().unwrap(), design)
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
        ("rigl", (100.0 * plain + with_dense) / 101.0, (1000.0 * plain + 8.0 * with_dense) / 1008.0, 1008),
    ] {
        let (found, _) = lenet(method, |_| ());
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * b;
        assert!(close(found.per_sample, per_sample), "{method}: {} {per_sample}", found.per_sample);
        assert!(close(found.mean, mean), "{method}: {} {mean}", found.mean);
        assert_eq!(found.batches, batches, "{method}");
    }
}

#[test]
fn patterns_that_another_run_has_need_such_a_run() {
    let mine = Method::RIGL.starting(Start::Given);
    let mut registry = Registry::default();
    registry.methods.push(Method { name: "mine".into(), ..mine });
    let mut settings = Settings::new(Config::default(), &registry).unwrap();
    settings.method = registry.methods.last().unwrap().clone();
    let data = DataSpec { shape: vec![1, 28, 28], classes: 10, samples: 60_000 };
    let error = Design::new(&settings, &registry, &data, &Origin::Fresh).unwrap_err();
    assert_eq!(error.to_string(), "method `mine` starts from the patterns of another run");
    assert_eq!(error.hint_text(), Some("--set method.start.run=RUN"));
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
        config.method.updates.begin = Some(200);
        config.method.updates.interval = 400;
        config.method.updates.end = UpdateEnd::Step(600);
    });
    let mean = 3.0 * (601.0 * DENSE + 399.0 * SPARSE) / 1000.0;
    assert!((found.mean - mean).abs() < 1e-6, "{} {mean}", found.mean);
    // A third between them, at x = 1/2: s = .9 · (1 − 1/8) = .7875.
    let (found, _) = lenet("pruning", |config| {
        config.method.updates.begin = Some(200);
        config.method.updates.interval = 200;
        config.method.updates.end = UpdateEnd::Step(600);
    });
    let count = |n: usize| rigl_base::counts::active(n, 0.7875);
    let half = 2.0 * (count(235_200) + count(30_000) + count(1000)) as f64;
    let mean = 3.0 * (401.0 * DENSE + 200.0 * half + 399.0 * SPARSE) / 1000.0;
    assert!((found.mean - mean).abs() < 1e-6, "{} {mean}", found.mean);
    assert_eq!(design.cost.flops as f64, SPARSE);
}

#[test]
fn a_density_decays_from_the_initial_sparsity_in_counts_operations_and_memory() {
    let pruning = |initial: f64| {
        lenet("pruning", |config| {
            if initial > 0.0 {
                config.method.start.kind = StartKind::Random;
            }
            config.method.count.initial_sparsity = initial;
            config.method.updates.begin = Some(200);
            config.method.updates.interval = 200;
            config.method.updates.end = UpdateEnd::Step(600);
        })
    };
    // s = .9 + (.5 − .9)(1 − x)³ at x = 0, 1/2 and 1: .5, .85, .9.
    let (found, design) = pruning(0.5);
    let flops = |s: f64| -> f64 {
        [235_200, 30_000, 1000].map(|n| 2.0 * rigl_base::counts::active(n, s) as f64).iter().sum()
    };
    let mean = 3.0 * (401.0 * flops(0.5) + 200.0 * flops(0.85) + 399.0 * SPARSE) / 1000.0;
    assert!((found.mean - mean).abs() < 1e-6, "{} {mean}", found.mean);
    let counts: Vec<_> = design.layers.iter().map(|layer| (layer.now, layer.start, layer.end)).collect();
    assert_eq!(counts, [(117_600, 117_600, 23_520), (15_000, 15_000, 3000), (500, 500, 100)]);
    let patterns = design.patterns().unwrap();
    let active: Vec<usize> = patterns.iter().flatten().map(Pattern::count).collect();
    assert_eq!(active, [117_600, 15_000, 500]);
    let bytes = |initial| pruning(initial).1.memory(&MachineOptions::default()).unwrap().engine;
    assert!(bytes(0.8) < bytes(0.0));
    // Single layers begin no sparser than they end, and one that ends dense is dense all along.
    let (_, design) = lenet("pruning", |config| {
        (config.method.start.kind, config.method.count.initial_sparsity) = (StartKind::Random, 0.5);
        config.method.layers.0 = vec![("fc1".into(), 0.25), ("fc2".into(), 0.0)];
    });
    let counts: Vec<_> = design.layers.iter().map(|layer| (layer.now, layer.end)).collect();
    assert_eq!(counts, [(176_400, 176_400), (500, 100)]);
}

#[test]
fn small_dense_has_as_many_weights_and_is_counted_beside_the_whole_network() {
    let (found, design) = lenet("small-dense", |_| ());
    assert_eq!(design.reference_flops as f64, DENSE);
    assert!(design.cost.weights.abs_diff(26_620) < 800, "{}", design.cost.weights);
    assert_eq!(found.mean, 6.0 * design.cost.weights as f64);
    // By size in bytes it may be wider: the sparse one has a bit for each position too.
    let (_, wider) = lenet("small-dense", |config| config.method.start.narrow_to = NarrowTo::Bytes);
    let sparse = lenet("static", |_| ()).1.cost.bytes;
    assert!(wider.cost.bytes.abs_diff(sparse) < 4 * 800, "{} {sparse}", wider.cost.bytes);
    assert!(wider.cost.weights > design.cost.weights + 800);
}

/// The same, counted batch by batch.
fn counted(design: &Design) -> (u128, u64) {
    let (dense, flops) =
        (design.cost.dense_flops, |active: &[Option<usize>]| Cost::of(&design.graph, active).unwrap().flops);
    let mut active: Vec<_> = match design.updates.settled() {
        Some(_) => design.counts(|layer, _| layer.start),
        None => design.counts(|layer, _| layer.end),
    };
    let (mut total, mut batches) = match design.method().start() {
        Some(Start::Saliency) => (u128::from(3 * dense), 1),
        _ => (0, 0),
    };
    let mut at = (0, false);
    while at.0 < design.recipe.steps {
        let needs = design.updates.needs(at.0, at.1);
        total += u128::from(cost::batch_flops(needs.gradients, dense, flops(&active)));
        batches += 1;
        if let Some(update) = needs.update.filter(|update| update.excess.is_some()) {
            let layers = design.layers.iter().map(|layer| LayerStatistics {
                positions: design.graph.parameters()[layer.parameter].len(),
                active: active[layer.parameter].unwrap(),
                start: layer.start,
                target: layer.end,
                below: 0,
                crossed: 0,
                momentum: 0.0,
            });
            let layers: Vec<_> = layers.collect();
            let budgets = design.method().budget(&update, &layers, &mut design.method().state());
            for (layer, budget) in design.layers.iter().zip(budgets) {
                active[layer.parameter] = Some(budget.count);
            }
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
            config.schedule.unit = Unit::Steps;
            config.schedule.length = f64::from(length);
            config.method.updates.interval = interval;
            config.method.updates.begin = begin;
            config.method.updates.end = end.map_or(UpdateEnd::Auto, UpdateEnd::Step);
            if every_step {
                config.method.updates.every_step = true;
            }
            if replace {
                config.method.updates.step_policy = StepPolicy::Replace;
            }
            let Ok(design) = design(config, &[1, 28, 28]) else { continue };
            let (total, batches) = counted(&design);
            let found = design.training().unwrap();
            prop_assert_eq!(found.batches, batches, "{}", row.name);
            prop_assert_eq!(found.mean, total as f64 / batches as f64, "{}", row.name);
        }
    }
}
