//! The linear kernels against plain loops in the documented order of sums: equal to the bit, for every
//! instruction set, storage, shape, density, batch and number of threads.

use crate::linear::{Epilogue, LinearShape, LinearStream, dense, sparse};
use crate::vector::layout::{BLOCK_GROUPS, GROUP, groups, map_len};
use crate::{Isa, LANES, Machine};

/// Signed numbers that do not repeat soon.
fn number(i: usize, salt: u64) -> f32 {
    let h = (i as u64 + 1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(salt.wrapping_mul(0xD1B5_4A32_D192_ED03));
    let h = (h ^ h >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((h >> 40) as f32 / 8_388_608.0) - 1.0
}

fn numbers(len: usize, salt: u64) -> Vec<f32> {
    (0..len).map(|i| number(i, salt)).collect()
}

struct Case {
    outputs: usize,
    inputs: usize,
    groups: usize,
    weights: Vec<f32>,
    indices: Vec<u32>,
    bias: Vec<f32>,
    x: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(outputs: usize, inputs: usize, samples: usize, density: f64) -> Case {
        let groups = groups(samples);
        let mut weights = numbers(outputs * inputs, 1);
        let mut indices = Vec::new();
        for (i, w) in weights.iter_mut().enumerate() {
            if f64::from(number(i, 2)) * 0.5 + 0.5 < density {
                indices.push(i as u32);
            } else {
                *w = 0.0;
            }
        }
        let map = |features: usize, salt: u64| {
            let mut map = numbers(map_len(features, groups).unwrap(), salt);
            for (i, x) in map.iter_mut().enumerate() {
                if i / (features * GROUP) * GROUP + i % GROUP >= samples {
                    *x = 0.0;
                }
            }
            map
        };
        let (x, dy) = (map(inputs, 3), map(outputs, 4));
        Case { outputs, inputs, groups, weights, indices, bias: numbers(outputs, 5), x, dy }
    }

    fn at(&self, features: usize, group: usize, feature: usize, lane: usize) -> usize {
        (group * features + feature) * GROUP + lane
    }

    fn forward(&self) -> Vec<f32> {
        let mut y = vec![0.0; self.dy.len()];
        for g in 0..self.groups {
            for o in 0..self.outputs {
                for l in 0..GROUP {
                    let mut sum = self.bias[o];
                    for i in 0..self.inputs {
                        sum = self.weights[o * self.inputs + i]
                            .mul_add(self.x[self.at(self.inputs, g, i, l)], sum);
                    }
                    y[self.at(self.outputs, g, o, l)] = if sum > 0.0 { sum } else { 0.0 };
                }
            }
        }
        y
    }

    /// Sums start at `there`.
    fn backward_data(&self, there: &[f32]) -> Vec<f32> {
        let mut dx = vec![0.0; self.x.len()];
        for g in 0..self.groups {
            for i in 0..self.inputs {
                for l in 0..GROUP {
                    let mut sum = there[self.at(self.inputs, g, i, l)];
                    for o in 0..self.outputs {
                        sum = self.weights[o * self.inputs + i]
                            .mul_add(self.dy[self.at(self.outputs, g, o, l)], sum);
                    }
                    let at = self.at(self.inputs, g, i, l);
                    dx[at] = if self.x[at] > 0.0 { sum } else { 0.0 };
                }
            }
        }
        dx
    }

    fn gradient(&self) -> Vec<f32> {
        let mut gradient = vec![0.0; self.weights.len()];
        for o in 0..self.outputs {
            for i in 0..self.inputs {
                let out = &mut gradient[o * self.inputs + i];
                for first in (0..self.groups).step_by(BLOCK_GROUPS) {
                    let mut lanes = [0.0f32; LANES];
                    for g in first..self.groups.min(first + BLOCK_GROUPS) {
                        for l in 0..GROUP {
                            let (dy, x) = (
                                self.dy[self.at(self.outputs, g, o, l)],
                                self.x[self.at(self.inputs, g, i, l)],
                            );
                            lanes[l % LANES] = dy.mul_add(x, lanes[l % LANES]);
                        }
                    }
                    for half in [8, 4, 2, 1] {
                        for l in 0..half {
                            lanes[l] += lanes[l + half];
                        }
                    }
                    *out += lanes[0];
                }
            }
        }
        gradient
    }
}

/// Bits, with the two zeros taken as one: adding 0·x may turn −0 into +0.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|&v| if v == 0.0 { 0 } else { v.to_bits() }).collect()
}

fn check(case: &Case, machine: &Machine, name: &str) {
    let &Case { outputs, inputs, groups, .. } = case;
    let shape = LinearShape { outputs, inputs, groups };
    let stream = LinearStream::new(outputs, inputs, &case.indices).unwrap();
    let sorted: Vec<f32> = case.indices.iter().map(|&i| case.weights[i as usize]).collect();
    let values = stream.to_forward(&sorted);

    let expected = bits(&case.forward());
    let mut y = vec![f32::NAN; case.dy.len()];
    dense::forward(machine, shape, &case.weights, Some(&case.bias), &case.x, &mut y, Epilogue::Relu).unwrap();
    assert_eq!(bits(&y), expected, "dense forward, {name}");
    y.fill(f32::NAN);
    sparse::forward(machine, &stream, &values, Some(&case.bias), &case.x, &mut y, groups, Epilogue::Relu)
        .unwrap();
    assert_eq!(bits(&y), expected, "sparse forward, {name}");

    let expected = bits(&case.backward_data(&vec![0.0; case.x.len()]));
    let mut dx = vec![f32::NAN; case.x.len()];
    let gate = Epilogue::Gate(&case.x);
    dense::backward_data(machine, shape, &case.weights, &case.dy, &mut dx, gate, false).unwrap();
    assert_eq!(bits(&dx), expected, "dense backward data, {name}");
    dx.fill(f32::NAN);
    sparse::backward_data(machine, &stream, &values, &case.dy, &mut dx, groups, gate, false).unwrap();
    assert_eq!(bits(&dx), expected, "sparse backward data, {name}");
    let there = numbers(case.x.len(), 6);
    let expected = bits(&case.backward_data(&there));
    let mut dx = there.clone();
    dense::backward_data(machine, shape, &case.weights, &case.dy, &mut dx, gate, true).unwrap();
    assert_eq!(bits(&dx), expected, "dense backward data on top, {name}");
    let mut dx = there;
    sparse::backward_data(machine, &stream, &values, &case.dy, &mut dx, groups, gate, true).unwrap();
    assert_eq!(bits(&dx), expected, "sparse backward data on top, {name}");

    let plain = case.gradient();
    let mut gradient = vec![f32::NAN; case.weights.len()];
    dense::gradient(machine, shape, &case.x, &case.dy, &mut gradient, false).unwrap();
    assert_eq!(bits(&gradient), bits(&plain), "dense gradient, {name}");
    let at_nonzeros: Vec<f32> = case.indices.iter().map(|&i| plain[i as usize]).collect();
    let mut gradient = vec![f32::NAN; values.len()];
    sparse::gradient(machine, &stream, &case.x, &case.dy, &mut gradient, groups, false).unwrap();
    assert_eq!(bits(&stream.to_sorted(&gradient)), bits(&at_nonzeros), "sparse gradient, {name}");
    // A second time on top: twice the same block sums, in order.
    sparse::gradient(machine, &stream, &case.x, &case.dy, &mut gradient, groups, true).unwrap();
    if groups <= BLOCK_GROUPS {
        let twice: Vec<f32> = at_nonzeros.iter().map(|g| g + g).collect();
        assert_eq!(bits(&stream.to_sorted(&gradient)), bits(&twice), "accumulated gradient, {name}");
    }

    let grown = std::sync::Mutex::new(vec![f32::NAN; case.weights.len()]);
    dense::growth(machine, shape, &case.x, &case.dy, &|_, first, tile| {
        let grown = &mut grown.lock().unwrap()[first as usize..][..tile.len()];
        assert!(grown.iter().all(|g| g.is_nan()), "every position once");
        grown.copy_from_slice(tile);
    })
    .unwrap();
    assert_eq!(bits(&grown.into_inner().unwrap()), bits(&plain), "growth, {name}");
}

#[test]
fn kernels_equal_the_plain_loops_to_the_bit_over_shapes_densities_batches_and_instruction_sets() {
    for isa in Isa::available() {
        for threads in [1, 3] {
            let machine = Machine::new(isa, threads);
            for (outputs, inputs) in [(1, 1), (10, 100), (3, 65), (70, 5), (65, 64), (129, 200)] {
                for samples in [1, 17, 64, 100, 300] {
                    for density in [0.0, 0.03, 0.5, 1.0] {
                        let case = Case::new(outputs, inputs, samples, density);
                        let name = format!("{} {threads} {outputs}×{inputs} {samples} {density}", isa.name());
                        check(&case, &machine, &name);
                    }
                }
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(100))]

    #[test]
    fn kernels_equal_the_plain_loops_on_random_shapes(
        outputs in 1usize..150, inputs in 1usize..150, samples in 1usize..200, density in 0.0f64..1.0, threads in 1usize..4,
    ) {
        let case = Case::new(outputs, inputs, samples, density);
        for isa in Isa::available() {
            check(&case, &Machine::new(isa, threads), isa.name());
        }
    }
}

#[test]
fn work_large_enough_for_threads_gives_the_same_bits() {
    let case = Case::new(260, 300, 256, 0.2);
    for threads in [1, 2, 3, 7, 96] {
        check(&case, &Machine::new(Isa::detect(), threads), &format!("{threads} threads"));
    }
}

#[test]
fn bias_gradients_equal_the_plain_sum() {
    for isa in Isa::available() {
        let case = Case::new(37, 2, 300, 1.0);
        let mut gradient = vec![1.0; 37];
        dense::bias_gradient(&Machine::new(isa, 1), 37, case.groups, &case.dy, &mut gradient, true).unwrap();
        for (o, &g) in gradient.iter().enumerate() {
            let exact: f64 = (0..case.groups)
                .flat_map(|g| (0..GROUP).map(move |l| (g, l)))
                .map(|(g, l)| f64::from(case.dy[case.at(37, g, o, l)]))
                .sum();
            // n·ε·Σ|dy| with |dy| ≤ 1.
            assert!((f64::from(g) - 1.0 - exact).abs() < 300.0 * f64::from(f32::EPSILON) * 300.0);
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let machine = Machine::new(Isa::detect(), 1);
    let stream = LinearStream::new(3, 4, &[0, 5, 11]).unwrap();
    let (x, mut y) = (vec![0.0; 4 * GROUP], vec![0.0; 3 * GROUP]);
    let shape = LinearShape { outputs: 3, inputs: 4, groups: 1 };
    let none = Epilogue::None;
    assert!(sparse::forward(&machine, &stream, &[0.0; 2], None, &x, &mut y, 1, none).is_err());
    assert!(sparse::forward(&machine, &stream, &[0.0; 3], None, &x[1..], &mut y, 1, none).is_err());
    assert!(sparse::forward(&machine, &stream, &[0.0; 3], None, &x, &mut y, 2, none).is_err());
    assert!(sparse::forward(&machine, &stream, &[0.0; 3], Some(&[0.0; 4]), &x, &mut y, 1, none).is_err());
    let gate = Epilogue::Gate(&x[..GROUP]);
    assert!(sparse::forward(&machine, &stream, &[0.0; 3], None, &x, &mut y, 1, gate).is_err());
    assert!(sparse::gradient(&machine, &stream, &x, &y, &mut [0.0; 4], 1, false).is_err());
    assert!(dense::forward(&machine, shape, &[0.0; 11], None, &x, &mut y, none).is_err());
    assert!(dense::gradient(&machine, shape, &x, &y[1..], &mut [0.0; 12], false).is_err());
    let huge = LinearShape { outputs: usize::MAX, inputs: 2, groups: 1 };
    assert!(dense::growth(&machine, huge, &x, &y, &|_, _, _| {}).is_err());
    assert!(sparse::forward(&machine, &stream, &[0.0; 3], None, &x, &mut y, usize::MAX, none).is_err());
}
