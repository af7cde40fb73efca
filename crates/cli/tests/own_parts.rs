//! The README's library example: a program with a network and a method of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

/// Examples are built beside the binary when all tests are; when this file is tested alone, it is built here.
fn example() -> PathBuf {
    static BUILT: Once = Once::new();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_rigl"));
    let example =
        binary.with_file_name("examples").join(format!("own_parts{}", std::env::consts::EXE_SUFFIX));
    BUILT.call_once(|| {
        if !example.exists() {
            let build =
                ["build", "--offline", "--profile", "test", "--package", "rigl", "--example", "own_parts"];
            let built = Command::new(env!("CARGO")).args(build).status().unwrap();
            assert!(built.success());
        }
    });
    example
}

fn run(arguments: &[&str]) -> (bool, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(example()).args(arguments).current_dir(folder.path()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_program_with_its_own_network_and_method_has_every_command() {
    let own = ["--set", "model.name=narrow", "--method", "mine"];
    let train = [&["train", "quickstart", "--json", "--multiplier", "0.05"][..], &own].concat();
    let (ok, out, err) = run(&train);
    assert!(ok, "{err}");
    assert!(out.contains("\"method\": \"mine\"") && out.contains("\"fc2.weight\""), "{out}");
    let (ok, out, err) = run(&[&["flops", "quickstart"][..], &own].concat());
    assert!(ok && out.contains("50×784"), "{out}{err}");
    // Nobody has said what an own network is usually for.
    let (ok, _, err) = run(&["flops", "narrow", "--input", "784"]);
    assert!(!ok && err.contains("nothing is known of the samples that model `narrow` is for"), "{err}");
    let (ok, out, err) = run(&["flops", "narrow", "--input", "1x28x28", "--classes", "10"]);
    assert!(ok && out.contains("50×784") && out.contains("mine"), "{out}{err}");
}

#[test]
fn an_unknown_name_is_answered_with_own_ones_among_the_others() {
    let (ok, _, err) = run(&["train", "quickstart", "--method", "minne"]);
    assert!(!ok && err.contains("`mine`") && err.contains("hint: mine"), "{err}");
}

#[test]
fn a_program_of_its_own_shows_commands_by_its_own_name() {
    let (ok, out, _) = run(&["--version"]);
    assert!(ok && out.starts_with("own_parts (rigl "), "{out}");
    for command in ["train", "data"] {
        let (ok, out, _) = run(&[command, "--help"]);
        assert!(ok && out.contains(&format!("\n  own_parts {command}")), "{out}");
        assert!(!out.contains(&format!("rigl {command}")), "{out}");
    }
    let (_, out, _) = run(&["train", "--help"]);
    assert!(out.contains("(see `own_parts presets`)"), "{out}");
    let (ok, _, err) = run(&["train", "mnist-lenet", "--data-dir", "none"]);
    assert!(!ok && err.contains("hint: own_parts data fetch mnist --data-dir none\n"), "{err}");
    let (ok, out, _) = run(&["completions", "bash"]);
    assert!(ok && out.contains("_own_parts") && !out.contains("_rigl"), "{out}");
}

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).unwrap();
    let example =
        std::fs::read_to_string(format!("{root}/crates/cli/../rigl/examples/own_parts.rs")).unwrap();
    let (_, code) = example.split_once("\n\n").unwrap();
    assert!(readme.contains(code));
}

#[test]
fn the_stock_command_says_of_a_run_with_own_parts_what_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(folder.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let own = ["--set", "model.name=narrow", "--method", "mine", "--multiplier", "0.05", "--run-dir", "a"];
    let (code, _, err) = run(&example(), &[&["train", "quickstart"][..], &own].concat());
    assert_eq!(code, Some(0), "{err}");
    let stock = PathBuf::from(env!("CARGO_BIN_EXE_rigl"));
    for (command, part) in [
        (&["inspect", "a"][..], "mine"),
        (&["compare", "a"], "| mine "),
        (&["eval", "a", "--samples", "100"], "accuracy"),
        (&["export", "a", "a.safetensors", "--json"], "\"network\": \"narrow\""),
    ] {
        let (code, out, err) = run(&stock, command);
        assert!(code == Some(0) && out.contains(part), "{command:?}: {out}{err}");
    }
    // What trains must know its parts.
    let (code, _, err) = run(&stock, &["train", "a/config.toml", "--run-dir", "b"]);
    assert!(code == Some(2) && err.contains("no method is called `mine`"), "{err}");
}
