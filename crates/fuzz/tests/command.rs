//! The command itself.

use std::process::{Command, Output};

fn fuzz(arguments: &[&str]) -> Output {
    let findings = std::env::temp_dir().join("rigl-fuzz-findings");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rigl-fuzz"));
    command.args(arguments).arg("--findings").arg(findings).output().unwrap()
}

#[test]
fn targets_are_listed_run_and_run_on_single_files() {
    let list = fuzz(&[]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.lines().count() == rigl_fuzz::ALL.len() && list.contains("gzip "), "{list}");

    let run = fuzz(&["event", "--runs", "3000", "--jobs", "2"]);
    let text = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success() && text.contains("seed 1, 1500 inputs of"), "{text}");
    assert!(text.contains("all holds"), "{text}");

    let seed = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/event/train");
    let run = fuzz(&["event", seed, seed]);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success() && text.matches("all holds").count() == 2, "{text}");
}

#[test]
fn a_wrong_request_is_code_2() {
    for arguments in [&["nothing"][..], &["event", "/nowhere/at/all"], &["event", "--jobs", "0"]] {
        assert_eq!(fuzz(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
