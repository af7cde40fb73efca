//! What a session is made with and given.

use rigl_base::random::{Purpose, Stream};
use rigl_engine::{Batch, Compute, MicroBatch, Options, Session, StepConstants};
use rigl_graph::state::{self, Role};
use rigl_graph::{Graph, Parameter};
use rigl_topology::Pattern;

/// A step that leaves gradients alone: `w_before − w_after` is the gradient.
pub const BARE: StepConstants = StepConstants { learning_rate: 1.0, momentum: 0.0, nesterov: false, l2: 0.0 };

/// Two threads, for batches of this size.
pub fn options(batch: usize) -> Options {
    Options { batch, evaluation_batch: batch, threads: 2, isa: None, compute: Compute::Auto, seed: 3 }
}

/// A pattern for each weight that `sparse` names, with this share of its positions, one at least.
pub fn patterns(graph: &Graph, density: f64, sparse: impl Fn(&Parameter) -> bool) -> Vec<Option<Pattern>> {
    let of = |(number, p): (usize, &Parameter)| {
        let count = ((p.len() as f64 * density) as usize).max(1);
        let stream = Stream::new(9, Purpose::Test, number as u64);
        (p.is_weight() && sparse(p)).then(|| Pattern::random(p.len(), count, stream).unwrap())
    };
    graph.parameters().iter().enumerate().map(of).collect()
}

/// A batch as the whole of a step.
pub fn whole(batch: &Batch) -> MicroBatch<'_> {
    part(batch, 0, 1, batch.samples())
}

/// A batch as the part of that number, of so many, of a step of so many samples.
pub fn part(batch: &Batch, number: usize, parts: usize, of_samples: usize) -> MicroBatch<'_> {
    let (first, last) = (number == 0, number + 1 == parts);
    MicroBatch { batch, of_samples, draw: 0, number: number as u64, seed: 0, first, last }
}

/// Values of all parameters, inactive ones 0, in the graph's order.
pub fn values(session: &Session) -> Vec<Vec<f32>> {
    let state = session.state();
    let of = |p: &Parameter| {
        let tensor = state::find(&state, &Role::Parameter, &p.name).unwrap();
        let values = tensor.values.as_f32().unwrap();
        match &tensor.indices {
            None => values.to_vec(),
            Some(indices) => {
                let mut dense = vec![0.0; p.len()];
                indices.iter().zip(values).for_each(|(&i, &v)| dense[i as usize] = v);
                dense
            }
        }
    };
    session.graph().parameters().iter().map(of).collect()
}
