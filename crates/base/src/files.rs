//! The only functions of the workspace that write to disk. A file is either whole or absent: it is written
//! under a temporary name, synced, renamed, and its folder synced. Logs are appended to and can be cut.
//!
//! Every elementary operation passes the [`fault`] hook, which tests use to fail, tear or abort the k-th one.
#![allow(clippy::disallowed_methods)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

pub mod fault {
    //! Faults for tests: the k-th write operation of this process fails, is torn, or ends the process.

    use std::sync::atomic::{AtomicU64, Ordering};

    /// What happens at the chosen operation.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub enum Fault {
        /// The operation returns an error and does nothing.
        Fail,
        /// Half of the bytes are written, then an error is returned.
        Tear,
        /// Half of the bytes are written, then the process is aborted.
        Abort,
    }

    static LEFT: AtomicU64 = AtomicU64::new(u64::MAX);
    static KIND: AtomicU64 = AtomicU64::new(0);
    static DONE: AtomicU64 = AtomicU64::new(0);

    /// Arms the hook: the `k`-th operation from now on (counted from 1) meets `fault`; later ones succeed.
    pub fn arm(k: u64, fault: Fault) {
        KIND.store(fault as u64, Ordering::SeqCst);
        LEFT.store(k, Ordering::SeqCst);
    }

    /// Operations done by this process so far.
    pub fn operations() -> u64 {
        DONE.load(Ordering::SeqCst)
    }

    pub(super) fn next() -> Option<Fault> {
        DONE.fetch_add(1, Ordering::SeqCst);
        if LEFT.load(Ordering::SeqCst) == u64::MAX || LEFT.fetch_sub(1, Ordering::SeqCst) != 1 {
            return None;
        }
        LEFT.store(u64::MAX, Ordering::SeqCst);
        Some([Fault::Fail, Fault::Tear, Fault::Abort][KIND.load(Ordering::SeqCst) as usize])
    }
}

fn injected() -> io::Error {
    io::Error::other("injected fault")
}

/// Runs `whole`, unless this operation is the one chosen to fail; `half` is what a torn one does first.
fn operation<T>(whole: impl FnOnce() -> io::Result<T>, half: impl FnOnce()) -> io::Result<T> {
    match fault::next() {
        None => whole(),
        Some(fault::Fault::Fail) => Err(injected()),
        Some(fault::Fault::Tear) => {
            half();
            Err(injected())
        }
        Some(fault::Fault::Abort) => {
            half();
            std::process::abort()
        }
    }
}

fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    // Two handles on one file, since only one of the two closures runs.
    let cell = std::cell::RefCell::new(file);
    operation(
        || cell.borrow_mut().write_all(bytes),
        || {
            let _ = cell.borrow_mut().write_all(&bytes[..bytes.len() / 2]);
        },
    )
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    operation(
        || {
            // Only Unix can open a folder to sync it; elsewhere the rename itself has to do.
            #[cfg(unix)]
            File::open(folder)?.sync_all()?;
            let _ = folder;
            Ok(())
        },
        || {},
    )
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Replaces `path` with a file holding `bytes`, all or nothing. After it returns the file survives a power
/// cut; whatever happens before that, a reader finds the old file (or none) or the whole new one. It has the permissions
/// of the file that it replaces, or else those that the process's umask leaves a new one.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file; the temporary file is removed if it can be.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic_with(path, |writer| writer.write_all(bytes))
}

/// Where [`write_atomic_with`] writes to, piece by piece.
#[derive(Debug)]
pub struct AtomicWriter<'a>(&'a mut File);

impl AtomicWriter<'_> {
    /// Writes the next piece.
    ///
    /// # Errors
    /// What the system says; the whole write fails with it.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_all(self.0, bytes)
    }
}

/// [`write_atomic`] of a file that is made piece by piece, and so is never in memory as a whole.
///
/// # Errors
/// As [`write_atomic`], and whatever `write` returns.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut AtomicWriter<'_>) -> io::Result<()>,
) -> Result<()> {
    let folder = folder_of(path);
    let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let run = move || -> io::Result<()> {
        let mut temporary = operation(|| temporary_file(folder, &prefix), || {})?;
        write(&mut AtomicWriter(temporary.as_file_mut()))?;
        take_over_permissions(path, temporary.as_file())?;
        operation(|| temporary.as_file().sync_all(), || {})?;
        operation(|| temporary.persist(path).map_err(|e| e.error), || {})?;
        sync_folder(folder)
    };
    run().map_err(|e| Error::io("cannot write", path, e))
}

/// The ending of temporary files; readers of a folder skip these, and [`sweep`] removes them.
pub const TEMPORARY: &str = ".tmp";

/// A file whose permissions are what the umask leaves, as those of every file of the system; left to itself, the crate
/// would make it private.
fn temporary_file(folder: &Path, prefix: &str) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(prefix).suffix(TEMPORARY).tempfile_in(folder)
}

/// Gives `new` the permissions of the file at `path`, if there is one.
fn take_over_permissions(path: &Path, new: &File) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(old) if cfg!(unix) && old.is_file() => new.set_permissions(old.permissions()),
        _ => Ok(()),
    }
}

