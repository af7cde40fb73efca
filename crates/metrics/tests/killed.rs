//! Replacing a run, with the process killed, or refused by the disk, at each of its operations: the old run or the new
//! one is there, whole, and the next command finds it.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rigl_base::files::{self, fault};
use rigl_base::{Kind, Result};
use rigl_metrics::folder::recover;
use rigl_metrics::{Claim, EventLog, RunFolder, RunWriter};

const CONFIG: &str = "[model]\n[data]\n[schedule]\n[method]\n[seeds]\n";

/// Set where this test is the process that meets a fault: its kind, the number of the operation, what is replaced.
const CHILD: &str = "RIGL_TEST_FAULT";

/// The runs in a comparison, or the one run.
fn parts(one: bool) -> &'static [&'static str] {
    if one { &[] } else { &["sparse", "dense"] }
}

/// What a run does up to its first checkpoint, and from there on.
fn train(run: &RunWriter, seed: &str) -> Result<()> {
    let mut log = EventLog::open(&run.log(), 0)?;
    let event = rigl_metrics::event::Run {
        program: seed.into(),
        commit: None,
        arithmetic_version: 1,
        configuration: String::new(),
        data: None,
        machine: rigl_metrics::Machine::of(1, "none"),
    };
    log.write(&rigl_metrics::Record { step: 0, draw: 0, time_s: 0.0, event: event.into() })?;
    log.sync()?;
    for step in [0, 1] {
        let name = format!("step-{step:09}-draw-{step:09}.safetensors");
        files::write_atomic(&run.checkpoints().join(name), seed.as_bytes())?;
        run.begun()?;
    }
    files::write_atomic(&run.patterns().join("1.safetensors"), seed.as_bytes())?;
    files::write_atomic(&run.summary(), seed.as_bytes())
}

fn begin(claim: &Claim, seed: &str) -> Result<()> {
    claim
        .runs
        .iter()
        .try_for_each(|run| files::write_atomic(&run.config(), format!("{CONFIG}# {seed}\n").as_bytes()))
}

fn make(folder: &Path, one: bool, seed: &str, replace: bool) -> Result<()> {
    let claim = if replace { Claim::replacing(folder, parts(one)) } else { Claim::at(folder, parts(one)) }?;
    begin(&claim, seed)?;
    claim.runs.iter().try_for_each(|run| train(run, seed))
}

/// The files of a run, or two, but for locks and temporary ones.
fn files_of(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            found.extend(files_of(&path));
        } else if name != "run.lock" && files::temporary_of(name).is_none() {
            found.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Whose run is at its beginning, or further, in `folder`: by its last checkpoint.
fn state(folder: &Path, one: bool) -> &'static str {
    let first = if one { folder.to_path_buf() } else { folder.join("sparse") };
    let of = |seed: &str| {
        let config = fs::read_to_string(first.join("config.toml")).unwrap_or_default();
        let checkpoint = first.join("checkpoints/step-000000000-draw-000000000.safetensors");
        config.ends_with(&format!("# {seed}\n"))
            && fs::read_to_string(checkpoint).is_ok_and(|text| text == seed)
    };
    match (of("old"), of("new")) {
        (true, _) => "old",
        (_, true) => "new",
        _ => "none",
    }
}

#[test]
fn a_run_replaced_with_a_fault_at_any_operation_is_there_whole_or_the_new_one_is() {
    if let Ok(text) = std::env::var(CHILD) {
        return child(&text);
    }
    // One after the other: a process that is being started holds, for a moment, what this one has locked.
    for one in [true, false] {
        for faults in [["fail", "tear"], ["abort", "abort"]] {
            each_operation(one, faults);
        }
    }
}

/// A folder in memory, where the system has one: thousands of times something is made safe here.
fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn each_operation(one: bool, faults: [&str; 2]) {
    let mut seen = Vec::new();
    for k in 1.. {
        let place = place();
        let run = place.path().join("run");
        make(&run, one, "old", false).unwrap();
        for beside in ["notes.md", "src/main.rs", ".git/HEAD"] {
            files::create_folder(place.path().join(beside).parent().unwrap()).unwrap();
            files::write_atomic(&place.path().join(beside), b"mine").unwrap();
        }
        let old = files_of(&run);
        let fault = faults[k % 2];
        if !meets(place.path(), &format!("{fault} {k} {one}")) {
            assert!(k > 40, "replacing takes only {k} operations");
            break;
        }
        // Before anything is done about it: the old one is somewhere, whole, or the new one can be gone on with.
        let aside = place.path().join(".run.replaced");
        let moved: Vec<_> = old
            .iter()
            .map(|(path, text)| (aside.join(path.strip_prefix(&run).unwrap()), text.clone()))
            .collect();
        let found = state(&run, one);
        let whole = found == "new" || files_of(&run) == old || files_of(&aside) == moved;
        assert!(whole, "{fault} at operation {k}: {:?}", files_of(place.path()));
        // Whatever command comes next.
        match k % 3 {
            0 => assert_eq!(Claim::at(&run, parts(one)).unwrap_err().kind(), Kind::Usage, "operation {k}"),
            1 => recover(&run).unwrap(),
            _ => {
                let first = if one { run.clone() } else { run.join("sparse") };
                recover(&run).unwrap();
                RunFolder::take(&first).unwrap();
            }
        }
        assert!(!aside.exists(), "operation {k}");
        assert!(!place.path().join(".run.removed").exists(), "operation {k}");
        let now = state(&run, one);
        match now {
            "old" => assert_eq!(files_of(&run), old, "operation {k}"),
            _ => assert_eq!((now, found), ("new", "new"), "operation {k}"),
        }
        seen.push(now);
        make(&run, one, "newer", true).unwrap();
        for beside in ["notes.md", "src/main.rs", ".git/HEAD"] {
            assert_eq!(fs::read_to_string(place.path().join(beside)).unwrap(), "mine");
        }
        // What is there is the run, and what lay beside it.
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 4, "operation {k}");
    }
    assert!(seen.contains(&"old") && seen.contains(&"new"), "{seen:?}");
}

/// Replaces the run in a process that meets a fault. `false` if it ended before the fault came.
fn meets(place: &Path, fault: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.arg("--nocapture").env(CHILD, fault).current_dir(place).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => !out.contains("unmet"),
        None if fault.starts_with("abort") => true,
        code => panic!("{fault}: {code:?} {out} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[allow(clippy::print_stdout, reason = "read by the process that started this one")]
fn child(text: &str) {
    let mut words = text.split(' ');
    let kind = match words.next().unwrap() {
        "fail" => fault::Fault::Fail,
        "tear" => fault::Fault::Tear,
        _ => fault::Fault::Abort,
    };
    let k: u64 = words.next().unwrap().parse().unwrap();
    let one = words.next().unwrap() == "true";
    fault::arm(k, kind);
    match make(Path::new("run"), one, "new", true) {
        Ok(()) if fault::operations() < k => println!("unmet"),
        _ => println!("met"),
    }
}
