//! Networks of vectors in the engine against a plain network in f64, and against themselves: storage, threads and padding
//! change no bit.

use rigl_base::Result;
use rigl_base::random::{Purpose, Stream};
use rigl_engine::{
    Batch, Compute, Exchange, Growth, MicroBatch, Options, Outcome, Parameter, Preprocessing, Session,
    StepConstants, Take,
};
use rigl_graph::initial::InitialValues;
use rigl_graph::{Builder, Graph, Linear};
use rigl_testing::{Plain, Samples, options, part, values, whole};
use rigl_topology::{Change, DropRule, GrowScore, Grown, LayerBudget, Pattern, UpdateRequest};

const SIZES: [usize; 4] = [20, 33, 70, 5];
const SMOOTHING: f32 = 0.1;
const CONSTANTS: StepConstants =
    StepConstants { learning_rate: 0.1, momentum: 0.9, nesterov: true, l2: 1e-3 };

fn graph() -> Graph {
    let mut g = Builder::new("net");
    let x = g.input("image", &[1, 4, 5]);
    let mut h = g.flatten(x);
    for (i, &size) in SIZES[1..].iter().enumerate() {
        if i > 0 {
            h = g.relu(h);
        }
        h = g.linear(&format!("fc{}", i + 1), h, size, Linear::default());
    }
    g.cross_entropy(h, SIZES[3], SMOOTHING);
    g.finish().unwrap()
}

fn patterns(density: f64) -> Vec<Option<Pattern>> {
    rigl_testing::patterns(&graph(), density, |p| p.layer() != "fc3")
}

fn session(batch: usize, threads: usize, compute: Compute) -> Session {
    Session::new(&graph(), patterns(0.2), &Options { threads, compute, ..options(batch) }).unwrap()
}

/// Updates parameters, each by its request.
fn update(session: &mut Session, requests: &[(usize, UpdateRequest)]) -> Result<Vec<Change>> {
    let numbers: Vec<usize> = requests.iter().map(|&(number, _)| number).collect();
    let graph = graph();
    session.with_parameters(&numbers, &|place, p: &mut Parameter| {
        let (number, request) = &requests[place];
        let initial = InitialValues::from_stream(&graph.parameters()[*number], request.grown.stream);
        p.update(request, &|position| initial.at(position))
    })
}

fn samples(count: usize, salt: u64) -> Samples {
    Samples::drawn(salt, count, SIZES[0], SIZES[3])
}

fn pack(session: &Session, samples: &Samples) -> Batch {
    samples.pack(session, &Preprocessing::new(&[0.5], &[0.5]).unwrap())
}

fn batch(session: &Session, count: usize, salt: u64) -> Batch {
    pack(session, &samples(count, salt))
}

#[test]
fn loss_and_every_gradient_equal_central_differences_in_f64() {
    for samples in [1, 15, 17, 100] {
        let mut session = session(100, 1, Compute::Auto);
        // Biases away from 0: a neuron without inputs would sit on the kink of its ReLU.
        let graph = graph();
        let biases: Vec<usize> = (0..6).filter(|&p| !graph.parameters()[p].is_weight()).collect();
        let shifted = |_: usize, p: &mut Parameter| {
            p.set_values((0..p.len()).map(|i| 0.05 + 0.01 * (i % 7) as f32).collect())
        };
        session.with_parameters(&biases, &shifted).unwrap();
        let drawn = self::samples(samples, 5);
        let outcome = session.accumulate(whole(&pack(&session, &drawn)), &[]).unwrap();
        let plain = Plain::new(&graph, &drawn, 0.5, 0.5);
        let doubles: Vec<Vec<f64>> =
            values(&session).iter().map(|v| v.iter().map(|&x| f64::from(x)).collect()).collect();
        let exact = plain.run(&doubles).0 * samples as f64;
        assert!((outcome.loss - exact).abs() < 1e-5 * exact, "{} {exact}", outcome.loss);
        for (number, p) in session.parameters().iter().enumerate() {
            let gradient = p.gradient();
            let indices: Vec<usize> = match p.pattern() {
                None => (0..p.len()).collect(),
                Some(pattern) => pattern.indices().iter().map(|&i| i as usize).collect(),
            };
            for (k, &i) in indices.iter().enumerate().step_by(17) {
                let difference = plain.slope(&doubles, [number, i], 1e-4);
                let error = (f64::from(gradient[k]) - difference).abs();
                assert!(
                    error < 2e-5 + 1e-4 * difference.abs(),
                    "{samples} {number} {i}: {} {difference}",
                    gradient[k]
                );
            }
        }
    }
}

