//! Downloading the files of a data set, over HTTP or HTTPS: which are missing, which mirror is asked, when to give
//! up. How one file is got from one address is the business of `transfer`.
//!
//! A mirror needs no trust: nothing takes a file's name before its bytes are the right ones. That is also why
//! mirrors may be plain HTTP.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//! use rigl_data::{Datasets, fetch};
//!
//! let datasets = Datasets::default();
//! let source = datasets.source("mnist")?.expect("it is read from files");
//! let (options, stop) = (fetch::Options::default(), AtomicBool::new(false));
//! fetch::fetch(source, "data".as_ref(), &options, &stop, &mut |event| println!("{event:?}"))?;
//! # Ok::<(), rigl_base::Error>(())
//! ```

mod event;
mod transfer;

use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rigl_base::{Error, Kind, Result, files, shell};
use ureq::Agent;
use ureq::http::Uri;

use self::transfer::{Trouble, transfer};
use crate::source::{FileStatus, Form, Source};

pub use self::event::Event;
pub use ureq::Proxy;

/// The lock in the folder of a data set, held while files are downloaded into it.
const LOCK: &str = ".fetch.lock";
/// How often a wait looks whether it should stop.
const TICK: Duration = Duration::from_millis(20);

/// How to download.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses to ask in place of the source's own; see [`mirror`].
    pub mirrors: Vec<String>,
    /// Longest time to find a host, and longest time to be connected with it.
    pub connect_timeout: Duration,
    /// Longest time in which nothing comes. There is no limit to the whole: slow is not broken.
    pub stall_timeout: Duration,
    /// How often one mirror is asked for one file if the connection breaks off, at least once. Each time goes on
    /// where the last one ended.
    pub attempts: u32,
    /// Time between two attempts.
    pub pause: Duration,
    /// Whether files that are there and are not the published ones may be replaced. They are somebody's own, or damaged:
    /// nothing that was downloaded takes a name before it is verified.
    pub replace: bool,
    /// A proxy to go through. `Proxy::try_from_env()` is the one that the environment names.
    pub proxy: Option<Proxy>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            mirrors: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_secs(1),
            replace: false,
            proxy: None,
        }
    }
}

/// Where a file came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fetched {
    /// It was there and whole.
    Kept,
    /// It was downloaded from this address.
    From(String),
}

/// What became of the files.
#[derive(Clone, Debug)]
pub struct Report {
    /// The folder they lie in.
    pub place: PathBuf,
    /// Name, size in bytes and origin of each.
    pub files: Vec<(String, u64, Fetched)>,
}

