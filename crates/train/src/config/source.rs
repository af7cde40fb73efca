//! One source of values, read from disk and taken apart into entries: a full key, its value, and where it stands.

use std::io::Read;
use std::path::Path;

use rigl_base::error::short;
use rigl_base::{Error, Result, files, nearest};
use toml_edit::{Document, InlineTable, Item, TableLike, Value};

use super::model::{self, TABLE};
use super::renamed::{PRINTED, Printed, RENAMED, Reads, Renamed, Word, renamed, taken_unread};
use super::table::KIND;
use super::value::{one_of, text as text_of};
use super::{TABLES, key, keys};

/// Where single layers' sparsities stand: the only key whose value is a table.
pub(crate) const LAYERS: &str = "method.layers";

/// One setting from a command line: `--set key=value`, or a flag that is a short name of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Override {
    /// What messages call it: `--set`, `--sparsity`. Put between backticks there, unless it has some itself.
    pub origin: String,
    /// The key's full name; after `method.layers.` stands a glob, which needs no quotes.
    pub key: String,
    /// TOML, or text without quotes, or a number like `.9`.
    pub value: String,
    /// Whether other runs have it too, so that it may be one that this run has no use for.
    pub shared: bool,
    /// Whether the value is a factor for the number that the key has so far.
    pub factor: bool,
}

impl Override {
    /// This value for this key.
    pub fn new(origin: &str, key: &str, value: &str) -> Override {
        let (origin, key, value) = (origin.into(), key.into(), value.into());
        Override { origin, key, value, shared: false, factor: false }
    }

    /// What the key has so far, times this number.
    pub fn factor(origin: &str, key: &str, value: &str) -> Override {
        Override { factor: true, ..Override::new(origin, key, value) }
    }

    /// The settings of single keys that it comes to: a table's are those of each of its keys.
    pub fn leaves(&self) -> Vec<Override> {
        let item = command_line_value(&self.value);
        let Some(table) = item.as_table_like().filter(|_| is_table(&self.key, RENAMED)) else {
            return vec![self.clone()];
        };
        let inner = |(name, item): (&str, &Item)| {
            let (key, value) = (format!("{}.{name}", self.key), item.to_string().trim().to_string());
            Override { key, value, ..self.clone() }.leaves()
        };
        table.iter().flat_map(inner).collect()
    }

    /// Reads `key=value`; `origin` is what messages call it.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there is no `=`.
    pub fn parse(origin: &str, text: &str) -> Result<Override> {
        let Some((key, value)) = text.split_once('=') else {
            let message = format!("`{origin}` is followed by `{}`, expected `key=value`", short(text));
            return Err(Error::usage(message).hint("method.sparsity=0.9"));
        };
        Ok(Override::new(origin, key.trim(), value.trim()))
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
    files::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
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
    /// What the key is called there.
    pub(super) written: String,
    /// What its word says, if the key had words of its own under an older name.
    pub(super) word: Option<Word>,
    /// What an older name has become.
    pub(super) renamed: Option<&'static str>,
    /// Whether it goes before what another entry says of its table's kind.
    pub(super) goes_first: bool,
    /// Whether it may be one that is not read.
    pub(super) idle: Idle,
    /// Whether other runs have it too: one of them may read it.
    pub(super) shared: bool,
    /// Whether it is a factor for what the key has so far.
    pub(super) factor: bool,
}

/// Whether a value may be there that is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Idle {
    /// It may not.
    Refused,
    /// If it is the default: so far keys were printed whether they were read or not.
    Default,
    /// It may.
    Allowed,
}

/// The entries of a TOML text. `label` stands at the beginning of messages: "`my.toml`".
pub(super) fn from_text(label: &str, text: &str, renames: &[Renamed]) -> Result<Vec<Entry>> {
    let feeds: Vec<usize> =
        text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    let line = |at: usize| 1 + feeds.partition_point(|&feed| feed < at);
    let document = Document::parse(text).map_err(|error| {
        let place = error.span().map_or_else(String::new, |span| format!(" line {}", line(span.start)));
        Error::usage(format!("{label}{place}: {}", error.message().lines().collect::<Vec<_>>().join(", ")))
    })?;
    let mut reader = Reader { label, text, line: &line, renames, entries: Vec::new() };
    reader.table("", document.as_table())?;
    let mut entries = reader.entries;
    let has = |key: &&str| entries.iter().any(|entry| entry.written == **key);
    let printed: Vec<&Printed> = PRINTED.iter().filter(|printed| printed.by.iter().all(has)).collect();
    for entry in &mut entries {
        if printed.iter().any(|printed| (printed.unread)(&entry.written)) {
            entry.idle = Idle::Allowed;
        }
    }
    Ok(entries)
}

