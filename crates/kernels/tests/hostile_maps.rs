//! The kernels on maps of images, as `hostile` has all others: first on buffers that are exactly as long as they must
//! be and lie between inaccessible pages, then with lengths, shapes and numbers that make no sense.

mod support;

use rigl_kernels::conv::{Backward, ConvShape, ConvStream, ConvTaps, Forward, WeightGradient, Weights};
use rigl_kernels::map::dropout::{MaskStream, draw_mask};
use rigl_kernels::map::norm;
use rigl_kernels::map::passes::{self, Add, Route};
use rigl_kernels::map::{BLOCK, DataGradient, GradientView, MapShape, Statistics, View, blocks};
use rigl_kernels::pool::{AveragePool, AveragePoolBackward, MaxPool, MaxPoolBackward, PoolShape};
use rigl_kernels::vector::layout::{GROUP, groups};
use rigl_kernels::vector::reshape::{
    Flatten, FlattenBackward, GlobalAveragePool, GlobalAveragePoolBackward, Unflatten, UnflattenBackward,
};
use rigl_kernels::{Error, Isa, Machine, Workspace, WorkspaceSize};
use support::case::same;
use support::guard::{Buffer, GUARDED, Place};
use support::lengths::{DIMENSIONS, check_lengths};
use support::map_case::{Gradient, MapCase, Viewed, pooling, results};

const SMALL: ConvShape =
    ConvShape { inputs: 3, rows: 5, columns: 6, outputs: 4, kernel: 3, stride: 1, padding: 1, groups: 1 };

/// Shapes around the edges of tiles, classes and strips.
fn shapes() -> Vec<ConvShape> {
    vec![
        SMALL,
        ConvShape { inputs: 1, rows: 1, columns: 1, outputs: 1, kernel: 1, padding: 0, ..SMALL },
        ConvShape { rows: 9, columns: 7, stride: 2, ..SMALL },
        ConvShape { rows: 9, columns: 20, stride: 2, kernel: 1, padding: 0, ..SMALL },
        ConvShape { columns: 17, stride: 3, kernel: 5, padding: 4, ..SMALL },
        ConvShape { inputs: 4, rows: 6, columns: 8, outputs: 6, groups: 2, ..SMALL },
        ConvShape { inputs: 5, rows: 4, columns: 4, outputs: 5, groups: 5, stride: 2, ..SMALL },
        ConvShape { inputs: 2, rows: 19, columns: 33, outputs: 3, kernel: 2, padding: 1, ..SMALL },
    ]
}

#[test]
fn no_kernel_touches_what_lies_around_its_buffers() {
    let check = |machine: &Machine, case: &MapCase| {
        let expected = results(machine, case, Place::Anywhere);
        for place in GUARDED {
            let what = || format!("{} {} {case:?} {place:?}", machine.isa.name(), machine.pool.threads());
            same(&results(machine, case, place), &expected, &what);
        }
    };
    for isa in Isa::available() {
        let alone = Machine::new(isa, 1);
        for (i, shape) in shapes().into_iter().enumerate() {
            for (j, samples) in [1, 15, 16, 17, 40, 65, 0].into_iter().enumerate() {
                let density = [0.0, 0.2, 0.6, 1.0][(i + j) % 4];
                check(&alone, &MapCase { shape, samples, density, special: 0 });
            }
        }
        // Work that is worth several threads.
        let large = ConvShape { inputs: 16, rows: 16, columns: 16, outputs: 8, ..SMALL };
        for threads in [2, 3] {
            check(
                &Machine::new(isa, threads),
                &MapCase { shape: large, samples: 40, density: 0.3, special: 0 },
            );
        }
    }
}

#[test]
fn a_convolution_cut_for_many_threads_stays_inside_its_buffers_and_gives_the_bits_of_one() {
    // So much work that bands are cut into sections, and partial weight gradients into pieces.
    let shape = ConvShape { inputs: 80, rows: 8, columns: 8, outputs: 96, ..SMALL };
    for density in [0.3, 1.0] {
        let case = MapCase { shape, samples: 37, density, special: 0 };
        let run = |threads, place| results(&Machine::new(Isa::detect(), threads), &case, place);
        let expected = run(1, Place::Anywhere);
        for threads in [2, 3, 7, 40, 96] {
            for place in GUARDED {
                same(&run(threads, place), &expected, &|| format!("{threads} {density} {place:?}"));
            }
        }
    }
}

