//! "Did you mean": the nearest of the names there are, by one measure for every kind of name.
//!
//! A slip is a letter that is wrong, missing or too many, two neighbours swapped, or an end that was left off, however
//! long (`lenet` for `lenet-300-100`). Case, `-` and `_` are no difference. A name is near if at most a third of its letters
//! are slips.

use crate::Error;
use crate::error::short;

/// Longer ones are no names, and a comparison takes time that grows with the square.
const LONGEST: usize = 200;

/// The name of `names` that `name` was probably meant to be: the one with the fewest slips, if it is near. An end that
/// was left off counts only if nothing else tells names apart; of equals the first is taken.
///
/// ```
/// use rigl_base::nearest;
///
/// assert_eq!(nearest("resnet50", ["resnet", "resnet-50"]), Some("resnet-50"));
/// assert_eq!(nearest("frobnicate", ["resnet", "resnet-50"]), None);
/// ```
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_of(name, &mut names.into_iter())
}

/// [`nearest`], compiled once for all kinds of iterators.
fn nearest_of<'a>(name: &str, names: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = letters(name)?;
    let near = names.filter_map(|other| Some((slips(&name, &letters(other)?), other)));
    near.filter(|(slips, _)| slips.is_near()).min_by_key(|(slips, _)| slips.key()).map(|(_, other)| other)
}

/// The names of `names` that are most like `name`, near or not: `count` at most, in the order of [`nearest`].
pub fn most_alike<'a>(name: &str, names: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let name = letters(name).unwrap_or_default();
    let key = |other| letters(other).map_or((usize::MAX, usize::MAX), |other| slips(&name, &other).key());
    let mut all: Vec<_> = names.into_iter().map(|other| (key(other), other)).collect();
    // A stable sort: equals stay in their order.
    all.sort_by_key(|(key, _)| *key);
    all.into_iter().take(count).map(|(_, other)| other).collect()
}

/// The usage error for a name that is none of `names`, which it lists; the nearest is the hint.
///
/// `what` is the kind of thing: "method", "preset", "model".
///
/// ```
/// let error = rigl_base::unknown("method", "rigel", ["rigl", "set"]);
/// assert_eq!(error.message(), "no method is called `rigel`, allowed are `rigl`, `set`");
/// assert_eq!(error.hint_text(), Some("rigl"));
/// ```
pub fn unknown<'a>(what: &str, name: &str, names: impl IntoIterator<Item = &'a str>) -> Error {
    unknown_of(what, name, &names.into_iter().collect::<Vec<&str>>())
}

fn unknown_of(what: &str, name: &str, names: &[&str]) -> Error {
    let list: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let (found, list) = (short(name), list.join(", "));
    let error = Error::usage(format!("no {what} is called `{found}`, allowed are {list}"));
    match nearest(name, names.iter().copied()) {
        Some(name) => error.hint(name),
        None => error,
    }
}

/// What of a name is compared; `None` if it is too long to be one.
fn letters(name: &str) -> Option<Vec<char>> {
    let letter = |c: &char| !matches!(c, '-' | '_');
    (name.len() <= LONGEST).then(|| name.chars().flat_map(char::to_lowercase).filter(letter).collect())
}

/// How a name differs from another.
struct Slips {
    /// Slips before an end that was left off.
    inner: usize,
    /// Slips where each letter of such an end counts.
    whole: usize,
    /// Whether there is such an end.
    unfinished: bool,
    /// Letters that were compared: those of the longer of the two, without such an end.
    letters: usize,
}

impl Slips {
    fn is_near(&self) -> bool {
        3 * (self.inner + usize::from(self.unfinished)) <= self.letters
    }

    fn key(&self) -> (usize, usize) {
        (self.inner, self.whole)
    }
}

/// Compares `name` with every beginning of `other`, by the distance of optimal string alignment.
fn slips(name: &[char], other: &[char]) -> Slips {
    // Row `i` holds the distances of the first `i` letters of `name` from every beginning of `other`.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in name.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, found) in other.iter().enumerate() {
            let mut least = (last[j] + usize::from(letter != found)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && name[i - 1] == *found && other[j - 1] == *letter {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    let whole = last[other.len()];
    // Of equally good beginnings the longest.
    let (length, inner) =
        last.into_iter().enumerate().rev().min_by_key(|(_, slips)| *slips).unwrap_or_default();
    Slips { inner, whole, unfinished: length < other.len(), letters: name.len().max(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_every_kind_are_found_and_far_names_are_not() {
        let names = ["drop", "drop-fraction", "distribution", "decay", "sgd"];
        for (name, near) in [
            ("drop_fraction", Some("drop-fraction")),
            ("dropfraction", Some("drop-fraction")),
            ("Drop", Some("drop")),
            ("dorp", Some("drop")),
            ("dro", Some("drop")),
            ("drop-f", Some("drop-fraction")),
            ("drpo-fra", Some("drop-fraction")),
            ("distributoin", Some("distribution")),
            ("destribation", Some("distribution")),
            ("sd", Some("sgd")),
            ("decayed", Some("decay")),
            ("momentum", None),
            ("dx", None),
            ("d", None),
            ("", None),
            ("-", None),
            (&"x".repeat(100_000), None),
        ] {
            assert_eq!(nearest(name, names), near, "{name}");
        }
        assert_eq!(nearest("x", []), None);
    }

    #[test]
    fn of_several_ends_left_off_the_shortest_wins() {
        let names = ["lenet-300-100", "lenet-5", "vgg-cifar"];
        assert_eq!(nearest("lenet", names), Some("lenet-5"));
        assert_eq!(nearest("lenet300", names), Some("lenet-300-100"));
        assert_eq!(nearest("vgg", names), Some("vgg-cifar"));
        assert_eq!(nearest("vg", names), None);
        // Two letters in common with the beginning of a long name are no likeness.
        assert_eq!(nearest("vgx", names), None);
    }

    #[test]
    fn the_order_is_by_slips_then_by_length_then_as_given() {
        let names = ["conv1", "layer1.0.conv2", "layer1.0.conv1", "layer1.0.conv10"];
        assert_eq!(most_alike("layer1.0.conv1", names, 2), ["layer1.0.conv1", "layer1.0.conv10"]);
        assert_eq!(most_alike("layer1", names, 9)[..2], ["layer1.0.conv2", "layer1.0.conv1"]);
        assert_eq!(most_alike("zzz", names, 9).len(), 4);
        assert_eq!(most_alike(&"x".repeat(1000), ["b", "a"], 9), ["b", "a"]);
    }

    #[test]
    fn slips_are_counted_with_and_without_an_end_that_was_left_off() {
        let count = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|name| letters(name).unwrap());
            let found = slips(&a, &b);
            (found.inner, found.whole)
        };
        assert_eq!(count("rigl", "rigl"), (0, 0));
        assert_eq!(count("rgil", "rigl"), (1, 1));
        assert_eq!(count("ca", "abc"), (1, 3));
        assert_eq!(count("", "rigl"), (0, 4));
        assert_eq!(count("rigl", ""), (4, 4));
        assert_eq!(count("Ä", "ä"), (0, 0));
    }

    #[test]
    fn an_unknown_name_is_shown_as_one_short_line() {
        let error = unknown("method", &"a\n".repeat(500), ["rigl"]);
        assert!(error.message().len() < 150 && !error.message().contains('\n'), "{error}");
        assert_eq!(error.hint_text(), None);
    }
}
