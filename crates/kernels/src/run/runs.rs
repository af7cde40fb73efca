//! How units of work become tasks.
//!
//! A pass is cut into *units* as small as makes sense on many threads. What is summed up, and in which order, follows
//! from shapes and samples, and no sum crosses a unit. Neighbouring units share what whoever computes them has to
//! prepare: rows that are staged, values that lie near. So a task is a *run* of them: long where threads are few, so that
//! nothing is prepared twice; a single unit where there are more threads than that. No result depends on it.

use std::ops::Range;

/// Units in runs of equal length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Runs {
    units: usize,
    length: usize,
}

impl Runs {
    /// Runs of up to `most` units, behind which nothing is shared any more, as long as costs least time on so many
    /// threads: `cost` says what a run of some length takes, with what it prepares. Neighbours in groups of `together`, of
    /// which `most` is a multiple, share the most: runs are multiples of so many, or divide them.
    pub(crate) fn new(
        units: usize,
        (most, together): (usize, usize),
        threads: usize,
        cost: impl Fn(usize) -> f64,
    ) -> Runs {
        let (most, together, threads) = (most.max(1), together.max(1), threads.max(1));
        if threads == 1 {
            return Runs { units, length: most };
        }
        // With about r runs one after the other on each thread. From some r on, runs of `most` leave little idle.
        const ROUNDS: usize = 8;
        let length = |r: usize| {
            let length = units.div_ceil(r.saturating_mul(threads)).max(1);
            match length > together {
                true => length.next_multiple_of(together),
                false => (length..=together).find(|&n| together.is_multiple_of(n)).unwrap_or(together),
            }
        };
        let time = |length: usize| {
            let rounds = units.div_ceil(length).div_ceil(threads);
            // Threads are never quite as fast as each other: some of a run goes by idle at the end.
            (rounds as f64 + 0.125) * cost(length)
        };
        let lengths = (1..=ROUNDS).map(length).filter(|&length| length <= most);
        let best = lengths.map(|length| (length, time(length))).min_by(|a, b| a.1.total_cmp(&b.1));
        Runs { units, length: best.map_or(most, |(length, _)| length) }
    }

    /// How many runs there are.
    pub(crate) fn tasks(&self) -> usize {
        self.units.div_ceil(self.length)
    }

    /// The units of one.
    pub(crate) fn units(&self, task: usize) -> Range<usize> {
        task * self.length..self.units.min((task + 1) * self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run's preparation costs half a unit.
    fn runs(units: usize, most: usize, together: usize, threads: usize) -> Runs {
        Runs::new(units, (most, together), threads, |length| length as f64 + 0.5)
    }

    #[test]
    fn every_unit_is_in_one_run_and_runs_are_not_longer_than_they_may_be() {
        for units in 0..200 {
            for most in [1, 2, 7, 16, 1000] {
                for threads in [1, 2, 3, 7, 96] {
                    let runs = runs(units, most, 1, threads);
                    let mut next = 0;
                    for task in 0..runs.tasks() {
                        let range = runs.units(task);
                        assert_eq!(range.start, next);
                        assert!(!range.is_empty() && range.len() <= most);
                        next = range.end;
                    }
                    assert_eq!(next, units);
                }
            }
        }
    }

    #[test]
    fn few_threads_take_long_runs_and_many_threads_find_work() {
        // Eight blocks of sixteen units: whole blocks on one or two threads.
        assert_eq!([1, 2].map(|threads| runs(128, 16, 1, threads).tasks()), [8; 2]);
        assert!(runs(128, 16, 1, 96).tasks() >= 64);
        assert_eq!(runs(96, 16, 1, 96).tasks(), 96);
        // Seven blocks on two threads: in halves rather than with half a block's time idle.
        assert!(runs(7 * 16, 16, 1, 2).tasks().is_multiple_of(2));
        // Where nothing is prepared, as many as make threads idle least.
        assert_eq!(Runs::new(256, (16, 2), 96, |length| length as f64).tasks(), 256);
        // In whole groups of four, or in halves or quarters.
        for threads in [1, 5, 17, 60, 96, 300] {
            let length = runs(16 * 28, 28, 4, threads).units(0).len();
            assert!(length.is_multiple_of(4) || [1, 2].contains(&length), "{length}");
        }
        // Pairs, unless single units halve the time.
        assert_eq!([1, 2, 4].map(|threads| runs(4, 2, 2, threads).tasks()), [2, 2, 4]);
    }
}
