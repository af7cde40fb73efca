//! What a model lets be chosen: options with a name, a meaning, a default and a range. They are declared once, beside
//! the model; checks, messages, configuration files, help and documentation follow from that.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use rigl_base::{Error, Result, nearest};

/// The largest size of a layer that an option may ask for: far beyond networks in use.
const MAX_SIZE: usize = 1 << 24;

/// The value of an option.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionValue {
    /// A whole number.
    Whole(usize),
    /// Any number.
    Number(f64),
    /// Sizes of layers, perhaps of none.
    Sizes(Vec<usize>),
    /// A word.
    Word(String),
    /// Yes or no.
    Flag(bool),
}

/// Which values an option takes.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionRange {
    /// Whole numbers: the first, and in steps of `step` from there up to the last.
    Whole {
        /// The smallest.
        first: usize,
        /// From one to the next, at least 1.
        step: usize,
        /// The largest.
        last: usize,
    },
    /// These whole numbers, in ascending order.
    OneOf(Cow<'static, [usize]>),
    /// Finite numbers between two bounds.
    Number(Bound<f64>, Bound<f64>),
    /// Lists of whole numbers from 1 to 16777216.
    Sizes,
    /// These words.
    Word(Cow<'static, [&'static str]>),
    /// `true` and `false`.
    Flag,
}

/// An option of a model.
///
/// ```
/// use rigl_graph::models::ModelOption;
///
/// let depth = ModelOption::whole("depth", 22, 10..=2002).step(6).doc("Layers with weights.");
/// assert_eq!(depth.allowed(), "a whole number 6n + 4 from 10 to 2002");
/// assert_eq!(depth.check(&20.into()), Err(Some(22.into())));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOption {
    /// Its name: `bn-momentum`. In a configuration it is a key of `[model]`.
    pub name: Cow<'static, str>,
    /// What it means, one or more sentences.
    pub doc: Cow<'static, str>,
    /// Its value where nobody chooses one.
    pub default: OptionValue,
    /// Which values it takes.
    pub range: OptionRange,
}

impl ModelOption {
    fn new(name: impl Into<Cow<'static, str>>, default: OptionValue, range: OptionRange) -> ModelOption {
        ModelOption { name: name.into(), doc: "".into(), default, range }
    }

    /// A whole number within a range.
    pub fn whole(
        name: impl Into<Cow<'static, str>>,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> ModelOption {
        let (first, last) = range.into_inner();
        ModelOption::new(name, default.into(), OptionRange::Whole { first, step: 1, last })
    }

    /// One of these whole numbers, which ascend.
    pub fn one_of(
        name: impl Into<Cow<'static, str>>,
        default: usize,
        numbers: impl Into<Cow<'static, [usize]>>,
    ) -> ModelOption {
        ModelOption::new(name, default.into(), OptionRange::OneOf(numbers.into()))
    }

    /// A number within a range.
    pub fn number(
        name: impl Into<Cow<'static, str>>,
        default: f64,
        range: impl RangeBounds<f64>,
    ) -> ModelOption {
        let range = OptionRange::Number(range.start_bound().cloned(), range.end_bound().cloned());
        ModelOption::new(name, default.into(), range)
    }

    /// Sizes of layers. In a configuration an empty list stands for the default.
    pub fn sizes(name: impl Into<Cow<'static, str>>, default: impl Into<Vec<usize>>) -> ModelOption {
        ModelOption::new(name, default.into().into(), OptionRange::Sizes)
    }

