//! The types that keys can have: each reads itself from TOML, writes itself, says what is allowed, and
//! guesses what a value of the wrong type was meant to be.

use rigl_base::nearest;
use rigl_data::Column;
use rigl_topology::{Decay, Distribution, GrownInit, LayerFilter, NarrowTo, Redistribution, StepPolicy};
use toml_edit::{Array, Item, Value};

use super::{Augment, Compute, Limit, OptimizerName, Shape, Standardize, Unit};

/// A type that a key can have.
pub(super) trait Setting: Sized + PartialEq {
    /// What is allowed, to stand after "expected".
    fn expected() -> String;

    /// The words there are, each with what it means.
    fn words() -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// The value, or `None` if the item is of another type.
    fn read(item: &Item) -> Option<Self>;

    /// The TOML value that reads as `self`.
    fn write(&self) -> Value;

    /// What an item of the wrong type probably meant.
    fn guess(_item: &Item) -> Option<Self> {
        None
    }

    /// What a value of the right type but outside of what is allowed probably meant.
    fn instead(&self) -> Option<Self> {
        None
    }
}

/// Numbers that training computes with in 32 bits.
pub(super) trait Single: Setting {
    /// The value as it is computed with; `None` where 32 bits do not reach so far, or make 0 of it.
    fn rounded(&self) -> Option<Self>;
}

/// What values of type `T` a key allows, beyond the type.
pub(super) struct Rule<T> {
    allowed: Option<&'static str>,
    holds: fn(&T) -> bool,
    rounded: Option<fn(&T) -> Option<T>>,
}

impl<T: Single> Rule<T> {
    /// Only values that are allowed still in the 32 bits that they are computed with.
    pub(super) fn f32(self) -> Rule<T> {
        Rule { rounded: Some(T::rounded), ..self }
    }
}

impl<T: Setting> Rule<T> {
    /// Every value of the type.
    pub(super) fn any() -> Rule<T> {
        Rule { allowed: None, holds: |_| true, rounded: None }
    }

    /// Only values for which `holds`; `allowed` says which, to stand after "expected".
    pub(super) fn only(self, allowed: &'static str, holds: fn(&T) -> bool) -> Rule<T> {
        Rule { allowed: Some(allowed), holds, ..self }
    }

    pub(super) fn allowed(&self) -> String {
        let bits = if self.rounded.is_some() { " (in 32 bits: 0, or 1.2e-38 to 3.4e38 in size)" } else { "" };
        self.allowed.map_or_else(T::expected, String::from) + bits
    }

    fn takes(&self, value: &T) -> bool {
        let rounded = || self.rounded.is_none_or(|rounded| rounded(value).is_some_and(|x| (self.holds)(&x)));
        (self.holds)(value) && rounded()
    }

    /// The value, or a hint what to write instead.
    pub(super) fn read(&self, item: &Item) -> Result<T, Option<String>> {
        let found = T::read(item);
        match found {
            Some(value) if self.takes(&value) => Ok(value),
            _ => {
                let Some(meant) = found.or_else(|| T::guess(item)) else { return Err(None) };
                if self.takes(&meant) {
                    return Err(Some(text(&meant)));
                }
                let better = T::instead(&meant).filter(|value| self.takes(value));
                Err(better.map(|value| text(&value)))
            }
        }
    }
}

/// A setting as TOML text.
pub(super) fn text<T: Setting>(value: &T) -> String {
    value.write().to_string()
}

impl Setting for bool {
    fn expected() -> String {
        "`true` or `false`".into()
    }

    fn read(item: &Item) -> Option<bool> {
        item.as_bool()
    }

    fn write(&self) -> Value {
        (*self).into()
    }

    fn guess(item: &Item) -> Option<bool> {
        match (item.as_integer(), item.as_str()) {
            (Some(1), _) | (_, Some("true" | "yes" | "on")) => Some(true),
            (Some(0), _) | (_, Some("false" | "no" | "off")) => Some(false),
            _ => None,
        }
    }
}

/// Whole numbers within this distance of 0 are exact as f64, and written without a fraction.
const EXACT: f64 = 1e15;

impl Setting for f64 {
    fn expected() -> String {
        "a finite number".into()
    }

    fn read(item: &Item) -> Option<f64> {
        item.as_float().or_else(|| item.as_integer().map(|x| x as f64)).filter(|x| x.is_finite())
    }

    fn write(&self) -> Value {
        if self.fract() == 0.0 && self.abs() < EXACT { (*self as i64).into() } else { (*self).into() }
    }

    fn guess(item: &Item) -> Option<f64> {
        item.as_str()?.trim().parse().ok().filter(|x: &f64| x.is_finite())
    }

    /// Per cent.
    fn instead(&self) -> Option<f64> {
        (*self > 1.0 && *self <= 100.0).then_some(self / 100.0)
    }
}

impl Single for f64 {
    fn rounded(&self) -> Option<f64> {
        let single = *self as f32;
        (*self == 0.0 || single.is_normal()).then_some(f64::from(single))
    }
}

