//! One error type for the whole system. What a caller needs to decide on (exit code, exception class) is the
//! [`Kind`]; what a person needs is one line that says which file, which key, what was found and what is allowed.

use std::fmt;

use crate::shown::{self, LONGEST, clipped, plain};

/// What went wrong, as far as a program has to know. Exit codes follow from it alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// The request itself is wrong: a flag, a key, a value, a name.
    Usage,
    /// A file's contents are wrong.
    Data,
    /// The machine said no: missing file, permission, full disk, too little memory.
    Environment,
    /// Another process has what is needed: once it has ended, the same may succeed.
    Busy,
    /// Training produced a number that is not finite.
    Diverged,
    /// A fault of this program.
    Internal,
}

impl Kind {
    /// The word used in logs: `usage`, `data`, `environment`, `busy`, `diverged`, `internal`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::Data => "data",
            Kind::Environment => "environment",
            Kind::Busy => "busy",
            Kind::Diverged => "diverged",
            Kind::Internal => "internal",
        }
    }

    /// The exit code of a program that ends because of such an error.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage | Kind::Data | Kind::Environment | Kind::Busy => 2,
            Kind::Diverged => 1,
            Kind::Internal => 101,
        }
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Source>,
}

/// An error: its [`Kind`], one line of text, perhaps a hint that can be pasted, perhaps a cause.
pub struct Error(Box<Inner>);

