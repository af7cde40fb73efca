//! Replacing runs: what is there is known to be a run's before anything is changed, and kept until the new one has
//! begun.

use std::fs;
use std::path::{Path, PathBuf};

use rigl_base::{Error, Kind, files};
use rigl_metrics::{Claim, RunFolder, RunWriter};

const CONFIG: &str = "[model]\n[data]\n[schedule]\n[method]\n[seeds]\n";
const CHECKPOINT: &str = "step-000000000-draw-000000000.safetensors";

fn write(path: &Path, text: &str) {
    files::create_folder(path.parent().unwrap()).unwrap();
    files::write_atomic(path, text.as_bytes()).unwrap();
}

/// Everything that a run leaves, marked with `seed`.
fn train(run: &RunWriter, seed: &str) {
    write(&run.config(), &format!("{CONFIG}# {seed}\n"));
    write(&run.log(), "{\"version\":1,\"event\":\"run\",\"step\":0}\n");
    write(&run.path().join("events.out.tfevents.1700000000.host.1.0"), seed);
    write(&run.checkpoints().join(CHECKPOINT), seed);
    run.begun().unwrap();
    write(&run.checkpoints().join("best.safetensors"), seed);
    write(&run.patterns().join("1.safetensors"), seed);
    write(&run.summary(), "{}");
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    train(&RunFolder::create_at(&run).unwrap(), "old");
    (place, run)
}

/// Every file below `folder` with what is in it, but for locks, which tell who held them last.
fn contents(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            found.extend(contents(&path));
        } else if !path.ends_with("run.lock") {
            let text =
                if kind.is_file() { fs::read_to_string(&path).unwrap() } else { files::what(kind).into() };
            found.push((path, text));
        }
    }
    found.sort();
    found
}

/// Asserts that replacing `run` is refused with `part` in the message and changes nothing in `place`.
#[track_caller]
fn refused(place: &Path, run: &Path, part: &str) -> Error {
    let before = contents(place);
    let error = RunFolder::replace_at(run).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage, "{error}");
    assert!(error.to_string().contains(part), "{error}");
    assert_eq!(contents(place), before);
    error
}

#[test]
fn a_run_is_replaced_once_the_new_one_has_begun() {
    let (place, run) = place();
    let old = contents(&run);
    let new = RunFolder::replace_at(&run).unwrap();
    // Set aside, whole.
    let aside = place.path().join(".run.replaced");
    assert_eq!(contents(&aside).len(), old.len());
    assert_eq!(contents(&run), []);
    assert_eq!(RunFolder::replace_at(&run).unwrap_err().kind(), Kind::Busy);
    assert_eq!(RunFolder::create_at(&run).unwrap_err().kind(), Kind::Busy);
    assert_eq!(RunFolder::take(&run).unwrap_err().kind(), Kind::Busy);
    train(&new, "new");
    assert!(!aside.exists());
    drop(new);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    assert!(fs::read_to_string(run.join("config.toml")).unwrap().ends_with("# new\n"));
}

#[test]
fn a_run_that_does_not_begin_leaves_the_old_one_in_its_place() {
    let (place, run) = place();
    let old = contents(&run);
    let new = RunFolder::replace_at(&run).unwrap();
    write(&new.config(), CONFIG);
    write(&new.log(), "{\"version\":1,\"event\":\"run\",\"step\":0}\n");
    drop(new);
    assert_eq!(contents(place.path()), old);
}

#[test]
fn what_is_no_run_is_not_replaced_and_not_written_to() {
    let place = tempfile::tempdir().unwrap();
    let site = place.path().join("site");
    write(&site.join("config.toml"), "[params]\n[data]\n");
    write(&site.join(".git/HEAD"), "ref");
    write(&site.join("src/main.rs"), "fn main() {}");
    write(&site.join(".draft.aB3xYz.tmp"), "x");
    write(&site.join("notes.tmp"), "x");
    let error = refused(place.path(), &site, "is not empty, and holds no run");
    assert!(!error.hint_text().unwrap().contains("--overwrite"), "{error}");
    // Nor with a copy of a run's configuration in it.
    write(&site.join("config.toml"), CONFIG);
    let error = refused(place.path(), &site, "is not empty, and holds no run");
    assert!(!error.hint_text().unwrap().contains("--overwrite"), "{error}");
    let before = contents(place.path());
    let error = RunFolder::take(&site).unwrap_err();
    assert!(error.to_string().contains("is not a run"), "{error}");
    assert_eq!(contents(place.path()), before);
    assert!(!site.join("run.lock").exists());
}

#[test]
fn what_somebody_put_into_a_run_refuses_its_replacement_by_name() {
    let (place, run) = place();
    for name in ["notes.md", "plots/loss.png", "checkpoints/net.safetensors", ".git/HEAD", ".x.tmp"] {
        write(&run.join(name), "mine");
        let error = refused(place.path(), &run, "in it was not written by this program");
        let top = name.split('/').next().unwrap();
        let named = if top == "checkpoints" { name } else { top };
        assert!(error.to_string().contains(&format!("`{named}`")), "{error}");
        files::remove(&run.join(name)).unwrap();
        if !["checkpoints", name].contains(&top) {
            files::remove_empty_folder(&run.join(top)).unwrap();
        }
    }
    // Going on with it is no harm.
    write(&run.join("notes.md"), "mine");
    RunFolder::take(&run).unwrap();
    assert!(run.join("notes.md").exists());
}