/// Sees to it that the files of `source` are in `folder`, every one verified (see [`Form`]). Files that are
/// there and whole are left alone; others are downloaded to `NAME.part` beside their place, and renamed once their
/// contents are the right ones. What a broken or stopped download has got stays in its `.part`, and the next one
/// goes on from there.
///
/// Returns `None` if `stop` was set before all were there: within a moment, but for the time it may take to find
/// a host or to be connected.
///
/// # Errors
/// [`Kind::Usage`] for an address that is none, or if another file has the name of one and [`Options::replace`] is not
/// set; [`Kind::Environment`] if the disk or the network fails, or another
/// process downloads into the same folder; [`Kind::Data`] if a mirror has another file than the right one.
pub fn fetch(
    source: &Source<'_>,
    folder: &Path,
    options: &Options,
    stop: &AtomicBool,
    on: &mut dyn FnMut(Event<'_>),
) -> Result<Option<Report>> {
    let mirrors: Vec<String> = if options.mirrors.is_empty() {
        source.mirrors.iter().map(|text| mirror(text)).collect::<Result<_>>()?
    } else {
        options.mirrors.iter().map(|text| mirror(text)).collect::<Result<_>>()?
    };
    // Wherever it lies: a whole set needs no second copy in the best place.
    let status = source.status(folder, true);
    if status.is_complete() {
        let kept = status.files.into_iter().map(|file| {
            on(Event::Kept { file: &file.name });
            (file.name, file.bytes, Fetched::Kept)
        });
        return Ok(Some(Report { files: kept.collect(), place: status.place }));
    }
    let place = source.folders(folder).next().unwrap_or_else(|| folder.to_path_buf());
    if !options.replace {
        let there = source.files.iter().flat_map(|file| file.status(&place, true));
        status.files.iter().cloned().chain(there).try_for_each(|file| refuse_other(source, &file))?;
    }
    files::create_folder(&place)?;
    let _lock = lock(&place)?;
    Download { source, place, mirrors, options, agent: agent(options), stop }.run(on)
}

/// Refuses to replace a file that is not the published one.
fn refuse_other(source: &Source<'_>, file: &FileStatus) -> Result<()> {
    let (Some(path), Some(damage)) = (&file.path, &file.damage) else { return Ok(()) };
    let message = format!("`{}` {damage}; it is left as it is, and nothing was downloaded", path.display());
    Err(Error::usage(message).hint(format!(
        "`rigl data fetch {} --overwrite` puts the published file in its place, another `--data-dir` leaves it alone",
        source.name
    )))
}

/// Checks the address of a mirror, and adds the `/` at its end if it is missing.
///
/// # Errors
/// [`Kind::Usage`] if files cannot be had from such an address.
pub fn mirror(text: &str) -> Result<String> {
    let refuse = |what: &str| {
        Err(Error::usage(format!("mirror `{text}` {what}; a file's name is put at its end"))
            .hint("https://example.org/mnist/"))
    };
    if !text.starts_with("https://") && !text.starts_with("http://") {
        return refuse("does not begin with `https://` or `http://`");
    }
    let Ok(uri) = text.parse::<Uri>() else { return refuse("is not an address") };
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => return refuse("has a user's name in it"),
        Some(authority) if !authority.host().is_empty() => {}
        _ => return refuse("names no host"),
    }
    if text.contains(['?', '#']) {
        return refuse("has a query or a fragment in it");
    }
    Ok(format!("{}/", text.trim_end_matches('/')))
}

/// Nobody else may append to the `.part` files, nor rename them, while this is held.
fn lock(place: &Path) -> Result<std::fs::File> {
    let path = place.join(LOCK);
    let lock = files::open_lock_file(&path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(Error::environment(format!("another process is downloading into `{}`", place.display())))
        }
        Err(TryLockError::Error(e)) => Err(Error::io("cannot lock", &path, e)),
    }
}

