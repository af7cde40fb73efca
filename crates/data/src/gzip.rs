//! A gzipped file as people leave them: several compressed parts in a row, as joining files or some tools make them,
//! and zeros behind a part, as tapes and blocks make them.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use rigl_base::Error;

/// Most zeros behind all parts together.
const MOST_ZEROS: u64 = 1 << 20;

/// Reads the parts of a gzipped file, one after the other.
pub(crate) struct Members<R: BufRead> {
    /// The part that is read; `None` after the last one.
    member: Option<GzDecoder<R>>,
    zeros: u64,
}

impl<R: BufRead> Members<R> {
    /// A file whose first part begins here.
    pub(crate) fn new(reader: R) -> Members<R> {
        Members { member: Some(GzDecoder::new(reader)), zeros: 0 }
    }

    /// What follows a part that has ended: another one, or nothing.
    fn next(&mut self, mut reader: R) -> io::Result<Option<GzDecoder<R>>> {
        let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        loop {
            let found = reader.fill_buf()?;
            let Some(&first) = found.first() else { return Ok(None) };
            let zeros = found.iter().take_while(|&&byte| byte == 0).count();
            if zeros == 0 {
                return match first {
                    0x1f => Ok(Some(GzDecoder::new(reader))),
                    _ => invalid("other bytes follow it".into()),
                };
            }
            self.zeros += zeros as u64;
            if self.zeros > MOST_ZEROS {
                return invalid(format!("more than {MOST_ZEROS} zeros follow it"));
            }
            reader.consume(zeros);
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            if let Some(ended) = self.member.take() {
                self.member = self.next(ended.into_inner())?;
            }
        }
        Ok(0)
    }
}

/// The error for a file that could not be read, or not be decompressed; `name` stands for it in messages.
pub(crate) fn unreadable(name: &str, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            Error::data(format!("`{name}`: the gzip file ends too early")).caused_by(e)
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Error::data(format!("`{name}`: damaged gzip file")).caused_by(e)
        }
        _ => Error::environment(format!("cannot read `{name}`")).caused_by(e),
    }
}
