//! What is odd about a run: what cannot be meant is refused, what may be is told in a line.

use rigl_base::counts::{plural, trunc_product};
use rigl_base::{Error, Result};
use rigl_topology::{OptimizerStep, Updates};

use crate::config::Limit;
use crate::design::Design;

/// Sparsities that differ by more are told apart: half a point.
pub(crate) const TELLING: f64 = 0.005;

/// By how much, as a share of it, a narrowed network may miss the size that it was to have without a word.
const NARROWED: f64 = 0.05;

/// Refuses points of updates that were asked for and leave no update in the run, and an early end before a network is as
/// sparse as it was asked for.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage), naming the key and where it was set.
pub(crate) fn refuse(design: &Design) -> Result<()> {
    let (config, steps) = (design.settings().config(), design.recipe().steps);
    if design.settings().patience.is_some() && design.method().prunes() {
        let error = Error::usage(format!(
            "`schedule.patience` is `{}`, but `{}` comes to its sparsity on the way, and an early end would leave it denser: \
             expected 0",
            config.schedule.patience,
            design.method().name
        ));
        return Err(config.blame("schedule.patience", error.hint("schedule.patience = 0")));
    }
    if !never_updates(design) {
        return Ok(());
    }
    let schedule = *design.updates().schedule();
    let points =
        [("method.updates.begin", "begin", schedule.begin), ("method.updates.end", "end", schedule.end)];
    let Some((key, what, step)) = points.into_iter().find(|(key, ..)| config.asks_for(key)) else {
        return Ok(());
    };
    let error = Error::usage(format!(
        "`{key}`: updates {what} at step {step} of {steps}, so that none falls into the run, expected one at least"
    ));
    Err(config.blame(key, error.hint(format!("{key} = \"auto\""))))
}

/// A line for each thing that is odd about the design.
pub(crate) fn of(design: &Design) -> Vec<String> {
    let lines = [sparsity(design), updates(design), rates(design), samples(design)];
    lines.into_iter().flatten().collect()
}

/// A line for a limit above what there is of the samples that it limits.
pub(crate) fn limit(key: &str, limit: Limit, found: usize) -> Option<String> {
    match limit {
        Limit::First(asked) if asked > found => {
            Some(format!("`{key}` is {asked}, but there are {found}: all are used"))
        }
        Limit::First(_) | Limit::All => None,
    }
}

/// Whether a method that updates finds no step of the run to do so.
fn never_updates(design: &Design) -> bool {
    !design.layers().is_empty() && design.method().updates() && design.updates().count() == 0
}

/// How sparse the network is, where that is not what was asked for.
fn sparsity(design: &Design) -> Vec<String> {
    let (method, asked) = (design.method(), design.settings().config().method.sparsity);
    if method.is_dense() {
        let narrowed =
            design.narrowed().filter(|of| of.found.abs_diff(of.wanted) as f64 > NARROWED * of.wanted as f64);
        let line = |of: crate::network::Narrowed| {
            format!(
                "the narrowed network has {} {}, where {} were asked for: no width comes nearer",
                of.found, of.to, of.wanted
            )
        };
        return narrowed.map(line).into_iter().collect();
    }
    let Some(found) = design.sparsity() else {
        return vec![format!("nothing is sparse, so that `{}` trains the dense network", method.name)];
    };
    if !design.spreads() || (found - asked).abs() <= TELLING {
        return Vec::new();
    }
    vec![format!(
        "the network {} {:.2} % sparse, of all its weights: `method.sparsity` = {asked} is of layers that may be sparse and \
         have no sparsity or pattern of their own",
        if method.prunes() { "becomes" } else { "is" },
        100.0 * found,
    )]
}

/// Updates that never come, that come too late, or that replace nothing.
fn updates(design: &Design) -> Vec<String> {
    let (updates, method, steps) = (design.updates(), design.method(), design.recipe().steps);
    if never_updates(design) {
        return vec![format!(
            "no topology update falls into the run of {steps} {}: the patterns stay as they begin",
            plural(steps, "step")
        )];
    }
    let mut lines = Vec::new();
    if after_the_last_step(updates, steps) {
        lines.push(
            "the last topology update comes after the last step: what it grows is not trained".to_string(),
        );
    }
    let first = updates.numbered(0);
    let by_share = method.rule().is_some_and(|_| method.drop_rule().by_fraction())
        && method.grow().is_some()
        && !method.prunes();
    if let Some(first) = first.filter(|_| by_share) {
        let most = design.layers().iter().map(|layer| trunc_product(layer.now, first.fraction)).max();
        if most == Some(0) {
            lines.push(format!(
                "topology updates replace nothing: a share of {} (`method.updates.drop-fraction`) is no weight of any layer",
                first.fraction
            ));
        }
    }
    lines
}

/// Whether an update follows the last step, of those that do not follow each step.
fn after_the_last_step(updates: &Updates, steps: u64) -> bool {
    let taken = |step| updates.needs(step, false).step == OptimizerStep::Taken;
    updates.interval() > 1 && updates.last().is_some_and(|last| last + 1 == steps && taken(last))
}

/// Points of the learning rate beyond the run.
fn rates(design: &Design) -> Vec<String> {
    let recipe = design.recipe();
    let (steps, all) = (recipe.steps, recipe.milestones.len() as u64);
    let beyond = recipe.milestones.iter().filter(|(step, _)| *step >= steps).count() as u64;
    let mut lines = Vec::new();
    if beyond > 0 {
        lines.push(format!(
            "{beyond} of {all} {} of `schedule.milestones` {} beyond the run of {steps} {}",
            plural(all, "point"),
            if beyond == 1 { "lies" } else { "lie" },
            plural(steps, "step")
        ));
    }
    if recipe.warmup >= steps && recipe.warmup > 0 {
        lines.push(format!(
            "`schedule.warmup` is of {} steps and the run of {steps}: the learning rate never is what \
             `schedule.learning-rate` says",
            recipe.warmup
        ));
    }
    lines
}

/// Steps and batches against samples.
fn samples(design: &Design) -> Vec<String> {
    let (settings, samples) = (design.settings(), design.data().samples);
    let mut lines = Vec::new();
    if design.recipe().steps == 1 {
        lines.push("the run is of one step".to_string());
    }
    if settings.batch() > samples {
        lines.push(format!(
            "a batch is of {} samples and there {} {samples}: each comes several times in every batch",
            settings.batch(),
            if samples == 1 { "is" } else { "are" }
        ));
    }
    lines
}
