//! A number that is not finite is noticed by the kernel that reads or leaves it, wherever it is and whichever weights are
//! active, on every instruction set.

use rigl_kernels::conv::{Backward, ConvShape, ConvStream, ConvTaps, Forward, WeightGradient, Weights};
use rigl_kernels::elementwise::{Activation, activate, activate_backward, multiply};
use rigl_kernels::linear::{Epilogue, LinearShape, LinearStream, dense, sparse};
use rigl_kernels::map::{DataGradient, GradientView, MapShape, View};
use rigl_kernels::optimizer::{Sgd, sgd};
use rigl_kernels::vector::reshape::{Flatten, GlobalAveragePool};
use rigl_kernels::{Isa, Machine, Workspace};

const BAD: [f32; 3] = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

/// On every instruction set, with one thread and with three: `run` notices nothing, or does.
fn noticed(expected: bool, what: &str, mut run: impl FnMut(&Machine)) {
    for isa in Isa::available() {
        for threads in [1, 3] {
            let machine = Machine::new(isa, threads);
            run(&machine);
            assert_eq!(machine.met_non_finite(), expected, "{what}, {} {threads}", isa.name());
            assert!(!machine.met_non_finite(), "it was asked for");
        }
    }
}

/// Whether all is finite, or one of some places is not.
fn with_one_bad(len: usize, run: impl Fn(&[f32], bool, usize)) {
    let numbers: Vec<f32> = (0..len).map(|i| (i % 13) as f32 - 6.0).collect();
    run(&numbers, false, 0);
    for (at, bad) in [0, len / 2, len - 1].into_iter().zip(BAD) {
        let mut numbers = numbers.clone();
        numbers[at] = bad;
        run(&numbers, true, at);
    }
}

const SHAPE: ConvShape =
    ConvShape { inputs: 3, rows: 5, columns: 7, outputs: 4, kernel: 3, stride: 2, padding: 1, groups: 1 };

#[test]
fn by_convolutions_in_what_they_read_even_if_no_weight_is_active() {
    let (input, output) = (SHAPE.input().len(2).unwrap(), SHAPE.output().len(2).unwrap());
    let (taps, values) = (ConvTaps::new(SHAPE).unwrap(), vec![0.5; SHAPE.weight_len()]);
    for active in [&[][..], &[7], &[0, 20, 107]] {
        let stream = ConvStream::new(SHAPE, active).unwrap();
        let sparse = Weights::Sparse(&stream, &values[..active.len()]);
        for weights in [sparse, Weights::Dense(&taps, &values)] {
            let n = SHAPE.weight_len();
            let size = Forward::workspace(&SHAPE, n, 32).max(Backward::workspace(&SHAPE, n, n, 32));
            with_one_bad(input, |x, bad, at| {
                noticed(bad, &format!("x at {at}"), |machine| {
                    let mut y = vec![0.0; output];
                    Forward {
                        weights,
                        bias: None,
                        x: View::plain(x),
                        residual: None,
                        y: &mut y,
                        statistics: None,
                        samples: 32,
                    }
                    .run(machine, &mut Workspace::new(machine.pool.threads(), size).unwrap())
                    .unwrap();
                });
            });
            with_one_bad(output, |dy, bad, at| {
                for data in [false, true] {
                    noticed(bad, &format!("dy at {at}"), |machine| {
                        let (mut dx, mut dw) = (vec![0.0; input], vec![0.0; n]);
                        let weight = match weights {
                            Weights::Sparse(stream, values) => {
                                WeightGradient::Sparse(stream, &mut dw[..values.len()])
                            }
                            Weights::Dense(taps, _) => WeightGradient::Dense(taps, &mut dw),
                        };
                        Backward {
                            weights,
                            x: View::plain(&vec![1.0; input]),
                            gradient: GradientView { direct: Some(dy), norm: None },
                            keep: None,
                            weight,
                            bias: None,
                            accumulate: false,
                            data: data.then_some(DataGradient {
                                out: &mut dx,
                                accumulate: false,
                                sums: None,
                            }),
                            samples: 32,
                        }
                        .run(machine, &mut Workspace::new(machine.pool.threads(), size).unwrap())
                        .unwrap();
                    });
                }
            });
        }
    }
}

