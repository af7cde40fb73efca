//! A configuration in steps: how long the run is, its learning rate at each step, when topology updates begin
//! and end, after which steps it is evaluated.
//!
//! Points in steps are `trunc(M·x)`, points in epochs `trunc(M·x·N/batch)`, with the multiplier M and N
//! training samples; the update interval ΔT stays as it is.

use rigl_base::{Error, Result, counts, math};
use rigl_topology::{UpdateSchedule, Updates};

use crate::config::{Shape, Unit, UpdateEnd};
use crate::settings::Settings;

/// The longest run, in steps: far beyond any, and its products fit 64 bits.
const MAX_STEPS: u64 = 1_000_000_000_000;

/// The numbers of a run that depend on its step.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Optimiser steps of the whole run, at least 1.
    pub steps: u64,
    /// Optimiser steps in one epoch: N / batch, not a whole number in general.
    pub steps_per_epoch: f64,
    /// When the topology is updated, and how much of it; only ΔT is not scaled by the multiplier.
    pub updates: Updates,
    /// Steps over which the learning rate rises from 0.
    pub warmup: u64,
    /// How the learning rate falls after the warm-up.
    pub shape: Shape,
    /// Steps from which the learning rate is divided, ascending, and by what; none but where it falls in steps.
    pub milestones: Vec<(u64, f64)>,
    /// Learning rate after the warm-up, before it falls.
    pub learning_rate: f64,
    /// Epochs from one evaluation to the next; 0 for the end alone.
    pub evaluate_every: f64,
}

impl Recipe {
    /// The recipe of these settings on `samples` training samples (what is left of them after the validation split).
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) without samples; [`Kind::Usage`](rigl_base::Kind::Usage) if the
    /// run is longer than 10¹² steps, if its updates would end before they begin, or if density would still decay
    /// when it is over.
    pub fn new(settings: &Settings, samples: usize) -> Result<Recipe> {
        if samples == 0 {
            return Err(Error::data("no training samples, expected at least 1"));
        }
        let (config, row) = (settings.config(), settings.method());
        let (schedule, method, scale) = (&config.schedule, &config.method, config.multiplier);
        let steps_per_epoch = samples as f64 / config.data.batch.max(1) as f64;
        let point = |x: f64| match schedule.unit {
            Unit::Steps => whole(scale * x),
            Unit::Epochs => whole(scale * x * samples as f64 / config.data.batch.max(1) as f64),
        };
        let steps = point(schedule.length).max(1);
        if steps > MAX_STEPS {
            let message = format!("`schedule.length` makes {steps} steps, expected at most {MAX_STEPS}");
            return Err(config.blame("schedule.length", Error::usage(message)));
        }
        let updates = &method.updates;
        let end = match updates.end {
            UpdateEnd::Auto => whole(steps as f64 * 0.75),
            UpdateEnd::Share(share) => whole(steps as f64 * share),
            UpdateEnd::Step(step) => whole(scale * step as f64),
        };
        let decays = row.prunes();
        let begin = match updates.begin {
            Some(step) => whole(scale * step as f64),
            None if decays => whole(steps as f64 * 0.2).min(end),
            None => 0,
        };
        // Steps that differ as they are written may be one step after the multiplier.
        let backwards = match (updates.begin, updates.end) {
            (Some(begin), UpdateEnd::Step(end)) => begin >= end,
            _ => begin > end,
        };
        if backwards {
            let message = format!(
                "`method.updates.begin` is step {begin} of {steps}, expected a step before {end}, where \
                 updates end"
            );
            return Err(config.blame("method.updates.begin", Error::usage(message)));
        }
        let drops = UpdateSchedule {
            interval: updates.interval.max(1),
            begin,
            end,
            drop_fraction: updates.drop_fraction,
            decay: updates.decay,
        };
        let updates = Updates::new(row, drops, steps);
        // Only the last update leaves as few weights as the sparsity says.
        if let Some(last) = updates.settled().filter(|&last| last >= steps) {
            let message = format!(
                "`method.updates.end` is step {end} of {steps}, whose last update at {last} would come after the run: \
                 expected at most {}",
                steps - 1
            );
            return Err(config.blame("method.updates.end", Error::usage(message)));
        }
        let divisors = schedule.divide_by.iter().copied();
        // One divisor serves all milestones; the configuration has checked that else there is one for each.
        let divisors = divisors.chain(std::iter::repeat(schedule.divide_by.first().copied().unwrap_or(1.0)));
        Ok(Recipe {
            steps,
            steps_per_epoch,
            updates,
            warmup: point(schedule.warmup),
            shape: schedule.shape,
            milestones: schedule.milestones.iter().map(|&x| point(x)).zip(divisors).collect(),
            learning_rate: schedule.learning_rate,
            evaluate_every: config.log.evaluate_every,
        })
    }

    /// Learning rate at `step`, counted from 0: rises linearly from 0 over the warm-up; then it is divided at
    /// each milestone, the milestone's own step included, or falls along a cosine, to 0 at the step after the last.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let rate = match self.shape {
            Shape::Steps => {
                let passed = self.milestones.iter().take_while(|(milestone, _)| *milestone <= step);
                passed.fold(self.learning_rate, |rate, (_, divisor)| rate / divisor)
            }
            Shape::Cosine => {
                let (from, to) = (self.warmup.min(self.steps), self.steps);
                let passed = step.clamp(from, to) - from;
                let share = passed as f64 / (to - from).max(1) as f64;
                self.learning_rate * (0.5 * (1.0 + math::cos(math::PI * share)))
            }
        };
        if step < self.warmup { rate * (step as f64 / self.warmup as f64) } else { rate }
    }

    /// Epochs that `steps` steps are.
    pub fn epochs(&self, steps: u64) -> f64 {
        steps as f64 / self.steps_per_epoch
    }

    /// Whether the run is evaluated when `done` steps are done: at its end, and whenever a multiple of
    /// `evaluate_every` epochs has just passed.
    pub fn evaluates_after(&self, done: u64) -> bool {
        if done >= self.steps {
            return true;
        }
        if self.evaluate_every <= 0.0 || done == 0 {
            return false;
        }
        let passed = |done: u64| whole(done as f64 / (self.evaluate_every * self.steps_per_epoch));
        passed(done) > passed(done - 1)
    }
}

