//! Three whole training steps of WRN-22-2 with a fixed mask at 90 % against PyTorch: the files
//! `reference/golden/train-wrn-22-2*.json`, made by `reference/wrn.py` in float64. Initial values, masks and samples
//! are drawn here as there.

use rigl_engine::{ARITHMETIC_VERSION, Compute, Options, Preprocessing, Session};
use rigl_graph::state::{self, Role, Tensor, Values};
use rigl_graph::{Graph, ModelSpec, Models};
use rigl_testing::golden::{self, Constants, Named, Numbers};
use rigl_testing::whole;
use rigl_topology::Pattern;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    seed: u64,
    samples: usize,
    density: f64,
    /// Whether norms start such that few numbers come near the kink of a ReLU.
    clear: bool,
    constants: Constants,
    losses: Vec<Numbers>,
    /// After the steps.
    parameters: Named,
    buffers: Named,
    evaluated: Numbers,
}

impl Golden {
    /// All weights but the first convolution's are sparse.
    fn patterns(&self, graph: &Graph) -> Vec<Option<Pattern>> {
        let pattern = |p: &rigl_graph::Parameter| {
            let sparse = p.is_weight() && p.name != "conv1.weight";
            sparse.then(|| {
                Pattern::new(p.len(), golden::mask(self.seed, &p.name, p.len(), self.density)).unwrap()
            })
        };
        graph.parameters().iter().map(pattern).collect()
    }

    /// Norms as `clear_norm` in the script draws them: scales around .5, shifts around ±1.5.
    fn clear_norms(&self, state: &mut [Tensor<'_>]) {
        for tensor in state.iter_mut().filter(|t| t.role == Role::Parameter && t.shape.len() == 1) {
            let value = match &*tensor.name {
                "fc.bias" => continue,
                name if name.ends_with(".weight") => |u: f64| 0.4 + 0.2 * u,
                _ => |u: f64| if u < 0.5 { -1.8 + 1.2 * u } else { 0.6 + 1.2 * u },
            };
            let units = golden::units(self.seed, &tensor.name, tensor.shape[0]);
            tensor.values = Values::F32(units.map(|u| value(u) as f32).collect());
        }
    }

    fn session(&self, compute: Compute) -> Session {
        let graph = Models::default().build("wrn-22-2", &ModelSpec::new(&[3, 32, 32], 10)).unwrap();
        let options = Options {
            batch: self.samples,
            evaluation_batch: self.samples,
            threads: 2,
            isa: None,
            compute,
            seed: self.seed,
        };
        let mut session = Session::new(&graph, self.patterns(&graph), &options).unwrap();
        if self.clear {
            let mut state: Vec<_> = session.state().into_iter().map(Tensor::into_owned).collect();
            self.clear_norms(&mut state);
            session.load(&state).unwrap();
        }
        session
    }

    /// The session after the steps.
    fn check(&self, compute: Compute) -> Session {
        let mut session = self.session(compute);
        let samples = golden::samples(self.seed, self.losses.len() * self.samples, 3 * 32 * 32, 10);
        let mut batch = Default::default();
        for (i, loss) in self.losses.iter().enumerate() {
            let range = i * self.samples..(i + 1) * self.samples;
            batch = samples.range(range).pack(&session, &Preprocessing::per_image());
            let outcome = session.accumulate(whole(&batch), &[]).unwrap();
            loss.check(&format!("{compute}: loss of step {i}"), &[outcome.mean_loss()], |_| 0.0);
            session.step(self.constants.into()).unwrap();
        }
        let evaluated = session.evaluate(&batch, None).unwrap().mean_loss();
        self.evaluated.check(&format!("{compute}: evaluated loss"), &[evaluated], |_| 0.0);

        let (graph, state) = (session.graph(), session.state());
        assert_eq!(self.parameters.len(), graph.parameters().len());
        assert_eq!(self.buffers.len(), graph.buffers().len());
        for (role, golden) in [(Role::Parameter, &self.parameters), (Role::Buffer, &self.buffers)] {
            for (name, golden) in golden {
                let tensor = state::find(&state, &role, name).unwrap_or_else(|| panic!("no {name}"));
                let found = tensor.values.as_f32().unwrap().iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
                golden.check(&format!("{compute}: {name}"), &found, |_| 0.0);
            }
        }
        session
    }
}

/// FNV-1a of the bits of every parameter and buffer.
fn fingerprint(session: &Session) -> u64 {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let state = session.state();
    let kept = state.iter().filter(|tensor| matches!(tensor.role, Role::Parameter | Role::Buffer));
    let bytes = kept.flat_map(|tensor| tensor.values.as_f32().unwrap().iter().flat_map(|v| v.to_le_bytes()));
    bytes.fold(0xcbf2_9ce4_8422_2325, add)
}

#[test]
fn bits_are_those_of_this_version_of_the_arithmetic() {
    let golden: Golden = golden::read(include_str!("../../../reference/golden/train-wrn-22-2.json"));
    let found = (ARITHMETIC_VERSION, fingerprint(&golden.check(Compute::Auto)));
    // Another fingerprint under the same version: results have changed, and nobody was told.
    assert_eq!(found, (2, 2_905_114_853_315_102_203));
}

fn check(file: &str) {
    let golden: Golden = golden::read(file);
    for compute in [Compute::Auto, Compute::Sparse, Compute::Masked] {
        golden.check(compute);
    }
}

#[test]
fn three_steps_from_the_usual_start_equal_those_of_pytorch() {
    check(include_str!("../../../reference/golden/train-wrn-22-2.json"));
}

#[test]
fn three_steps_away_from_the_kinks_of_relus_equal_those_of_pytorch() {
    check(include_str!("../../../reference/golden/train-wrn-22-2-clear.json"));
}
