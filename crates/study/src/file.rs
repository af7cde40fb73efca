//! The file of a sweep: where all its runs begin, what they share, what is varied, what is left out.
//!
//! ```toml
//! preset = "cifar10-wrn22-2"          # or base = "my.toml", beside this file; without either, the defaults
//! [set]                               # settings of all runs
//! "model.dropout" = 0
//! [grid]                              # every combination of these, the last key varying fastest
//! "method.name" = ["dense", "static", "rigl"]
//! "method.sparsity" = [0.9, 0.98]
//! seed = [0, 1]
//! [[exclude]]                         # combinations left out: all keys must match, of a list any value
//! "method.name" = "dense"
//! "method.sparsity" = 0.98
//! [[when]]                            # settings of the combinations that match
//! match = { "method.name" = "static" }
//! set = { "optimizer.l2" = 0 }
//! ```

use std::collections::{HashMap, HashSet};

use rigl_base::error::short;
use rigl_base::{Error, Result, nearest};
use rigl_train::config::{keys, once_of_all, taken_unread};
use toml_edit::{Document, Item, Key as TomlKey, TableLike, Value};

use crate::names::{shown, spelled_labels};

/// The keys of the file itself.
const KEYS: [&str; 6] = ["preset", "base", "set", "grid", "exclude", "when"];

/// Most combinations of a grid, before exclusions.
const MOST: usize = 10_000;

/// A sweep as its file says it; nothing of it has been compared with the configuration yet.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// What messages call the file.
    pub name: String,
    /// Where all runs begin.
    pub start: Start,
    /// What is varied, in the file's order.
    pub axes: Vec<Axis>,
    pub(crate) set: Vec<Setting>,
    pub(crate) exclude: Vec<Match>,
    pub(crate) when: Vec<(Match, Vec<Setting>)>,
}

/// Where all runs of a sweep begin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Start {
    /// With the default of every key.
    Default,
    /// With a preset, by name.
    Preset(String),
    /// With a configuration file; a relative path is relative to the sweep's file.
    File(String),
}

/// A key that is varied, and its values.
#[derive(Clone, Debug)]
pub struct Axis {
    /// The key's full name.
    pub key: String,
    /// Its values as people read them: a string without quotes, `0.9` for `.90`.
    pub values: Vec<String>,
    /// The same as a part of a name, each another one: as it is spelled here, and then as the key is called now and was
    /// called before.
    pub(crate) labels: [Vec<String>; 3],
    /// The same as TOML, in a place of the file.
    pub(crate) settings: Vec<Setting>,
}

impl Axis {
    /// Whether the key is a seed: runs that differ in seeds alone are repetitions of one.
    pub fn is_seed(&self) -> bool {
        self.key == "seed" || self.key.starts_with("seeds.")
    }
}

/// A value for a key, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) key: String,
    /// TOML.
    pub(crate) value: String,
    /// The value, if it is a string: it may hold placeholders.
    pub(crate) string: Option<String>,
    /// "`my.toml` line 3".
    pub(crate) place: String,
    /// Whether it may be of no use to a run, if it is to another.
    pub(crate) shared: bool,
}

/// Which combinations: for axes by number, which of their values match.
#[derive(Clone, Debug)]
pub(crate) struct Match(pub(crate) Vec<(usize, Vec<usize>)>);

impl Sweep {
    /// Reads the text of a sweep's file; `name` is what messages call it.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), naming file, line and key, what was found and what is allowed.
    pub fn parse(name: &str, text: &str) -> Result<Sweep> {
        let feeds: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let document = Document::parse(text).map_err(|error| {
            let line = |at: usize| format!(" line {}", 1 + feeds.partition_point(|&feed| feed < at));
            let place = error.span().map_or_else(String::new, |span| line(span.start));
            let what = error.message().lines().collect::<Vec<_>>().join(", ");
            Error::usage(format!("`{name}`{place}: {what}"))
        })?;
        Reader { name, text, feeds: &feeds }.sweep(document.as_table())
    }
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    /// Where the line feeds are.
    feeds: &'a [usize],
}

