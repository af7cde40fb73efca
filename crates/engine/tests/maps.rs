//! Convolutional networks in the engine against a plain network in f64 without padding: loss, running statistics and
//! every gradient (by central differences), for batches that fill no block; and against themselves: storage,
//! threads, instruction sets and micro-batches.

use rigl_base::random::{Purpose, Stream};
use rigl_engine::{
    Batch, Compute, Growth, MicroBatch, Options, Parameter, Preprocessing, Session, StepConstants, Take,
};
use rigl_graph::state::{self, Role};
use rigl_graph::{BatchNorm, Builder, Conv2d, Graph, Linear, ModelSpec, Models, Pool};
use rigl_testing::{BARE, Plain, Samples, options, part, values, whole};
use rigl_topology::{DropRule, GrowScore, Grown, LayerBudget, Pattern, UpdateRequest};

const SHAPE: [usize; 3] = [3, 7, 6];
const CLASSES: usize = 4;

/// Pre-activation blocks, one with a projection, as in wide residual networks.
fn pre_activation() -> Graph {
    let mut g = Builder::new("pre-activation");
    let norm = BatchNorm::default();
    let x = g.input("image", &SHAPE);
    let x = g.conv2d("conv", x, 4, Conv2d::k3());
    let h = g.batch_norm("a.bn1", x, norm);
    let h = g.relu(h);
    let r = g.conv2d("a.conv1", h, 6, Conv2d::k3().stride(2));
    let r = g.batch_norm("a.bn2", r, norm);
    let r = g.relu(r);
    let r = g.conv2d("a.conv2", r, 6, Conv2d::k3());
    let skip = g.conv2d("a.skip", h, 6, Conv2d::k1().stride(2));
    let x = g.add(r, skip);
    let h = g.batch_norm("b.bn1", x, norm);
    let h = g.relu(h);
    let r = g.conv2d("b.conv1", h, 6, Conv2d::k3());
    let r = g.batch_norm("b.bn2", r, norm);
    let r = g.relu(r);
    let r = g.conv2d("b.conv2", r, 6, Conv2d::k3().bias());
    let x = g.add(r, x);
    let h = g.batch_norm("bn", x, norm);
    let h = g.relu(h);
    let h = g.global_avg_pool(h);
    let h = g.linear("fc", h, CLASSES, Linear::default());
    g.cross_entropy(h, CLASSES, 0.1);
    g.finish().unwrap()
}

/// Post-activation blocks, pools, groups, a norm of the input, and a map that is flattened.
fn post_activation() -> Graph {
    let mut g = Builder::new("post-activation");
    let norm = BatchNorm::default();
    let x = g.input("image", &SHAPE);
    let x = g.batch_norm("bn0", x, norm);
    let x = g.conv2d("conv1", x, 4, Conv2d::k(5).bias());
    let x = g.batch_norm("bn1", x, norm);
    let x = g.relu(x);
    let x = g.max_pool(x, Pool::k(3).stride(2).padding(1));
    let r = g.conv2d("depthwise", x, 4, Conv2d::k3().groups(4));
    let r = g.batch_norm("bn2", r, norm);
    let r = g.relu(r);
    let r = g.conv2d("grouped", r, 4, Conv2d::k3().groups(2));
    let r = g.batch_norm("bn3", r, norm);
    let x = g.add(r, x);
    let x = g.relu(x);
    let s = g.conv2d("projection", x, 4, Conv2d::k1());
    let s = g.batch_norm("bn4", s, norm);
    let r = g.conv2d("conv3", x, 4, Conv2d::k3());
    let r = g.batch_norm("bn5", r, norm);
    let x = g.add(r, s);
    let x = g.relu(x);
    let x = g.avg_pool(x, Pool::k(2));
    let x = g.flatten(x);
    let h = g.linear("fc1", x, 9, Linear::default());
    let h = g.relu(h);
    let h = g.linear("fc", h, 7, Linear::default());
    let h = g.batch_norm("bn6", h, norm);
    let h = g.linear("fc2", h, CLASSES, Linear::default());
    g.cross_entropy(h, CLASSES, 0.0);
    g.finish().unwrap()
}

