//! Passes that touch every number once, each on its own: activations and products, where no kernel does them in passing.
//! They take any layout.

use crate::error::{Error, check_len};
use crate::run::Machine;
use crate::simd::{self, Finite, LANES, Simd, Work};

/// Numbers that one task handles: 64 KiB, which stay in a core's second cache with what they are made of.
const CHUNK: usize = 1 << 14;

/// A function of one number whose derivative follows from its result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// 0 where x < 0, else x.
    Relu,
    /// x where it is positive, else slope · x; the slope is not negative.
    LeakyRelu {
        /// The slope of the negative half.
        slope: f32,
    },
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
}

impl Activation {
    /// Multiply-adds that a number takes, roughly.
    fn cost(self) -> usize {
        match self {
            Activation::Relu | Activation::LeakyRelu { .. } => 1,
            Activation::Sigmoid => 16,
        }
    }
}

/// y = f(x).
///
/// # Errors
/// If the lengths differ, or a worker panicked.
pub fn activate(machine: &Machine, f: Activation, x: &[f32], y: &mut [f32]) -> Result<(), Error> {
    check_len("x", x.len(), y.len())?;
    run(machine, f.cost(), Forward(f), [x], y, false)
}

/// dx = dy · f′ for y = f(x), where f′ of a ReLU is 0 at 0 and 1 where y is NaN; with `accumulate` that is added to what `dx` holds.
///
/// # Errors
/// If the lengths differ, or a worker panicked.
pub fn activate_backward(
    machine: &Machine,
    f: Activation,
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    accumulate: bool,
) -> Result<(), Error> {
    check_len("y", y.len(), dx.len())?;
    check_len("dy", dy.len(), dx.len())?;
    run(machine, 1, Backward(f), [y, dy], dx, accumulate)
}

/// y = a · b; with `accumulate` that is added to what `y` holds.
///
/// # Errors
/// If the lengths differ, or a worker panicked.
pub fn multiply(
    machine: &Machine,
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    accumulate: bool,
) -> Result<(), Error> {
    check_len("a", a.len(), y.len())?;
    check_len("b", b.len(), y.len())?;
    run(machine, 1, Product, [a, b], y, accumulate)
}

/// What is done to each number, or to numbers at the same place.
trait Each<const N: usize>: Copy + Sync {
    fn of<S: Simd>(self, s: S, inputs: [S::V; N]) -> S::V;
}

#[derive(Clone, Copy)]
struct Forward(Activation);

impl Each<1> for Forward {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, [x]: [S::V; 1]) -> S::V {
        match self.0 {
            Activation::Relu => s.relu(x),
            Activation::LeakyRelu { slope } => {
                let zero = s.splat(0.0);
                let negative = s.sub(zero, s.max(zero, s.sub(zero, x)));
                s.fma(negative, s.splat(slope), s.max(zero, x))
            }
            Activation::Sigmoid => {
                let one = s.splat(1.0);
                s.div(one, s.add(one, simd::exp(s, s.sub(s.splat(0.0), x))))
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Backward(Activation);

impl Each<2> for Backward {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, [y, dy]: [S::V; 2]) -> S::V {
        match self.0 {
            Activation::Relu => s.relu_gate(y, dy),
            Activation::LeakyRelu { slope } => {
                // Either 1 or the slope: of numbers that are finite whatever the gradient is, so that ∞ stays ∞.
                let (one, slope, zero) = (s.splat(1.0), s.splat(slope), s.splat(0.0));
                let factor = s.add(s.relu_gate(y, one), s.sub(slope, s.relu_gate(y, slope)));
                // With 0, so that a zero has no sign.
                s.add(zero, s.mul(dy, factor))
            }
            Activation::Sigmoid => s.mul(dy, s.mul(y, s.sub(s.splat(1.0), y))),
        }
    }
}

#[derive(Clone, Copy)]
struct Product;

impl Each<2> for Product {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, [a, b]: [S::V; 2]) -> S::V {
        s.mul(a, b)
    }
}

/// Runs it over inputs of the length of `out`.
fn run<const N: usize>(
    machine: &Machine,
    cost: usize,
    each: impl Each<N>,
    inputs: [&[f32]; N],
    out: &mut [f32],
    accumulate: bool,
) -> Result<(), Error> {
    machine.chunks(out, CHUNK, cost * out.len(), &|first, out| {
        let chunk = Chunk { each, inputs: inputs.map(|x| &x[first..]), out, accumulate };
        machine.note(machine.isa.run(chunk));
    })
}

/// One task: a chunk, and inputs from its first number on; says whether the results are finite.
struct Chunk<'a, E, const N: usize> {
    each: E,
    inputs: [&'a [f32]; N],
    out: &'a mut [f32],
    accumulate: bool,
}

impl<E: Each<N>, const N: usize> Work for Chunk<'_, E, N> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let len = self.out.len();
        let mut finite = Finite::new(s);
        let (from, whole) = (self.inputs.map(|x| &x[..len]), len / LANES * LANES);
        for i in (0..whole).step_by(LANES) {
            // SAFETY: i + 16 is at most the length of the chunk, and of every input.
            unsafe {
                let mut inputs = [s.splat(0.0); N];
                for (input, x) in inputs.iter_mut().zip(from) {
                    *input = s.load(x.as_ptr().add(i));
                }
                let y = self.each.of(s, inputs);
                let out = self.out.as_mut_ptr().add(i);
                let y = if self.accumulate { s.add(s.load(out), y) } else { y };
                finite.see(s, y);
                s.store(out, y);
            }
        }
        let rest = self.out.len() - whole;
        let mut padded = [[0.0f32; LANES]; N];
        for (padded, x) in padded.iter_mut().zip(from) {
            padded[..rest].copy_from_slice(&x[whole..][..rest]);
        }
        let mut y = [0.0f32; LANES];
        // SAFETY: all are arrays of 16.
        unsafe {
            let mut inputs = [s.splat(0.0); N];
            for (input, x) in inputs.iter_mut().zip(&padded) {
                *input = s.load(x.as_ptr());
            }
            s.store(y.as_mut_ptr(), self.each.of(s, inputs));
        }
        let mut rest = true;
        for (out, y) in self.out[whole..].iter_mut().zip(y) {
            *out = if self.accumulate { *out + y } else { y };
            rest &= out.is_finite();
        }
        finite.all(s) && rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::Random;

