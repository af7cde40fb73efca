//! What methods ask of a network, on a small one, in sparse and in masked storage.

use rigl_base::random::normals;
use rigl_engine::{Batch, Compute, Growth, Options, Preprocessing, StepConstants, Take};
use rigl_graph::{Builder, Graph, Linear};
use rigl_testing::{Samples, options, whole};
use rigl_topology::{DropRule, GrowScore, Grown, GrownInit, LayerBudget, Over, Pattern};

use super::*;

fn graph() -> Graph {
    let mut g = Builder::new("net");
    let x = g.input("image", &[1, 4, 5]);
    let h = g.flatten(x);
    let h = g.linear("fc1", h, 33, Linear::default());
    let h = g.relu(h);
    let h = g.linear("fc2", h, 70, Linear::default());
    let h = g.relu(h);
    let h = g.linear("fc3", h, 5, Linear::default());
    g.cross_entropy(h, 5, 0.1);
    g.finish().unwrap()
}

fn session(batch: usize, threads: usize, compute: Compute) -> Session {
    let patterns = rigl_testing::patterns(&graph(), 0.2, |p| p.layer() != "fc3");
    Session::new(&graph(), patterns, &Options { threads, compute, ..options(batch) }).unwrap()
}

fn batch(session: &Session, samples: usize, salt: u64) -> Batch {
    let how = Preprocessing::new(&[0.5], &[0.5]).unwrap();
    Samples::drawn(salt, samples, 20, 5).pack(session, &how)
}

const SIGNS: MethodSlot = MethodSlot { name: SIGN, over: Over::Active };
const AVERAGES: MethodSlot = MethodSlot { name: AVERAGE, over: Over::All };
const ALL: MethodSlot = MethodSlot { name: KEPT, over: Over::All };

/// What a slot of a parameter holds.
fn slot(session: &Session, parameter: usize, name: &str) -> Vec<f32> {
    session.parameters()[parameter].slot(name).unwrap().into_owned()
}

fn scores(session: &Session, parameter: usize) -> [Vec<f32>; 2] {
    let p = &session.parameters()[parameter];
    [slots::magnitudes(&p.values()), slots::saliencies(&p.values(), &p.gradient())]
}

const STORAGE: [Compute; 2] = [Compute::Sparse, Compute::Masked];

/// `fc1.weight` and `fc2.weight`.
const SPARSE: [usize; 2] = [0, 2];

const PLAIN: StepConstants = StepConstants { learning_rate: 0.5, momentum: 0.0, nesterov: false, l2: 0.0 };

fn all() -> Vec<Growth> {
    SPARSE.iter().map(|&parameter| Growth { parameter, take: Take::All }).collect()
}

/// Active values of a parameter, in the order of its pattern.
fn values(session: &Session, parameter: usize) -> Vec<f32> {
    session.parameters()[parameter].values().into_owned()
}

/// A request for `fc1.weight`.
fn request(session: &Session, k: usize, grow: GrowScore, init: GrownInit) -> UpdateRequest {
    UpdateRequest {
        budget: LayerBudget::replace(session.pattern(0).unwrap().count(), k),
        drop: DropRule::Magnitude,
        grow,
        stream: Stream::new(1, Purpose::Growth, 2),
        grown: Grown { init, stream: Stream::new(1, Purpose::Grown, 3), learning_rate: 0.25 },
    }
}

/// The dense gradients of fc1 on two batches.
fn gradients() -> [Vec<f32>; 2] {
    let mut session = session(20, 1, Compute::Masked);
    [1, 2].map(|salt| {
        let batch = batch(&session, 20, salt);
        session.accumulate(whole(&batch), &all()).unwrap();
        session.parameters()[0].dense_gradient().to_vec()
    })
}

#[test]
fn averages_are_exponential_and_growth_by_them_takes_the_largest() {
    let [first, second] = gradients();
    for compute in STORAGE {
        let mut session = session(20, 2, compute);
        keep(&mut session, &SPARSE, &[AVERAGES], 0).unwrap();
        for salt in [1, 2] {
            let batch = batch(&session, 20, salt);
            session.accumulate(whole(&batch), &all()).unwrap();
            average(&mut session, &SPARSE, 0.75).unwrap();
        }
        let expected: Vec<f32> =
            first.iter().zip(&second).map(|(a, b)| 0.75 * (0.75 * 0.0 + 0.25 * a) + 0.25 * b).collect();
        assert_eq!(slot(&session, 0, AVERAGE), expected, "{compute}");

        let request = request(&session, 9, GrowScore::Momentum, GrownInit::Zeros);
        let pattern = session.pattern(0).unwrap().clone();
        let values = values(&session, 0);
        let begun =
            rigl_topology::LayerUpdate::begin(&pattern, &slots::magnitudes(&values), request.budget).unwrap();
        let grown = begun.grow_largest(&expected);
        let change = update(&mut session, &[(0, request)]).unwrap().remove(0);
        assert!(grown.iter().all(|&position| change.pattern().contains(position)));
        assert_eq!(change.pattern().count(), pattern.count());
    }
}

