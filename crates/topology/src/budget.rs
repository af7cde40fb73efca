//! How many weights each layer drops and grows at an update: the only place that looks across layers.
//!
//! Most rows replace a share of each layer and keep every count. Counts move where a row's density decays (gradual
//! pruning) or where growth is spread over layers ([`Redistribution`]); then the sum of all counts is what is kept.

use rigl_base::counts;

use crate::method::{Method, MethodState, UpdateRule};
use crate::names::Redistribution;
use crate::statistics::LayerStatistics;
use crate::update::LayerBudget;
use crate::updates::Update;

/// DSR's tolerance: how far the number of weights below the threshold may lie from the one wanted, as a share of
/// it, before the threshold is halved or doubled.
const TOLERANCE: f64 = 0.1;

impl Method {
    /// How many weights each sparse layer drops and grows at an update.
    ///
    /// By magnitude these are k = trunc(n · f) of both, where f is the update's fraction; a decaying density drops
    /// more. By sign change all that crossed 0 are replaced. By threshold all below it are; the threshold is then
    /// doubled if fewer than 0.9 · f of all active weights lay below it, and halved if more than 1.1 · f (Mostafa &
    /// Wang, ICML 2019, algorithm 1). Where inactive weights are kept, all compete anew.
    pub fn budget(
        &self,
        update: &Update,
        layers: &[LayerStatistics],
        state: &mut MethodState,
    ) -> Vec<LayerBudget> {
        let each = |of: &dyn Fn(&LayerStatistics) -> LayerBudget| layers.iter().map(of).collect::<Vec<_>>();
        let replace = |layer: &LayerStatistics, k: usize| LayerBudget::replace(layer.active, k);
        let Some(rule) = self.rule() else { return each(&|layer| replace(layer, 0)) };
        let share = |count: usize| counts::trunc_product(count, update.fraction);
        let (drop, redistribution) = match rule {
            UpdateRule::Compete => return each(&|layer| replace(layer, layer.active)),
            UpdateRule::Prune { grow, .. } => {
                return each(&|layer| {
                    let count = layer.wanted(update.excess);
                    let grow = if grow.is_some() { share(count) } else { 0 };
                    LayerBudget { drop: layer.active - count + grow, grow, count }
                });
            }
            UpdateRule::Replace { drop, redistribution, .. } => (drop, redistribution),
        };
        let mut budgets = each(&|layer| replace(layer, drop.count(layer, update.fraction)));
        if drop.threshold().is_some() {
            let goal = share(layers.iter().map(|layer| layer.active).sum());
            if goal == 0 {
                return each(&|layer| replace(layer, 0));
            }
            let below = layers.iter().map(|layer| layer.below).sum::<usize>() as f64;
            if below < (1.0 - TOLERANCE) * goal as f64 {
                state.threshold *= 2.0;
            } else if below > (1.0 + TOLERANCE) * goal as f64 {
                state.threshold /= 2.0;
            }
        }
        if let Some(by) = redistribution {
            redistribute(by, layers, &mut budgets);
        }
        budgets
    }
}

/// Spreads what all layers together grow over them anew. A layer keeps one weight at least.
fn redistribute(by: Redistribution, layers: &[LayerStatistics], budgets: &mut [LayerBudget]) {
    for (layer, budget) in layers.iter().zip(&mut *budgets) {
        budget.drop = budget.drop.min(layer.active.saturating_sub(1));
    }
    let total = budgets.iter().map(|budget| budget.drop).sum();
    let left = || layers.iter().zip(&*budgets).map(|(layer, budget)| layer.active - budget.drop);
    let shares: Vec<f64> = match by {
        Redistribution::Momentum => layers.iter().map(|layer| layer.momentum).collect(),
        Redistribution::Survivors => left().map(|left| left as f64).collect(),
    };
    let room: Vec<usize> = layers.iter().zip(left()).map(|(layer, left)| layer.positions - left).collect();
    for ((budget, layer), grow) in budgets.iter_mut().zip(layers).zip(spread(total, &shares, &room)) {
        *budget = LayerBudget { grow, count: layer.active - budget.drop + grow, ..*budget };
    }
}