/// `trunc(x)`; within 1e-9 (relative) of a whole number it is that number.
fn whole(x: f64) -> u64 {
    counts::trunc(x) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rigl_topology::Method;

    use super::*;
    use crate::config::arbitrary::configuration;
    use crate::config::{Base, Config, Known, Override, Sources};
    use crate::registry::Registry;

    fn recipe(base: Base, settings: &[&str], samples: usize) -> Result<Recipe> {
        let overrides: Vec<_> = settings.iter().map(|text| Override::parse("--set", text).unwrap()).collect();
        let config = Config::resolve(&Sources { base, overrides: &overrides }, &Known::default())?;
        Recipe::new(&Settings::new(config, &Registry::default())?, samples)
    }

    fn mnist(settings: &[&str]) -> Recipe {
        recipe(Base::Preset("mnist-lenet"), settings, 60_000).unwrap()
    }

    fn steps_of(recipe: &Recipe) -> Vec<u64> {
        recipe.milestones.iter().map(|(step, _)| *step).collect()
    }

    #[test]
    fn mnist_lenet_has_the_papers_numbers() {
        let recipe = mnist(&[]);
        assert_eq!(
            (recipe.steps, recipe.updates.schedule().begin, recipe.updates.schedule().end),
            (120_000, 0, 50_000)
        );
        assert_eq!(recipe.updates.schedule().interval, 100);
        assert_eq!(recipe.milestones, [(45_000, 3.0), (57_000, 3.0)]);
        assert_eq!(recipe.learning_rate(0), 0.2);
        assert_eq!(recipe.learning_rate(44_999), 0.2);
        assert_eq!(recipe.learning_rate(45_000), 0.2 / 3.0);
        assert_eq!(recipe.learning_rate(57_000), 0.2 / 3.0 / 3.0);
        assert_eq!(recipe.learning_rate(119_999), 0.2 / 3.0 / 3.0);
        assert_eq!(recipe.epochs(600), 1.0);
    }

    #[test]
    fn the_multiplier_scales_all_but_the_update_interval() {
        let recipe = mnist(&["multiplier=0.1"]);
        assert_eq!(
            (recipe.steps, recipe.updates.schedule().end, recipe.updates.schedule().interval),
            (12_000, 5_000, 100)
        );
        assert_eq!(steps_of(&recipe), [4_500, 5_700]);
        let recipe = mnist(&["multiplier=5"]);
        assert_eq!(
            (recipe.steps, recipe.updates.schedule().end, recipe.updates.schedule().interval),
            (600_000, 250_000, 100)
        );
        assert_eq!(steps_of(&recipe), [225_000, 285_000]);
    }

    #[test]
    fn a_cosine_falls_from_the_end_of_the_warm_up_to_nothing_behind_the_last_step() {
        let settings = [
            "schedule.unit=steps",
            "schedule.length=110",
            "schedule.warmup=10",
            "schedule.learning-rate=0.4",
        ];
        let cosine = [&settings[..], &["schedule.shape=cosine"]].concat();
        let recipe = mnist(&cosine);
        assert!(recipe.milestones.is_empty(), "those of the preset are of no use");
        let rates = [0, 5, 10, 35, 60, 109, 110].map(|step| recipe.learning_rate(step));
        let expected = [0.0, 0.2, 0.4, 0.2 + 0.2 * 0.5f64.sqrt(), 0.2, 0.4 * 2.467_198_171_342_1e-4, 0.0];
        for (found, expected) in rates.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{rates:?}");
        }
        let scaled = mnist(&[&cosine[..], &["multiplier=2"]].concat());
        assert_eq!(scaled.learning_rate(120), recipe.learning_rate(60));
        assert!(mnist(&["schedule.shape=cosine", "multiplier=1e-9"]).learning_rate(0).is_finite());
    }

    #[test]
    fn a_tiny_multiplier_leaves_one_step() {
        let recipe = mnist(&["multiplier=1e-9"]);
        assert_eq!((recipe.steps, recipe.updates.schedule().begin, recipe.updates.schedule().end), (1, 0, 0));
        assert_eq!(steps_of(&recipe), [0, 0]);
        assert!(recipe.learning_rate(0).is_finite());
        assert!(recipe.evaluates_after(1));
    }

    #[test]
    fn points_in_steps_are_truncated_once() {
        let settings =
            ["schedule.unit=steps", "schedule.length=97656", "schedule.milestones=[30000, 60000, 90000]"];
        let all = [&settings[..], &["schedule.divide-by=[5]", "multiplier=0.333", "method.update-begin=10"]]
            .concat();
        let recipe = recipe(Base::Default, &all, 50_000).unwrap();
        // 97,656 · .333 = 32,519.448; 30,000 · .333 = 9,990; three quarters of 32,519 are 24,389.25.
        assert_eq!(
            (recipe.steps, recipe.updates.schedule().begin, recipe.updates.schedule().end),
            (32_519, 3, 24_389)
        );
        assert_eq!(steps_of(&recipe), [9_990, 19_980, 29_970]);
    }

    #[test]
    fn points_in_epochs_count_batches_that_run_over_the_end() {
        let settings = ["data.batch=128", "schedule.length=250", "schedule.milestones=[1, 76.8]"];
        let recipe = recipe(Base::Default, &settings, 50_000).unwrap();
        // 250 · 50,000 / 128 = 97,656.25; 390.625; 76.8 · 390.625 = 30,000.
        assert_eq!((recipe.steps, recipe.updates.schedule().end), (97_656, 73_242));
        assert_eq!(steps_of(&recipe), [390, 30_000]);
    }

    #[test]
    fn the_learning_rate_rises_from_zero_over_the_warmup() {
        let settings =
            ["schedule.unit=steps", "schedule.length=100", "schedule.warmup=10", "schedule.learning-rate=2"];
        let recipe = recipe(Base::Default, &settings, 1000).unwrap();
        assert_eq!(
            [0, 1, 5, 9, 10, 11].map(|step| recipe.learning_rate(step)),
            [0.0, 0.2, 1.0, 1.8, 2.0, 2.0]
        );
    }

    #[test]
    fn milestones_have_a_divisor_each_where_a_list_says_so() {
        let settings =
            ["schedule.milestones=[1, 2, 3]", "schedule.divide-by=[2, 5, 10]", "schedule.learning-rate=100"];
        let recipe = recipe(Base::Default, &settings, 100).unwrap();
        assert_eq!([0, 1, 2, 3].map(|step| recipe.learning_rate(step)), [100.0, 50.0, 10.0, 1.0]);
    }

    #[test]
    fn evaluation_falls_on_multiples_of_epochs_and_on_the_end() {
        let after = |settings: &[&str], samples| {
            let recipe = recipe(Base::Default, settings, samples).unwrap();
            (0..=recipe.steps).filter(|&done| recipe.evaluates_after(done)).collect::<Vec<_>>()
        };
        // 2.5 steps an epoch, 10 steps: epochs end within steps 3, 5, 8, 10.
        let four = ["schedule.length=4", "data.batch=2"];
        assert_eq!(after(&[&four[..], &["log.evaluate-every=1"]].concat(), 5), [3, 5, 8, 10]);
        assert_eq!(after(&[&four[..], &["log.evaluate-every=3"]].concat(), 5), [8, 10]);
        assert_eq!(after(&[&four[..], &["log.evaluate-every=0"]].concat(), 5), [10]);
        assert_eq!(after(&["schedule.length=3", "data.batch=100"], 10), [1]);
    }

    #[test]
    fn updates_that_would_end_before_they_begin_are_refused() {
        let run = ["schedule.unit=steps", "schedule.length=100"];
        let with = |settings: &[&str]| recipe(Base::Default, &[&run[..], settings].concat(), 100);
        assert_eq!(
            with(&["method.update-begin=80"]).unwrap_err().to_string(),
            "`--set`: `method.updates.begin` is step 80 of 100, expected a step before 75, where updates end"
        );
        assert_eq!(
            with(&["method.update-begin=10", "method.update-end=10"]).unwrap_err().to_string(),
            "`--set`: `method.updates.begin` is step 10 of 100, expected a step before 10, where updates end"
        );
        // A multiplier may bring them together.
        let short = with(&["method.update-begin=10", "method.update-end=11", "multiplier=0.1"]).unwrap();
        assert_eq!((short.updates.schedule().end, short.updates.count()), (1, 0));
    }

    #[test]
    fn pruning_begins_by_itself_and_is_over_before_the_run() {
        let settings = |end| {
            [
                "schedule.unit=steps",
                "schedule.length=100",
                "method.name=pruning",
                "method.update-interval=10",
                end,
            ]
        };
        let recipe = |end| recipe(Base::Default, &settings(end), 100);
        let span = |end| {
            recipe(end)
                .map(|recipe| (recipe.updates.schedule().begin, recipe.updates.schedule().end))
                .unwrap()
        };
        assert_eq!(span("method.update-end=auto"), (20, 75));
        assert_eq!(span("method.update-end=5"), (5, 5));
        assert_eq!(span("method.update-end=99"), (20, 99));
        assert_eq!(
            recipe("method.update-end=100").unwrap_err().to_string(),
            "`--set`: `method.updates.end` is step 100 of 100, whose last update at 100 would come after the run: expected at most \
             99"
        );
    }

    #[test]
    fn no_samples_and_endless_runs_are_refused() {
        assert!(recipe(Base::Default, &[], 0).is_err());
        assert!(recipe(Base::Default, &["schedule.length=1e12"], 60_000).is_err());
    }

    proptest! {
        #[test]
        fn every_recipe_is_finite_and_in_order(config in configuration(), samples in 1..1_000_000usize) {
            let row = if config.method.updates.interval % 2 == 0 { Method::PRUNING } else { Method::RIGL };
            let settings = Settings::new(config.with_method(&row), &Registry::default()).unwrap();
            if let Ok(recipe) = Recipe::new(&settings, samples) {
                prop_assert!((1..=MAX_STEPS).contains(&recipe.steps));
                let schedule = recipe.updates.schedule();
                schedule.check().unwrap();
                prop_assert!(schedule.begin <= schedule.end);
                prop_assert!(recipe.updates.settled().is_none_or(|step| step < recipe.steps));
                prop_assert!(recipe.milestones.is_sorted_by_key(|(step, _)| *step));
                for step in [0, recipe.steps / 2, recipe.steps - 1] {
                    let rate = recipe.learning_rate(step);
                    prop_assert!(rate.is_finite() && rate <= recipe.learning_rate);
                }
                prop_assert!(recipe.evaluates_after(recipe.steps));
            }
        }
    }
}