#[test]
fn by_linear_layers_in_what_they_leave() {
    let (outputs, inputs, groups) = (21, 70, 3);
    let shape = LinearShape { outputs, inputs, groups };
    let active: Vec<u32> = (0..(outputs * inputs) as u32).collect();
    let stream = LinearStream::new(outputs, inputs, &active).unwrap();
    let values = vec![0.5; outputs * inputs];
    let epilogue = Epilogue::None;
    with_one_bad(inputs * groups * 64, |x, bad, at| {
        let what = format!("x at {at}");
        let mut y = vec![0.0; outputs * groups * 64];
        noticed(bad, &what, |machine| {
            dense::forward(machine, shape, &values, None, x, &mut y, epilogue).unwrap();
        });
        noticed(bad, &what, |machine| {
            sparse::forward(machine, &stream, &values, None, x, &mut y, groups, epilogue).unwrap();
        });
    });
    with_one_bad(outputs * groups * 64, |dy, bad, at| {
        let what = format!("dy at {at}");
        let mut dx = vec![0.0; inputs * groups * 64];
        noticed(bad, &what, |machine| {
            dense::backward_data(machine, shape, &values, dy, &mut dx, epilogue, false).unwrap();
        });
        noticed(bad, &what, |machine| {
            sparse::backward_data(machine, &stream, &values, dy, &mut dx, groups, epilogue, false).unwrap();
        });
    });
}

#[test]
fn by_passes_over_numbers_in_what_they_leave() {
    with_one_bad(1003, |x, bad, at| {
        let (what, mut y) = (format!("at {at}"), vec![0.0; x.len()]);
        let ones = vec![1.0; x.len()];
        noticed(bad, &what, |machine| multiply(machine, x, &ones, &mut y, false).unwrap());
        noticed(bad, &what, |machine| {
            activate_backward(machine, Activation::LeakyRelu { slope: 0.5 }, &ones, x, &mut y, false)
                .unwrap();
        });
        // −∞ is 0 behind a ReLU, as every number below 0 is.
        noticed(bad && x[at] != f32::NEG_INFINITY, &what, |machine| {
            activate(machine, Activation::Relu, x, &mut y).unwrap();
        });
    });
    let shape = MapShape { channels: 3, rows: 2, columns: 3 };
    with_one_bad(shape.len(4).unwrap(), |map, bad, at| {
        let (mut means, mut all, x) = (vec![0.0; 3 * 64], vec![0.0; 18 * 64], View::plain(map));
        noticed(bad, &format!("mean at {at}"), |machine| {
            GlobalAveragePool { shape, x, y: &mut means, samples: 64 }.run(machine).unwrap();
        });
        noticed(bad, &format!("value at {at}"), |machine| {
            Flatten { shape, x, y: &mut all, samples: 64 }.run(machine).unwrap();
        });
    });
}

#[test]
fn by_the_optimiser_in_weights_gradients_and_momenta() {
    for (momentum, learning_rate) in [(0.0, 0.1), (0.9, 0.1), (0.9, 0.0)] {
        let of = Sgd { learning_rate, momentum, nesterov: false, l2: 1e-4 };
        with_one_bad(1003, |numbers, bad, at| {
            let fine = vec![1.0; numbers.len()];
            let slot = |slot: &[f32]| if momentum == 0.0 { Vec::new() } else { slot.to_vec() };
            noticed(bad, &format!("gradient at {at}"), |machine| {
                sgd(machine, of, numbers, &mut fine.clone(), &mut slot(&fine)).unwrap();
            });
            noticed(bad, &format!("weight at {at}"), |machine| {
                sgd(machine, of, &fine, &mut numbers.to_vec(), &mut slot(&fine)).unwrap();
            });
            noticed(bad && momentum != 0.0, &format!("momentum at {at}"), |machine| {
                sgd(machine, of, &fine, &mut fine.clone(), &mut slot(numbers)).unwrap();
            });
        });
    }
}
