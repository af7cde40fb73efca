//! ReLU on its own, where no kernel does it in passing.

use crate::error::{Error, check_len};
use crate::run::{Machine, Shared};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

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
