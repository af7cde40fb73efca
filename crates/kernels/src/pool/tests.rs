//! Pooling against plain loops in the documented order of sums, to the bit.

use crate::error::Error;
use crate::map::{DataGradient, View, blocks};
use crate::pool::*;
use crate::run::{Machine, Workspace};
use crate::simd::Isa;
use crate::testing::{Gradient, Random, Viewed, map, same};

fn shapes(random: &mut Random, count: usize) -> Vec<PoolShape> {
    // Two that are worth several threads, then any.
    let large = PoolShape { channels: 16, rows: 21, columns: 17, kernel: 3, stride: 2, padding: 1 };
    let mut shapes = vec![large, PoolShape { kernel: 2, padding: 0, ..large }];
    while shapes.len() < count {
        let kernel = 1 + random.below(4);
        let shape = PoolShape {
            channels: 1 + random.below(5),
            rows: 1 + random.below(20),
            columns: 1 + random.below(12),
            kernel,
            stride: 1 + random.below(4),
            padding: random.below(kernel),
        };
        if shape.check().is_ok() {
            shapes.push(shape);
        }
    }
    shapes
}

/// Calls `window(output, its inputs in row-major order)` for every output, in row-major order.
fn windows(shape: &PoolShape, samples: usize, mut window: impl FnMut(usize, &[usize])) {
    let (input, output) = (shape.input(), shape.output());
    let side = |out: usize, n: usize| {
        let first = (out * shape.stride) as isize - shape.padding as isize;
        (first..first + shape.kernel as isize).filter(move |&i| 0 <= i && i < n as isize)
    };
    for block in 0..blocks(samples) {
        for i in 0..output.rows {
            for c in 0..shape.channels {
                for j in 0..output.columns {
                    for lane in 0..16 {
                        let mut inputs = Vec::new();
                        for r in side(i, shape.rows) {
                            for q in side(j, shape.columns) {
                                inputs.push(input.at(block, r as usize, c, q as usize) + lane);
                            }
                        }
                        window(output.at(block, i, c, j) + lane, &inputs);
                    }
                }
            }
        }
    }
}

