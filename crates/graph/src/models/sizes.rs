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

/// The option `rounding` of networks whose channels are whole numbers.
pub(super) fn rounding() -> ModelOption {
    ModelOption::word("rounding", "nearest", ["nearest", "paper"].to_vec()).doc(
        "How channels at other widths become whole: `nearest`, or cut off as in the code of the RigL paper, where a \
         block ends at four times its own.",
    )
}

/// The option `rounding` of networks whose channels come in eights.
pub(super) fn rounding_to_eights() -> ModelOption {
    ModelOption::word("rounding", "eights", ["eights", "paper"].to_vec()).doc(
        "How channels at other widths become whole: to `eights`, or as in the code of the RigL paper, which cuts off \
         fractions first, and leaves it at that in the first block.",
    )
}

/// Whether channels are those of the paper's code.
pub(super) fn as_in_the_paper(spec: &ModelSpec) -> Result<bool> {
    Ok(spec.word("rounding")? == "paper")
}

/// A size that is `base` at width 1, cut off; 1 at least.
pub(super) fn cut_off(base: usize, width: f64) -> usize {
    ((base as f64 * width) as usize).max(1)
}

/// A size that is `base` at width 1, rounded; 1 at least, unless `base` is 0.
pub(super) fn multiple(base: usize, width: f64) -> usize {
    ((base as f64 * width).round() as usize).max(base.min(1))
}

/// The same in whole eights, 8 at least, and no more than a tenth below the multiple.
pub(super) fn eights(base: usize, width: f64) -> usize {
    to_eights(base as f64 * width)
}

/// The whole eights nearest to `wanted`, 8 at least, and no more than a tenth below it.
fn to_eights(wanted: f64) -> usize {
    let near = 8 * ((wanted / 8.0).round() as usize).max(1);
    if (near as f64) < 0.9 * wanted { near + 8 } else { near }
}

/// Channels behind a block, or a group of blocks, of a MobileNet in the paper's code: of the first any number, of others eights of what the
/// width leaves when fractions are cut off.
pub(super) fn eights_of_the_paper(block: usize, base: usize, width: f64) -> usize {
    let whole = cut_off(base, width);
    if block == 0 { whole } else { to_eights(whole as f64) }
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
