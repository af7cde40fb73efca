//! How long something takes, measured again and again.

use std::time::{Duration, Instant};

use rigl_base::Result;
use serde_json::{Value, json};

/// Minimum, median and maximum of seconds.
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
    pub(super) runs: usize,
}

impl Spread {
    /// Of calls of `run` for so many seconds, after a warm-up of a fifth of that; at least five.
    pub(super) fn of(seconds: f64, mut run: impl FnMut(u64) -> Result<Duration>) -> Result<Spread> {
        let mut n = 0;
        let mut until = |limit: f64, least: usize| -> Result<Vec<f64>> {
            let start = Instant::now();
            let mut times = Vec::new();
            while times.len() < least || start.elapsed().as_secs_f64() < limit {
                times.push(run(n)?.as_secs_f64());
                n += 1;
            }
            Ok(times)
        };
        until(seconds / 5.0, 2)?;
        let mut times = until(seconds, 5)?;
        times.sort_by(f64::total_cmp);
        let (min, max, runs) = (times[0], times[times.len() - 1], times.len());
        Ok(Spread { min, median: median(times), max, runs })
    }

    pub(super) fn value(&self) -> Value {
        json!({ "min_s": self.min, "median_s": self.median, "max_s": self.max, "runs": self.runs })
    }

    pub(super) fn cells(&self) -> Vec<String> {
        [self.median, self.min, self.max].iter().map(|s| format!("{:.4} ms", 1e3 * s)).collect()
    }
}

/// The number in the middle; NaN of none.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