#[test]
fn importance_is_of_this_batchs_gradient_also_after_the_step() {
    let rule = DropRule::Importance { gradient: 40.0 };
    let mut found = Vec::new();
    for compute in STORAGE {
        let mut session = session(20, 1, compute);
        let batch = batch(&session, 20, 1);
        session.accumulate(whole(&batch), &[]).unwrap();
        let gradient = session.parameters()[0].gradient().into_owned();
        session.step(StepConstants { l2: 0.125, ..PLAIN }).unwrap();
        let (values, pattern) = (values(&session, 0), session.pattern(0).unwrap().clone());
        let mut scores: Vec<(f32, u32)> = values
            .iter()
            .zip(&gradient)
            .map(|(w, g)| w.abs() + 40.0 * g.abs())
            .zip(pattern.indices().to_vec())
            .collect();
        scores.sort_by(|a, b| a.0.total_cmp(&b.0));
        let goes: Vec<u32> = scores[..9].iter().map(|&(_, position)| position).collect();
        let magnitudes = slots::magnitudes(&values);
        let smallest = rigl_topology::smallest(9, pattern.indices(), magnitudes.into_iter());
        assert!(goes.iter().any(|position| !smallest.contains(position)), "the gradient decides nothing");

        let mut request = request(&session, 9, GrowScore::None, GrownInit::Zeros);
        (request.drop, request.budget) = (rule, LayerBudget { drop: 9, grow: 0, count: pattern.count() - 9 });
        let change = update(&mut session, &[(0, request)]).unwrap().remove(0);
        assert!(goes.iter().all(|&position| !change.pattern().contains(position)), "{compute}");
        found.push(change);
    }
    assert!(found.iter().all(|change| *change == found[0]));
}

#[test]
fn grown_weights_start_from_what_is_asked_and_others_keep_their_values() {
    let [gradient, _] = gradients();
    let of = &graph().parameters()[0].clone();
    for compute in STORAGE {
        for &init in GrownInit::ALL {
            let mut session = session(20, 1, compute);
            let batch = batch(&session, 20, 1);
            session.accumulate(whole(&batch), &all()).unwrap();
            let before = values(&session, 0);
            let n = before.len() as f64;
            let mean = before.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
            let square = before.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / n;
            let magnitude = before.iter().map(|&w| f64::from(w.abs())).sum::<f64>() / n;
            let deviation = (square - mean * mean).sqrt();
            let request = request(&session, 20, GrowScore::Random, init);
            let change = update(&mut session, &[(0, request)]).unwrap().remove(0);
            let after = values(&session, 0);
            let (mut fresh, stream) = (0, request.grown.stream);
            for ((&w, &position), origin) in
                after.iter().zip(change.pattern().indices()).zip(change.origins())
            {
                let n = u64::from(position);
                let expected = match (origin, init) {
                    (Some(rank), _) => f64::from(before[rank]),
                    (None, GrownInit::Redraw) => {
                        f64::from(InitialValues::from_stream(of, stream).at(position as usize))
                    }
                    (None, GrownInit::Normal) => deviation * normals(stream.block(n))[0],
                    (None, GrownInit::Uniform) => magnitude * (2.0 * f64::from(stream.uniform_at(n)) - 1.0),
                    (None, GrownInit::Gradient) => -0.25 * f64::from(gradient[position as usize]),
                    (None, _) => 0.0,
                };
                fresh += usize::from(origin.is_none());
                assert!((f64::from(w) - expected).abs() <= 1e-6 * expected.abs(), "{init}: {w} {expected}");
            }
            assert!(fresh > 10);
        }
    }
}

