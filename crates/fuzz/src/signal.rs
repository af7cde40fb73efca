//! What a target saw, boiled down to a number, so that new behaviour can be told from old without instrumentation.

use std::fmt::Write;

use rigl_base::random::name_id;
use rigl_base::{Error, Kind};

/// Longest message, in characters: a line that a person reads.
const LONGEST_MESSAGE: usize = 1000;

/// What a target saw. Inputs of equal signals are taken to have gone the same way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Signal {
    /// Whether the parser accepted the input.
    pub accepted: bool,
    /// The kind of outcome. A message that quotes names makes many signals of one kind.
    pub(crate) kind: u64,
    what: u64,
}

impl Signal {
    /// The input was accepted; `sizes` say what came out, roughly.
    pub(crate) fn accepted(sizes: &[usize]) -> Signal {
        let mut text = String::from("accepted");
        for size in sizes {
            // The number of binary digits: finer distinctions are no news.
            let _ = write!(text, " {}", usize::BITS - size.leading_zeros());
        }
        let what = name_id(&text);
        Signal { accepted: true, kind: what, what }
    }

    /// The input was refused, and the refusal is what a refusal must be: of one of these kinds, and a line.
    ///
    /// # Panics
    /// If it is not.
    pub(crate) fn refused(error: &Error, kinds: &[Kind]) -> Signal {
        assert!(kinds.contains(&error.kind()), "an error of kind `{}`: {error}", error.kind().word());
        let text = error.to_string();
        for text in [Some(text.as_str()), error.hint_text()].into_iter().flatten() {
            assert!(!text.trim().is_empty(), "an empty message");
            assert!(!text.contains(char::is_control), "a message that is no line: {text:?}");
            let length = text.chars().count();
            assert!(length <= LONGEST_MESSAGE, "a message of {length} characters: {}", first(text));
        }
        let [kind, what] = [false, true].map(|names| name_id(&masked(&text, names)));
        Signal { accepted: false, kind, what }
    }

    /// This, and what was seen afterwards on the same input.
    #[must_use]
    pub(crate) fn and(self, other: Signal) -> Signal {
        let [kind, what] =
            [(self.kind, other.kind), (self.what, other.what)].map(|(a, b)| a.rotate_left(17) ^ b);
        Signal { accepted: self.accepted, kind, what }
    }
}

fn first(text: &str) -> String {
    text.chars().take(200).collect()
}

/// A message without its numbers, and without what it quotes, unless that is a name and names are to be kept.
fn masked(text: &str, names: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "-.=_ ,;:()[]#×'".contains(c));
    let whole = text.replace("\\\"", "");
    // Quotes in what is quoted confuse what is inside and what is not: hence the limit, and what the message itself
    // says after a quotation begins with a space or a mark.
    for (i, part) in whole.split(['`', '"']).take(16).enumerate() {
        let own = i == 0 || part.starts_with([' ', ',', ':', ';']);
        if plain(part) && if i % 2 == 0 { own } else { names && part.len() <= 40 } {
            let mut digits = false;
            for c in part.chars() {
                if !c.is_ascii_digit() || !digits {
                    out.push(if c.is_ascii_digit() { '#' } else { c });
                }
                digits = c.is_ascii_digit();
            }
        } else if !out.ends_with('?') {
            out.push('?');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn signal(text: &str) -> Signal {
        Signal::refused(&Error::data(text), &[Kind::Data])
    }

    #[test]
    fn numbers_and_quoted_input_make_no_difference_and_words_do() {
        assert_eq!(signal("line 12: key `batch` is `90`"), signal("line 7: key `batch` is `100`"));
        assert_eq!(signal("found `{a}`"), signal("found `ü`"));
        assert_ne!(signal("line 12: key `batch` is `-1`"), signal("line 12: key `std` is `-1`"));
        assert_ne!(signal("cut short"), signal("too long"));
        assert_eq!(signal("unknown key `batch`").kind, signal("unknown key `std`").kind);
        assert_ne!(signal("unknown key `batch`").kind, signal("unknown glob `batch`").kind);
        let escaped = r#"string "a\"b, c", expected a number"#;
        assert_eq!(signal(escaped).kind, signal(r#"string "d", expected a number"#).kind);
    }

    #[test]
    fn accepted_inputs_differ_by_the_magnitude_of_what_came_out() {
        assert_eq!(Signal::accepted(&[5, 100]), Signal::accepted(&[7, 127]));
        assert_ne!(Signal::accepted(&[5, 100]), Signal::accepted(&[5, 128]));
        assert_ne!(Signal::accepted(&[0]), Signal::accepted(&[1]));
    }

    #[test]
    fn a_refusal_of_the_wrong_kind_or_that_is_no_line_is_a_finding() {
        let refused =
            |error: Error| catch_unwind(AssertUnwindSafe(|| Signal::refused(&error, &[Kind::Data]))).is_err();
        assert!(!refused(Error::data("a line")));
        assert!(refused(Error::internal("a line")));
        assert!(refused(Error::data("")));
        // Errors see to it themselves that they are a line, and not too long a one.
        assert!(!refused(Error::data("two\nlines")));
        assert!(!refused(Error::data("x".repeat(LONGEST_MESSAGE + 1))));
        assert!(!refused(Error::data("a line").hint("\x1b[31m")));
    }
}
