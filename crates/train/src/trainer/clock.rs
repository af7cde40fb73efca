//! What the trainer knows of time: for progress and records alone, no result depends on it.

use std::time::{Duration, Instant};

/// Monotonic time of this process, on top of what earlier ones spent.
pub(super) struct Clock {
    before_s: f64,
    started: Instant,
    pub(super) last_progress: Instant,
    pub(super) last_checkpoint: Instant,
    /// Since the last record of the log.
    pub(super) record: Pace,
    /// Since the first step of this process was done.
    pub(super) warm: Option<Pace>,
}

impl Clock {
    /// The clock of a process that goes on after `draw` batches.
    pub(super) fn new(before_s: f64, draw: u64) -> Clock {
        let now = Instant::now();
        Clock {
            before_s,
            started: now,
            last_progress: now,
            last_checkpoint: now,
            record: Pace::new(now, draw),
            warm: None,
        }
    }

    /// Leaves time in which nothing was trained out of every pace.
    pub(super) fn pause(&mut self, time: Duration) {
        self.record.pause(time);
        if let Some(warm) = &mut self.warm {
            warm.pause(time);
        }
    }

    pub(super) fn elapsed_s(&self) -> f64 {
        self.before_s + self.started.elapsed().as_secs_f64()
    }
}

/// How fast batches go by, from some moment on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    since: Instant,
    draw: u64,
}

impl Pace {
    /// From `now` on, after `draw` batches.
    pub(super) fn new(now: Instant, draw: u64) -> Pace {
        Pace { since: now, draw }
    }

    /// Leaves out time in which nothing was trained.
    fn pause(&mut self, time: Duration) {
        self.since += time;
    }

    /// Batches a second, of those up to `draw`.
    pub(super) fn batches_per_s(&self, now: Instant, draw: u64) -> f64 {
        draw.saturating_sub(self.draw) as f64 / now.saturating_duration_since(self.since).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_counts_the_batches_of_its_own_time_and_leaves_pauses_out() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut pace = Pace::new(begun, 100);
        assert_eq!(pace.batches_per_s(after(4), 120), 5.0);
        pace.pause(Duration::from_secs(6));
        assert_eq!(pace.batches_per_s(after(10), 140), 10.0);
    }
}
