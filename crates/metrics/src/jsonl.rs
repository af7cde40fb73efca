//! The event log on disk: one event a line, appended. It may be cut back to an earlier length, when a run goes
//! on from a checkpoint, and its last line may be torn, when a run was killed.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rigl_base::{Error, Result, files, shown};

use crate::event::Record;

/// Most bytes that a reader accepts in one line: 16 MiB.
const LONGEST_LINE: usize = 16 << 20;

/// The log of a running run. Each event is one append: a failed one leaves the log as it was, if that can be.
#[derive(Debug)]
pub struct EventLog {
    log: files::Log,
    path: PathBuf,
}

impl EventLog {
    /// Opens the log, creating it if need be, and cuts it to its first `len` bytes.
    ///
    /// # Errors
    /// `Kind::Environment` if it cannot be opened or is shorter; `Kind::Data` if no line ends there.
    pub fn open(path: &Path, len: u64) -> Result<EventLog> {
        check_end(path, len)?;
        Ok(EventLog { log: files::Log::open(path, len)?, path: path.to_path_buf() })
    }

    /// Appends an event.
    ///
    /// # Errors
    /// `Kind::Environment` if it cannot be written.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let line = record.to_line()?;
        if line.len() > LONGEST_LINE {
            return Err(Error::internal(format!(
                "event `{}` of {} bytes for `{}`, readers take {LONGEST_LINE}",
                record.event.name(),
                line.len(),
                shown::path(&self.path)
            )));
        }
        self.log.append(line.as_bytes())
    }

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// `Kind::Environment`, naming the file.
    pub fn sync(&mut self) -> Result<()> {
        self.log.sync()
    }

    /// Bytes in the log: what a checkpoint notes after a [`EventLog::sync`].
    pub fn len(&self) -> u64 {
        self.log.len()
    }

    /// Whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }
}

/// How much of the first `len` bytes of a log is there: all of them, or, if the file is shorter, those up to the end of
/// its last whole line. Nothing of a log that is lost.
///
/// # Errors
/// `Kind::Environment` if it cannot be read; `Kind::Data` if it is long enough and no line ends there, so that it is
/// another log.
pub fn kept_length(path: &Path, len: u64) -> Result<u64> {
    if matches!(path.symlink_metadata(), Err(e) if e.kind() == ErrorKind::NotFound) {
        return Ok(0);
    }
    let cannot = |e| Error::io("cannot read", path, e);
    let mut file = files::open(path)?;
    let found = file.metadata().map_err(cannot)?.len();
    if found >= len {
        check_end(path, len)?;
        return Ok(len);
    }
    let from = found.saturating_sub(LONGEST_LINE as u64);
    file.seek(SeekFrom::Start(from)).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(found - from).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| from + at as u64 + 1))
}

/// A line must end where the log is cut, or the next event would be glued to half of another. A log that is
/// absent or too short is left to `files::Log` to report.
fn check_end(path: &Path, len: u64) -> Result<()> {
    let Some(last) = len.checked_sub(1) else { return Ok(()) };
    if !path.exists() {
        return Ok(());
    }
    let mut file = files::open(path)?;
    let mut byte = [b'\n'];
    let read = file.seek(SeekFrom::Start(last)).and_then(|_| file.read(&mut byte));
    read.map_err(|e| Error::io("cannot read", path, e))?;
    if byte == [b'\n'] {
        return Ok(());
    }
    Err(Error::data(format!("`{}`: no line ends at byte {len}, where it was to be cut", shown::path(path)))
        .hint("move it elsewhere: the run goes on with a new log"))
}

/// The last whole event of a log that may still be written to: where a run stands. `None` if there is none, or its
/// line is longer than 64 KiB.
///
/// # Errors
/// `Kind::Environment` if the log cannot be read.
pub fn last_record(path: &Path) -> Result<Option<Record>> {
    let cannot = |e| Error::io("cannot read", path, e);
    let mut file = files::open(path)?;
    let length = file.metadata().map_err(cannot)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).map_err(cannot)?;
    // What stands behind the last line feed is torn, or being written.
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    let lines = bytes[..whole].rsplit(|&byte| byte == b'\n');
    Ok(lines.map_while(|line| Record::parse(line).ok()).flatten().next())
}

/// How much of a log's end [`last_record`] reads.
const TAIL: u64 = 64 << 10;

/// Reads a log, event by event. Unknown events are passed over, and so is a last line without a line feed.
/// After an error there is nothing more.
#[derive(Debug)]
pub struct EventReader<R = BufReader<File>> {
    input: Option<R>,
    path: PathBuf,
    line: u64,
    buffer: Vec<u8>,
}

impl EventReader {
    /// Opens a log for reading; it may still be written to.
    ///
    /// # Errors
    /// `Kind::Environment`, naming the file.
    pub fn open(path: &Path) -> Result<EventReader> {
        Ok(EventReader::new(BufReader::new(files::open(path)?), path))
    }
}

impl<R: BufRead> EventReader<R> {
    /// Reads a log from anywhere; `path` is what messages call it.
    pub fn new(input: R, path: impl Into<PathBuf>) -> EventReader<R> {
        EventReader { input: Some(input), path: path.into(), line: 0, buffer: Vec::new() }
    }

