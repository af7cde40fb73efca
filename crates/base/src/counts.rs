//! Whole numbers out of products of counts and fractions.
//!
//! `100 · 0.29` is `28.999…` in binary floating point, yet everybody who writes it means 29. Every count
//! derived from a fraction goes through these functions, so that the rule is the same everywhere.

/// The relative distance within which a product counts as the whole number beside it.
const SLACK: f64 = 1e-9;

fn snap(x: f64) -> f64 {
    let whole = x.round();
    if (x - whole).abs() <= SLACK * whole.abs().max(1.0) { whole } else { x }
}

/// `trunc(count · fraction)`; a product within 1e-9 (relative) of a whole number is that number.
///
/// ```
/// assert_eq!(rigl_base::counts::trunc_product(15, 0.5), 7);
/// assert_eq!(rigl_base::counts::trunc_product(100, 0.29), 29);
/// ```
pub fn trunc_product(count: usize, fraction: f64) -> usize {
    snap(count as f64 * fraction).max(0.0) as usize
}

/// Like [`trunc_product`] for a real number that is already a product.
pub fn trunc(x: f64) -> usize {
    snap(x).max(0.0) as usize
}

/// Weights that stay active in a layer of `weights` at `sparsity`: `N − floor(s·N)`, never below one
/// (unless the layer has no weights at all).
pub fn active(weights: usize, sparsity: f64) -> usize {
    weights.saturating_sub(trunc_product(weights, sparsity)).max(usize::from(weights > 0))
}

/// A noun as it stands behind a number: `step` behind 1, else `steps`.
pub fn plural(n: u64, noun: &str) -> String {
    match n {
        1 => noun.into(),
        _ if noun.ends_with(['s', 'x']) || noun.ends_with("tch") => format!("{noun}es"),
        _ => format!("{noun}s"),
    }
}

/// A number of things, as people write it: `1 step`, `12,000 steps`.
///
/// ```
/// assert_eq!(rigl_base::counts::counted(12_000, "step"), "12,000 steps");
/// ```
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {}", grouped(n), plural(n, noun))
}

/// 1234567 as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_that_miss_a_whole_number_by_rounding_are_that_number() {
        assert_eq!(trunc_product(100, 0.29), 29);
        assert_eq!(trunc_product(10, 0.9), 9);
        assert_eq!(trunc_product(1000, 0.001), 1);
        assert_eq!(trunc_product(15, 0.5), 7);
        assert_eq!(trunc_product(0, 0.5), 0);
        assert_eq!(trunc_product(7, 0.0), 0);
    }

    #[test]
    fn active_counts_round_up_and_keep_one() {
        assert_eq!(active(10, 0.9), 1);
        assert_eq!(active(100, 0.999), 1);
        assert_eq!(active(235_200, 0.99), 2352);
        assert_eq!(active(30_000, 0.89), 3300);
        assert_eq!(active(7, 0.5), 4);
        assert_eq!(active(0, 0.5), 0);
    }

    #[test]
    fn of_one_thing_there_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| plural(n, "step")), ["steps", "step", "steps"]);
        assert_eq!([0, 1, 1000].map(|n| counted(n, "step")), ["0 steps", "1 step", "1,000 steps"]);
        assert_eq!(["class", "batch", "epoch"].map(|noun| plural(2, noun)), ["classes", "batches", "epochs"]);
    }

    #[test]
    fn digits_stand_in_threes() {
        assert_eq!(
            [0, 999, 1000, 266_200, 1_234_567].map(grouped),
            ["0", "999", "1,000", "266,200", "1,234,567"]
        );
    }
}
