//! Vectors of maps and maps of vectors against plain loops in the documented order of sums, to the bit.

use crate::map::{DataGradient, MapShape, blocks};
use crate::run::{Machine, Workspace};
use crate::simd::Isa;
use crate::testing::{Gradient, Random, Viewed, map, same};
use crate::vector::layout::groups;
use crate::vector::reshape::*;

const SAMPLES: [usize; 6] = [1, 15, 17, 40, 64, 130];

fn shapes() -> Vec<MapShape> {
    let mut random = Random::new(9);
    let mut shapes: Vec<MapShape> = (0..20)
        .map(|_| MapShape {
            channels: 1 + random.below(7),
            rows: 1 + random.below(19),
            columns: 1 + random.below(9),
        })
        .collect();
    // Worth several threads, with the 130 samples that it gets.
    shapes[5] = MapShape { channels: 8, rows: 13, columns: 9 };
    // A vector's map.
    shapes.push(MapShape { channels: 33, rows: 1, columns: 1 });
    shapes
}

/// Every value of a map: (its place in the map, its place in a vector of means, in a vector of values).
fn places(shape: MapShape, samples: usize) -> Vec<[usize; 3]> {
    let mut places = Vec::new();
    for sample in 0..blocks(samples) * 16 {
        for c in 0..shape.channels {
            for r in 0..shape.rows {
                for q in 0..shape.columns {
                    let values = shape.channels * shape.rows * shape.columns;
                    let vector = |features: usize, feature: usize| {
                        (sample / 64 * features + feature) * 64 + sample % 64
                    };
                    let feature = (c * shape.rows + r) * shape.columns + q;
                    let mean = vector(shape.channels, c);
                    let at = shape.at(sample / 16, r, c, q) + sample % 16;
                    places.push([at, mean, vector(values, feature)]);
                }
            }
        }
    }
    places
}

/// Sample of a place in a vector.
fn is_sample(features: usize, samples: usize, i: usize) -> bool {
    i / (features * 64) * 64 + i % 64 < samples
}

/// Calls `check` with every instruction set, some threads, and what is run.
fn on_all(shape: MapShape, samples: usize, mut check: impl FnMut(&Machine, &str)) {
    for isa in Isa::available() {
        for threads in [1, 3] {
            let machine = Machine::new(isa, threads);
            check(&machine, &format!("{shape:?}, {samples} samples, {} {threads}", isa.name()));
        }
    }
}

#[test]
fn vectors_of_maps_equal_plain_loops_to_the_bit_and_are_zero_without_samples() {
    let mut random = Random::new(10);
    for (number, shape) in shapes().into_iter().enumerate() {
        let samples = SAMPLES[number % SAMPLES.len()];
        let x = Viewed::new(&mut random, shape, samples, number % 8);
        let values = shape.channels * shape.rows * shape.columns;
        let (mut means, mut flat) =
            (vec![0.0; shape.channels * groups(samples) * 64], vec![0.0; values * groups(samples) * 64]);
        for [at, mean, value] in places(shape, samples) {
            if is_sample(values, samples, value) {
                means[mean] += x.value(at);
                flat[value] = x.value(at);
            }
        }
        let share = 1.0 / (shape.rows * shape.columns) as f32;
        means.iter_mut().for_each(|mean| *mean *= share);
        on_all(shape, samples, |machine, what| {
            let mut y = vec![f32::NAN; means.len()];
            GlobalAveragePool { shape, x: x.view(), y: &mut y, samples }.run(machine).unwrap();
            same(&y, &means, &format!("means of {what}"));
            let mut y = vec![f32::NAN; flat.len()];
            Flatten { shape, x: x.view(), y: &mut y, samples }.run(machine).unwrap();
            same(&y, &flat, &format!("values of {what}"));
        });
    }
}