#[test]
fn what_is_put_into_a_run_while_it_is_replaced_is_left() {
    let (place, run) = place();
    let new = RunFolder::replace_at(&run).unwrap();
    let aside = place.path().join(".run.replaced");
    write(&aside.join("notes.md"), "mine");
    let error = new.begun().unwrap_err();
    assert!(error.to_string().contains("`notes.md`"), "{error}");
    drop(new);
    assert!(place.path().join(".run.removed/notes.md").exists());
    assert_eq!(RunFolder::create_at(&run).map(drop).map_err(|e| e.to_string()), Ok(()));
    // The next replacement says what is in its way.
    train(&RunFolder::create_at(&run).unwrap(), "new");
    refused(place.path(), &run, ".run.removed` is in the way");
}

#[cfg(unix)]
mod odd {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::process::Command;

    use super::*;

    fn pipe(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn what_is_no_file_of_the_program_is_refused_by_name_and_nothing_is_written_through_it() {
        for name in ["metrics.jsonl", "run.lock", "config.toml", "summary.json", "checkpoints", "patterns"] {
            for kind in ["pipe", "link", "folder"] {
                if kind == "folder" && ["checkpoints", "patterns"].contains(&name) {
                    continue;
                }
                let (place, run) = place();
                let outside = place.path().join("outside");
                files::rename(&run.join(name), &outside).unwrap();
                match kind {
                    "pipe" => pipe(&run.join(name)),
                    "link" => symlink(&outside, run.join(name)).unwrap(),
                    _ => files::create_folder(&run.join(name)).unwrap(),
                }
                let before = contents(place.path());
                for found in [RunFolder::take(&run), RunFolder::replace_at(&run)] {
                    let error = found.unwrap_err().to_string();
                    assert!(error.contains(&format!("/{name}` is a {kind}, expected a f")), "{error}");
                }
                assert_eq!(contents(place.path()), before, "{name} {kind}");
            }
        }
        let (_place, run) = place();
        let checkpoint = "checkpoints/step-000000009-draw-000000009.safetensors";
        files::create_folder(&run.join(checkpoint)).unwrap();
        let error = RunFolder::take(&run).unwrap_err().to_string();
        assert!(error.contains(&format!("{checkpoint}` is a folder, expected a file")), "{error}");
    }

    #[test]
    fn a_link_to_a_run_is_followed_and_stays() {
        let (place, run) = place();
        let link = place.path().join("link");
        symlink("run", &link).unwrap();
        for path in [link.clone(), link.join(""), link.join(".")] {
            let before = run.metadata().unwrap().ino();
            train(&RunFolder::replace_at(&path).unwrap(), "new");
            assert!(link.is_symlink() && run.is_dir() && !run.is_symlink());
            assert_ne!(run.metadata().unwrap().ino(), before);
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
        }
        files::remove(&link).unwrap();
        symlink("nowhere", &link).unwrap();
        refused(place.path(), &link, "is a link to nothing");
        let error = RunFolder::create_at(&place.path().join("nowhere/..")).unwrap_err();
        assert!(error.to_string().contains("does not end with the name of a folder"), "{error}");
    }
}

#[test]
fn two_runs_are_replaced_together() {
    let place = tempfile::tempdir().unwrap();
    let both = place.path().join("both");
    let parts = ["sparse", "dense"];
    let claim = Claim::at(&both, &parts).unwrap();
    claim.runs.iter().for_each(|run| train(run, "old"));
    drop(claim);
    let old = contents(place.path());
    // Neither is touched while one of them is being trained, or something else lies beside them.
    let held = RunFolder::take(&both.join("dense")).unwrap();
    assert_eq!(Claim::replacing(&both, &parts).unwrap_err().kind(), Kind::Busy);
    drop(held);
    write(&both.join("notes.md"), "mine");
    let error = Claim::replacing(&both, &parts).unwrap_err().to_string();
    assert!(error.contains("`notes.md` in it was not written"), "{error}");
    files::remove(&both.join("notes.md")).unwrap();
    assert_eq!(contents(place.path()), old);
    let error = Claim::at(&both, &parts).unwrap_err().to_string();
    assert!(error.ends_with("holds a comparison of two runs already"), "{error}");
    let error = Claim::replacing(&both, &[]).unwrap_err().to_string();
    assert!(error.ends_with("is not empty, and holds no run"), "{error}");

    let claim = Claim::replacing(&both, &parts).unwrap();
    claim.runs.iter().for_each(|run| write(&run.config(), CONFIG));
    drop(claim);
    assert_eq!(contents(place.path()), old);
    let claim = Claim::replacing(&both, &parts).unwrap();
    train(&claim.runs[0], "new");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    drop(claim);
    assert!(contents(&both).iter().all(|(_, text)| !text.contains("old")));
}

#[test]
fn names_that_a_killed_replacement_leaves_are_not_enough_to_be_removed() {
    // Somebody's own folder, called as what is removed last is.
    let (place, run) = place();
    let theirs = place.path().join(".run.removed");
    write(&theirs.join("config.toml"), "mine = 1\n");
    write(&theirs.join("summary.json"), "{}");
    drop(RunFolder::take(&run).unwrap());
    assert_eq!(contents(&theirs).len(), 2);
    // And somebody's file in the place of a run that was set aside.
    let aside = place.path().join(".other.replaced");
    files::rename(&run, &aside).unwrap();
    let config = place.path().join("other/config.toml");
    write(&config, "mine = 1\n");
    for open in [RunFolder::take, RunFolder::create_at, RunFolder::replace_at] {
        assert!(open(&place.path().join("other")).is_err());
        assert_eq!(fs::read_to_string(&config).unwrap(), "mine = 1\n");
        assert!(aside.join("summary.json").exists());
    }
}
