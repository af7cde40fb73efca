//! One source of values, read from disk and taken apart into entries: a full key, its value, and where it stands.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rigl_base::error::short;
use rigl_base::{Error, Result, nearest};
use toml_edit::{Document, InlineTable, Item, TableLike, Value};

use super::{TABLES, key, keys};

/// Keys that were renamed, by full name: what it was called, what it is called now.
pub(super) type Aliases<'a> = &'a [(&'a str, &'a str)];

/// Where single layers' sparsities stand: the only key whose value is a table.
pub(super) const LAYERS: &str = "method.layers";

/// One setting from a command line: `--set key=value`, or a flag that is a short name of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Override {
    /// What messages call it: `--set`, `--sparsity`. Put between backticks there, unless it has some itself.
    pub origin: String,
    /// The key's full name; after `method.layers.` stands a glob, which needs no quotes.
    pub key: String,
    /// TOML, or text without quotes, or a number like `.9`.
    pub value: String,
}

impl Override {
    /// Reads `key=value`; `origin` is what messages call it.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there is no `=`.
    pub fn parse(origin: &str, text: &str) -> Result<Override> {
        let Some((key, value)) = text.split_once('=') else {
            let message = format!("`{origin}` is followed by `{}`, expected `key=value`", short(text));
            return Err(Error::usage(message).hint("method.sparsity=0.9"));
        };
        Ok(Override { origin: origin.into(), key: key.trim().into(), value: value.trim().into() })
    }
}

/// Most bytes that are read: 1 MiB.
const LARGEST: u64 = 1 << 20;

/// The text of a file that people write: a configuration, or a sweep of them.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if it cannot be read, [`Kind::Usage`](rigl_base::Kind::Usage) if
/// it is larger than 1 MiB or not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let cannot = |e| Error::io("cannot read", path, e);
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::usage(format!("`{}` is larger than a configuration of 1 MiB", path.display())));
    }
    String::from_utf8(bytes).map_err(|_| Error::usage(format!("`{}` is not UTF-8 text", path.display())))
}

/// A value for a key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The key's full name, as it is called now.
    pub(super) path: String,
    /// For an entry of `method.layers`, its glob.
    pub(super) glob: Option<String>,
    /// Whether that glob goes before those there are, to decide before them.
    pub(super) first: bool,
    pub(super) item: Item,
    /// The same read as a string, where quotes may be left out.
    pub(super) unquoted: Option<Item>,
    /// The value as messages show it.
    pub(super) found: String,
    /// Where it stands, to begin a message: "`my.toml` line 7".
    pub(super) place: String,
}

/// The entries of a TOML text. `label` stands at the beginning of messages: "`my.toml`".
pub(super) fn from_text(label: &str, text: &str, aliases: Aliases) -> Result<Vec<Entry>> {
    let feeds: Vec<usize> =
        text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    let line = |at: usize| 1 + feeds.partition_point(|&feed| feed < at);
    let document = Document::parse(text).map_err(|error| {
        let place = error.span().map_or_else(String::new, |span| format!(" line {}", line(span.start)));
        Error::usage(format!("{label}{place}: {}", error.message().lines().collect::<Vec<_>>().join(", ")))
    })?;
    let mut reader = Reader { label, text, line: &line, aliases, entries: Vec::new() };
    reader.table("", document.as_table())?;
    Ok(reader.entries)
}

struct Reader<'a> {
    label: &'a str,
    text: &'a str,
    line: &'a dyn Fn(usize) -> usize,
    aliases: Aliases<'a>,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &dyn TableLike) -> Result<()> {
        for (name, item) in table.iter() {
            let path = format!("{prefix}{name}");
            let span = item
                .span()
                .filter(|_| item.is_value())
                .or_else(|| table.key(name).and_then(|key| key.span()));
            let place = match span {
                Some(span) => format!("{} line {}", self.label, (self.line)(span.start)),
                None => self.label.to_string(),
            };
            match item.as_table_like() {
                Some(inner) if prefix.is_empty() && is_table(name, self.aliases) => {
                    self.table(&format!("{name}."), inner)?;
                }
                _ => self.value(path, item, place)?,
            }
        }
        Ok(())
    }

    fn value(&mut self, written: String, item: &Item, place: String) -> Result<()> {
        let found = match item.span() {
            Some(span) if item.is_value() && !item.is_table_like() => {
                format!("`{}`", short(self.text.get(span).unwrap_or_default()))
            }
            _ => kind(item),
        };
        let path = current_name(&written, self.aliases);
        if key(path).is_none() {
            return Err(unknown_key(&place, &written, &found));
        }
        if let Some(other) = self.entries.iter().find(|entry| entry.path == path) {
            // TOML itself refuses the same name twice: one of the two is an older name.
            return Err(Error::usage(format!("{place}: `{path}` is set already at {}", other.place)));
        }
        let item = item.clone();
        let entry = Entry { path: path.into(), glob: None, first: false, item, unquoted: None, found, place };
        match entry.item.as_table_like() {
            Some(table) if path == LAYERS => {
                let place_of = |name: &str| {
                    let span = table.key(name).and_then(|key| key.span());
                    span.map(|span| format!("{} line {}", self.label, (self.line)(span.start)))
                };
                let found_of = |item: &Item| {
                    let text =
                        item.span().filter(|_| !item.is_table_like()).and_then(|span| self.text.get(span));
                    text.map(|text| format!("`{}`", short(text)))
                };
                let layers = layer_entries(&entry, table, place_of, found_of);
                self.entries.extend(layers);
            }
            _ => self.entries.push(entry),
        }
        Ok(())
    }
}

