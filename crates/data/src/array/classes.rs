//! Classes out of labels: the values that labels have, each once and in order. Whole numbers are ordered as numbers,
//! words by their bytes; a label is then the place of its value.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rigl_base::error::short;
use rigl_base::{Error, Result};

/// The most classes there may be.
pub const MOST_CLASSES: usize = 1 << 16;

/// The most characters of a class's name.
pub const LONGEST_NAME: usize = 100;

/// What a label says before it is known which classes there are.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Label<'a> {
    /// The number of a class, not necessarily counted from 0.
    Whole(i64),
    /// Its name.
    Word(Cow<'a, str>),
}

impl Label<'_> {
    /// What the class is called.
    pub fn name(&self) -> String {
        match self {
            Label::Whole(number) => number.to_string(),
            Label::Word(word) => word.to_string(),
        }
    }
}

/// The classes of a training set: all numbers or all words, sorted, none twice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Classes(Vec<Label<'static>>);

impl Classes {
    /// Those of these labels; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if there are fewer than two, or more than [`MOST_CLASSES`].
    pub fn new(labels: BTreeSet<Label<'static>>, name: &str) -> Result<Classes> {
        match labels.len() {
            0 | 1 => {
                let found = labels
                    .first()
                    .map_or_else(|| "none".into(), |one| format!("`{}` alone", short(&one.name())));
                Err(Error::data(format!("`{name}`: labels of at least 2 classes are needed, found {found}")))
            }
            2..=MOST_CLASSES => Ok(Classes(labels.into_iter().collect())),
            _ => Err(too_many(name)),
        }
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(Label::name).collect()
    }

    /// Whether they are numbers.
    pub fn are_numbers(&self) -> bool {
        matches!(self.0.first(), Some(Label::Whole(_)))
    }

    /// The place of a label.
    pub fn place(&self, label: &Label<'_>) -> Option<u32> {
        self.0.binary_search_by(|class| class.cmp(label)).ok().map(|at| at as u32)
    }

    /// What labels are allowed, to stand in messages.
    pub fn allowed(&self) -> String {
        const SHOWN: usize = 10;
        let names: Vec<String> =
            self.0.iter().take(SHOWN).map(|class| format!("`{}`", short(&class.name()))).collect();
        let more =
            if self.0.len() > SHOWN { format!(" and {} more", self.0.len() - SHOWN) } else { String::new() };
        format!("{}{more}", names.join(", "))
    }
}

/// More classes than there may be.
pub(super) fn too_many(name: &str) -> Error {
    Error::data(format!(
        "`{name}`: labels of more than {MOST_CLASSES} classes: numbers that are no names of classes cannot be learnt"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes<'a>(labels: impl IntoIterator<Item = Label<'a>>) -> Result<Classes> {
        let own = |label: Label<'a>| match label {
            Label::Whole(number) => Label::Whole(number),
            Label::Word(word) => Label::Word(word.into_owned().into()),
        };
        Classes::new(labels.into_iter().map(own).collect(), "f")
    }

    #[test]
    fn numbers_are_ordered_as_numbers_and_words_as_words() {
        let numbers = classes([10, -1, 2, 10].map(Label::Whole)).unwrap();
        assert_eq!(numbers.names(), ["-1", "2", "10"]);
        assert_eq!(
            [-1, 2, 10, 3].map(|n| numbers.place(&Label::Whole(n))),
            [Some(0), Some(1), Some(2), None]
        );
        let words = classes(["b", "a", "C"].map(|word| Label::Word(word.into()))).unwrap();
        assert_eq!(words.names(), ["C", "a", "b"]);
        assert_eq!(words.place(&Label::Word("b".into())), Some(2));
        assert_eq!(words.place(&Label::Whole(1)), None);
        assert!(numbers.are_numbers() && !words.are_numbers());
        assert_eq!(numbers.allowed(), "`-1`, `2`, `10`");
        assert!(classes((0..20).map(Label::Whole)).unwrap().allowed().ends_with("`9` and 10 more"));
    }

    #[test]
    fn one_class_and_too_many_are_refused() {
        let text = classes([Label::Whole(7)]).unwrap_err().to_string();
        assert_eq!(text, "`f`: labels of at least 2 classes are needed, found `7` alone");
        assert!(classes((0..MOST_CLASSES as i64).map(Label::Whole)).is_ok());
        assert!(classes((0..=MOST_CLASSES as i64).map(Label::Whole)).is_err());
    }
}
