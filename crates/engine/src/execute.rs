//! Runs a plan: forward in its order, then backward as it was routed.

use std::time::Instant;

use rigl_base::Result;

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
    for back in &plan.backs {
        start(&mut run, back.pass);
        for &(gradient, target) in &back.gather {
            run.route(gradient, gradient.of.operand(), target)?;
        }
        plan.passes[back.pass].backward(&mut run, back)?;
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
    for (number, pass) in plan.passes.iter().enumerate() {
        start(run, number);
        pass.forward(run)?;
        run.lap(|times| &mut times.forward);
    }
    Ok(())
}

/// Lets the stopwatch, if there is one, run for a pass.
fn start(run: &mut Run<'_>, pass: usize) {
    if let Some(stopwatch) = &mut run.stopwatch {
        (stopwatch.pass, stopwatch.since) = (pass, Instant::now());
    }
}

fn outcome(run: &Run<'_>) -> Outcome {
    Outcome { loss: run.sums.loss, correct: run.sums.correct, samples: run.samples() }
}
