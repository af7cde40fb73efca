//! What runs and sweeps are called in the file system.

use std::collections::HashMap;

use rigl_train::config::Override;

/// The longest text of one value in a name, and the longest name.
const LONGEST_VALUE: usize = 40;
pub(crate) const LONGEST_NAME: usize = 200;

/// The values of a key as parts of names: the key, then the value, then a number if an earlier value looks the same.
pub(crate) fn labels(key: &str, values: &[String]) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let label = |value: &String| {
        let label = format!("{}.{}", plain(key), plain(value));
        let same = seen.entry(label.clone()).or_default();
        *same += 1;
        if *same == 1 { label } else { format!("{label}+{same}") }
    };
    values.iter().map(label).collect()
}

/// What the folder of a sweep is called after its file's name, so that runs with other settings than the file's lie
/// elsewhere: `-x0.02` for a multiplier, `-model.dropout.0` for a setting.
pub fn variant(multiplier: Option<f64>, overrides: &[Override]) -> String {
    let multiplier = multiplier.map(|multiplier| format!("-x{multiplier}"));
    let settings =
        overrides.iter().map(|setting| format!("-{}.{}", plain(&setting.key), plain(&setting.value)));
    shorten(&multiplier.into_iter().chain(settings).collect::<String>(), LONGEST_NAME)
}

/// Text as a name of a file can have it on every system.
fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' };
    let name: String = text.chars().map(plain).collect();
    // What is cut off still tells values apart.
    if name.len() <= LONGEST_VALUE { name } else { cut(&name, text, LONGEST_VALUE) }
}

/// A name that is not too long for a file system.
pub(crate) fn shorten(name: &str, longest: usize) -> String {
    if name.len() <= longest { name.into() } else { cut(name, name, longest) }
}

/// The beginning of a name in ASCII, and a checksum of the whole.
fn cut(name: &str, whole: &str, longest: usize) -> String {
    format!("{}+{:08x}", &name[..longest - 9], crc32c::crc32c(whole.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_settings_than_the_files_have_another_folder() {
        let setting = Override::parse("--set", "model.dropout=0").unwrap();
        assert_eq!(variant(None, &[]), "");
        assert_eq!(variant(Some(0.02), &[]), "-x0.02");
        assert_eq!(variant(Some(2.0), &[setting]), "-x2-model.dropout.0");
    }
}
