//! What is fused behind a product.

use crate::error::{Error, check_len};
use crate::simd::Simd;

/// What happens to a result before it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// Nothing.
    None,
    /// ReLU: max(0, y).
    Relu,
    /// The derivative of a ReLU whose result was this map: kept where it is positive, else 0.
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
            Epilogue::Relu => s.max(v, s.splat(0.0)),
            // SAFETY: the caller vouches for the gate's length.
            Epilogue::Gate(gate) => unsafe { s.where_positive(s.load(gate.as_ptr().add(at)), v) },
        }
    }
}
