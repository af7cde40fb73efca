//! TensorBoard's event files in a run's folder: one for each process that trained it, none where none is wanted.
//! `reference/tensorboard_check.py` reads what is in them.

mod support;

use std::path::Path;

use rigl_base::files;
use support::Place;

/// A short run; to be followed by a folder.
const TRAIN: &str = "train mnist-lenet --data-dir data --threads 1 --set data.batch=20 --set schedule.unit=steps \
    --set schedule.length=20 --set schedule.milestones=[10] --set schedule.divide-by=[3] --run-dir";

/// Names and sizes of the event files, in the order of names.
fn event_files(run: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(run).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("events.out.tfevents.") {
            found.push((name, entry.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

#[test]
fn each_process_that_trains_a_run_writes_a_file_of_its_own() {
    let place = Place::new();
    place.write_data(100, 50);
    place.run(&format!("{TRAIN} run")).succeeded();
    let run = place.path("run");
    let first = event_files(&run);
    assert!(first.len() == 1 && first[0].0.ends_with(".0") && first[0].1 > 1000, "{first:?}");
    // Finished, but it does not know.
    files::remove(&run.join("summary.json")).unwrap();
    place.run("train --resume run --data-dir data").succeeded();
    let second = event_files(&run);
    assert!(second.len() == 2 && second[0] == first[0] && second[1].0.ends_with(".1"), "{second:?}");
}

#[test]
fn a_run_that_wants_none_has_none_until_it_goes_on_with_one() {
    let place = Place::new();
    place.write_data(100, 50);
    place.run(&format!("{TRAIN} run --set log.tensorboard=false")).succeeded();
    let run = place.path("run");
    assert_eq!(event_files(&run), []);
    files::remove(&run.join("summary.json")).unwrap();
    let text = std::fs::read_to_string(run.join("config.toml")).unwrap();
    place.write("run/config.toml", text.replace("tensorboard = false", "tensorboard = true"));
    place.run("train --resume run --data-dir data").succeeded();
    let files = event_files(&run);
    assert!(files.len() == 1 && files[0].1 > 1000, "{files:?}");
}
