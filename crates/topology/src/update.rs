//! One topology update of one layer: drop, grow, and the change of pattern that follows (RigL, algorithm 1).
//!
//! 1. [`LayerUpdate::begin`] drops the active weights of smallest score, |w| in most methods. Only active weights compete, a freshly
//!    grown 0 included, so an inactive position can never outrank one.
//! 2. Positions are grown among all that do not remain active, those just dropped included: by the largest |g| of
//!    a dense gradient, whole ([`LayerUpdate::grow_largest`]) or, where it is scored in pieces and never stored, as the
//!    best of the inactive positions ([`LayerUpdate::grow_among`]); or at random with [`LayerUpdate::grow_random`].
//! 3. [`LayerUpdate::finish`] gives the [`Change`]: the new pattern, and where each of its values and optimiser
//!    slots comes from. A weight dropped and regrown in one update keeps them; a weight that was inactive starts
//!    at 0 with its slots at 0.
//!
//! Ties and NaN: [`crate::select`].

use rigl_base::random::Stream;
use rigl_base::{Error, Result};

use crate::pattern::Pattern;
use crate::select::{Largest, smallest};
use crate::{sample, sorted};

/// What an update does to one layer's counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LayerBudget {
    /// Active weights to drop.
    pub drop: usize,
    /// Positions to grow, among those that do not remain active.
    pub grow: usize,
    /// Active weights afterwards: before − drop + grow.
    pub count: usize,
}

impl LayerBudget {
    /// `k` of `count` active weights are replaced; the count stays.
    pub fn replace(count: usize, k: usize) -> LayerBudget {
        LayerBudget { drop: k, grow: k, count }
    }
}

/// An update under way: the drop is decided, the growth is not.
///
/// It owns what it needs and borrows nothing, so weights may be lent elsewhere meanwhile.
#[derive(Clone, Debug)]
pub struct LayerUpdate {
    old: Pattern,
    /// Active before and after, sorted.
    kept: Vec<u32>,
    budget: LayerBudget,
}

impl LayerUpdate {
    /// Decides what is dropped from `pattern`: those whose scores, in the order of its indices, are smallest
    /// ([`DropRule::scores`](crate::DropRule::scores)).
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if lengths do not fit, or the budget's numbers contradict each
    /// other or the pattern.
    pub fn begin(pattern: &Pattern, scores: &[f32], budget: LayerBudget) -> Result<LayerUpdate> {
        let active = pattern.count();
        if scores.len() != active {
            let found = scores.len();
            return Err(Error::internal(format!("{found} scores for {active} active weights")));
        }
        let LayerBudget { drop, grow, count } = budget;
        let possible = drop <= active && grow <= pattern.len() - (active - drop);
        if !possible || count != active - drop + grow {
            let len = pattern.len();
            return Err(Error::internal(format!(
                "dropping {drop} and growing {grow} of {active} active in {len} positions cannot leave {count}"
            )));
        }
        let dropped = smallest(drop, pattern.indices(), scores.iter().copied());
        let kept = sorted::difference(pattern.indices(), &dropped);
        Ok(LayerUpdate { old: pattern.clone(), kept, budget })
    }

    /// The positions that remain active, sorted.
    pub fn kept(&self) -> &[u32] {
        &self.kept
    }

    /// What the update does to the counts.
    pub fn budget(&self) -> LayerBudget {
        self.budget
    }

    /// Positions to grow, those of largest magnitude among these scores of all positions, sorted.
    ///
    /// # Panics
    /// If there are more than `u32::MAX` positions, which a pattern excludes.
    pub fn grow_largest(&self, scores: &[f32]) -> Vec<u32> {
        let mut largest = Largest::new(self.budget.grow);
        largest.push_by(0, scores, &self.kept, f32::abs);
        largest.finish()
    }