#[test]
fn numbers_that_are_none_give_the_same_on_every_instruction_set_and_number_of_threads() {
    for shape in shapes() {
        let case = MapCase { shape, samples: 37, density: 0.5, special: 7 };
        let run = |isa, threads| results(&Machine::new(isa, threads), &case, GUARDED[0]);
        let expected = run(Isa::detect(), 1);
        for isa in Isa::available() {
            for threads in [1, 3] {
                same(&run(isa, threads), &expected, &|| format!("{} {threads} {shape:?}", isa.name()));
            }
        }
    }
}

fn zeros(len: usize, place: Place) -> Buffer<f32> {
    Buffer::new(&vec![0.0; len], place)
}

fn sums(len: usize, place: Place) -> Buffer<f64> {
    Buffer::new(&vec![0.0; len], place)
}

/// Scratch for whatever is run on the shape.
fn scratch(shape: &ConvShape, samples: usize) -> Workspace {
    let (n, input) = (shape.weight_len(), shape.input());
    let size = Forward::workspace(shape, n, samples)
        .max(Backward::workspace(shape, n, n, samples))
        .max(passes::workspace(input, samples))
        .max(MaxPoolBackward::workspace(&pooling(shape), samples))
        .max(FlattenBackward::workspace(input, samples));
    Workspace::new(2, size).unwrap()
}

#[test]
fn scratch_for_a_batch_does_for_every_smaller_one() {
    let machine = &Machine::new(Isa::detect(), 2);
    let shape = ConvShape { inputs: 80, rows: 8, columns: 8, outputs: 96, ..SMALL };
    let (stream, n) = (ConvStream::full(shape).unwrap(), shape.weight_len());
    let values = vec![0.5; n];
    let [x, dy] = [shape.input(), shape.output()].map(|of| vec![1.0; of.len(blocks(300)).unwrap()]);
    for planned in [1, 100, 128, 300] {
        let mut scratch = Workspace::new(2, Backward::workspace(&shape, n, n, planned)).unwrap();
        for samples in (1..=planned).step_by(11) {
            let [x, dy] = [(&x, shape.input()), (&dy, shape.output())]
                .map(|(numbers, of)| &numbers[..of.len(blocks(samples)).unwrap()]);
            let mut gradient = vec![0.0; n];
            let done = Backward {
                weights: Weights::Sparse(&stream, &values),
                x: View::plain(x),
                gradient: GradientView { direct: Some(dy), ..GradientView::default() },
                keep: None,
                weight: WeightGradient::Sparse(&stream, &mut gradient),
                bias: None,
                accumulate: false,
                data: None,
                samples,
            };
            done.run(machine, &mut scratch).unwrap_or_else(|e| panic!("{samples} of {planned}: {e}"));
        }
    }
}