impl Single for Option<f64> {
    fn rounded(&self) -> Option<Option<f64>> {
        self.map_or(Some(None), |number| number.rounded().map(Some))
    }
}

impl Single for Vec<f64> {
    fn rounded(&self) -> Option<Vec<f64>> {
        self.iter().map(f64::rounded).collect()
    }
}

macro_rules! whole_number {
    ($type:ty) => {
        impl Setting for $type {
            fn expected() -> String {
                "a whole number ≥ 0".into()
            }

            fn read(item: &Item) -> Option<$type> {
                <$type>::try_from(item.as_integer()?).ok()
            }

            /// TOML has 63 bits. What is beyond becomes text, which no key of this type takes.
            fn write(&self) -> Value {
                i64::try_from(*self).map_or_else(|_| self.to_string().into(), Value::from)
            }

            fn guess(item: &Item) -> Option<$type> {
                let number = f64::read(item).or_else(|| f64::guess(item))?;
                (number.fract() == 0.0 && (0.0..EXACT).contains(&number)).then_some(number as $type)
            }
        }
    };
}

whole_number!(u64);
whole_number!(usize);

impl Setting for String {
    fn expected() -> String {
        "a string".into()
    }

    fn read(item: &Item) -> Option<String> {
        item.as_str().map(String::from)
    }

    fn write(&self) -> Value {
        self.as_str().into()
    }

    fn guess(item: &Item) -> Option<String> {
        item.as_integer().map(|x| x.to_string())
    }
}

/// Nothing is `auto`: the network or the recipe has a value of its own.
impl<T: Setting> Setting for Option<T> {
    fn expected() -> String {
        format!("`auto` or {}", T::expected())
    }

    fn read(item: &Item) -> Option<Option<T>> {
        match item.as_str() {
            Some("auto") => Some(None),
            _ => T::read(item).map(Some),
        }
    }

    fn write(&self) -> Value {
        self.as_ref().map_or_else(|| "auto".into(), T::write)
    }

    fn guess(item: &Item) -> Option<Option<T>> {
        T::guess(item).map(Some)
    }

    fn instead(&self) -> Option<Option<T>> {
        self.as_ref().and_then(T::instead).map(Some)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn expected() -> String {
        format!("a list, each entry {}", T::expected())
    }

    fn read(item: &Item) -> Option<Vec<T>> {
        item.as_array()?.iter().map(|value| T::read(&Item::Value(value.clone()))).collect()
    }

    fn write(&self) -> Value {
        Value::Array(self.iter().map(T::write).collect::<Array>())
    }

    /// One value where a list of values is expected.
    fn guess(item: &Item) -> Option<Vec<T>> {
        T::read(item).map(|value| vec![value])
    }
}

/// Types of which each value has a name.
macro_rules! named {
    ($($type:ty),+) => { $(
        impl Setting for $type {
            fn expected() -> String {
                $crate::config::value::one_of(Self::ALL.iter().map(|value| value.name()))
            }

            fn words() -> Vec<(&'static str, &'static str)> {
                Self::ALL.iter().map(|value| (value.name(), value.meaning())).collect()
            }

            fn read(item: &::toml_edit::Item) -> Option<Self> {
                Self::from_name(item.as_str()?)
            }

            fn write(&self) -> ::toml_edit::Value {
                self.name().into()
            }

            fn guess(item: &::toml_edit::Item) -> Option<Self> {
                let names = Self::ALL.iter().map(|value| value.name());
                Self::from_name(::rigl_base::nearest(item.as_str()?, names)?)
            }
        }
    )+ };
}

named!(
    Augment,
    Compute,
    Shape,
    Unit,
    OptimizerName,
    Distribution,
    Decay,
    GrownInit,
    Redistribution,
    NarrowTo,
    Standardize,
    StepPolicy
);

pub(super) use named;

pub(super) fn one_of<'a>(mut names: impl Iterator<Item = &'a str>) -> String {
    list(&mut names)
}

fn list(names: &mut dyn Iterator<Item = &str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", names.join(", ")),
    }
}

impl Setting for Limit {
    fn expected() -> String {
        "`all` or a whole number ≥ 1".into()
    }

    fn read(item: &Item) -> Option<Limit> {
        match item.as_str() {
            Some("all") => Some(Limit::All),
            _ => usize::read(item).filter(|&count| count > 0).map(Limit::First),
        }
    }

    fn write(&self) -> Value {
        match self {
            Limit::All => "all".into(),
            Limit::First(count) => count.write(),
        }
    }

    fn guess(item: &Item) -> Option<Limit> {
        usize::guess(item).filter(|&count| count > 0).map(Limit::First)
    }
}

/// What stands for the last column.
const LAST: &str = "last";

impl Setting for Column {
    fn expected() -> String {
        format!("`{LAST}`, a column's number from 1 on, or its name")
    }

    fn read(item: &Item) -> Option<Column> {
        match item.as_str() {
            Some(LAST) => Some(Column::Last),
            Some(name) => (!name.is_empty()).then(|| Column::Name(name.into())),
            None => usize::read(item).filter(|&number| number > 0).map(Column::Number),
        }
    }

