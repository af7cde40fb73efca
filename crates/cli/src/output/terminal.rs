//! The terminal: how wide it is, and the line at its bottom that is drawn anew in place.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use terminal_size::{Width, terminal_size_of};

/// The line is not drawn more often.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Tables are no narrower.
const NARROWEST: usize = 20;

/// How wide results may be: as standard output is, if that is a terminal. What goes into files and pipes is never cut.
pub(crate) fn width_of_results() -> Option<usize> {
    let out = std::io::stdout();
    out.is_terminal().then(|| width(told().or_else(|| columns(terminal_size_of(&out)))))
}

/// How wide the terminal is of which somebody reads notes: what is drawn in place goes by its true size.
fn width_of_notes() -> usize {
    width(columns(terminal_size_of(std::io::stderr())).or_else(told))
}

/// How wide somebody says that it is.
fn told() -> Option<usize> {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok())
}

fn columns(size: Option<(Width, terminal_size::Height)>) -> Option<usize> {
    size.map(|(Width(columns), _)| usize::from(columns))
}

fn width(columns: Option<usize>) -> usize {
    columns.filter(|&columns| columns > 0).unwrap_or(80).max(NARROWEST)
}

/// What stands in the last line.
struct Line {
    text: String,
    drawn: Instant,
}

/// There is one standard error, so there is one such line.
static LINE: Mutex<Option<Line>> = Mutex::new(None);

fn line() -> MutexGuard<'static, Option<Line>> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Set once nothing is drawn any more.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Takes the line away for good: the process is about to end.
pub(crate) fn close() {
    CLOSED.store(true, Ordering::SeqCst);
    clear();
}

/// Draws the line that `text` makes for a width, unless it was drawn a moment ago.
pub(crate) fn draw(text: impl FnOnce(usize) -> String) {
    let mut line = line();
    if CLOSED.load(Ordering::SeqCst) || line.as_ref().is_some_and(|line| line.drawn.elapsed() < DRAW_EVERY) {
        return;
    }
    let width = width_of_notes();
    // A full line would make some terminals begin the next, and so would the `^C` that they show behind it.
    let room = width - 3;
    let text: String = text(room).chars().take(room).collect();
    let mut bytes = erasing(line.as_ref(), width);
    bytes.extend_from_slice(text.as_bytes());
    let _ = std::io::stderr().lock().write_all(&bytes);
    *line = Some(Line { text, drawn: Instant::now() });
}

/// Takes the line away.
pub(crate) fn clear() {
    above(|_| ());
}

/// Writes to standard error what stays, above the line, which is drawn anew below it. A terminal that went away is none
/// of its business.
pub(crate) fn above(write: impl FnOnce(&mut dyn Write)) {
    let mut line = line();
    let mut out = std::io::stderr().lock();
    if line.is_some() {
        let _ = out.write_all(&erasing(line.as_ref(), width_of_notes()));
    }
    write(&mut out);
    // The next drawing brings it back; nothing is left of it if there is none.
    *line = None;
}

/// What erases the line. Where the terminal has become narrower since it was drawn, it has broken it into several.
fn erasing(line: Option<&Line>, width: usize) -> Vec<u8> {
    let length = line.map_or(0, |line| line.text.chars().count());
    let mut bytes = b"\r\x1b[K".to_vec();
    for _ in 1..length.div_ceil(width) {
        bytes.extend_from_slice(b"\x1b[A\x1b[K");
    }
    bytes
}

/// A bar of so many characters, `done` (0 to 1) of it drawn.
pub(crate) fn bar(done: f64, length: usize) -> String {
    let done = if done.is_finite() { done.clamp(0.0, 1.0) } else { 0.0 };
    let full = (done * length as f64) as usize;
    let tip = usize::from(full < length);
    "━".repeat(full) + &"╸".repeat(tip) + &"─".repeat(length - full - tip)
}

/// A part of a line: its text, and how dispensable it is.
pub(crate) type Part = (u8, String);

/// The parts that find room in `width` characters, with two spaces between: those that are least dispensable first.
pub(crate) fn fitted(parts: &[Part], width: usize) -> String {
    let mut order: Vec<usize> = (0..parts.len()).filter(|&at| !parts[at].1.is_empty()).collect();
    order.sort_by_key(|&at| parts[at].0);
    let mut length = 0;
    let mut kept: Vec<usize> = Vec::new();
    for at in order {
        let gap = if kept.is_empty() { 0 } else { 2 };
        let longer = length + gap + parts[at].1.chars().count();
        // Of one part there is always as much as finds room.
        if longer <= width || kept.is_empty() {
            length = longer;
            kept.push(at);
        }
    }
    kept.sort_unstable();
    let text = kept.into_iter().map(|at| parts[at].1.as_str()).collect::<Vec<_>>().join("  ");
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_finds_room_the_least_dispensable_first() {
        let parts = [(0, "rigl".to_string()), (2, bar(0.5, 8)), (1, "step 5/10".into()), (3, String::new())];
        assert_eq!(fitted(&parts, 40), "rigl  ━━━━╸───  step 5/10");
        assert_eq!(fitted(&parts, 25), "rigl  ━━━━╸───  step 5/10");
        assert_eq!(fitted(&parts, 24), "rigl  step 5/10");
        assert_eq!(fitted(&parts, 14), "rigl  ━━━━╸───");
        assert_eq!(fitted(&parts, 13), "rigl");
        assert_eq!(fitted(&parts, 3), "rig");
    }

    #[test]
    fn a_bar_has_its_length_however_much_is_done() {
        for done in [-1.0, 0.0, 0.01, 0.5, 0.999, 1.0, 7.0, f64::NAN] {
            assert_eq!(bar(done, 10).chars().count(), 10, "{done}");
        }
        assert_eq!([bar(0.0, 3), bar(1.0, 3)], ["╸──", "━━━"]);
    }

    #[test]
    fn a_line_that_a_narrower_terminal_broke_is_erased_whole() {
        let line = Line { text: "x".repeat(79), drawn: Instant::now() };
        let rows = |width| erasing(Some(&line), width).iter().filter(|&&byte| byte == b'A').count();
        assert_eq!([rows(200), rows(80), rows(79), rows(78), rows(40), rows(39)], [0, 0, 0, 1, 1, 2]);
        assert_eq!(erasing(None, 80), b"\r\x1b[K");
    }
}