#[test]
fn noise_pulls_active_weights_against_the_sign_they_started_with() {
    let noise = Noise { pull: 0.01, deviation: 0.1, seed: 4, step: 7 };
    let mut found = Vec::new();
    for (compute, threads) in [(Compute::Sparse, 1), (Compute::Masked, 3)] {
        let mut session = session(20, threads, compute);
        keep(&mut session, &SPARSE, &[SIGNS], 0).unwrap();
        let before = values(&session, 0);
        super::noise(&mut session, &SPARSE, noise).unwrap();
        let after = values(&session, 0);
        let stream = Stream::new(4, Purpose::Noise, pair_id(name_id("fc1.weight"), 7));
        let positions = session.pattern(0).unwrap().indices();
        for ((&was, &is), &position) in before.iter().zip(&after).zip(positions) {
            let z = normals(stream.block(u64::from(position)))[0];
            let expected = f64::from(was) - 0.01 * f64::from(was.signum()) + 0.1 * z;
            assert!((f64::from(is) - expected).abs() < 1e-7, "{was} {is}");
        }
        let crossed = before.iter().zip(&after).filter(|&(was, is)| was * is < 0.0).count();
        assert!(crossed > 0);
        assert_eq!(statistics(&session, &[0], &[9], 0.0).unwrap()[0].crossed, crossed);

        // Those that crossed go; none is held to the sign it lost.
        let budget = LayerBudget::replace(after.len(), crossed);
        let request = UpdateRequest {
            drop: DropRule::SignChange { noise: None },
            budget,
            ..request(&session, 0, GrowScore::Random, GrownInit::Zeros)
        };
        let change = update(&mut session, &[(0, request)]).unwrap().remove(0);
        assert_eq!((change.dropped(), change.grown()), (crossed, crossed));
        assert_eq!(statistics(&session, &[0], &[9], 0.0).unwrap()[0].crossed, 0);
        let signs = slot(&session, 0, SIGN);
        let fresh: Vec<f32> =
            signs.iter().zip(change.origins()).filter(|(_, o)| o.is_none()).map(|(&s, _)| s).collect();
        assert!(fresh.contains(&1.0) && fresh.contains(&-1.0));
        found.push((values(&session, 0), signs));
    }
    assert_eq!(found[0], found[1]);
}

#[test]
fn a_weight_that_crossed_zero_and_is_regrown_at_once_is_held_to_the_sign_it_has() {
    let options =
        Options { batch: 20, evaluation_batch: 20, threads: 1, isa: None, compute: Compute::Sparse, seed: 3 };
    // With every position active what is dropped can only come back.
    let mut patterns = vec![None; 6];
    patterns[0] = Some(Pattern::full(graph().parameters()[0].len()).unwrap());
    let mut session = Session::new(&graph(), patterns, &options).unwrap();
    keep(&mut session, &[0], &[SIGNS], 0).unwrap();
    noise(&mut session, &[0], Noise { pull: 0.01, deviation: 0.1, seed: 4, step: 7 }).unwrap();
    let crossed = statistics(&session, &[0], &[9], 0.0).unwrap()[0].crossed;
    assert!(crossed > 0);
    let request = UpdateRequest {
        drop: DropRule::SignChange { noise: None },
        ..request(&session, crossed, GrowScore::Random, GrownInit::Zeros)
    };
    let before = values(&session, 0);
    assert_eq!(update(&mut session, &[(0, request)]).unwrap()[0].regrown(), crossed);
    assert_eq!(values(&session, 0), before);
    assert_eq!(statistics(&session, &[0], &[9], 0.0).unwrap()[0].crossed, 0);
}

#[test]
fn kept_weights_all_step_by_the_dense_gradient_and_the_largest_are_active() {
    let mut found = Vec::new();
    for compute in STORAGE {
        let mut session = session(20, 1, compute);
        keep(&mut session, &SPARSE, &[ALL], 3).unwrap();
        let initial: Vec<f32> = {
            let of = InitialValues::new(&graph().parameters()[0], 3);
            (0..session.parameters()[0].len()).map(|i| of.at(i)).collect()
        };
        assert_eq!(slot(&session, 0, KEPT), initial);
        let batch = batch(&session, 20, 1);
        session.accumulate(whole(&batch), &all()).unwrap();
        let gradient = session.parameters()[0].dense_gradient().to_vec();
        let pattern = session.pattern(0).unwrap().clone();
        session.step(StepConstants { l2: 0.125, ..PLAIN }).unwrap();
        for (i, &w) in slot(&session, 0, KEPT).iter().enumerate() {
            let decay = if pattern.contains(i as u32) { 0.125 * initial[i] } else { 0.0 };
            let expected = f64::from(initial[i]) - 0.5 * f64::from(gradient[i] + decay);
            assert!((f64::from(w) - expected).abs() < 1e-6, "{i}: {w} {expected}");
        }
        let all = slot(&session, 0, KEPT);
        let request = request(&session, pattern.count(), GrowScore::Magnitude, GrownInit::Zeros);
        update(&mut session, &[(0, request)]).unwrap();
        let scores: Vec<f32> = all.iter().map(|w| w.abs()).collect();
        assert_eq!(session.pattern(0), Some(&Pattern::of_largest(&scores, pattern.count()).unwrap()));
        let active = session.pattern(0).unwrap().indices().iter().map(|&i| all[i as usize]);
        assert_eq!(values(&session, 0), active.collect::<Vec<_>>());
        found.push(all);
    }
    assert_eq!(found[0], found[1]);
}

