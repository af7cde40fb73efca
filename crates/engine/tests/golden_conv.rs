//! Layers of convolutional networks against PyTorch: the files `reference/golden/layers-*.json`, made by
//! `reference/layers.py` in float64. Each case is a small network in the text form of graphs; its parameters, masks,
//! buffers and samples are drawn here as there. The tolerances are those of the files (`reference/rounding.py`).

use std::collections::BTreeMap;

use rigl_engine::{Compute, Options, Preprocessing, Session};
use rigl_graph::Graph;
use rigl_graph::state::{self, Role, State, Tensor, Values};
use rigl_testing::golden::{self, Named, Numbers};
use rigl_testing::{BARE, whole};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    mean: Vec<f64>,
    std: Vec<f64>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    seed: u64,
    samples: usize,
    /// Densities by weight.
    masks: BTreeMap<String, f64>,
    text: String,
    /// The loss of each sample on its own in evaluation, before the step.
    evaluated: Numbers,
    loss: Numbers,
    gradients: Named,
    /// After the step.
    buffers: Named,
}

impl Case {
    fn state(&self, graph: &Graph) -> State<'static> {
        let parameters = graph.parameters().iter().map(|p| (Role::Parameter, &p.name, &p.shape));
        let buffers = graph.buffers().iter().map(|b| (Role::Buffer, &b.name, &b.shape));
        parameters.chain(buffers).map(|(role, name, shape)| self.tensor(role, name, shape)).collect()
    }

    /// The numbers of a parameter or buffer, as `drawn` in the script has them.
    fn tensor(&self, role: Role, name: &str, shape: &[usize]) -> Tensor<'static> {
        let (limit, middle) = if name.ends_with(".weight") && shape.len() > 1 {
            ((6.0 / shape[1..].iter().product::<usize>() as f64).sqrt(), 0.0)
        } else if name.ends_with(".weight") || name.ends_with(".running_var") {
            (0.5, 1.0)
        } else {
            (0.3, 0.0)
        };
        let count = shape.iter().product();
        let value = |u: f64| ((2.0 * u - 1.0) * limit + middle) as f32;
        let all: Vec<f32> = golden::units(self.seed, name, count).map(value).collect();
        let indices = self.masks.get(name).map(|&density| golden::mask(self.seed, name, count, density));
        let values = match &indices {
            Some(indices) => indices.iter().map(|&i| all[i as usize]).collect(),
            None => all,
        };
        Tensor {
            name: name.to_string().into(),
            role,
            shape: shape.to_vec(),
            values: Values::F32(values.into()),
            indices: indices.map(Into::into),
        }
    }

    fn check(&self, title: &str, how: &Preprocessing, compute: Compute, threads: usize) {
        let graph = Graph::parse(&self.text).unwrap();
        let classes = u32::try_from(graph.classes().unwrap()).unwrap();
        let features = graph.inputs().map(|id| graph.node(id).shape.iter().product::<usize>()).sum();
        let samples = golden::samples(self.seed, self.samples, features, classes);
        let options =
            Options { batch: self.samples, evaluation_batch: 1, threads, isa: None, compute, seed: 0 };
        let before = self.state(&graph);
        let mut session = Session::new(&graph, vec![None; graph.parameters().len()], &options).unwrap();
        session.load(&before).unwrap();

        let each: Vec<f64> = (0..self.samples)
            .map(|i| {
                session.evaluate(&samples.range(i..i + 1).pack(&session, how), None).unwrap().mean_loss()
            })
            .collect();
        self.evaluated.check(&format!("{title}: evaluated losses"), &each, |_| 0.0);

        let batch = samples.pack(&session, how);
        let outcome = session.accumulate(whole(&batch), &[]).unwrap();
        self.loss.check(&format!("{title}: loss"), &[outcome.mean_loss()], |_| 0.0);
        session.step(BARE).unwrap();

        let after = session.state();
        let values = |state: &[Tensor<'_>], role: &Role, name: &str| -> Vec<f64> {
            let tensor = state::find(state, role, name).unwrap_or_else(|| panic!("{title}: no {name}"));
            tensor.values.as_f32().unwrap().iter().map(|&v| f64::from(v)).collect()
        };
        assert_eq!(self.gradients.len(), graph.parameters().len(), "{title}");
        for (name, golden) in &self.gradients {
            let before = values(&before, &Role::Parameter, name);
            let after = values(&after, &Role::Parameter, name);
            let gradient: Vec<f64> = before.iter().zip(&after).map(|(b, a)| b - a).collect();
            // The new weight was rounded too.
            let slack = |i: usize| after[i].abs() * 0.5 * f64::from(f32::EPSILON);
            golden.check(&format!("{title}: gradient of {name}"), &gradient, slack);
        }
        assert_eq!(self.buffers.len(), graph.buffers().len(), "{title}");
        for (name, golden) in &self.buffers {
            let found = values(&after, &Role::Buffer, name);
            golden.check(&format!("{title}: {name}"), &found, |_| 0.0);
        }
    }
}

fn check(file: &str) {
    let golden: Golden = golden::read(file);
    let how = Preprocessing::new(&golden.mean, &golden.std).unwrap();
    for (title, case) in &golden.cases {
        case.check(title, &how, Compute::Auto, 1);
        if !case.masks.is_empty() {
            case.check(title, &how, Compute::Sparse, 2);
            case.check(title, &how, Compute::Masked, 2);
        }
    }
}

#[test]
fn convolutions_of_every_kernel_stride_and_padding_equal_those_of_pytorch() {
    check(include_str!("../../../reference/golden/layers-convolution.json"));
}

#[test]
fn grouped_and_depthwise_convolutions_equal_those_of_pytorch() {
    check(include_str!("../../../reference/golden/layers-groups.json"));
}

#[test]
fn sparse_convolutions_equal_masked_ones_of_pytorch() {
    check(include_str!("../../../reference/golden/layers-sparse.json"));
}

#[test]
fn batch_norms_of_maps_and_their_running_statistics_equal_those_of_pytorch() {
    check(include_str!("../../../reference/golden/layers-norm.json"));
}

#[test]
fn activations_additions_and_pools_equal_those_of_pytorch() {
    check(include_str!("../../../reference/golden/layers-join.json"));
}

#[test]
fn gates_and_vectors_that_several_layers_read_equal_those_of_pytorch() {
    check(include_str!("../../../reference/golden/layers-gate.json"));
}

#[test]
fn batch_norms_of_vectors_and_their_running_statistics_equal_those_of_pytorch() {
    check(include_str!("../../../reference/golden/layers-norm-vector.json"));
}
