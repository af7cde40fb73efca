//! One run as a child process: the same program, `train --resume` on the run's folder. The child's standard input stays
//! open as long as it shall train; its end, when this process wants it or dies, makes the child save and stop.

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rigl_base::{Error, Result, files};
use rigl_metrics::Summary;

use crate::plan::PlannedRun;

/// How much of what a child said is looked at.
const LONGEST: u64 = 64 << 10;

/// The exit codes of a run that was told to stop, and has saved.
const STOPPED: [i32; 2] = [130, 143];

/// The exit code of a run started with `--stop-at-eof` that another process has: among those of `sysexits.h` it says that
/// trying again later may help. Without the flag it is that of [`Kind::Busy`](rigl_base::Kind::Busy), as of other mistakes.
pub const BUSY: u8 = 75;

/// A run under way.
pub(crate) struct Child {
    process: std::process::Child,
    log: PathBuf,
    /// How long the log was before.
    before: u64,
}

/// How a child ended.
pub(crate) enum Ended {
    /// At its last step.
    Finished(Box<Summary>),
    /// As it was told to, with its run saved or before there was anything to save; how, in one line.
    Stopped(String),
    /// By a signal that it did not listen to, with nothing saved since its last checkpoint; how, in one line.
    Killed(String),
    /// Because another process has the run; which, in one line.
    Busy(String),
    /// Otherwise; why, in one line.
    Failed(String),
}

impl Child {
    /// Goes on with the run, whose folder holds its configuration.
    ///
    /// # Errors
    /// [`Kind::Environment`](rigl_base::Kind::Environment) if the process cannot be started.
    pub(crate) fn start(run: &PlannedRun, program: &Path, arguments: &[OsString]) -> Result<Child> {
        // Beside the folder, which is the child's alone.
        let log = run.path.with_file_name(format!("{}.log", run.name));
        let output = files::open_for_appending(&log)?;
        let before = output.metadata().map_err(|e| Error::io("cannot read", &log, e))?.len();
        let mut resume = OsString::from("--resume=");
        resume.push(&run.path);
        let process = Command::new(program)
            .arg("train")
            .arg(resume)
            .args(["--stop-at-eof", "--quiet", "--no-progress"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(|e| Error::io("cannot start", program, e))?;
        Ok(Child { process, log, before })
    }

    /// Tells it to save and stop.
    pub(crate) fn stop(&mut self) {
        drop(self.process.stdin.take());
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// [`Kind::Environment`](rigl_base::Kind::Environment) if the system does not tell.
    pub(crate) fn ended(&mut self, run: &PlannedRun) -> Result<Option<Ended>> {
        let status = self.process.try_wait().map_err(|e| Error::io("cannot wait for", &run.path, e))?;
        let Some(status) = status else { return Ok(None) };
        let said = self.said();
        // What it said when it failed before is of no more use once it is finished.
        if said.is_empty() && (self.before == 0 || status.success()) {
            let _ = files::remove(&self.log);
        }
        Ok(Some(match status.code() {
            Some(0) => match Summary::read(&run.path.join("summary.json")) {
                Ok(summary) => Ended::Finished(Box::new(summary)),
                Err(error) => Ended::Failed(error.to_string()),
            },
            Some(code) if STOPPED.contains(&code) => Ended::Stopped("was stopped by a signal".into()),
            Some(code) if code == i32::from(BUSY) => Ended::Busy(reason(&said, status)),
            Some(_) => Ended::Failed(reason(&said, status)),
            None => Ended::Killed(reason(&said, status)),
        }))
    }

    /// The file with what it said, if it said something.
    pub(crate) fn log(&self) -> Option<PathBuf> {
        let length = self.log.metadata().map_or(0, |log| log.len());
        (length > self.before).then(|| self.log.clone())
    }

    /// What it said, or the end of that.
    fn said(&self) -> String {
        let Ok(mut file) = files::open(&self.log) else { return String::new() };
        let mut read = || -> std::io::Result<Vec<u8>> {
            let from = self.before.max(file.metadata()?.len().saturating_sub(LONGEST));
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            (&mut file).take(LONGEST).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }
}

/// The last line that says `error:`, or else the last of all, or else how the process ended. A process that a signal
/// ended had no last word: what it said before is not why.
fn reason(said: &str, status: ExitStatus) -> String {
    let lines = || said.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().find_map(|line| line.strip_prefix("error: "));
    let last = || lines().next().filter(|_| status.code().is_some());
    error.or_else(last).map_or_else(|| format!("ended with {status}"), String::from)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_reason_is_the_last_error_or_the_last_line_or_how_it_ended() {
        let reason = |said: &str| reason(said, ExitStatus::from_raw(2 << 8));
        assert_eq!(reason("error: a\nerror: b\n\nhint: c\n"), "b");
        assert_eq!(reason("warning: a\nthread panicked\n\n"), "thread panicked");
        assert_eq!(reason(""), "ended with exit status: 2");
        assert_eq!(super::reason("warning: a", ExitStatus::from_raw(9)), "ended with signal: 9 (SIGKILL)");
    }
}
