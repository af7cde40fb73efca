//! What a person sees while a network is trained: a bar on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use rigl_base::counts::plural;
use rigl_metrics::event::Event;
use rigl_metrics::{Record, Status};
use rigl_train::{Observer, Progress, Recipe};

use super::format::{duration, percent, si};
use super::printer::Printer;
use super::terminal::{self, bar, fitted};
use crate::signals::Saved;

/// Without a bar, a line at least this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows a run as it goes.
pub(crate) struct Display {
    printer: Printer,
    bar: bool,
    label: String,
    last_line: Instant,
    steps_per_epoch: f64,
    epochs: f64,
    steps: u64,
    saved: Saved,
}

impl Display {
    /// A display of a run called `label`, with a bar if there is a terminal and one is wanted.
    /// What is safe is told to `saved`.
    pub(crate) fn new(printer: &Printer, label: &str, recipe: &Recipe, bar: bool, saved: Saved) -> Display {
        saved.forget();
        Display {
            printer: *printer,
            bar: bar && printer.can_draw(),
            label: label.to_string(),
            last_line: Instant::now(),
            steps_per_epoch: recipe.steps_per_epoch,
            epochs: recipe.epochs(recipe.steps),
            steps: recipe.steps,
            saved,
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        terminal::clear();
    }

    fn line(&mut self, text: &str) {
        self.printer.note(text);
        self.last_line = Instant::now();
    }
}

/// A number of epochs, with decimals only where there are any: they need not end with a step.
pub(crate) fn epochs(x: f64) -> String {
    let rounded = (x * 100.0).round() / 100.0;
    if rounded.fract() == 0.0 { format!("{rounded:.0}") } else { format!("{rounded:.2}") }
}

/// The same with the word: `1 epoch`, `0.5 epochs`.
pub(crate) fn counted_epochs(x: f64) -> String {
    let number = epochs(x);
    let word = plural(if number == "1" { 1 } else { 2 }, "epoch");
    format!("{number} {word}")
}

fn left(p: &Progress) -> f64 {
    let done = p.step as f64 / p.steps as f64;
    if done > 0.0 { p.elapsed_s / done * (1.0 - done) } else { f64::NAN }
}

/// How training goes, in so many characters: what finds no room is left out, accuracy and the time that is left last.
fn text(p: &Progress, width: usize, label: &str, with_bar: bool) -> String {
    let done = p.step as f64 / p.steps as f64;
    let updates = match p.all_updates {
        0 => String::new(),
        all => format!("update {}/{all}", p.updates),
    };
    let speed = if p.samples_per_s.is_finite() { si(p.samples_per_s) } else { "– ".into() };
    let length = (width / 4).clamp(8, 24);
    let drawn =
        if with_bar { format!("{} {:>3.0} %", bar(done, length), 100.0 * done) } else { String::new() };
    let sparsity = match p.sparsity > 0.0 {
        true => format!("sparsity {}", percent(p.sparsity)),
        false => String::new(),
    };
    let parts = [
        (0, label.to_string()),
        (1, drawn),
        (4, format!("step {}/{}", p.step, p.steps)),
        (5, format!("loss {:.4}", p.loss)),
        (9, format!("mean {:.4}", p.mean_loss)),
        (2, format!("accuracy {}", percent(p.accuracy))),
        (6, sparsity),
        (8, updates),
        (10, format!("lr {:.3e}", p.learning_rate)),
        (7, format!("{speed}samples/s")),
        (3, format!("{} left", duration(left(p)))),
    ];
    fitted(&parts, width)
}

impl Observer for Display {
    fn event(&mut self, record: &Record) {
        match &record.event {
            Event::Evaluation(evaluation) => {
                let epoch = format!(
                    "epoch {}/{}",
                    epochs(record.step as f64 / self.steps_per_epoch),
                    epochs(self.epochs)
                );
                let accuracy = evaluation.accuracy.unwrap_or(f64::NAN);
                let best = if evaluation.best == Some(true) { "  best so far" } else { "" };
                let line = format!(
                    "{}  {epoch}  {} accuracy {}  loss {:.4}  {}{best}",
                    self.label,
                    evaluation.split,
                    percent(accuracy),
                    evaluation.loss,
                    duration(record.time_s),
                );
                self.line(&line);
            }
            Event::Checkpoint(_) => self.saved.at(record.step),
            Event::End(end) if end.status == Status::Finished && record.step < self.steps => {
                let line =
                    format!("{}  ends at step {} of {}: {}", self.label, record.step, self.steps, end.reason);
                self.line(&line);
            }
            Event::Resume(resume) => {
                self.saved.at(record.step);
                let line = format!(
                    "{}  goes on at step {} from `{}`; what the log held after that is cut off",
                    self.label, record.step, resume.checkpoint
                );
                self.line(&line);
            }
            _ => {}
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if self.bar {
            terminal::draw(|width| text(progress, width, &self.label, true));
        } else if self.last_line.elapsed() >= LINE_EVERY {
            let line = text(progress, usize::MAX, &self.label, false);
            self.line(&line);
        }
    }

    fn warning(&mut self, text: &str) {
        self.printer.warning(text);
    }
}
