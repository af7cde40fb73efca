//! What a person sees while a network is trained: a bar on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rigl_metrics::Record;
use rigl_metrics::event::Event;
use rigl_train::{Observer, Progress, Recipe};

use super::format::{duration, percent, si};
use super::printer::Printer;

/// Without a bar, a line at least this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows a run as it goes.
pub(crate) struct Display {
    printer: Printer,
    bar: Option<ProgressBar>,
    label: String,
    last_line: Instant,
    steps_per_epoch: f64,
    epochs: f64,
    best: f64,
}

impl Display {
    /// A display of a run called `label`, with a bar if there is a terminal and one is wanted.
    pub(crate) fn new(printer: &Printer, label: &str, recipe: &Recipe, bar: bool) -> Display {
        let bar = (bar && printer.can_draw()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{prefix} {bar:24} {percent:>3} %  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
            bar.set_prefix(label.to_string());
            bar
        });
        Display {
            printer: *printer,
            bar,
            label: label.to_string(),
            last_line: Instant::now(),
            steps_per_epoch: recipe.steps_per_epoch,
            epochs: recipe.epochs(recipe.steps),
            best: f64::NEG_INFINITY,
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.note(text)),
            None => self.printer.note(text),
        }
        self.last_line = Instant::now();
    }
}

/// A number of epochs, with decimals only where there are any: they need not end with a step.
pub(crate) fn epochs(x: f64) -> String {
    let rounded = (x * 100.0).round() / 100.0;
    if rounded.fract() == 0.0 { format!("{rounded:.0}") } else { format!("{rounded:.2}") }
}

fn left(p: &Progress) -> f64 {
    let done = p.step as f64 / p.steps as f64;
    if done > 0.0 { p.elapsed_s / done * (1.0 - done) } else { f64::NAN }
}

fn text(p: &Progress) -> String {
    let updates = match p.all_updates {
        0 => String::new(),
        all => format!("  update {}/{all}", p.updates),
    };
    format!(
        "step {}/{}  loss {:.4}  mean {:.4}  accuracy {}  sparsity {}{updates}  lr {:.3e}  {}samples/s  {} left",
        p.step,
        p.steps,
        p.loss,
        p.mean_loss,
        percent(p.accuracy),
        percent(p.sparsity),
        p.learning_rate,
        if p.samples_per_s.is_finite() { si(p.samples_per_s) } else { "– ".into() },
        duration(left(p)),
    )
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
                let best = if accuracy > self.best { "  best so far" } else { "" };
                self.best = self.best.max(accuracy);
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
            Event::Resume(resume) => {
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
        match &self.bar {
            Some(bar) => {
                bar.set_length(progress.steps);
                bar.set_position(progress.step);
                bar.set_message(text(progress));
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                let line = format!("{}  {}", self.label, text(progress));
                self.line(&line);
            }
            None => {}
        }
    }

    fn warning(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.warning(text)),
            None => self.printer.warning(text),
        }
    }
}
