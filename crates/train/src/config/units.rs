//! A point of the schedule is meant in the unit of whoever said it: taken in another it would be another point.

use rigl_base::Error;
use rigl_base::error::short;

use super::check::Contradiction;
use super::value::text;
use super::{Config, Shape, Unit};

const UNIT: &str = "schedule.unit";
const LENGTH: &str = "schedule.length";
const WARMUP: &str = "schedule.warmup";
const MILESTONES: &str = "schedule.milestones";

/// The unit in which each point was said last.
pub(super) struct Units([(&'static [&'static str], Unit); 3]);

impl Units {
    /// Those of the defaults.
    pub(super) fn new(unit: Unit) -> Units {
        Units([(&[UNIT, LENGTH], unit), (&[UNIT, WARMUP], unit), (&[UNIT, MILESTONES], unit)])
    }

    /// Notes that a source has set keys, after which the unit is this one.
    pub(super) fn note(&mut self, set: impl Fn(&str) -> bool, unit: Unit) {
        for (keys, of) in &mut self.0 {
            if keys[1..].iter().any(|key| set(key)) {
                *of = unit;
            }
        }
    }

    /// Refuses a point that was said in another unit than the one it would be taken in.
    pub(super) fn check(&self, config: &Config) -> Result<(), Contradiction> {
        let schedule = &config.schedule;
        for &(keys, of) in &self.0 {
            let (value, is_none, none) = match keys[1] {
                LENGTH => (text(&schedule.length), false, None),
                WARMUP => (text(&schedule.warmup), schedule.warmup == 0.0, Some("0")),
                _ => {
                    let read = schedule.shape == Shape::Steps && !schedule.milestones.is_empty();
                    (text(&schedule.milestones), !read, Some("[]"))
                }
            };
            if of == schedule.unit || is_none {
                continue;
            }
            let (key, unit) = (keys[1], schedule.unit);
            let error = Error::usage(format!(
                "`{UNIT}` is `{unit}`, but `{key}` is `{}` in {of}, expected it in {unit} too",
                short(&value)
            ));
            let error = match none {
                Some(none) => error.hint(format!("{key} = {none}")),
                None => error,
            };
            return Err(Contradiction::of(keys, error));
        }
        Ok(())
    }
}
