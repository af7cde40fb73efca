//! Random configurations, for tests of properties.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rigl_topology::{Decay, Distribution, LayerFilter, StepPolicy};

use super::{
    Augment, Compute, Config, DropScore, GrowScore, Layers, Limit, MAX_SEED, Method, Model, Seeds,
    Standardize, Unit, UpdateEnd,
};

prop_compose! {
    fn model()(
        name in ".*", hidden in vec(1..5000usize, 0..4), label_smoothing in 0.0..1.0f64,
        depth in option::of(1..=2002usize), width in option::of(1e-9..=1000.0f64),
        dropout in option::of(0.0..1.0f64), bn_momentum in option::of(1e-9..=1.0f64),
    ) -> Model {
        Model { name, hidden, depth, width, dropout, bn_momentum, label_smoothing }
    }
}

prop_compose! {
    fn seeds()(init in 0..=MAX_SEED, topology in 0..=MAX_SEED, data in 0..=MAX_SEED) -> Seeds {
        Seeds { init, topology, data }
    }
}

prop_compose! {
    fn layers()(map in btree_map("[a-zé.\"'\\\\ *=]{0,8}", 0.0..1.0f64, 0..4)) -> Layers {
        Layers(map.into_iter().filter(|(glob, _)| rigl_topology::check_glob(glob).is_ok()).rev().collect())
    }
}

fn filter() -> impl Strategy<Value = LayerFilter> {
    let globs = vec("[a-z.*]{1,8}", 0..3).prop_map(LayerFilter::Globs);
    prop_oneof![Just(LayerFilter::Default), Just(LayerFilter::All), globs]
}

fn scores() -> impl Strategy<Value = (&'static str, DropScore, GrowScore)> {
    select(vec![
        ("dense", DropScore::None, GrowScore::None),
        ("static", DropScore::Magnitude, GrowScore::Gradient),
        ("set", DropScore::None, GrowScore::None),
        ("rigl", DropScore::Magnitude, GrowScore::Random),
    ])
}

prop_compose! {
    fn method()(
        (name, drop, grow) in scores(), sparsity in 0.0..1.0f64, distribution in select(Distribution::ALL),
        drop_fraction in 0.0..=1.0f64, update_interval in 1..100_000u64, update_begin in option::of(0..1000u64),
        end in option::of(1000..1_000_000u64), decay in select(Decay::ALL), step_policy in select(StepPolicy::ALL),
        filter in filter(), layers in layers(),
    ) -> Method {
        let update_end = end.map_or(UpdateEnd::Auto, UpdateEnd::Step);
        Method {
            name: name.into(), sparsity, distribution, drop_fraction, update_interval, update_begin, update_end, decay,
            drop, grow, step_policy, filter, layers, ..Method::default()
        }
    }
}

prop_compose! {
    /// Configurations that [`Config::check`] accepts.
    pub(crate) fn configuration()(
        preset in select(&["", "quickstart", "mnist-lenet"][..]), multiplier in 1e-9..1e6f64,
        compute in select(Compute::ALL), unit in select(Unit::ALL), model in model(), method in method(),
        seeds in seeds(), (batch, parts, limit) in (1..100usize, 1..10usize, option::of(1..100_000usize)),
        (momentum, nesterov, l2, rate) in (0.001..1.0f64, any::<bool>(), 0.0..1e300f64, 1e-300..1e3f64),
        milestones in btree_set(1..1000u32, 0..5), std in vec(1e-9..1e9f64, 1..4),
        (augment, standardize) in (select(Augment::ALL), select(Standardize::ALL)), (patterns, tensorboard) in (0..1000u64, any::<bool>()),
    ) -> Config {
        let mut config = Config { preset: preset.into(), multiplier, compute, model, method, seeds, ..Config::default() };
        config.data.batch = batch * parts;
        config.data.micro_batches = parts;
        config.data.train_samples = limit.map_or(Limit::All, Limit::First);
        config.data.std = std;
        config.data.augment = augment;
        config.data.standardize = standardize;
        config.optimizer.momentum = momentum;
        config.optimizer.nesterov = nesterov;
        config.optimizer.l2 = l2;
        config.schedule.unit = unit;
        config.schedule.learning_rate = rate;
        config.schedule.divide_by = milestones.iter().map(|&m| 1.0 + f64::from(m) / 7.0).collect();
        config.schedule.milestones = milestones.into_iter().map(|m| f64::from(m) / 3.0).collect();
        config.log.patterns = patterns;
        config.log.tensorboard = tensorboard;
        config
    }
}