/// Maps that several norms read, that are added to themselves, and that meet again after a convolution.
fn tangled() -> Graph {
    let mut g = Builder::new("tangled");
    let norm = BatchNorm::default();
    let x = g.input("image", &SHAPE);
    let x = g.conv2d("conv1", x, 4, Conv2d::k3());
    let a = g.batch_norm("bn1", x, norm);
    let b = g.batch_norm("bn2", x, norm);
    let b = g.relu(b);
    let c = g.conv2d("conv2", a, 4, Conv2d::k3());
    let y = g.add(c, b);
    let y = g.add(y, y);
    let d = g.conv2d("conv3", y, 4, Conv2d::k3());
    let y = g.add(d, y);
    let y = g.relu(y);
    let y = g.batch_norm("bn3", y, norm);
    let e = g.conv2d("conv4", y, 4, Conv2d::k3());
    let y = g.add(e, x);
    let h = g.global_avg_pool(y);
    let h = g.linear("fc", h, CLASSES, Linear::default());
    g.cross_entropy(h, CLASSES, 0.0);
    g.finish().unwrap()
}

/// Vectors that several layers read: a sum with itself, two norms, two heads.
fn branching_vectors() -> Graph {
    let mut g = Builder::new("branching-vectors");
    let norm = BatchNorm::default();
    let x = g.input("image", &SHAPE);
    let x = g.conv2d("conv", x, 4, Conv2d::k3());
    let h = g.global_avg_pool(x);
    let r = g.linear("fc1", h, 4, Linear::default());
    let h = g.add(r, h);
    let h = g.add(h, h);
    let a = g.linear("fc2", h, 5, Linear::default());
    let (b, c) = (g.batch_norm("bn1", a, norm), g.batch_norm("bn2", a, norm));
    let b = g.linear("left", b, CLASSES, Linear::default());
    let c = g.linear("right", c, CLASSES, Linear::default());
    let h = g.add(b, c);
    g.cross_entropy(h, CLASSES, 0.0);
    g.finish().unwrap()
}

/// A residual perceptron: the skip of each block is a vector that a linear layer, or a ReLU and a sum read.
fn residual_vectors() -> Graph {
    let mut g = Builder::new("residual-vectors");
    let x = g.input("image", &SHAPE);
    let x = g.flatten(x);
    let mut h = g.linear("fc1", x, 9, Linear::default());
    for block in ["a", "b"] {
        let r = g.relu(h);
        let r = g.linear(&format!("{block}.in"), r, 12, Linear::default());
        let r = g.relu(r);
        let r = g.linear(&format!("{block}.out"), r, 9, Linear::default());
        h = g.add(h, r);
    }
    let (a, b) = (g.linear("left", h, CLASSES, Linear::default()), g.relu(h));
    let b = g.linear("right", b, CLASSES, Linear::default());
    let h = g.add(a, b);
    g.cross_entropy(h, CLASSES, 0.1);
    g.finish().unwrap()
}

/// Gates on vectors and on maps: products with sigmoids of what is gated (a squeeze and excitation after pooling), of a map
/// with itself, and leaky ReLUs, read through norms.
fn gated() -> Graph {
    let mut g = Builder::new("gated");
    let norm = BatchNorm::default();
    let x = g.input("image", &SHAPE);
    let x = g.conv2d("conv1", x, 4, Conv2d::k3());
    let x = g.batch_norm("bn1", x, norm);
    let x = g.leaky_relu(x, 0.1);
    let c = g.conv2d("conv2", x, 4, Conv2d::k3());
    let s = g.sigmoid(c);
    let x = g.multiply(x, s);
    let y = g.multiply(x, x);
    let y = g.batch_norm("bn2", y, norm);
    let x = g.add(x, y);
    let x = g.sigmoid(x);
    let x = g.batch_norm("bn3", x, norm);
    let h = g.global_avg_pool(x);
    let s = g.linear("fc1", h, 3, Linear::default());
    let s = g.leaky_relu(s, 0.25);
    let s = g.linear("fc2", s, 4, Linear::default());
    let s = g.sigmoid(s);
    let h = g.multiply(h, s);
    let h = g.linear("fc", h, CLASSES, Linear::default());
    g.cross_entropy(h, CLASSES, 0.0);
    g.finish().unwrap()
}

