//! The one place that decides what appears: results on standard output, everything else on standard error. A
//! terminal that went away ends the display, never the run.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use rigl_base::shown::{is_hidden, plain};
use rigl_base::{Error, Result};

use super::terminal;
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

    /// Whether a line that is drawn anew in place can be shown.
    pub(crate) fn can_draw(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// A result, on standard output.
    pub(crate) fn result(&self, text: &str) -> Result<()> {
        terminal::clear();
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
        self.result(&escaped(&text.map_err(|e| Error::internal("cannot print JSON").caused_by(e))?))
    }

    /// Something a person may like to know, unless it should be quiet. It may have several lines.
    pub(crate) fn note(&self, text: &str) {
        self.lines("", text);
    }

    /// The same after the word that it went well.
    pub(crate) fn done(&self, text: &str) {
        self.lines(&(self.paint("done:", GREEN) + " "), text);
    }

    fn lines(&self, before: &str, text: &str) {
        if !self.quiet && !text.is_empty() {
            let text = own(text);
            let lines: Vec<_> = text.trim_end_matches('\n').split('\n').map(plain).collect();
            terminal::above(|out| _ = writeln!(out, "{before}{}", lines.join("\n")));
        }
    }

    /// Something that is not as it should be, while the command goes on; `--quiet` does not hide it.
    pub(crate) fn warning(&self, text: &str) {
        let word = self.paint("warning:", YELLOW);
        terminal::above(|out| _ = writeln!(out, "{word} {}", plain(&own(text))));
    }

    /// An error with its hint.
    pub(crate) fn error(&self, error: &Error) {
        let mut text = format!("{} {}\n", self.paint("error:", RED), plain(&own(&error.to_string())));
        if let Some(hint) = error.hint_text() {
            text += &format!("\n{} {}\n", self.paint("hint:", CYAN), plain(&own(hint)));
        }
        terminal::above(|out| _ = out.write_all(text.as_bytes()));
    }

    /// Text in a colour, where colours are wanted.
    fn paint(&self, text: &str, color: &str) -> String {
        if self.color { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// JSON without what a terminal would obey, and with the same meaning: JSON itself writes out only some of that.
fn escaped(json: &str) -> Cow<'_, str> {
    let hidden = |c: char| c != '\n' && is_hidden(c);
    if !json.contains(hidden) {
        return json.into();
    }
    // Outside of strings there is nothing hidden but ends of lines, and none is beyond sixteen bits.
    json.chars().map(|c| if hidden(c) { format!("\\u{:04x}", u32::from(c)) } else { c.into() }).collect()
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const CYAN: &str = "1;36";
const GREEN: &str = "1;32";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_for_a_terminal_means_the_same() {
        let value = serde_json::json!({ "a": "\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{2028}é" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        assert!(text.contains(|c| c != '\n' && is_hidden(c)));
        let shown = escaped(&text);
        assert!(!shown.contains(|c| c != '\n' && is_hidden(c)) && shown.contains('é'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
