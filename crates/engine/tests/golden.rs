//! The engine against PyTorch: the files of `reference/golden`, made by `reference/engine.py` in float64.
//!
//! Patterns and counts must be equal, and so must numbers that are only moved. Computed numbers may be off by the
//! `tolerance` beside them, which the script works out: a bound on the error of f32 arithmetic in any order of
//! additions, n · 2⁻²⁴ · Σ|aᵢbᵢ| for a sum of n products, carried through the network and from step to step.

use std::collections::BTreeMap;

use rigl_base::random::{Purpose, Stream};
use rigl_engine::{Batch, Compute, Growth, Options, Outcome, Parameter, Preprocessing, Session, Take};
use rigl_graph::state::{self, Role, State, Tensor, Values};
use rigl_graph::{Builder, Graph, Linear};
use rigl_testing::golden::{Constants, close, read};
use rigl_testing::{BARE, Samples, part, whole};
use rigl_topology::{
    Decay, Grown, LayerStatistics, Method, MethodState, UpdateRequest, UpdateSchedule, Updates,
};
use serde::Deserialize;

const TRAINING: [&str; 3] = [
    include_str!("../../../reference/golden/train-nesterov-smoothing.json"),
    include_str!("../../../reference/golden/train-plain.json"),
    include_str!("../../../reference/golden/train-momentum.json"),
];
const UPDATES: [&str; 2] = [
    include_str!("../../../reference/golden/update-cosine.json"),
    include_str!("../../../reference/golden/update-ties.json"),
];
const ARITHMETIC: [Compute; 2] = [Compute::Sparse, Compute::Masked];

#[derive(Deserialize)]
struct Network {
    shape: Vec<usize>,
    sizes: Vec<usize>,
    smoothing: f32,
    mean: Vec<f64>,
    std: Vec<f64>,
}

#[derive(Deserialize)]
struct Training {
    #[serde(flatten)]
    network: Network,
    constants: Constants,
    batches: Vec<Samples>,
    before: Numbers,
    gradients: Numbers,
    steps: Vec<Step>,
    after: Numbers,
}

#[derive(Deserialize)]
struct Step {
    loss: f64,
    tolerance: f64,
    correct: usize,
}

#[derive(Deserialize)]
struct Update {
    #[serde(flatten)]
    network: Network,
    batch: Samples,
    schedule: Schedule,
    layers: BTreeMap<String, Layer>,
    before: Numbers,
    momentum_before: Numbers,
    after: Numbers,
    momentum_after: Numbers,
}

#[derive(Deserialize)]
struct Schedule {
    interval: u64,
    begin: u64,
    end: u64,
    drop_fraction: f64,
    step: u64,
}

#[derive(Deserialize)]
struct Layer {
    k: usize,
    regrown: usize,
}

type Numbers = BTreeMap<String, Golden>;

/// The numbers of a parameter: all of them, or those at the indices.
#[derive(Deserialize)]
struct Golden {
    #[serde(default)]
    shape: Vec<usize>,
    values: Vec<f64>,
    indices: Option<Vec<u32>>,
    #[serde(default)]
    tolerance: f64,
}

impl Golden {
    /// All of them, inactive ones 0.
    fn dense(&self) -> Vec<f64> {
        let Some(indices) = &self.indices else { return self.values.clone() };
        let mut dense = vec![0.0; self.shape.iter().product()];
        indices.iter().zip(&self.values).for_each(|(&i, &value)| dense[i as usize] = value);
        dense
    }
}

impl Network {
    fn graph(&self) -> Graph {
        let mut g = Builder::new("golden");
        let x = g.input("image", &self.shape);
        let mut h = g.flatten(x);
        for (i, &size) in self.sizes.iter().enumerate().skip(1) {
            if i > 1 {
                h = g.relu(h);
            }
            h = g.linear(&format!("fc{i}"), h, size, Linear::default());
        }
        g.cross_entropy(h, self.sizes[self.sizes.len() - 1], self.smoothing);
        g.finish().unwrap()
    }

