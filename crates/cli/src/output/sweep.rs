//! What a person sees while a sweep is under way: a bar over the whole grid on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rigl_study::{Event, Observer, PlannedRun, Progress};

use super::format::{duration, percent};
use super::printer::Printer;

/// Without a bar, a line at least this often.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Shows a sweep as it goes.
pub(crate) struct SweepDisplay {
    printer: Printer,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl SweepDisplay {
    /// A display with a bar, if there is a terminal and one is wanted.
    pub(crate) fn new(printer: &Printer, bar: bool) -> SweepDisplay {
        let bar = (bar && printer.can_draw()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{bar:24} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
            bar
        });
        SweepDisplay { printer: *printer, bar, last_line: Instant::now() }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn say(&mut self, say: impl FnOnce(&Printer)) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(&self.printer)),
            None => say(&self.printer),
        }
    }
}

fn text(p: &Progress<'_>) -> String {
    let failed = if p.failed > 0 { format!(", {} failed", p.failed) } else { String::new() };
    let running: Vec<String> =
        p.running.iter().map(|(name, done)| format!("{name} {:.0} %", 100.0 * done)).collect();
    format!(
        "{:.0} %  {} of {} runs finished{failed}  {} left  {}",
        100.0 * p.done,
        p.finished,
        p.runs,
        duration(p.left_s),
        running.join("  ")
    )
}

impl Observer for SweepDisplay {
    fn event(&mut self, run: &PlannedRun, event: Event<'_>) {
        let name = &run.name;
        match event {
            Event::Started => {}
            Event::Finished(summary) => {
                let accuracy = percent(summary.accuracy.unwrap_or(f64::NAN));
                let line = format!("{name}  accuracy {accuracy}  {}", duration(summary.seconds));
                self.say(|printer| printer.note(&line));
            }
            Event::Stopped => self.say(|printer| printer.note(&format!("{name}  saved and stopped"))),
            Event::Killed(how) => {
                self.say(|printer| {
                    printer.note(&format!("{name}  {how}; it goes on from its last checkpoint"))
                });
            }
            Event::Failed(reason) => self.say(|printer| printer.warning(&format!("{name}: {reason}"))),
            Event::InUse(by) => {
                self.say(|printer| printer.note(&format!("{name}  is in use by {by}; it is waited for")));
            }
        }
    }

    fn progress(&mut self, progress: &Progress<'_>) {
        match &self.bar {
            Some(bar) => {
                bar.set_position((1000.0 * progress.done) as u64);
                bar.set_message(text(progress));
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.printer.note(&text(progress));
                self.last_line = Instant::now();
            }
            None => {}
        }
    }
}
