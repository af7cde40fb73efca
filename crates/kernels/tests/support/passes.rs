//! The tasks of every pass of a layer.

use rigl_kernels::conv::{Backward, ConvShape, ConvStream, ConvTaps, Forward, WeightGradient, Weights};
use rigl_kernels::linear::{LinearShape, LinearStream, Product, dense, sparse};
use rigl_kernels::simulate::TaskWork;
use rigl_kernels::vector::layout::groups;

use crate::layers::indices;

/// The tasks of a pass, as a function of the number of threads.
pub type Tasks = Box<dyn Fn(usize) -> Vec<TaskWork>>;

/// Forward and backward pass of a convolution, sparse unless the density is 1.
pub fn conv(shape: ConvShape, density: f64, samples: usize) -> Vec<(&'static str, Tasks)> {
    let pattern = indices(shape.weight_len(), density);
    let stream = ConvStream::new(shape, &pattern).unwrap();
    let taps = ConvTaps::new(shape).unwrap();
    let values = vec![0.0; if density < 1.0 { pattern.len() } else { shape.weight_len() }];
    // Shared by both closures, for as long as the program runs.
    let (stream, taps, values): (&ConvStream, &ConvTaps, &[f32]) =
        (Box::leak(Box::new(stream)), Box::leak(Box::new(taps)), Box::leak(values.into_boxed_slice()));
    let weights = move || {
        if density < 1.0 { Weights::Sparse(stream, values) } else { Weights::Dense(taps, values) }
    };
    let forward = move |threads| Forward::tasks(&weights(), samples, threads);
    let backward = move |threads| {
        let gradient = match weights() {
            Weights::Sparse(stream, _) => WeightGradient::Sparse(stream, &mut []),
            Weights::Dense(taps, _) => WeightGradient::Dense(taps, &mut []),
        };
        Backward::tasks(&weights(), &gradient, true, samples, threads)
    };
    vec![("forward", Box::new(forward)), ("backward", Box::new(backward))]
}

/// The three products of a linear layer.
pub fn linear(inputs: usize, outputs: usize, density: f64, samples: usize) -> Vec<(&'static str, Tasks)> {
    let groups = groups(samples);
    let stream: &LinearStream =
        Box::leak(Box::new(LinearStream::new(outputs, inputs, &indices(outputs * inputs, density)).unwrap()));
    let shape = LinearShape { outputs, inputs, groups };
    let of = |product| -> Tasks {
        Box::new(move |threads| {
            if density < 1.0 {
                sparse::tasks(stream, product, groups, threads)
            } else {
                dense::tasks(shape, product, threads)
            }
        })
    };
    vec![("forward", of(Product::Forward)), ("data", of(Product::Data)), ("weights", of(Product::Gradient))]
}