/// Ten steps with a topology update of every kind at steps 3 and 6; all bits of what comes out.
fn train(mut session: Session, micro_batches: usize) -> (Vec<u64>, Vec<Vec<u32>>, Vec<u32>) {
    let mut losses = Vec::new();
    let graph = graph();
    for step in 0..10 {
        let grow = if step == 3 { GrowScore::Gradient } else { GrowScore::Random };
        let updating = step == 3 || step == 6;
        let sparse: Vec<usize> =
            (0..graph.parameters().len()).filter(|&p| session.pattern(p).is_some()).collect();
        let drop = |p: usize| session.pattern(p).unwrap().count() * 3 / 10;
        let growth: Vec<Growth> =
            sparse.iter().map(|&p| Growth { parameter: p, take: Take::Largest(drop(p)) }).collect();
        let request = |&p: &usize| UpdateRequest {
            budget: LayerBudget::replace(session.pattern(p).unwrap().count(), drop(p)),
            drop: DropRule::Magnitude,
            grow,
            stream: Stream::new(1, Purpose::Growth, step * 10 + p as u64),
            grown: Grown::zeros(),
        };
        let requests: Vec<(usize, UpdateRequest)> = sparse.iter().map(|p| (*p, request(p))).collect();
        let mut sum = Outcome::default();
        for micro in 0..micro_batches {
            let batch = batch(&session, 100 / micro_batches, step * 100 + micro as u64);
            let part = MicroBatch { draw: step, ..part(&batch, micro, micro_batches, 100) };
            let growth: &[Growth] = if updating && grow == GrowScore::Gradient { &growth } else { &[] };
            sum.add(session.accumulate(part, growth).unwrap());
        }
        losses.push(sum.loss.to_bits());
        if updating {
            update(&mut session, &requests).unwrap();
        } else {
            session.step(CONSTANTS).unwrap();
        }
    }
    let patterns =
        (0..graph.parameters().len()).filter_map(|p| session.pattern(p)).map(|p| p.indices().to_vec());
    let patterns = patterns.collect();
    let bits =
        session.state().iter().flat_map(|t| t.values.as_f32().unwrap().to_vec()).map(f32::to_bits).collect();
    (losses, patterns, bits)
}

#[test]
fn masked_and_sparse_arithmetic_give_the_same_bits_over_steps_and_updates() {
    for micro_batches in [1, 2] {
        let sparse = train(session(100, 1, Compute::Sparse), micro_batches);
        let masked = train(session(100, 1, Compute::Masked), micro_batches);
        assert_eq!(sparse, masked);
    }
}

#[test]
fn the_number_of_threads_and_the_instruction_set_change_no_bit() {
    let one = train(session(100, 1, Compute::Auto), 1);
    for threads in [2, 3] {
        assert_eq!(train(session(100, threads, Compute::Auto), 1), one);
    }
    for isa in rigl_engine::instruction_sets() {
        let isa = Some(isa.to_string());
        let options = Options { evaluation_batch: 1, threads: 1, isa, ..options(100) };
        assert_eq!(train(Session::new(&graph(), patterns(0.2), &options).unwrap(), 1), one);
    }
}

