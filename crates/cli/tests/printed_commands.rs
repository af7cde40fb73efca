//! Commands that are printed run when they are pasted, whatever the folders are called.
#![cfg(unix)]

mod support;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;

use support::{Place, Said};

/// A short run on the data in `data`, of a small network; to be followed by a folder.
const SHORT: &str = "train quickstart --data-dir data --threads 1 --set data.name=mnist --set data.batch=10 \
    --model mlp --set model.hidden=[8] --set schedule.unit=steps --set schedule.length=2000 --set schedule.milestones=[]";

/// What nobody should call a folder, and somebody does.
fn names() -> Vec<OsString> {
    let names: [&[u8]; 8] = [
        b"a b",
        b"-x",
        b"it's",
        b"a\"$HOME`!",
        b"\x1b[31mred",
        b"two\nlines",
        b"100 %\x07",
        "ü 漢".as_bytes(),
    ];
    names.map(|name| OsString::from_vec(name.to_vec())).into()
}

fn arguments(line: &str, last: &[OsString]) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).chain(last.iter().cloned()).collect()
}

/// The first command in `text`, as a person would copy it: between backticks, or to the end of the line.
#[track_caller]
fn command_in(text: &str) -> String {
    let at = ["rigl train ", "rigl data "].iter().find_map(|command| text.find(command));
    let at = at.unwrap_or_else(|| panic!("no command in {text}"));
    let end = if text[..at].ends_with('`') { "` " } else { "\n" };
    let rest = &text[at..];
    // A backtick may be part of a name in quotes; the one at the end has a space or nothing behind it.
    let end = rest.find(end).or_else(|| rest.find("`\n")).unwrap_or(rest.len());
    rest[..end].to_string()
}

/// Runs what was printed in a shell; gives the line too.
fn paste(place: &Place, text: &str) -> (String, Said) {
    let line = command_in(text);
    assert!(!line.contains(char::is_control), "{line:?}");
    let mut shell = place.command_of("sh", ["-c", &line]);
    let programs = Path::new(env!("CARGO_BIN_EXE_rigl")).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    shell.env("PATH", path).env("RIGL_DATA_DIR", place.path("data")).env("RIGL_NUM_THREADS", "1");
    (line, Said::of(shell))
}

/// Nothing that was said holds what a terminal would obey.
#[track_caller]
fn is_plain(said: &Said) {
    let hidden = |c: char| c.is_control() && c != '\n';
    assert!(!said.err.contains(hidden) && !said.out.contains(hidden), "{:?}{:?}", said.out, said.err);
}

/// A run in the folder `name` that was interrupted.
fn interrupted(place: &Place, name: &OsString) -> Said {
    // `--run-dir=` takes a dash at the beginning of what follows.
    let mut folder = OsString::from("--run-dir=");
    folder.push(name);
    // Its standard input ends before it begins.
    let said = Said::of(place.command(arguments(&format!("{SHORT} --stop-at-eof"), &[folder])));
    assert_eq!(said.code, Some(143), "{}", said.err);
    is_plain(&said);
    said
}

#[test]
fn a_run_goes_on_by_what_is_printed_for_it() {
    for name in names() {
        let place = Place::new();
        place.write_data(20, 10);
        let said = interrupted(&place, &name);
        let relative = Path::new(".").join(&name).into_os_string();
        let looked =
            Said::of(place.command(arguments("inspect", std::slice::from_ref(&relative)))).succeeded();
        is_plain(&looked);
        let compared = Said::of(place.command(arguments("compare", std::slice::from_ref(&relative))));
        assert_eq!(compared.code, Some(2), "{}", compared.err);
        is_plain(&compared);
        let mut resume = OsString::from("--resume=");
        resume.push(&name);
        let changed =
            Said::of(place.command(arguments("train --seed 7 --set method.updates.interval=50", &[resume])));
        assert_eq!(changed.code, Some(2), "{}", changed.err);
        is_plain(&changed);
        assert!(changed.err.contains("which cannot be changed") && changed.err.contains("begins a new run"));
        let (line, anew) = paste(&place, &changed.err);
        let anew = anew.succeeded();
        is_plain(&anew);
        assert!(line.contains("--set seed=7"), "{line}");
        let [a, b] = [&looked, &compared].map(|said| command_in(&said.err));
        assert_eq!(a, b);
        let (_, finished) = paste(&place, &said.err);
        is_plain(&finished.succeeded());
        assert!(place.path("").join(&name).join("summary.json").is_file(), "{name:?}");
    }
}

#[test]
fn a_run_that_diverged_begins_anew_by_what_is_printed_for_it() {
    for name in names() {
        let place = Place::new();
        place.write_data(20, 10);
        let mut folder = OsString::from("--run-dir=");
        folder.push(&name);
        let line = format!("{SHORT} --set schedule.learning-rate=1e30 --set schedule.length=3");
        let said = Said::of(place.command(arguments(&line, &[folder])));
        assert_eq!(said.code, Some(1), "{}", said.err);
        is_plain(&said);
        let (line, again) = paste(&place, said.err.rsplit("hint: ").next().unwrap());
        assert!(line.ends_with(" --set schedule.learning-rate=1e29"), "{line}");
        // It is still far too large; but it has begun.
        assert_eq!(again.code, Some(1), "{}", again.err);
        assert!(again.err.contains("is not finite"), "{}", again.err);
    }
}

#[test]
fn files_and_folders_in_hints_can_be_pasted() {
    for name in names() {
        let place = Place::new();
        place.write_data(20, 10);
        let run = Path::new(".").join(&name).into_os_string();
        interrupted(&place, &name);
        // The folder in place of a file in it.
        let said = Said::of(place.command(arguments("export", &[run.clone(), run.clone()])));
        assert_eq!(said.code, Some(2), "{}", said.err);
        is_plain(&said);
        let file = said.err.rsplit("hint: ").next().unwrap().trim_end();
        let mut export = place.command_of("sh", ["-c", &format!("\"$0\" export \"$1\" {file}")]);
        export.arg(env!("CARGO_BIN_EXE_rigl")).arg(&run);
        Said::of(export).succeeded();
        let exported = place.path("").join(&name).join("network.safetensors");
        assert!(exported.is_file(), "{name:?}");
        let looked =
            Said::of(place.command([OsString::from("inspect"), exported.into_os_string()])).succeeded();
        is_plain(&looked);
        // Where data are to be had.
        let said = Said::of(place.command(arguments("data --data-dir", std::slice::from_ref(&run))));
        is_plain(&said);
        let line = command_in(&said.err);
        let folder = line.split_once("--data-dir ").unwrap().1;
        let echo = Command::new("sh").args(["-c", &format!("printf %s {folder}")]).output().unwrap();
        assert_eq!(OsString::from_vec(echo.stdout), run, "{line}");
    }
}
