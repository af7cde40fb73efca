//! What holds of every pass, whatever it computes: it touches no buffer that it does not declare, and adding to a
//! gradient is the same as adding the gradient.

use rigl_graph::{BatchNorm, Builder, Conv2d, Graph, Linear, Pool};
use rigl_kernels::loss::LossSums;
use rigl_testing::Samples;

use super::*;
use crate::plan::{backward_buffers, forward_buffers};
use crate::storage::Compute;
use crate::value::{Back, BufferId, Target};

const SHAPE: [usize; 3] = [3, 6, 7];
const CLASSES: usize = 4;
/// No multiple of 16, nor of 64.
const SAMPLES: usize = 19;

/// Every kind of pass, most of them with several readers.
fn every_pass() -> Graph {
    let mut g = Builder::new("every-pass");
    let norm = BatchNorm::default();
    let x = g.input("image", &SHAPE);
    let x = g.batch_norm("bn0", x, norm);
    let x = g.conv2d("conv1", x, 4, Conv2d::k3().bias());
    let a = g.batch_norm("bn1", x, norm);
    let b = g.batch_norm("bn2", x, norm);
    let b = g.relu(b);
    let b = g.dropout(b, 0.25);
    let c = g.conv2d("conv2", a, 4, Conv2d::k3().groups(2));
    let y = g.add(c, b);
    let y = g.add(y, y);
    let m = g.max_pool(y, Pool::k(2));
    let m = g.batch_norm("bn3", m, norm);
    let p = g.avg_pool(y, Pool::k(2));
    let y = g.add(m, p);
    let v = g.global_avg_pool(y);
    let w = g.flatten(y);
    let w = g.linear("fc1", w, 9, Linear::default());
    let w = g.relu(w);
    let w = g.linear("fc2", w, 4, Linear::default());
    let r = g.relu(w);
    let r = g.linear("fc3", r, 4, Linear::default());
    let s = g.linear("fc4", v, 4, Linear::default());
    let h = g.add(r, w);
    let h = g.add(h, s);
    let h = g.multiply(h, v);
    let h = g.sigmoid(h);
    let h = g.batch_norm("bn4", h, norm);
    let h = g.linear("fc5", h, CLASSES, Linear::default());
    g.cross_entropy(h, CLASSES, 0.1);
    g.finish().unwrap()
}

fn session() -> Session {
    let graph = every_pass();
    let patterns = rigl_testing::patterns(&graph, 1.0 / 3.0, |_| true);
    let options = Options {
        batch: SAMPLES,
        evaluation_batch: SAMPLES,
        threads: 1,
        isa: None,
        compute: Compute::Auto,
        seed: 3,
    };
    Session::new(&graph, patterns, &options).unwrap()
}

fn batch(session: &Session) -> Batch {
    let Samples { images, labels } = Samples::drawn(5, SAMPLES, SHAPE.iter().product(), CLASSES);
    let mut batch = Batch::default();
    let packer = session.packer(&Preprocessing::new(&[0.5], &[0.25]).unwrap());
    packer.pack(images.iter().map(Vec::as_slice).zip(labels), &mut batch).unwrap();
    batch
}

/// Runs passes of a session, one after the other as asked for.
struct Steps<'a> {
    session: &'a mut Session,
    batch: &'a Batch,
}

impl Steps<'_> {
    fn run(&mut self, work: impl FnOnce(&Plan, &mut Run<'_>)) {
        let batch = self.batch;
        let part =
            MicroBatch { batch, of_samples: SAMPLES, draw: 0, number: 0, seed: 0, first: true, last: true };
        let session = &mut *self.session;
        let mut run = Run {
            machine: &session.machine,
            buffers: &session.training.as_ref().unwrap().buffers,
            dropouts: &session.training.as_ref().unwrap().dropouts,
            arena: &mut session.arena,
            workspace: &mut session.workspace,
            parameters: &mut session.parameters,
            norms: &mut session.norms,
            scratch: &mut session.scratch,
            batch,
            part: Some(part),
            collects: &[],
            sums: LossSums::default(),
            met: &mut session.met,
            stopwatch: None,
        };
        work(session.training.as_ref().unwrap(), &mut run);
    }

    fn back(&mut self, back: &Back) {
        self.run(|plan, run| {
            for &(gradient, target) in &back.gather {
                run.route(gradient, gradient.of.operand(), target).unwrap();
            }
            plan.passes[back.pass].backward(run, back).unwrap();
        });
    }

    fn arena(&mut self) -> Vec<f32> {
        let len = self.session.training.as_ref().unwrap().arena;
        self.session.arena.borrow(std::array::from_ref(&(0..len)).clone(), []).unwrap().0[0].to_vec()
    }

    fn set_arena(&mut self, numbers: &[f32]) {
        let len = self.session.training.as_ref().unwrap().arena;
        let whole = std::array::from_ref(&(0..len)).clone();
        self.session.arena.borrow([], whole).unwrap().1[0].copy_from_slice(numbers);
    }

    /// Which numbers of the arena lie in these buffers.
    fn inside(&self, buffers: &[BufferId]) -> Vec<bool> {
        let mut inside = vec![false; self.session.training.as_ref().unwrap().arena];
        for &buffer in buffers {
            inside[self.session.training.as_ref().unwrap().buffers.range(buffer, SAMPLES)].fill(true);
        }
        inside
    }

    /// Does something with an arena that holds NaN everywhere but in these buffers, and checks that it still does.
    fn poisoned(&mut self, name: &str, buffers: &[BufferId], work: impl FnOnce(&mut Self)) {
        const POISON: u32 = 0x7fc0_1234;
        let inside = self.inside(buffers);
        let before = self.arena();
        let poison = |(&x, &inside): (&f32, &bool)| if inside { x } else { f32::from_bits(POISON) };
        let poisoned: Vec<f32> = before.iter().zip(&inside).map(poison).collect();
        self.set_arena(&poisoned);
        work(self);
        let mut after = self.arena();
        for ((x, &before), &inside) in after.iter_mut().zip(&before).zip(&inside) {
            if !inside {
                assert_eq!(x.to_bits(), POISON, "`{name}` writes outside the buffers that it declares");
                *x = before;
            }
        }
        self.set_arena(&after);
    }
}

