use proptest::prelude::*;

use super::*;
use crate::method::{Dynamics, ScheduleDefaults, Topology};

/// A row whose dynamics are changed.
fn changed(method: Method, change: impl FnOnce(&mut Dynamics)) -> Method {
    let Topology::Dynamic(start, mut dynamics) = method.topology else { panic!("{} is static", method.name) };
    change(&mut dynamics);
    Method { topology: Topology::Dynamic(start, dynamics), ..method }
}

/// A row that updates at every step.
fn each_step(method: Method) -> Method {
    changed(method, |dynamics| dynamics.every_step = true)
}

/// A row with this growth.
fn growing(method: Method, grown: GrowRule) -> Method {
    changed(method, |dynamics| match &mut dynamics.rule {
        UpdateRule::Replace { grow, .. } => *grow = grown,
        UpdateRule::Prune { grow, .. } => *grow = Some(grown),
        UpdateRule::Compete => panic!("grows nothing"),
    })
}

fn schedule(decay: Decay) -> UpdateSchedule {
    UpdateSchedule { interval: 100, begin: 0, end: 1000, drop_fraction: 0.3, decay }
}

/// RigL's updates in a run of 4,000 steps.
fn rigl(schedule: UpdateSchedule) -> Updates {
    Updates::new(&Method::RIGL, schedule, 4000)
}

/// The paper's schedule.
fn paper(method: &Method, steps: u64) -> Updates {
    Updates::new(method, ScheduleDefaults::PAPER.for_steps(steps), steps)
}

fn steps(updates: &Updates) -> Vec<u64> {
    (0..updates.steps).filter(|&step| updates.at(step).is_some()).collect()
}

#[test]
fn the_last_update_lies_before_the_end_or_at_it() {
    let span = |begin, end| UpdateSchedule { begin, end, ..schedule(Decay::Cosine) };
    for (begin, end, last, with_end) in
        [(0, 1000, Some(900), 1000), (50, 1000, Some(950), 950), (7, 8, Some(7), 7), (7, 7, None, 7)]
    {
        assert_eq!(rigl(span(begin, end)).last(), last);
        let pruning = Updates::new(&Method::PRUNING, span(begin, end), 4000);
        assert_eq!((pruning.last(), pruning.settled()), (Some(with_end), Some(with_end)));
        let last = pruning.at(with_end).unwrap();
        assert!(last.last && (last.fraction == 0.0) == (with_end == end) && last.excess == Some(0.0));
    }
}

#[test]
fn updates_fall_at_begin_and_every_interval_before_the_end() {
    let shifted = rigl(UpdateSchedule { begin: 50, end: 350, ..schedule(Decay::Cosine) });
    assert_eq!(steps(&shifted), [50, 150, 250]);
    assert_eq!((shifted.first(), shifted.interval(), shifted.count()), (Some(50), 100, 3));
    let whole = rigl(schedule(Decay::Cosine));
    assert!(whole.at(0).is_some() && whole.at(1000).is_none());
    for end in [0, 49, 50] {
        let never = rigl(UpdateSchedule { begin: 50, end, ..schedule(Decay::Cosine) });
        assert!(steps(&never).is_empty(), "{end}");
        assert_eq!((never.first(), never.last(), never.count()), (None, None, 0));
    }
    assert_eq!(Updates::new(&Method::RIGL, schedule(Decay::Cosine), 301).last(), Some(300));
    assert_eq!(Updates::new(&Method::RIGL, schedule(Decay::Cosine), 300).last(), Some(200));
}

#[test]
fn the_fraction_follows_its_decay() {
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
    let at = |decay, step| {
        let schedule = UpdateSchedule { interval: 250, ..schedule(decay) };
        rigl(schedule).at(step).unwrap().fraction
    };
    for decay in Decay::ALL {
        close(at(*decay, 0), 0.3);
    }
    close(at(Decay::Cosine, 500), 0.15);
    close(at(Decay::Cosine, 250), 0.15 * (1.0 + std::f64::consts::FRAC_1_SQRT_2));
    close(at(Decay::Constant, 750), 0.3);
    close(at(Decay::Linear, 750), 0.075);
    close(at(Decay::Cubic, 500), 0.0375);
}

#[test]
fn the_decay_runs_from_begin() {
    let shifted = UpdateSchedule { begin: 1000, end: 3000, ..schedule(Decay::Linear) };
    let each = each_step(Method::RIGL);
    let fraction = |step| Updates::new(&each, shifted, 4000).at(step).unwrap().fraction;
    assert_eq!(fraction(1000), 0.3);
    assert_eq!(fraction(2000), 0.15);
    assert_eq!((fraction(999), fraction(3000)), (0.0, 0.0));
}

