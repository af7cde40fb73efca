//! Ways in which parameters start, by the names of the text form. [`crate::initial`] computes the values.

use std::fmt;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All 0.
    Zeros,
    /// All this value.
    Constant(f64),
    /// Uniform in ±√(6 / (fan in + fan out)) (Glorot and Bengio, 2010).
    GlorotUniform,
    /// Normal, cut off at two standard deviations and scaled so that its variance is 1 / fan in.
    TruncatedNormal,
    /// Normal of variance 2 / fan in, not cut off (He et al., 2015).
    HeNormal,
    /// Normal of this standard deviation, not cut off.
    Normal(f64),
}

impl fmt::Display for Init {
    /// The name in the text form: `zeros`, `constant(1.0)`, `glorot-uniform`, `truncated-normal`, `he-normal`,
    /// `normal(0.01)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Init::Zeros => f.write_str("zeros"),
            Init::Constant(value) => write!(f, "constant({value:?})"),
            Init::GlorotUniform => f.write_str("glorot-uniform"),
            Init::TruncatedNormal => f.write_str("truncated-normal"),
            Init::HeNormal => f.write_str("he-normal"),
            Init::Normal(deviation) => write!(f, "normal({deviation:?})"),
        }
    }
}

impl Init {
    /// The initialiser of that name, see [`Display`](#impl-Display-for-Init).
    pub fn from_name(name: &str) -> Option<Init> {
        match name {
            "zeros" => Some(Init::Zeros),
            "glorot-uniform" => Some(Init::GlorotUniform),
            "truncated-normal" => Some(Init::TruncatedNormal),
            "he-normal" => Some(Init::HeNormal),
            _ => {
                let (word, number) = name.strip_suffix(')')?.split_once('(')?;
                match (word, number.parse().ok()?) {
                    ("constant", value) => Some(Init::Constant(value)),
                    ("normal", deviation) => Some(Init::Normal(deviation)),
                    _ => None,
                }
            }
        }
    }

    pub(crate) fn check(self) -> Result<(), String> {
        match self {
            Init::Normal(deviation) if !(deviation > 0.0 && deviation.is_finite()) => {
                Err(format!("the deviation of `normal` must be above 0 and finite, found {deviation}"))
            }
            Init::Constant(value) if !value.is_finite() => {
                Err(format!("the value of `constant` must be finite, found {value}"))
            }
            _ => Ok(()),
        }
    }
}