fn bits(session: &Session) -> Vec<Vec<u32>> {
    session.parameters.iter().map(|p| p.gradient.iter().map(|g| g.to_bits()).collect()).collect()
}

#[test]
fn a_pass_touches_no_buffer_that_it_does_not_declare() {
    let mut plain = session();
    let batch = batch(&plain);
    let part = MicroBatch {
        batch: &batch,
        of_samples: SAMPLES,
        draw: 0,
        number: 0,
        seed: 0,
        first: true,
        last: true,
    };
    plain.accumulate(part, &[]).unwrap();

    let mut other = session();
    let plan = Plan::compile(&every_pass(), SAMPLES, crate::passes::Purpose::Training).unwrap();
    let mut steps = Steps { session: &mut other, batch: &batch };
    steps.run(|_, run| run.draw_masks().unwrap());
    for (number, pass) in plan.passes.iter().enumerate() {
        let buffers: Vec<BufferId> = forward_buffers(&**pass).collect();
        steps.poisoned(pass.name(), &buffers, |steps| {
            steps.run(|plan, run| plan.passes[number].forward(run).unwrap());
        });
    }
    for back in &plan.backs {
        let pass = &*plan.passes[back.pass];
        let buffers: Vec<BufferId> = backward_buffers(pass, back).collect();
        steps.poisoned(pass.name(), &buffers, |steps| steps.back(back));
    }
    assert_eq!(bits(&other), bits(&plain));
    let mut kinds: Vec<&str> = plan.passes.iter().map(|pass| pass.name()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let all = [
        "activation",
        "add",
        "conv",
        "cross-entropy",
        "flatten",
        "global-pool",
        "linear",
        "multiply",
        "pool",
        "unflatten",
    ];
    assert_eq!(kinds, all, "this network has every kind of pass");
}

#[test]
fn a_gradient_on_top_of_what_is_there_is_the_sum_of_both() {
    let mut session = session();
    let batch = batch(&session);
    let plan = Plan::compile(&every_pass(), SAMPLES, crate::passes::Purpose::Training).unwrap();
    let mut steps = Steps { session: &mut session, batch: &batch };
    steps.run(|_, run| run.draw_masks().unwrap());
    for number in 0..plan.passes.len() {
        steps.run(|plan, run| plan.passes[number].forward(run).unwrap());
    }
    let mut tried = Vec::new();
    for back in &plan.backs {
        let pass = &*plan.passes[back.pass];
        for number in 0..back.targets.len() {
            let Some(target) = back.targets[number] else { continue };
            // An operand behind it may have left its gradient at the same place just before.
            if back.targets[number + 1..].iter().flatten().any(|other| other.out == target.out) {
                continue;
            }
            let before = steps.arena();
            let with = |accumulate: bool| {
                let mut back = back.clone();
                // Gathered gradients are there already, and every other operand is as it was.
                back.targets[number] = Some(Target { accumulate, ..target });
                back
            };
            let range = steps.session.training.as_ref().unwrap().buffers.range(target.out, SAMPLES);
            steps.back(&with(false));
            let fresh = steps.arena()[range.clone()].to_vec();
            let largest = fresh.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            assert!(largest > 0.0, "`{}` leaves no gradient", pass.name());
            // A gate that a gradient has passed before leaves it as it is: what is there has passed the same.
            let mut there = before.clone();
            there[range.clone()].iter_mut().zip(&fresh).for_each(|(x, fresh)| *x = 3.0 * fresh);
            steps.set_arena(&there);
            steps.back(&with(true));
            let after = steps.arena()[range].to_vec();
            // No sum here has more than 252 terms, and none of its parts is larger than the sums of all by far.
            let tolerance = 4.0 * 252.0 * f32::EPSILON * largest;
            for (after, fresh) in after.iter().zip(&fresh) {
                let error = (after - 4.0 * fresh).abs();
                assert!(error <= tolerance, "`{}`: {after}, expected {}", pass.name(), 4.0 * fresh);
            }
            steps.set_arena(&before);
            tried.push(pass.name());
        }
        steps.back(back);
    }
    tried.sort_unstable();
    tried.dedup();
    let all =
        ["activation", "add", "conv", "flatten", "global-pool", "linear", "multiply", "pool", "unflatten"];
    assert_eq!(tried, all, "every kind of pass leaves a gradient here");
}
