//! `rigl data fetch`: downloads the files of a data set, with a bar on a terminal and plain lines elsewhere.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use rigl_base::{Error, Result, shown};
use rigl_data::source::Source;
use rigl_train::Registry;

use crate::output::Printer;

/// Download the files of a data set. What is there and whole is left alone; what a download that broke off has got
/// is kept, and the next one goes on from there. Every file is checked by size and SHA-256.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  rigl data fetch mnist\n  rigl data fetch fashion-mnist --data-dir ~/data\n  rigl data fetch mnist --mirror http://127.0.0.1:8000/mnist/"
)]
pub(crate) struct Fetch {
    /// The data set (see `rigl data`)
    pub(crate) name: String,
    /// Address of a folder with the files, in place of the known ones; may be given several times, the first is
    /// asked first
    #[arg(long, value_name = "URL")]
    pub(crate) mirror: Vec<String>,
    /// Replace files that are there and are not the published ones
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Plain lines in place of a progress bar
    #[arg(long, help_heading = "Output")]
    pub(crate) no_progress: bool,
}

pub(super) fn run(args: &Fetch, folder: &Path, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let name = &args.name;
    let source: &Source<'_> = registry.datasets.source(name)?.ok_or_else(|| {
        let what = match registry.datasets.has_own_files(name) {
            true => "is read from files of your own",
            false => "is embedded in the program",
        };
        Error::usage(format!("data set `{name}` {what}, there is nothing to download"))
    })?;
    download(args, source, folder, printer)
}

#[cfg(not(feature = "fetch"))]
fn download(args: &Fetch, _: &Source<'_>, _: &Path, _: &Printer) -> Result<ExitCode> {
    Err(Error::usage(format!(
        "cannot download `{}`: this program was built without its feature `fetch`",
        args.name
    )))
}

#[cfg(feature = "fetch")]
use online::download;

#[cfg(feature = "fetch")]
mod online {
    use std::time::{Duration, Instant};

    use rigl_data::fetch::{Event, Fetched, Options, Proxy, Report, fetch, mirror};
    use serde_json::{Value, json};

    use super::*;
    use crate::output::{bar, bytes, clear, draw, duration, fitted};
    use crate::signals::{Signals, Work};

    /// Without a bar, a line at least this often.
    const LINE_EVERY: Duration = Duration::from_secs(10);

    pub(super) fn download(
        args: &Fetch,
        source: &Source<'_>,
        folder: &Path,
        printer: &Printer,
    ) -> Result<ExitCode> {
        let mirrors = args.mirror.iter().map(|text| mirror(text).map_err(|e| e.context("`--mirror`")));
        let options = Options {
            mirrors: mirrors.collect::<Result<_>>()?,
            proxy: Proxy::try_from_env(),
            replace: args.overwrite,
            ..Options::default()
        };
        let signals = Signals::listen(printer, Work::Download)?;
        let mut display = Display::new(printer, !args.no_progress);
        let report = fetch(source, folder, &options, signals.stop(), &mut |event| display.event(event));
        clear();
        match report? {
            Some(report) => print(source.name, &report, printer).map(|()| ExitCode::SUCCESS),
            None => {
                printer.note("interrupted; what has come is kept, and the same command goes on from there");
                Ok(ExitCode::from(signals.exit_code()))
            }
        }
    }

    fn print(name: &str, report: &Report, printer: &Printer) -> Result<()> {
        let size = report.files.iter().map(|(_, size, _)| size).sum();
        if !printer.json() {
            return printer.result(&format!(
                "{name}: complete, {} in {}",
                bytes(size),
                shown::path(&report.place)
            ));
        }
        let files: Vec<Value> = report
            .files
            .iter()
            .map(|(file, size, fetched)| {
                let url = match fetched {
                    Fetched::From(url) => Some(url),
                    Fetched::Kept => None,
                };
                json!({ "name": file, "bytes": size, "downloaded": url.is_some(), "url": url })
            })
            .collect();
        printer.json_result(
            &json!({ "name": name, "state": "complete", "folder": report.place, "bytes": size, "files": files }),
        )
    }

    /// Shows how a download goes.
    struct Display<'a> {
        printer: &'a Printer,
        bar: bool,
        file: String,
        size: u64,
        /// How much of the file was there when it was begun, and when that was.
        begun: (u64, Instant),
        last_line: Instant,
    }

    impl Display<'_> {
        fn new(printer: &Printer, bar: bool) -> Display<'_> {
            let (bar, now) = (bar && printer.can_draw(), Instant::now());
            Display { printer, bar, file: String::new(), size: 0, begun: (0, now), last_line: now }
        }

        fn event(&mut self, event: Event<'_>) {
            match event {
                Event::Kept { file } => self.line(&format!("{file}  is there already")),
                Event::Damaged { path, damage } => {
                    self.printer.warning(&format!("`{}` {damage}; it will be replaced", shown::path(path)));
                }
                Event::Started { file, url, from, bytes: size } => {
                    let kept =
                        if from > 0 { format!(", goes on after {}", bytes(from)) } else { String::new() };
                    self.line(&format!("{file}  {} from {url}{kept}", bytes(size)));
                    (self.file, self.size, self.begun) = (file.to_string(), size, (from, Instant::now()));
                }
                Event::Progress { bytes: there } if self.bar => draw(|width| self.text(there, width)),
                Event::Progress { bytes: there } if self.last_line.elapsed() >= LINE_EVERY => {
                    self.line(&format!("{}  {} of {}", self.file, bytes(there), bytes(self.size)));
                }
                Event::Progress { .. } => {}
                Event::Failed { url, reason } => self.line(&format!("`{url}` {reason}")),
                Event::Done { .. } => clear(),
                // Of a later version of the library.
                _ => {}
            }
        }

        fn line(&mut self, text: &str) {
            self.printer.note(text);
            self.last_line = Instant::now();
        }

        /// How far the file is, in so many characters.
        fn text(&self, there: u64, width: usize) -> String {
            let done = there as f64 / self.size.max(1) as f64;
            // What was there already says nothing about speed.
            let (before, since) = self.begun;
            let speed = there.saturating_sub(before) as f64 / since.elapsed().as_secs_f64().max(1e-3);
            let left = self.size.saturating_sub(there) as f64 / speed;
            let parts = [
                (2, self.file.clone()),
                (1, bar(done, (width / 4).clamp(8, 24))),
                (0, format!("{:>3.0} %", 100.0 * done)),
                (3, format!("{} of {}", bytes(there), bytes(self.size))),
                (5, format!("{}/s", bytes(speed as u64))),
                (4, format!("{} left", duration(left))),
            ];
            fitted(&parts, width)
        }
    }
}