#[test]
fn density_decays_from_begin_to_the_last_update() {
    let span = UpdateSchedule { begin: 200, end: 1000, ..schedule(Decay::Cosine) };
    let excess = |method: &Method, interval, step| {
        let updates = Updates::new(method, UpdateSchedule { interval, ..span }, 1200);
        updates.at(step).and_then(|update| update.excess)
    };
    let found = [200, 600, 1000].map(|step| excess(&Method::PRUNING, 100, step));
    assert_eq!(found, [1.0, 0.125, 0.0].map(Some));
    assert_eq!([500, 800].map(|step| excess(&Method::PRUNING, 300, step)), [Some(0.125), Some(0.0)]);
    let each = each_step(Method::PRUNING);
    let found = [0, 200, 600, 1000, 1199].map(|step| excess(&each, 100, step));
    assert_eq!(found, [1.0, 1.0, 0.125, 0.0, 0.0].map(Some));
    let at_once = Updates::new(&each, UpdateSchedule { end: 200, ..span }, 300);
    assert_eq!([199, 200].map(|step| at_once.at(step).unwrap().excess), [Some(1.0), Some(0.0)]);
    assert_eq!(rigl(span).at(200).unwrap().excess, None);
}

#[test]
fn an_update_of_rigl_takes_a_batch_but_no_step() {
    let schedule = ScheduleDefaults::PAPER.for_steps(1000);
    assert_eq!((schedule.interval, schedule.begin, schedule.end), (100, 0, 750));
    let updates = paper(&Method::RIGL, 1000);
    let (mut step, mut updated, mut batches) = (0, false, 0);
    let mut found = Vec::new();
    while step < 1000 {
        let needs = updates.needs(step, updated);
        updated = needs.update.is_some();
        assert_eq!(updated, needs.gradients == Gradients::Dense);
        assert_eq!(updated, needs.step == OptimizerStep::Skipped);
        batches += 1;
        if updated {
            found.push(step);
        } else {
            step += 1;
        }
    }
    assert_eq!(found, [0, 100, 200, 300, 400, 500, 600, 700]);
    assert_eq!(batches, 1008);
}

#[test]
fn an_update_of_set_comes_after_the_step_of_the_same_batch() {
    let needs = |method: &Method, step| paper(method, 1000).needs(step, false);
    let found = needs(&Method::SET, 100);
    let expected = Needs { gradients: Gradients::Active, step: OptimizerStep::Taken, update: found.update };
    assert_eq!(found, expected);
    assert_eq!(found.update.map(|update| update.number), Some(1));
    assert_eq!(needs(&Method::SET, 101), Needs { update: None, ..expected });
    // RigL's growth after the step needs the dense gradient of that batch.
    let after = changed(Method::RIGL, |dynamics| dynamics.step_policy = StepPolicy::After);
    assert_eq!(needs(&after, 100), Needs { gradients: Gradients::Dense, ..expected });
}

#[test]
fn static_and_dense_never_update() {
    for method in [Method::STATIC, Method::SNIP, Method::DENSE, Method::SMALL_DENSE] {
        let updates = paper(&method, 1000);
        assert!(steps(&updates).is_empty());
        assert!((0..1000).all(|step| updates.needs(step, false).update.is_none()));
    }
}

#[test]
fn snfs_needs_dense_gradients_until_the_last_update() {
    let updates = paper(&Method::SNFS, 1000);
    let gradients = |step| updates.needs(step, false).gradients;
    assert!((0..=700).all(|step| gradients(step) == Gradients::Kept));
    assert!((701..1000).all(|step| gradients(step) == Gradients::Active));
    let never = Updates::new(&Method::SNFS, UpdateSchedule { end: 0, ..*updates.schedule() }, 1000);
    assert!((0..1000).all(|step| never.needs(step, false).gradients == Gradients::Active));
}

#[test]
fn dnw_needs_the_gradients_of_inactive_weights_at_every_step() {
    let updates = paper(&Method::DNW, 1000);
    for step in [0, 1, 999] {
        let needs = updates.needs(step, false);
        assert_eq!((needs.gradients, needs.step), (Gradients::Kept, OptimizerStep::Taken));
        assert_eq!(needs.update, updates.at(step));
        assert!(needs.update.is_some());
    }
    let last = paper(&Method::DEEPR, 1000).needs(999, false);
    assert!(last.update.is_some_and(|update| update.last));
    assert_eq!(last.gradients, Gradients::Active);
}

#[test]
fn pruning_updates_at_the_end_too() {
    assert_eq!(steps(&paper(&Method::PRUNING, 400)), [0, 100, 200, 300]);
    assert_eq!(steps(&paper(&Method::SET, 400)), [0, 100, 200]);
}