    /// One of these words.
    pub fn word(
        name: impl Into<Cow<'static, str>>,
        default: &str,
        words: impl Into<Cow<'static, [&'static str]>>,
    ) -> ModelOption {
        ModelOption::new(name, default.into(), OptionRange::Word(words.into()))
    }

    /// Yes or no.
    pub fn flag(name: impl Into<Cow<'static, str>>, default: bool) -> ModelOption {
        ModelOption::new(name, default.into(), OptionRange::Flag)
    }

    /// With this meaning.
    #[must_use]
    pub fn doc(self, doc: impl Into<Cow<'static, str>>) -> ModelOption {
        ModelOption { doc: doc.into(), ..self }
    }

    /// Of whole numbers only every `step`-th from the first.
    #[must_use]
    pub fn step(mut self, by: usize) -> ModelOption {
        if let OptionRange::Whole { step, .. } = &mut self.range {
            *step = by.max(1);
        }
        self
    }

    /// Which values it takes, to stand after "expected".
    pub fn allowed(&self) -> String {
        match &self.range {
            &OptionRange::Whole { first, step: 1, last } => format!("a whole number from {first} to {last}"),
            &OptionRange::Whole { first, step, last } if first % step == 0 => {
                format!("a multiple of {step} from {first} to {last}")
            }
            &OptionRange::Whole { first, step, last } => {
                format!("a whole number {step}n + {} from {first} to {last}", first % step)
            }
            OptionRange::OneOf(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
                format!("one of {}", numbers.join(", "))
            }
            OptionRange::Number(low, high) => number_between(&self.name, *low, *high),
            OptionRange::Sizes => format!("a list of whole numbers from 1 to {MAX_SIZE}"),
            OptionRange::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("one of {}", words.join(", "))
            }
            OptionRange::Flag => "`true` or `false`".into(),
        }
    }

    /// The value as the option holds it (a whole number may stand for a number).
    ///
    /// # Errors
    /// If the option does not take it; with the nearest that it takes, if it can be told.
    pub fn check(&self, value: &OptionValue) -> Result<OptionValue, Option<OptionValue>> {
        let value = match (&self.range, value) {
            (OptionRange::Number(..), &OptionValue::Whole(n)) => OptionValue::Number(n as f64),
            (_, value) => value.clone(),
        };
        let instead = match (&self.range, &value) {
            (&OptionRange::Whole { first, step, last }, &OptionValue::Whole(n)) => {
                let steps = (n.saturating_sub(first).saturating_add(step / 2) / step)
                    .min(last.saturating_sub(first) / step);
                Some(OptionValue::Whole(first + steps * step))
            }
            (OptionRange::OneOf(numbers), &OptionValue::Whole(n)) => {
                numbers.iter().min_by_key(|known| known.abs_diff(n)).map(|&near| near.into())
            }
            (OptionRange::Number(low, high), OptionValue::Number(x)) => {
                (x.is_finite() && (*low, *high).contains(x)).then_some(value.clone())
            }
            (OptionRange::Sizes, OptionValue::Sizes(sizes)) => {
                sizes.iter().all(|size| (1..=MAX_SIZE).contains(size)).then_some(value.clone())
            }
            (OptionRange::Word(words), OptionValue::Word(word)) => match words.contains(&word.as_str()) {
                true => Some(value.clone()),
                false => nearest(word, words.iter().copied()).map(OptionValue::from),
            },
            (OptionRange::Flag, OptionValue::Flag(_)) => Some(value.clone()),
            _ => None,
        };
        if instead.as_ref() == Some(&value) { Ok(value) } else { Err(instead) }
    }
}

/// "a number with 0 < width ≤ 1000".
fn number_between(name: &str, low: Bound<f64>, high: Bound<f64>) -> String {
    let high = match high {
        Bound::Included(x) => format!(" ≤ {x}"),
        Bound::Excluded(x) => format!(" < {x}"),
        Bound::Unbounded => String::new(),
    };
    match low {
        Bound::Included(x) if high.is_empty() => format!("a number ≥ {x}"),
        Bound::Excluded(x) if high.is_empty() => format!("a number > {x}"),
        Bound::Included(x) => format!("a number with {x} ≤ {name}{high}"),
        Bound::Excluded(x) => format!("a number with {x} < {name}{high}"),
        Bound::Unbounded if high.is_empty() => "a finite number".into(),
        Bound::Unbounded => format!("a number{high}"),
    }
}