#[test]
fn slices_of_convolutions_too_short_or_too_long_are_refused() {
    let samples = 18;
    let (input, output) = (SMALL.input(), SMALL.output());
    let [x, y] = [input, output].map(|shape| shape.len(blocks(samples)).unwrap());
    let (c, k) = (input.channels, output.channels);
    let stream = ConvStream::new(SMALL, &[0, 7, 19]).unwrap();
    let taps = ConvTaps::new(SMALL).unwrap();
    for isa in Isa::available() {
        let machine = &Machine::new(isa, 2);
        for (dense, values) in [(false, 3), (true, SMALL.weight_len())] {
            let right = [values, k, x, c, c, c, x / 16, y, k, k, k, y / 16, y, k, 2 * k];
            check_lengths(
                "convolution",
                right,
                |[v, b, x0, x1, x2, x3, x4, r0, r1, r2, r3, r4, y, h, s], p| {
                    let (v, b, h) = (zeros(v, p), zeros(b, p), zeros(h, p));
                    let (x, residual) =
                        (Viewed::new([x0, x1, x2, x3, x4], p), Viewed::new([r0, r1, r2, r3, r4], p));
                    let weights =
                        if dense { Weights::Dense(&taps, &v) } else { Weights::Sparse(&stream, &v) };
                    Forward {
                        weights,
                        bias: Some(&b),
                        x: x.view(),
                        residual: Some(residual.view()),
                        y: &mut zeros(y, p),
                        statistics: Some(Statistics { shift: &h, sums: &mut sums(s, p) }),
                        samples,
                    }
                    .run(machine, &mut scratch(&SMALL, samples))
                },
            );
            let right = [values, x, c, c, c, x / 16, y, y, y, k, k, k, k, y, values, k, x, 2 * c];
            check_lengths("its backward pass", right, |lengths, p| {
                let [v, x0, x1, x2, x3, x4, g0, g1, g2, g3, g4, g5, g6, dy, dw, db, dx, s] = lengths;
                let (v, mut dw) = (zeros(v, p), zeros(dw, p));
                let x = Viewed::new([x0, x1, x2, x3, x4], p);
                let gradient = Gradient::new([g0, g1, g2, g3, g4, g5, g6], p);
                Backward {
                    weights: if dense { Weights::Dense(&taps, &v) } else { Weights::Sparse(&stream, &v) },
                    x: x.view(),
                    gradient: gradient.view(),
                    keep: Some(&mut zeros(dy, p)),
                    weight: if dense {
                        WeightGradient::Dense(&taps, &mut dw)
                    } else {
                        WeightGradient::Sparse(&stream, &mut dw)
                    },
                    bias: Some(&mut zeros(db, p)),
                    accumulate: false,
                    data: Some(DataGradient {
                        out: &mut zeros(dx, p),
                        accumulate: false,
                        sums: Some(&mut sums(s, p)),
                    }),
                    samples,
                }
                .run(machine, &mut scratch(&SMALL, samples))
            });
        }
    }
}

#[test]
fn slices_of_passes_and_poolings_too_short_or_too_long_are_refused() {
    let samples = 18;
    let shape = SMALL.input();
    let pool = pooling(&SMALL);
    let [x, y] = [shape, pool.output()].map(|shape| shape.len(blocks(samples)).unwrap());
    let c = shape.channels;
    for isa in Isa::available() {
        let machine = &Machine::new(isa, 2);
        let scratch = || scratch(&SMALL, samples);
        let right = [x, c, c, c, x / 16, x, x, c, 2 * c];
        check_lengths("addition", right, |[x0, x1, x2, x3, x4, b, y, h, s], p| {
            let (a, b, h) = (Viewed::new([x0, x1, x2, x3, x4], p), zeros(b, p), zeros(h, p));
            let (mut y, mut sums) = (zeros(y, p), sums(s, p));
            let statistics = Some(Statistics { shift: &h, sums: &mut sums });
            let (b, y) = (Some(View::plain(&b)), Some(&mut *y));
            Add { shape, a: a.view(), b, y, statistics, samples }.run(machine, &mut scratch())
        });
        let right = [x, c, c, c, x / 16, x, x, x, c, c, c, c, x, 2 * c];
        check_lengths("route", right, |[x0, x1, x2, x3, x4, g0, g1, g2, g3, g4, g5, g6, out, s], p| {
            let view = Viewed::new([x0, x1, x2, x3, x4], p);
            let gradient = Gradient::new([g0, g1, g2, g3, g4, g5, g6], p);
            let (mut out, mut sums) = (zeros(out, p), sums(s, p));
            let (view, gradient, out, sums) = (view.view(), gradient.view(), &mut *out, Some(&mut *sums));
            Route { shape, gradient, view, out, accumulate: true, sums, samples }.run(machine, &mut scratch())
        });
        for average in [false, true] {
            let (shape, right) = (pool, [x, c, c, c, x / 16, y]);
            check_lengths("pooling", right, |[x0, x1, x2, x3, x4, y], p| {
                let (x, mut y) = (Viewed::new([x0, x1, x2, x3, x4], p), zeros(y, p));
                let (x, y) = (x.view(), &mut *y);
                if average {
                    AveragePool { shape, x, y, samples }.run(machine)
                } else {
                    MaxPool { shape, x, y, samples }.run(machine)
                }
            });
            let right = [x, c, c, c, x / 16, y, y, y, c, c, c, c, x, 2 * c];
            check_lengths("its backward pass", right, |lengths, p| {
                let [x0, x1, x2, x3, x4, g0, g1, g2, g3, g4, g5, g6, out, s] = lengths;
                let x = Viewed::new([x0, x1, x2, x3, x4], p);
                let gradient = Gradient::new([g0, g1, g2, g3, g4, g5, g6], p);
                let (mut out, mut sums) = (zeros(out, p), sums(s, p));
                let data = DataGradient { out: &mut out, accumulate: true, sums: Some(&mut sums) };
                let (x, gradient) = (x.view(), gradient.view());
                if average {
                    AveragePoolBackward { shape, x, gradient, data, samples }.run(machine, &mut scratch())
                } else {
                    MaxPoolBackward { shape, x, gradient, data, samples }.run(machine, &mut scratch())
                }
            });
        }
    }
}