/// `total` in whole parts proportional to `shares`, none beyond its `room`; what a full one cannot take goes to the
/// others in proportion. Remainders go to the largest, of equal ones to the first. The parts add up to `total`, or to
/// all the room there is.
fn spread(total: usize, shares: &[f64], room: &[usize]) -> Vec<usize> {
    let mut parts = vec![0; shares.len()];
    let mut left = total.min(room.iter().sum());
    while left > 0 {
        let open: Vec<usize> = (0..parts.len()).filter(|&i| parts[i] < room[i]).collect();
        let share = |i: usize| if shares[i] > 0.0 && shares[i].is_finite() { shares[i] } else { 0.0 };
        let sum: f64 = open.iter().map(|&i| share(i)).sum();
        // Where no share says otherwise, all are equal.
        let part = |i: usize| match sum > 0.0 {
            true => left as f64 * (share(i) / sum),
            false => left as f64 / open.len() as f64,
        };
        let wanted: Vec<f64> = open.iter().map(|&i| part(i)).collect();
        let mut given = 0;
        for (&i, &wanted) in open.iter().zip(&wanted) {
            let whole = counts::trunc(wanted).min(room[i] - parts[i]).min(left - given);
            parts[i] += whole;
            given += whole;
        }
        // Another round if a full one left much; else what is left of each, the largest first.
        if left - given <= open.len() {
            let mut order: Vec<usize> = (0..open.len()).collect();
            let rest = |n: &usize| wanted[*n] - counts::trunc(wanted[*n]) as f64;
            order.sort_by(|a, b| rest(b).total_cmp(&rest(a)));
            for n in order {
                if given < left && parts[open[n]] < room[open[n]] {
                    parts[open[n]] += 1;
                    given += 1;
                }
            }
        }
        left -= given;
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::method::{Dynamics, GrowRule, ScheduleDefaults, Topology};
    use crate::schedule::UpdateSchedule;
    use crate::updates::Updates;

    fn dynamic(rule: UpdateRule) -> Method {
        Method { topology: Topology::dynamic(Dynamics::new(rule)), ..Method::STATIC }
    }

    /// SNFS as the original moves weights between layers.
    fn by_momentum() -> Method {
        dynamic(UpdateRule::Replace {
            drop: crate::DropRule::Magnitude,
            grow: GrowRule::MOMENTUM,
            redistribution: Some(Redistribution::Momentum),
        })
    }

    fn layer(positions: usize, active: usize) -> LayerStatistics {
        LayerStatistics {
            positions,
            active,
            start: positions,
            target: active,
            below: 0,
            crossed: 0,
            momentum: 0.0,
        }
    }

    /// An update that replaces this share.
    fn replacing(fraction: f64) -> Update {
        Update { number: 1, step: 100, fraction, excess: None, last: false }
    }

    fn budget(method: &Method, update: &Update, layers: &[LayerStatistics]) -> Vec<LayerBudget> {
        method.budget(update, layers, &mut MethodState::default())
    }

    #[test]
    fn static_and_dense_replace_nothing() {
        for method in [Method::STATIC, Method::DENSE, Method::SNIP] {
            assert_eq!(budget(&method, &replacing(0.3), &[layer(50, 10)]), [LayerBudget::replace(10, 0)]);
        }
    }

    #[test]
    fn a_budget_replaces_the_scheduled_share_of_each_layer() {
        let layers = [layer(1000, 100), layer(50, 15), layer(9, 3)];
        let expected =
            [LayerBudget::replace(100, 29), LayerBudget::replace(15, 4), LayerBudget::replace(3, 0)];
        for method in [Method::RIGL, Method::SET, Method::SNFS] {
            assert_eq!(budget(&method, &replacing(0.29), &layers), expected);
            assert_eq!(budget(&method, &replacing(0.5), &layers[1..2]), [LayerBudget::replace(15, 7)]);
        }
    }

    #[test]
    fn snfs_with_redistribution_grows_by_mean_momentum_and_keeps_the_sum() {
        let method = by_momentum();
        let layers = [
            LayerStatistics { momentum: 1.0, ..layer(1000, 100) },
            LayerStatistics { momentum: 3.0, ..layer(100, 20) },
            LayerStatistics { momentum: 0.0, ..layer(100, 40) },
        ];
        // Dropped: 30, 6 and 12, 48 together; of these a quarter, three quarters and none.
        let expected = [
            LayerBudget { drop: 30, grow: 12, count: 82 },
            LayerBudget { drop: 6, grow: 36, count: 50 },
            LayerBudget { drop: 12, grow: 0, count: 28 },
        ];
        assert_eq!(budget(&method, &replacing(0.3), &layers), expected);
    }

    #[test]
    fn dsr_drops_below_the_threshold_and_grows_by_survivors() {
        let layers = [
            LayerStatistics { below: 20, ..layer(1000, 80) },
            LayerStatistics { below: 10, ..layer(100, 40) },
        ];
        let mut state = MethodState::default();
        // 30 of 120 lie below it; 60 and 30 survive, so that 20 and 10 are grown.
        let expected =
            [LayerBudget { drop: 20, grow: 20, count: 80 }, LayerBudget { drop: 10, grow: 10, count: 40 }];
        let mut at = |fraction| Method::DSR.budget(&replacing(fraction), &layers, &mut state);
        assert_eq!(at(0.25), expected);
        assert_eq!((at(0.5), at(0.5)), (expected.to_vec(), expected.to_vec()));
        assert_eq!(state.threshold, 4e-3, "30 is less than 0.9 · 60, twice");
        Method::DSR.budget(&replacing(0.1), &layers, &mut state);
        assert_eq!(state.threshold, 2e-3, "30 is more than 1.1 · 12");
        assert_eq!(Method::DSR.budget(&replacing(0.0), &layers, &mut state)[0], LayerBudget::replace(80, 0));
        assert_eq!(state.threshold, 2e-3);
    }

    #[test]
    fn a_layer_whose_weights_all_lie_below_the_threshold_keeps_one() {
        let layers = [LayerStatistics { below: 5, ..layer(50, 5) }, layer(1000, 100)];
        let found = budget(&Method::DSR, &replacing(0.04), &layers);
        // Four go; survivors are 1 and 100.
        assert_eq!(found[0], LayerBudget { drop: 4, grow: 0, count: 1 });
        assert_eq!(found[1], LayerBudget { drop: 0, grow: 4, count: 104 });
    }

    #[test]
    fn deepr_replaces_what_changed_its_sign_and_dnw_lets_all_compete() {
        let crossed = LayerStatistics { crossed: 3, ..layer(50, 10) };
        let update = replacing(0.0);
        assert_eq!(budget(&Method::DEEPR, &update, &[crossed]), [LayerBudget::replace(10, 3)]);
        assert_eq!(budget(&Method::DNW, &update, &[crossed]), [LayerBudget::replace(10, 10)]);
    }

    #[test]
    fn pruning_follows_the_cubic_schedule_and_ends_at_the_target() {
        let schedule = UpdateSchedule { begin: 200, end: 1000, ..ScheduleDefaults::PAPER.for_steps(1000) };
        let updates = Updates::new(&Method::PRUNING, schedule, 2000);
        let at = |step, active| {
            let layer = LayerStatistics { target: 100, ..layer(1000, active) };
            budget(&Method::PRUNING, &updates.at(step).unwrap(), &[layer])[0]
        };
        assert_eq!(at(200, 1000), LayerBudget { drop: 0, grow: 0, count: 1000 });
        // Halfway: 0.9 · (1 − 1/8) = 0.7875.
        assert_eq!(at(600, 1000), LayerBudget { drop: 787, grow: 0, count: 213 });
        assert_eq!(at(600, 220), LayerBudget { drop: 7, grow: 0, count: 213 });
        assert_eq!(at(600, 150), LayerBudget { drop: 0, grow: 0, count: 150 });
        assert_eq!(at(1000, 120), LayerBudget { drop: 20, grow: 0, count: 100 });
        // With an interval that does not divide the span, the last update there is ends it.
        let odd = Updates::new(&Method::PRUNING, UpdateSchedule { interval: 300, ..schedule }, 2000);
        let layer = LayerStatistics { target: 100, ..layer(1000, 500) };
        assert_eq!(layer.wanted(odd.at(800).unwrap().excess), 100);
    }

    #[test]
    fn a_density_that_decays_from_an_initial_one_follows_the_formula() {
        let schedule = UpdateSchedule { begin: 200, end: 1000, ..ScheduleDefaults::PAPER.for_steps(1000) };
        let updates = Updates::new(&Method::PRUNING, schedule, 1200);
        // s = .9 + (.5 − .9)(1 − x)³: .5 at 200, .9 − .4 · .421875 = .73125 at x = 1/4, .85 halfway, .9 at the end.
        for (step, count) in [(200, 500), (400, 269), (600, 150), (800, 107), (1000, 100)] {
            let layer = LayerStatistics { start: 500, target: 100, ..layer(1000, 500) };
            let update = updates.at(step).unwrap();
            let found = Method::PRUNING.budget(&update, &[layer], &mut MethodState::default())[0];
            assert_eq!((found.count, found.drop, found.grow), (count, 500 - count, 0), "{step}");
        }
        // A layer that has fewer already waits until it is its turn.
        let layer = LayerStatistics { start: 500, target: 100, ..layer(1000, 200) };
        let wanted = [200, 400, 600, 1000].map(|step| layer.wanted(updates.at(step).unwrap().excess));
        assert_eq!(wanted, [200, 200, 150, 100]);
    }

    #[test]
    fn a_decaying_density_with_growth_drops_both() {
        let granet = dynamic(UpdateRule::Prune { initial_sparsity: 0.0, grow: Some(GrowRule::GRADIENT) });
        let update = Update { excess: Some(0.125), ..replacing(0.5) };
        let layer = LayerStatistics { target: 100, ..layer(1000, 1000) };
        let found = budget(&granet, &update, &[layer])[0];
        assert_eq!(found, LayerBudget { drop: 1000 - 213 + 106, grow: 106, count: 213 });
    }

    #[test]
    fn parts_are_proportional_and_no_larger_than_the_room() {
        assert_eq!(spread(10, &[1.0, 1.0, 2.0], &[9, 9, 9]), [3, 2, 5]);
        assert_eq!(spread(10, &[1.0, 1.0, 2.0], &[9, 9, 1]), [5, 4, 1]);
        assert_eq!(spread(3, &[0.0, 0.0], &[2, 9]), [2, 1]);
        assert_eq!(spread(3, &[f64::NAN, 1.0], &[5, 1]), [2, 1]);
        assert_eq!(spread(30, &[1.0, 1.0], &[4, 5]), [4, 5]);
        assert_eq!(spread(0, &[], &[]), [0; 0]);
    }

    proptest! {
        #[test]
        fn parts_add_up(total in 0usize..5000, shares in proptest::collection::vec((0.0..9.0f64, 0usize..900), 1..12)) {
            let (shares, room): (Vec<f64>, Vec<usize>) = shares.into_iter().unzip();
            let parts = spread(total, &shares, &room);
            prop_assert!(parts.iter().zip(&room).all(|(part, room)| part <= room));
            prop_assert_eq!(parts.iter().sum::<usize>(), total.min(room.iter().sum()));
        }

        #[test]
        fn budgets_of_every_row_are_possible_and_keep_the_sum_unless_density_decays(
            layers in proptest::collection::vec((1usize..400, 0.0..1.0f64, 0.0..1.0f64, 0.0..5.0f64), 1..9),
            fraction in 0.0..=1.0f64,
            excess in 0.0..=1.0f64,
        ) {
            let layers: Vec<LayerStatistics> = layers.into_iter().map(|(positions, density, part, momentum)| {
                let active = ((positions as f64 * density) as usize).max(1);
                let some = (active as f64 * part) as usize;
                let (target, start) = (some.max(1), active.max(some));
                LayerStatistics { positions, active, start, target, below: some, crossed: some, momentum }
            }).collect();
            let momentum = by_momentum();
            for method in Method::ALL.iter().chain([&momentum]) {
                let update = Update { excess: method.prunes().then_some(excess), ..replacing(fraction) };
                let found = method.budget(&update, &layers, &mut MethodState::default());
                for (layer, LayerBudget { drop, grow, count }) in layers.iter().zip(&found) {
                    prop_assert!(*drop <= layer.active && *grow <= layer.positions - (layer.active - drop));
                    prop_assert_eq!(layer.active - drop + grow, *count);
                    prop_assert!(*count > 0);
                }
                if !method.prunes() {
                    let sum: usize = found.iter().map(|budget| budget.count).sum();
                    prop_assert_eq!(sum, layers.iter().map(|layer| layer.active).sum::<usize>());
                }
            }
        }
    }
}