#[test]
fn gradients_of_vectors_reach_the_map_through_its_view_with_their_sums() {
    let mut random = Random::new(11);
    for (number, shape) in shapes().into_iter().enumerate() {
        let samples = SAMPLES[number % SAMPLES.len()];
        let x = Viewed::new(&mut random, shape, samples, number % 8);
        let values = shape.channels * shape.rows * shape.columns;
        // With numbers behind the last sample, which must not be seen.
        let means = random.numbers(shape.channels * groups(samples) * 64);
        let flat = random.numbers(values * groups(samples) * 64);
        let before = map(&mut random, shape, samples);
        let share = 1.0 / (shape.rows * shape.columns) as f32;
        let mut dv = [vec![0.0; before.len()], vec![0.0; before.len()]];
        for [at, mean, value] in places(shape, samples) {
            if is_sample(values, samples, value) {
                dv[0][at] = means[mean] * share;
                dv[1][at] = flat[value];
            }
        }
        on_all(shape, samples, |machine, what| {
            let size = FlattenBackward::workspace(shape, samples);
            assert_eq!(size, GlobalAveragePoolBackward::workspace(shape, samples));
            let mut scratch = Workspace::new(machine.pool.threads(), size).unwrap();
            for (kind, dv) in dv.iter().enumerate() {
                for accumulate in [false, true] {
                    let before = accumulate.then_some(before.as_slice());
                    let (expected, sums_expected) = x.gradient(dv, before, samples);
                    let mut dx = before.map_or(vec![f32::NAN; dv.len()], <[f32]>::to_vec);
                    let mut sums = vec![f64::NAN; 2 * shape.channels];
                    let wanted = (number % 5 > 0).then_some(sums.as_mut_slice());
                    let data = DataGradient { out: &mut dx, accumulate, sums: wanted };
                    let (x, scratch) = (x.view(), &mut scratch);
                    if kind == 0 {
                        GlobalAveragePoolBackward { shape, x, gradient: &means, data, samples }
                            .run(machine, scratch)
                            .unwrap();
                    } else {
                        FlattenBackward { shape, x, gradient: &flat, data, samples }
                            .run(machine, scratch)
                            .unwrap();
                    }
                    same(&dx, &expected, &format!("gradient {kind} {accumulate} of {what}"));
                    if number % 5 > 0 {
                        assert_eq!(sums, sums_expected, "{kind} {accumulate} {what}");
                    }
                }
            }
        });
    }
}

#[test]
fn vectors_become_maps_and_gradients_of_maps_vectors() {
    let mut random = Random::new(12);
    for (number, shape) in shapes().into_iter().enumerate() {
        let samples = SAMPLES[number % SAMPLES.len()];
        let values = shape.channels * shape.rows * shape.columns;
        let x = random.numbers(values * groups(samples) * 64);
        let before = random.numbers(x.len());
        let gradient = Gradient::new(&mut random, shape, samples, 1 + number % 3);
        let mut y_expected = vec![0.0; shape.len(blocks(samples)).unwrap()];
        let mut dx_expected = [vec![0.0; x.len()], before.clone()];
        for [at, _, value] in places(shape, samples) {
            if is_sample(values, samples, value) {
                y_expected[at] = x[value];
                dx_expected[0][value] = gradient.value(at);
                dx_expected[1][value] += gradient.value(at);
            }
        }
        on_all(shape, samples, |machine, what| {
            let mut y = vec![f32::NAN; y_expected.len()];
            Unflatten { shape, x: &x, y: &mut y, samples }.run(machine).unwrap();
            same(&y, &y_expected, &format!("the map of {what}"));
            for accumulate in [false, true] {
                let mut out = if accumulate { before.clone() } else { vec![f32::NAN; x.len()] };
                let gradient = gradient.view();
                UnflattenBackward { shape, gradient, out: &mut out, accumulate, samples }
                    .run(machine)
                    .unwrap();
                let expected = &dx_expected[usize::from(accumulate)];
                same(&out, expected, &format!("the gradient of {what}"));
            }
        });
    }
}