#[test]
fn slices_of_vectors_and_norms_too_short_or_too_long_are_refused() {
    let samples = 18;
    let shape = SMALL.input();
    let x = shape.len(blocks(samples)).unwrap();
    let c = shape.channels;
    let of_values = c * shape.rows * shape.columns * groups(samples) * GROUP;
    for isa in Isa::available() {
        let machine = &Machine::new(isa, 2);
        let scratch = || scratch(&SMALL, samples);
        for (flat, vector) in [(false, c * groups(samples) * GROUP), (true, of_values)] {
            check_lengths("to a vector", [x, c, c, c, x / 16, vector], |[x0, x1, x2, x3, x4, y], p| {
                let (x, mut y) = (Viewed::new([x0, x1, x2, x3, x4], p), zeros(y, p));
                let (x, y) = (x.view(), &mut *y);
                if flat {
                    Flatten { shape, x, y, samples }.run(machine)
                } else {
                    GlobalAveragePool { shape, x, y, samples }.run(machine)
                }
            });
            let right = [x, c, c, c, x / 16, vector, x, 2 * c];
            check_lengths("its backward pass", right, |[x0, x1, x2, x3, x4, gradient, out, s], p| {
                let (x, gradient) = (Viewed::new([x0, x1, x2, x3, x4], p), zeros(gradient, p));
                let (mut out, mut sums) = (zeros(out, p), sums(s, p));
                let data = DataGradient { out: &mut out, accumulate: true, sums: Some(&mut sums) };
                let (x, gradient) = (x.view(), &*gradient);
                if flat {
                    FlattenBackward { shape, x, gradient, data, samples }.run(machine, &mut scratch())
                } else {
                    GlobalAveragePoolBackward { shape, x, gradient, data, samples }
                        .run(machine, &mut scratch())
                }
            });
        }
        check_lengths("to a map", [of_values, x], |[x, y], p| {
            Unflatten { shape, x: &zeros(x, p), y: &mut zeros(y, p), samples }.run(machine)
        });
        let right = [x, x, x, c, c, c, c, of_values];
        check_lengths("its backward pass", right, |[g0, g1, g2, g3, g4, g5, g6, out], p| {
            let gradient = Gradient::new([g0, g1, g2, g3, g4, g5, g6], p);
            let (gradient, mut out) = (gradient.view(), zeros(out, p));
            UnflattenBackward { shape, gradient, out: &mut out, accumulate: true, samples }.run(machine)
        });
    }
    check_lengths("moments", [6, 3, 3], |[s, shift, variance], p| {
        norm::moments(&sums(s, p), &zeros(shift, p), 5, &mut zeros(3, p), &mut zeros(variance, p))
    });
    check_lengths("scale", [3, 3], |[gamma, variance], p| {
        norm::scale(&zeros(gamma, p), &zeros(variance, p), 0.0, &mut zeros(3, p))
    });
    check_lengths("running averages", [3, 3, 3], |[variance, mean, running], p| {
        let (mut mean, mut running) = (zeros(mean, p), zeros(running, p));
        norm::run_on(0.1, 0, &zeros(3, p), &zeros(variance, p), &mut mean, &mut running)
    });
    check_lengths("backward pass of a norm", [6, 3, 3, 3, 3, 3], |[s, variance, slope, shift, g, b], p| {
        let out = norm::Gradients {
            slope: &mut zeros(slope, p),
            shift: &mut zeros(shift, p),
            gamma: &mut zeros(g, p),
            beta: &mut zeros(b, p),
            accumulate: false,
        };
        norm::backward(&sums(s, p), 0, &zeros(3, p), &zeros(variance, p), 0.0, out)
    });
}

