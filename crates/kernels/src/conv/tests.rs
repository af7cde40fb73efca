//! Every kernel against plain loops in the documented order of sums, to the bit.

use plain::*;

use crate::conv::*;
use crate::map::{DataGradient, Dropout, GradientView, MapShape, NormGradient, Statistics, View, blocks};
use crate::run::{Machine, Workspace};
use crate::simd::Isa;
use crate::testing::{Norm, Random, channel, is_sample, map, same};

/// Plain loops.
mod plain {
    use crate::conv::ConvShape;
    use crate::map::{MapShape, blocks};
    use crate::testing::tree;

    /// Where (block, channel, row, column, lane) of a map is.
    pub(super) fn at(shape: MapShape, block: usize, [c, r, q, lane]: [usize; 4]) -> usize {
        shape.at(block, r, c, q) + lane
    }

    /// (weight index, output, input, kernel row, kernel column) of every weight, in flat order.
    pub(super) fn weights(shape: &ConvShape) -> Vec<[usize; 5]> {
        let (k, per) = (shape.kernel, shape.inputs / shape.groups);
        let mut all = Vec::new();
        for o in 0..shape.outputs {
            for c in 0..per {
                for h in 0..k {
                    for w in 0..k {
                        let input = o / (shape.outputs / shape.groups) * per + c;
                        all.push([((o * per + c) * k + h) * k + w, o, input, h, w]);
                    }
                }
            }
        }
        all
    }

    /// The input row (or column) that an output sees through a tap.
    pub(super) fn sees(shape: &ConvShape, out: usize, tap: usize, side: usize) -> Option<usize> {
        (out * shape.stride + tap).checked_sub(shape.padding).filter(|&i| i < side)
    }

    pub(super) fn forward(
        shape: &ConvShape,
        w: &[f32],
        mask: &[bool],
        bias: Option<&[f32]>,
        x: &[f32],
        samples: usize,
    ) -> Vec<f32> {
        let (input, output) = (shape.input(), shape.output());
        let mut y = vec![0.0; output.len(blocks(samples)).unwrap()];
        for block in 0..blocks(samples) {
            for lane in 0..16 {
                for r in 0..output.rows {
                    for q in 0..output.columns {
                        for o in 0..shape.outputs {
                            y[at(output, block, [o, r, q, lane])] = bias.map_or(0.0, |b| b[o]);
                        }
                        for [i, o, c, h, v] in weights(shape) {
                            let (row, column) =
                                (sees(shape, r, h, shape.rows), sees(shape, q, v, shape.columns));
                            if let (Some(row), Some(column), true) = (row, column, mask[i]) {
                                let y = &mut y[at(output, block, [o, r, q, lane])];
                                *y = w[i].mul_add(x[at(input, block, [c, row, column, lane])], *y);
                            }
                        }
                    }
                }
            }
        }
        y
    }

    pub(super) fn data_gradient(
        shape: &ConvShape,
        w: &[f32],
        mask: &[bool],
        dy: &[f32],
        samples: usize,
    ) -> Vec<f32> {
        let (input, output) = (shape.input(), shape.output());
        let mut dx = vec![0.0f32; input.len(blocks(samples)).unwrap()];
        for block in 0..blocks(samples) {
            for [i, o, c, h, v] in weights(shape) {
                if !mask[i] {
                    continue;
                }
                for r in 0..output.rows {
                    for q in 0..output.columns {
                        let (row, column) = (sees(shape, r, h, shape.rows), sees(shape, q, v, shape.columns));
                        if let (Some(row), Some(column)) = (row, column) {
                            for lane in 0..16 {
                                let dx = &mut dx[at(input, block, [c, row, column, lane])];
                                *dx = w[i].mul_add(dy[at(output, block, [o, r, q, lane])], *dx);
                            }
                        }
                    }
                }
            }
        }
        dx
    }

    /// Tiles of positions of one or two rows, in their order.
    fn tiles(rows: std::ops::Range<usize>, columns: usize) -> Vec<Vec<[usize; 2]>> {
        let mut tiles = Vec::new();
        let mut column = 0;
        for size in if rows.len() == 1 { vec![16, 8, 4, 2, 1] } else { vec![8, 4, 2, 1] } {
            while columns - column >= size {
                let positions = rows.clone().flat_map(|r| (column..column + size).map(move |q| [r, q]));
                tiles.push(positions.collect());
                column += size;
            }
        }
        tiles
    }