    const ALL: [Activation; 3] =
        [Activation::Relu, Activation::LeakyRelu { slope: 0.01 }, Activation::Sigmoid];

    fn plain(f: Activation, x: f64) -> f64 {
        match f {
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu { slope } => x.max(0.0) + f64::from(slope) * x.min(0.0),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }

    #[test]
    fn relu_and_its_derivative_agree_with_their_definition() {
        let machine = Machine::new(Isa::detect(), 2);
        let x = [-1.0, 0.0, 2.0, -0.0, f32::MIN_POSITIVE];
        let mut y = [9.0; 5];
        activate(&machine, Activation::Relu, &x, &mut y).unwrap();
        assert_eq!(y, [0.0, 0.0, 2.0, 0.0, f32::MIN_POSITIVE]);
        let mut dx = [9.0; 5];
        let dy = [1.0, 2.0, 3.0, 4.0, 5.0];
        activate_backward(&machine, Activation::Relu, &y, &dy, &mut dx, false).unwrap();
        assert_eq!(dx, [0.0, 0.0, 3.0, 0.0, 5.0]);
        activate_backward(&machine, Activation::Relu, &y, &[1.0; 5], &mut dx, true).unwrap();
        assert_eq!(dx, [0.0, 0.0, 4.0, 0.0, 6.0]);
        assert!(activate(&machine, Activation::Relu, &x, &mut y[1..]).is_err());
    }

    #[test]
    fn functions_and_derivatives_are_those_of_doubles_and_the_same_on_every_machine() {
        for len in [0, 1, 15, 16, 17, 1000, 3 * CHUNK + 5] {
            let mut random = Random::new(len as u64);
            let [x, dy, there] = [(); 3].map(|()| random.numbers(len));
            let x: Vec<f32> = x.iter().map(|x| 4.0 * x).collect();
            for f in ALL {
                let mut found = Vec::new();
                for (isa, threads) in Isa::available().into_iter().zip([1, 2, 3]) {
                    let machine = Machine::new(isa, threads);
                    let (mut y, mut dx) = (vec![9.0; len], there.clone());
                    activate(&machine, f, &x, &mut y).unwrap();
                    activate_backward(&machine, f, &y, &dy, &mut dx, true).unwrap();
                    let mut product = there.clone();
                    multiply(&machine, &x, &dy, &mut product, true).unwrap();
                    found.push([y, dx, product].map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<_>>()));
                }
                assert!(found.windows(2).all(|w| w[0] == w[1]), "{f:?} {len}");
                for (i, &x) in x.iter().enumerate() {
                    let [y, dx, product] = [0, 1, 2].map(|k| f64::from(f32::from_bits(found[0][k][i])));
                    let (x, dy, there) = (f64::from(x), f64::from(dy[i]), f64::from(there[i]));
                    // Of a kink the slope on its left.
                    let up = if x > 0.0 { x + 1e-6 } else { x };
                    let slope = (plain(f, up) - plain(f, x - 1e-6)) / (up - (x - 1e-6));
                    // e⁻ˣ within 2 ulp, three roundings, and the rounding of what is added up.
                    let eps = f64::from(f32::EPSILON);
                    assert!((y - plain(f, x)).abs() <= 4.0 * eps, "{f:?} at {x}: {y}");
                    let expected = there + dy * slope;
                    assert!((dx - expected).abs() <= 8.0 * eps, "{f:?}′ at {x}: {dx}, {expected}");
                    assert!((product - (there + x * dy)).abs() <= 8.0 * eps);
                }
            }
        }
    }

    #[test]
    fn an_infinite_gradient_stays_infinite() {
        for isa in Isa::available() {
            let machine = Machine::new(isa, 1);
            let (y, mut dx) = ([3.0, -2.0, 0.0, f32::INFINITY, f32::NAN, -1.0], [9.0; 6]);
            let dy = [f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY, 2.0, f32::INFINITY, 4.0];
            activate_backward(&machine, Activation::LeakyRelu { slope: 0.5 }, &y, &dy, &mut dx, false)
                .unwrap();
            let expected = [f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY, 2.0, f32::INFINITY, 2.0];
            assert_eq!(dx, expected, "{}", isa.name());
            assert!(machine.met_non_finite());
        }
    }

    #[test]
    fn a_number_that_is_none_stays_one() {
        for isa in Isa::available() {
            let machine = Machine::new(isa, 1);
            for f in ALL {
                let mut y = [0.0; 17];
                activate(&machine, f, &[f32::NAN; 17], &mut y).unwrap();
                assert!(y.iter().all(|y| y.is_nan()), "{f:?} {}", isa.name());
                let mut dx = [0.0; 17];
                activate_backward(&machine, f, &y, &[2.0; 17], &mut dx, false).unwrap();
                let passes = |dx: &f32| *dx == 2.0 || dx.is_nan();
                assert!(dx.iter().all(passes), "{f:?}′ {}: {dx:?}", isa.name());
            }
        }
    }
}