fn graphs() -> [Graph; 6] {
    [pre_activation(), post_activation(), tangled(), branching_vectors(), residual_vectors(), gated()]
}

/// The networks for ImageNet, narrow: wide kernels with strides, depthwise convolutions, norms that start at scale 0, and
/// maps that end as single positions.
fn imagenet() -> [Graph; 3] {
    ["resnet-50", "mobilenet-v1", "mobilenet-v2"].map(|name| {
        let spec = ModelSpec::new(&SHAPE, CLASSES).with("width", 0.07);
        Models::default().build(name, &spec).unwrap()
    })
}

/// Fixed preprocessing: mean and deviation.
const SCALE: [f64; 2] = [0.5, 0.25];

fn patterns(graph: &Graph, density: f64) -> Vec<Option<Pattern>> {
    // An output without inputs would lie on the bend of the ReLU behind it.
    rigl_testing::patterns(graph, density, |p| !["fc1", "a.in", "b.in"].contains(&p.layer()))
}

fn samples(count: usize, salt: u64) -> Samples {
    Samples::drawn(salt, count, SHAPE.iter().product(), CLASSES)
}

fn pack(session: &Session, samples: &Samples) -> Batch {
    samples.pack(session, &Preprocessing::new(&SCALE[..1], &SCALE[1..]).unwrap())
}

fn plain<'a>(graph: &'a Graph, samples: &'a Samples) -> Plain<'a> {
    Plain::new(graph, samples, SCALE[0], SCALE[1])
}

/// Values of all parameters in f64.
fn doubles(values: &[Vec<f32>]) -> Vec<Vec<f64>> {
    values.iter().map(|v| v.iter().map(|&x| f64::from(x)).collect()).collect()
}

#[test]
fn loss_statistics_and_every_gradient_equal_an_unpadded_network_in_f64() {
    for graph in graphs() {
        for samples in [1, 15, 17, 100] {
            for density in [0.3, 1.0] {
                let patterns = patterns(&graph, density);
                let mut session = Session::new(&graph, patterns.clone(), &options(samples)).unwrap();
                let drawn = self::samples(samples, samples as u64);
                let batch = pack(&session, &drawn);
                let before = values(&session);
                let outcome = session.accumulate(whole(&batch), &[]).unwrap();
                session.step(BARE).unwrap();
                let after = values(&session);
                let plain = plain(&graph, &drawn);
                let doubles = doubles(&before);
                let (loss, statistics) = plain.run(&doubles);
                let name = graph.name();
                assert!(
                    (outcome.mean_loss() - loss).abs() < 1e-5 * loss.abs(),
                    "{name}, {samples}: loss {}, {loss}",
                    outcome.mean_loss()
                );
                let state = session.state();
                for (buffer, expected) in graph.buffers().iter().zip(&statistics) {
                    let tensor = state::find(&state, &Role::Buffer, &buffer.name).unwrap();
                    for (found, expected) in tensor.values.as_f32().unwrap().iter().zip(expected) {
                        assert!(
                            (f64::from(*found) - expected).abs() < 1e-5,
                            "{name}, {samples}: `{}` {found}, {expected}",
                            buffer.name
                        );
                    }
                }
                for (number, p) in graph.parameters().iter().enumerate() {
                    let active = |i: usize| patterns[number].as_ref().is_none_or(|p| p.contains(i as u32));
                    // A few positions of each parameter; a wrong gradient is seldom wrong in one place.
                    let positions: Vec<usize> =
                        (0..p.len()).filter(|&i| active(i)).step_by(1 + p.len() / 12).collect();
                    let scale = positions
                        .iter()
                        .map(|&i| f64::from(before[number][i] - after[number][i]).abs())
                        .fold(1e-3, f64::max);
                    for i in positions {
                        let found = f64::from(before[number][i]) - f64::from(after[number][i]);
                        let exact = plain.slope(&doubles, [number, i], 1e-6);
                        assert!(
                            (found - exact).abs() < 2e-4 * scale + 1e-5,
                            "{name}, {samples} samples, density {density}: gradient of `{}` at {i}: {found}, {exact}",
                            p.name
                        );
                    }
                }
            }
        }
    }
}