struct Reader<'a> {
    label: &'a str,
    text: &'a str,
    line: &'a dyn Fn(usize) -> usize,
    renames: &'a [Renamed],
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
                Some(inner) if is_table(&path, self.renames) => self.table(&format!("{path}."), inner)?,
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
        let entry = entry(written, item.clone(), None, found, place, self.renames)?;
        // TOML itself refuses the same name twice: one of the two is an older name.
        refuse_two_names(&entry, &self.entries)?;
        if entry.path != LAYERS || !entry.item.is_table_like() {
            self.entries.push(entry);
            return Ok(());
        }
        let place_of = |table: &dyn TableLike, name: &str| {
            let span = table.key(name).and_then(|key| key.span());
            span.map(|span| format!("{} line {}", self.label, (self.line)(span.start)))
        };
        let found_of = |item: &Item| {
            let text = item.span().filter(|_| !item.is_table_like()).and_then(|span| self.text.get(span));
            text.map(|text| format!("`{}`", short(text)))
        };
        let layers = layer_entries(entry, place_of, found_of);
        self.entries.extend(layers);
        Ok(())
    }
}

/// The entries of settings from a command line.
pub(super) fn from_overrides(overrides: &[Override], renames: &[Renamed]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for setting in overrides {
        if setting.key == "preset" {
            return Err(Error::usage(format!("{}: `preset` may stand only in a file", place_of(setting))));
        }
        for leaf in setting.leaves() {
            setting_entries(&leaf, renames, &mut entries)?;
        }
    }
    Ok(entries)
}

fn place_of(setting: &Override) -> String {
    if setting.origin.contains('`') { setting.origin.clone() } else { format!("`{}`", setting.origin) }
}

/// The entries of a setting of a single key.
fn setting_entries(setting: &Override, renames: &[Renamed], entries: &mut Vec<Entry>) -> Result<()> {
    let (written, place, item) =
        (setting.key.as_str(), place_of(setting), command_line_value(&setting.value));
    let found = format!("`{}`", short(&setting.value));
    let unquoted = Some(Item::Value(setting.value.as_str().into()));
    let glob = written.strip_prefix(LAYERS).and_then(|rest| rest.strip_prefix('.'));
    let named = if glob.is_some() { LAYERS } else { written };
    let mut entry = entry(named.into(), item, unquoted, found, place, renames)?;
    (entry.shared, entry.factor) = (setting.shared, setting.factor);
    entry.glob = glob.map(|glob| unquote(glob).to_string());
    entry.first = glob.is_some();
    // Of several for one name the last wins, of several names none.
    refuse_two_names(&entry, entries.iter().filter(|other| other.written != entry.written))?;
    if entry.path == LAYERS && entry.glob.is_none() && entry.item.is_table_like() {
        entries.extend(layer_entries(entry, |_, _| None, |_| None));
    } else {
        entries.push(entry);
    }
    Ok(())
}

/// The entry for a key as it is written.
fn entry(
    written: String,
    item: Item,
    unquoted: Option<Item>,
    found: String,
    place: String,
    renames: &[Renamed],
) -> Result<Entry> {
    let renamed = renamed(&written, renames);
    let path = match renamed {
        Some(renamed) => renamed.new.to_string(),
        // A table's name alone stands for its kind.
        None => {
            Some(format!("{written}.{KIND}")).filter(|path| key(path).is_some()).unwrap_or(written.clone())
        }
    };
    // Which options there are depends on the network.
    let is_option = path.strip_prefix(TABLE).is_some_and(|name| !name.is_empty());
    if key(&path).is_none() && !is_option {
        return Err(unknown_key(&place, &written, &found));
    }
    let goes_first = renamed.is_some_and(|renamed| matches!(renamed.read, Reads::First));
    let before = path != written || taken_unread(&written);
    let idle = if before { Idle::Default } else { Idle::Refused };
    let mut entry = Entry {
        path,
        glob: None,
        first: false,
        item,
        unquoted,
        found,
        place,
        written,
        word: None,
        renamed: renamed.map(|renamed| renamed.new),
        goes_first,
        idle,
        shared: false,
        factor: false,
    };
    let Some((renamed, words)) = renamed.and_then(|renamed| match renamed.read {
        Reads::Words(words) => Some((renamed, words)),
        Reads::Same | Reads::First => None,
    }) else {
        return Ok(entry);
    };
    let text = entry.item.as_str().or(entry.unquoted.as_ref().and_then(Item::as_str)).unwrap_or_default();
    let Some(word) = renamed.word(text) else {
        let names = words.iter().map(|(word, _)| *word);
        let error = Error::usage(format!(
            "{}: `{}` is {}, expected {}",
            entry.place,
            entry.written,
            entry.found,
            one_of(names.clone())
        ));
        return Err(match nearest(text, names) {
            Some(near) => error.hint(text_of(&near.to_string())),
            None => error,
        });
    };
    match word {
        Word::Is(value) => {
            entry.item = command_line_value(value);
            entry.unquoted = None;
        }
        // It sets nothing that another entry could set too.
        Word::Agrees(..) => entry.path.clone_from(&entry.written),
        Word::Not(..) => {}
    }
    entry.word = Some(word);
    Ok(entry)
}