#[test]
fn convolutions_and_poolings_of_shapes_that_are_none_are_refused() {
    let machine = &Machine::new(Isa::detect(), 1);
    let mut scratch = scratch(&SMALL, 16);
    let (x, mut y) = ([1.0; 90 * BLOCK], [1.0; 90 * BLOCK]);
    for n in DIMENSIONS {
        let good = SMALL;
        for shape in [
            ConvShape { inputs: n, ..good },
            ConvShape { rows: n, ..good },
            ConvShape { columns: n, ..good },
            ConvShape { outputs: n, ..good },
            ConvShape { kernel: n, ..good },
            ConvShape { stride: n, ..good },
            ConvShape { padding: n, ..good },
            ConvShape { groups: n, ..good },
            ConvShape { inputs: n, outputs: n, groups: n, ..good },
            ConvShape { rows: n, columns: n, kernel: n, padding: n.saturating_sub(1), ..good },
            ConvShape {
                inputs: n,
                rows: n,
                columns: n,
                outputs: n,
                kernel: n,
                stride: n,
                padding: n,
                groups: n,
            },
        ] {
            let refused = shape.check().is_err();
            assert!(!refused || Forward::workspace(&shape, n, n) == WorkspaceSize::default());
            assert!(!refused || Backward::workspace(&shape, n, n, n) == WorkspaceSize::default());
            let (input, output) = (shape.input(), shape.output());
            assert!(refused || (output.rows > 0 && output.columns > 0 && output.channels == shape.outputs));
            assert_eq!(input, MapShape { channels: shape.inputs, rows: shape.rows, columns: shape.columns });
            // Not those that are right and large: a pattern has a table for every channel.
            if refused || shape.weight_len() < 1 << 16 {
                assert_eq!(ConvStream::new(shape, &[]).is_err(), refused, "{shape:?}");
                assert_eq!(ConvStream::full(shape).is_err(), refused, "{shape:?}");
                assert_eq!(ConvTaps::new(shape).is_err(), refused || shape.groups != 1, "{shape:?}");
            }
            let ConvShape { inputs: channels, rows, columns, kernel, stride, padding, .. } = shape;
            let shape = PoolShape { channels, rows, columns, kernel, stride, padding };
            let refused = shape.check().is_err();
            assert_eq!(shape.input(), input);
            assert_eq!(shape.output().rows == 0, refused);
            assert!(!refused || MaxPoolBackward::workspace(&shape, n) == WorkspaceSize::default());
            assert!(!refused || AveragePoolBackward::workspace(&shape, n) == WorkspaceSize::default());
            // Whatever the shape is: of all slices, one is too short for another than the small one.
            let fits = (channels, rows, columns) == (good.inputs, good.rows, good.columns) && !refused;
            let view = View::plain(&x);
            let len = if fits { shape.output().len(1).unwrap() } else { 0 };
            let done = MaxPool { shape, x: view, y: &mut y[..len], samples: 16 }.run(machine);
            assert_eq!(done.is_ok(), fits, "{shape:?}");
            let done = AveragePool { shape, x: view, y: &mut y[..len], samples: 16 }.run(machine);
            assert_eq!(done.is_ok(), fits, "{shape:?}");
            let size = MaxPoolBackward::workspace(&shape, 16);
            let fits = fits && Workspace::new(1, size).is_ok();
            let size = if fits { size } else { WorkspaceSize::default() };
            let (mut own, gradient) = (Workspace::new(1, size).unwrap(), GradientView::default());
            let data = DataGradient { out: &mut y, accumulate: false, sums: None };
            let done = MaxPoolBackward { shape, x: view, gradient, data, samples: 16 };
            assert_eq!(done.run(machine, &mut own).is_ok(), fits, "{shape:?}");
            let data = DataGradient { out: &mut y, accumulate: false, sums: None };
            let done = AveragePoolBackward { shape, x: view, gradient, data, samples: 16 };
            assert_eq!(done.run(machine, &mut own).is_ok(), fits, "{shape:?}");
        }
    }
    // A pattern of one convolution is no gradient of another.
    let stream = ConvStream::new(SMALL, &[0]).unwrap();
    let other = ConvStream::new(ConvShape { kernel: 1, padding: 0, ..SMALL }, &[0]).unwrap();
    let mut dw = [0.0];
    let done = Backward {
        weights: Weights::Sparse(&stream, &[1.0]),
        x: View::plain(&x),
        gradient: GradientView::default(),
        keep: None,
        weight: WeightGradient::Sparse(&other, &mut dw),
        bias: None,
        accumulate: false,
        data: None,
        samples: 16,
    }
    .run(machine, &mut scratch);
    assert!(matches!(done, Err(Error::Shape(_))), "{done:?}");
}

