//! The library without the command line: its example, run as it stands.

use std::sync::atomic::AtomicBool;

use rigl::metrics::RunFolder;
use rigl::{Ended, Kind, MachineOptions, Registry, Silent, Trained};

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../examples/train.rs"]
mod example;

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../examples/own_data.rs"]
mod own_data;

#[test]
fn data_sets_presets_and_scores_may_be_a_programs_own() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let (accuracy, losses) = own_data::run(&folder).unwrap();
    assert!(accuracy > 0.9 && losses.len() == 3 && losses[2] < losses[0], "{accuracy} {losses:?}");
    // Elsewhere it is known what the run was, and that its parts are missing.
    let config = std::fs::read_to_string(RunFolder::open(&folder).unwrap().config()).unwrap();
    assert!(
        config.contains("score = \"size-and-speed\"") && config.contains("score = \"descent\""),
        "{config}"
    );
    let stock = Registry::default();
    let mut network = Trained::open(&folder, &stock, &MachineOptions::default()).unwrap();
    assert_eq!(network.config().method.name, "momentous");
    assert_eq!(network.predict(&[&[0; 64]]).unwrap()[0].logits.len(), 2);
    let error = stock.sets(network.config(), None, 1).unwrap_err().to_string();
    assert!(error.contains("no data set is called `stripes`"), "{error}");
    // And it is not gone on with.
    let error = rigl::resume_in(&folder, &stock, &MachineOptions::default(), &mut Silent, &false.into());
    assert!(matches!(error, Ok(Ended::Finished(_))));
    let error = stock.config("quickstart", &["method.name=momentous"]).unwrap_err().to_string();
    assert!(error.contains("no method is called `momentous`"), "{error}");
}

#[test]
fn a_program_trains_evaluates_and_predicts() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let accuracy = example::run(&folder).unwrap();
    assert!(accuracy > 0.9, "{accuracy}");
    // It is a run like any other, and what its network comes to is what the run noted.
    let run = RunFolder::open(&folder).unwrap();
    let summary = run.finished().unwrap().unwrap();
    assert_eq!(summary.accuracy, Some(accuracy));
    assert!((summary.sparsity - 0.95).abs() < 1e-3, "{}", summary.sparsity);
    // Another run is not begun there, and a folder that is none is not opened.
    assert!(example::run(&folder).unwrap_err().to_string().contains("holds a run already"));
    let error = Trained::open(place.path(), &Registry::default(), &MachineOptions::default()).err().unwrap();
    assert!(error.to_string().contains("is not a run"), "{error}");
}

#[test]
fn what_one_image_is_told_depends_on_no_other_and_a_damaged_checkpoint_is_not_replaced_by_an_older_one() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    let (registry, machine) = (Registry::default(), MachineOptions { threads: 1, ..Default::default() });
    let settings =
        ["schedule.unit=steps", "schedule.length=3", "schedule.milestones=[]", "data.train-samples=300"];
    let config = registry.config("quickstart", &settings).unwrap();
    let test = registry.sets(&config, None, 1).unwrap().test;
    let stop = AtomicBool::new(false);
    rigl::train_in(&folder, config, &registry, &machine, &mut Silent, &stop).unwrap();
    let mut network = Trained::open(&folder, &registry, &machine).unwrap();
    let mut samples = vec![rigl::data::Sample::default(); 1100];
    samples.iter_mut().enumerate().for_each(|(i, sample)| test.read(i, sample).unwrap());
    let images: Vec<&[u8]> = samples.iter().map(|sample| sample.image.as_slice()).collect();
    let all = network.predict(&images).unwrap();
    assert_eq!((all.len(), network.sample_shape()), (1100, &[1, 28, 28][..]));
    for at in [0, 499, 500, 1099] {
        assert_eq!(network.predict(&images[at..=at]).unwrap()[0], all[at], "{at}");
        assert!((all[at].probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    let hits = all.iter().zip(&samples).filter(|(said, sample)| said.class == sample.label as usize).count();
    let first = rigl::data::Subset::first(&test, 1100);
    let outcome = network.evaluate(&(std::sync::Arc::new(first) as _)).unwrap();
    assert_eq!(outcome.correct, hits);
    assert!(network.predict(&[&[0; 783]]).unwrap_err().to_string().contains("783 bytes"));
    assert!(network.predict(&[]).unwrap().is_empty());
    // Its newest checkpoint loses a byte.
    let checkpoints = RunFolder::open(&folder).unwrap().checkpoints();
    let mut files: Vec<_> =
        std::fs::read_dir(checkpoints).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.file_name().unwrap().to_string_lossy().starts_with("step-"));
    files.sort();
    assert!(files.len() > 1);
    let bytes = std::fs::read(&files[files.len() - 1]).unwrap();
    #[allow(clippy::disallowed_methods, reason = "to damage a file")]
    std::fs::write(&files[files.len() - 1], &bytes[..bytes.len() - 1]).unwrap();
    let error = Trained::open(&folder, &registry, &machine).err().unwrap();
    assert_eq!(error.kind(), Kind::Data, "{error}");
}

#[test]
fn a_run_that_was_stopped_is_gone_on_with_and_comes_to_the_same() {
    let place = tempfile::tempdir().unwrap();
    let (registry, machine) = (Registry::default(), MachineOptions { threads: 1, ..Default::default() });
    let settings =
        ["schedule.unit=steps", "schedule.length=12", "schedule.milestones=[]", "data.train-samples=300"];
    let config = registry.config("quickstart", &settings).unwrap();
    let stop = AtomicBool::new(false);
    let finished = |ended: Ended| match ended {
        Ended::Finished(summary) => summary,
        Ended::Interrupted => panic!("it was not stopped"),
    };
    let [whole, parts] = ["whole", "parts"].map(|name| place.path().join(name));
    let ended = rigl::train_in(&whole, config.clone(), &registry, &machine, &mut Silent, &stop);
    let expected = finished(ended.unwrap());
    // Stopped before its first step.
    let ended = rigl::train_in(&parts, config, &registry, &machine, &mut Silent, &AtomicBool::new(true));
    assert!(matches!(ended.unwrap(), Ended::Interrupted));
    let found = finished(rigl::resume_in(&parts, &registry, &machine, &mut Silent, &stop).unwrap());
    assert_eq!((found.weights_crc32c, found.loss), (expected.weights_crc32c, expected.loss));
    // It stays as it is.
    let again = finished(rigl::resume_in(&parts, &registry, &machine, &mut Silent, &stop).unwrap());
    assert_eq!(again, found);
    let nothing = rigl::resume_in(place.path(), &registry, &machine, &mut Silent, &stop);
    assert_eq!(nothing.unwrap_err().kind(), Kind::Usage);
}