    fn write(&self) -> Value {
        match self {
            Column::Last => LAST.into(),
            Column::Number(number) => number.write(),
            Column::Name(name) => name.as_str().into(),
        }
    }

    fn guess(item: &Item) -> Option<Column> {
        usize::guess(item).filter(|&number| number > 0).map(Column::Number)
    }
}

impl Setting for LayerFilter {
    fn expected() -> String {
        "`default`, `all` or a list of globs".into()
    }

    fn read(item: &Item) -> Option<LayerFilter> {
        match item.as_str() {
            Some("default") => Some(LayerFilter::Default),
            Some("all") => Some(LayerFilter::All),
            Some(_) => None,
            None => Vec::read(item).map(LayerFilter::Globs),
        }
    }

    fn write(&self) -> Value {
        match self {
            LayerFilter::Default => "default".into(),
            LayerFilter::All => "all".into(),
            LayerFilter::Globs(globs) => globs.write(),
        }
    }

    fn guess(item: &Item) -> Option<LayerFilter> {
        let word = item.as_str()?;
        match nearest(word, ["default", "all"]) {
            Some("default") => Some(LayerFilter::Default),
            Some(_) => Some(LayerFilter::All),
            None => Some(LayerFilter::Globs(vec![word.into()])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Item {
        Item::Value(text.parse().unwrap())
    }

    fn hint<T: Setting + std::fmt::Debug>(rule: &Rule<T>, text: &str) -> Option<String> {
        rule.read(&item(text)).unwrap_err()
    }

    #[test]
    fn numbers_accept_whole_numbers_and_refuse_the_infinite() {
        assert_eq!(f64::read(&item("1")), Some(1.0));
        assert_eq!(f64::read(&item("1e-4")), Some(1e-4));
        for bad in ["nan", "inf", "-inf", "'1'", "true", "[1]"] {
            assert_eq!(f64::read(&item(bad)), None, "{bad}");
        }
    }

    #[test]
    fn whole_numbers_refuse_negative_and_fractional_ones() {
        assert_eq!(usize::read(&item("100")), Some(100));
        assert_eq!(u64::read(&item("9223372036854775807")), Some(i64::MAX as u64));
        for bad in ["-1", "1.0", "'1'", "nan"] {
            assert_eq!(u64::read(&item(bad)), None, "{bad}");
        }
    }

    #[test]
    fn hints_say_what_was_probably_meant_and_are_allowed_themselves() {
        let share = Rule::<f64>::any().only("", |x| (0.0..1.0).contains(x));
        assert_eq!(hint(&share, "90").as_deref(), Some("0.9"));
        assert_eq!(hint(&share, "'0.5'").as_deref(), Some("0.5"));
        assert_eq!(hint(&share, "'95'").as_deref(), Some("0.95"));
        assert_eq!(hint(&share, "-3"), None);
        assert_eq!(hint(&share, "nan"), None);
        assert_eq!(hint(&Rule::<usize>::any(), "100.0").as_deref(), Some("100"));
        assert_eq!(hint(&Rule::<usize>::any(), "1.5"), None);
        assert_eq!(hint(&Rule::<bool>::any(), "'yes'").as_deref(), Some("true"));
        assert_eq!(hint(&Rule::<Vec<f64>>::any(), "3").as_deref(), Some("[3]"));
        assert_eq!(hint(&Rule::<Decay>::any(), "'cosin'").as_deref(), Some("\"cosine\""));
        assert_eq!(hint(&Rule::<LayerFilter>::any(), "'fc*'").as_deref(), Some("[\"fc*\"]"));
        assert_eq!(hint(&Rule::<Limit>::any(), "0"), None);
    }

    #[test]
    fn numbers_that_32_bits_do_not_hold_are_refused_where_they_are_computed_with() {
        let below_one = || Rule::<f64>::any().only("", |x| (0.0..1.0).contains(x)).f32();
        for good in ["0", "-0.0", "0.5", "1e-37", "0.999999"] {
            assert!(below_one().read(&item(good)).is_ok(), "{good}");
        }
        // The last one is 1 in 32 bits.
        for bad in ["1e-320", "1e-40", "0.999999999"] {
            assert_eq!(below_one().read(&item(bad)), Err(None), "{bad}");
        }
        let list = Rule::<Vec<f64>>::any().f32();
        assert!(list.read(&item("[3e38, -3e38]")).is_ok() && list.read(&item("[0, 1e39]")).is_err());
        let auto = Rule::<Option<f64>>::any().f32();
        assert!(auto.read(&item("'auto'")).is_ok() && auto.read(&item("1e300")).is_err());
    }

    #[test]
    fn whole_numbers_are_written_without_a_fraction() {
        let written = [0.0, -0.0, 200.0, 0.1, 1e-4, 1e300].map(|x: f64| text(&x));
        assert_eq!(written[..5], ["0", "0", "200", "0.1", "0.0001"]);
        assert_eq!(f64::read(&item(&written[5])), Some(1e300));
    }
}
