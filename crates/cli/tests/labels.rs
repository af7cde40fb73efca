//! What is shown of a run is what it is, not what was asked for.

mod support;

use std::path::Path;

use support::{Place, events, summary};

const SHORT: &str = "train quickstart --threads 1 --data-dir data --set data.name=mnist --set data.batch=50 \
    --set schedule.unit=steps --set schedule.length=8 --set schedule.milestones=[] --set log.evaluate-every=2";

/// Updates within so few steps.
const UPDATING: &str = "--set method.updates.interval=2";

fn place() -> Place {
    let place = Place::new();
    place.write_data(100, 50);
    place
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn folders_are_named_by_the_sparsity_that_the_network_has() {
    for (flags, ending) in [
        ("--method static", "-quickstart-static-sparsity.90-seed0"),
        ("--method dense", "-quickstart-dense-seed0"),
        ("--method small-dense", "-quickstart-small-dense-seed0"),
        ("--method static --set method.layers.fc1=0", "-quickstart-static-sparsity.1048-seed0"),
        ("--method static --sparsity 0", "-quickstart-static-seed0"),
    ] {
        let place = place();
        place.run(&format!("{SHORT} {flags}")).succeeded();
        assert!(name(&place.only_run()).ends_with(ending), "{flags}: {}", name(&place.only_run()));
    }
}

#[test]
fn inspect_and_tables_show_the_sparsity_that_the_network_has() {
    let place = place();
    place.run(&format!("{SHORT} --run-dir part --method static --set method.layers.fc1=0")).succeeded();
    place.run(&format!("{SHORT} --run-dir dense --method dense --seed 5")).succeeded();
    let part = place.run("inspect part").succeeded().out;
    assert!(part.contains(" static, erk, 10.48 % sparse"), "{part}");
    let found = place.run("inspect part --json").succeeded().json()["sparsity"].as_f64().unwrap();
    assert_eq!(found, summary(&place.path("part")).sparsity);
    let dense = place.run("inspect dense").succeeded().out;
    assert!(!dense.contains("sparse,") && !dense.contains("% sparse"), "{dense}");
    assert!(dense.lines().any(|line| line.starts_with("seed") && line.trim_end().ends_with(" 5")), "{dense}");
    let table = place.run("compare part").succeeded().out;
    assert!(table.contains("| 0.9 (is 0.105) "), "{table}");
    assert!(!place.run("compare dense").succeeded().out.contains("| 0.9 "));
}

#[test]
fn sentences_after_a_comparison_say_what_was_observed() {
    let both = SHORT.replace("quickstart ", "");
    for (flags, sentences) in [
        (
            UPDATING.to_string(),
            &[
                "the network of `rigl` never had more than 26,621 of its 266,200 weights, from the first step to the last.",
                "Over 3 topology updates it tried ",
            ][..],
        ),
        (
            "--method static".into(),
            &[
                "never had more than 26,621 of its",
                "They are those that it began with: no topology update fell into the run.",
            ],
        ),
        (
            format!("--method pruning {UPDATING}"),
            &["the network of `pruning` had up to 266,200 of its 266,200 weights, and ended with 26,621."],
        ),
        (
            "--method snip".into(),
            &["the network of `snip` had up to 266,200 of its 266,200 weights, and ended with 26,621."],
        ),
        ("--method small-dense".into(), &["weights of the network of `small-dense` were there."]),
    ] {
        let place = place();
        let said = place.run(&format!("{both} {flags} --run-dir both")).succeeded();
        for sentence in sentences {
            assert!(said.err.contains(sentence), "{flags}: {}", said.err);
        }
        assert!(!said.out.contains(" 0.00 % sparse"), "{}", said.out);
        let slower = said.out.lines().find(|line| line.starts_with("time of training")).unwrap();
        assert!(["faster", "slower", "the same"].iter().any(|word| slower.contains(word)), "{slower}");
        let ratio = slower
            .split_whitespace()
            .find_map(|word| word.strip_suffix('×'))
            .map(|x| x.parse::<f64>().unwrap());
        assert!(ratio.is_none_or(|ratio| ratio >= 1.0), "{slower}");
    }
}

#[test]
fn the_most_weights_at_once_and_the_time_of_evaluations_are_in_the_summary() {
    let place = place();
    place.run(&format!("{SHORT} --run-dir run --method pruning {UPDATING}")).succeeded();
    let found = summary(&place.path("run"));
    assert_eq!((found.most_active, found.active), (Some(266_200), 26_621));
    let evaluations = found.evaluation_seconds.unwrap();
    assert!(evaluations > 0.0 && found.seconds > 0.0, "{} {evaluations}", found.seconds);
    let rate = (found.draws * 50) as f64 / found.seconds;
    assert!((found.samples_per_s / rate - 1.0).abs() < 1e-9);
}

#[test]
fn the_best_so_far_is_of_the_samples_that_choices_are_made_by() {
    let place = place();
    let best = |run: &str| -> Vec<(String, Option<bool>)> {
        let all = events(&place.path(run), &["evaluation"]);
        all.iter()
            .map(|event| (event["split"].as_str().unwrap().to_string(), event["best"].as_bool()))
            .collect()
    };
    let line = format!("{SHORT} --set data.validation=0.2 --run-dir");
    place.run(&format!("{line} split")).succeeded();
    let split = best("split");
    assert_eq!(split[..2], [("validation".to_string(), Some(true)), ("test".to_string(), None)]);
    assert!(split.iter().all(|(split, best)| best.is_some() == (split == "validation")), "{split:?}");
    place.run(&format!("{SHORT} --run-dir whole")).succeeded();
    let whole = best("whole");
    assert!(whole.iter().all(|(split, best)| split == "test" && best.is_some()), "{whole:?}");
    // Whether a later one is the best is told from the accuracies before it.
    let evaluations = events(&place.path("whole"), &["evaluation"]);
    let accuracies: Vec<f64> = evaluations.iter().map(|event| event["accuracy"].as_f64().unwrap()).collect();
    for (i, (_, best)) in whole.iter().enumerate() {
        let before = accuracies[..i].iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(*best, Some(accuracies[i] > before), "{i}: {accuracies:?}");
    }
}
