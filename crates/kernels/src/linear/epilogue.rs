//! What is fused behind a product.

use crate::error::{Error, check_len};
use crate::simd::Simd;

/// What happens to a result before it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// Nothing.
    None,
    /// ReLU: 0 where y < 0, else y; NaN stays NaN.
    Relu,
    /// The derivative of a ReLU whose result was this vector: 0 where that is 0 or less, else kept, also where it is NaN.
    Gate(&'a [f32]),
}

impl Epilogue<'_> {
    pub(crate) fn check(&self, expected: usize) -> Result<(), Error> {
        match self {
            Epilogue::Gate(gate) => check_len("gate", gate.len(), expected),
            _ => Ok(()),
        }
    }

    /// Applies it to the vector that will be stored at offset `at` of the result.
    ///
    /// # Safety
    /// A gate must be readable for 16 f32 at `at`.
    #[inline(always)]
    pub(crate) unsafe fn apply<S: Simd>(&self, s: S, v: S::V, at: usize) -> S::V {
        match self {
            Epilogue::None => v,
            Epilogue::Relu => s.relu(v),
            // SAFETY: the caller vouches for the gate's length.
            Epilogue::Gate(gate) => unsafe { s.relu_gate(s.load(gate.as_ptr().add(at)), v) },
        }
    }
}