#[test]
fn patterns_of_convolutions_that_are_none_are_refused() {
    let refused = |position, found| Err(Error::Index { position, found, limit: 108 });
    for place in GUARDED {
        let new = |indices: &[u32]| {
            ConvStream::new(SMALL, &Buffer::new(indices, place)).map(|stream| stream.count())
        };
        assert_eq!(new(&[0, 1, 107]), Ok(3));
        assert_eq!(new(&[0, 1, 108]), refused(2, 108));
        assert_eq!(new(&[u32::MAX]), refused(0, u32::MAX));
        assert_eq!(new(&[0, 2, 1]), refused(2, 1));
        assert_eq!(new(&[0, 2, 2]), refused(2, 2));
    }
}

#[test]
fn maps_that_overflow_are_refused_and_empty_ones_are_no_work() {
    let machine = &Machine::new(Isa::detect(), 1);
    let numbers: Vec<f32> = vec![0.0; 1 << 10];
    for channels in DIMENSIONS {
        assert_eq!(blocks(channels), channels / BLOCK + usize::from(channels % BLOCK > 0));
        for rows in DIMENSIONS {
            for columns in DIMENSIONS {
                for samples in [0, 1, 16, 17, usize::MAX] {
                    let shape = MapShape { channels, rows, columns };
                    let sides = [channels, rows, columns, blocks(samples), 4 * BLOCK];
                    let bytes = sides.iter().fold(1u128, |n, &side| n.saturating_mul(side.max(1) as u128));
                    let len = shape.len(blocks(samples));
                    assert_eq!(len.is_ok(), bytes <= isize::MAX as u128, "{shape:?}");
                    assert!(!sides.contains(&0) || len.as_ref().is_ok_and(|&n| n == 0) || len.is_err());
                    let sizes = [
                        passes::workspace(shape, samples),
                        FlattenBackward::workspace(shape, samples),
                        GlobalAveragePoolBackward::workspace(shape, samples),
                    ];
                    assert!(sizes.iter().all(|size| size.bytes(usize::MAX) >= size.worker));
                    // Slices of the right length, where there is one that is not long.
                    let n = match len {
                        Ok(n) if n <= numbers.len() && channels <= 1 << 12 => n,
                        Ok(n) if n == 0 && channels > 1 << 12 => continue,
                        _ => numbers.len(),
                    };
                    let fits = len == Ok(n);
                    let (view, mut out) = (View::plain(&numbers[..n]), numbers.clone());
                    let size = if fits { sizes[0].max(sizes[1]) } else { WorkspaceSize::default() };
                    let Ok(mut scratch) = Workspace::new(1, size) else { continue };
                    let (y, gradient) = (Some(&mut out[..n]), GradientView::default());
                    let done = Add { shape, a: view, b: None, y, statistics: None, samples };
                    assert_eq!(done.run(machine, &mut scratch).is_ok(), fits, "{shape:?} {samples}");
                    let (sums, accumulate) = (None, false);
                    let done = Route { shape, gradient, view, out: &mut out[..n], accumulate, sums, samples };
                    assert_eq!(done.run(machine, &mut scratch).is_ok(), fits, "{shape:?} {samples}");
                    let vector = |features: usize| vec![0.0; features * groups(samples.min(n)) * GROUP];
                    let (mut means, mut flat) = match fits {
                        true if n > 0 => (vector(channels), vector(channels * rows * columns)),
                        _ => (vec![], vec![]),
                    };
                    // Without a value there may be features still.
                    let fits = fits && n > 0;
                    let done = GlobalAveragePool { shape, x: view, y: &mut means, samples }.run(machine);
                    assert!(done.is_ok() == fits || n == 0, "{shape:?} {samples}");
                    let done = Flatten { shape, x: view, y: &mut flat, samples }.run(machine);
                    assert!(done.is_ok() == fits || n == 0, "{shape:?} {samples}");
                    let done = Unflatten { shape, x: &flat, y: &mut out[..n], samples }.run(machine);
                    assert!(done.is_ok() == fits || n == 0, "{shape:?} {samples}");
                    let done = UnflattenBackward { shape, gradient, out: &mut flat, accumulate, samples }
                        .run(machine);
                    assert!(done.is_ok() == fits || n == 0, "{shape:?} {samples}");
                    let data = DataGradient { out: &mut out[..n], accumulate, sums: None };
                    let done = FlattenBackward { shape, x: view, gradient: &flat, data, samples };
                    assert!(done.run(machine, &mut scratch).is_ok() == fits || n == 0, "{shape:?} {samples}");
                    let data = DataGradient { out: &mut out[..n], accumulate, sums: None };
                    let done = GlobalAveragePoolBackward { shape, x: view, gradient: &means, data, samples };
                    assert!(done.run(machine, &mut scratch).is_ok() == fits || n == 0, "{shape:?} {samples}");
                }
            }
        }
    }
}