/// A key of some table, quoted, dotted or in a table of its own, and what stands there.
struct Entry<'a> {
    key: String,
    item: &'a Item,
    place: String,
    at: usize,
}

impl Reader<'_> {
    fn sweep(&self, file: &dyn TableLike) -> Result<Sweep> {
        if let Some((key, _)) = file.iter().find(|(key, _)| !KEYS.contains(key)) {
            return Err(self.unknown(&self.place(file, key), key));
        }
        let text = |key: &str| -> Result<Option<String>> {
            let Some(item) = file.get(key) else { return Ok(None) };
            let found = item.as_str().filter(|text| !text.is_empty()).map(String::from);
            found.map(Some).ok_or_else(|| self.wrong(&self.place(file, key), key, item, "a name in quotes"))
        };
        let start = match (text("preset")?, text("base")?) {
            (None, None) => Start::Default,
            (Some(preset), None) => Start::Preset(preset),
            (None, Some(base)) => Start::File(base),
            (Some(_), Some(_)) => {
                let place = self.place(file, "base");
                return Err(Error::usage(format!(
                    "{place}: `preset` is given already, expected one of the two"
                ))
                .hint("a configuration file may name its preset itself"));
            }
        };
        let axes = self.axes(file)?;
        let set = match file.get("set") {
            None => Vec::new(),
            Some(item) => self.settings(self.table(file, "set", item, "[set]")?, true)?,
        };
        let mut exclude = Vec::new();
        for (table, place) in self.tables(file, "exclude")? {
            exclude.push(self.matching(table, &place, &axes)?);
        }
        let mut when = Vec::new();
        for (table, place) in self.tables(file, "when")? {
            if let Some((key, _)) = table.iter().find(|(key, _)| !["match", "set"].contains(key)) {
                let place = self.place(table, key);
                return Err(Error::usage(format!("{place}: unknown key `{}`", short(key)))
                    .hint("match = { … } and set = { … }"));
            }
            let part = |key: &str| match table.get(key) {
                Some(item) => self.table(table, key, item, &format!("{key} = {{ … }}")),
                None => Err(Error::usage(format!("{place}: `[[when]]` has no `{key}`"))),
            };
            when.push((self.matching(part("match")?, &place, &axes)?, self.settings(part("set")?, false)?));
        }
        Ok(Sweep { name: self.name.into(), start, axes, set, exclude, when })
    }

    fn axes(&self, file: &dyn TableLike) -> Result<Vec<Axis>> {
        let none = || {
            Error::usage(format!("`{}` has no `[grid]`, expected one with at least one key", self.name))
                .hint("`seed = [0, 1, 2]` below a line `[grid]`")
        };
        let grid = self.table(file, "grid", file.get("grid").ok_or_else(none)?, "[grid]")?;
        let mut axes: Vec<Axis> = Vec::new();
        let mut combinations = 1usize;
        for Entry { key, item, place, .. } in self.entries(grid)? {
            let list = item.as_array().filter(|list| !list.is_empty());
            let list = list.ok_or_else(|| {
                let error = self.wrong(&place, &key, item, "a list of values");
                match item.as_value().filter(|value| !value.is_array()) {
                    Some(value) => error.hint(format!("[{}]", short(self.source(value.span())))),
                    None => error,
                }
            })?;
            combinations = combinations.saturating_mul(list.len());
            if combinations > MOST {
                return Err(Error::usage(format!(
                    "{place}: with `{}` the grid makes more than {MOST} runs",
                    short(&key)
                )));
            }
            let values: Vec<String> = list.iter().map(shown).collect();
            let mut seen = HashSet::new();
            if let Some(twice) = values.iter().find(|value| !seen.insert(value.as_str())) {
                let (key, twice) = (short(&key), short(twice));
                return Err(Error::usage(format!("{place}: `{key}` has `{twice}` twice")));
            }
            let setting = |value: &Value| Setting {
                key: key.clone(),
                value: self.source(value.span()).into(),
                string: None,
                place: place.clone(),
                shared: taken_unread(&key) || once_of_all(&key),
            };
            let settings = list.iter().map(setting).collect();
            axes.push(Axis { labels: spelled_labels(&key, &values), key, values, settings });
        }
        if axes.is_empty() { Err(none()) } else { Ok(axes) }
    }

    fn settings(&self, table: &dyn TableLike, shared: bool) -> Result<Vec<Setting>> {
        let setting = |Entry { key, item, place, .. }: Entry| {
            let value = self.toml(item).ok_or_else(|| self.wrong(&place, &key, item, "a value"))?;
            let shared = shared || taken_unread(&key);
            Ok(Setting { key, value, string: item.as_str().map(String::from), place, shared })
        };
        self.entries(table)?.into_iter().map(setting).collect()
    }

    /// Which values of which axes a table names.
    fn matching(&self, table: &dyn TableLike, place: &str, axes: &[Axis]) -> Result<Match> {
        let mut parts = Vec::new();
        for Entry { key, item, place, .. } in self.entries(table)? {
            let names = axes.iter().map(|axis| axis.key.as_str());
            let Some(number) = axes.iter().position(|axis| axis.key == key) else {
                let list: Vec<String> = names.clone().map(|name| format!("`{}`", short(name))).collect();
                let message = format!("{place}: `{}` is no key of `[grid]`, which has", short(&key));
                let error = Error::usage(format!("{message} {}", short(&list.join(", "))));
                return Err(match nearest(&key, names) {
                    Some(name) => error.hint(name),
                    None => error,
                });
            };
            let values: Vec<&Value> = match (item.as_array(), item.as_value()) {
                (Some(list), _) if !list.is_empty() => list.iter().collect(),
                (None, Some(value)) => vec![value],
                _ => return Err(self.wrong(&place, &key, item, "a value or a list of at least one")),
            };
            let find = |value: &Value| {
                let text = shown(value);
                axes[number].values.iter().position(|other| *other == text).ok_or_else(|| {
                    let list: Vec<String> = axes[number].values.iter().map(|v| format!("`{v}`")).collect();
                    let (key, text, list) = (short(&key), short(&text), short(&list.join(", ")));
                    let error = Error::usage(format!("{place}: `{key}` is `{text}`, the grid has {list}"));
                    // Of an axis of lists, a list stands for any of its values too.
                    match item.as_value().filter(|whole| axes[number].values.contains(&shown(whole))) {
                        Some(whole) => error.hint(format!("[{}]", short(self.source(whole.span())))),
                        None => error,
                    }
                })
            };
            parts.push((number, values.into_iter().map(find).collect::<Result<_>>()?));
        }
        if parts.is_empty() {
            return Err(Error::usage(format!("{place}: names no key of `[grid]`, expected at least one")));
        }
        Ok(Match(parts))
    }

    /// The keys of a table in the order in which they stand in the file. `method.name`, `"method.name"` and `name`
    /// in a table `method` are the same.
    fn entries<'t>(&self, table: &'t dyn TableLike) -> Result<Vec<Entry<'t>>> {
        let mut entries = Vec::new();
        self.collect(table, "", &mut entries);
        entries.sort_by_key(|entry| entry.at);
        let mut places = HashMap::new();
        for Entry { key, place, .. } in &entries {
            if let Some(first) = places.insert(key.as_str(), place) {
                return Err(Error::usage(format!("{place}: `{}` stands already at {first}", short(key))));
            }
        }
        Ok(entries)
    }

    fn collect<'t>(&self, table: &'t dyn TableLike, prefix: &str, entries: &mut Vec<Entry<'t>>) {
        for (name, item) in table.iter() {
            let key = format!("{prefix}{name}");
            match item.as_table_like().filter(|_| !keys().iter().any(|known| known.path == key)) {
                Some(inner) => self.collect(inner, &format!("{key}."), entries),
                None => {
                    let at = self.at(table, name).unwrap_or(0);
                    entries.push(Entry { key, item, place: self.place(table, name), at });
                }
            }
        }
    }

    /// The one table of that key; `hint` is how it is written.
    fn table<'t>(
        &self,
        around: &dyn TableLike,
        key: &str,
        item: &'t Item,
        hint: &str,
    ) -> Result<&'t dyn TableLike> {
        let wrong = || self.wrong(&self.place(around, key), key, item, "a table").hint(hint);
        item.as_table_like().ok_or_else(wrong)
    }

    /// The tables of `[[key]]`, or of a list of inline tables.
    fn tables<'t>(&self, file: &'t dyn TableLike, key: &str) -> Result<Vec<(&'t dyn TableLike, String)>> {
        let Some(item) = file.get(key) else { return Ok(Vec::new()) };
        let at = |span: Option<std::ops::Range<usize>>| match span {
            Some(span) => self.line(span.start),
            None => self.place(file, key),
        };
        if let Some(tables) = item.as_array_of_tables() {
            return Ok(tables.iter().map(|table| (table as &dyn TableLike, at(table.span()))).collect());
        }
        let inline = |value: &'t Value| Some((value.as_inline_table()? as &dyn TableLike, at(value.span())));
        let list = item.as_array().and_then(|list| list.iter().map(inline).collect());
        list.ok_or_else(|| self.wrong(&self.place(file, key), key, item, "tables").hint(format!("[[{key}]]")))
    }

    fn at(&self, table: &dyn TableLike, name: &str) -> Option<usize> {
        table.key(name).and_then(TomlKey::span).map(|span| span.start)
    }

    fn place(&self, table: &dyn TableLike, name: &str) -> String {
        self.at(table, name).map_or_else(|| format!("`{}`", self.name), |at| self.line(at))
    }

    fn line(&self, at: usize) -> String {
        format!("`{}` line {}", self.name, 1 + self.feeds.partition_point(|&feed| feed < at))
    }

    /// A piece of the file.
    fn source(&self, span: Option<std::ops::Range<usize>>) -> &str {
        span.and_then(|span| self.text.get(span)).unwrap_or_default()
    }

    /// An item as a TOML value; `None` if it is not one.
    fn toml(&self, item: &Item) -> Option<String> {
        if let Some(value) = item.as_value() {
            return Some(self.source(value.span()).into());
        }
        let entry = |(name, item): (&str, &Item)| {
            Some(format!("{} = {}", TomlKey::new(name).display_repr(), self.toml(item)?))
        };
        let entries: Option<Vec<String>> = item.as_table()?.iter().map(entry).collect();
        Some(format!("{{ {} }}", entries?.join(", ")))
    }

    fn wrong(&self, place: &str, key: &str, item: &Item, expected: &str) -> Error {
        let found = match item.as_value() {
            Some(value) => format!("`{}`", short(self.source(value.span()))),
            None if item.is_array_of_tables() => "an array of tables".into(),
            None => "a table".into(),
        };
        Error::usage(format!("{place}: `{}` is {found}, expected {expected}", short(key)))
    }

    fn unknown(&self, place: &str, key: &str) -> Error {
        let list = KEYS.map(|key| format!("`{key}`")).join(", ");
        let error = Error::usage(format!("{place}: unknown key `{}`, allowed are {list}", short(key)));
        let known = keys().iter().any(|known| known.path == key || known.parts().0 == key);
        match nearest(key, KEYS) {
            _ if known => error.hint("settings of all runs stand in `[set]`, what is varied in `[grid]`"),
            Some(near) => error.hint(near),
            None => error,
        }
    }
}
