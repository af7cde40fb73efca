//! `schedule.patience`: a run that comes to nothing better ends early, is finished, and is the same however it was interrupted.

mod support;

use rigl_base::files;
use serde_json::Value;
use support::{Place, checkpoints, events, same_run, summary};

/// A run of 40 steps, evaluated after every eighth.
const SHORT: &str = "train quickstart --data-dir data --threads 1 --set data.name=mnist --set data.batch=50 \
    --set data.validation=0.2 --set schedule.unit=steps --set schedule.length=40 --set schedule.milestones=[30] \
    --set log.every-steps=7 --set log.evaluate-every=1";

/// What never gets better: so small a rate changes no answer.
const IDLE: &str = "--method static --set schedule.learning-rate=1e-12";

fn place() -> Place {
    let place = Place::new();
    place.write_data(500, 200);
    place
}

/// The validation accuracies of a run, each with its step.
fn accuracies(place: &Place, run: &str) -> Vec<(u64, f64)> {
    let evaluations = events(&place.path(run), &["evaluation"]);
    let of = |event: &Value| Some((event["step"].as_u64()?, event["accuracy"].as_f64()?));
    evaluations.iter().filter(|event| event["split"] == "validation").filter_map(of).collect()
}

#[test]
fn a_run_ends_after_so_many_evaluations_without_a_better_accuracy() {
    let place = place();
    let said = place.run(&format!("{SHORT} {IDLE} --run-dir run --set schedule.patience=2")).succeeded();
    let why = "no better validation accuracy in 2 evaluations after that of step 8 (`schedule.patience`)";
    assert!(said.err.contains(&format!("ends at step 24 of 40: {why}")), "{}", said.err);
    let run = place.path("run");
    let found = summary(&run);
    assert_eq!((found.steps, found.draws, found.stopped_early), (24, 24, true));
    let end = events(&run, &["end"]);
    assert_eq!((&end[0]["status"], &end[0]["reason"]), (&"finished".into(), &why.into()));
    // The steps since the last record are told of too.
    let told: Vec<Value> = events(&run, &["train"]).iter().map(|event| event["step"].clone()).collect();
    assert_eq!(told, [7, 14, 21, 24]);
    // Finished it is for whoever reads it.
    let again = place.run("train --resume run --data-dir data").succeeded();
    assert!(again.err.contains("`run` is finished already"), "{}", again.err);
    let listed = place.run("runs run --json").succeeded().json();
    assert_eq!((&listed["runs"][0]["state"], &listed["runs"][0]["step"]), (&"finished".into(), &24.into()));
    place.run("eval run --data-dir data").succeeded();
    place.run("compare run").succeeded();
    let from = "--method static --set method.start.run=run --set method.start.values=trained";
    place.run(&format!("{SHORT} {from} --run-dir next")).succeeded();
}

#[test]
fn what_is_better_begins_the_count_anew_and_the_steps_are_those_of_the_whole_run() {
    let place = place();
    let often = "--set log.evaluate-every=0.25 --set method.updates.interval=10";
    place.run(&format!("{SHORT} {often} --run-dir whole")).succeeded();
    let whole = accuracies(&place, "whole");
    assert!(!summary(&place.path("whole")).stopped_early);
    for patience in [1, 3, 100] {
        let (mut best, mut waited, mut expected) = (-1.0, 0, 40);
        for &(step, accuracy) in &whole {
            (best, waited) = if accuracy > best { (accuracy, 0) } else { (best, waited + 1) };
            if waited == patience {
                expected = step;
                break;
            }
        }
        let run = format!("patience-{patience}");
        place.run(&format!("{SHORT} {often} --run-dir {run} --set schedule.patience={patience}")).succeeded();
        let found = summary(&place.path(&run));
        assert_eq!((found.steps, found.stopped_early), (expected, expected < 40), "{patience}");
        let until: Vec<_> = whole.iter().copied().filter(|(step, _)| *step <= expected).collect();
        assert_eq!(accuracies(&place, &run), until, "{patience}");
    }
}

#[test]
fn an_interrupted_run_ends_where_it_would_have() {
    let place = place();
    let keeping = "--set schedule.patience=2 --set checkpoint.every-seconds=0 --set checkpoint.keep=1000 \
        --set log.training-loss=true --method rigl --set method.updates.interval=5 --set log.patterns=1";
    let slow = "--set schedule.learning-rate=1e-12 --set method.updates.drop-fraction=0.001";
    for run in ["whole", "cut"] {
        place.run(&format!("{SHORT} {keeping} {slow} --run-dir {run}")).succeeded();
    }
    let cut = place.path("cut");
    let steps = summary(&cut).steps;
    assert!(steps < 40);
    // After each of its last checkpoints, the very last one included, as if a kill had come before anything else.
    for kept in (checkpoints(&cut).len() - 14..=checkpoints(&cut).len()).rev() {
        for path in checkpoints(&cut).split_off(kept) {
            files::remove(&path).unwrap();
        }
        files::remove(&cut.join("summary.json")).unwrap();
        place.run("train --resume cut --data-dir data --threads 1").succeeded();
        same_run(&cut, &place.path("whole"));
    }
}

#[test]
fn patience_is_refused_where_it_cannot_be_meant() {
    let place = place();
    let refused = |settings: &str, message: &str| {
        let said = place.run(&format!("{SHORT} --run-dir run --set schedule.patience=3 {settings}"));
        assert!(said.code == Some(2) && said.err.contains(message), "{settings}: {}", said.err);
        assert!(!place.path("run").exists());
    };
    let read = "`schedule.patience` does nothing: it is read where `data.validation` and `log.evaluate-every` are above 0";
    refused("--set data.validation=0", read);
    refused("--set log.evaluate-every=0", read);
    let denser = "`schedule.patience` is `3`, but `pruning` comes to its sparsity on the way";
    refused("--method pruning", denser);
    refused("--set schedule.patience=-1", "`schedule.patience` is `-1`, expected a whole number from 0");
}
