//! Tells the command which commit it is built from. This crate alone asks, so that a commit makes no other one be built
//! anew. Where there is no git, or the sources lie in no repository of their own, nothing is told.
#![allow(clippy::print_stdout, reason = "what a build script prints is for cargo")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    watch(&root);
    if let Some((commit, date)) = commit(&root) {
        println!("cargo:rustc-env=RIGL_COMMIT={commit}");
        println!("cargo:rustc-env=RIGL_COMMIT_DATE={date}");
    }
}

/// The commit, `-dirty` behind it if what the program is made of has been changed since; and its day.
fn commit(root: &Path) -> Option<(String, String)> {
    // An archive that was unpacked within another repository is not of that one.
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let shown = git(root, &["show", "--no-patch", "--format=%H %cs", "HEAD"])?;
    let (commit, date) = shown.split_once(' ')?;
    let changed = git(
        root,
        &[
            "status",
            "--porcelain",
            "--",
            "crates/*/src",
            "crates/*/Cargo.toml",
            "crates/*/build.rs",
            "Cargo.toml",
            "Cargo.lock",
        ],
    )?;
    let dirty = if changed.is_empty() { "" } else { "-dirty" };
    Some((format!("{commit}{dirty}"), date.into()))
}

/// What a git command says, if it succeeds.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    // Looking must not write.
    let mut command = Command::new("git");
    let output = command.env("GIT_OPTIONAL_LOCKS", "0").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_string())
}

/// Has cargo ask again after a commit, and after a change to what the program is made of.
fn watch(root: &Path) {
    let mut paths = vec![root.join("Cargo.toml"), root.join("Cargo.lock"), PathBuf::from("build.rs")];
    for folder in std::fs::read_dir(root.join("crates")).into_iter().flatten().flatten() {
        paths.extend([folder.path().join("src"), folder.path().join("Cargo.toml")]);
    }
    let of_git = |name: &str| git(root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
    paths.extend(of_git("HEAD"));
    // A branch that has its commit in no file of its own gets one with the next.
    let branch = git(root, &["symbolic-ref", "HEAD"]);
    let own = branch.and_then(|branch| of_git(&branch)).filter(|path| path.exists());
    paths.extend(own.or_else(|| of_git("refs/heads")));
    for path in paths.iter().filter(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}