#[test]
fn a_dense_network_is_scored_and_keeps_the_values_of_the_best() {
    let options =
        Options { batch: 20, evaluation_batch: 20, threads: 1, isa: None, compute: Compute::Auto, seed: 3 };
    let mut session = Session::new(&graph(), vec![None; 6], &options).unwrap();
    let batch = batch(&session, 20, 1);
    session.accumulate(whole(&batch), &[]).unwrap();
    let p = &session.parameters()[0];
    let (w, g) = (p.values().into_owned(), p.gradient().into_owned());
    let saliency: Vec<f32> = w.iter().zip(&g).map(|(w, g)| (w * g).abs()).collect();
    let [magnitude, found] = scores(&session, 0);
    assert_eq!(found, saliency);
    assert_eq!(magnitude, w.iter().map(|w| w.abs()).collect::<Vec<_>>());
    let pattern = Pattern::of_largest(&saliency, 17).unwrap();
    let mut make_sparse = |parameter: usize, pattern: &Pattern| {
        session.with_parameters(&[parameter], &|_, p: &mut Parameter| p.make_sparse(pattern.clone()))
    };
    make_sparse(0, &pattern).unwrap();
    assert!(make_sparse(0, &pattern).is_err(), "it is sparse now");
    assert!(make_sparse(2, &Pattern::full(3).unwrap()).is_err());
    assert_eq!(values(&session, 0), pattern.indices().iter().map(|&i| w[i as usize]).collect::<Vec<_>>());
}

#[test]
fn statistics_count_what_methods_ask_for() {
    let mut session = session(20, 1, Compute::Sparse);
    keep(&mut session, &SPARSE, &[AVERAGES], 0).unwrap();
    let numbers = |_: usize, p: &mut Parameter| {
        p.set_slot(AVERAGE, Over::All, (0..p.len()).map(|i| i as f32).collect())
    };
    session.with_parameters(&[0], &numbers).unwrap();
    let found = statistics(&session, &SPARSE, &[5, 6], 0.05).unwrap();
    let values = values(&session, 0);
    assert_eq!(found[0].below, values.iter().filter(|w| w.abs() < 0.05).count());
    let indices = session.pattern(0).unwrap().indices();
    let mean = indices.iter().map(|&i| f64::from(i)).sum::<f64>() / indices.len() as f64;
    assert!((found[0].momentum - mean).abs() < 1e-9);
    assert_eq!(
        (found[0].target, found[1].target, found[1].active),
        (5, 6, session.pattern(2).unwrap().count())
    );
    assert!(statistics(&session, &[1], &[1], 0.0).is_err(), "a bias");
}

#[test]
fn what_methods_keep_survives_the_state() {
    for compute in STORAGE {
        let mut first = session(20, 1, compute);
        keep(&mut first, &SPARSE, &[SIGNS, AVERAGES, ALL], 3).unwrap();
        let batch = batch(&first, 20, 1);
        let constants = StepConstants { momentum: 0.5, ..PLAIN };
        for _ in 0..2 {
            first.accumulate(whole(&batch), &all()).unwrap();
            average(&mut first, &SPARSE, 0.5).unwrap();
            first.step(constants).unwrap();
        }
        let mut second = session(20, 1, Compute::Auto);
        second.load(&first.state()).unwrap();
        assert_eq!(first.state(), second.state());
        for session in [&mut first, &mut second] {
            session.accumulate(whole(&batch), &all()).unwrap();
            session.step(constants).unwrap();
        }
        assert_eq!(first.state(), second.state());
        let state = first.state();
        assert!(state.iter().any(|tensor| tensor.name == "kept-momentum/fc2.weight"));
        // A tensor of another size is refused by name.
        let mut bad = first.state();
        bad.iter_mut()
            .filter(|t| t.name == "average/fc1.weight")
            .for_each(|t| t.values = rigl_graph::state::Values::F32(vec![0.0].into()));
        assert!(second.load(&bad).unwrap_err().to_string().contains("`average/fc1.weight`"));
    }
}

#[test]
fn what_was_not_kept_is_an_error() {
    let mut session = session(20, 1, Compute::Sparse);
    assert!(average(&mut session, &[0], 0.5).is_err(), "an average of nothing");
    keep(&mut session, &SPARSE, &[AVERAGES], 0).unwrap();
    assert!(average(&mut session, &[0], 0.5).is_err(), "no dense gradient");
    assert!(
        noise(&mut session, &[0], Noise { pull: 0.0, deviation: 0.0, seed: 0, step: 0 }).is_err(),
        "no signs"
    );
    for grow in [GrowScore::Magnitude, GrowScore::Gradient] {
        let request = request(&session, 3, grow, GrownInit::Zeros);
        assert!(update(&mut session, &[(0, request)]).is_err(), "{grow:?}");
    }
    let request = request(&session, 3, GrowScore::Random, GrownInit::Gradient);
    assert!(update(&mut session, &[(0, request)]).unwrap_err().to_string().contains("`fc1.weight`"));
}