#[test]
fn a_state_lent_and_accepted_continues_to_the_bit_in_either_storage() {
    let mut first = session(100, 1, Compute::Sparse);
    let packed = batch(&first, 100, 1);
    first.accumulate(whole(&packed), &[]).unwrap();
    first.step(CONSTANTS).unwrap();
    for compute in [Compute::Sparse, Compute::Masked] {
        let options = Options { evaluation_batch: 1, threads: 1, compute, seed: 77, ..options(100) };
        let mut second = Session::new(&graph(), vec![None; 6], &options).unwrap();
        second.load(&first.state()).unwrap();
        assert_eq!(second.state(), first.state());
        second.accumulate(whole(&packed), &[]).unwrap();
        second.step(CONSTANTS).unwrap();
        let mut third = session(100, 1, Compute::Sparse);
        third.load(&first.state()).unwrap();
        third.accumulate(whole(&packed), &[]).unwrap();
        third.step(CONSTANTS).unwrap();
        assert_eq!(second.state(), third.state());
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name() {
    let mut session = session(10, 1, Compute::Auto);
    let good: Vec<_> = session.state().into_iter().map(|t| t.into_owned()).collect();
    let mut refused = |change: &dyn Fn(&mut Vec<rigl_graph::state::Tensor<'static>>)| {
        let mut state = good.clone();
        change(&mut state);
        session.load(&state).unwrap_err().to_string()
    };
    assert!(refused(&|s| s.retain(|t| t.name != "fc2.weight")).contains("`fc2.weight` is missing"));
    assert!(refused(&|s| s[0].shape = vec![20, 33]).contains("shape [20, 33], expected [33, 20]"));
    assert!(refused(&|s| s[0].indices = Some(vec![0, 1].into())).contains("does not hold 2"));
    assert!(refused(&|s| s[1].indices = Some(vec![0].into())).contains("only weights"));
}

fn one_update(session: &mut Session, compute_growth: bool, drop: usize) -> (Vec<f32>, Pattern, Change) {
    let packed = batch(session, 100, 8);
    let growth = [Growth { parameter: 0, take: Take::Largest(drop) }];
    session.accumulate(whole(&packed), if compute_growth { &growth } else { &[] }).unwrap();
    let old = session.pattern(0).unwrap().clone();
    // The dense gradient, from a dense twin with the same weights.
    let options = Options { evaluation_batch: 1, threads: 1, ..options(100) };
    let mut twin = Session::new(&graph(), vec![None; 6], &options).unwrap();
    let same = values(session);
    twin.with_parameters(&[0, 1, 2, 3, 4, 5], &|p, twin: &mut Parameter| twin.set_values(same[p].clone()))
        .unwrap();
    twin.accumulate(whole(&packed), &[]).unwrap();
    let request = UpdateRequest {
        budget: LayerBudget::replace(old.count(), drop),
        drop: DropRule::Magnitude,
        grow: GrowScore::Gradient,
        stream: Stream::new(0, Purpose::Growth, 0),
        grown: Grown::zeros(),
    };
    let change = update(session, &[(0, request)]).unwrap().remove(0);
    (twin.parameters()[0].gradient().into_owned(), old, change)
}

#[test]
fn connections_grow_by_the_true_dense_gradient_and_never_by_a_masked_one() {
    for compute in [Compute::Sparse, Compute::Masked] {
        let mut session = session(100, 2, compute);
        let weights = session.parameters()[0].values().into_owned();
        let (dense, old, change) = one_update(&mut session, true, 40);
        // By sorting: 40 smallest weights go, 40 largest gradients among all that do not remain come.
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by(|&a, &b| weights[b].abs().total_cmp(&weights[a].abs()));
        let kept: Vec<u32> = order[..weights.len() - 40].iter().map(|&k| old.indices()[k]).collect();
        let grow = |gradient: &dyn Fn(u32) -> f32| {
            let mut eligible: Vec<u32> = (0..old.len() as u32).filter(|i| !kept.contains(i)).collect();
            eligible.sort_by(|&a, &b| gradient(b).abs().total_cmp(&gradient(a).abs()).then(a.cmp(&b)));
            let mut pattern: Vec<u32> = kept.iter().chain(&eligible[..40]).copied().collect();
            pattern.sort_unstable();
            pattern
        };
        let by_dense = grow(&|i| dense[i as usize]);
        let by_masked = grow(&|i| if old.contains(i) { dense[i as usize] } else { 0.0 });
        assert_ne!(by_dense, by_masked);
        assert_eq!(change.pattern().indices(), by_dense);
        assert!(change.regrown() > 0 && change.regrown() < 40, "{}", change.regrown());
    }
}

#[test]
fn grown_weights_start_at_zero_with_empty_slots_and_regrown_ones_keep_both() {
    for compute in [Compute::Sparse, Compute::Masked] {
        let mut session = session(100, 1, compute);
        let packed = batch(&session, 100, 2);
        session.accumulate(whole(&packed), &[]).unwrap();
        session.step(CONSTANTS).unwrap();
        let p = &session.parameters()[0];
        let before = (p.values().into_owned(), p.slot("momentum").unwrap().into_owned());
        assert!(before.1.iter().any(|&m| m != 0.0));
        let (_, old, change) = one_update(&mut session, true, 40);
        let p = &session.parameters()[0];
        let after = (p.values(), p.slot("momentum").unwrap());
        let mut carried = 0;
        for (k, &index) in change.pattern().indices().iter().enumerate() {
            match old.rank(index) {
                None => assert_eq!((after.0[k], after.1[k]), (0.0, 0.0)),
                Some(rank) => {
                    assert_eq!((after.0[k], after.1[k]), (before.0[rank], before.1[rank]));
                    carried += 1;
                }
            }
        }
        assert_eq!(carried, old.count() - 40 + change.regrown());
    }
}

#[test]
fn growth_without_collected_gradients_is_an_error() {
    let mut session = session(100, 1, Compute::Auto);
    let count = session.pattern(0).unwrap().count();
    let request = UpdateRequest {
        budget: LayerBudget::replace(count, 3),
        drop: DropRule::Magnitude,
        grow: GrowScore::Gradient,
        stream: Stream::new(0, Purpose::Growth, 0),
        grown: Grown::zeros(),
    };
    assert!(update(&mut session, &[(0, request)]).is_err());
    assert!(update(&mut session, &[(0, request), (0, request)]).is_err(), "one update of it too many");
    assert!(update(&mut session, &[(5, request)]).is_err(), "a bias");
    assert!(update(&mut session, &[(4, request)]).unwrap_err().to_string().contains("fc3.weight"));
}

#[test]
fn evaluation_counts_every_sample_once_whatever_the_batch() {
    let mut session = session(128, 2, Compute::Auto);
    let all = batch(&session, 128, 4);
    let together = session.evaluate(&all, None).unwrap();
    assert_eq!(together.samples, 128);
    let mut apart = Outcome::default();
    let samples = samples(128, 4);
    for start in (0..128).step_by(50) {
        let part = pack(&session, &samples.range(start..128.min(start + 50)));
        apart.add(session.evaluate(&part, None).unwrap());
    }
    assert_eq!((together.correct, together.samples), (apart.correct, apart.samples));
    assert!((together.loss - apart.loss).abs() < 1e-9 * together.loss);
    assert!(session.evaluate(&batch(&session, 129, 4), None).is_err());
}

/// Replicas in threads: the numbers of all meet in one place, and are added in the order of the replicas.
struct Meeting<'m> {
    replica: usize,
    left: &'m std::sync::Mutex<Vec<Vec<f32>>>,
    barrier: &'m std::sync::Barrier,
}

impl Exchange for Meeting<'_> {
    fn sum(&mut self, numbers: &mut [f32]) -> Result<()> {
        self.left.lock().unwrap()[self.replica] = numbers.to_vec();
        self.barrier.wait();
        numbers.fill(0.0);
        for of_replica in self.left.lock().unwrap().iter() {
            numbers.iter_mut().zip(of_replica).for_each(|(sum, x)| *sum += x);
        }
        self.barrier.wait();
        Ok(())
    }
}