impl From<usize> for OptionValue {
    fn from(n: usize) -> OptionValue {
        OptionValue::Whole(n)
    }
}

impl From<f64> for OptionValue {
    fn from(x: f64) -> OptionValue {
        OptionValue::Number(x)
    }
}

impl From<Vec<usize>> for OptionValue {
    fn from(sizes: Vec<usize>) -> OptionValue {
        OptionValue::Sizes(sizes)
    }
}

impl From<&str> for OptionValue {
    fn from(word: &str) -> OptionValue {
        OptionValue::Word(word.into())
    }
}

impl From<String> for OptionValue {
    fn from(word: String) -> OptionValue {
        OptionValue::Word(word)
    }
}

impl From<bool> for OptionValue {
    fn from(flag: bool) -> OptionValue {
        OptionValue::Flag(flag)
    }
}

/// As people write it: `[300, 100]`, `0.3`.
impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionValue::Whole(n) => write!(f, "{n}"),
            OptionValue::Number(x) => write!(f, "{x}"),
            OptionValue::Sizes(sizes) => write!(f, "{sizes:?}"),
            OptionValue::Word(word) => f.write_str(word),
            OptionValue::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

/// Values of options by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(BTreeMap<String, OptionValue>);

impl Values {
    /// Sets an option.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<OptionValue>) {
        self.0.insert(name.into(), value.into());
    }

    /// Takes an option out, if it is set.
    pub fn remove(&mut self, name: &str) -> Option<OptionValue> {
        self.0.remove(name)
    }

    /// The value of an option, if it is set.
    pub fn get(&self, name: &str) -> Option<&OptionValue> {
        self.0.get(name)
    }

    /// Those that are set, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OptionValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every option of `model`: its value here, else its default.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for one that the model does not have, or a value that it does not take.
    pub(super) fn complete(&self, model: &str, options: &[ModelOption]) -> Result<Values> {
        if let Some((stray, _)) = self.iter().find(|(name, _)| !options.iter().any(|o| o.name == *name)) {
            return Err(no_option(model, stray, options));
        }
        let value = |option: &ModelOption| {
            let value = self.get(&option.name).unwrap_or(&option.default);
            match option.check(value) {
                Ok(value) => Ok((option.name.to_string(), value)),
                Err(instead) => {
                    let (name, allowed) = (&option.name, option.allowed());
                    let error =
                        Error::usage(format!("`{name}` of model `{model}` is `{value}`, expected {allowed}"));
                    Err(match instead {
                        Some(instead) => error.hint(instead.to_string()),
                        None => error,
                    })
                }
            }
        };
        options.iter().map(value).collect::<Result<_>>().map(Values)
    }
}

