//! When the topology is updated, and how much of it.

use rigl_base::{Error, Result, math};

use crate::names::Decay;

/// Updates fall at `begin` + i · `interval` while before `end`; each replaces a share of a layer's active
/// weights that shrinks from `drop_fraction` at `begin` towards `end` (RigL, §3, "Update schedule").
///
/// Steps are optimiser steps. The official code also updates at `end` itself and never shifts the decay by
/// `begin`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateSchedule {
    /// ΔT: steps from one update to the next, at least 1.
    pub interval: u64,
    /// The step of the first update.
    pub begin: u64,
    /// T_end: updates fall before this step.
    pub end: u64,
    /// α: the share of active weights replaced at `begin`, in [0, 1].
    pub drop_fraction: f64,
    /// How the share shrinks.
    pub decay: Decay,
}

impl UpdateSchedule {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), naming the configuration key.
    pub fn check(&self) -> Result<()> {
        if self.interval == 0 {
            return Err(Error::usage("`update-interval` is `0`, allowed is 1 or more").hint("100"));
        }
        if self.end < self.begin {
            let (begin, end) = (self.begin, self.end);
            return Err(Error::usage(format!("`update-end` is `{end}`, before `update-begin` = `{begin}`")));
        }
        let alpha = self.drop_fraction;
        if !(0.0..=1.0).contains(&alpha) {
            return Err(Error::usage(format!("`drop-fraction` is `{alpha}`, allowed is 0 to 1")).hint("0.3"));
        }
        Ok(())
    }

    /// Whether an update is due at `step`.
    pub fn due(&self, step: u64) -> bool {
        (self.begin..self.end).contains(&step) && (step - self.begin).is_multiple_of(self.interval.max(1))
    }

    /// The step of the last update, if there is any.
    pub fn last(&self) -> Option<u64> {
        let span = self.end.checked_sub(self.begin)?.checked_sub(1)?;
        Some(self.begin + span - span % self.interval.max(1))
    }

    /// Whether an update is due at `step` where `end` itself counts too, as it does for gradual pruning.
    pub fn due_with_end(&self, step: u64) -> bool {
        (self.begin..=self.end).contains(&step) && (step - self.begin).is_multiple_of(self.interval.max(1))
    }

    /// The last step of [`due_with_end`](UpdateSchedule::due_with_end).
    pub fn last_with_end(&self) -> u64 {
        let span = self.end.saturating_sub(self.begin);
        self.begin + span - span % self.interval.max(1)
    }

    /// The share of active weights that an update at `step` replaces: with x = (step − begin)/(end − begin),
    /// α/2 · (1 + cos πx), α, α(1 − x) or α(1 − x)³. 0 outside begin ≤ step < end.
    pub fn fraction(&self, step: u64) -> f64 {
        if !(self.begin..self.end).contains(&step) {
            return 0.0;
        }
        let x = (step - self.begin) as f64 / (self.end - self.begin) as f64;
        let left = 1.0 - x;
        self.drop_fraction
            * match self.decay {
                Decay::Cosine => 0.5 * (1.0 + math::cos(math::PI * x)),
                Decay::Constant => 1.0,
                Decay::Linear => left,
                Decay::Cubic => left * left * left,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_update_lies_before_the_end_or_at_it() {
        let schedule = |begin, end| UpdateSchedule { begin, end, ..schedule(Decay::Cosine) };
        for (begin, end, last, with_end) in
            [(0, 1000, Some(900), 1000), (50, 1000, Some(950), 950), (7, 8, Some(7), 7), (7, 7, None, 7)]
        {
            let schedule = schedule(begin, end);
            assert_eq!((schedule.last(), schedule.last_with_end()), (last, with_end));
            let due = (0..2000).rev().find(|&step| schedule.due(step));
            assert_eq!(due, last);
            assert_eq!((0..2000).rev().find(|&step| schedule.due_with_end(step)), Some(with_end));
        }
    }

    fn schedule(decay: Decay) -> UpdateSchedule {
        UpdateSchedule { interval: 100, begin: 0, end: 1000, drop_fraction: 0.3, decay }
    }

    #[test]
    fn updates_fall_at_begin_and_every_interval_before_the_end() {
        let shifted = UpdateSchedule { begin: 50, end: 350, ..schedule(Decay::Cosine) };
        let due: Vec<u64> = (0..500).filter(|&step| shifted.due(step)).collect();
        assert_eq!(due, [50, 150, 250]);
        assert!(schedule(Decay::Cosine).due(0));
        assert!(!schedule(Decay::Cosine).due(1000));
        let never = UpdateSchedule { end: 0, ..schedule(Decay::Cosine) };
        assert!((0..200).all(|step| !never.due(step) && never.fraction(step) == 0.0));
    }

    #[test]
    fn the_fraction_follows_its_decay() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
        for decay in Decay::ALL {
            close(schedule(*decay).fraction(0), 0.3);
        }
        close(schedule(Decay::Cosine).fraction(500), 0.15);
        close(schedule(Decay::Cosine).fraction(250), 0.15 * (1.0 + std::f64::consts::FRAC_1_SQRT_2));
        close(schedule(Decay::Constant).fraction(900), 0.3);
        close(schedule(Decay::Linear).fraction(900), 0.03);
        close(schedule(Decay::Cubic).fraction(500), 0.0375);
    }

    #[test]
    fn the_decay_runs_from_begin() {
        let shifted = UpdateSchedule { begin: 1000, end: 3000, ..schedule(Decay::Linear) };
        assert_eq!(shifted.fraction(1000), 0.3);
        assert_eq!(shifted.fraction(2000), 0.15);
        assert_eq!((shifted.fraction(999), shifted.fraction(3000)), (0.0, 0.0));
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_their_key() {
        let bad = |change: fn(&mut UpdateSchedule), key: &str| {
            let mut schedule = schedule(Decay::Cosine);
            change(&mut schedule);
            let error = schedule.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        schedule(Decay::Cosine).check().unwrap();
        bad(|s| s.interval = 0, "`update-interval`");
        bad(|s| (s.begin, s.end) = (5, 4), "`update-end`");
        bad(|s| s.drop_fraction = 30.0, "`drop-fraction` is `30`");
        bad(|s| s.drop_fraction = f64::NAN, "`drop-fraction` is `NaN`");
        bad(|s| s.drop_fraction = -0.1, "`drop-fraction`");
    }
}