fn agent(options: &Options) -> Agent {
    let config = Agent::config_builder()
        .user_agent(concat!("rigl/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .http_status_as_error(false)
        .max_redirects(5)
        .proxy(options.proxy.clone())
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_recv_response(Some(options.stall_timeout))
        .timeout_per_read(Some(options.stall_timeout))
        .timeout_per_write(Some(options.stall_timeout));
    config.build().new_agent()
}

struct Download<'a> {
    source: &'a Source<'a>,
    place: PathBuf,
    mirrors: Vec<String>,
    options: &'a Options,
    agent: Agent,
    stop: &'a AtomicBool,
}

impl Download<'_> {
    /// Downloads while another thread waits for `stop`, to close the connection then: a read that waits for the
    /// network would not look at it.
    fn run(&self, on: &mut dyn FnMut(Event<'_>)) -> Result<Option<Report>> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let guard = scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    if self.stopped() {
                        return self.agent.clone().shutdown();
                    }
                    thread::park_timeout(TICK);
                }
            });
            // Even if `on` panics: the scope waits for the thread.
            let _end = End { done: &done, guard: guard.thread().clone() };
            self.all(on)
        })
    }

    fn all(&self, on: &mut dyn FnMut(Event<'_>)) -> Result<Option<Report>> {
        let mut files = Vec::new();
        for file in self.source.files {
            let status = file.status(&self.place, true);
            if status.iter().all(FileStatus::is_good) {
                for file in status {
                    on(Event::Kept { file: &file.name });
                    files.push((file.name, file.bytes, Fetched::Kept));
                }
                continue;
            }
            for file in &status {
                if let (Some(path), Some(damage)) = (&file.path, &file.damage) {
                    on(Event::Damaged { path, damage });
                }
            }
            let form = &file.published;
            match self.one(form, on)? {
                Some(url) => files.push((form.name.into(), form.bytes, Fetched::From(url))),
                None => return Ok(None),
            }
        }
        Ok(Some(Report { place: self.place.clone(), files }))
    }

    /// Downloads a file from the first mirror that has it, and gives its address there. `None`: stopped.
    fn one(&self, form: &Form<'_>, on: &mut dyn FnMut(Event<'_>)) -> Result<Option<String>> {
        let mut reasons = Vec::new();
        let mut kind = Kind::Environment;
        for mirror in &self.mirrors {
            let url = format!("{mirror}{}", form.name);
            let reason = match self.from(&url, form, on) {
                Ok(()) => {
                    on(Event::Done { file: form.name });
                    return Ok(Some(url));
                }
                Err(Trouble::Disk(error)) => return Err(error),
                Err(_) if self.stopped() => return Ok(None),
                Err(Trouble::Broken(reason) | Trouble::Range(reason) | Trouble::Refused(reason)) => reason,
                Err(Trouble::Wrong(reason)) => {
                    kind = Kind::Data;
                    reason
                }
            };
            on(Event::Failed { url: &url, reason: &reason });
            reasons.push(format!("`{url}` {reason}"));
        }
        if reasons.is_empty() {
            reasons.push("there is no mirror to ask".into());
        }
        let (file, name) = (form.name, self.source.name);
        Err(Error::new(kind, format!("cannot download `{file}` of `{name}`: {}", reasons.join("; "))).hint(
            format!(
                "`rigl data fetch {name} --mirror URL`, or put `{file}` into `{}`",
                shell::path(&self.place)
            ),
        ))
    }

    /// Asks one mirror for a file, again if the connection breaks off.
    fn from(&self, url: &str, form: &Form<'_>, on: &mut dyn FnMut(Event<'_>)) -> Result<(), Trouble> {
        let mut attempt = 1;
        loop {
            match transfer(&self.agent, url, form, &self.place, self.stop, on) {
                Err(Trouble::Broken(reason)) if attempt < self.options.attempts && !self.stopped() => {
                    on(Event::Failed { url, reason: &reason });
                    attempt += 1;
                    self.pause();
                }
                result => return result,
            }
        }
    }

    fn pause(&self) {
        let start = Instant::now();
        while !self.stopped() {
            match self.options.pause.checked_sub(start.elapsed()) {
                Some(left) if !left.is_zero() => thread::sleep(left.min(TICK)),
                _ => break,
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Ends the thread that waits for `stop`.
struct End<'a> {
    done: &'a AtomicBool,
    guard: thread::Thread,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        self.guard.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_end_with_one_slash() {
        for text in ["https://example.org/mnist", "https://example.org/mnist/", "https://example.org/mnist//"]
        {
            assert_eq!(mirror(text).unwrap(), "https://example.org/mnist/");
        }
        assert_eq!(mirror("http://127.0.0.1:8000").unwrap(), "http://127.0.0.1:8000/");
    }

    #[test]
    fn what_is_no_address_of_a_mirror_is_refused() {
        let cases = [
            ("", "begin with"),
            ("example.org/mnist", "begin with"),
            ("ftp://example.org/", "begin with"),
            ("/home/me/mnist", "begin with"),
            ("file:///mnist", "begin with"),
            ("https://", "is not an address"),
            ("https:///mnist", "is not an address"),
            ("https://exa mple.org/", "is not an address"),
            ("http://:80/", "names no host"),
            ("https://me:secret@example.org/", "user's name"),
            ("https://example.org/?file=", "query"),
            ("https://example.org/#", "fragment"),
        ];
        for (text, part) in cases {
            let error = mirror(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(part), "`{text}`: {error}");
        }
    }

    #[test]
    fn every_known_mirror_is_an_address() {
        let datasets = crate::Datasets::default();
        for name in datasets.names() {
            for text in datasets.source(name).unwrap().map_or(&[][..], |source| source.mirrors) {
                assert_eq!(mirror(text).unwrap(), *text);
            }
        }
    }
}