    /// The same where the best of the positions that were inactive are known (as many as are to grow), and the scores
    /// of those that were active, in the order of the old pattern: the dropped ones compete with the others.
    pub fn grow_among(&self, mut inactive: Largest, active: impl IntoIterator<Item = f32>) -> Vec<u32> {
        let mut kept = self.kept.iter().copied().peekable();
        for (&index, score) in self.old.indices().iter().zip(active) {
            if kept.next_if_eq(&index).is_none() {
                inactive.push(index, &[score], &[]);
            }
        }
        inactive.finish()
    }

    /// Positions to grow, each eligible one with the same chance, sorted. Takes time and memory proportional to
    /// the active weights where they are few.
    pub fn grow_random(&self, stream: Stream) -> Vec<u32> {
        let eligible = self.old.len() - self.kept.len();
        let mut grown = sample::distinct(eligible, self.budget.grow, stream);
        sorted::unrank(&mut grown, &self.kept);
        grown
    }

    /// Completes the update with the positions to grow (sorted), from one of the functions above.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if they are not as many as the budget says (a part of the
    /// gradient was not pushed), not sorted, outside the weight or still active.
    pub fn finish(self, grown: &[u32]) -> Result<Change> {
        let (found, expected) = (grown.len(), self.budget.grow);
        if found != expected {
            return Err(Error::internal(format!("{found} positions grown, expected {expected}")));
        }
        sorted::check(self.old.len(), grown).map_err(|e| Error::internal("growth").caused_by(e))?;
        let indices = sorted::union(&self.kept, grown);
        if indices.len() != self.budget.count {
            return Err(Error::internal("a position was grown that is still active"));
        }
        let origin = origins(self.old.indices(), &indices);
        let carried = origin.iter().filter(|&&rank| rank != NEW).count();
        Ok(Change {
            pattern: Pattern::from_sorted(self.old.len(), indices),
            origin,
            old_count: self.old.count(),
            dropped: self.budget.drop,
            grown: self.budget.grow,
            regrown: carried - self.kept.len(),
        })
    }
}

/// Stands for "was not active" among ranks, all of which are below it.
const NEW: u32 = u32::MAX;

/// The rank in `old` of each position of `new`.
fn origins(old: &[u32], new: &[u32]) -> Vec<u32> {
    let mut rank = 0;
    new.iter()
        .map(|&position| {
            while old.get(rank).is_some_and(|&other| other < position) {
                rank += 1;
            }
            if old.get(rank) == Some(&position) { rank as u32 } else { NEW }
        })
        .collect()
}

/// What an update makes of a layer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    pattern: Pattern,
    /// The old rank of each new active position, or [`NEW`].
    origin: Vec<u32>,
    old_count: usize,
    dropped: usize,
    grown: usize,
    regrown: usize,
}

impl Change {
    /// The pattern from now on.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The pattern from now on, for whoever stores it.
    pub fn into_pattern(self) -> Pattern {
        self.pattern
    }

