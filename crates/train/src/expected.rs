//! What a checkpoint of a run must look like where it stands. A checksum tells that a file is whole, not that this program
//! wrote it: what follows from configuration and step is compared before a run goes on from it.

use std::collections::BTreeMap;
use std::fmt::Display;

use rigl_base::shown::clipped;
use rigl_base::{Error, Result};
use rigl_formats::{Checkpoint, Metadata};
use rigl_graph::Parameter;
use rigl_graph::account::Cost;
use rigl_graph::state::{self, Role, Tensor};
use rigl_topology::{Explored, LayerStatistics, Over, Pattern, Start as First, UpdateRule};

use crate::design::{Design, SparseLayer};
use crate::position::{Sums, TRAINING_FLOPS, Waiting, explored};

/// Forward passes of the dense network that a batch takes at most (three), and one more.
const MOST_PASSES: u128 = 4;

/// How far below 0 the loss of a sample may be rounded.
const ROUNDING: f64 = 1e-6;

/// Compares a checkpoint with what a run of this design, on samples of these classes, writes after so many steps.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data), naming the first thing that is different.
pub(crate) fn check(
    design: &Design,
    classes: &[String],
    inputs_text: &str,
    checkpoint: &Checkpoint,
) -> Result<()> {
    let Checkpoint { metadata, state } = checkpoint;
    state::check(design.graph(), state)?;
    let updates = counters(design, metadata)?;
    inputs(classes, inputs_text, metadata)?;
    tensors(design, metadata.step, state)?;
    let last = updates.checked_sub(1).and_then(|last| design.updates().numbered(last));
    let excess = last.map_or(design.updates().settled().map(|_| 1.0), |update| update.excess);
    for layer in design.layers() {
        patterns(design, layer, excess, updates, state)?;
    }
    let counts: Vec<Option<usize>> = {
        let count = |p: &Parameter| {
            state::find(state, &Role::Parameter, &p.name).and_then(|t| Some(t.indices.as_ref()?.len()))
        };
        design.graph().parameters().iter().map(count).collect()
    };
    let cost = Cost::of(design.graph(), &counts)?;
    let found = Sums::read(metadata, &cost)?;
    waited(&found, design.settings().patience, metadata.step)?;
    let is_over = metadata.step == design.recipe().steps || found.out_of(design.settings().patience);
    if found.training_evaluation.is_some() && !is_over {
        return Err(Error::data("`training-evaluation` is there before the run is over"));
    }
    sums(&found, metadata.draw, design.settings().batch(), &cost)?;
    remembered(design, updates, &found)
}

fn refused<T>(key: &str, found: &dyn Display, expected: &str) -> Result<T> {
    let found = found.to_string();
    Err(Error::data(format!("`{key}` is `{}`, expected {expected}", clipped(&found, 80))))
}

/// Step, batches and log; gives the number of updates that are done.
fn counters(design: &Design, metadata: &Metadata) -> Result<u64> {
    let Metadata { step, draw, updated, log_length, .. } = *metadata;
    let (steps, updates) = (design.recipe().steps, design.updates());
    if step > steps {
        return refused("step", &step, &format!("at most {steps}, the steps of the run"));
    }
    let Some(done) = updates.done(step, updated) else {
        return refused(
            "updated",
            &updated,
            &format!("`false`: at step {step} no update takes a batch of its own"),
        );
    };
    // Scores of the first patterns take a batch.
    let from_scores = design.settings().start_from.is_none() && !design.layers().is_empty();
    let scored = u64::from(from_scores && design.method().start() == Some(First::Saliency));
    let batches = updates.batches(step, done).saturating_add(scored);
    if draw != batches {
        return refused("draw", &draw, &format!("{batches}, the batches of {step} steps and {done} updates"));
    }
    if step > 0 && log_length == 0 {
        return refused("log-length", &log_length, &format!("more: by step {step} there is a log"));
    }
    Ok(done)
}