/// `std::result::Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind. The message is lower-case, names the file or key, and has no full stop. Whatever it
    /// quotes, it becomes one line of at most [`LONGEST`] characters.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: line(&message.into(), LONGEST), hint: None, source: None }))
    }

    /// Short for [`Kind::Usage`].
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Kind::Usage, message)
    }

    /// Short for [`Kind::Data`].
    pub fn data(message: impl Into<String>) -> Error {
        Error::new(Kind::Data, message)
    }

    /// Short for [`Kind::Environment`].
    pub fn environment(message: impl Into<String>) -> Error {
        Error::new(Kind::Environment, message)
    }

    /// Short for [`Kind::Busy`].
    pub fn busy(message: impl Into<String>) -> Error {
        Error::new(Kind::Busy, message)
    }

    /// Short for [`Kind::Diverged`].
    pub fn diverged(message: impl Into<String>) -> Error {
        Error::new(Kind::Diverged, message)
    }

    /// Short for [`Kind::Internal`].
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Kind::Internal, message)
    }

    /// An input/output error on `path`: `what` says what was tried, as in "cannot read".
    pub fn io(what: &str, path: &std::path::Path, source: std::io::Error) -> Error {
        Error::environment(format!("{what} `{}`", path.display())).caused_by(source)
    }

    /// Adds a hint: what to type instead, or what to do. It is pasted as it is; one that cannot be, because it is longer
    /// than [`LONGEST`] or holds what a terminal would obey, is left out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into()).filter(|hint: &String| {
            !hint.contains(shown::is_hidden) && hint.chars().take(LONGEST + 1).count() <= LONGEST
        });
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Source>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Puts `context: ` before the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Error {
        self.0.message = line(&format!("{context}: {}", self.0.message), LONGEST);
        self
    }

    /// What went wrong, as far as a program has to know.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The message alone, without cause and hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Message and hint as a part of one line, where an error is told among others.
    pub fn told(&self) -> String {
        match self.hint_text() {
            Some(hint) => format!("{self}; {hint}"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Error {
    /// The message and its causes on one line of at most [`LONGEST`] characters, without the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            // An `Error` prints its own causes.
            if error.is::<Error>() {
                text.push_str(&error.to_string());
                break;
            }
            text.push_str(&line(&error.to_string(), LONGEST_CAUSE));
            cause = error.source();
        }
        f.write_str(&clipped(&text, LONGEST))
    }
}

/// Foreign text as a message may quote it: one line, not too long.
///
/// ```
/// assert_eq!(rigl_base::error::short(" [1,\n 2\u{7}] "), r"[1,  2\u{7}]");
/// ```
pub fn short(text: &str) -> String {
    const LIMIT: usize = 80;
    let mut chars = text.trim().chars();
    let head: String = chars.by_ref().take(LIMIT).collect();
    let line = line(&head, usize::MAX);
    if chars.next().is_some() { line + "…" } else { line }
}

/// The most characters of a cause: its words come from elsewhere, and may quote all of their input.
const LONGEST_CAUSE: usize = 241;

/// `text` as one line of at most `most` characters.
fn line(text: &str, most: usize) -> String {
    let text = text.replace(['\n', '\r', '\t'], " ");
    clipped(&plain(&text), most).into_owned()
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} error: {self}", self.kind().word())?;
        if let Some(hint) = self.hint_text() {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_context_message_and_causes_on_one_line() {
        let cause = std::io::Error::other("disk on fire");
        let error =
            Error::io("cannot read", std::path::Path::new("a.gz"), cause).context("mnist").hint("use water");
        assert_eq!(error.to_string(), "mnist: cannot read `a.gz`: disk on fire");
        assert_eq!(error.hint_text(), Some("use water"));
        assert_eq!(error.kind(), Kind::Environment);
    }

    #[test]
    fn a_cause_that_quotes_its_whole_input_is_one_line_with_its_ends() {
        let cause = std::io::Error::other(format!("found \"{}\"\nat line 1", "x".repeat(100_000)));
        let text = Error::data("not an event").caused_by(cause).to_string();
        assert!(text.chars().count() < 300, "{}", text.len());
        assert!(text.starts_with("not an event: found \"xxx") && text.ends_with("xxx\" at line 1"), "{text}");
        let whole = std::io::Error::other("é".repeat(241));
        assert!(Error::data("a").caused_by(whole).to_string().ends_with(&"é".repeat(241)));
    }

    #[test]
    fn no_message_is_longer_than_promised_and_none_is_more_than_a_line_whatever_it_quotes() {
        let long = || "x".repeat(400_000);
        let cause =
            || Error::data(long()).caused_by(Error::usage(long()).caused_by(std::io::Error::other(long())));
        for error in [
            Error::data(long()),
            Error::data("a").context(long()),
            Error::data("a").caused_by(cause()),
            Error::data(format!("found `{}`\n\u{1b}[2J", long())).hint(long()),
        ] {
            for text in [error.message(), &error.to_string(), &format!("{:?}", cause())] {
                assert!(text.chars().count() <= LONGEST + 20 && !text.contains(shown::is_hidden), "{text}");
            }
            assert!(error.to_string().chars().count() <= LONGEST && error.hint_text().is_none());
        }
        let ends = Error::data(format!("found `{}`, expected less", long())).to_string();
        assert!(ends.starts_with("found `xxx") && ends.ends_with("xxx`, expected less"), "{ends}");
    }

    #[test]
    fn a_hint_that_cannot_be_pasted_is_left_out() {
        let hint = |text: &str| Error::usage("a").hint(text).hint_text().map(str::len);
        assert_eq!(hint(&"é".repeat(LONGEST)), Some(2 * LONGEST));
        assert_eq!(hint(&"é".repeat(LONGEST + 1)), None);
        assert_eq!(hint("rm \u{1b}[2J"), None);
    }

    #[test]
    fn quoted_text_is_shortened_to_one_line() {
        assert_eq!(short("a\u{7f}b\r\nc"), r"a\u{7f}b  c");
        assert_eq!(short(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(short(&"é".repeat(81)), "é".repeat(80) + "…");
    }

    #[test]
    fn exit_codes_follow_from_the_kind() {
        let kinds = [Kind::Usage, Kind::Data, Kind::Environment, Kind::Busy, Kind::Diverged, Kind::Internal];
        assert_eq!(kinds.map(Kind::exit_code), [2, 2, 2, 2, 1, 101]);
    }
}