    /// The partial gradients in their order, each as (block, tile) in their order: pairs of rows of all blocks, dealt out
    /// evenly. These shapes have so few weights that there may be 64 partials: in each block as many as leave four rows to
    /// each, or fewer where these are alike, if there are eight in all.
    fn partials(shape: &ConvShape, samples: usize) -> Vec<Vec<(usize, Vec<[usize; 2]>)>> {
        let MapShape { rows, columns, .. } = shape.output();
        let mut bands = Vec::new();
        for block in 0..blocks(samples) {
            for row in (0..rows).step_by(2) {
                let tiles = tiles(row..rows.min(row + 2), columns);
                bands.push(tiles.into_iter().map(|tile| (block, tile)).collect::<Vec<_>>());
            }
        }
        let (pairs, most) = (rows.div_ceil(2), rows.div_ceil(4).min(64 / blocks(samples)));
        let least = 8usize.div_ceil(blocks(samples)).min(most);
        let even = (least..=most).filter(|n| pairs % n == 0).max();
        let count = blocks(samples) * even.unwrap_or(most);
        let of = |n: usize| bands[n * bands.len() / count..(n + 1) * bands.len() / count].concat();
        (0..count).map(of).collect()
    }

    pub(super) fn weight_gradient(shape: &ConvShape, x: &[f32], dy: &[f32], samples: usize) -> Vec<f32> {
        let (input, output) = (shape.input(), shape.output());
        let partials = partials(shape, samples);
        let gradient = |[_, o, c, h, v]: [usize; 5]| {
            let mut total: Option<f32> = None;
            for tiles in &partials {
                let mut partial: Option<f32> = None;
                for (block, tile) in tiles {
                    let mut lanes = [0.0f32; 16];
                    for &[r, q] in tile {
                        let (row, column) = (sees(shape, r, h, shape.rows), sees(shape, q, v, shape.columns));
                        for (lane, sum) in lanes.iter_mut().enumerate() {
                            let x = match (row, column) {
                                (Some(row), Some(column)) => x[at(input, *block, [c, row, column, lane])],
                                _ => 0.0,
                            };
                            *sum = dy[at(output, *block, [o, r, q, lane])].mul_add(x, *sum);
                        }
                    }
                    let sum = tree(lanes);
                    partial = Some(partial.map_or(sum, |p| p + sum));
                }
                let partial = partial.unwrap_or(0.0);
                total = Some(total.map_or(partial, |t| t + partial));
            }
            total.unwrap_or(0.0)
        };
        weights(shape).into_iter().map(gradient).collect()
    }
}

fn shapes(random: &mut Random, count: usize) -> Vec<ConvShape> {
    let mut shapes = Vec::new();
    while shapes.len() < count {
        let kernel = [1, 3, 3, 5][random.below(4)];
        let groups = [1, 1, 1, 2, 4][random.below(5)];
        let shape = ConvShape {
            inputs: groups * (1 + random.below(5)),
            rows: 1 + random.below(11),
            columns: [1 + random.below(20), 8, 16][random.below(3)],
            outputs: groups * (1 + random.below(6)),
            kernel,
            stride: 1 + random.below(3),
            padding: random.below(kernel),
            groups,
        };
        if shape.check().is_ok() {
            shapes.push(shape);
        }
    }
    shapes
}

fn workspace(shape: &ConvShape, samples: usize, threads: usize) -> Workspace {
    let n = shape.weight_len();
    let size = Forward::workspace(shape, n, samples).max(Backward::workspace(shape, n, n, samples));
    Workspace::new(threads, size).unwrap()
}

