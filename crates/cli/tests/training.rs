//! `rigl train` and what can be asked about a run: that networks learn, and that results depend on the
//! configuration alone, not on threads, instruction sets or the way weights are stored.

mod support;

use std::path::{Path, PathBuf};

use rigl_formats::checkpoint;
use rigl_metrics::Status;
use rigl_train::{Config, presets};
use serde_json::Value;
use support::{Place, Said, checkpoints, events, history, summary};

/// What a linear classifier reaches on the drawn digits' test set, as the data set's documentation says.
const LINEAR: f64 = 0.88;

/// A short run on a small data set: `rigl train` with this and a folder.
const SHORT: &str = "train quickstart --data-dir data --set data.name=mnist --set data.batch=50 --set schedule.unit=steps \
    --set schedule.length=40 --set schedule.milestones=[30] --set log.every-steps=1 --set log.evaluate-every=4";

/// With methods that update.
const UPDATING: &str = "--set method.updates.interval=10";

fn place() -> Place {
    let place = Place::new();
    place.write_data(500, 200);
    place
}

/// Trains `SHORT` by RigL with further flags.
#[track_caller]
fn short(place: &Place, run: &str, flags: &str) -> PathBuf {
    short_by(place, run, &format!("{UPDATING} {flags}"))
}

/// Trains `SHORT` by the method that the flags name.
#[track_caller]
fn short_by(place: &Place, run: &str, flags: &str) -> PathBuf {
    place.run(&format!("{SHORT} --run-dir {run} {flags}")).succeeded();
    place.path(run)
}

#[test]
fn the_first_command_trains_sparse_and_dense_and_compares_them() {
    let place = Place::new();
    let said = place.run("train --set schedule.length=4 --set schedule.milestones=[3]").succeeded();
    let run = place.only_run();
    let name = run.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.ends_with("-quickstart-rigl-and-dense-sparsity.90-seed0"), "{name}");
    let [sparse, dense] = ["sparse", "dense"].map(|name| run.join(name));
    for run in [&sparse, &dense] {
        for file in ["config.toml", "metrics.jsonl", "summary.json"] {
            assert!(run.join(file).is_file(), "{} in {}", file, run.display());
        }
        assert_eq!(checkpoints(run).len(), 2);
    }
    let [sparse, dense] = [sparse, dense].map(|run| summary(&run));
    assert_eq!((sparse.method.as_str(), dense.method.as_str()), ("rigl", "dense"));
    assert_eq!((sparse.weights, dense.weights, dense.active), (266_200, 266_200, 266_200));
    // ERK at 90 %: each of three layers rounds on its own.
    assert!((26_620..26_623).contains(&sparse.active), "{}", sparse.active);
    assert!(sparse.explored > 0.11 && sparse.explored < 0.5, "{}", sparse.explored);
    let (a, b) = (sparse.accuracy.unwrap(), dense.accuracy.unwrap());
    assert!(a > LINEAR + 0.02 && b > LINEAR + 0.05 && b > a, "sparse {a}, dense {b}");

    let rows = ["test accuracy", "weights", "size of the model", "FLOPs of a prediction", "time of training"];
    for row in rows {
        assert!(said.out.lines().any(|line| line.starts_with(row)), "no `{row}` in {}", said.out);
    }
    assert!(said.out.contains("26,621") && said.out.contains("266,200"), "{}", said.out);
    assert!(said.err.contains(&format!("runs: runs/{name}")), "{}", said.err);
    assert!(!said.out.contains('\x1b') && !said.err.contains('\x1b'), "colours without a terminal");
}

