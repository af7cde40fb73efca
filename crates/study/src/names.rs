//! What runs and sweeps are called in the file system.

use std::collections::HashMap;

use rigl_train::config::{Override, spellings};

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

/// These labels as key and values are spelled here, as the key is called now, and as it was called before.
pub(crate) fn spelled_labels(key: &str, values: &[String]) -> [Vec<String>; 3] {
    let of = |spelling: usize| {
        let spelled: Vec<(String, String)> =
            values.iter().map(|value| respelled(key, value, spelling)).collect();
        let key = spelled.first().map_or(key, |(key, _)| key);
        labels(key, &spelled.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>())
    };
    [labels(key, values), of(0), of(1)]
}

/// A setting by the present name of its key (0), or by an older one (1) where it has one.
fn respelled(key: &str, value: &str, spelling: usize) -> (String, String) {
    let mut spellings = spellings(key, value);
    spellings.swap_remove(spelling.min(spellings.len() - 1))
}

/// What the folder of a sweep is called after its file's name, so that runs with other settings than the file's lie
/// elsewhere: `-x0.02` for a multiplier, `-model.dropout.0` for a setting. And the same with keys by their present names
/// and by their older ones: it may lie in such a folder.
pub fn variants(multiplier: Option<f64>, overrides: &[Override]) -> [String; 3] {
    let multiplier = multiplier.map(|multiplier| format!("-x{multiplier}")).unwrap_or_default();
    let leaves: Vec<Override> = overrides.iter().flat_map(Override::leaves).collect();
    let name = |overrides: &[Override], spelled: &dyn Fn(&Override) -> (String, String)| {
        let settings: String = overrides
            .iter()
            .map(spelled)
            .map(|(key, value)| format!("-{}.{}", plain(&key), plain(&value)))
            .collect();
        shorten(&(multiplier.clone() + &settings), LONGEST_NAME)
    };
    let respelled = |spelling| move |set: &Override| respelled(&set.key, &set.value, spelling);
    let written = |set: &Override| (set.key.clone(), set.value.clone());
    [name(overrides, &written), name(&leaves, &respelled(0)), name(&leaves, &respelled(1))]
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
        let same = |name: &str| [(); 3].map(|()| name.to_string());
        assert_eq!(variants(None, &[]), same(""));
        assert_eq!(variants(Some(0.02), &[]), same("-x0.02"));
        assert_eq!(variants(Some(2.0), &[setting]), same("-x2-model.dropout.0"));
        let setting = Override::parse("--set", "method.update-interval=5").unwrap();
        let (now, before) = ("-method.updates.interval.5", "-method.update-interval.5");
        assert_eq!(variants(None, &[setting]), [before, now, before]);
        let setting = Override::parse("--set", "method={updates={interval=5}}").unwrap();
        assert_eq!(variants(None, &[setting]), ["-method._updates__interval_5__", now, before]);
    }
}