    fn session(&self, compute: Compute, state: &[Tensor<'_>]) -> Session {
        let graph = self.graph();
        let options = Options { batch: 65, evaluation_batch: 65, threads: 2, isa: None, compute, seed: 0 };
        let mut session = Session::new(&graph, vec![None; graph.parameters().len()], &options).unwrap();
        session.load(state).unwrap();
        session
    }

    fn pack(&self, session: &Session, samples: &Samples) -> Batch {
        samples.pack(session, &Preprocessing::new(&self.mean, &self.std).unwrap())
    }
}

fn tensors<'a>(role: &Role, numbers: &'a Numbers) -> State<'a> {
    numbers
        .iter()
        .map(|(name, golden)| Tensor {
            name: name.into(),
            role: role.clone(),
            shape: golden.shape.clone(),
            values: Values::F32(golden.values.iter().map(|&v| v as f32).collect()),
            indices: golden.indices.as_deref().map(Into::into),
        })
        .collect()
}

/// The same parameters without patterns, inactive ones 0.
fn dense_tensors(numbers: &Numbers) -> State<'_> {
    let mut state = tensors(&Role::Parameter, numbers);
    for tensor in &mut state {
        tensor.values = Values::F32(numbers[&*tensor.name].dense().iter().map(|&v| v as f32).collect());
        tensor.indices = None;
    }
    state
}