/// Removes temporary files that a killed process left in `folder`. Only its owner may call this.
///
/// # Errors
/// If the folder cannot be read; files that cannot be removed are left.
pub fn sweep(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("cannot read folder", folder, e))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(TEMPORARY) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Creates a folder and those above it; no error if it is there already. After it returns all of them survive a power
/// cut.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the folder.
pub fn create_folder(path: &Path) -> Result<()> {
    // Each is an entry in the folder above it, which is what has to be synced.
    let made = path.ancestors().filter(|folder| !folder.as_os_str().is_empty());
    let made: Vec<&Path> = made.take_while(|folder| *folder == path || !folder.is_dir()).collect();
    operation(|| fs::create_dir_all(path), || {})
        .and_then(|()| made.iter().rev().try_for_each(|folder| sync_folder(folder_of(folder))))
        .map_err(|e| Error::io("cannot create folder", path, e))
}

/// Creates one folder that must not exist yet. `Ok(false)` if something of that name is there already.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the folder.
pub fn create_new_folder(path: &Path) -> Result<bool> {
    match operation(|| fs::create_dir(path), || {}) {
        Ok(()) => sync_folder(folder_of(path)).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
    .map_err(|e| Error::io("cannot create folder", path, e))
}

/// Removes a file; no error if there is none.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file.
pub fn remove(path: &Path) -> Result<()> {
    match operation(|| fs::remove_file(path), || {}) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("cannot remove", path, e)),
        _ => Ok(()),
    }
}

/// Removes a folder with everything in it; no error if there is none.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the folder.
pub fn remove_folder(path: &Path) -> Result<()> {
    match operation(|| fs::remove_dir_all(path), || {}) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("cannot remove folder", path, e)),
        _ => Ok(()),
    }
}

/// Opens (creating it if need be) a file that serves as a lock and holds a short text about its owner.
/// Nothing is locked yet.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file.
pub fn open_lock_file(path: &Path) -> Result<File> {
    operation(|| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path), || {})
        .map_err(|e| Error::io("cannot open lock", path, e))
}

/// Opens (creating it if need be) a file at whose end another process may write: what a child says goes there.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file.
pub fn open_for_appending(path: &Path) -> Result<File> {
    operation(|| OpenOptions::new().append(true).create(true).open(path), || {})
        .map_err(|e| Error::io("cannot open", path, e))
}

/// Replaces the text of an open lock file. Not atomic: only its holder reads meaning into it.
///
/// # Errors
/// [`Kind::Environment`](crate::Kind::Environment), naming the file.
pub fn write_lock_text(file: &mut File, path: &Path, text: &str) -> Result<()> {
    let mut run = || -> io::Result<()> {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        write_all(file, text.as_bytes())
    };
    run().map_err(|e| Error::io("cannot write lock", path, e))
}

/// A file that grows at its end. Lengths are kept here, so that a torn append can be cut off again.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Log {
    /// Opens `path`, creating it if need be (its name then survives a power cut), and cuts it to `len` bytes if it is longer.
    ///
    /// # Errors
    /// [`Kind::Environment`](crate::Kind::Environment) if it cannot be opened, or is shorter than `len`.
    pub fn open(path: &Path, len: u64) -> Result<Log> {
        let run = || -> io::Result<File> {
            let is_new = !path.exists();
            let mut file = operation(
                || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path),
                || {},
            )?;
            let found = file.metadata()?.len();
            if found < len {
                return Err(io::Error::other(format!("{found} bytes long, expected at least {len}")));
            }
            if found > len {
                operation(|| file.set_len(len), || {})?;
            }
            file.seek(SeekFrom::Start(len))?;
            if is_new {
                sync_folder(folder_of(path))?;
            }
            Ok(file)
        };
        let file = run().map_err(|e| Error::io("cannot open", path, e))?;
        Ok(Log { file, path: path.to_path_buf(), len })
    }

    /// Appends `bytes`. After an error the log is cut back to where it was, if that can be done.
    ///
    /// # Errors
    /// [`Kind::Environment`](crate::Kind::Environment), naming the file.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        match write_all(&mut self.file, bytes) {
            Ok(()) => {
                self.len += bytes.len() as u64;
                Ok(())
            }
            Err(e) => {
                let _ = self.file.set_len(self.len);
                let _ = self.file.seek(SeekFrom::Start(self.len));
                Err(Error::io("cannot write", &self.path, e))
            }
        }
    }

    /// Makes everything appended so far survive a power cut.
    ///
    /// # Errors
    /// [`Kind::Environment`](crate::Kind::Environment), naming the file.
    pub fn sync(&mut self) -> Result<()> {
        let file = &self.file;
        operation(|| file.sync_data(), || {}).map_err(|e| Error::io("cannot sync", &self.path, e))
    }

    /// Ends the log: syncs it and gives it the name `path`, in the same folder, in place of a file of that name.
    /// As with [`write_atomic`], a reader of `path` finds the old file (or none) or the whole new one.
    ///
    /// # Errors
    /// [`Kind::Environment`](crate::Kind::Environment), naming the file; what was appended is still there.
    pub fn finish(mut self, path: &Path) -> Result<()> {
        self.sync()?;
        // Not every system renames a file that is open.
        let Log { file, path: from, .. } = self;
        drop(file);
        operation(|| fs::rename(&from, path), || {})
            .and_then(|()| sync_folder(folder_of(path)))
            .map_err(|e| Error::io("cannot write", path, e))
    }

    /// Bytes in the log.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the log holds nothing yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
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
    fn sweeping_removes_temporary_files_only() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".a.xyz.tmp"), b"x").unwrap();
        fs::write(folder.path().join("a"), b"x").unwrap();
        sweep(folder.path()).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["a"]);
    }

    #[test]
    fn errors_name_the_file() {
        let error = write_atomic(Path::new("/nowhere/at/all/x"), b"").unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all/x"), "{error}");
    }
}
