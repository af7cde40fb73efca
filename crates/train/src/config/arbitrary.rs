//! Random configurations, for tests of properties.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rigl_graph::Models;
use rigl_graph::models::{ModelOption, OptionRange, OptionValue, Values};
use rigl_topology::{Decay, Distribution, GrownInit, LayerFilter, Method as Row, NarrowTo, StepPolicy};

use super::{
    Augment, Compute, Config, CountKind, DropKind, GrowKind, Layers, Limit, MAX_SEED, Method, MethodCount,
    MethodDrop, MethodUpdates, Model, Seeds, Shape, Standardize, StartKind, StartValues, Unit, UpdateEnd,
};

/// Some value that an option takes, by a number from 0 to below 1.
fn value(option: &ModelOption, x: f64) -> OptionValue {
    let below = |n: usize| (x * n as f64) as usize;
    match &option.range {
        &OptionRange::Whole { first, step, last } => (first + step * below((last - first) / step)).into(),
        OptionRange::OneOf(numbers) => numbers[below(numbers.len())].into(),
        OptionRange::Number(..) => x.max(1e-9).into(),
        OptionRange::Sizes => vec![1 + below(5000); 1 + below(4)].into(),
        OptionRange::Word(words) => words[below(words.len())].into(),
        OptionRange::Flag => (x < 0.5).into(),
    }
}

prop_compose! {
    /// Networks that are known, and others, of whose options nobody knows anything.
    fn model()(
        number in 0..14usize, other in ".*", label_smoothing in 0.0..0.999f64,
        picks in vec(option::of(0.0..1.0f64), 4), words in vec("[a-z é\"]{1,5}", 0..2),
    ) -> Model {
        let models = Models::default();
        let name = models.names().nth(number).map_or(other, String::from);
        let mut set = Values::default();
        match models.find(&name) {
            Some(network) => {
                for (option, pick) in network.options.iter().zip(&picks) {
                    let chosen = pick.map(|x| value(option, x)).filter(|value| *value != option.default);
                    chosen.into_iter().for_each(|value| set.set(&*option.name, value));
                }
            }
            None => {
                for (number, &x) in picks.iter().flatten().enumerate() {
                    let values: [OptionValue; 4] = [x.into(), 3.0.into(), (x > 0.5).into(), number.into()];
                    set.set(format!("n{number}"), values[number].clone());
                }
                let words = words.into_iter().filter(|word| word != "auto").enumerate();
                words.for_each(|(number, word)| set.set(format!("word-{number}"), word));
            }
        }
        Model::with(name, label_smoothing, set, &models)
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

/// A row, and what its tables may be turned into.
fn columns() -> impl Strategy<Value = Method> {
    let grow = select(&[GrowKind::Random, GrowKind::Gradient, GrowKind::Momentum][..]);
    // But scores of a program's own, of which there are none.
    let drop =
        select(&[DropKind::Magnitude, DropKind::Importance, DropKind::Threshold, DropKind::SignChange][..]);
    let start = select(&[StartKind::Random, StartKind::Saliency, StartKind::Magnitude, StartKind::From][..]);
    let values = (select(StartValues::ALL), select(NarrowTo::ALL), select(GrownInit::ALL), 0.0..1.0f64);
    (select(Row::ALL), option::of(grow), option::of(drop), option::of(start), any::<bool>(), values).prop_map(
        |(row, grow, drop, start, redistributed, (values, narrow_to, init, average))| {
            let mut method = Config::default().with_method(&row).method;
            let replaces = row.updates() && !row.prunes() && !row.keeps_inactive();
            if replaces {
                method.drop.kind = drop.unwrap_or(method.drop.kind);
                method.count.kind = if redistributed { CountKind::Redistributed } else { method.count.kind };
            }
            if replaces || row.prunes() {
                method.grow.kind = grow.unwrap_or(method.grow.kind);
                (method.grow.init, method.grow.average) = (init, average);
            }
            method.start.kind = match start {
                Some(start) if !row.is_dense() => start,
                _ => method.start.kind,
            };
            // Drawn below, never above what the network ends with.
            method.count.initial_sparsity = if start.is_some() { average } else { 0.0 };
            (method.start.run, method.start.values, method.start.narrow_to) =
                ("a run".into(), values, narrow_to);
            if method.start.kind == StartKind::Narrow {
                method.start.run.clear();
            }
            method
        },
    )
}

fn end() -> impl Strategy<Value = UpdateEnd> {
    prop_oneof![
        Just(UpdateEnd::Auto),
        (1000..1_000_000u64).prop_map(UpdateEnd::Step),
        (0.001..=1.0f64).prop_map(UpdateEnd::Share),
        Just(UpdateEnd::Share(1.0)),
    ]
}

prop_compose! {
    fn updates()(
        drop_fraction in 0.0..=1.0f64, interval in 1..100_000u64, begin in option::of(0..1000u64), end in end(),
        decay in select(Decay::ALL), step_policy in select(StepPolicy::ALL), every_step in any::<bool>(),
    ) -> MethodUpdates {
        MethodUpdates { interval, begin, end, drop_fraction, decay, step_policy, every_step }
    }
}

prop_compose! {
    fn method()(
        columns in columns(), sparsity in 0.0..1.0f64, distribution in select(Distribution::ALL), updates in updates(),
        filter in filter(), layers in layers(),
        (threshold, noise, pull, temperature) in (1e-9..1.0f64, any::<bool>(), 0.0..1.0f64, option::of(0.0..1.0f64)),
    ) -> Method {
        let drop = MethodDrop { threshold, noise, pull, temperature, ..columns.drop.clone() };
        let count = MethodCount {
            initial_sparsity: columns.count.initial_sparsity * sparsity,
            ..columns.count.clone()
        };
        Method { sparsity, distribution, drop, count, updates, filter, layers, ..columns }
    }
}

prop_compose! {
    /// Configurations that [`Config::check`] accepts.
    pub(crate) fn configuration()(
        preset in select(&["", "quickstart", "mnist-lenet"][..]), multiplier in 1e-9..1e6f64,
        compute in select(Compute::ALL), unit in select(Unit::ALL), shape in select(Shape::ALL), model in model(), method in method(),
        seeds in seeds(), (batch, parts, limit) in (1..100usize, 1..10usize, option::of(1..100_000usize)),
        (momentum, nesterov, l2, rate) in (0.001..0.999f64, any::<bool>(), 0.0..1e38f64, 1e-37..1e3f64),
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
        config.schedule.shape = shape;
        config.schedule.divide_by = milestones.iter().map(|&m| 1.0 + f64::from(m) / 7.0).collect();
        config.schedule.milestones = milestones.into_iter().map(|m| f64::from(m) / 3.0).collect();
        config.log.patterns = patterns;
        config.log.tensorboard = tensorboard;
        config.forget_idle().unwrap();
        config
    }
}
