//! What keys demand of each other.

use std::collections::HashSet;

use rigl_base::error::short;
use rigl_base::{Error, Result};
use rigl_topology::{LayerFilter, check_glob};

use super::Config;
use super::source::LAYERS;
use super::value::text;

/// Why keys do not go together.
#[derive(Debug)]
pub(super) struct Contradiction {
    /// The keys that take part: the one that was set last is to blame.
    pub(super) keys: &'static [&'static str],
    pub(super) error: Error,
}

impl Contradiction {
    pub(super) fn of(keys: &'static [&'static str], error: Error) -> Contradiction {
        Contradiction { keys, error }
    }
}

impl Config {
    /// Whether the keys fit together, and every value is one its key takes.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), naming the key, what it is and what is allowed.
    pub fn check(&self) -> Result<()> {
        for key in super::keys() {
            let Some(value) = (key.get)(self) else { continue };
            let found = short(&value.to_string());
            if (key.set)(&mut self.clone(), &value.into()).is_err() {
                return Err(Error::usage(format!("`{}` is `{found}`, expected {}", key.path, key.allowed)));
            }
        }
        self.check_options()?;
        self.check_together().map_err(|contradiction| contradiction.error)
    }

    /// As [`check`](Config::check) for what concerns several keys.
    pub(super) fn check_together(&self) -> Result<(), Contradiction> {
        let (schedule, method) = (&self.schedule, &self.method);
        if !self.data.batch.is_multiple_of(self.data.micro_batches) {
            let (batch, parts) = (self.data.batch, self.data.micro_batches);
            let below = (1..=parts.min(batch)).rev().find(|n| batch % n == 0).unwrap_or(1);
            let error = Error::usage(format!(
                "`data.micro-batches` is `{parts}`, expected a divisor of `data.batch`, which is `{batch}`"
            ));
            return Err(Contradiction::of(
                &["data.micro-batches", "data.batch"],
                error.hint(below.to_string()),
            ));
        }
        if self.optimizer.nesterov && self.optimizer.momentum == 0.0 {
            let error = Error::usage(
                "`optimizer.nesterov` is `true`, which needs `optimizer.momentum` > 0, but that is `0`",
            );
            let keys = &["optimizer.nesterov", "optimizer.momentum"];
            return Err(Contradiction::of(keys, error.hint("optimizer.nesterov = false")));
        }
        if let Some(pair) = schedule.milestones.windows(2).find(|pair| pair[0] >= pair[1]) {
            let mut sorted = schedule.milestones.clone();
            sorted.sort_by(f64::total_cmp);
            sorted.dedup();
            let found = short(&text(&schedule.milestones));
            let message = format!(
                "`schedule.milestones` is `{found}`, expected an ascending list, but `{}` is followed by `{}`",
                pair[0], pair[1]
            );
            let error = Error::usage(message).hint(text(&sorted));
            return Err(Contradiction::of(&["schedule.milestones"], error));
        }
        let (milestones, divisors) = (schedule.milestones.len(), schedule.divide_by.len());
        if milestones > 0 && divisors != 1 && divisors != milestones {
            let one = if milestones == 1 { String::new() } else { format!(" or {milestones}") };
            let found = short(&text(&schedule.divide_by));
            let message = format!(
                "`schedule.divide-by` is `{found}`, expected 1{one} numbers, since `schedule.milestones` has {milestones}"
            );
            let keys = &["schedule.divide-by", "schedule.milestones"];
            return Err(Contradiction::of(keys, Error::usage(message)));
        }
        // One divisor serves all milestones.
        let all = if divisors == 1 { milestones } else { 1 };
        let divisor = |product: f64, by: &f64| product * by.powi(i32::try_from(all).unwrap_or(i32::MAX));
        let last = schedule.learning_rate / schedule.divide_by.iter().fold(1.0, divisor);
        if milestones > 0 && !(last as f32).is_finite() {
            let error = Error::usage(format!(
                "`schedule.divide-by` is `{}`, with which the learning rate becomes {last:.1e}, expected one that 32 bits hold",
                short(&text(&schedule.divide_by))
            ));
            return Err(Contradiction::of(&["schedule.divide-by", "schedule.learning-rate"], error));
        }
        let mut globs = HashSet::new();
        for (glob, _) in &method.layers.0 {
            if !globs.insert(glob) {
                let error = Error::usage(format!("`{LAYERS}` has `{}` twice", short(glob)));
                return Err(Contradiction::of(&[LAYERS], error));
            }
            check_glob(glob).map_err(|e| Contradiction::of(&[LAYERS], e.context(format!("`{LAYERS}`"))))?;
        }
        if let LayerFilter::Globs(globs) = &method.filter {
            for glob in globs {
                check_glob(glob)
                    .map_err(|e| Contradiction::of(&["method.filter"], e.context("`method.filter`")))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Config)) -> (String, Option<String>) {
        let mut config = Config::default();
        change(&mut config);
        let error = config.check().unwrap_err();
        assert_eq!(error.kind(), rigl_base::Kind::Usage);
        (error.to_string(), error.hint_text().map(String::from))
    }

    #[test]
    fn keys_that_do_not_fit_together_are_refused() {
        let (text, hint) = refusal(|c| c.data.micro_batches = 7);
        assert_eq!(text, "`data.micro-batches` is `7`, expected a divisor of `data.batch`, which is `100`");
        assert_eq!(hint.as_deref(), Some("5"));

        let (text, _) = refusal(|c| c.optimizer.momentum = 0.0);
        assert_eq!(
            text,
            "`optimizer.nesterov` is `true`, which needs `optimizer.momentum` > 0, but that is `0`"
        );

        let (text, hint) = refusal(|c| c.schedule.milestones = vec![95.0, 75.0]);
        assert_eq!(
            text,
            "`schedule.milestones` is `[95, 75]`, expected an ascending list, but `95` is followed by `75`"
        );
        assert_eq!(hint.as_deref(), Some("[75, 95]"));

        let (text, _) = refusal(|c| {
            c.schedule.milestones = vec![1.0, 2.0, 3.0];
            c.schedule.divide_by = vec![10.0, 5.0];
        });
        assert_eq!(
            text,
            "`schedule.divide-by` is `[10, 5]`, expected 1 or 3 numbers, since `schedule.milestones` has 3"
        );

        let (text, _) = refusal(|c| {
            c.schedule.milestones = vec![1.0, 2.0];
            c.schedule.divide_by = vec![0.0001, 1e-37];
        });
        assert_eq!(
            text,
            format!(
                "`schedule.divide-by` is `[0.0001, 0.{}1]`, with which the learning rate becomes 1.0e40, expected one that 32 bits hold",
                "0".repeat(36)
            )
        );

        let (text, _) = refusal(|c| c.method.layers.0.push(("a[".into(), 0.5)));
        assert!(text.starts_with("`method.layers`: glob `a[` is wrong: "), "{text}");

        let (text, _) = refusal(|c| c.method.layers.0 = vec![("fc1".into(), 0.5), ("fc1".into(), 0.5)]);
        assert_eq!(text, "`method.layers` has `fc1` twice");

        let (text, _) = refusal(|c| c.method.filter = LayerFilter::Globs(vec!["{a".into()]));
        assert!(text.starts_with("`method.filter`: glob `{a` is wrong: "), "{text}");
    }

    #[test]
    fn a_field_outside_what_its_key_takes_is_refused() {
        let (text, _) = refusal(|c| c.method.sparsity = 1.0);
        assert_eq!(text, "`method.sparsity` is `1`, expected a number with 0 ≤ sparsity < 1");
        let (text, _) = refusal(|c| c.method.sparsity = f64::NAN);
        assert_eq!(text, "`method.sparsity` is `nan`, expected a number with 0 ≤ sparsity < 1");
        let (text, _) = refusal(|c| c.seeds.data = u64::MAX);
        assert!(
            text.starts_with("`seeds.data` is `\"18446744073709551615\"`, expected a whole number"),
            "{text}"
        );
    }

    #[test]
    fn one_divisor_serves_all_milestones() {
        let mut config = Config::default();
        config.schedule.milestones = vec![1.0, 2.0, 3.0];
        config.check().unwrap();
        config.schedule.divide_by = vec![2.0, 3.0, 4.0];
        config.check().unwrap();
    }
}
