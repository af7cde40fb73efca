//! The optimiser's step: a pass that touches every weight once.

use crate::error::{Error, check_len};
use crate::run::{Machine, Shared};
use crate::simd::{Finite, LANES, Simd, Work};

/// Numbers that one task handles.
const CHUNK: usize = 1 << 14;

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
        machine.note(machine.isa.run(Step { sgd, gradient: &gradient[range.clone()], w, m }));
    })
}

/// A step of some weights. Says whether they are finite after it, which they are not where a gradient or a momentum was
/// not.
struct Step<'a> {
    sgd: Sgd,
    gradient: &'a [f32],
    w: &'a mut [f32],
    m: &'a mut [f32],
}

impl Work for Step<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let (mut finite, mut rest) = (Finite::new(s), true);
        let Sgd { learning_rate, momentum, nesterov, l2 } = self.sgd;
        let len = self.w.len();
        assert!(
            self.gradient.len() >= len && (momentum == 0.0 || self.m.len() >= len),
            "a number for each weight"
        );
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
                let stepped = s.fma(rate_all, step, s.load(w));
                finite.see(s, stepped);
                s.store(w, stepped);
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
            rest &= w.is_finite();
        }
        finite.all(s) && rest
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
}
