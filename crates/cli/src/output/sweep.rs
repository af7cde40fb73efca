//! What a person sees while a sweep is under way: a bar over the whole grid on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use rigl_base::counts::counted;
use rigl_study::{Event, Observer, PlannedRun, Progress};

use super::format::{duration, percent};
use super::printer::Printer;
use super::terminal::{self, bar, fitted};

/// Without a bar, a line at least this often.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Shows a sweep as it goes.
pub(crate) struct SweepDisplay {
    printer: Printer,
    bar: bool,
    last_line: Instant,
}

impl SweepDisplay {
    /// A display with a bar, if there is a terminal and one is wanted.
    pub(crate) fn new(printer: &Printer, bar: bool) -> SweepDisplay {
        let bar = bar && printer.can_draw();
        SweepDisplay { printer: *printer, bar, last_line: Instant::now() }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        terminal::clear();
    }
}

fn text(p: &Progress<'_>, width: usize, with_bar: bool) -> String {
    let failed = if p.failed > 0 { format!("{} failed", p.failed) } else { String::new() };
    let running: Vec<String> =
        p.running.iter().map(|(name, done)| format!("{name} {:.0} %", 100.0 * done)).collect();
    let all = counted(p.runs as u64, "run");
    let parts = [
        (3, if with_bar { bar(p.done, (width / 4).clamp(8, 24)) } else { String::new() }),
        (1, format!("{:.0} %", 100.0 * p.done)),
        (0, format!("{} of {all} finished", p.finished)),
        (1, failed),
        (2, format!("{} left", duration(p.left_s))),
    ];
    // Names of runs are long: of these there stands what finds room.
    let line = fitted(&parts, width);
    let left = width.saturating_sub(line.chars().count() + 2);
    let running: String = running.join("  ").chars().take(left).collect();
    if running.is_empty() { line } else { format!("{line}  {running}") }
}

impl Observer for SweepDisplay {
    fn event(&mut self, run: &PlannedRun, event: Event<'_>) {
        let name = &run.name;
        match event {
            Event::Started => {}
            Event::Finished(summary) => {
                let accuracy = percent(summary.accuracy.unwrap_or(f64::NAN));
                let line = format!("{name}  accuracy {accuracy}  {}", duration(summary.seconds));
                self.printer.note(&line);
            }
            Event::Stopped => self.printer.note(&format!("{name}  saved and stopped")),
            Event::Killed(how) => {
                self.printer.note(&format!("{name}  {how}; it goes on from its last checkpoint"));
            }
            Event::Failed(reason) => self.printer.warning(&format!("{name}: {reason}")),
            Event::InUse(by) => {
                self.printer.note(&format!("{name}  is in use by {by}; it is waited for"));
            }
        }
    }

    fn progress(&mut self, progress: &Progress<'_>) {
        if self.bar {
            terminal::draw(|width| text(progress, width, true));
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.printer.note(&text(progress, usize::MAX, false));
            self.last_line = Instant::now();
        }
    }
}