#[test]
fn plain_passes_equal_plain_loops_to_the_bit_in_every_form() {
    let mut random = Random::new(1);
    for (number, shape) in shapes(&mut random, 60).into_iter().enumerate() {
        let samples = [1, 15, 16, 17, 40, 150][number % 6];
        let density = [0.0, 0.1, 0.5, 1.0][number % 4];
        let w = random.numbers(shape.weight_len());
        let mask: Vec<bool> = w.iter().map(|_| random.below(1000) < (density * 1000.0) as usize).collect();
        let indices: Vec<u32> = (0..w.len() as u32).filter(|&i| mask[i as usize]).collect();
        let values: Vec<f32> = indices.iter().map(|&i| w[i as usize]).collect();
        let masked: Vec<f32> = w.iter().zip(&mask).map(|(&w, &m)| if m { w } else { 0.0 }).collect();
        let bias = random.numbers(shape.outputs);
        let bias = (number % 3 > 0).then_some(bias.as_slice());
        let x = map(&mut random, shape.input(), samples);
        let dy = map(&mut random, shape.output(), samples);
        let y_expected = forward(&shape, &w, &mask, bias, &x, samples);
        let dx_expected = data_gradient(&shape, &w, &mask, &dy, samples);
        let dw_expected = weight_gradient(&shape, &x, &dy, samples);
        let dw_sparse: Vec<f32> = indices.iter().map(|&i| dw_expected[i as usize]).collect();
        let stream = ConvStream::new(shape, &indices).unwrap();
        let taps = (shape.groups == 1).then(|| ConvTaps::new(shape).unwrap());
        for isa in Isa::available() {
            for threads in [1, 3, 20] {
                let machine = Machine::new(isa, threads);
                let mut workspace = workspace(&shape, samples, threads);
                let sparse = Weights::Sparse(&stream, &values);
                let dense = taps.as_ref().map(|taps| Weights::Dense(taps, &masked));
                for weights in [Some(sparse), dense].into_iter().flatten() {
                    let what = format!("{shape:?}, {samples} samples, {}, {weights:?}", isa.name());
                    let mut y = vec![f32::NAN; y_expected.len()];
                    let x = View::plain(&x);
                    Forward { weights, bias, x, residual: None, y: &mut y, statistics: None, samples }
                        .run(&machine, &mut workspace)
                        .unwrap();
                    same(&y, &y_expected, &format!("y of {what}"));
                    let mut dx = vec![f32::NAN; dx_expected.len()];
                    let mut dw = vec![f32::NAN; indices.len()];
                    let mut dw_dense = vec![f32::NAN; w.len()];
                    let mut db = vec![f32::NAN; shape.outputs];
                    let gradient = GradientView { direct: Some(&dy), norm: None };
                    for dense in [false, true] {
                        let weight = match &taps {
                            Some(taps) if dense => WeightGradient::Dense(taps, &mut dw_dense),
                            _ => WeightGradient::Sparse(&stream, &mut dw),
                        };
                        Backward {
                            weights,
                            x,
                            gradient,
                            keep: None,
                            weight,
                            bias: Some(&mut db),
                            accumulate: false,
                            data: Some(DataGradient { out: &mut dx, accumulate: false, sums: None }),
                            samples,
                        }
                        .run(&machine, &mut workspace)
                        .unwrap();
                    }
                    same(&dx, &dx_expected, &format!("dx of {what}"));
                    same(&dw, &dw_sparse, &format!("dw of {what}"));
                    if taps.is_some() {
                        same(&dw_dense, &dw_expected, &format!("dense dw of {what}"));
                    }
                    for (o, &db) in db.iter().enumerate() {
                        let output = shape.output();
                        let of_channel = |i: &usize| i / 16 / output.columns % output.channels == o;
                        let exact: f64 = (0..dy.len()).filter(of_channel).map(|i| f64::from(dy[i])).sum();
                        assert!((f64::from(db) - exact).abs() < 1e-4, "db of {what}: {db}, {exact}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_fused_around_a_convolution_equals_the_passes_one_by_one() {
    let mut random = Random::new(2);
    for (number, shape) in shapes(&mut random, 40).into_iter().enumerate() {
        let samples = [1, 17, 40][number % 3];
        let w = random.numbers(shape.weight_len());
        let mask: Vec<bool> = w.iter().map(|_| random.below(3) == 0).collect();
        let indices: Vec<u32> = (0..w.len() as u32).filter(|&i| mask[i as usize]).collect();
        let values: Vec<f32> = indices.iter().map(|&i| w[i as usize]).collect();
        let (input, output) = (shape.input(), shape.output());
        let x = map(&mut random, input, samples);
        let norm = Norm::new(&mut random, shape.inputs);
        let keep: Vec<u16> = (0..x.len() / 16).map(|_| random.word() as u16).collect();
        let with_dropout = number % 2 == 0;
        let view = View {
            map: &x,
            norm: Some(norm.view()),
            relu: true,
            dropout: with_dropout.then_some(Dropout { keep: &keep, scale: 1.5 }),
        };
        let normalised = |i: usize| {
            let c = channel(input, i);
            (x[i] - norm.mean[c]).mul_add(norm.scale[c], norm.offset[c])
        };
        let kept = |i: usize| !with_dropout || keep[i / 16] >> (i % 16) & 1 == 1;
        let dropped = |i: usize, v: f32| match (kept(i), with_dropout) {
            (true, true) => v * 1.5,
            (true, false) => v,
            (false, _) => 0.0,
        };
        let staged: Vec<f32> = (0..x.len()).map(|i| dropped(i, normalised(i).max(0.0))).collect();
        let residual = map(&mut random, output, samples);
        let shift = random.numbers(shape.outputs);
        let y_expected: Vec<f32> = forward(&shape, &w, &mask, None, &staged, samples)
            .iter()
            .zip(&residual)
            .map(|(y, r)| y + r)
            .collect();

        // The gradient of the output through another norm, plus one that arrives directly.
        let (dz, y_map, direct) = (
            map(&mut random, output, samples),
            map(&mut random, output, samples),
            map(&mut random, output, samples),
        );
        let through = Norm::new(&mut random, shape.outputs);
        let slope = random.numbers(shape.outputs);
        let dy: Vec<f32> = (0..dz.len())
            .map(|i| {
                let c = channel(output, i);
                let inner = slope[c].mul_add(y_map[i] - through.mean[c], through.offset[c]);
                let v = through.scale[c].mul_add(dz[i], inner) + direct[i];
                if is_sample(output, samples, i) { v } else { 0.0 }
            })
            .collect();
        let gradient = GradientView {
            direct: Some(&direct),
            norm: Some(NormGradient {
                dz: &dz,
                x: &y_map,
                mean: &through.mean,
                scale: &through.scale,
                slope: &slope,
                shift: &through.offset,
            }),
        };
        let before = map(&mut random, input, samples);
        let dx_expected: Vec<f32> = data_gradient(&shape, &w, &mask, &dy, samples)
            .iter()
            .enumerate()
            .map(|(i, &v)| before[i] + if normalised(i) > 0.0 { dropped(i, v) } else { 0.0 })
            .collect();
        let dw_all = weight_gradient(&shape, &staged, &dy, samples);
        let stream = ConvStream::new(shape, &indices).unwrap();
        for isa in Isa::available() {
            let machine = Machine::new(isa, 2);
            let mut workspace = workspace(&shape, samples, 2);
            let weights = Weights::Sparse(&stream, &values);
            let mut y = vec![f32::NAN; y_expected.len()];
            let mut sums = vec![f64::NAN; 2 * shape.outputs];
            Forward {
                weights,
                bias: None,
                x: view,
                residual: Some(View::plain(&residual)),
                y: &mut y,
                statistics: Some(Statistics { shift: &shift, sums: &mut sums }),
                samples,
            }
            .run(&machine, &mut workspace)
            .unwrap();
            same(&y, &y_expected, &format!("y of {shape:?}"));
            let sum = |shape: MapShape, c: usize, of: &dyn Fn(usize) -> f64| -> f64 {
                (0..shape.len(blocks(samples)).unwrap())
                    .filter(|&i| channel(shape, i) == c && is_sample(shape, samples, i))
                    .map(of)
                    .sum()
            };
            let close = |found: f64, exact: f64| {
                assert!((found - exact).abs() <= 1e-5 * exact.abs() + 1e-3, "{found}, {exact} of {shape:?}");
            };
            for c in 0..shape.outputs {
                let d = |i: usize| f64::from(y[i]) - f64::from(shift[c]);
                close(sums[2 * c], sum(output, c, &d));
                close(sums[2 * c + 1], sum(output, c, &|i| d(i) * d(i)));
            }
            let (mut dx, mut kept_dy) = (before.clone(), vec![f32::NAN; dy.len()]);
            let mut dw = vec![0.5; indices.len()];
            let mut sums = vec![f64::NAN; 2 * shape.inputs];
            Backward {
                weights,
                x: view,
                gradient,
                keep: Some(&mut kept_dy),
                weight: WeightGradient::Sparse(&stream, &mut dw),
                bias: None,
                accumulate: true,
                data: Some(DataGradient { out: &mut dx, accumulate: true, sums: Some(&mut sums) }),
                samples,
            }
            .run(&machine, &mut workspace)
            .unwrap();
            same(&kept_dy, &dy, &format!("dy of {shape:?}"));
            same(&dx, &dx_expected, &format!("dx of {shape:?}"));
            for c in 0..shape.inputs {
                close(sums[2 * c], sum(input, c, &|i| f64::from(dx[i])));
                let product = |i: usize| f64::from(dx[i]) * (f64::from(x[i]) - f64::from(norm.mean[c]));
                close(sums[2 * c + 1], sum(input, c, &product));
            }
            for (&index, dw) in indices.iter().zip(dw) {
                let exact = dw_all[index as usize] + 0.5;
                assert!((dw - exact).abs() <= 1e-4, "dw of {shape:?}: {dw}, {exact}");
            }
        }
    }
}