/// What the network is for.
fn inputs(classes: &[String], text: &str, metadata: &Metadata) -> Result<()> {
    if metadata.classes != classes {
        let found = metadata.classes.join(", ");
        return refused("class-names", &found, &format!("the {} of the data set", classes.len()));
    }
    match metadata.preprocessing == text {
        true => Ok(()),
        false => refused("input-preprocessing", &metadata.preprocessing, &format!("`{text}`")),
    }
}

/// Which tensors there are, and over what.
fn tensors(design: &Design, step: u64, state: &[Tensor<'_>]) -> Result<()> {
    let by_key: BTreeMap<String, &Tensor<'_>> = state.iter().map(|t| (t.key(), t)).collect();
    let mut expected = BTreeMap::new();
    let mut layers = design.layers().iter().peekable();
    let momentum = design.settings().optimizer.momentum != 0.0 && step > 0;
    for (number, p) in design.graph().parameters().iter().enumerate() {
        let sparse = layers.next_if(|layer| layer.parameter == number).is_some();
        let key = Role::Parameter.key(&p.name);
        let of_method = |slot: &str| Role::Method.key(&format!("{slot}/{}", p.name));
        let kept = sparse && design.method().keeps_inactive();
        match (momentum, kept) {
            (false, _) => {}
            (true, false) => {
                _ = expected.insert(Role::Slot("momentum".into()).key(&p.name), (p, Some(Over::Active)))
            }
            (true, true) => _ = expected.insert(of_method("kept-momentum"), (p, Some(Over::All))),
        }
        if sparse {
            expected.extend(design.method().slots().iter().map(|s| (of_method(s.name), (p, Some(s.over)))));
            let form = ["indices", "bits"].map(|form| of_method(&format!("explored-{form}")));
            let form = form.into_iter().find(|key| by_key.contains_key(key));
            expected.insert(form.unwrap_or_else(|| of_method("explored-indices")), (p, None));
        }
        if by_key.get(&key).is_some_and(|t| t.indices.is_some() != sparse) {
            let kind = if sparse { "sparse" } else { "dense" };
            return Err(Error::data(format!("`{key}` is not {kind}, as the configuration has it")));
        }
    }
    let named = |t: &&Tensor<'_>| !matches!(t.role, Role::Parameter | Role::Buffer);
    if let Some(t) = state.iter().filter(named).find(|t| !expected.contains_key(&t.key())) {
        return Err(Error::data(format!(
            "holds `{}`, which no such run has at step {step}",
            clipped(&t.key(), 80)
        )));
    }
    for (key, (p, over)) in &expected {
        let tensor = by_key.get(key).ok_or_else(|| Error::data(format!("`{key}` is missing")))?;
        let indices = by_key.get(&Role::Parameter.key(&p.name)).and_then(|of| of.indices.as_ref());
        let fits = match over {
            None => true,
            Some(Over::Active) => tensor.indices.as_ref() == indices && tensor.shape == p.shape,
            Some(Over::All) => tensor.indices.is_none() && tensor.shape == p.shape,
        };
        if !fits || (over.is_some() && tensor.values.as_f32().is_none()) {
            return Err(Error::data(format!("`{key}` and `{}` do not fit together", p.name)));
        }
    }
    Ok(())
}

/// How many weights of a layer are active, and what it explored.
fn patterns(
    design: &Design,
    layer: &SparseLayer,
    excess: Option<f64>,
    updates: u64,
    state: &[Tensor<'_>],
) -> Result<()> {
    let Some(p) = design.graph().parameters().get(layer.parameter) else { return Ok(()) };
    let of = |what: &str| format!("{what} of `{}`", p.name);
    let moves = matches!(design.method().rule(), Some(UpdateRule::Replace { redistribution: Some(_), .. }));
    // What another run had is not in this configuration.
    if design.settings().start_from.is_none() && !moves {
        let (positions, start, target) =
            (p.len(), layer.start, design.allocated(layer.parameter).unwrap_or(p.len()));
        let whole =
            LayerStatistics { positions, active: start, start, target, below: 0, crossed: 0, momentum: 0.0 };
        let wanted = whole.wanted(excess);
        if layer.now != wanted {
            return Err(Error::data(format!(
                "{} are {}, expected {wanted}",
                of("active weights"),
                layer.now
            )));
        }
    }
    let missing = || Error::data(format!("what `{}` explored is missing", p.name));
    let explored: Explored = explored(state, p)?.ok_or_else(missing)?;
    let tensor = state::find(state, &Role::Parameter, &p.name);
    let indices = tensor.and_then(|tensor| tensor.indices.as_deref()).unwrap_or_default();
    let pattern = Pattern::new(p.len(), indices.to_vec())?;
    let mut with_active = explored.clone();
    with_active.insert(&pattern)?;
    if with_active.count() != explored.count() {
        return Err(Error::data(format!("{} lacks weights that are active", of("what was explored"))));
    }
    let form = state::find(state, &Role::Method, &format!("explored-bits/{}", p.name)).is_some();
    if form != explored.as_bits().is_some() || (updates == 0 && explored.count() != pattern.count()) {
        return Err(Error::data(format!("{} is not what {updates} updates leave", of("what was explored"))));
    }
    Ok(())
}

/// Whether so many batches of so many samples can have come to these sums.
fn sums(found: &Sums, batches: u64, batch: usize, cost: &Cost) -> Result<()> {
    let most = |most: u128, of: &str| format!("at most {most}, {of}");
    let operations = u128::from(batches).saturating_mul(u128::from(cost.dense_flops) * MOST_PASSES);
    if found.training_flops > operations {
        let of = "what the batches of the run can have taken";
        return refused(TRAINING_FLOPS, &found.training_flops, &most(operations, of));
    }
    let samples = u128::from(batches) * batch as u128;
    if found.interval_samples as u128 > samples {
        return refused(
            "interval-samples",
            &found.interval_samples,
            &most(samples, "the samples of the run"),
        );
    }
    if found.interval_correct > found.interval_samples {
        let most = most(found.interval_samples as u128, "the samples of the interval");
        return refused("interval-correct", &found.interval_correct, &most);
    }
    // A loss that is no number may stand in a checkpoint of an earlier release, which told of it at the next record.
    if found.interval_loss < -ROUNDING * found.interval_samples as f64 {
        return refused("interval-loss", &found.interval_loss, "a number that is not negative");
    }
    // Halved often enough it is 0.
    if let Some(threshold) = found.threshold.filter(|x| !(x.is_finite() && *x >= 0.0)) {
        return refused("threshold", &threshold, "a finite number that is not negative");
    }
    let bests = [
        ("best-validation-accuracy", found.best_validation_accuracy),
        ("best-test-accuracy", found.best_test_accuracy),
    ];
    for (key, best) in bests {
        if let Some(best) = best.filter(|x| !(0.0..=1.0).contains(x)) {
            return refused(key, &best, "a number from 0 to 1");
        }
    }
    if let Some(seconds) = found.evaluation_seconds.filter(|x| !(x.is_finite() && *x >= 0.0)) {
        return refused("evaluation-seconds", &seconds, "a finite number that is not negative");
    }
    let (active, weights) = (cost.active as u64, cost.weights as u64);
    match found.most_active.filter(|most| !(active..=weights).contains(most)) {
        Some(most) => refused("most-active", &most, &format!("a number from {active} to {weights}")),
        None => Ok(()),
    }
}

/// How long a run that may end early, and no other, has come to nothing better.
fn waited(found: &Sums, patience: Option<u64>, step: u64) -> Result<()> {
    match (found.waiting, patience) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Error::data("`waiting` is missing, though the run may end early")),
        (Some(_), None) => Err(Error::data("`waiting` is there, but the run does not end early")),
        (Some(Waiting { evaluations, .. }), Some(patience)) if evaluations > patience => refused(
            "waiting",
            &evaluations,
            &format!("at most {patience} evaluations, as `schedule.patience` has it"),
        ),
        (Some(Waiting { best_step, .. }), Some(_)) if best_step > step => {
            refused("waiting", &best_step, &format!("a step up to {step}"))
        }
        (Some(_), Some(_)) => Ok(()),
    }
}

