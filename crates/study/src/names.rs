//! What runs and sweeps are called in the file system.

use std::collections::{BTreeMap, HashMap, HashSet};

use rigl_train::config::{Override, spellings};
use toml_edit::Value;

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
/// elsewhere: `-x0.02` for a multiplier, `-model.dropout.0` for a setting. It follows from what the settings say, not from
/// their order or spelling. After it come the names that earlier releases gave: the settings as they are written, and with
/// keys by their present names and by their older ones. The sweep may lie in such a folder.
pub fn variants(multiplier: Option<f64>, overrides: &[Override]) -> Vec<String> {
    let multiplier = multiplier.map(|multiplier| format!("-x{multiplier}")).unwrap_or_default();
    let leaves: Vec<Override> = overrides.iter().flat_map(Override::leaves).collect();
    let name = |settings: &mut dyn Iterator<Item = (String, String)>| {
        let settings: String =
            settings.map(|(key, value)| format!("-{}.{}", plain(&key), plain(&value))).collect();
        shorten(&(multiplier.clone() + &settings), LONGEST_NAME)
    };
    let respelled = |spelling| move |set: &Override| respelled(&set.key, &set.value, spelling);
    // Of two settings of a key the later one wins.
    let meant: BTreeMap<String, String> = leaves.iter().map(respelled(0)).collect();
    let mut variants = vec![
        name(&mut meant.into_iter().map(|(key, value)| (key, canonical(&value)))),
        name(&mut overrides.iter().map(|set| (set.key.clone(), set.value.clone()))),
        name(&mut leaves.iter().map(respelled(0))),
        name(&mut leaves.iter().map(respelled(1))),
    ];
    let mut seen = HashSet::new();
    variants.retain(|variant| seen.insert(variant.clone()));
    variants
}

/// A value of a command line in one spelling: `0.5` for `.5`, `0.50` and `5e-1`, `rigl` for `"rigl"`.
fn canonical(value: &str) -> String {
    let number = || value.parse::<f64>().ok().filter(|number| number.is_finite());
    match value.parse::<Value>() {
        Ok(value) => shown(&value),
        Err(_) => number().map_or_else(|| value.to_string(), |number| number.to_string()),
    }
}

/// A value as people read it, and by which values are compared: the same for every way to write it.
pub(crate) fn shown(value: &Value) -> String {
    let list = |values: &mut dyn Iterator<Item = String>| values.collect::<Vec<_>>().join(",");
    match value {
        Value::String(text) => text.value().clone(),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => number.value().to_string(),
        Value::Boolean(word) => word.value().to_string(),
        Value::Datetime(time) => time.value().to_string(),
        Value::Array(values) => format!("[{}]", list(&mut values.iter().map(shown))),
        Value::InlineTable(table) => {
            let entry = |(key, value): (&str, &Value)| format!("{key}={}", shown(value));
            format!("{{{}}}", list(&mut table.iter().map(entry)))
        }
    }
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
        let variants = |multiplier, settings: &[&str]| {
            let settings = settings.iter().map(|text| Override::parse("--set", text));
            variants(multiplier, &settings.collect::<rigl_base::Result<Vec<_>>>().unwrap())
        };
        assert_eq!(variants(None, &[]), [""]);
        assert_eq!(variants(Some(0.02), &[]), ["-x0.02"]);
        assert_eq!(variants(Some(2.0), &["model.dropout=0"]), ["-x2-model.dropout.0"]);
        let (now, before) = ("-method.updates.interval.5", "-method.update-interval.5");
        assert_eq!(variants(None, &["method.update-interval=5"]), [now, before]);
        let table = "-method._updates__interval_5__";
        assert_eq!(variants(None, &["method={updates={interval=5}}"]), [now, table, before]);
        // Order and spelling make no difference, and the folder of an earlier release is still found.
        let sorted = "-method.sparsity.0.5-model.dropout.0";
        for (settings, written) in [
            (["model.dropout=0", "method.sparsity=.5"], "-model.dropout.0-method.sparsity..5"),
            (["method.sparsity=0.50", "model.dropout=0"], "-method.sparsity.0.50-model.dropout.0"),
            (["method.sparsity=5e-1", "model.dropout=0.0"], "-method.sparsity.5e-1-model.dropout.0.0"),
        ] {
            assert_eq!(variants(None, &settings)[..2], [sorted, written]);
        }
        assert_eq!(variants(None, &["method.sparsity=.9", "method.sparsity=.5"])[0], "-method.sparsity.0.5");
        assert_eq!(canonical("\"rigl\""), canonical("rigl"));
        assert_eq!([canonical("[1, 2.50]"), canonical("nan")], ["[1,2.5]", "NaN"]);
    }
}
