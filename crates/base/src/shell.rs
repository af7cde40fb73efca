//! Paths and words as a POSIX shell reads them: commands that are shown run when they are pasted.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

use crate::shown::is_hidden;

/// `word` as one argument of a command: as it is where a shell takes it so, else in quotes. What a terminal would obey,
/// and what is no text, is written as numbers, which `printf` turns back: the line can be looked at and pasted.
///
/// ```
/// use rigl_base::shell::quoted;
/// assert_eq!(quoted("runs/a-1.5_b"), "runs/a-1.5_b");
/// assert_eq!(quoted("my runs"), "'my runs'");
/// assert_eq!(quoted("it's"), r"'it'\''s'");
/// assert_eq!(quoted("a\u{1b}b"), r#""$(printf 'a\033b')""#);
/// ```
pub fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    match word.to_str() {
        Some(text) if !text.contains(is_hidden) => match text.chars().all(is_plain) && !text.is_empty() {
            // `=ls` is the place of `ls` to some shells.
            true if !text.starts_with('=') => text.into(),
            _ => format!("'{}'", text.replace('\'', r"'\''")),
        },
        _ => printed(word.as_encoded_bytes()),
    }
}

/// The same of a path, which no command takes for a flag: `./-x` in place of `-x`.
///
/// ```
/// assert_eq!(rigl_base::shell::path("-x".as_ref()), "./-x");
/// ```
pub fn path(path: &Path) -> String {
    let is_flag = path.as_os_str().as_encoded_bytes().starts_with(b"-");
    let path = if is_flag { Cow::Owned(Path::new(".").join(path)) } else { Cow::Borrowed(path) };
    quoted(&*path)
}

/// Whether a character means itself to every shell.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "_@%+=:,./-".contains(c)
}

fn printed(bytes: &[u8]) -> String {
    // A shell takes ends of lines off what a command prints.
    let (begin, end) = if bytes.ends_with(b"\n") { ("$'", "'") } else { ("\"$(printf '", "')\"") };
    let mut text = begin.to_string();
    for &byte in bytes {
        match byte {
            b'%' if begin.contains("printf") => text.push_str("%%"),
            // Of these `!` means something to shells that keep a history, whatever quotes stand around it.
            b' '..=b'~' if !b"'\\!\"`$".contains(&byte) => text.push(byte.into()),
            _ => _ = write!(text, "\\{byte:03o}"),
        }
    }
    text + end
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_what_was_quoted_back_and_a_person_can_look_at_it() {
        let words: [&[u8]; 16] = [
            b"runs/a",
            b"",
            b"a b",
            b"it's",
            b"-x",
            b"a\"b`c$d\\e",
            b"~",
            b"=ls",
            b"a*?[b]{c,d}!e#f&g;h|i<j>k(l)",
            b"\x1b[2J' %d 100%\\n\"$HOME`!",
            b"a\nb",
            b"\xff\xfe latin",
            "ü 漢".as_bytes(),
            "a\u{202e}b".as_bytes(),
            b"\t",
            b"\x01end",
        ];
        for bytes in words {
            let word = OsStr::from_bytes(bytes);
            for quoted in [quoted(word), path(word.as_ref())] {
                assert!(!quoted.contains(is_hidden), "{quoted:?}");
                let script = format!("printf %s {quoted}");
                let script = if quoted.starts_with("./") || bytes != b"-x" { script } else { continue };
                let said = Command::new("sh").arg("-c").arg(&script).output().unwrap();
                let found = said.stdout.strip_prefix(b"./").unwrap_or(&said.stdout);
                assert_eq!(found, bytes, "{quoted}");
            }
        }
    }

    #[test]
    fn a_name_that_ends_with_a_line_keeps_its_end() {
        assert_eq!(quoted("a%\n"), r"$'a%\012'");
    }
}
