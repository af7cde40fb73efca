//! One request for one file: what is there already is asked for no more, what comes is appended to `NAME.part`,
//! and the whole is verified before it takes its name. Nothing that a server says is believed: neither lengths nor
//! ranges, nor that it will ever end.

use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rigl_base::{Error, files};
use ureq::http::{HeaderMap, StatusCode, header};
use ureq::{Agent, Body, Timeout};

use super::event::Event;
use crate::source::Form;

/// Most that is read at a time.
const PIECE: usize = 1 << 16;

/// Why there is no file yet.
pub(super) enum Trouble {
    /// This machine failed.
    Disk(Error),
    /// The connection failed, or the server for now: it may be asked again.
    Broken(String),
    /// The server does not go on where the last download ended.
    Range(String),
    /// The server does not give the file.
    Refused(String),
    /// The server has another file.
    Wrong(String),
}

/// Gets what is missing of a file from `url`, verifies the whole and gives it its name in `place`.
pub(super) fn transfer(
    agent: &Agent,
    url: &str,
    form: &Form<'_>,
    place: &Path,
    stop: &AtomicBool,
    on: &mut dyn FnMut(Event<'_>),
) -> Result<(), Trouble> {
    let part = place.join(format!("{}.part", form.name));
    let there = part.metadata().map_or(0, |metadata| metadata.len());
    let mut log;
    let resumed;
    if there == form.bytes && there > 0 {
        resumed = true;
        log = files::Log::open(&part, there).map_err(Trouble::Disk)?;
    } else {
        // More than the whole cannot be the beginning of it.
        let there = if there > form.bytes { 0 } else { there };
        let (body, from) = match ask(agent, url, form, there) {
            Err(Trouble::Range(reason)) => {
                // Next time all of it is asked for.
                files::remove(&part).map_err(Trouble::Disk)?;
                return Err(Trouble::Broken(reason));
            }
            answer => answer?,
        };
        resumed = from > 0;
        log = files::Log::open(&part, from).map_err(Trouble::Disk)?;
        on(Event::Started { file: form.name, url, from, bytes: form.bytes });
        let received = receive(body, form, &mut log, stop, on);
        if matches!(received, Err(Trouble::Wrong(_))) {
            // The beginning of another file is of no use.
            drop(log);
            files::remove(&part).map_err(Trouble::Disk)?;
            return received;
        }
        received?;
    }
    if let Some(damage) = form.damage(&part, true) {
        drop(log);
        files::remove(&part).map_err(Trouble::Disk)?;
        // The beginning may be another server's, or of another day: this one gets a chance to send all of it.
        return Err(match resumed {
            true => Trouble::Broken(format!("completed a file that {damage}")),
            false => Trouble::Wrong(format!("sent a file that {damage}")),
        });
    }
    log.finish(&place.join(form.name)).map_err(Trouble::Disk)
}

/// Asks for the file from byte `there` on; gives the body, and where it begins: at `there`, or at 0 if the server
/// does not do ranges.
fn ask(agent: &Agent, url: &str, form: &Form<'_>, there: u64) -> Result<(Body, u64), Trouble> {
    let mut request = agent.get(url);
    if there > 0 {
        request = request.header(header::RANGE, format!("bytes={there}-"));
    }
    let response = request.call().map_err(|e| Trouble::Broken(explain(e)))?;
    let status = response.status();
    let from = match status {
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT if there > 0 => {
            if !begins_at(response.headers(), there) {
                return Err(Trouble::Range(format!("was asked for byte {there} on, sent another range")));
            }
            there
        }
        StatusCode::RANGE_NOT_SATISFIABLE if there > 0 => {
            return Err(Trouble::Range(format!("has no byte {there}")));
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            return Err(Trouble::Broken(format!("answered `{status}`")));
        }
        _ if status.is_server_error() => return Err(Trouble::Broken(format!("answered `{status}`"))),
        _ => return Err(Trouble::Refused(format!("answered `{status}`"))),
    };
    let rest = form.bytes - from;
    let length =
        response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        Some::<u64>(length) if length != rest => Err(Trouble::Wrong(format!(
            "says that it sends {length} bytes, expected {rest}{}",
            if from > 0 { format!(" after the {from} that are there") } else { String::new() }
        ))),
        _ => Ok((response.into_body(), from)),
    }
}

/// Whether the answer says that its range begins at `there`: `Content-Range: bytes 100-199/200`.
fn begins_at(headers: &HeaderMap, there: u64) -> bool {
    let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let first = range.and_then(|text| text.strip_prefix("bytes ")).and_then(|text| text.split('-').next());
    first.and_then(|text| text.parse().ok()) == Some(there)
}

/// Appends the body to the log, which must then hold as many bytes as the file.
fn receive(
    body: Body,
    form: &Form<'_>,
    log: &mut files::Log,
    stop: &AtomicBool,
    on: &mut dyn FnMut(Event<'_>),
) -> Result<(), Trouble> {
    let mut reader = body.into_reader();
    let mut piece = vec![0; PIECE];
    loop {
        // One byte more than is left shows that there are too many.
        let left = form.bytes - log.len();
        let most = piece.len().min(usize::try_from(left + 1).unwrap_or(usize::MAX));
        let broken =
            |what: String| Trouble::Broken(format!("{what} after {} of {} bytes", log.len(), form.bytes));
        let got = match reader.read(&mut piece[..most]) {
            // All of it, however the connection ends.
            Ok(0) | Err(_) if left == 0 => return Ok(()),
            Ok(0) => return Err(broken("ended".into())),
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken(explain(e.into()))),
        };
        if got as u64 > left {
            return Err(Trouble::Wrong(format!("sends more than the {} bytes of the file", form.bytes)));
        }
        log.append(&piece[..got]).map_err(Trouble::Disk)?;
        on(Event::Progress { bytes: log.len() });
        if stop.load(Ordering::SeqCst) {
            return Err(Trouble::Broken("was stopped".into()));
        }
    }
}

/// An error of the connection in words that follow an address.
fn explain(error: ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(Timeout::Resolve) => "was not found in time".into(),
        ureq::Error::Timeout(Timeout::Connect) => "could not be connected with in time".into(),
        ureq::Error::Timeout(_) => "sent nothing for too long".into(),
        ureq::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => "broke off".into(),
        ureq::Error::Io(e) => format!("failed: {e}"),
        other => format!("failed: {other}"),
    }
}