#[test]
fn passes_equal_plain_loops_to_the_bit_on_every_instruction_set_and_number_of_threads() {
    let mut random = Random::new(5);
    for (number, shape) in shapes(&mut random, 80).into_iter().enumerate() {
        let samples = [40, 17, 15, 1][number / 2 % 4];
        let (input, output) = (shape.input(), shape.output());
        let mut x = Viewed::new(&mut random, input, samples, number % 8);
        if number % 3 == 0 {
            // Many equal values.
            x.map.iter_mut().for_each(|x| *x = (*x * 2.0).round());
        }
        let gradient = Gradient::new(&mut random, output, samples, 1 + number % 3);
        let before = map(&mut random, input, samples);
        let share = 1.0 / (shape.kernel * shape.kernel) as f32;
        let (mut largest, mut mean) = (Vec::new(), Vec::new());
        let mut dv = [vec![0.0; before.len()], vec![0.0; before.len()]];
        largest.resize(output.len(blocks(samples)).unwrap(), f32::NAN);
        mean.resize(largest.len(), f32::NAN);
        windows(&shape, samples, |out, inputs| {
            let best = inputs.iter().copied().reduce(|a, b| if x.value(b) > x.value(a) { b } else { a });
            let best = best.expect("a window sees something");
            largest[out] = x.value(best);
            mean[out] = inputs.iter().fold(0.0, |sum, &i| sum + x.value(i)) * share;
            dv[0][best] += gradient.value(out);
            for &i in inputs {
                dv[1][i] += gradient.value(out) * share;
            }
        });
        for isa in Isa::available() {
            for threads in [1, 3] {
                let machine = Machine::new(isa, threads);
                let size = MaxPoolBackward::workspace(&shape, samples);
                assert_eq!(size, AveragePoolBackward::workspace(&shape, samples));
                let mut scratch = Workspace::new(threads, size).unwrap();
                let mut y = vec![f32::NAN; largest.len()];
                MaxPool { shape, x: x.view(), y: &mut y, samples }.run(&machine).unwrap();
                let what = format!("{shape:?}, {samples} samples, {} {threads}", isa.name());
                same(&y, &largest, &format!("the largest of {what}"));
                y.fill(f32::NAN);
                AveragePool { shape, x: x.view(), y: &mut y, samples }.run(&machine).unwrap();
                same(&y, &mean, &format!("the mean of {what}"));
                for (kind, dv) in dv.iter().enumerate() {
                    for accumulate in [false, true] {
                        let what = format!("the gradient of {}, {accumulate}, {what}", ["max", "mean"][kind]);
                        let before = accumulate.then_some(before.as_slice());
                        let (dx_expected, sums_expected) = x.gradient(dv, before, samples);
                        let mut dx = before.map_or(vec![f32::NAN; dv.len()], <[f32]>::to_vec);
                        let mut sums = vec![f64::NAN; 2 * shape.channels];
                        let wanted = (number % 5 > 0).then_some(sums.as_mut_slice());
                        let data = DataGradient { out: &mut dx, accumulate, sums: wanted };
                        let (x, gradient) = (x.view(), gradient.view());
                        if kind == 0 {
                            MaxPoolBackward { shape, x, gradient, data, samples }
                                .run(&machine, &mut scratch)
                                .unwrap();
                        } else {
                            AveragePoolBackward { shape, x, gradient, data, samples }
                                .run(&machine, &mut scratch)
                                .unwrap();
                        }
                        same(&dx, &dx_expected, &what);
                        if number % 5 > 0 {
                            assert_eq!(sums, sums_expected, "{what}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn of_equal_values_the_first_gets_the_gradient_and_nan_passes_through() {
    // One channel of 2 × 2, one window; every sample has its own values.
    let shape = PoolShape { channels: 1, rows: 2, columns: 2, kernel: 2, stride: 2, padding: 0 };
    let (nan, low) = (f32::NAN, f32::NEG_INFINITY);
    let cases = [
        ([1.0, 1.0, 1.0, 1.0], 1.0, 0),
        ([0.0, 3.0, 3.0, 1.0], 3.0, 1),
        ([-0.0, 0.0, -1.0, 0.0], 0.0, 0),
        ([low, low, low, low], low, 0),
        ([nan, 2.0, nan, 2.0], nan, 0),
        ([1.0, nan, 3.0, nan], nan, 1),
        ([1.0, 2.0, 3.0, nan], nan, 3),
        ([low, nan, low, low], nan, 1),
    ];
    let samples = cases.len();
    let (mut x, dy) = ([0.0; 64], [2.0; 16]);
    for (lane, (values, ..)) in cases.iter().enumerate() {
        for (i, value) in values.iter().enumerate() {
            x[i * 16 + lane] = *value;
        }
    }
    for isa in Isa::available() {
        let machine = Machine::new(isa, 1);
        let mut scratch = Workspace::new(1, MaxPoolBackward::workspace(&shape, samples)).unwrap();
        let (mut y, mut dx) = ([5.0; 16], [5.0; 64]);
        MaxPool { shape, x: View::plain(&x), y: &mut y, samples }.run(&machine).unwrap();
        MaxPoolBackward {
            shape,
            x: View::plain(&x),
            gradient: crate::map::GradientView { direct: Some(&dy), norm: None },
            data: DataGradient { out: &mut dx, accumulate: false, sums: None },
            samples,
        }
        .run(&machine, &mut scratch)
        .unwrap();
        for (lane, (_, largest, winner)) in cases.into_iter().enumerate() {
            let equal = y[lane] == largest || y[lane].is_nan() && largest.is_nan();
            assert!(equal, "{} lane {lane}: {}", isa.name(), y[lane]);
            for i in 0..4 {
                assert_eq!(dx[i * 16 + lane], if winner == i { 2.0 } else { 0.0 }, "lane {lane}");
            }
        }
        for lane in samples..16 {
            assert!((0..4).all(|i| dx[i * 16 + lane] == 0.0));
        }
    }
}

#[test]
fn every_output_sees_an_input_and_is_found_from_it() {
    for rows in 1..9 {
        for kernel in 1..6 {
            for stride in 1..6 {
                for padding in 0..kernel {
                    let shape = PoolShape { channels: 1, rows, columns: rows, kernel, stride, padding };
                    let outputs = shape.output().rows;
                    assert_eq!(outputs == 0, shape.check().is_err(), "{shape:?}");
                    for out in 0..outputs {
                        assert!(!shape.window(out, rows).is_empty(), "{shape:?}");
                    }
                    if outputs == 0 {
                        continue;
                    }
                    for first in 0..rows {
                        for end in first + 1..=rows {
                            let seen = shape.seen_by(&(first..end), outputs);
                            for out in 0..outputs {
                                let window = shape.window(out, rows);
                                let meets = window.start < end && first < window.end;
                                assert_eq!(meets, seen.contains(&out), "{shape:?} {first}..{end} {out}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_no_pooling_is_refused() {
    let good = PoolShape { channels: 2, rows: 5, columns: 6, kernel: 3, stride: 2, padding: 1 };
    assert!(good.check().is_ok());
    for bad in [
        PoolShape { channels: 0, ..good },
        PoolShape { rows: 0, ..good },
        PoolShape { kernel: 0, ..good },
        PoolShape { stride: 0, ..good },
        PoolShape { padding: 3, ..good },
        PoolShape { kernel: 8, ..good },
        PoolShape { padding: usize::MAX, ..good },
        PoolShape { kernel: usize::MAX, ..good },
        PoolShape { rows: usize::MAX, ..good },
    ] {
        assert!(matches!(bad.check(), Err(Error::Shape(_))), "{bad:?}");
        assert_eq!(bad.output().rows, 0);
        assert_eq!(MaxPoolBackward::workspace(&bad, usize::MAX), crate::WorkspaceSize::default());
    }
}
