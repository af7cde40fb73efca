//! A run goes on with the data that it began with, wherever they lie now, and with no others unasked.

mod support;

use std::path::Path;

use rigl_base::files;
use serde_json::Value;
use support::{Place, Said};

const CONFIG: &str = "\
[data]
name = 'mnist'
batch = 20
[schedule]
unit = 'steps'
length = 40
[log]
every-steps = 20
evaluate-every = 0
[checkpoint]
every-seconds = 0
keep = 100
";

/// A finished run in `run` on the data in `data`, taken back to its checkpoint of step 20.
fn stopped() -> Place {
    let place = Place::new();
    place.write_data(100, 40);
    place.write("run.toml", CONFIG);
    place.run("train run.toml --run-dir run --data-dir data --threads 1").succeeded();
    back(&place, "run");
    place
}

/// Takes a run back to its checkpoint of step 20.
fn back(place: &Place, run: &str) {
    for entry in std::fs::read_dir(place.path(run).join("checkpoints")).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_str().unwrap().contains("step-000000020-") && path.extension().is_some() {
            files::remove(&path).unwrap();
        }
    }
    let _ = files::remove(&place.path(run).join("summary.json"));
}

fn summary(place: &Place, run: &str) -> Value {
    serde_json::from_slice(&std::fs::read(place.path(run).join("summary.json")).unwrap()).unwrap()
}

fn events(place: &Place, run: &str, name: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(place.path(run).join("metrics.jsonl")).unwrap();
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event"] == name).collect()
}

#[allow(clippy::disallowed_methods, reason = "what a user does by hand")]
fn rename(place: &Place, from: &str, to: &str) {
    std::fs::rename(place.path(from), place.path(to)).unwrap();
}

#[track_caller]
fn refused(said: &Said, parts: &[&str]) {
    assert_eq!(said.code, Some(2), "{}", said.err);
    for part in parts {
        assert!(said.err.contains(part), "`{part}` is not in {}", said.err);
    }
}

#[test]
fn log_summary_and_configuration_tell_the_data() {
    let place = Place::new();
    place.write_data(100, 40);
    place.write("run.toml", CONFIG);
    place.run("train run.toml --run-dir run --data-dir data --threads 1").succeeded();
    let data = summary(&place, "run")["data"].clone();
    let folder = place.path("data").canonicalize().unwrap();
    let named = Path::new(data["folder"].as_str().unwrap());
    assert!(named.is_absolute() && named.canonicalize().unwrap() == folder, "{data}");
    assert_eq!((&data["train_samples"], &data["test_samples"]), (&100.into(), &40.into()));
    assert_eq!((&data["published"], data["fingerprint"].as_str().unwrap().len()), (&false.into(), 17));
    assert_eq!(events(&place, "run", "run")[0]["data"], data);
    // Training with its configuration needs no flag.
    place.run("train run/config.toml --run-dir again --threads 1").succeeded();
    assert_eq!(summary(&place, "again")["data"], data);
    // Of other samples it is another one, also of samples that the program draws.
    place.run("train run.toml --run-dir drawn --set data.name=drawn-digits --threads 1").succeeded();
    let drawn = summary(&place, "drawn")["data"].clone();
    assert_eq!((&drawn["folder"], &drawn["published"]), (&Value::Null, &Value::Null));
    assert_eq!(drawn["fingerprint"], "3b08759c-60116252");
}

#[test]
fn a_run_goes_on_where_its_data_were_and_needs_no_flag() {
    let place = stopped();
    place.run("train --resume run --threads 1").succeeded();
    let first = summary(&place, "run")["weights_crc32c"].clone();
    let (resume, data) = (&events(&place, "run", "resume")[0], summary(&place, "run")["data"].clone());
    assert_eq!((&resume["data"], &resume["warnings"]), (&data, &Value::Array(Vec::new())));
    // They were moved: to where the flag says, or into the machine's folder.
    for (to, flag) in [("elsewhere", " --data-dir elsewhere"), ("cache/rigl", "")] {
        let from = if to == "elsewhere" { "data" } else { "elsewhere" };
        files::create_folder(&place.path("cache")).unwrap();
        rename(&place, from, to);
        back(&place, "run");
        let said = place.run(&format!("train --resume run --threads 1{flag}")).succeeded();
        assert_eq!(said.err.contains("and is read from `"), flag.is_empty(), "{}", said.err);
        assert_eq!(summary(&place, "run")["weights_crc32c"], first);
    }
    // Evaluation finds them likewise.
    let said = place.run("eval run --json").succeeded();
    assert_eq!(said.json()["same_data"], true);
}

#[test]
fn other_data_are_refused_unless_they_are_accepted() {
    let place = stopped();
    rename(&place, "data", "first");
    place.write_data(60, 40);
    let recorded = "the run was trained on `mnist` of 100 + 40 samples, fingerprint";
    let line = "train --resume run --threads 1";
    for flag in ["", " --data-dir data"] {
        let said = place.run(&format!("{line}{flag}"));
        refused(&said, &["other data: ", recorded, "and there are 60 + 40 samples", "--accept-data"]);
    }
    // The machine's folder has the right ones, where others lie now.
    files::create_folder(&place.path("cache")).unwrap();
    std::os::unix::fs::symlink(place.path("first"), place.path("cache/rigl")).unwrap();
    place.run(line).succeeded();
    back(&place, "run");
    let said = place.run("eval run --data-dir data").succeeded();
    assert!(said.err.contains("these are other data than it was trained on: 60 + 40"), "{}", said.err);
    let said = place.run(&format!("{line} --data-dir data --accept-data")).succeeded();
    assert!(said.err.contains("warning: other data were accepted: the run was"), "{}", said.err);
    let warnings = events(&place, "run", "resume").last().unwrap()["warnings"].to_string();
    assert!(warnings.contains("other data were accepted"), "{warnings}");
    assert_eq!(summary(&place, "run")["data"]["train_samples"], 60);
    refused(&place.run("train --accept-data"), &["--resume"]);
}