    /// For each active position, in order: where its value and slots lay before, or `None` for a position that
    /// was inactive and starts at 0.
    pub fn origins(&self) -> impl ExactSizeIterator<Item = Option<usize>> + '_ {
        self.origin.iter().map(|&rank| (rank != NEW).then_some(rank as usize))
    }

    /// Positions that were inactive before and are active now, sorted.
    pub fn fresh(&self) -> Vec<u32> {
        let positions = self.pattern.indices().iter().zip(&self.origin);
        positions.filter(|&(_, &rank)| rank == NEW).map(|(&position, _)| position).collect()
    }

    /// Active weights that were dropped, including those regrown at once.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Positions that were grown, including those just dropped.
    pub fn grown(&self) -> usize {
        self.grown
    }

    /// Weights dropped and grown again in this very update.
    pub fn regrown(&self) -> usize {
        self.regrown
    }

    /// Values or optimiser slots in the order of the new pattern, from those in the order of the old one.
    ///
    /// # Panics
    /// If there are not as many as there were active weights.
    pub fn carry(&self, old: &[f32]) -> Vec<f32> {
        assert_eq!(old.len(), self.old_count, "one value for each weight that was active");
        self.origins().map(|rank| rank.map_or(0.0, |rank| old[rank])).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rigl_base::random::Purpose;

    use super::*;
    use crate::slots::magnitudes;

    fn pattern(len: usize, indices: &[u32]) -> Pattern {
        Pattern::new(len, indices.to_vec()).unwrap()
    }

    fn begin(pattern: &Pattern, values: &[f32], k: usize) -> LayerUpdate {
        let budget = LayerBudget::replace(pattern.count(), k);
        LayerUpdate::begin(pattern, &magnitudes(values), budget).unwrap()
    }

    fn grow_by(update: LayerUpdate, gradient: &[f32]) -> Change {
        let grown = update.grow_largest(gradient);
        // The same where the inactive positions were scored on the way.
        let old = update.old.indices();
        let mut inactive = Largest::new(update.budget().grow);
        inactive.push_by(0, gradient, old, f32::abs);
        let active = old.iter().map(|&i| gradient[i as usize].abs());
        assert_eq!(update.grow_among(inactive, active), grown);
        update.finish(&grown).unwrap()
    }

    #[test]
    fn scores_below_zero_are_the_smallest() {
        let old = pattern(8, &[0, 2, 3, 5]);
        let begin = |k| LayerUpdate::begin(&old, &[0.5, -0.1, -2.0, 0.0], LayerBudget::replace(4, k));
        assert_eq!(begin(2).unwrap().kept(), [0, 5]);
        assert_eq!(begin(0).unwrap().kept(), [0, 2, 3, 5]);
    }

    #[test]
    fn the_smallest_weights_go_and_the_largest_gradients_come() {
        let old = pattern(8, &[0, 2, 3, 5, 7]);
        let update = begin(&old, &[0.5, -0.1, 2.0, -3.0, 0.2], 2);
        assert_eq!(update.kept(), [0, 3, 5]);
        // The largest gradients of all, at 3 and 5, are of weights that remain.
        let change = grow_by(update, &[0.0, -0.9, 0.3, 5.0, 0.1, -6.0, 0.8, 0.2]);
        assert_eq!(change.pattern().indices(), [0, 1, 3, 5, 6]);
        assert_eq!(change.carry(&[10.0, 11.0, 12.0, 13.0, 14.0]), [10.0, 0.0, 12.0, 13.0, 0.0]);
        assert_eq!((change.dropped(), change.grown(), change.regrown()), (2, 2, 0));
        assert_eq!(change.fresh(), [1, 6]);
    }

    #[test]
    fn a_weight_dropped_and_regrown_keeps_value_and_slots() {
        let old = pattern(6, &[1, 2, 4]);
        let update = begin(&old, &[0.1, 0.2, 0.9], 2);
        let change = grow_by(update, &[0.5, 0.0, -0.7, 0.0, 9.0, 0.1]);
        assert_eq!(change.pattern().indices(), [0, 2, 4]);
        assert_eq!(change.carry(&[0.1, 0.2, 0.9]), [0.0, 0.2, 0.9]);
        assert_eq!(change.origins().collect::<Vec<_>>(), [None, Some(1), Some(2)]);
        assert_eq!((change.dropped(), change.grown(), change.regrown()), (2, 2, 1));
        assert_eq!(change.fresh(), [0]);
    }

    #[test]
    fn of_equal_scores_the_lower_index_is_kept_and_is_grown() {
        let old = pattern(8, &[1, 3, 5, 7]);
        let update = begin(&old, &[-0.5, 0.5, 0.5, -0.5], 2);
        assert_eq!(update.kept(), [1, 3]);
        let change = grow_by(update, &[0.2, 9.0, -0.2, 9.0, 0.2, -0.2, 0.2, 0.2]);
        assert_eq!(change.pattern().indices(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_freshly_grown_zero_competes_and_no_inactive_position_outranks_it() {
        // All active weights are 0: exactly k of them go, those of the highest indices.
        let update = begin(&pattern(9, &[4, 6, 8]), &[0.0, -0.0, 0.0], 1);
        assert_eq!(update.kept(), [4, 6]);
        // A 0 is dropped before any other number.
        assert_eq!(begin(&pattern(9, &[4, 6, 8]), &[0.0, 1e-30, 1.0], 1).kept(), [6, 8]);
    }

    #[test]
    fn a_gradient_masked_by_the_old_pattern_would_grow_other_positions() {
        let old = pattern(6, &[0, 1, 2]);
        let gradient = [1.0, 0.5, 0.25, 0.0, 3.0, 2.0];
        let dense = grow_by(begin(&old, &[0.3, 0.2, 0.1], 2), &gradient);
        assert_eq!(dense.pattern().indices(), [0, 4, 5]);
        let masked: Vec<f32> =
            (0..).zip(gradient).map(|(i, g)| if old.contains(i) { g } else { 0.0 }).collect();
        let other = grow_by(begin(&old, &[0.3, 0.2, 0.1], 2), &masked);
        assert_eq!(other.pattern().indices(), [0, 1, 2]);
    }

    #[test]
    fn a_weight_that_is_nan_is_dropped_and_a_gradient_that_is_nan_is_not_grown() {
        let update = begin(&pattern(5, &[0, 1]), &[0.0, f32::NAN], 1);
        assert_eq!(update.kept(), [0]);
        let change = grow_by(update, &[0.0, 0.0, f32::NAN, 0.1, f32::NAN]);
        assert_eq!(change.pattern().indices(), [0, 3]);
    }

    #[test]
    fn scoring_works_in_threads_and_any_split_gives_the_same_change() {
        let stream = Stream::new(1, Purpose::Test, 0);
        let old = Pattern::random(5000, 500, stream).unwrap();
        let values: Vec<f32> = (0..500).map(|n| stream.uniform_at(n) - 0.5).collect();
        let gradient: Vec<f32> = (1000..6000).map(|n| (stream.uniform_at(n) * 50.0).floor()).collect();
        let whole = grow_by(begin(&old, &values, 150), &gradient);
        let update = begin(&old, &values, 150);
        let collectors: Vec<Largest> = std::thread::scope(|scope| {
            let task = |rows: std::ops::Range<usize>| {
                let (old, gradient) = (&old, &gradient);
                scope.spawn(move || {
                    let mut largest = Largest::new(150);
                    for start in rows.rev().step_by(100) {
                        let start = start + 1 - 100;
                        let piece = &gradient[start..start + 100];
                        largest.push_by(start as u32, piece, old.indices(), f32::abs);
                    }
                    largest
                })
            };
            let tasks = [task(0..1000), task(1000..4500), task(4500..5000)];
            tasks.into_iter().map(|task| task.join().unwrap()).collect()
        });
        let inactive = collectors.into_iter().reduce(Largest::merge).unwrap();
        let active = old.indices().iter().map(|&i| gradient[i as usize].abs());
        let grown = update.grow_among(inactive, active);
        assert_eq!(update.finish(&grown).unwrap(), whole);
        assert_eq!(whole.pattern().count(), 500);
    }

    #[test]
    fn random_growth_chooses_every_eligible_position_equally_often_and_no_other() {
        let update = begin(&pattern(8, &[0, 3, 4, 6]), &[1.0, 2.0, 3.0, 0.1], 1);
        let mut seen = [0u32; 8];
        for id in 0..5000 {
            for position in update.grow_random(Stream::new(0, Purpose::Test, id)) {
                seen[position as usize] += 1;
            }
        }
        // Eligible are 1, 2, 5, 7 and the dropped 6; 1000 expected in each, standard deviation 28.3.
        for (position, n) in seen.into_iter().enumerate() {
            let expected = if [0, 3, 4].contains(&position) { 0..1 } else { 850..1150 };
            assert!(expected.contains(&n), "{position}: {n}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let old = pattern(4, &[0, 1, 2]);
        let magnitude = |values: &[f32], drop, grow, count| {
            LayerUpdate::begin(&old, values, LayerBudget { drop, grow, count })
        };
        assert!(magnitude(&[1.0; 2], 1, 1, 3).is_err());
        assert!(magnitude(&[1.0; 3], 4, 4, 3).is_err());
        assert!(magnitude(&[1.0; 3], 1, 1, 2).is_err());
        assert!(magnitude(&[1.0; 3], 0, 2, 5).is_err());
        let update = magnitude(&[1.0; 3], 1, 1, 3).unwrap();
        for grown in [&[][..], &[0], &[4], &[2, 3]] {
            assert!(update.clone().finish(grown).is_err(), "{grown:?}");
        }
        assert!(update.finish(&[3]).is_ok());
    }

    #[test]
    fn an_update_may_change_the_count_where_its_budget_says_so() {
        let old = pattern(6, &[0, 1, 2, 3]);
        let budget = LayerBudget { drop: 3, grow: 1, count: 2 };
        let update = LayerUpdate::begin(&old, &[1.0, 4.0, 2.0, 3.0], budget).unwrap();
        let change = grow_by(update, &[0.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
        assert_eq!(change.pattern().indices(), [1, 5]);
    }

    #[test]
    fn ten_thousand_random_updates_keep_the_exact_count() {
        let mut draws = Stream::new(3, Purpose::Test, 0).draws();
        let mut old = Pattern::random(300, 40, Stream::new(3, Purpose::Test, 1)).unwrap();
        let mut values = vec![0.0f32; 40];
        for step in 0..10_000 {
            values.iter_mut().for_each(|w| *w += draws.normal() as f32);
            let update = begin(&old, &values, draws.below(41) as usize);
            let change = if step % 2 == 0 {
                let gradient: Vec<f32> = (0..300).map(|_| draws.normal() as f32).collect();
                grow_by(update, &gradient)
            } else {
                let grown = update.grow_random(Stream::new(3, Purpose::Growth, step));
                update.finish(&grown).unwrap()
            };
            values = change.carry(&values);
            old = Pattern::new(300, change.into_pattern().into_indices()).unwrap();
            assert_eq!((old.count(), values.len()), (40, 40), "step {step}");
        }
    }

    proptest! {
        #[test]
        fn an_update_equals_the_same_update_on_masks(
            weights in proptest::collection::vec(proptest::option::of(-3i8..4), 1..80),
            seed: u64,
            share in 0.0..=1.0f64,
        ) {
            let mut draws = Stream::new(seed, Purpose::Test, 0).draws();
            let gradient: Vec<f32> = weights.iter().map(|_| draws.below(9) as f32 - 4.0).collect();
            let active: Vec<u32> = (0..).zip(&weights).filter(|(_, w)| w.is_some()).map(|(i, _)| i).collect();
            let values: Vec<f32> = weights.iter().flatten().map(|&w| f32::from(w)).collect();
            let k = (active.len() as f64 * share) as usize;
            // On the whole tensor: sort, stably, what may go, and then what may come.
            let mut mask: Vec<bool> = weights.iter().map(Option::is_some).collect();
            let mut order = active.clone();
            order.sort_by_key(|&i| std::cmp::Reverse(weights[i as usize].unwrap().abs()));
            order[active.len() - k..].iter().for_each(|&i| mask[i as usize] = false);
            let mut eligible: Vec<usize> = (0..mask.len()).filter(|&i| !mask[i]).collect();
            eligible.sort_by(|&a, &b| gradient[b].abs().total_cmp(&gradient[a].abs()));
            eligible[..k].iter().for_each(|&i| mask[i] = true);

            let change = grow_by(begin(&pattern(weights.len(), &active), &values, k), &gradient);
            let expected: Vec<u32> = (0..).zip(&mask).filter(|(_, on)| **on).map(|(i, _)| i).collect();
            prop_assert_eq!(change.pattern().indices(), expected.as_slice());
            let carried: Vec<f32> = expected.iter().map(|&i| weights[i as usize].map_or(0.0, f32::from)).collect();
            prop_assert_eq!(change.carry(&values), carried);
        }
    }
}