fn values(state: &[Tensor<'_>], role: &Role, name: &str) -> Vec<f32> {
    state::find(state, role, name).unwrap().values.as_f32().unwrap().to_vec()
}

fn momentum() -> Role {
    Role::Slot("momentum".into())
}

/// Checks the gradients accumulated in a session whose parameters are `before`.
fn check_gradients(session: &mut Session, golden: &Training, before: &State<'_>) {
    session.step(BARE).unwrap();
    let after = session.state();
    for (name, gradient) in &golden.gradients {
        let before = state::find(before, &Role::Parameter, name).unwrap();
        let after = values(&after, &Role::Parameter, name);
        for (k, (&w, &after)) in before.values.as_f32().unwrap().iter().zip(&after).enumerate() {
            let i = before.indices.as_ref().map_or(k, |indices| indices[k] as usize);
            let found = f64::from(w) - f64::from(after);
            // The new weight was rounded too.
            let tolerance = gradient.tolerance + f64::from(after.abs()) * 0.5 * f64::from(f32::EPSILON);
            close(&format!("gradient of `{name}` at {i}"), found, gradient.values[i], tolerance);
        }
    }
}

#[test]
fn gradients_of_every_parameter_equal_those_of_pytorch() {
    for golden in TRAINING.map(read::<Training>) {
        let before = tensors(&Role::Parameter, &golden.before);
        for compute in ARITHMETIC {
            let mut session = golden.network.session(compute, &before);
            let batch = golden.network.pack(&session, &golden.batches[0]);
            session.accumulate(whole(&batch), &[]).unwrap();
            check_gradients(&mut session, &golden, &before);
        }
    }
}

#[test]
fn gradients_of_inactive_positions_equal_those_of_pytorch() {
    for golden in TRAINING.map(read::<Training>) {
        let before = dense_tensors(&golden.before);
        let mut session = golden.network.session(Compute::Auto, &before);
        let batch = golden.network.pack(&session, &golden.batches[0]);
        session.accumulate(whole(&batch), &[]).unwrap();
        check_gradients(&mut session, &golden, &before);
    }
}

#[test]
fn gradients_added_up_over_two_parts_of_a_batch_equal_those_of_the_whole() {
    for golden in TRAINING.map(read::<Training>) {
        let before = tensors(&Role::Parameter, &golden.before);
        let all = &golden.batches[0];
        for compute in ARITHMETIC {
            let mut session = golden.network.session(compute, &before);
            let mut sum = Outcome::default();
            for (number, range) in [0..20, 20..all.len()].into_iter().enumerate() {
                let batch = golden.network.pack(&session, &all.range(range));
                sum.add(session.accumulate(part(&batch, number, 2, all.len()), &[]).unwrap());
            }
            close("loss", sum.mean_loss(), golden.steps[0].loss, golden.steps[0].tolerance);
            check_gradients(&mut session, &golden, &before);
        }
    }
}

#[test]
fn losses_of_ten_steps_and_the_parameters_after_them_equal_those_of_pytorch() {
    for golden in TRAINING.map(read::<Training>) {
        for compute in ARITHMETIC {
            let mut session = golden.network.session(compute, &tensors(&Role::Parameter, &golden.before));
            for (i, step) in golden.steps.iter().enumerate() {
                let batch = golden.network.pack(&session, &golden.batches[i % golden.batches.len()]);
                let evaluated = session.evaluate(&batch, None).unwrap();
                let trained = session.accumulate(whole(&batch), &[]).unwrap();
                for outcome in [evaluated, trained] {
                    let what = format!("loss of step {i}");
                    close(&what, outcome.mean_loss(), step.loss, step.tolerance);
                    assert_eq!(outcome.correct, step.correct, "step {i}");
                }
                session.step(golden.constants.into()).unwrap();
            }
            let state = session.state();
            for (name, after) in &golden.after {
                let tensor = state::find(&state, &Role::Parameter, name).unwrap();
                assert_eq!(tensor.indices.as_deref(), after.indices.as_deref(), "{name}");
                let found = tensor.values.as_f32().unwrap();
                assert_eq!(found.len(), after.values.len(), "{name}");
                for (k, (&found, &value)) in found.iter().zip(&after.values).enumerate() {
                    let what = format!("{name}, value {k} after ten steps");
                    close(&what, f64::from(found), value, after.tolerance);
                }
            }
        }
    }
}

#[test]
fn a_rigl_update_gives_the_patterns_values_and_momentum_of_pytorch() {
    for golden in UPDATES.map(read::<Update>) {
        let Schedule { interval, begin, end, drop_fraction, step } = golden.schedule;
        let schedule = UpdateSchedule { interval, begin, end, drop_fraction, decay: Decay::Cosine };
        let update = Updates::new(&Method::RIGL, schedule, end).at(step).unwrap();
        let mut before = tensors(&Role::Parameter, &golden.before);
        before.extend(tensors(&momentum(), &golden.momentum_before));
        for compute in ARITHMETIC {
            let mut session = golden.network.session(compute, &before);
            let graph = session.graph().clone();
            let mut requests = Vec::new();
            for (parameter, p) in graph.parameters().iter().enumerate() {
                let Some(pattern) = session.pattern(parameter) else { continue };
                let budget = Method::RIGL.budget(
                    &update,
                    &[LayerStatistics::new(pattern)],
                    &mut MethodState::default(),
                )[0];
                assert_eq!(budget.drop, golden.layers[&p.name].k, "{}", p.name);
                let request = UpdateRequest {
                    budget,
                    drop: Method::RIGL.drop_rule(),
                    grow: Method::RIGL.grow_score(),
                    stream: Stream::new(0, Purpose::Growth, 0),
                    grown: Grown::zeros(),
                };
                requests.push((parameter, request));
            }
            assert_eq!(requests.len(), golden.layers.len());
            let growth: Vec<Growth> = requests
                .iter()
                .map(|&(parameter, r)| Growth { parameter, take: Take::Largest(r.budget.grow) })
                .collect();
            let batch = golden.network.pack(&session, &golden.batch);
            session.accumulate(whole(&batch), &growth).unwrap();
            let numbers: Vec<usize> = requests.iter().map(|&(parameter, _)| parameter).collect();
            let update = |place: usize, p: &mut Parameter| p.update(&requests[place].1, &|_| 0.0);
            let changes = session.with_parameters(&numbers, &update).unwrap();
            for (&parameter, change) in numbers.iter().zip(changes) {
                let name = &graph.parameters()[parameter].name;
                assert_eq!(change.regrown(), golden.layers[name].regrown, "{name}");
            }

            let state = session.state();
            for (role, after) in [(Role::Parameter, &golden.after), (momentum(), &golden.momentum_after)] {
                for (expected, name) in tensors(&role, after).iter().zip(after.keys()) {
                    let found = state::find(&state, &role, name).unwrap();
                    assert_eq!(found.indices, expected.indices, "{compute} {}", found.key());
                    assert_eq!(found, expected, "{compute}");
                }
            }
        }
    }
}