/// Some steps with topology updates between them; the bits of all that is left.
fn train(graph: &Graph, options: &Options, parts: usize) -> (Vec<u64>, Vec<Vec<u32>>) {
    let mut session = Session::new(graph, patterns(graph, 0.3), options).unwrap();
    let mut losses = Vec::new();
    let sparse: Vec<usize> =
        (0..graph.parameters().len()).filter(|&p| session.pattern(p).is_some()).collect();
    for step in 0..9u64 {
        let updating = step % 4 == 3;
        let growth: Vec<Growth> = sparse
            .iter()
            .map(|&parameter| Growth { parameter, take: Take::Largest(2) })
            .filter(|_| updating)
            .collect();
        let samples = samples(34, step);
        let each = 34 / parts;
        for number in 0..parts {
            let batch = pack(&session, &samples.range(number * each..(number + 1) * each));
            let part = MicroBatch { draw: step, seed: 1, ..part(&batch, number, parts, 34) };
            losses.push(session.accumulate(part, &growth).unwrap().loss.to_bits());
        }
        if updating {
            let update = |_: usize, p: &mut Parameter| {
                let request = UpdateRequest {
                    budget: LayerBudget::replace(p.active(), 2),
                    drop: DropRule::Magnitude,
                    grow: GrowScore::Gradient,
                    stream: Stream::new(1, Purpose::Growth, step),
                    grown: Grown::zeros(),
                };
                p.update(&request, &|_| 0.0)
            };
            session.with_parameters(&sparse, &update).unwrap();
        } else {
            let constants = StepConstants { learning_rate: 0.05, momentum: 0.9, nesterov: true, l2: 1e-3 };
            session.step(constants).unwrap();
        }
    }
    (losses, values(&session).into_iter().map(|v| v.into_iter().map(f32::to_bits).collect()).collect())
}

#[test]
fn threads_instruction_sets_and_storage_change_no_bit() {
    for graph in graphs() {
        for parts in [1, 2] {
            let base = options(34);
            let expected = train(&graph, &base, parts);
            for threads in [1, 3] {
                assert_eq!(train(&graph, &Options { threads, ..base.clone() }, parts), expected);
            }
            for isa in rigl_engine::instruction_sets() {
                let isa = Some(isa.to_string());
                assert_eq!(train(&graph, &Options { isa, ..base.clone() }, parts), expected);
            }
            let masked = train(&graph, &Options { compute: Compute::Masked, ..base.clone() }, parts);
            assert_eq!(masked.0, expected.0, "losses of {}", graph.name());
            // An inactive 0 may have either sign.
            for (masked, sparse) in masked.1.iter().zip(&expected.1) {
                let numbers = |bits: &[u32]| bits.iter().map(|&b| f32::from_bits(b)).collect::<Vec<_>>();
                assert_eq!(numbers(masked), numbers(sparse), "{}", graph.name());
            }
        }
    }
}

#[test]
fn the_networks_for_imagenet_train_to_the_loss_of_a_plain_network_and_to_the_same_bits() {
    for graph in imagenet() {
        let base = options(34);
        let session = Session::new(&graph, patterns(&graph, 0.3), &base).unwrap();
        let (loss, _) = plain(&graph, &samples(34, 0)).run(&doubles(&values(&session)));
        let (losses, after) = train(&graph, &base, 1);
        let found = f64::from_bits(losses[0]) / 34.0;
        assert!((found - loss).abs() < 1e-5 * loss, "{}: {found}, {loss}", graph.name());
        assert!(losses.iter().all(|&bits| f64::from_bits(bits).is_finite()), "{}", graph.name());
        for other in
            [Options { threads: 1, ..base.clone() }, Options { compute: Compute::Sparse, ..base.clone() }]
        {
            assert_eq!(train(&graph, &other, 1), (losses.clone(), after.clone()), "{}", graph.name());
        }
        let masked = train(&graph, &Options { compute: Compute::Masked, ..base.clone() }, 1);
        assert_eq!(masked.0, losses, "{}", graph.name());
    }
}