/// The usage error for an option that a model does not have.
pub fn no_option(model: &str, name: &str, options: &[ModelOption]) -> Error {
    let known: Vec<String> = options.iter().map(|option| format!("`{}`", option.name)).collect();
    let allowed =
        if known.is_empty() { "it has none".into() } else { format!("allowed are {}", known.join(", ")) };
    let (model, found) = (rigl_base::error::short(model), rigl_base::error::short(name));
    let error = Error::usage(format!("`{model}` has no option `{found}`, {allowed}"));
    match nearest(name, options.iter().map(|option| &*option.name)) {
        Some(near) => error.hint(near),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_what_it_allows() {
        use Bound::{Excluded, Included, Unbounded};
        let number = |low, high| ModelOption::number("x", 0.0, (low, high)).allowed();
        assert_eq!(number(Excluded(0.0), Included(1000.0)), "a number with 0 < x ≤ 1000");
        assert_eq!(number(Included(0.0), Excluded(1.0)), "a number with 0 ≤ x < 1");
        assert_eq!(number(Included(0.0), Unbounded), "a number ≥ 0");
        assert_eq!(number(Unbounded, Excluded(2.5)), "a number < 2.5");
        assert_eq!(number(Unbounded, Unbounded), "a finite number");
        assert_eq!(ModelOption::whole("n", 1, 1..=9).allowed(), "a whole number from 1 to 9");
        assert_eq!(ModelOption::whole("n", 6, 6..=18).step(6).allowed(), "a multiple of 6 from 6 to 18");
        assert_eq!(ModelOption::one_of("n", 2, vec![1, 2]).allowed(), "one of 1, 2");
        assert_eq!(ModelOption::word("w", "a", vec!["a", "b"]).allowed(), "one of `a`, `b`");
        assert_eq!(ModelOption::flag("f", true).allowed(), "`true` or `false`");
        assert_eq!(ModelOption::sizes("s", []).allowed(), "a list of whole numbers from 1 to 16777216");
    }

    #[test]
    fn a_value_outside_is_refused_with_the_nearest_inside() {
        let depth = ModelOption::whole("depth", 22, 10..=2002).step(6);
        for (asked, near) in
            [(0, 10), (12, 10), (13, 16), (20, 22), (21, 22), (2003, 2002), (usize::MAX, 2002)]
        {
            assert_eq!(depth.check(&asked.into()), Err(Some(near.into())), "{asked}");
        }
        assert_eq!(depth.check(&16.into()), Ok(16.into()));
        assert_eq!(depth.check(&16.0.into()), Err(None));
        let table = ModelOption::one_of("depth", 16, vec![11, 13, 16, 19]);
        assert_eq!(table.check(&18.into()), Err(Some(19.into())));
        assert_eq!(table.check(&19.into()), Ok(19.into()));
        let width = ModelOption::number("width", 1.0, (Bound::Excluded(0.0), Bound::Included(1000.0)));
        for bad in [0.0, -1.0, 1e9, f64::NAN, f64::INFINITY] {
            assert_eq!(width.check(&bad.into()), Err(None), "{bad}");
        }
        assert_eq!(width.check(&2.into()), Ok(2.0.into()));
        let sizes = ModelOption::sizes("hidden", [300]);
        assert_eq!(sizes.check(&vec![].into()), Ok(vec![].into()));
        assert_eq!(sizes.check(&vec![1, 0].into()), Err(None));
        assert_eq!(sizes.check(&vec![MAX_SIZE + 1].into()), Err(None));
        let word = ModelOption::word("act", "relu", vec!["relu", "gelu"]);
        assert_eq!(word.check(&"rleu".into()), Err(Some("relu".into())));
        assert_eq!(word.check(&true.into()), Err(None));
        assert_eq!(ModelOption::flag("bias", true).check(&false.into()), Ok(false.into()));
    }

    #[test]
    fn values_are_completed_by_defaults_and_strange_ones_are_refused() {
        let options = [ModelOption::flag("bias", true), ModelOption::number("width", 1.0, 0.5..2.0)];
        let mut values = Values::default();
        values.set("width", 1usize);
        let all = values.complete("net", &options).unwrap();
        assert_eq!(all.iter().collect::<Vec<_>>(), [("bias", &true.into()), ("width", &1.0.into())]);
        values.set("width", 2usize);
        let error = values.complete("net", &options).unwrap_err();
        assert_eq!(error.message(), "`width` of model `net` is `2`, expected a number with 0.5 ≤ width < 2");
        assert_eq!(values.remove("width"), Some(2usize.into()));
        values.set("widht", 1usize);
        let error = values.complete("net", &options).unwrap_err();
        assert_eq!(error.message(), "`net` has no option `widht`, allowed are `bias`, `width`");
        assert_eq!(error.hint_text(), Some("width"));
        assert_eq!(no_option("net", "depth", &[]).message(), "`net` has no option `depth`, it has none");
    }
}
