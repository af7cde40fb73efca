//! The numbers that say when the topology is updated, and how much of it.

use rigl_base::{Error, Result};

use crate::names::Decay;

/// Updates fall at `begin` + i · `interval` while before `end`; each replaces a share of a layer's active
/// weights that shrinks from `drop_fraction` at `begin` towards `end` (RigL, §3, "Update schedule"). What follows from
/// these numbers in a run is its timeline, [`Updates`](crate::Updates).
///
/// Steps are optimiser steps. The official code also updates at `end` itself and never shifts the decay by
/// `begin`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateSchedule {
    /// ΔT: steps from one update to the next, at least 1.
    pub interval: u64,
    /// The step of the first update.
    pub begin: u64,
    /// T_end: updates fall before this step; none where it is not after `begin`.
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
    /// [`Kind::Usage`](rigl_base::Kind::Usage), naming the value.
    pub fn check(&self) -> Result<()> {
        if self.interval == 0 {
            return Err(Error::usage("`update-interval` is `0`, allowed is 1 or more").hint("100"));
        }
        let alpha = self.drop_fraction;
        if !(0.0..=1.0).contains(&alpha) {
            return Err(Error::usage(format!("`drop-fraction` is `{alpha}`, allowed is 0 to 1")).hint("0.3"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_make_no_sense_are_refused_by_their_key() {
        let schedule =
            UpdateSchedule { interval: 100, begin: 0, end: 1000, drop_fraction: 0.3, decay: Decay::Cosine };
        let bad = |change: fn(&mut UpdateSchedule), key: &str| {
            let mut schedule = schedule;
            change(&mut schedule);
            let error = schedule.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        schedule.check().unwrap();
        bad(|s| s.interval = 0, "`update-interval`");
        bad(|s| s.drop_fraction = 30.0, "`drop-fraction` is `30`");
        bad(|s| s.drop_fraction = f64::NAN, "`drop-fraction` is `NaN`");
        bad(|s| s.drop_fraction = -0.1, "`drop-fraction`");
    }
}
