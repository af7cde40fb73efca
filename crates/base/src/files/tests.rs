use std::fs;
use std::path::Path;

use super::*;

#[test]
fn an_atomic_write_replaces_the_file_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    write_atomic(&path, b"one").unwrap();
    write_atomic(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Permissions of a file or a folder, as `chmod` writes them.
#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o7777
}

/// Runs `work` in `place`, in a process of its own under `umask`: that, and the number of operations, belong to
/// whole processes. That is the one of the same test, called `name`, started again; `true` there, once it is done.
#[cfg(unix)]
fn alone(name: &str, umask: &str, place: &Path, work: impl FnOnce(&Path)) -> bool {
    const CHILD: &str = "RIGL_TEST_ALONE";
    if let Some(place) = std::env::var_os(CHILD) {
        work(Path::new(&place));
        return true;
    }
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask]);
    shell.arg(std::env::current_exe().unwrap()).args(["--exact", &format!("files::tests::{name}")]);
    let output = shell.env(CHILD, place).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    false
}

#[cfg(unix)]
#[test]
fn new_files_and_folders_have_the_permissions_that_the_umask_leaves() {
    for (umask, file, folder) in [("077", 0o600, 0o700), ("022", 0o644, 0o755), ("002", 0o664, 0o775)] {
        let place = tempfile::tempdir().unwrap();
        let name = "new_files_and_folders_have_the_permissions_that_the_umask_leaves";
        let work = |place: &Path| {
            create_folder(&place.join("a/b")).unwrap();
            write_atomic(&place.join("a/file"), b"x").unwrap();
            Log::open(&place.join("a/log"), 0).unwrap();
        };
        if alone(name, umask, place.path(), work) {
            return;
        }
        for (path, expected) in [("a", folder), ("a/b", folder), ("a/file", file), ("a/log", file)] {
            assert_eq!(mode(&place.path().join(path)), expected, "{path} under {umask}");
        }
    }
}

#[cfg(unix)]
#[test]
fn what_is_made_is_synced_into_the_folder_above_it() {
    let place = tempfile::tempdir().unwrap();
    let work = |place: &Path| {
        let operations = |work: &dyn Fn()| {
            let before = fault::operations();
            work();
            fault::operations() - before
        };
        let folder = |path| operations(&|| create_folder(&place.join(path)).unwrap());
        // One that makes them all, and one for each that is made, or for the last where none is.
        assert_eq!([folder("a/b/c"), folder("a/b/d/e"), folder("a/b")], [4, 3, 2]);
        let log = || drop(Log::open(&place.join("log"), 0).unwrap());
        assert_eq!([operations(&log), operations(&log)], [2, 1]);
    };
    if alone("what_is_made_is_synced_into_the_folder_above_it", "022", place.path(), work) {
        return;
    }
    assert!(place.path().join("a/b/d/e").is_dir());
}

#[cfg(unix)]
#[test]
fn a_file_that_is_replaced_keeps_its_permissions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    for expected in [0o600, 0o640, 0o444, 0o666] {
        write_atomic(&path, b"one").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(expected)).unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!((mode(&path), fs::read(&path).unwrap()), (expected, b"two".to_vec()));
    }
}

#[test]
fn a_log_is_cut_to_the_length_it_is_opened_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = Log::open(&path, 0).unwrap();
    log.append(b"first\n").unwrap();
    let keep = log.len();
    log.append(b"second\n").unwrap();
    log.sync().unwrap();
    drop(log);
    let mut log = Log::open(&path, keep).unwrap();
    log.append(b"third\n").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first\nthird\n");
    assert!(Log::open(&path, 1000).is_err());
}

#[test]
fn a_finished_log_takes_the_place_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let [part, path] = ["data.part", "data"].map(|name| folder.path().join(name));
    write_atomic(&path, b"old").unwrap();
    let mut log = Log::open(&part, 0).unwrap();
    log.append(b"new").unwrap();
    log.finish(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_new_folder_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    assert!(create_new_folder(&path).unwrap());
    assert!(!create_new_folder(&path).unwrap());
}

