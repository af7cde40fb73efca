//! What the kernels refuse.

use std::fmt;

/// Why a kernel did nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A slice is not as long as the shapes say.
    Length {
        /// Which argument.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that the shapes ask for.
        expected: usize,
    },
    /// Indices are not strictly ascending, or one lies outside the shape.
    Index {
        /// Position in the list of indices.
        position: usize,
        /// The index found there.
        found: u32,
        /// All indices must be below this.
        limit: usize,
    },
    /// A shape is too large to be addressed.
    Shape(String),
    /// A probability is not in 0 … 1; what was given.
    Probability(String),
    /// Two buffers that must be apart overlap, or one lies outside the arena.
    Overlap,
    /// The machine would not give the memory.
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// This machine has no instruction set of that name.
    Isa {
        /// The name asked for.
        name: String,
        /// The names there are.
        available: Vec<&'static str>,
    },
    /// A piece of work panicked in some thread; its message.
    Panicked(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Length { what, found, expected } => {
                write!(f, "`{what}` holds {found} values, expected {expected}")
            }
            Error::Index { position, found, limit } => {
                write!(
                    f,
                    "index {found} at position {position} is not above the one before it and below {limit}"
                )
            }
            Error::Shape(what) => write!(f, "shape too large: {what}"),
            Error::Probability(found) => write!(f, "`probability` is {found}, expected 0 … 1"),
            Error::Overlap => f.write_str("buffers overlap or lie outside the arena"),
            Error::Memory { bytes } => write!(f, "cannot get {bytes} bytes of memory"),
            Error::Isa { name, available } => {
                write!(f, "this machine has no instruction set `{name}`, only {}", available.join(", "))
            }
            Error::Panicked(message) => write!(f, "a worker thread panicked: {message}"),
        }
    }
}

impl std::error::Error for Error {}

/// `found == expected`, or [`Error::Length`].
pub(crate) fn check_len(what: &'static str, found: usize, expected: usize) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Length { what, found, expected }) }
}
