//! Pooling of maps: the largest or the mean value of windows, as PyTorch's `MaxPool2d` and `AvgPool2d`, of a map as
//! its consumers see it, and the gradient on its way back through that view.
//!
//! # Definitions
//! - The largest value is searched in row-major order, and a later value wins only if it is larger: of equal ones the
//!   first counts, and gets the gradient. Padding is never the largest. A window with NaN gives NaN, and the gradient
//!   goes to the first of them.
//! - A mean is the sum of the values in row-major order, times 1 / kernel²: padding counts as zeros
//!   (`count_include_pad`).
//! - An input's gradient adds those of its windows in row-major order; a mean's are times 1 / kernel² first.
//!
//! Nothing is kept from the forward to the backward pass: which value was the largest is found again.

mod backward;
mod forward;
mod shape;

#[cfg(test)]
mod tests;

pub use backward::{AveragePoolBackward, MaxPoolBackward};
pub use forward::{AveragePool, MaxPool};
pub use shape::PoolShape;
