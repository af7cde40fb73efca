use std::path::Path;

use rigl_base::{Kind, files};

use super::*;
use crate::summary::{Status, Summary};

fn write(path: &Path) {
    files::write_atomic(path, b"").unwrap();
}

/// As much of a configuration as a run is known by.
fn write_config(run: &RunFolder) {
    let text = b"[model]\n[data]\n[schedule]\n[method]\n[seeds]\n";
    files::write_atomic(&run.config(), text).unwrap();
}

#[test]
fn a_taken_name_is_numbered() {
    let base = tempfile::tempdir().unwrap();
    let base = base.path().join("runs");
    let runs: Vec<_> = (0..3).map(|_| RunFolder::create(&base, "a").unwrap()).collect();
    let names: Vec<_> = runs.iter().map(|r| r.path().file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["a", "a-2", "a-3"]);
    assert!(runs[1].checkpoints().is_dir() && runs[1].patterns().is_dir());
}

#[test]
fn a_name_is_one_folder_below_the_base() {
    let base = tempfile::tempdir().unwrap();
    for name in ["", ".", "..", "a/b", "/a", "a/"] {
        assert_eq!(RunFolder::create(base.path(), name).unwrap_err().kind(), Kind::Usage, "{name}");
    }
}

#[test]
fn an_explicit_folder_must_be_absent_or_empty() {
    let base = tempfile::tempdir().unwrap();
    let (empty, absent) = (base.path().join("empty"), base.path().join("b/absent"));
    files::create_folder(&empty).unwrap();
    for path in [&empty, &absent] {
        let run = RunFolder::create_at(path).unwrap();
        write_config(&run);
        drop(run);
        let error = RunFolder::create_at(path).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let hint = error.hint_text().unwrap();
        assert!(hint.contains("--resume") && hint.contains("--overwrite"), "{hint}");
    }
}

#[test]
fn what_a_process_killed_while_creating_leaves_counts_as_empty() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("a");
    drop(RunFolder::create_at(&path).unwrap());
    write(&path.join(".config.toml.aB3xYz.tmp"));
    let run = RunFolder::create_at(&path).unwrap();
    assert!(!path.join(".config.toml.aB3xYz.tmp").exists());
    drop(run);
    for other in ["checkpoints/step-1", ".mine.tmp", "notes"] {
        write(&path.join(other));
        assert!(RunFolder::create_at(&path).is_err(), "{other}");
        assert!(path.join(other).exists());
        files::remove(&path.join(other)).unwrap();
    }
    // A lock that is another program's.
    files::write_atomic(&path.join("run.lock"), b"12345").unwrap();
    assert!(RunFolder::create_at(&path).is_err());
}

#[test]
fn a_run_is_opened_by_its_configuration() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("a");
    assert_eq!(RunFolder::open(&path).unwrap_err().kind(), Kind::Environment);
    let run = RunFolder::create_at(&path).unwrap();
    let error = RunFolder::open(&path).unwrap_err();
    assert!(error.to_string().contains("it has no `config.toml`"), "{error}");
    files::write_atomic(&run.config(), b"[site]\n[data]\n").unwrap();
    let error = RunFolder::open(&path).unwrap_err();
    assert!(error.to_string().ends_with("its `config.toml` is not that of a run"), "{error}");
    write_config(&run);
    // Reading is allowed while the run is being written.
    assert_eq!(RunFolder::open(&path).unwrap(), *run);
    assert_eq!(RunFolder::open(&run.config()).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn a_run_is_finished_when_its_summary_says_so() {
    let base = tempfile::tempdir().unwrap();
    let run = RunFolder::create_at(&base.path().join("a")).unwrap();
    assert_eq!(run.finished().unwrap(), None);
    for status in Status::ALL {
        let summary = Summary { status: *status, ..crate::summary::tests::sample() };
        summary.write(&run.summary()).unwrap();
        let expected = (*status == Status::Finished).then_some(summary);
        assert_eq!(run.finished().unwrap(), expected, "{status}");
    }
    write(&run.summary());
    assert_eq!(run.finished().unwrap_err().kind(), Kind::Data);
}

#[test]
fn a_second_writer_is_told_who_holds_the_run() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("a");
    let run = RunFolder::create_at(&path).unwrap();
    write_config(&run);
    let error = RunFolder::open(&path).unwrap().lock().unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    let holder = format!("is in use by process {} on host ", std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
    let reader = RunFolder::open(&path).unwrap();
    assert!(error.to_string().ends_with(&reader.in_use().unwrap().unwrap()), "{error}");
    drop(run);
    assert_eq!(reader.in_use().unwrap(), None);
    reader.lock().unwrap();
}

#[test]
fn a_writer_removes_what_a_killed_one_left() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("a");
    let run = RunFolder::create_at(&path).unwrap();
    write_config(&run);
    let left: Vec<_> = [run.path().to_path_buf(), run.checkpoints(), run.patterns()]
        .iter()
        .zip([".config.toml.aB3xYz.tmp", ".best.safetensors.aB3xYz.tmp", ".7.safetensors.aB3xYz.tmp"])
        .map(|(folder, name)| folder.join(name))
        .collect();
    drop(run);
    left.iter().for_each(|path| write(path));
    let others =
        [".notes.aB3xYz.tmp", ".mine.tmp", "checkpoints/.mine.aB3xYz.tmp"].map(|name| path.join(name));
    others.iter().for_each(|path| write(path));
    RunFolder::open(&path).unwrap().lock().unwrap();
    assert!(left.iter().all(|path| !path.exists()));
    assert!(others.iter().all(|path| path.exists()) && path.join("config.toml").exists());
}
