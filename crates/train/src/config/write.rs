//! The resolved file: every key with its meaning, such that reading it gives the same configuration.

use toml_edit::{Key as TomlKey, Value};

use super::model::{MODEL, OptionKey, TABLE};
use super::source::LAYERS;
use super::{Config, TABLES, doc_text, keys};

/// Comments are wrapped to this width.
const WIDTH: usize = 100;

impl Config {
    /// The whole configuration as TOML: every key that is read, under a comment that says what it means and which words
    /// it takes. The recipe stands unscaled beside its `multiplier`. [`Config::from_text`] of it is equal to `self`.
    pub fn to_toml(&self) -> String {
        self.print(false)
    }

    /// The same, and as comments the keys that this configuration does not read, with their defaults.
    pub fn to_toml_with_all_keys(&self) -> String {
        self.print(true)
    }

    fn print(&self, all: bool) -> String {
        let mut out = String::new();
        let mut current = "";
        // Tables and keys that come after those beside them.
        let mut later = String::new();
        for key in keys() {
            let (read, default) = (key.value(self), &key.default);
            let idle = default.as_ref().filter(|_| all && read.is_none());
            if read.is_none() && idle.is_none() {
                continue;
            }
            let (table, name) = key.parts();
            if table != current {
                out.push_str(&std::mem::take(&mut later));
                let doc = TABLES.iter().find(|t| t.name == table).map_or(String::new(), |t| doc_text(t.doc));
                out.push('\n');
                comment(&mut out, &doc);
                out.push_str(&format!("[{table}]\n"));
                current = table;
            }
            // Words have to be known; the limits of numbers are said when one is beyond them.
            let takes =
                if key.allowed.contains('`') { format!(" Takes {}.", key.allowed) } else { String::new() };
            let about = format!("{}{takes}", key.doc);
            match (read, idle) {
                (None, None) => {}
                (None, Some(default)) => {
                    comment(&mut out, &format!("{about} {}", key.read_when().unwrap_or_default()));
                    out.push_str(&format!("# {name} = {default}\n"));
                }
                // A table of its own comes after the keys beside it.
                (Some(Value::InlineTable(entries)), _) if key.path == LAYERS && !entries.is_empty() => {
                    later.push('\n');
                    comment(&mut later, &about);
                    later.push_str(&format!("[{LAYERS}]\n"));
                    for (glob, sparsity) in entries.iter() {
                        later.push_str(&format!(
                            "{} = {}\n",
                            TomlKey::new(glob).display_repr(),
                            plain(sparsity)
                        ));
                    }
                }
                (Some(value), _) => {
                    comment(&mut out, &about);
                    out.push_str(&format!("{name} = {}\n", plain(&value)));
                    if key.path == MODEL {
                        for OptionKey { path, value, about, .. } in self.options() {
                            let name = path.strip_prefix(TABLE).unwrap_or(&path);
                            comment(&mut later, &about);
                            later.push_str(&format!("{} = {value}\n", TomlKey::new(name).display_repr()));
                        }
                    }
                }
            }
        }
        out + &later
    }
}

/// A value without the spaces that surround it in its list or table.
fn plain(value: &Value) -> String {
    value.to_string().trim().to_string()
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = "#".into();
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::arbitrary::configuration;
    use crate::config::{Base, Known, Override, Sources};

    proptest! {
        #[test]
        fn the_printed_file_reads_as_the_same_configuration(config in configuration()) {
            config.check().unwrap();
            let text = config.to_toml();
            let again = Config::from_text("config.toml", &text, &Known::default()).unwrap();
            prop_assert_eq!(&again, &config);
            prop_assert_eq!(again.to_toml(), text);
        }

        #[test]
        fn each_printed_value_can_be_given_on_the_command_line(config in configuration()) {
            let keys = keys().iter().map(|key| key.path.clone()).filter(|path| path != "preset");
            let options = config.options().into_iter().map(|option| option.path);
            let overrides: Vec<Override> = keys.chain(options).filter_map(|path| {
                let value = config.get(&path)?;
                Some(Override::new("--set", &path, &value))
            }).collect();
            let again = Config::resolve(&Sources { base: Base::Default, overrides: &overrides }, &Known::default());
            prop_assert_eq!(again.unwrap(), Config { preset: String::new(), ..config });
        }
    }

    #[test]
    fn every_key_that_is_read_is_printed_with_its_meaning_and_the_others_as_comments_on_demand() {
        let config = Config::default();
        let (text, all) = (config.to_toml(), config.to_toml_with_all_keys());
        for key in keys().iter().filter(|key| key.default.is_some()) {
            let line = format!("{} = {}", key.parts().1, key.default.as_ref().unwrap());
            let (text, line) =
                if key.applies_to(&config) { (&text, line) } else { (&all, format!("# {line}")) };
            let at = text.lines().position(|l| l == line).unwrap_or_else(|| panic!("no line `{line}`"));
            assert!(text.lines().nth(at - 1).unwrap().starts_with("# "), "{line}");
        }
        assert!(!text.contains("threshold = ") && all.contains("\n# threshold = 0.001\n"));
        assert!(all.lines().all(|line| line.chars().count() <= WIDTH || !line.starts_with('#')));
        assert_eq!(Config::from_text("all.toml", &all, &Known::default()).unwrap(), config);
    }
}