#[test]
fn maps_without_rows_or_columns_have_features_and_no_work() {
    let machine = &Machine::new(Isa::detect(), 2);
    for (rows, columns) in [(0, 5), (5, 0), (0, 0)] {
        let shape = MapShape { channels: 3, rows, columns };
        let mut means = vec![1.0; 3 * GROUP];
        GlobalAveragePool { shape, x: View::plain(&[]), y: &mut means, samples: 1 }.run(machine).unwrap();
    }
}

#[test]
fn scratch_that_is_too_small_is_refused_and_too_much_is_not_given() {
    let (machine, samples) = (&Machine::new(Isa::detect(), 2), 18);
    let shape = SMALL.input();
    let map = vec![0.0; shape.len(blocks(samples)).unwrap()];
    let size = passes::workspace(shape, samples);
    for (threads, size, is_enough) in [
        (2, size, true),
        (3, size.max(WorkspaceSize { worker: 0, shared: 9, sums: 0 }), true),
        (usize::MAX, WorkspaceSize { worker: 0, ..size }, false),
        (1, size, false),
        (2, WorkspaceSize { worker: size.worker - 1, ..size }, false),
        (2, WorkspaceSize { sums: size.sums - 1, ..size }, false),
        (0, WorkspaceSize::default(), false),
    ] {
        let mut scratch = Workspace::new(threads, size).unwrap();
        let add = Add { shape, a: View::plain(&map), b: None, y: None, statistics: None, samples };
        assert_eq!(add.run(machine, &mut scratch).is_ok(), is_enough, "{threads} {size:?}");
    }
    for n in [1 << 60, usize::MAX / 4, usize::MAX] {
        for size in [
            WorkspaceSize { worker: n, ..size },
            WorkspaceSize { shared: n, ..size },
            WorkspaceSize { sums: n, ..size },
        ] {
            assert!(size.bytes(2) >= 1 << 60);
            assert!(matches!(Workspace::new(2, size), Err(Error::Memory { .. })), "{size:?}");
        }
    }
}

#[test]
fn probabilities_that_are_none_are_refused_and_masks_stay_inside() {
    for isa in Isa::available() {
        let machine = Machine::new(isa, 3);
        let stream = MaskStream { key: [u32::MAX; 2], counter: [u32::MAX; 2] };
        for len in [0, 1, 7, 8, 9, 2047, 2048, 2049, 50_000] {
            let draw = |probability, place| {
                let mut mask = Buffer::new(&vec![0x5555u16; len], place);
                draw_mask(&machine, stream, probability, &mut mask).map(|()| mask.to_vec())
            };
            let expected = draw(0.4, Place::Anywhere).unwrap();
            for place in GUARDED {
                assert_eq!(draw(0.4, place).as_ref(), Ok(&expected));
                for wrong in [-1.0, -f32::MIN_POSITIVE, 1.000_001, f32::INFINITY, f32::NAN] {
                    assert!(matches!(draw(wrong, place), Err(Error::Probability(_))), "{wrong}");
                }
            }
        }
    }
}
