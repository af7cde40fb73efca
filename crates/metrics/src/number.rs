//! JSON knows no NaN and no infinity. They are written as `null`, and `null` is read as NaN.

use serde::{Deserialize, Deserializer};

/// For `#[serde(deserialize_with)]` on an `f64`: `null` is NaN.
pub(crate) fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
