//! Dense linear layers, for dense baselines, masked storage and the gradients that decide on growth.
//!
//! Shapes as in the sparse form; weights row-major (outputs × inputs). Sums run in the same order as there, so a
//! dense layer whose inactive weights are zero gives the bits of the sparse one.

mod gradient;
mod product;

pub use gradient::{bias_gradient, gradient, growth};
pub use product::{backward_data, forward};

use crate::linear::shape::{LinearShape, Product};
use crate::run::simulate::TaskWork;

/// The tasks that a product is cut into on so many threads.
///
/// # Panics
/// If there are more than 2²⁴.
pub fn tasks(shape: LinearShape, of: Product, threads: usize) -> Vec<TaskWork> {
    match of {
        Product::Forward => product::tasks(shape.outputs, shape.inputs, shape.groups, threads),
        Product::Data => product::tasks(shape.inputs, shape.outputs, shape.groups, threads),
        Product::Gradient => gradient::tasks(shape, threads),
    }
}
