//! A convolution on a batch of maps, and what every kernel on maps makes of them.

use rigl_kernels::conv::{Backward, ConvShape, ConvStream, ConvTaps, Forward, WeightGradient, Weights};
use rigl_kernels::map::dropout::{MaskStream, draw_mask};
use rigl_kernels::map::norm;
use rigl_kernels::map::passes::{self, Add, Route};
use rigl_kernels::map::{
    Affine, DataGradient, Dropout, GradientView, MapShape, NormGradient, Statistics, View, blocks,
};
use rigl_kernels::pool::{AveragePool, AveragePoolBackward, MaxPool, MaxPoolBackward, PoolShape};
use rigl_kernels::vector::layout::{groups, map_len};
use rigl_kernels::vector::reshape::{
    Flatten, FlattenBackward, GlobalAveragePool, GlobalAveragePoolBackward, Unflatten, UnflattenBackward,
};
use rigl_kernels::{Machine, Workspace};

use super::case::number;
use super::guard::{Buffer, Place};

/// A convolution on a batch.
#[derive(Debug)]
pub struct MapCase {
    pub shape: ConvShape,
    pub samples: usize,
    pub density: f64,
    /// Every so many numbers of a map there is one that is none (0: nowhere).
    pub special: usize,
}

const SPECIAL: [f32; 8] =
    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE / 2.0, -0.0, 0.0];

impl MapCase {
    /// Some numbers.
    fn numbers(&self, len: usize, salt: u64) -> Vec<f32> {
        let is_special = |i: usize| self.special > 0 && i.is_multiple_of(self.special);
        let one = |i| if is_special(i) { SPECIAL[i / self.special % 8] } else { number(i, salt) };
        (0..len).map(one).collect()
    }

    /// The active weights.
    fn indices(&self) -> Vec<u32> {
        let active = |&i: &u32| f64::from(number(i as usize, 2)) * 0.5 + 0.5 < self.density;
        (0..self.shape.weight_len() as u32).filter(active).collect()
    }
}

/// Numbers of a view of a map, each in its own buffer.
pub struct Viewed {
    map: Buffer<f32>,
    norm: [Buffer<f32>; 3],
    keep: Buffer<u16>,
}

impl Viewed {
    /// Lengths: of the map, of the norm's three, of the mask.
    pub fn new([map, mean, scale, offset, keep]: [usize; 5], place: Place) -> Viewed {
        let numbers =
            |len: usize, salt| Buffer::new(&(0..len).map(|i| number(i, salt)).collect::<Vec<f32>>(), place);
        let words: Vec<u16> = (0..keep).map(|i| (number(i, 20) * 32768.0) as i16 as u16).collect();
        Viewed {
            map: numbers(map, 21),
            norm: [numbers(mean, 22), numbers(scale, 23), numbers(offset, 24)],
            keep: Buffer::new(&words, place),
        }
    }

    /// The lengths that a shape asks for.
    pub fn lengths(shape: MapShape, samples: usize) -> [usize; 5] {
        let (len, c) = (shape.len(blocks(samples)).unwrap(), shape.channels);
        [len, c, c, c, len / 16]
    }

    /// The view with all that may be behind a map.
    pub fn view(&self) -> View<'_> {
        let [mean, scale, offset] = &self.norm;
        View {
            map: &self.map,
            norm: Some(Affine { mean, scale, offset }),
            relu: true,
            dropout: Some(Dropout { keep: &self.keep, scale: 2.0 }),
        }
    }
}

/// Numbers of a gradient, each in its own buffer.
pub struct Gradient([Buffer<f32>; 7]);

impl Gradient {
    /// Lengths: of the direct part, of dz, of x, of the norm's four.
    pub fn new(lengths: [usize; 7], place: Place) -> Gradient {
        let mut salt = 30;
        Gradient(lengths.map(|len| {
            salt += 1;
            Buffer::new(&(0..len).map(|i| number(i, salt)).collect::<Vec<f32>>(), place)
        }))
    }

    /// The lengths that a shape asks for.
    pub fn lengths(shape: MapShape, samples: usize) -> [usize; 7] {
        let (len, c) = (shape.len(blocks(samples)).unwrap(), shape.channels);
        [len, len, len, c, c, c, c]
    }