    fn next_record(&mut self) -> Result<Option<Record>> {
        let Some(input) = &mut self.input else { return Ok(None) };
        loop {
            self.line += 1;
            self.buffer.clear();
            let mut limited = input.take(LONGEST_LINE as u64 + 1);
            limited
                .read_until(b'\n', &mut self.buffer)
                .map_err(|e| Error::io("cannot read", &self.path, e))?;
            let place = || format!("`{}`, line {}", shown::path(&self.path), self.line);
            if self.buffer.len() > LONGEST_LINE {
                return Err(Error::data(format!("longer than {LONGEST_LINE} bytes")).context(place()));
            }
            if self.buffer.last() != Some(&b'\n') {
                return Ok(None);
            }
            if let Some(record) = Record::parse(&self.buffer).map_err(|e| e.context(place()))? {
                return Ok(Some(record));
            }
        }
    }
}

impl<R: BufRead> Iterator for EventReader<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        let next = self.next_record().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.input = None;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::samples;
    use proptest::prelude::*;
    use rigl_base::Kind;

    fn read(path: &Path) -> Result<Vec<Record>> {
        EventReader::open(path)?.collect()
    }

    /// A log of one of each event.
    fn written() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut log = EventLog::open(&path, 0).unwrap();
        assert!(log.is_empty());
        for record in samples() {
            log.write(&record).unwrap();
        }
        log.sync().unwrap();
        assert_eq!(log.len(), std::fs::metadata(&path).unwrap().len());
        (folder, path)
    }

    #[test]
    fn what_was_written_is_read() {
        let (_folder, path) = written();
        assert_eq!(read(&path).unwrap(), samples());
    }

    #[test]
    fn a_log_cut_anywhere_gives_the_whole_lines() {
        let (_folder, path) = written();
        let bytes = std::fs::read(&path).unwrap();
        for length in (0..bytes.len()).rev() {
            files::Log::open(&path, length as u64).unwrap();
            let whole = bytes[..length].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(read(&path).unwrap(), samples()[..whole], "cut to {length}");
        }
    }

    #[test]
    fn the_last_event_is_that_of_the_last_whole_line() {
        let (_folder, path) = written();
        let bytes = std::fs::read(&path).unwrap();
        for length in (0..bytes.len()).rev() {
            files::Log::open(&path, length as u64).unwrap();
            let whole = bytes[..length].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(last_record(&path).unwrap().as_ref(), samples()[..whole].last(), "cut to {length}");
        }
        let mut log = EventLog::open(&path, 0).unwrap();
        (0..1000).for_each(|_| samples().iter().for_each(|record| log.write(record).unwrap()));
        assert_eq!(last_record(&path).unwrap().as_ref(), samples().last());
    }

    #[test]
    fn resuming_cuts_the_log_where_it_is_told() {
        let (_folder, path) = written();
        let keep = samples()[..3].iter().map(|r| r.to_line().unwrap().len() as u64).sum();
        let mut log = EventLog::open(&path, keep).unwrap();
        log.write(&samples()[6]).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found[..3], samples()[..3]);
        assert_eq!(found[3..], samples()[6..7]);
    }

    #[test]
    fn a_log_is_not_cut_inside_a_line_nor_made_longer() {
        let (_folder, path) = written();
        let before = std::fs::read(&path).unwrap();
        assert_eq!(EventLog::open(&path, 5).unwrap_err().kind(), Kind::Data);
        let beyond = before.len() as u64 + 1;
        assert_eq!(EventLog::open(&path, beyond).unwrap_err().kind(), Kind::Environment);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_bad_line_is_named_by_file_and_number_and_ends_the_reading() {
        let (_folder, path) = written();
        let mut log = files::Log::open(&path, std::fs::metadata(&path).unwrap().len()).unwrap();
        log.append(b"{\"event\":\"party\"}\nhello\n{\"event\":\"party\"}\n").unwrap();
        let found: Vec<_> = EventReader::open(&path).unwrap().collect();
        assert_eq!(found.len(), samples().len() + 1);
        let error = found.last().unwrap().as_ref().unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.to_string().contains("metrics.jsonl`, line 10: not an event"), "{error}");
    }

    #[test]
    fn a_line_without_end_is_not_read_into_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        files::write_atomic(&path, &vec![b' '; LONGEST_LINE + 10]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 1: longer than"));
    }

    #[test]
    fn an_absent_log_is_an_error_of_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().join("log")).unwrap_err().kind(), Kind::Environment);
    }

    proptest! {
        #[test]
        fn random_lines_are_errors_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let line = bytes.split(|&b| b == b'\n').next().unwrap();
            prop_assert!(Record::parse(line).is_err());
        }

        #[test]
        fn a_changed_byte_gives_other_events_or_an_error(at in 0usize..300, to in any::<u8>()) {
            let mut line = samples()[4].to_line().unwrap().into_bytes();
            let at = at % line.len();
            prop_assume!(line[at] != to);
            line[at] = to;
            // Blanks and unread fields may differ without harm; the record itself may then not.
            if let Ok(Some(record)) = Record::parse(&line) {
                prop_assert!(Record::parse(record.to_line().unwrap().as_bytes()).unwrap() == Some(record));
            }
        }
    }
}
