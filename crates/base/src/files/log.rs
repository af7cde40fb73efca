//! Files that grow at their end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::operation::{folder_of, operation, sync_folder, write_all};
use super::regular::{check, open_own};
use crate::error::{Error, Result};

/// A file that grows at its end. Lengths are kept here, so that a torn append can be cut off again.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Log {
    /// Opens `path`, creating it if nothing is expected in it (its name then survives a power cut), and cuts it to `len`
    /// bytes if it is longer. A link is not followed.
    ///
    /// # Errors
    /// [`Kind::Environment`](crate::Kind::Environment) if it cannot be opened, is no regular file, or is shorter than `len`.
    pub fn open(path: &Path, len: u64) -> Result<Log> {
        let run = || -> io::Result<File> {
            let is_new = !path.exists();
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(len == 0).truncate(false);
            let mut file = operation(|| open_own(&mut options, path), || {})?;
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

    /// Ends the log: syncs it and gives it the name `path`, in the same folder, in place of a file of that name, but
    /// of nothing else.
    /// As with [`write_atomic`](super::write_atomic), a reader of `path` finds the old file (or none) or the whole new one.
    ///
    /// # Errors
    /// [`Kind::Environment`](crate::Kind::Environment), naming the file; what was appended is still there.
    pub fn finish(mut self, path: &Path) -> Result<()> {
        self.sync()?;
        // Not every system renames a file that is open.
        let Log { file, path: from, .. } = self;
        drop(file);
        let run = || -> io::Result<()> {
            if let Ok(found) = path.symlink_metadata() {
                check(found.file_type())?;
            }
            operation(|| fs::rename(&from, path), || {})?;
            sync_folder(folder_of(path))
        };
        run().map_err(|e| Error::io("cannot write", path, e))
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
