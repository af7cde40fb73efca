//! A network computed the plain way: f64, one sample after the other, no padding, no fusion.

use rigl_graph::{Graph, Op};

use crate::Samples;

/// A network with a batch.
pub struct Plain<'a> {
    graph: &'a Graph,
    images: Vec<Vec<f64>>,
    labels: &'a [u32],
}

impl<'a> Plain<'a> {
    /// Bytes become (x / 255 − `mean`) / `deviation`.
    pub fn new(graph: &'a Graph, samples: &'a Samples, mean: f64, deviation: f64) -> Plain<'a> {
        let number = |&x: &u8| (f64::from(x) / 255.0 - mean) / deviation;
        let images = samples.images.iter().map(|image| image.iter().map(number).collect()).collect();
        Plain { graph, images, labels: &samples.labels }
    }

    /// The derivative of the mean loss by one value of one parameter, by central differences over `step`.
    pub fn slope(&self, parameters: &[Vec<f64>], [parameter, position]: [usize; 2], step: f64) -> f64 {
        let mut moved = parameters.to_vec();
        moved[parameter][position] += step;
        let up = self.run(&moved).0;
        moved[parameter][position] -= 2.0 * step;
        (up - self.run(&moved).0) / (2.0 * step)
    }

    /// The mean loss, and the running statistics after the batch, in the order of the buffers.
    pub fn run(&self, parameters: &[Vec<f64>]) -> (f64, Vec<Vec<f64>>) {
        let mut values: Vec<Vec<Vec<f64>>> = Vec::new();
        let mut statistics = Vec::new();
        let mut loss = 0.0;
        for node in self.graph.nodes() {
            let inputs = self.graph.input_shapes(node);
            let of = |i: usize| &values[node.inputs[i].index()];
            let parameter = |i: usize| &parameters[node.parameters[i].index()];
            let each = |f: &dyn Fn(&[f64]) -> Vec<f64>| of(0).iter().map(|x| f(x)).collect::<Vec<_>>();
            let value = match node.op {
                Op::Input { .. } => self.images.clone(),
                Op::Flatten | Op::Dropout { .. } => of(0).clone(),
                Op::Relu => each(&|x| x.iter().map(|x| x.max(0.0)).collect()),
                Op::LeakyRelu { slope } => {
                    each(&|x| x.iter().map(|&x| if x > 0.0 { x } else { f64::from(slope) * x }).collect())
                }
                Op::Sigmoid => each(&|x| x.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect()),
                Op::Add | Op::Multiply => {
                    let both = |a: &f64, b: &f64| if node.op == Op::Add { a + b } else { a * b };
                    let rows = of(0).iter().zip(of(1));
                    rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| both(a, b)).collect()).collect()
                }
                Op::Linear { features, bias, .. } => each(&|x| {
                    (0..features)
                        .map(|o| {
                            let row = &parameter(0)[o * x.len()..(o + 1) * x.len()];
                            let start = if bias { parameter(1)[o] } else { 0.0 };
                            start + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()
                        })
                        .collect()
                }),
                Op::Conv2d { channels, kernel, stride, padding, groups, bias, .. } => {
                    let (c, per) = (inputs[0][0], inputs[0][0] / groups);
                    assert_eq!(c, inputs[0][0]);
                    each(&|x| {
                        windows(inputs[0], kernel, stride, padding, channels, |o, taps| {
                            let group = o / (channels / groups);
                            let start = if bias { parameter(1)[o] } else { 0.0 };
                            let mut sum = start;
                            for i in 0..per {
                                for &(k, at) in taps {
                                    let w = parameter(0)[(o * per + i) * kernel * kernel + k];
                                    sum += w * x[(group * per + i) * inputs[0][1] * inputs[0][2] + at];
                                }
                            }
                            sum
                        })
                    })
                }
                Op::MaxPool { kernel, stride, padding } => each(&|x| {
                    windows(inputs[0], kernel, stride, padding, inputs[0][0], |o, taps| {
                        let of = |&(_, at): &(usize, usize)| x[o * inputs[0][1] * inputs[0][2] + at];
                        taps.iter().map(of).fold(f64::NEG_INFINITY, f64::max)
                    })
                }),
                Op::AvgPool { kernel, stride, padding } => each(&|x| {
                    windows(inputs[0], kernel, stride, padding, inputs[0][0], |o, taps| {
                        let of = |&(_, at): &(usize, usize)| x[o * inputs[0][1] * inputs[0][2] + at];
                        taps.iter().map(of).sum::<f64>() / (kernel * kernel) as f64
                    })
                }),
                Op::GlobalAvgPool => {
                    let positions = inputs[0][1] * inputs[0][2];
                    each(&|x| x.chunks(positions).map(|c| c.iter().sum::<f64>() / positions as f64).collect())
                }
                Op::BatchNorm { epsilon, momentum, .. } => {
                    let positions: usize = inputs[0][1..].iter().product();
                    let mut out = of(0).clone();
                    let (mut means, mut variances) = (Vec::new(), Vec::new());
                    for c in 0..inputs[0][0] {
                        let range = c * positions..(c + 1) * positions;
                        let all: Vec<f64> = of(0).iter().flat_map(|x| x[range.clone()].to_vec()).collect();
                        let n = all.len() as f64;
                        let mean = all.iter().sum::<f64>() / n;
                        let variance = all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
                        let m = f64::from(momentum);
                        means.push(m * mean);
                        // A single value says nothing about the variance.
                        variances.push(if n > 1.0 { 1.0 - m + m * variance * n / (n - 1.0) } else { 1.0 });
                        let scale = parameter(0)[c] / (variance + f64::from(epsilon)).sqrt();
                        for x in out.iter_mut().flat_map(|x| &mut x[range.clone()]) {
                            *x = (*x - mean) * scale + parameter(1)[c];
                        }
                    }
                    statistics.push(means);
                    statistics.push(variances);
                    out
                }
                Op::CrossEntropy { classes, label_smoothing } => {
                    let e = f64::from(label_smoothing);
                    for (z, &label) in of(0).iter().zip(self.labels) {
                        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                        let total = largest + z.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
                        for (k, z) in z.iter().enumerate() {
                            let hit = if k == label as usize { 1.0 - e } else { 0.0 };
                            loss += (hit + e / classes as f64) * (total - z);
                        }
                    }
                    Vec::new()
                }
            };
            values.push(value);
        }
        (loss / self.images.len() as f64, statistics)
    }
}

/// For every output channel and window: what `of` makes of the taps inside the map, (tap, position in the channel).
fn windows(
    shape: &[usize],
    kernel: usize,
    stride: usize,
    padding: usize,
    channels: usize,
    of: impl Fn(usize, &[(usize, usize)]) -> f64,
) -> Vec<f64> {
    let side = |n: usize| (n + 2 * padding - kernel) / stride + 1;
    let mut out = Vec::new();
    for o in 0..channels {
        for r in 0..side(shape[1]) {
            for q in 0..side(shape[2]) {
                let mut taps = Vec::new();
                for h in 0..kernel {
                    for v in 0..kernel {
                        let (row, column) = (r * stride + h, q * stride + v);
                        let inside = |x: usize, n: usize| x >= padding && x < n + padding;
                        if inside(row, shape[1]) && inside(column, shape[2]) {
                            taps.push((h * kernel + v, (row - padding) * shape[2] + column - padding));
                        }
                    }
                }
                out.push(of(o, &taps));
            }
        }
    }
    out
}
