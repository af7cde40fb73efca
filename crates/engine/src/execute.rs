//! Runs a plan: forward in its order, then backward as it was routed.

use std::time::Instant;

use rigl_base::Result;

use crate::non_finite::NonFinite;
use crate::plan::Plan;
use crate::request::Outcome;
use crate::run::Run;

/// Forward and backward over a part of a step's batch.
///
/// # Errors
/// If a label is out of range, or a worker panicked.
pub(crate) fn accumulate(plan: &Plan, mut run: Run<'_>) -> Result<Outcome> {
    run.draw_masks()?;
    forward(plan, &mut run)?;
    if !run.sums.loss.is_finite() {
        run.met.get_or_insert(NonFinite::Loss);
    }
    for back in &plan.backs {
        start(&mut run, back.pass);
        for &(gradient, target) in &back.gather {
            run.route(gradient, gradient.of.operand(), target)?;
        }
        plan.passes[back.pass].backward(&mut run, back)?;
        look(plan, &mut run, back.pass, NonFinite::Backward);
        // Where nothing before it wants a gradient, all its time is that of its parameters.
        let wanted = back.targets.iter().any(Option::is_some);
        run.lap(|times| if wanted { &mut times.data } else { &mut times.weights });
    }
    Ok(outcome(&run))
}

/// Forward alone, with running statistics.
///
/// # Errors
/// If a label is out of range, or a worker panicked.
pub(crate) fn evaluate(plan: &Plan, mut run: Run<'_>) -> Result<Outcome> {
    for norm in run.norms.iter_mut() {
        norm.settle(run.parameters)?;
    }
    forward(plan, &mut run)?;
    Ok(outcome(&run))
}

fn forward(plan: &Plan, run: &mut Run<'_>) -> Result<()> {
    // What was met before was in another pass.
    run.machine.met_non_finite();
    if !run.batch.finite {
        run.met.get_or_insert(NonFinite::Batch);
    }
    for (number, pass) in plan.passes.iter().enumerate() {
        start(run, number);
        pass.forward(run)?;
        look(plan, run, number, NonFinite::Forward);
        run.lap(|times| &mut times.forward);
    }
    Ok(())
}

/// Notes the first pass that met a number that is not finite, by the name of its layer or, without weights, its kind.
fn look(plan: &Plan, run: &mut Run<'_>, pass: usize, place: impl Fn(String) -> NonFinite) {
    if !run.machine.met_non_finite() || run.met.is_some() {
        return;
    }
    let pass = &plan.passes[pass];
    let name = match pass.weight().map(|weight| run.parameters[weight].name()) {
        Some(weight) => weight.strip_suffix(".weight").unwrap_or(weight),
        None => pass.name(),
    };
    *run.met = Some(place(name.to_string()));
}

/// Lets the stopwatch, if there is one, run for a pass.
fn start(run: &mut Run<'_>, pass: usize) {
    if let Some(stopwatch) = &mut run.stopwatch {
        (stopwatch.pass, stopwatch.since) = (pass, Instant::now());
    }
}

fn outcome(run: &Run<'_>) -> Outcome {
    let loss = if run.met.is_none() { run.sums.loss } else { f64::NAN };
    Outcome { loss, correct: run.sums.correct, samples: run.samples() }
}