#[test]
fn replicas_that_exchange_gradients_step_and_grow_as_one_process_does_with_as_many_parts() {
    const REPLICAS: usize = 2;
    let requests = |session: &Session| {
        let request = |p: usize| UpdateRequest {
            budget: LayerBudget::replace(session.pattern(p).unwrap().count(), 20),
            drop: DropRule::Magnitude,
            grow: GrowScore::Gradient,
            stream: Stream::new(1, Purpose::Growth, p as u64),
            grown: Grown::zeros(),
        };
        [0, 2].map(|p| (p, request(p)))
    };
    let growth = [0, 2].map(|parameter| Growth { parameter, take: Take::All });
    let bits = |session: &Session| -> Vec<u32> {
        session.state().iter().flat_map(|t| t.values.as_f32().unwrap().to_vec()).map(f32::to_bits).collect()
    };
    for compute in [Compute::Sparse, Compute::Masked] {
        let mut one = session(100, 1, compute);
        for step in 0..4 {
            for number in 0..REPLICAS {
                let batch = batch(&one, 50, step * 10 + number as u64);
                one.accumulate(part(&batch, number, REPLICAS, 100), &growth).unwrap();
            }
            let requests = requests(&one);
            if step == 2 {
                update(&mut one, &requests).unwrap();
            } else {
                one.step(CONSTANTS).unwrap();
            }
        }
        let (left, barrier) =
            (std::sync::Mutex::new(vec![Vec::new(); REPLICAS]), std::sync::Barrier::new(REPLICAS));
        let run = |replica: usize| {
            let mut session = session(100, 1, compute);
            let mut meeting = Meeting { replica, left: &left, barrier: &barrier };
            for step in 0..4 {
                let batch = batch(&session, 50, step * 10 + replica as u64);
                let part = MicroBatch { first: true, last: true, ..part(&batch, replica, REPLICAS, 100) };
                session.accumulate(part, &growth).unwrap();
                session.exchange(&mut meeting).unwrap();
                let requests = requests(&session);
                if step == 2 {
                    update(&mut session, &requests).unwrap();
                } else {
                    session.step(CONSTANTS).unwrap();
                }
            }
            bits(&session)
        };
        let all: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let replicas: Vec<_> = (0..REPLICAS)
                .map(|replica| {
                    scope.spawn({
                        let run = &run;
                        move || run(replica)
                    })
                })
                .collect();
            replicas.into_iter().map(|replica| replica.join().unwrap()).collect()
        });
        assert_eq!(all, vec![bits(&one); REPLICAS], "{compute}");
    }
}

#[test]
fn growth_decided_before_the_exchange_is_an_error() {
    struct Alone;
    impl Exchange for Alone {
        fn sum(&mut self, _: &mut [f32]) -> Result<()> {
            Ok(())
        }
    }
    let mut session = session(100, 1, Compute::Auto);
    let packed = batch(&session, 100, 8);
    session.exchange(&mut Alone).unwrap();
    session.accumulate(whole(&packed), &[Growth { parameter: 0, take: Take::Largest(3) }]).unwrap();
    assert!(session.exchange(&mut Alone).unwrap_err().to_string().contains("`fc1.weight`"));
}