#[test]
fn own_data_are_said_to_be_such() {
    let place = Place::new();
    place.write_data(100, 40);
    place.write("run.toml", CONFIG);
    let said = place.run("train run.toml --data-dir data --dry-run").succeeded();
    let text = "on `mnist` (own data, not the published): 100 training and 40 test samples";
    assert!(said.out.contains(text), "{}", said.out);
    let state = |flag: &str| {
        let said = place.run(&format!("data --data-dir data --json{flag}"));
        let sets = said.json();
        let set = sets.as_array().unwrap().iter().find(|set| set["name"] == "mnist").unwrap();
        (said.code, set["state"].as_str().unwrap().to_string(), set["checked"].clone())
    };
    assert_eq!(state(""), (Some(0), "not as published".into(), Value::Null));
    assert_eq!(state(" --verify"), (Some(0), "own data".into(), "every sample".into()));
    let said = place.run("data --data-dir data --verify").succeeded();
    assert!(said.out.contains("own data: 100 and 40 samples  every sample"), "{}", said.out);
    place.write("data/train-labels-idx1-ubyte", b"no labels");
    assert_eq!(state(" --verify"), (Some(1), "damaged".into(), "every sample".into()));
    let said = place.run("data --data-dir data --verify");
    assert!(said.err.contains("`mnist` cannot be trained on: `"), "{}", said.err);
}

#[test]
fn images_of_any_size_and_classes_beyond_ten_are_trained_on() {
    let place = Place::new();
    let images = |count: u32| {
        let head = [2052, count, 3, 12, 9].map(u32::to_be_bytes).concat();
        [head, (0..count * 324).map(|i| (i * 7 / 5) as u8).collect()].concat()
    };
    let labels = |count: u32| {
        let head = [2049, count].map(u32::to_be_bytes).concat();
        [head, (0..count).map(|i| (i % 13) as u8).collect()].concat()
    };
    for (part, count) in [("train", 40), ("t10k", 20)] {
        place.write(&format!("data/{part}-images-idx3-ubyte"), images(count));
        place.write(&format!("data/{part}-labels-idx1-ubyte"), labels(count));
    }
    place.write("run.toml", CONFIG);
    let line = "train run.toml --run-dir run --data-dir data --threads 1 --set data.mean=[0.1,0.2,0.3]";
    place.run(line).succeeded();
    let network = events(&place, "run", "network").remove(0);
    let shape = |name: &str| {
        let layers = network["parameters"].as_array().unwrap();
        layers.iter().find(|layer| layer["name"] == name).unwrap()["shape"].to_string()
    };
    assert_eq!((shape("fc1.weight"), shape("fc3.weight")), ("[300,324]".into(), "[13,100]".into()));
}

#[test]
fn cifar_files_are_read_by_verify() {
    let place = Place::new();
    place.write_cifar10(4);
    let said = place.run("data --verify --data-dir data").succeeded();
    assert!(said.out.contains("own data: 20 and 4 samples"), "{}", said.out);
    let name = "data/cifar-10-batches-bin/data_batch_2.bin";
    let mut bytes = std::fs::read(place.path(name)).unwrap();
    bytes[3073] = 10;
    place.write(name, bytes);
    let said = place.run("data --verify --data-dir data");
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("data_batch_2.bin`: label 10 of sample 1"), "{}", said.err);
}

#[test]
fn a_data_folder_that_is_given_wins_over_that_of_the_configuration_in_plans_too() {
    let place = Place::new();
    place.write("run.toml", CONFIG.replace("unit = 'steps'\nlength = 40", "length = 2"));
    place.write_data(100, 40);
    place.run("train run.toml --run-dir run --data-dir data --threads 1").succeeded();
    rename(&place, "data", "few");
    place.write_data(400, 40);
    place.write("grid.toml", "base = \"run/config.toml\"\n[grid]\nseed = [0]");
    for (folder, steps) in [("few", 10), ("data", 40)] {
        let planned = place.run(&format!("sweep grid.toml --data-dir {folder} --dry-run --json")).json();
        assert_eq!(planned["runs"][0]["steps"], steps, "{folder}");
        let flops = place.run(&format!("flops run/config.toml --data-dir {folder} --json")).succeeded();
        assert!(flops.err.is_empty(), "{}", flops.err);
    }
    let said = place.run("flops run/config.toml --data-dir elsewhere");
    assert!(said.code == Some(2) && said.err.contains("elsewhere"), "{}", said.err);
    place.run("sweep grid.toml --data-dir data --no-progress --threads 1").succeeded();
    let trained = place.run("runs sweeps --json").succeeded().json();
    assert_eq!(trained["runs"][0]["step"], 40);
}
