//! Passes that touch every number once: ReLU on its own, and the optimiser's step.

use crate::Error;
use crate::error::check_len;
use crate::machine::{Machine, Shared};
use crate::simd::{LANES, Simd, Work};

/// Numbers that one task handles.
const CHUNK: usize = 1 << 14;

/// y = max(0, x).
///
/// # Errors
/// If the lengths differ, or a worker panicked.
pub fn relu(machine: &Machine, x: &[f32], y: &mut [f32]) -> Result<(), Error> {
    check_len("x", x.len(), y.len())?;
    let len = y.len();
    let y = Shared::new(y);
    machine.run(len.div_ceil(CHUNK), len, &|_, task| {
        let range = task * CHUNK..len.min((task + 1) * CHUNK);
        // SAFETY: tasks write disjoint chunks inside the slice.
        let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(range.start), range.len()) };
        for (y, &x) in y.iter_mut().zip(&x[range]) {
            *y = if x > 0.0 { x } else { 0.0 };
        }
    })
}

/// dx = dy where y > 0, else 0, for y = relu(x); with `accumulate` that is added to what `dx` holds.
///
/// # Errors
/// If the lengths differ, or a worker panicked.
pub fn relu_backward(
    machine: &Machine,
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    accumulate: bool,
) -> Result<(), Error> {
    check_len("y", y.len(), dx.len())?;
    check_len("dy", dy.len(), dx.len())?;
    let len = dx.len();
    let dx = Shared::new(dx);
    machine.run(len.div_ceil(CHUNK), len, &|_, task| {
        let range = task * CHUNK..len.min((task + 1) * CHUNK);
        // SAFETY: tasks write disjoint chunks inside the slice.
        let dx = unsafe { std::slice::from_raw_parts_mut(dx.get().add(range.start), range.len()) };
        for ((dx, &y), &dy) in dx.iter_mut().zip(&y[range.clone()]).zip(&dy[range]) {
            let passed = if y > 0.0 { dy } else { 0.0 };
            *dx = if accumulate { *dx + passed } else { passed };
        }
    })
}

/// Constants of a step of stochastic gradient descent with momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub learning_rate: f32,
    /// Momentum μ.
    pub momentum: f32,
    /// Whether the step looks ahead (Nesterov).
    pub nesterov: bool,
    /// L2 coefficient λ.
    pub l2: f32,
}

/// g ← g + λ·w; m ← μ·m + g; w ← w − η·m, or with Nesterov w ← w − η·(g + μ·m). As PyTorch has it.
/// With μ = 0 the slot is not needed: pass an empty one.
///
/// # Errors
/// If the lengths differ, or a worker panicked.
pub fn sgd(machine: &Machine, sgd: Sgd, gradient: &[f32], w: &mut [f32], m: &mut [f32]) -> Result<(), Error> {
    check_len("gradient", gradient.len(), w.len())?;
    check_len("momentum", m.len(), if sgd.momentum == 0.0 { 0 } else { w.len() })?;
    let len = w.len();
    let (w, m) = (Shared::new(w), Shared::new(m));
    machine.run(len.div_ceil(CHUNK), 16 * len, &|_, task| {
        let range = task * CHUNK..len.min((task + 1) * CHUNK);
        // SAFETY: tasks write disjoint chunks inside the slices; the momentum is used only where it has their
        // length.
        let (w, m) = unsafe {
            let part = |p: Shared<f32>, n: usize| {
                std::slice::from_raw_parts_mut(p.get().add(range.start.min(n)), range.len().min(n))
            };
            (part(w, len), part(m, if sgd.momentum == 0.0 { 0 } else { len }))
        };
        machine.isa.run(Step { sgd, gradient: &gradient[range.clone()], w, m });
    })
}

struct Step<'a> {
    sgd: Sgd,
    gradient: &'a [f32],
    w: &'a mut [f32],
    m: &'a mut [f32],
}

impl Work for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Sgd { learning_rate, momentum, nesterov, l2 } = self.sgd;
        let (l2_all, momentum_all, rate_all) = (s.splat(l2), s.splat(momentum), s.splat(-learning_rate));
        let whole = self.w.len() / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            // SAFETY: i + 16 ≤ the length of w and gradient, and of m where momentum is not 0.
            unsafe {
                let w = self.w.as_mut_ptr().add(i);
                let g = s.fma(l2_all, s.load(w), s.load(self.gradient.as_ptr().add(i)));
                let mut step = g;
                if momentum != 0.0 {
                    let slot = self.m.as_mut_ptr().add(i);
                    let m = s.fma(momentum_all, s.load(slot), g);
                    s.store(slot, m);
                    step = if nesterov { s.fma(momentum_all, m, g) } else { m };
                }
                s.store(w, s.fma(rate_all, step, s.load(w)));
            }
        }
        for i in whole..self.w.len() {
            let w = &mut self.w[i];
            let g = l2.mul_add(*w, self.gradient[i]);
            let mut step = g;
            if momentum != 0.0 {
                let m = momentum.mul_add(self.m[i], g);
                self.m[i] = m;
                step = if nesterov { momentum.mul_add(m, g) } else { m };
            }
            *w = (-learning_rate).mul_add(step, *w);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn three_steps_of_every_kind_equal_the_plain_formula_to_the_bit() {
        for isa in Isa::available() {
            let machine = Machine::new(isa, 2);
            for (momentum, nesterov) in [(0.0f32, false), (0.9, false), (0.9, true)] {
                for len in [0, 1, 15, 16, 17, 100, CHUNK + 3] {
                    let constants = Sgd { learning_rate: 0.1, momentum, nesterov, l2: 1e-2 };
                    let mut w: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin()).collect();
                    let mut m = vec![0.0; if momentum == 0.0 { 0 } else { len }];
                    let (mut w2, mut m2) = (w.clone(), vec![0.0f32; len]);
                    for step in 0..3 {
                        let g: Vec<f32> = (0..len).map(|i| (i as f32 * 1.3 + step as f32).cos()).collect();
                        sgd(&machine, constants, &g, &mut w, &mut m).unwrap();
                        for i in 0..len {
                            let g = 1e-2f32.mul_add(w2[i], g[i]);
                            m2[i] = momentum.mul_add(m2[i], g);
                            let step = if nesterov { momentum.mul_add(m2[i], g) } else { m2[i] };
                            w2[i] = (-0.1f32).mul_add(step, w2[i]);
                        }
                    }
                    assert_eq!(w, w2);
                }
            }
        }
    }

    #[test]
    fn relu_and_its_derivative_agree_with_their_definition() {
        let machine = Machine::new(Isa::detect(), 2);
        let x = [-1.0, 0.0, 2.0, -0.0, f32::MIN_POSITIVE];
        let mut y = [9.0; 5];
        relu(&machine, &x, &mut y).unwrap();
        assert_eq!(y, [0.0, 0.0, 2.0, 0.0, f32::MIN_POSITIVE]);
        let mut dx = [9.0; 5];
        relu_backward(&machine, &y, &[1.0, 2.0, 3.0, 4.0, 5.0], &mut dx, false).unwrap();
        assert_eq!(dx, [0.0, 0.0, 3.0, 0.0, 5.0]);
        relu_backward(&machine, &y, &[1.0; 5], &mut dx, true).unwrap();
        assert_eq!(dx, [0.0, 0.0, 4.0, 0.0, 6.0]);
        assert!(relu(&machine, &x, &mut y[1..]).is_err());
    }
}
