//! What a run's folder is called.

use std::time::SystemTime;

/// The name of a run's folder: `<time>-<preset>-<method>-sparsity.90-seed0`, the time in UTC. Characters that
/// could not stand in a file's name on every system become `-`.
pub fn run_name(at: SystemTime, preset: &str, method: &str, sparsity: Option<f64>, seed: u64) -> String {
    let time = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let time = time.strftime("%Y%m%d-%H%M%S");
    let sparsity = sparsity.map(sparsity_part).unwrap_or_default();
    let name = format!("{time}-{preset}-{method}{sparsity}-seed{seed}");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    name.chars().map(|c| if plain(c) { c } else { '-' }).collect()
}

/// `-sparsity.90`: at least two decimals, and at most four.
fn sparsity_part(sparsity: f64) -> String {
    let mut text = format!("{sparsity:.4}");
    while text.ends_with('0') && text.len() > "0.90".len() {
        text.pop();
    }
    format!("-sparsity{}", text.strip_prefix('0').unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_tell_time_preset_method_sparsity_and_seed() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(951_827_696);
        let name = |sparsity| run_name(at, "mnist-lenet", "rigl", Some(sparsity), 0);
        assert_eq!(name(0.9), "20000229-123456-mnist-lenet-rigl-sparsity.90-seed0");
        for (sparsity, expected) in
            [(0.965, "sparsity.965-"), (0.0, "sparsity.00-"), (0.98, "sparsity.98-"), (0.5, "sparsity.50-")]
        {
            assert!(name(sparsity).contains(expected), "{}", name(sparsity));
        }
        let odd = run_name(at, "../mine: ü", "a/b", Some(0.9), 7);
        assert_eq!(odd, "20000229-123456-..-mine----a-b-sparsity.90-seed7");
        assert_eq!(run_name(at, "p", "dense", None, 1), "20000229-123456-p-dense-seed1");
    }
}
