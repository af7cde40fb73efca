//! One error type for the whole system. What a caller needs to decide on (exit code, exception class) is the
//! [`Kind`]; what a person needs is one line that says which file, which key, what was found and what is allowed.

use std::fmt;

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
    /// An error of the given kind. The message is lower-case, names the file or key, and has no full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
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

    /// Adds a hint: what to type instead, or what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
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
        self.0.message = format!("{context}: {}", self.0.message);
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
}

impl fmt::Display for Error {
    /// The message and its causes on one line, without the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // An `Error` prints its own causes.
            if error.is::<Error>() {
                return write!(f, ": {error}");
            }
            write!(f, ": {}", line(&error.to_string()))?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Foreign text as a message may quote it: one line, not too long.
///
/// ```
/// assert_eq!(rigl_base::error::short(" [1,\n 2] "), "[1,  2]");
/// ```
pub fn short(text: &str) -> String {
    const LIMIT: usize = 80;
    let mut chars = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let line: String = chars.by_ref().take(LIMIT).collect();
    if chars.next().is_some() { line + "…" } else { line }
}

/// A cause's words as one line of bounded length: it comes from elsewhere, and may quote all of its input.
fn line(text: &str) -> String {
    const HEAD: usize = 160;
    const TAIL: usize = 80;
    let chars: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if chars.len() <= HEAD + 1 + TAIL {
        return chars.into_iter().collect();
    }
    // Words stand at both ends, what is quoted between them.
    let (head, tail) = (&chars[..HEAD], &chars[chars.len() - TAIL..]);
    head.iter().chain(&['…']).chain(tail).collect()
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
    fn quoted_text_is_shortened_to_one_line() {
        assert_eq!(short("a\u{7f}b\r\nc"), "a b  c");
        assert_eq!(short(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(short(&"é".repeat(81)), "é".repeat(80) + "…");
    }

    #[test]
    fn exit_codes_follow_from_the_kind() {
        let kinds = [Kind::Usage, Kind::Data, Kind::Environment, Kind::Busy, Kind::Diverged, Kind::Internal];
        assert_eq!(kinds.map(Kind::exit_code), [2, 2, 2, 2, 1, 101]);
    }
}
