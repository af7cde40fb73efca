//! The one place that decides what appears: results on standard output, everything else on standard error. A
//! terminal that went away ends the display, never the run.

use std::io::{IsTerminal, Write};

use rigl_base::{Error, Result};

use crate::args::{Color, Global};
use crate::program::own;

/// Says things, as far and as colourful as the flags of every command want it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    quiet: bool,
    json: bool,
    color: bool,
    terminal: bool,
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Printer {
        let terminal = std::io::stderr().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !no_color,
        };
        Printer { quiet: global.quiet, json: global.json, color, terminal }
    }

    /// Whether the result is wanted as JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether a progress bar can be drawn.
    pub(crate) fn can_draw(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// A result, on standard output.
    pub(crate) fn result(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::environment("cannot write to standard output").caused_by(e))
            }
            _ => Ok(()),
        }
    }

    /// A result as JSON, on standard output.
    pub(crate) fn json_result(&self, value: &serde_json::Value) -> Result<()> {
        let text = serde_json::to_string_pretty(value);
        self.result(&text.map_err(|e| Error::internal("cannot print JSON").caused_by(e))?)
    }

    /// Something a person may like to know, unless it should be quiet.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "{}", own(text).trim_end_matches('\n'));
        }
    }

    /// Something that is not as it should be, while the command goes on; `--quiet` does not hide it.
    pub(crate) fn warning(&self, text: &str) {
        let _ =
            writeln!(std::io::stderr().lock(), "{} {}", self.paint("warning:", YELLOW), plain(&own(text)));
    }

    /// An error with its hint.
    pub(crate) fn error(&self, error: &Error) {
        let mut out = std::io::stderr().lock();
        let _ = writeln!(out, "{} {}", self.paint("error:", RED), plain(&own(&error.to_string())));
        if let Some(hint) = error.hint_text() {
            let _ = writeln!(out, "\n{} {}", self.paint("hint:", CYAN), plain(&own(hint)));
        }
    }

    /// Text in a colour, where colours are wanted.
    pub(crate) fn paint(&self, text: &str, color: &str) -> String {
        if self.color { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// On one line, and without what a terminal would obey: messages quote names and files.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const CYAN: &str = "1;36";
/// For what went well.
pub(crate) const GREEN: &str = "1;32";