/// One thing may be said by an older name or by the present one.
fn refuse_two_names<'a>(entry: &Entry, others: impl IntoIterator<Item = &'a Entry>) -> Result<()> {
    let Some(other) = others.into_iter().find(|other| other.path == entry.path && other.glob.is_none())
    else {
        return Ok(());
    };
    let Entry { written, place, .. } = entry;
    let error = Error::usage(format!(
        "{place}: `{written}` is set already, as `{}` at {}",
        other.written, other.place
    ));
    Err(error.hint(format!("`{}` is what it is called", entry.path)))
}

/// A table of layers as entries: first an empty table, which removes what earlier sources said, then each
/// glob.
fn layer_entries(
    mut whole: Entry,
    place_of: impl Fn(&dyn TableLike, &str) -> Option<String>,
    found_of: impl Fn(&Item) -> Option<String>,
) -> Vec<Entry> {
    let empty = Item::Value(Value::InlineTable(InlineTable::new()));
    let layers = std::mem::replace(&mut whole.item, empty);
    whole.unquoted = None;
    let mut entries = vec![whole.clone()];
    let Some(table) = layers.as_table_like() else { return entries };
    entries.extend(table.iter().map(|(glob, item)| Entry {
        glob: Some(glob.into()),
        item: item.clone(),
        found: found_of(item).unwrap_or_else(|| kind(item)),
        place: place_of(table, glob).unwrap_or_else(|| whole.place.clone()),
        ..whole.clone()
    }));
    entries
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

fn is_table(name: &str, renames: &[Renamed]) -> bool {
    let of_old = |renamed: &Renamed| renamed.old.rsplit_once('.').is_some_and(|(table, _)| table == name);
    TABLES.iter().any(|table| table.name == name) || renames.iter().any(of_old)
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
        return match key(&format!("{path}.name")) {
            Some(_) => error.hint(format!("{path}.name")),
            None => error,
        };
    }
    let error = Error::usage(format!("{place}: unknown key `{}`", short(path)));
    error.hint(nearest_key(path).unwrap_or_else(|| "rigl presets quickstart --full".into()))
}

/// What other programs call some keys, where the nearest name of ours would be another thing.
const ELSEWHERE: &[(&str, &str)] = &[
    ("schedule.decay", "schedule.divide-by"),
    ("schedule.gamma", "schedule.divide-by"),
    ("optimizer.betas", SGD),
    ("optimizer.lr", "schedule.learning-rate"),
    ("optimizer.decay", "optimizer.l2"),
    ("weight-decay", "optimizer.l2"),
    ("lr", "schedule.learning-rate"),
    ("epochs", "schedule.length"),
    ("steps", "schedule.length"),
    ("batch-size", "data.batch"),
];

/// The only optimiser there is.
const SGD: &str = "the optimiser is SGD: `optimizer.momentum`, `optimizer.nesterov`, `optimizer.l2`";

/// What was probably meant: a near name in the same table, the same name in another, a table, a near full
/// name, a near name in another table.
fn nearest_key(path: &str) -> Option<String> {
    let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
    let dashed = [path, name].map(|text| text.replace('_', "-"));
    let elsewhere = ELSEWHERE.iter().find(|(other, _)| dashed.iter().any(|text| text == other));
    if let Some((_, key)) = elsewhere {
        return Some(key.to_string());
    }
    let paths = || keys().iter().map(|key| key.path.as_str());
    let leaf = |path: &'static str| path.rsplit_once('.').map_or(path, |(_, leaf)| leaf);
    let table_of = |path: &'static str| path.rsplit_once('.').map_or("", |(table, _)| table);
    let beside: Vec<_> = paths().filter(|path| table_of(path) == table).collect();
    let named = |name: &str| {
        let mut found = paths().filter(|path| leaf(path) == name);
        found.next().filter(|_| found.next().is_none())
    };
    let near = nearest(name, beside.iter().map(|path| leaf(path)));
    let near = near.and_then(|near| beside.iter().copied().find(|path| leaf(path) == near));
    if let Some(found) = near.or_else(|| named(name)) {
        return Some(found.into());
    }
    if model::is_option(name) {
        return Some(format!("{TABLE}{name}"));
    }
    nearest(path, TABLES.iter().map(|table| table.name).filter(|name| *name != table))
        // In a table that there is, all names are near that have its own before theirs.
        .or_else(|| nearest(path, paths().filter(|_| beside.is_empty())))
        .or_else(|| named(nearest(name, paths().map(leaf))?))
        .map(String::from)
}
