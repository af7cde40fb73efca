//! A layer on a batch, and what every kernel makes of it.

use std::sync::Mutex;

use rigl_kernels::Machine;
use rigl_kernels::elementwise::{Activation, activate, activate_backward, multiply};
use rigl_kernels::linear::{self, Epilogue, LinearShape, LinearStream};
use rigl_kernels::loss::softmax_cross_entropy;
use rigl_kernels::map::{MapShape, blocks};
use rigl_kernels::optimizer::{Sgd, sgd};
use rigl_kernels::pack::{pack_maps, pack_vectors};
use rigl_kernels::vector::layout::{groups, map_len};

use super::guard::{Buffer, Place};

/// Signed numbers that do not repeat soon.
pub fn number(i: usize, salt: u64) -> f32 {
    let h = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt.wrapping_mul(0xD1B5_4A32_D192_ED03);
    let h = (h ^ h >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (h >> 40) as f32 / 8_388_608.0 - 1.0
}

/// A layer on a batch, with numbers for every argument of every kernel.
pub struct Case {
    pub outputs: usize,
    pub inputs: usize,
    pub samples: usize,
    pub indices: Vec<u32>,
    pub weights: Vec<f32>,
    pub x: Vec<f32>,
    pub dy: Vec<f32>,
}

impl Case {
    pub fn new(outputs: usize, inputs: usize, samples: usize, density: f64) -> Case {
        let numbers = |len: usize, salt| (0..len).map(|i| number(i, salt)).collect::<Vec<f32>>();
        let map = |features, salt| numbers(map_len(features, groups(samples)).unwrap(), salt);
        let active = |&i: &u32| f64::from(number(i as usize, 2)) * 0.5 + 0.5 < density;
        Case {
            outputs,
            inputs,
            samples,
            indices: (0..(outputs * inputs) as u32).filter(active).collect(),
            weights: numbers(outputs * inputs, 1),
            x: map(inputs, 3),
            dy: map(outputs, 4),
        }
    }

    pub fn shape(&self) -> LinearShape {
        LinearShape { outputs: self.outputs, inputs: self.inputs, groups: groups(self.samples) }
    }
}

/// What every kernel makes of the case when every slice it is given lies in `place`.
pub fn results(machine: &Machine, case: &Case, place: Place) -> Vec<(&'static str, Vec<f32>)> {
    let &Case { outputs, inputs, samples, .. } = case;
    let shape = case.shape();
    let groups = shape.groups;
    let put = |values: &[f32]| Buffer::new(values, place);
    let empty = |len: usize| put(&vec![f32::NAN; len]);
    let mut results = Vec::new();

    let stream = LinearStream::new(outputs, inputs, &Buffer::new(&case.indices, place)).unwrap();
    assert_eq!((stream.outputs(), stream.inputs(), stream.count()), (outputs, inputs, case.indices.len()));
    assert!(stream.bytes() >= 8 * stream.count());
    let sorted: Vec<f32> = case.indices.iter().map(|&i| case.weights[i as usize]).collect();
    let values = put(&stream.to_forward(&put(&sorted)));
    assert_eq!(bits(&stream.to_sorted(&values)), bits(&sorted));

    let (weights, x, dy) = (put(&case.weights), put(&case.x), put(&case.dy));
    let bias = put(&(0..outputs).map(|i| number(i, 5)).collect::<Vec<_>>());
    let (gate_y, gate_x) = (put(&case.dy), put(&case.x));
    for bias in [None, Some(&*bias)] {
        for gate in [Epilogue::None, Epilogue::Relu, Epilogue::Gate(&gate_y)] {
            let mut y = empty(dy.len());
            linear::sparse::forward(machine, &stream, &values, bias, &x, &mut y, groups, gate).unwrap();
            results.push(("sparse forward", y.to_vec()));
            y.fill(f32::NAN);
            linear::dense::forward(machine, shape, &weights, bias, &x, &mut y, gate).unwrap();
            results.push(("dense forward", y.to_vec()));
        }
    }
    for gate in [Epilogue::None, Epilogue::Relu, Epilogue::Gate(&gate_x)] {
        let mut dx = empty(x.len());
        linear::sparse::backward_data(machine, &stream, &values, &dy, &mut dx, groups, gate, false).unwrap();
        results.push(("sparse backward data", dx.to_vec()));
        dx.fill(f32::NAN);
        linear::dense::backward_data(machine, shape, &weights, &dy, &mut dx, gate, false).unwrap();
        results.push(("dense backward data", dx.to_vec()));
    }
    let (mut sparse, mut dense, mut of_bias) = (empty(values.len()), empty(weights.len()), empty(outputs));
    for accumulate in [false, true] {
        linear::sparse::gradient(machine, &stream, &x, &dy, &mut sparse, groups, accumulate).unwrap();
        results.push(("sparse gradient", sparse.to_vec()));
        linear::dense::gradient(machine, shape, &x, &dy, &mut dense, accumulate).unwrap();
        results.push(("dense gradient", dense.to_vec()));
        linear::dense::bias_gradient(machine, outputs, groups, &dy, &mut of_bias, accumulate).unwrap();
        results.push(("bias gradient", of_bias.to_vec()));
    }
    let grown = Mutex::new(vec![f32::NAN; weights.len()]);
    linear::dense::growth(machine, shape, &x, &dy, &|worker, first, tile| {
        assert!(worker < machine.pool.threads());
        grown.lock().unwrap()[first as usize..][..tile.len()].copy_from_slice(tile);
    })
    .unwrap();
    results.push(("growth", grown.into_inner().unwrap()));

    if outputs > 0 {
        let labels: Vec<u32> = (0..samples).map(|i| (i * 7 % outputs) as u32).collect();
        let labels = Buffer::new(&labels, place);
        let mut gradient = empty(dy.len());
        for gradient in [None, Some(&mut *gradient)] {
            let sums = softmax_cross_entropy(machine, outputs, &dy, &labels, 0.1, 0.5, gradient).unwrap();
            results.push(("loss", vec![sums.loss as f32, sums.correct as f32]));
        }
        results.push(("gradient of the loss", gradient.to_vec()));
    }

    let mut y = empty(dy.len());
    activate(machine, Activation::Relu, &dy, &mut y).unwrap();
    results.push(("relu", y.to_vec()));
    let mut dx = empty(dy.len());
    activate_backward(machine, Activation::Relu, &y, &dy, &mut dx, false).unwrap();
    results.push(("relu backward", dx.to_vec()));
    for f in [Activation::LeakyRelu { slope: 0.1 }, Activation::Sigmoid] {
        activate(machine, f, &dy, &mut y).unwrap();
        activate_backward(machine, f, &y, &dy, &mut dx, true).unwrap();
        multiply(machine, &dy, &y, &mut dx, true).unwrap();
        results.push(("activation", y.to_vec()));
        results.push(("activation backward", dx.to_vec()));
    }
    for momentum in [0.0, 0.9] {
        let constants = Sgd { learning_rate: 0.1, momentum, nesterov: true, l2: 0.01 };
        let (gradient, mut w) = (put(&case.weights), put(&case.weights));
        let mut m = if momentum == 0.0 { put(&[]) } else { put(&case.weights) };
        sgd(machine, constants, &gradient, &mut w, &mut m).unwrap();
        results.push(("sgd", w.to_vec()));
        results.push(("sgd's momentum", m.to_vec()));
    }

    let image =
        |s: usize| (0..inputs).map(|i| (number(i, s as u64) * 128.0 + 128.0) as u8).collect::<Vec<_>>();
    let images: Vec<Buffer<u8>> = (0..samples).map(|s| Buffer::new(&image(s), place)).collect();
    let views: Vec<&[u8]> = images.iter().map(|image| &**image).collect();
    for channels in [1, inputs.max(1)] {
        let numbers = |salt| (0..samples * channels).map(|i| number(i, salt)).collect::<Vec<f32>>();
        let (scale, shift) = (put(&numbers(6)), put(&numbers(7)));
        let mut map = empty(x.len());
        pack_vectors(machine.isa, &views, channels, &scale, &shift, &mut map).unwrap();
        results.push(("vectors", map.to_vec()));
        let shape = MapShape { channels, rows: 1, columns: inputs / channels };
        let mut map = empty(shape.len(blocks(samples)).unwrap());
        pack_maps(machine.isa, &views, shape, &scale, &shift, &mut map).unwrap();
        results.push(("maps", map.to_vec()));
    }
    results
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Compares two lists of results, taking every NaN for the same.
pub fn same(a: &[(&'static str, Vec<f32>)], b: &[(&'static str, Vec<f32>)], what: &dyn Fn() -> String) {
    assert_eq!(a.len(), b.len());
    for ((name, a), (_, b)) in a.iter().zip(b) {
        assert_eq!(a.len(), b.len(), "{name}, {}", what());
        let differs =
            (0..a.len()).find(|&i| a[i].to_bits() != b[i].to_bits() && !(a[i].is_nan() && b[i].is_nan()));
        if let Some(i) = differs {
            panic!("{name}, {}: {} and {} at {i}", what(), a[i], b[i]);
        }
    }
}
