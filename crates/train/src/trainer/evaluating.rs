//! Evaluations of a run: when the validation split and the test set are looked at, and what follows from it.

use std::sync::Arc;
use std::time::Instant;

use rigl_base::counts::counted;
use rigl_base::{Error, Result};
use rigl_data::Dataset;
use rigl_metrics::event;

use super::Trainer;
use crate::evaluate::evaluate;
use crate::position::Waiting;

/// Of logits as far apart as this loss says, 2²⁴, a 32-bit number does not tell two that differ by one: the network has
/// run away, though every number is finite.
const WORST_LOSS: f64 = (1 << 24) as f64;

impl Trainer<'_> {
    /// Evaluates on the validation split, if there is one, and on the test set.
    pub(super) fn evaluate(&mut self) -> Result<()> {
        let validation = self.sets.validation.clone();
        if let Some(set) = &validation {
            let best = self.position.sums.best_validation_accuracy;
            let evaluation = self.evaluate_on(set, "validation", Some(best))?;
            if evaluation.accuracy > best {
                self.position.sums.best_validation_accuracy = evaluation.accuracy;
                self.wait(|waiting, best_step| *waiting = Waiting { evaluations: 0, best_step });
                self.save_best()?;
            } else {
                self.wait(|waiting, _| waiting.evaluations += 1);
            }
        }
        let set = Arc::clone(&self.sets.test);
        // No choice is made by the test set where there are samples for choices.
        let best = self.position.sums.best_test_accuracy();
        let evaluation = self.evaluate_on(&set, "test", validation.is_none().then_some(best))?;
        self.position.sums.best_test_accuracy =
            if evaluation.accuracy > best { evaluation.accuracy } else { best };
        self.position.sums.evaluation = Some(evaluation);
        Ok(())
    }

    /// Notes at this step, of a run that may end early, how long it has come to no better accuracy.
    fn wait(&mut self, note: impl FnOnce(&mut Waiting, u64)) {
        let step = self.position.step;
        if let Some(waiting) = &mut self.position.sums.waiting {
            note(waiting, step);
        }
    }

    /// Whether all steps are done, or those before them have come to no better accuracy for long enough.
    pub(super) fn is_over(&self) -> bool {
        self.position.step >= self.design.recipe().steps || self.stops_early()
    }

    /// Whether the run ends before all its steps are done.
    pub(super) fn stops_early(&self) -> bool {
        self.position.step < self.design.recipe().steps
            && self.position.sums.out_of(self.design.settings().patience)
    }

    /// Why the run has ended, in words.
    pub(super) fn why_over(&self) -> String {
        match self.position.sums.waiting.filter(|_| self.stops_early()) {
            None => "all steps done".into(),
            Some(Waiting { evaluations, best_step }) => format!(
                "no better validation accuracy in {} after that of step {best_step} (`schedule.patience`)",
                counted(evaluations, "evaluation"),
            ),
        }
    }

    /// Evaluates on every sample that was trained on, as a test sample is: neither changed at random nor thinned by
    /// dropout.
    pub(super) fn evaluate_training(&mut self) -> Result<()> {
        let set = Arc::clone(&self.sets.train);
        self.position.sums.training_evaluation = Some(self.evaluate_on(&set, event::TRAIN_SPLIT, None)?);
        Ok(())
    }

    /// Evaluates on these samples; where choices are made by them, with the best accuracy before.
    fn evaluate_on(
        &mut self,
        set: &Arc<dyn Dataset>,
        split: &str,
        best: Option<Option<f64>>,
    ) -> Result<event::Evaluation> {
        let begun = Instant::now();
        let batch = self.design.settings().evaluation_batch();
        let outcome = evaluate(&mut self.stepper.session, set, &self.preprocessing, batch)?;
        let spent = begun.elapsed();
        self.recorder.clock.pause(spent);
        if let Some(seconds) = &mut self.position.sums.evaluation_seconds {
            *seconds += spent.as_secs_f64();
        }
        let accuracy = Some(outcome.accuracy());
        let evaluation = event::Evaluation {
            split: split.to_string(),
            loss: outcome.mean_loss(),
            accuracy,
            samples: outcome.samples as u64,
            best: best.map(|before| accuracy > before),
        };
        let step = self.position.step;
        if !outcome.loss.is_finite() {
            let what = format!("a number in the evaluation on the {split} set after step {step}");
            return Err(self.diverged(format!("{what} is not finite")));
        }
        self.record(evaluation.clone())?;
        if outcome.mean_loss() > WORST_LOSS {
            let loss = outcome.mean_loss();
            return Err(Error::diverged(format!(
                "the {split} loss after step {step} is {loss:.1e}, beyond what 32-bit numbers tell apart"
            ))
            .hint(self.slower()));
        }
        Ok(evaluation)
    }
}
