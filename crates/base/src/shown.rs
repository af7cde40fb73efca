//! Text from elsewhere as it may be shown: without what a terminal would obey, and not too long.

use std::borrow::Cow;
use std::path::Path;

/// The most characters of a message, and of a hint.
pub const LONGEST: usize = 1000;

/// `text` with what is no character to look at as `\u{..}`: control characters, line separators, marks that turn the
/// direction of what follows.
///
/// ```
/// use rigl_base::shown::plain;
/// assert_eq!(plain("a\u{1b}[31m"), r"a\u{1b}[31m");
/// assert_eq!(plain("naïve"), "naïve");
/// ```
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown.into()
}

/// A path for people; for a shell it is [`shell::path`](crate::shell::path).
pub fn path(path: &Path) -> String {
    plain(&path.display().to_string()).into_owned()
}

/// Whether a terminal may act on `c`, or show what stands around it at another place.
pub fn is_hidden(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// `text` of at most `most` characters: the middle is left out, because words stand at both ends and what they quote
/// between them.
///
/// ```
/// assert_eq!(rigl_base::shown::clipped("0123456789", 7), "0123…89");
/// ```
pub fn clipped(text: &str, most: usize) -> Cow<'_, str> {
    // No text has more characters than bytes.
    let count = if text.len() <= most { 0 } else { text.chars().count() };
    if count <= most {
        return text.into();
    }
    let tail = most / 3;
    let head = most.saturating_sub(tail + 1);
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    format!("{}…{}", &text[..at(head)], &text[at(count - tail)..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(
            plain("a\r\n\u{7f}\u{9b}2J\u{202e}b\u{2028}"),
            r"a\u{d}\u{a}\u{7f}\u{9b}2J\u{202e}b\u{2028}"
        );
        assert!(matches!(plain("→ `ü` 漢 \\"), Cow::Borrowed(_)));
    }

    #[test]
    fn long_text_keeps_both_ends_and_is_never_longer_than_asked_for() {
        for text in ["", "é", "abcdé", "é🦀漢abcdefgh", &"é".repeat(99)] {
            for most in 1..110 {
                let clipped = clipped(text, most);
                assert_eq!(clipped.chars().count(), text.chars().count().min(most), "{text} {most}");
                assert_eq!(clipped == text, text.chars().count() <= most);
                assert_eq!(
                    clipped.chars().next(),
                    if most > 1 { text.chars().next() } else { clipped.chars().next() }
                );
            }
        }
    }
}