#[test]
fn sweeping_removes_temporary_files_of_the_program_s_own_alone() {
    let folder = tempfile::tempdir().unwrap();
    let others =
        ["a", ".a.tmp", ".a.x.tmp", ".b.aB3xYz.tmp", "a.aB3xYz.tmp", ".a.aB3_Yz.tmp", "..aB3xYz.tmp"];
    for name in others.iter().chain(&[".a.aB3xYz.tmp"]) {
        fs::write(folder.path().join(name), b"x").unwrap();
    }
    fs::create_dir(folder.path().join(".a.folder.tmp")).unwrap();
    sweep(folder.path(), |name| name == "a").unwrap();
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    let mut expected = [&others[..], &[".a.folder.tmp"]].concat();
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn abandoned_temporary_files_are_cleared_and_those_being_written_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for name in [".a.aB3xYz.tmp", ".b.aB3xYz.tmp"] {
        fs::write(folder.path().join(name), b"x").unwrap();
    }
    write_atomic_with(&path, |writer| {
        clear_abandoned(&path);
        writer.write_all(b"whole")
    })
    .unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"whole");
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".b.aB3xYz.tmp", "a"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let [elsewhere, target, link, lost] =
        ["b", "b/target", "link", "lost"].map(|name| folder.path().join(name));
    fs::create_dir(&elsewhere).unwrap();
    fs::write(&target, b"old").unwrap();
    std::os::unix::fs::symlink("b/target", &link).unwrap();
    std::os::unix::fs::symlink("b/nothing", &lost).unwrap();
    fs::write(elsewhere.join(".target.aB3xYz.tmp"), b"half").unwrap();
    clear_abandoned(&link);
    write_atomic(&link, b"new").unwrap();
    assert!(link.is_symlink() && fs::read(&target).unwrap() == b"new");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    assert!(write_atomic(&lost, b"new").is_err() && lost.is_symlink());
    // Nor are they the program's own files, which it writes to in place.
    for error in [
        Log::open(&link, 0).map(drop).unwrap_err(),
        open_lock_file(&link).map(drop).unwrap_err(),
        open_for_appending(&link).map(drop).unwrap_err(),
    ] {
        assert!(error.to_string().ends_with("link`: it is a link, expected a file"), "{error}");
    }
    let mut log = Log::open(&folder.path().join("log"), 0).unwrap();
    log.append(b"x").unwrap();
    assert!(log.finish(&link).is_err() && link.is_symlink());
    assert_eq!(fs::read(&target).unwrap(), b"new");
}

#[cfg(unix)]
#[test]
fn nothing_waits_for_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        assert!(open(path).unwrap_err().to_string().ends_with("`: not a file"));
        assert!(write_atomic(path, b"x").unwrap_err().to_string().ends_with("a pipe is in its place"));
    }
    assert!(Log::open(&path, 0).unwrap_err().to_string().ends_with("it is a pipe, expected a file"));
    assert!(open_lock_file(&path).is_err() && open_for_appending(&path).is_err());
}

#[test]
fn a_folder_is_renamed_to_a_free_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
    create_folder(&a).unwrap();
    create_folder(&b).unwrap();
    assert!(rename(&a, &b).unwrap_err().to_string().contains("is there already"));
    rename(&a, &c).unwrap();
    assert!(!a.exists() && c.is_dir());
    fs::write(c.join("x"), b"").unwrap();
    assert!(remove_empty_folder(&c).is_err() && c.join("x").exists());
}

#[test]
fn errors_name_the_file() {
    let error = write_atomic(Path::new("/nowhere/at/all/x"), b"").unwrap_err();
    assert!(error.to_string().contains("/nowhere/at/all/x"), "{error}");
}