    /// A gradient in both parts.
    pub fn view(&self) -> GradientView<'_> {
        let [direct, dz, x, mean, scale, slope, shift] = &self.0;
        GradientView { direct: Some(direct), norm: Some(NormGradient { dz, x, mean, scale, slope, shift }) }
    }
}

/// A pooling that fits the map of every case.
pub fn pooling(shape: &ConvShape) -> PoolShape {
    let MapShape { channels, rows, columns } = shape.input();
    let kernel = 3.min(rows).min(columns);
    PoolShape { channels, rows, columns, kernel, stride: 1 + channels % 3, padding: kernel / 2 }
}

/// What every kernel makes of the case when every slice it is given lies in `place`.
pub fn results(machine: &Machine, case: &MapCase, place: Place) -> Vec<(&'static str, Vec<f32>)> {
    let run = Run { machine, case, place };
    let mut results = Vec::new();
    run.convolutions(&mut results);
    run.passes(&mut results);
    run.pooling(&mut results);
    run.vectors(&mut results);
    run.norms(&mut results);
    for (key, probability) in [(1, 0.0), (2, 0.3), (3, 1.0)] {
        let mut mask =
            Buffer::new(&vec![0u16; case.shape.input().len(blocks(case.samples)).unwrap() / 16], place);
        draw_mask(machine, MaskStream { key: [key, 1], counter: [2, 3] }, probability, &mut mask).unwrap();
        results.push(("mask", mask.iter().map(|&word| f32::from(word)).collect()));
    }
    results
}

type Results = Vec<(&'static str, Vec<f32>)>;

struct Run<'a> {
    machine: &'a Machine,
    case: &'a MapCase,
    place: Place,
}