/// The entries of settings from a command line.
pub(super) fn from_overrides(overrides: &[Override], aliases: Aliases) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for Override { origin, key: written, value } in overrides {
        let place = if origin.contains('`') { origin.clone() } else { format!("`{origin}`") };
        let found = format!("`{}`", short(value));
        let path = current_name(written, aliases);
        let item = command_line_value(value);
        let unquoted = Some(Item::Value(value.as_str().into()));
        let glob = path.strip_prefix(LAYERS).and_then(|rest| rest.strip_prefix('.'));
        if path == "preset" {
            return Err(Error::usage(format!("{place}: `preset` may stand only in a file")));
        }
        if glob.is_none() && key(path).is_none() {
            return Err(unknown_key(&place, written, &found));
        }
        let path = if glob.is_some() { LAYERS } else { path };
        let glob = glob.map(|glob| unquote(glob).to_string());
        let first = glob.is_some();
        let entry = Entry { path: path.into(), glob, first, item, unquoted, found, place };
        match entry.item.as_table_like() {
            Some(table) if entry.path == LAYERS && entry.glob.is_none() => {
                entries.extend(layer_entries(&entry, table, |_| None, |_| None));
            }
            _ => entries.push(entry),
        }
    }
    Ok(entries)
}

/// A table of layers as entries: first an empty table, which removes what earlier sources said, then each
/// glob.
fn layer_entries(
    whole: &Entry,
    table: &dyn TableLike,
    place_of: impl Fn(&str) -> Option<String>,
    found_of: impl Fn(&Item) -> Option<String>,
) -> Vec<Entry> {
    let empty = entry_of(whole, None, Item::Value(Value::InlineTable(InlineTable::new())));
    let single = |(glob, item): (&str, &Item)| Entry {
        found: found_of(item).unwrap_or_else(|| kind(item)),
        place: place_of(glob).unwrap_or_else(|| whole.place.clone()),
        ..entry_of(whole, Some(glob.into()), item.clone())
    };
    std::iter::once(empty).chain(table.iter().map(single)).collect()
}

/// An entry as `whole`, but for one glob and its value.
fn entry_of(whole: &Entry, glob: Option<String>, item: Item) -> Entry {
    let Entry { path, first, found, place, .. } = whole;
    let (path, found, place) = (path.clone(), found.clone(), place.clone());
    Entry { path, glob, first: *first, item, unquoted: None, found, place }
}

/// A value on a command line: TOML if it is that; a number that TOML would not take (`.9`); else a string.
fn command_line_value(text: &str) -> Item {
    let number = || text.parse::<f64>().ok().filter(|x| x.is_finite()).map(Value::from);
    Item::Value(text.parse::<Value>().ok().or_else(number).unwrap_or_else(|| text.into()))
}

fn unquote(glob: &str) -> &str {
    let inner = |quote| glob.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(glob)
}

fn current_name<'a>(path: &'a str, aliases: Aliases<'a>) -> &'a str {
    aliases.iter().find(|(old, _)| *old == path).map_or(path, |(_, new)| new)
}

fn is_table(name: &str, aliases: Aliases) -> bool {
    let of_alias = |(old, _): &(&str, &str)| old.split_once('.').is_some_and(|(table, _)| table == name);
    TABLES.iter().any(|table| table.name == name) || aliases.iter().any(of_alias)
}

/// What an item is, for messages, where its text is not at hand or too long.
fn kind(item: &Item) -> String {
    match item {
        Item::Value(Value::InlineTable(_)) | Item::Table(_) => "a table".into(),
        Item::ArrayOfTables(_) => "an array of tables".into(),
        Item::Value(value) => format!("`{}`", short(&value.to_string())),
        Item::None => "nothing".into(),
    }
}

fn unknown_key(place: &str, path: &str, found: &str) -> Error {
    if TABLES.iter().any(|table| table.name == path) {
        let error = Error::usage(format!("{place}: `{path}` is {found}, expected a table"));
        return if key(&format!("{path}.name")).is_some() {
            error.hint(format!("{path}.name"))
        } else {
            error
        };
    }
    let error = Error::usage(format!("{place}: unknown key `{}`", short(path)));
    match nearest_key(path) {
        Some(near) => error.hint(near),
        None => error,
    }
}

/// What was probably meant: a near name in the same table, the same name in another, a table, a near full
/// name, a near name in another table.
fn nearest_key(path: &str) -> Option<&'static str> {
    let (table, name) = path.split_once('.').unwrap_or(("", path));
    let paths = || keys().iter().map(|key| key.path.as_str());
    let leaf = |path: &'static str| path.rsplit_once('.').map_or(path, |(_, leaf)| leaf);
    let table_of = |path: &'static str| path.split_once('.').map_or("", |(table, _)| table);
    let beside: Vec<_> = paths().filter(|path| table_of(path) == table).collect();
    let named = |name: &str| {
        let mut found = paths().filter(|path| leaf(path) == name);
        found.next().filter(|_| found.next().is_none())
    };
    nearest(name, beside.iter().map(|path| leaf(path)))
        .and_then(|near| beside.iter().copied().find(|path| leaf(path) == near))
        .or_else(|| named(name))
        .or_else(|| nearest(path, TABLES.iter().map(|table| table.name)))
        .or_else(|| nearest(path, paths()))
        .or_else(|| named(nearest(name, paths().map(leaf))?))
}