/// What the method remembers, and what the first values were.
fn remembered(design: &Design, updates: u64, found: &Sums) -> Result<()> {
    if found.updates != updates {
        return refused("updates", &found.updates, &format!("{updates}, those of the run so far"));
    }
    if design.settings().start_from.is_none() && found.began_with.is_some() {
        return Err(Error::data("`began-with` is there, but the run starts from no other"));
    }
    let Some(threshold) = found.threshold else { return Ok(()) };
    // It is doubled or halved at an update, or neither.
    let times = 2f64.powi(updates.min(2000) as i32);
    let start = design.method().state().threshold;
    match (start / times..=start * times).contains(&threshold) {
        true => Ok(()),
        false => {
            refused("threshold", &threshold, &format!("{start} doubled or halved {updates} times at most"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::tests::{cost, sums as some};

    #[test]
    fn only_a_run_that_may_end_early_waits_and_no_longer_than_it_says() {
        let with =
            |evaluations, best_step| Sums { waiting: Some(Waiting { evaluations, best_step }), ..some() };
        let none = Sums { waiting: None, ..some() };
        assert!(waited(&none, None, 9).is_ok() && waited(&with(2, 9), Some(2), 9).is_ok());
        for (sums, patience) in
            [(&none, Some(2)), (&with(0, 0), None), (&with(3, 0), Some(2)), (&with(0, 10), Some(2))]
        {
            let message = waited(sums, patience, 9).unwrap_err().to_string();
            assert!(message.starts_with("`waiting` is "), "{message}");
        }
    }

    #[test]
    fn sums_that_cannot_be_are_refused() {
        let most = u128::from(10 * 4 * cost().dense_flops);
        let good = Sums {
            training_flops: most,
            interval_correct: 30,
            interval_samples: 30,
            threshold: Some(0.0),
            best_validation_accuracy: Some(1.0),
            ..some()
        };
        let check = |found: &Sums| sums(found, 10, 3, &cost()).map_err(|error| error.to_string());
        check(&good).unwrap();
        check(&Sums::default()).unwrap();
        check(&Sums { interval_loss: f64::NAN, ..good.clone() }).unwrap();
        for (sums, key) in [
            (Sums { training_flops: most + 1, ..good.clone() }, "training-flops"),
            (Sums { training_flops: u128::MAX, ..good.clone() }, "training-flops"),
            (Sums { interval_samples: 31, ..good.clone() }, "interval-samples"),
            (Sums { interval_samples: usize::MAX, ..good.clone() }, "interval-samples"),
            (Sums { interval_correct: 31, ..good.clone() }, "interval-correct"),
            (Sums { interval_loss: -5.0, ..good.clone() }, "interval-loss"),
            (Sums { threshold: Some(f64::NAN), ..good.clone() }, "threshold"),
            (Sums { threshold: Some(f64::INFINITY), ..good.clone() }, "threshold"),
            (Sums { threshold: Some(-1.0), ..good.clone() }, "threshold"),
            (Sums { best_validation_accuracy: Some(1.5), ..good.clone() }, "best-validation-accuracy"),
            (Sums { best_test_accuracy: Some(f64::NAN), ..good.clone() }, "best-test-accuracy"),
            (Sums { evaluation_seconds: Some(-1.0), ..good.clone() }, "evaluation-seconds"),
            (Sums { most_active: Some(0), ..good.clone() }, "most-active"),
            (Sums { most_active: Some(u64::MAX), ..good.clone() }, "most-active"),
        ] {
            let message = check(&sums).unwrap_err();
            assert!(message.starts_with(&format!("`{key}` is `")), "{message}");
        }
    }
}
