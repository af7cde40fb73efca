//! What convolutional models share: their options, and sizes at other widths.

use std::ops::Bound;

use rigl_base::{Error, Result};

use super::{ModelOption, ModelSpec};
use crate::builder::BatchNorm;

/// Far beyond networks in use.
const MAX_WIDTH: f64 = 1000.0;
/// Blocks in each of three groups.
pub(super) const MAX_BLOCKS: usize = 333;

/// The option `width`, with this default.
pub(super) fn width(own: f64) -> ModelOption {
    ModelOption::number("width", own, (Bound::Excluded(0.0), Bound::Included(MAX_WIDTH)))
        .doc("Multiple of the network's channels or hidden sizes.")
}

/// The option `depth` of a network with three groups of n blocks: 6n + `rest`.
pub(super) fn depth_of_groups(own: usize, rest: usize) -> ModelOption {
    let depth = ModelOption::whole("depth", own, 6 + rest..=6 * MAX_BLOCKS + rest).step(6);
    depth.doc("Layers with weights.")
}

/// The option `depth` of a network that has the depths of a table.
pub(super) fn depth_of_table<T>(own: usize, table: &[(usize, T)]) -> ModelOption {
    let depths: Vec<usize> = table.iter().map(|(depth, _)| *depth).collect();
    ModelOption::one_of("depth", own, depths).doc("Layers with weights.")
}

/// The option `bn-momentum`.
pub(super) fn bn_momentum() -> ModelOption {
    ModelOption::number("bn-momentum", 0.1, (Bound::Excluded(0.0), Bound::Included(1.0))).doc(
        "Share of a batch's statistics in the running statistics of batch norms: 0.1 keeps 0.9 of the running ones.",
    )
}

/// Batch norms with the momentum that `spec` asks for.
pub(super) fn norm(spec: &ModelSpec) -> Result<BatchNorm> {
    Ok(BatchNorm::default().momentum(spec.number("bn-momentum")? as f32))
}

/// A size that is `base` at width 1, rounded; 1 at least, unless `base` is 0.
pub(super) fn multiple(base: usize, width: f64) -> usize {
    ((base as f64 * width).round() as usize).max(base.min(1))
}

/// The same in whole eights, 8 at least, and no more than a tenth below the multiple.
pub(super) fn eights(base: usize, width: f64) -> usize {
    let wanted = base as f64 * width;
    let near = 8 * ((wanted / 8.0).round() as usize).max(1);
    if (near as f64) < 0.9 * wanted { near + 8 } else { near }
}

/// What belongs to the option `depth` in a table of those there are.
pub(super) fn at_depth<'t, T>(table: &'t [(usize, T)], spec: &ModelSpec) -> Result<&'t T> {
    let depth = spec.whole("depth")?;
    let found = table.iter().find(|(known, _)| *known == depth);
    found.map(|(_, found)| found).ok_or_else(|| Error::internal(format!("depth {depth} is not in its table")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eights_are_the_nearest_but_never_a_tenth_too_few() {
        for (wanted, expected) in
            [(0.1, 8), (8.8, 8), (8.9, 16), (12.0, 16), (17.0, 16), (18.0, 24), (63.36, 64), (1000.0, 1000)]
        {
            assert_eq!(eights(100, wanted / 100.0), expected, "{wanted}");
        }
    }

    #[test]
    fn a_multiple_is_rounded_and_one_at_least() {
        let sizes = [(100, 0.5), (3, 0.5), (100, 1e-9), (0, 1e-9), (16, 1.97)];
        assert_eq!(sizes.map(|(base, width)| multiple(base, width)), [50, 2, 1, 0, 32]);
    }
}