#[test]
fn a_comparison_is_with_a_dense_network_whatever_method_the_sparse_one_has() {
    let place = Place::new();
    let method = "--set method.initial=saliency --set method.drop=magnitude --set method.grow=random";
    place.run(&format!("train --multiplier 0.02 --run-dir runs {method}")).succeeded();
    let [sparse, dense] = ["sparse", "dense"].map(|name| summary(&place.path(&format!("runs/{name}"))));
    assert!(sparse.active < sparse.weights / 9);
    assert_eq!(dense.active, dense.weights);
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_takes_no_more_threads_than_it_may_use_processors() {
    let place = place();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first = allowed.trim().split(['-', ',']).next().unwrap();
    let arguments = ["-c", first, env!("CARGO_BIN_EXE_rigl")].into_iter().chain(SHORT.split_whitespace());
    let said = Said::of(place.command_of("taskset", arguments.chain(["--run-dir", "one"]))).succeeded();
    let text = std::fs::read_to_string(place.path("one/config.toml")).unwrap();
    assert!(text.lines().next().unwrap().contains(", 1 thread,"), "{text}{}", said.err);
}

#[test]
fn results_are_printed_as_json() {
    let place = place();
    let said = place.run(&format!("{SHORT} --run-dir one --json -q")).succeeded();
    assert_eq!(said.err, "");
    let printed = said.json();
    assert_eq!(printed["run"], "one");
    let text = std::fs::read_to_string(place.path("one/summary.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    for (field, value) in written.as_object().unwrap() {
        assert_eq!(&printed[field], value, "{field}");
    }
    let both = SHORT.replace("quickstart ", "");
    let printed = place.run(&format!("{both} --run-dir both --json -q")).succeeded().json();
    assert_eq!((&printed["run"], &printed["dense"]["run"]), (&"both".into(), &"both/dense".into()));
    assert_eq!(printed["sparse"]["weights_crc32c"], written["weights_crc32c"]);
    assert_eq!(printed["dense"]["explored"], 1.0);
}

#[test]
fn the_resolved_configuration_repeats_the_run() {
    let place = place();
    let one = short(&place, "one", "--seed 3 --set method.layers.fc2=0.5 --multiplier 0.5");
    let again = place.run("train one/config.toml --run-dir again --data-dir data").succeeded();
    assert!(again.out.contains("test accuracy"), "{}", again.out);
    assert_eq!(summary(&one).weights_crc32c, summary(&place.path("again")).weights_crc32c);
    assert_eq!(history(&one), history(&place.path("again")));
    let text = |run: &str| {
        let text = std::fs::read_to_string(place.path(run).join("config.toml")).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(text("one"), text("again"));
    let other = short(&place, "other", "--seed 4 --set method.layers.fc2=0.5 --multiplier 0.5");
    assert_ne!(summary(&one).weights_crc32c, summary(&other).weights_crc32c);
}

#[test]
fn threads_change_no_bit() {
    let place = place();
    let runs = ["1", "2", "3"].map(|n| short(&place, n, &format!("--threads {n}")));
    for (run, threads) in runs.iter().zip(1..) {
        assert_eq!(events(run, &["run"])[0]["machine"]["threads"], threads);
        assert_eq!(summary(run).weights_crc32c, summary(&runs[0]).weights_crc32c, "{threads} threads");
        assert_eq!(history(run), history(&runs[0]), "{threads} threads");
    }
}

#[test]
fn instruction_sets_change_no_bit() {
    let place = place();
    let mut first = None;
    for isa in ["portable", "unfused", "avx2", "avx512"] {
        let line = format!("{SHORT} --run-dir {isa} --threads 1");
        let mut command = place.command(line.split_whitespace());
        command.env("RIGL_ISA", isa);
        let said = Said::of(command);
        if said.code == Some(2) && said.err.starts_with(&format!("error: `RIGL_ISA` is `{isa}`")) {
            println!("skipped: this machine has no {isa}");
            assert!(isa != "portable" && !place.path(isa).exists());
            continue;
        }
        said.succeeded();
        let run = place.path(isa);
        assert_eq!(events(&run, &["run"])[0]["machine"]["instruction_set"], isa);
        let found = (summary(&run).weights_crc32c, history(&run));
        assert_eq!(&found, first.get_or_insert(found.clone()), "{isa}");
    }
}

#[test]
fn sparse_arithmetic_is_that_of_masks_to_the_bit() {
    let place = place();
    let config = "--set schedule.length=300 --set schedule.milestones=[200] --set method.updates.interval=100 \
        --set log.patterns=1";
    let runs = ["sparse", "masked"].map(|kind| short(&place, kind, &format!("--compute {kind} {config}")));
    let storage = |run: &Path| events(run, &["network"])[0]["parameters"][0]["storage"].clone();
    assert_eq!(runs.each_ref().map(|run| storage(run)), ["sparse", "masked"]);
    let [sparse, masked] = runs.each_ref().map(|run| events(run, &["train", "evaluation", "update", "end"]));
    assert_eq!(sparse, masked);
    let count = |name: &str| sparse.iter().filter(|event| event["event"] == name).count();
    assert_eq!((count("train"), count("update")), (300, 3));
    assert_eq!(summary(&runs[0]).weights_crc32c, summary(&runs[1]).weights_crc32c);
    for step in [0, 100, 200, 300] {
        let pattern = |run: &PathBuf| {
            checkpoint::read(&run.join(format!("patterns/{step}.safetensors"))).unwrap().state
        };
        assert!(!pattern(&runs[0]).is_empty());
        assert!(pattern(&runs[0]) == pattern(&runs[1]), "step {step}");
    }
}

#[test]
fn every_method_trains_and_keeps_its_counts() {
    let place = place();
    for (method, updates, skipped) in [("dense", 0, 0), ("static", 0, 0), ("set", 3, 0), ("rigl", 3, 3)] {
        let half = if method == "dense" { "" } else { "--distribution uniform --sparsity 0.5" };
        let flags = format!("--method {method} {half}");
        let run = short_by(&place, method, &if updates > 0 { format!("{flags} {UPDATING}") } else { flags });
        let found = summary(&run);
        assert_eq!((found.steps, found.updates, found.draws), (40, updates, 40 + skipped), "{method}");
        let dense = method == "dense";
        assert_eq!(found.active, if dense { 266_200 } else { 133_100 }, "{method}");
        // What was active at the beginning, and what was tried later.
        assert_eq!(found.explored > 0.5001, updates > 0 || dense, "{method}: {}", found.explored);
        for update in events(&run, &["update"]) {
            for (parameter, active) in
                update["parameters"].as_array().unwrap().iter().zip([117_600, 15_000, 500])
            {
                assert_eq!(parameter["active"], active);
                assert_eq!(parameter["dropped"], parameter["grown"]);
            }
        }
        let losses = events(&run, &["train"]);
        let loss = |event: Option<&Value>| event.unwrap()["loss"].as_f64().unwrap();
        assert!(loss(losses.last()) < 0.8 * loss(losses.first()), "{method}");
    }
}

#[test]
fn micro_batches_add_up_to_the_same_step() {
    let place = place();
    let [one, parts] = [("one", 1), ("parts", 5)]
        .map(|(run, parts)| short(&place, run, &format!("--set data.micro-batches={parts}")));
    let losses = |run: &Path| -> Vec<f64> {
        events(run, &["train"]).iter().map(|event| event["loss"].as_f64().unwrap()).collect()
    };
    // The first loss, of the same weights on the same samples; sums in another order differ by their rounding.
    let (a, b) = (losses(&one), losses(&parts));
    assert!((a[0] - b[0]).abs() < 50.0 * f64::from(f32::EPSILON) * a[0], "{} {}", a[0], b[0]);
    // Later rounding has changed which weights grow, but both learn.
    assert_eq!(a.len(), b.len());
    assert!((a[39] - b[39]).abs() < 0.2 * a[39], "{} {}", a[39], b[39]);
    assert_eq!(summary(&one).active, summary(&parts).active);
}

#[test]
fn a_validation_split_keeps_the_best_network() {
    let place = place();
    let run = short(&place, "run", "--set data.validation=0.2");
    let evaluations = events(&run, &["evaluation"]);
    let validation = || evaluations.iter().filter(|event| event["split"] == "validation");
    assert!(validation().all(|event| event["samples"] == 100) && validation().count() > 1);
    let best = validation().map(|event| event["accuracy"].as_f64().unwrap()).fold(0.0, f64::max);
    let line = "eval run/checkpoints/best.safetensors --split validation --data-dir data --json";
    let found = place.run(line).succeeded().json();
    assert_eq!(found["accuracy"].as_f64(), Some(best));
    let first = validation().find(|event| event["accuracy"].as_f64() == Some(best)).unwrap();
    assert_eq!(first["step"], found["step"]);
    assert!(!short(&place, "without", "").join("checkpoints/best.safetensors").exists());
}

#[test]
fn the_loss_over_all_training_samples_is_told_once_in_the_end_and_changes_nothing_else() {
    let place = place();
    let (plain, run) = (short(&place, "plain", ""), short(&place, "run", "--set log.training-loss=true"));
    let of_training = |event: &&Value| event["split"] == "train";
    let evaluations = events(&run, &["evaluation"]);
    let found: Vec<&Value> = evaluations.iter().filter(of_training).collect();
    assert_eq!((found.len(), &found[0]["step"], &found[0]["samples"]), (1, &40.into(), &500.into()));
    assert!(found[0].get("best").is_none());
    let others: Vec<Value> = evaluations.iter().filter(|event| !of_training(event)).cloned().collect();
    assert_eq!(others, events(&plain, &["evaluation"]));
    let (told, untold) = (summary(&run), summary(&plain));
    assert_eq!(
        (told.train_loss, told.train_accuracy),
        (found[0]["loss"].as_f64(), found[0]["accuracy"].as_f64())
    );
    assert_eq!((untold.train_loss, untold.train_accuracy), (None, None));
    assert_eq!((told.weights_crc32c, told.loss), (untold.weights_crc32c, untold.loss));
    let line = "eval run --split train --data-dir data --json";
    assert_eq!(place.run(line).succeeded().json()["loss"].as_f64(), told.train_loss);
    let table = place.run("compare run plain --csv").succeeded().out;
    assert!(table.lines().next().unwrap().ends_with(",train_loss_mean,train_loss_sd"), "{table}");
    // A run that was killed before its summary was there tells of the test set, and adds nothing to its log.
    rigl_base::files::remove(&run.join("summary.json")).unwrap();
    let listed = place.run("runs run --json").succeeded().json();
    assert_eq!(listed["runs"][0]["accuracy"].as_f64(), told.accuracy);
    place.run("train --resume run --data-dir data").succeeded();
    assert_eq!(events(&run, &["evaluation"]), evaluations);
    assert_eq!(summary(&run).train_loss, told.train_loss);
}

#[test]
fn as_many_checkpoints_are_kept_as_asked_for() {
    let place = place();
    for keep in [1, 2, 5] {
        let flags = format!("--set checkpoint.keep={keep} --set checkpoint.every-seconds=0");
        let run = short(&place, &keep.to_string(), &flags);
        assert_eq!(checkpoints(&run).len(), keep);
    }
}

#[test]
fn a_trained_network_is_evaluated_from_its_checkpoint() {
    let place = place();
    let run = short(&place, "run", "");
    let expected = summary(&run);
    let found = place.run("eval run --data-dir data --json --threads 3").succeeded().json();
    assert_eq!(found["accuracy"].as_f64(), expected.accuracy);
    assert_eq!(found["loss"].as_f64(), Some(expected.loss));
    assert_eq!((&found["step"], &found["samples"]), (&40.into(), &200.into()));
    // The configuration is in the checkpoint, and nothing else is read.
    let file = checkpoints(&run).pop().unwrap();
    std::fs::copy(file, place.path("alone.safetensors")).unwrap();
    let said = place.run("eval alone.safetensors --data-dir data --split train").succeeded();
    assert!(said.out.starts_with("train") && said.out.contains("500"), "{}", said.out);
}

#[test]
fn a_dry_run_shows_what_would_be_trained_and_writes_nothing() {
    let place = place();
    let before = place.contents();
    let said = place.run(&format!("{SHORT} {UPDATING} --dry-run --run-dir run")).succeeded();
    assert!(said.out.contains("300×784") && said.out.contains("26,621"), "{}", said.out);
    assert!(said.out.contains(
        "500 training and 200 test samples, 40 steps of 50 samples (4 epochs), 3 topology updates, "
    ));
    assert_eq!(said.err, "");
    for (flags, updates) in [
        ("--set method.update-interval=100", "1 topology update"),
        ("--method static", "no topology updates"),
        ("--method set --set method.update-interval=13 --set method.update-end=40", "4 topology updates"),
    ] {
        let said = place.run(&format!("{SHORT} --dry-run {flags}")).succeeded();
        assert!(said.out.contains(&format!("(4 epochs), {updates}, ")), "{flags}: {}", said.out);
    }
    let found = place.run(&format!("{SHORT} {UPDATING} --dry-run --json")).succeeded().json();
    assert_eq!((&found["steps"], &found["method"]), (&40.into(), &"rigl".into()));
    assert_eq!(found["updates"], 3);
    assert_eq!(found["network"]["active"], 26_621);
    assert!(found["planned_bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(place.contents(), before);
}

#[test]
fn presets_are_listed_and_can_be_trained_from_as_files() {
    let place = place();
    let list = place.run("presets --json").succeeded().json();
    assert_eq!(list.as_array().unwrap().len(), presets::ALL.len());
    let said = place.run("presets").succeeded();
    assert!(presets::ALL.iter().all(|preset| said.out.contains(preset.name)), "{}", said.out);
    for preset in presets::ALL {
        for full in ["", "--full"] {
            let text = place.run(&format!("presets {} {full}", preset.name)).succeeded().out;
            let mut config = Config::from_text("a.toml", &text, &Default::default()).unwrap();
            config.preset = preset.name.into();
            let again = place.run(&format!("presets {} --full", preset.name)).succeeded().out;
            assert_eq!(config.to_toml_with_all_keys().trim(), again.trim(), "{} {full}", preset.name);
        }
    }
    let text = place.run("presets mnist-lenet").succeeded().out;
    place.write("my.toml", text);
    let line = "train my.toml --data-dir data --multiplier 0.01 --run-dir run";
    place.run(line).succeeded();
    let found = summary(&place.path("run"));
    assert_eq!((found.status, found.steps), (Status::Finished, 10));
}

#[test]
fn progress_is_told_on_standard_error_and_not_if_quiet() {
    let place = place();
    let said = place.run(&format!("{SHORT} --run-dir a")).succeeded();
    let line = said.err.lines().find(|line| line.starts_with("rigl  epoch 4/4  test accuracy ")).unwrap();
    assert!(line.contains("loss"), "{line}");
    assert!(said.err.ends_with("everything is in a\n"), "{}", said.err);
    let quiet = place.run(&format!("{SHORT} --run-dir b --quiet")).succeeded();
    assert_eq!(quiet.err, "");
    assert!(quiet.out.contains("test accuracy"), "{}", quiet.out);
    let colored = place.run(&format!("{SHORT} --run-dir a --color always"));
    assert!(colored.err.starts_with("\x1b[1;31merror:\x1b[0m "), "{}", colored.err);
}

#[test]
fn lenet_learns_mnist() {
    let Some(data) = std::env::var_os("RIGL_DATA_DIR") else {
        println!("skipped: RIGL_DATA_DIR is not set");
        return;
    };
    let place = Place::new();
    let line = "train mnist-lenet --multiplier 0.02 --run-dir run";
    let mut command = place.command(line.split_whitespace());
    command.env("RIGL_DATA_DIR", data);
    Said::of(command).succeeded();
    let found = summary(&place.path("run"));
    assert_eq!((found.steps, found.active), (2_400, 2_352 + 3_300 + 1_000));
    assert!(found.accuracy.unwrap() > 0.95, "{:?}", found.accuracy);
}

#[test]
fn a_loss_beyond_what_32_bit_numbers_tell_apart_is_diverged() {
    let place = place();
    // One step so large that logits are huge, and all of them finite.
    let settings = "--set schedule.length=1 --set schedule.milestones=[] --set schedule.learning-rate=1e6";
    let said = place.run(&format!("{SHORT} --run-dir run {settings}"));
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("error: the test loss after step 1 is "), "{}", said.err);
    assert!(said.err.contains(", beyond what 32-bit numbers tell apart"), "{}", said.err);
    let log = std::fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
    assert!(log.trim_end().lines().last().unwrap().contains("\"status\":\"diverged\""), "{log}");
    assert!(!place.path("run/summary.json").exists());
}
