//! What to do about a run that did not go well, as a line that can be pasted.

use std::path::Path;

use rigl_base::shell;

use crate::config::Config;

/// What may help a run that diverged: going on with it would come to the same, a new one with its configuration (in `file`)
/// and a smaller learning rate may not.
pub fn slower(config: &Config, file: &Path) -> String {
    let rate = config.schedule.learning_rate / 10.0;
    // Few digits, as people write them.
    let rate: f64 = format!("{rate:.2e}").parse().unwrap_or(rate);
    let rate = if (1e-4..1e6).contains(&rate) { rate.to_string() } else { format!("{rate:e}") };
    let file = shell::path(file);
    format!(
        "`rigl train {file} --set schedule.learning-rate={rate}` begins a new run, with a tenth of the learning rate"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_written_with_few_digits() {
        for (rate, tenth) in [(0.1, "0.01"), (3.0, "0.3"), (0.7, "0.07"), (1e30, "1e29"), (1e-5, "1e-6")] {
            let mut config = Config::default();
            config.schedule.learning_rate = rate;
            let line = slower(&config, Path::new("a b/config.toml"));
            let expected =
                format!("`rigl train 'a b/config.toml' --set schedule.learning-rate={tenth}` begins");
            assert!(line.starts_with(&expected), "{line}");
        }
    }
}