#[test]
fn growth_that_cannot_be_scored_on_the_way_keeps_the_dense_gradient() {
    let gradients = |method: &Method| paper(method, 1000).needs(100, false).gradients;
    let (init, redraw) = (GrownInit::Gradient, GrownInit::Redraw);
    assert_eq!(gradients(&growing(Method::RIGL, GrowRule::Gradient { init })), Gradients::Kept);
    assert_eq!(gradients(&growing(Method::SET, GrowRule::Random { init })), Gradients::Kept);
    assert_eq!(gradients(&growing(Method::RIGL, GrowRule::Gradient { init: redraw })), Gradients::Dense);
    assert_eq!(gradients(&growing(Method::DSR, GrowRule::GRADIENT)), Gradients::Kept);
    assert_eq!(gradients(&Method::SET), Gradients::Active);
}

/// Every row, and what rows can be combined with.
fn methods() -> Vec<Method> {
    let mut methods = Method::ALL.to_vec();
    methods.extend([
        growing(Method::PRUNING, GrowRule::MOMENTUM),
        changed(growing(Method::PRUNING, GrowRule::GRADIENT), |d| d.step_policy = StepPolicy::Replace),
        each_step(Method::PRUNING),
        each_step(Method::RIGL),
        changed(each_step(Method::SNFS), |dynamics| dynamics.step_policy = StepPolicy::Replace),
        changed(Method::SNFS, |dynamics| dynamics.step_policy = StepPolicy::Replace),
        changed(Method::RIGL, |dynamics| dynamics.step_policy = StepPolicy::After),
    ]);
    methods
}

prop_compose! {
    fn any_schedule()(
        interval in prop_oneof![1..12u64, 1..2000u64], begin in 0..600u64, length in 0..1400u64,
        drop_fraction in 0.0..=1.0f64, decay in proptest::sample::select(Decay::ALL),
    ) -> UpdateSchedule {
        UpdateSchedule { interval, begin, end: begin + length, drop_fraction, decay }
    }
}

proptest! {
    #[test]
    fn phases_tell_what_every_step_of_the_run_tells(schedule in any_schedule(), steps in 1..1500u64) {
        for method in methods() {
            let updates = Updates::new(&method, schedule, steps);
            let due: Vec<Update> = (0..steps).filter_map(|step| updates.at(step)).collect();
            prop_assert_eq!(due.len() as u64, updates.count());
            prop_assert_eq!(due.first().map(|u| u.step), updates.first());
            prop_assert_eq!(due.last().map(|u| u.step), updates.last());
            for (number, update) in due.iter().enumerate() {
                prop_assert_eq!(update.number, number as u64);
                prop_assert_eq!(update.last, number + 1 == due.len());
            }
            let all = |needs: fn(&Phase) -> Option<Gradients>| updates.phases().filter_map(|p| needs(&p)).max();
            let most = all(|p| (p.updates > 0).then_some(p.at_updates)).max(all(|p| Some(p.between)));
            prop_assert_eq!(Some(updates.gradients()), most);
            let (mut next, mut excess) = (0, updates.settled().map(|_| 1.0));
            for phase in updates.phases() {
                prop_assert_eq!(phase.steps.start, next);
                prop_assert!(phase.steps.end > next);
                next = phase.steps.end;
                let mut found = (0, 0);
                for step in phase.steps.clone() {
                    let mut updated = false;
                    loop {
                        let needs = updates.needs(step, updated);
                        found.1 += 1;
                        let gradients = if let Some(update) = needs.update {
                            prop_assert_eq!(found.0 == 0, step == phase.steps.start);
                            found.0 += 1;
                            excess = update.excess;
                            prop_assert_eq!(needs.step, phase.step);
                            phase.at_updates
                        } else {
                            phase.between
                        };
                        prop_assert_eq!(needs.gradients, gradients);
                        prop_assert_eq!(excess, phase.excess);
                        if needs.step == OptimizerStep::Taken {
                            break;
                        }
                        updated = true;
                    }
                }
                prop_assert_eq!(found, (phase.updates, phase.batches()));
            }
            prop_assert_eq!(next, steps);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_longest_runs_have_few_phases(schedule in any_schedule(), steps in 1..1_000_000_000_000u64) {
        let stretched = UpdateSchedule { end: schedule.end * 1_000_000_000, ..schedule };
        for method in methods() {
            let updates = Updates::new(&method, stretched, steps);
            let (mut found, mut next, mut count) = (0, 0, 0);
            for phase in updates.phases() {
                prop_assert_eq!(phase.steps.start, next);
                (next, found, count) = (phase.steps.end, found + phase.updates, count + 1);
            }
            prop_assert_eq!((next, found), (steps, updates.count()));
            let limit = if updates.settled().is_some() { PHASES + 4 } else { 3 };
            prop_assert!(count <= limit, "{} phases", count);
        }
    }
}
