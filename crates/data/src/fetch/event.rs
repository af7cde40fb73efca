//! What a download tells whoever watches it.

use std::path::Path;

/// What happens while files are downloaded.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A file is there and whole; it is left alone.
    Kept {
        /// Its name.
        file: &'a str,
    },
    /// A file is there, but not what it should be. It is replaced once the right one is there.
    Damaged {
        /// The file as it lies there.
        path: &'a Path,
        /// What is wrong with it.
        damage: &'a str,
    },
    /// A mirror sends a file.
    Started {
        /// Its name.
        file: &'a str,
        /// The address it comes from.
        url: &'a str,
        /// Bytes of it that are kept from an earlier attempt.
        from: u64,
        /// Its size in bytes.
        bytes: u64,
    },
    /// So many bytes of the file are there.
    Progress {
        /// Bytes, with those of earlier attempts.
        bytes: u64,
    },
    /// An address did not give the file; it is asked again, or another one is.
    Failed {
        /// The address.
        url: &'a str,
        /// Why not.
        reason: &'a str,
    },
    /// A file is there, verified, under its name.
    Done {
        /// Its name.
        file: &'a str,
    },
}