impl Run<'_> {
    fn put(&self, len: usize, salt: u64) -> Buffer<f32> {
        Buffer::new(&self.case.numbers(len, salt), self.place)
    }

    fn empty(&self, len: usize) -> Buffer<f32> {
        Buffer::new(&vec![f32::NAN; len], self.place)
    }

    fn sums(&self, len: usize) -> Buffer<f64> {
        Buffer::new(&vec![f64::NAN; len], self.place)
    }

    fn map(&self, shape: MapShape, salt: u64) -> Buffer<f32> {
        self.put(shape.len(blocks(self.case.samples)).unwrap(), salt)
    }

    fn viewed(&self, shape: MapShape) -> Viewed {
        let mut viewed = Viewed::new(Viewed::lengths(shape, self.case.samples), self.place);
        viewed.map = self.map(shape, 21);
        viewed
    }

    fn gradient(&self, shape: MapShape) -> Gradient {
        let mut gradient = Gradient::new(Gradient::lengths(shape, self.case.samples), self.place);
        gradient.0[0] = self.map(shape, 31);
        gradient
    }

    fn convolutions(&self, results: &mut Results) {
        let &MapCase { shape, samples, .. } = self.case;
        let (input, output) = (shape.input(), shape.output());
        let indices = Buffer::new(&self.case.indices(), self.place);
        let stream = ConvStream::new(shape, &indices).unwrap();
        assert_eq!((stream.count(), stream.shape()), (indices.len(), shape));
        let full = ConvStream::full(shape).unwrap();
        let taps = (shape.groups == 1).then(|| ConvTaps::new(shape).unwrap());
        let count = shape.weight_len();
        let (all, some) = (self.put(count, 1), self.put(indices.len(), 1));
        let bias = self.put(shape.outputs, 5);
        let (x, residual, gradient) = (self.viewed(input), self.viewed(output), self.gradient(output));
        let shift = self.put(shape.outputs, 6);
        let threads = self.machine.pool.threads();
        let mut forms = vec![Weights::Sparse(&stream, &some), Weights::Sparse(&full, &all)];
        forms.extend(taps.as_ref().map(|taps| Weights::Dense(taps, &all)));
        for weights in forms {
            let n = match weights {
                Weights::Sparse(stream, _) => stream.count(),
                Weights::Dense(..) => count,
            };
            for is_full in [false, true] {
                let mut scratch = Workspace::new(threads, Forward::workspace(&shape, n, samples)).unwrap();
                let mut y = self.empty(output.len(blocks(samples)).unwrap());
                let mut sums = self.sums(2 * shape.outputs);
                Forward {
                    weights,
                    bias: is_full.then_some(&*bias),
                    x: if is_full { x.view() } else { View::plain(&x.map) },
                    residual: is_full.then_some(residual.view()),
                    y: &mut y,
                    statistics: is_full.then_some(Statistics { shift: &shift, sums: &mut sums }),
                    samples,
                }
                .run(self.machine, &mut scratch)
                .unwrap();
                results.push(("convolution", y.to_vec()));
                results.push(("its sums", narrow(&sums)));
                let (mut dx, mut dy) = (self.map(input, 7), self.empty(y.len()));
                let (mut dw, mut dw_all) = (self.put(indices.len(), 8), self.put(count, 8));
                let (mut db, mut sums) = (self.put(shape.outputs, 9), self.sums(2 * shape.inputs));
                let size =
                    Backward::workspace(&shape, n, if is_full { count } else { indices.len() }, samples);
                let mut scratch = Workspace::new(threads, size).unwrap();
                Backward {
                    weights,
                    x: if is_full { x.view() } else { View::plain(&x.map) },
                    gradient: if is_full { gradient.view() } else { GradientView::default() },
                    keep: is_full.then_some(&mut *dy),
                    weight: match &taps {
                        Some(taps) if is_full => WeightGradient::Dense(taps, &mut dw_all),
                        _ if is_full => WeightGradient::None,
                        _ => WeightGradient::Sparse(&stream, &mut dw),
                    },
                    bias: is_full.then_some(&mut *db),
                    accumulate: is_full,
                    data: Some(DataGradient {
                        out: &mut dx,
                        accumulate: is_full,
                        sums: is_full.then_some(&mut *sums),
                    }),
                    samples,
                }
                .run(self.machine, &mut scratch)
                .unwrap();
                for (name, values) in
                    [("dx", &dx), ("dy", &dy), ("dw", &dw), ("dense dw", &dw_all), ("db", &db)]
                {
                    results.push((name, values.to_vec()));
                }
                results.push(("sums of dx", narrow(&sums)));
            }
        }
    }

    fn passes(&self, results: &mut Results) {
        let &MapCase { shape, samples, .. } = self.case;
        let shape = shape.input();
        let size = passes::workspace(shape, samples);
        let mut scratch = Workspace::new(self.machine.pool.threads(), size).unwrap();
        let (view, b, gradient) = (self.viewed(shape), self.map(shape, 10), self.gradient(shape));
        let shift = self.put(shape.channels, 6);
        for is_full in [false, true] {
            let (mut y, mut sums) = (self.empty(b.len()), self.sums(2 * shape.channels));
            Add {
                shape,
                a: view.view(),
                b: is_full.then_some(View::plain(&b)),
                y: is_full.then_some(&mut *y),
                statistics: Some(Statistics { shift: &shift, sums: &mut sums }),
                samples,
            }
            .run(self.machine, &mut scratch)
            .unwrap();
            results.push(("sum", y.to_vec()));
            results.push(("its sums", narrow(&sums)));
            let mut out = self.map(shape, 11);
            Route {
                shape,
                gradient: gradient.view(),
                view: view.view(),
                out: &mut out,
                accumulate: is_full,
                sums: is_full.then_some(&mut *sums),
                samples,
            }
            .run(self.machine, &mut scratch)
            .unwrap();
            results.push(("route", out.to_vec()));
            results.push(("its sums", narrow(&sums)));
        }
    }

    fn pooling(&self, results: &mut Results) {
        let samples = self.case.samples;
        let shape = pooling(&self.case.shape);
        shape.check().unwrap();
        let x = self.viewed(shape.input());
        let gradient = self.gradient(shape.output());
        let size = MaxPoolBackward::workspace(&shape, samples);
        let size = size.max(AveragePoolBackward::workspace(&shape, samples));
        let mut scratch = Workspace::new(self.machine.pool.threads(), size).unwrap();
        let mut y = self.empty(shape.output().len(blocks(samples)).unwrap());
        MaxPool { shape, x: x.view(), y: &mut y, samples }.run(self.machine).unwrap();
        results.push(("largest", y.to_vec()));
        AveragePool { shape, x: x.view(), y: &mut y, samples }.run(self.machine).unwrap();
        results.push(("mean", y.to_vec()));
        for accumulate in [false, true] {
            let (mut out, mut sums) = (self.map(shape.input(), 12), self.sums(2 * shape.channels));
            let data = DataGradient { out: &mut out, accumulate, sums: Some(&mut sums) };
            MaxPoolBackward { shape, x: x.view(), gradient: gradient.view(), data, samples }
                .run(self.machine, &mut scratch)
                .unwrap();
            results.push(("gradient of the largest", out.to_vec()));
            results.push(("its sums", narrow(&sums)));
            let data = DataGradient { out: &mut out, accumulate, sums: None };
            AveragePoolBackward { shape, x: x.view(), gradient: gradient.view(), data, samples }
                .run(self.machine, &mut scratch)
                .unwrap();
            results.push(("gradient of the mean", out.to_vec()));
        }
    }

    fn vectors(&self, results: &mut Results) {
        let samples = self.case.samples;
        let shape = self.case.shape.input();
        let (x, gradient) = (self.viewed(shape), self.gradient(shape));
        let of_means = map_len(shape.channels, groups(samples)).unwrap();
        let of_values = map_len(shape.channels * shape.rows * shape.columns, groups(samples)).unwrap();
        let (mut means, mut values) = (self.empty(of_means), self.empty(of_values));
        GlobalAveragePool { shape, x: x.view(), y: &mut means, samples }.run(self.machine).unwrap();
        results.push(("means", means.to_vec()));
        Flatten { shape, x: x.view(), y: &mut values, samples }.run(self.machine).unwrap();
        results.push(("flat", values.to_vec()));
        let mut map = self.empty(x.map.len());
        let from = self.put(of_values, 13);
        Unflatten { shape, x: &from, y: &mut map, samples }.run(self.machine).unwrap();
        results.push(("unflat", map.to_vec()));
        let size = GlobalAveragePoolBackward::workspace(shape, samples);
        let size = size.max(FlattenBackward::workspace(shape, samples));
        let mut scratch = Workspace::new(self.machine.pool.threads(), size).unwrap();
        for accumulate in [false, true] {
            let (mut out, mut sums) = (self.map(shape, 14), self.sums(2 * shape.channels));
            let data = DataGradient { out: &mut out, accumulate, sums: Some(&mut sums) };
            let of_means = self.put(of_means, 15);
            GlobalAveragePoolBackward { shape, x: x.view(), gradient: &of_means, data, samples }
                .run(self.machine, &mut scratch)
                .unwrap();
            results.push(("gradient of the means", out.to_vec()));
            results.push(("its sums", narrow(&sums)));
            let data = DataGradient { out: &mut out, accumulate, sums: None };
            FlattenBackward { shape, x: x.view(), gradient: &from, data, samples }
                .run(self.machine, &mut scratch)
                .unwrap();
            results.push(("gradient of what is flat", out.to_vec()));
            let mut out = self.put(of_values, 16);
            UnflattenBackward { shape, gradient: gradient.view(), out: &mut out, accumulate, samples }
                .run(self.machine)
                .unwrap();
            results.push(("gradient of what is not flat", out.to_vec()));
        }
    }

    fn norms(&self, results: &mut Results) {
        let channels = self.case.shape.inputs;
        let put = |salt| self.put(channels, salt);
        let numbers: Vec<f64> = (0..2 * channels).map(|i| f64::from(number(i, 17)).abs() * 9.0).collect();
        let sums = Buffer::new(&numbers, self.place);
        let [shift, gamma, mut mean, mut variance] = [18, 19, 20, 21].map(put);
        norm::moments(&sums, &shift, 7, &mut mean, &mut variance).unwrap();
        let mut scale = self.empty(channels);
        norm::scale(&gamma, &variance, 1e-5, &mut scale).unwrap();
        let [mut running_mean, mut running_variance, mut dgamma, mut dbeta] = [22, 23, 24, 25].map(put);
        norm::run_on(0.1, 7, &mean, &variance, &mut running_mean, &mut running_variance).unwrap();
        let (mut slope, mut of_shift) = (self.empty(channels), self.empty(channels));
        let out = norm::Gradients {
            slope: &mut slope,
            shift: &mut of_shift,
            gamma: &mut dgamma,
            beta: &mut dbeta,
            accumulate: true,
        };
        norm::backward(&sums, 7, &scale, &variance, 1e-5, out).unwrap();
        let all = [mean, variance, scale, running_mean, running_variance, slope, of_shift, dgamma, dbeta];
        results.extend(all.iter().map(|values| ("norm", values.to_vec())));
    }
}

fn narrow(sums: &[f64]) -> Vec<f32> {
    sums.iter().map(|&sum| sum as f32).collect()
}
