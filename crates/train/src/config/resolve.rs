//! From the sources to one configuration: default < preset < file < command line.

use rigl_base::error::short;
use rigl_base::{Error, Result};
use rigl_graph::Models;
use rigl_topology::{Method as Row, check_glob};
use toml_edit::{Item, Key as TomlKey};

use super::check::Contradiction;
use super::model::{self, Given, MODEL, Refusal, Stray, TABLE};
use super::places::Place;
use super::renamed::{RENAMED, Renamed, Word};
use super::source::{self, Entry, Idle, LAYERS, Override};
use super::table::Applies;
use super::units::Units;
use super::value::{Rule, Setting, one_of, text};
use super::{Config, Key, columns, key, keys};
use crate::presets::{self, Preset};

/// Keys that stand for others. Within a source they are set first, and then the kinds of tables, so that the others,
/// wherever they stand, override.
const FIRST: [&str; 3] = ["seed", NAME, MODEL];
const NAME: &str = "method.name";

/// The longest hint, in bytes.
const LONGEST_HINT: usize = 200;

/// Where a configuration begins.
#[derive(Clone, Copy, Debug, Default)]
pub enum Base<'a> {
    /// With the defaults.
    #[default]
    Default,
    /// With a preset, by name.
    Preset(&'a str),
    /// With a file, which may name a preset to begin with.
    File {
        /// What messages call it.
        name: &'a str,
        /// Its text, TOML.
        text: &'a str,
    },
}

/// Where values come from; the later fields win.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// A preset or a file.
    pub base: Base<'a>,
    /// Settings from the command line. Of several for one key the last wins.
    pub overrides: &'a [Override],
}

/// What became of a setting that several runs share.
#[derive(Debug)]
pub struct Shared {
    /// Where it stands, to begin a message.
    pub place: String,
    /// What its key is called there.
    pub key: String,
    /// Why it does nothing, if it does nothing.
    pub idle: Option<Error>,
}

/// What names there are.
#[derive(Clone, Debug)]
pub struct Known {
    /// What `preset` may name.
    pub presets: Vec<Preset>,
    /// What `method.name` may name, with the columns that each stands for.
    pub methods: Vec<Row>,
    /// What `model.name` may name, with their options. Others are told when they are built.
    pub models: Models,
    /// Whether others than these presets, methods and scores are let pass: those of a program that wrote every key down.
    pub strangers: bool,
}

impl Default for Known {
    /// What comes with the program.
    fn default() -> Known {
        Known {
            presets: presets::ALL.to_vec(),
            methods: Row::ALL.to_vec(),
            models: Models::default(),
            strangers: false,
        }
    }
}

impl Config {
    /// Puts the sources together and checks the result.
    ///
    /// A source that sets `method.name` sets with it the tables which the name determines, even if an
    /// earlier source had set these; what the same source says of a table overrides the name, in whatever
    /// order. What a source sets must be read once all of it is set; a later one may leave it without use. A file's `[method.layers]` replaces an earlier one; `method.layers.GLOB` on the command line
    /// sets one entry, which decides before those there were.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), naming the file and line (or flag), the key, what was found
    /// and what is allowed, with a hint where one can be given.
    pub fn resolve(sources: &Sources, known: &Known) -> Result<Config> {
        Config::resolve_shared(sources, known).map(|(config, _)| config)
    }

    /// The same, and what became of the settings that are [`shared`](Override::shared): each may be one that this run has
    /// no use for, if another has.
    ///
    /// # Errors
    /// As [`resolve`](Config::resolve).
    pub fn resolve_shared(sources: &Sources, known: &Known) -> Result<(Config, Vec<Shared>)> {
        resolve_with(sources, None, known, RENAMED)
    }

    /// The same recipe by the method of that name, as if a last source had set it.
    ///
    /// # Errors
    /// As [`resolve`](Config::resolve).
    pub fn resolve_by(sources: &Sources, method: &str, known: &Known) -> Result<Config> {
        resolve_with(sources, Some(method), known, RENAMED).map(|(config, _)| config)
    }

    /// Gives every key its default that is not read: what is printed then reads as the same.
    pub(super) fn forget_idle(&mut self) -> Result<()> {
        for key in keys() {
            if key.applies_to(self) {
                continue;
            }
            let default = key.default.as_ref().and_then(|text| text.parse().ok()).map(Item::Value);
            if default.is_none_or(|item| (key.set)(self, &item).is_err()) {
                return Err(Error::internal(format!("`{}` has no default", key.path)));
            }
        }
        Ok(())
    }

    /// The configuration that a run wrote down, perhaps by a program with presets, methods and scores of its own: every
    /// key is there, so that they need not be known to be read.
    ///
    /// # Errors
    /// As [`resolve`](Config::resolve).
    pub fn of_run(name: &str, text: &str, known: &Known) -> Result<Config> {
        Config::from_text(name, text, &Known { strangers: true, ..known.clone() })
    }

    /// The configuration of a file's text alone; `name` is what messages call the file.
    ///
    /// # Errors
    /// As [`resolve`](Config::resolve).
    pub fn from_text(name: &str, text: &str, known: &Known) -> Result<Config> {
        Config::resolve(&Sources { base: Base::File { name, text }, overrides: &[] }, known)
    }
}

fn resolve_with(
    sources: &Sources,
    method: Option<&str>,
    known: &Known,
    renames: &[Renamed],
) -> Result<(Config, Vec<Shared>)> {
    let mut builder = Builder {
        config: Config::default(),
        places: Vec::new(),
        agreements: Vec::new(),
        strays: Vec::new(),
        shared: Vec::new(),
        units: Units::new(Config::default().schedule.unit),
        known,
        renames,
    };
    let own = builder.config.model.name.clone();
    builder.choose_network(&own);
    match sources.base {
        Base::Default => {}
        Base::Preset(name) => builder.preset(name)?,
        Base::File { name, text } => {
            let file = source::from_text(&format!("`{name}`"), text, renames)?;
            if let Some(entry) = file.iter().find(|entry| entry.path == "preset") {
                let preset = String::read(&entry.item).ok_or_else(|| refused(entry, "a string", None))?;
                if !preset.is_empty() {
                    builder.preset(&preset).map_err(|error| error.context(&entry.place))?;
                }
            }
            builder.source(file, false)?;
        }
    }
    builder.source(source::from_overrides(sources.overrides, renames)?, true)?;
    if let Some(name) = method {
        let by = [Override::new("method", NAME, &text(&name.to_string()))];
        builder.source(source::from_overrides(&by, renames)?, false)?;
    }
    builder.finish()
}

struct Builder<'a> {
    config: Config,
    /// Where each key was set, the latest last.
    places: Vec<(String, Place)>,
    /// What older keys say that decide nothing any more, but must not contradict what is decided.
    agreements: Vec<Entry>,
    /// Options that were set for other networks.
    strays: Vec<Stray>,
    /// What became of settings that several runs share.
    shared: Vec<Shared>,
    /// In what the points of the schedule were said.
    units: Units,
    known: &'a Known,
    renames: &'a [Renamed],
}

impl Builder<'_> {
    fn preset(&mut self, name: &str) -> Result<()> {
        let found = presets::find(name, &self.known.presets);
        if self.known.strangers && found.is_err() {
            self.config.preset = name.into();
            return Ok(());
        }
        let preset = found?;
        let entries = source::from_text(&format!("preset `{name}`"), preset.text, self.renames)?;
        if let Some(entry) = entries.iter().find(|entry| entry.path == "preset") {
            return Err(Error::usage(format!("{}: a preset cannot begin with another", entry.place)));
        }
        self.source(entries, false)?;
        self.config.preset = name.into();
        Ok(())
    }

    /// Sets what a source says; `asked`, if it asks for single keys.
    fn source(&mut self, mut entries: Vec<Entry>, asked: bool) -> Result<()> {
        let is_kind = |entry: &Entry| key(&entry.path).is_some_and(Key::is_kind);
        // A stable sort: the rest keeps its order.
        entries.sort_by_key(|entry| match entry {
            _ if FIRST.contains(&entry.path.as_str()) => 0,
            _ if is_kind(entry) => 1,
            _ => 2,
        });
        for entry in &entries {
            self.entry(entry)?;
            self.turn_kind(entry, &entries)?;
            let place = Place { text: entry.place.clone(), asked };
            if let Some(glob) = &entry.glob {
                self.places.push((format!("{LAYERS}.{glob}"), place.clone()));
            }
            self.places.push((entry.path.clone(), place));
        }
        let set = |key: &str| entries.iter().any(|entry| entry.path == key);
        self.units.note(set, self.config.schedule.unit);
        model::settle(&self.config, &mut self.strays, entries.iter().map(|entry| &*entry.path));
        for entry in &entries {
            // Whether an option is read was found when it was set.
            if key(&entry.path).is_some() {
                let idle = self.idle(entry);
                self.read_or_refuse(entry, idle)?;
            }
        }
        Ok(())
    }

    /// Refuses an entry that nothing reads; one that other runs have too is noted.
    fn read_or_refuse(&mut self, entry: &Entry, idle: Option<Error>) -> Result<()> {
        if entry.shared {
            self.shared.push(Shared { place: entry.place.clone(), key: entry.written.clone(), idle });
            return Ok(());
        }
        idle.map_or(Ok(()), Err)
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        if let Some(glob) = &entry.glob {
            return self.layer(entry, glob);
        }
        if let Some(Word::Agrees(..)) = entry.word {
            self.agreements.push(entry.clone());
            return Ok(());
        }
        let Some(key) = key(&entry.path) else {
            return self.option(entry);
        };
        let network = self.config.model.name.clone();
        if let Some(Word::Not(kind, other)) = entry.word {
            if self.kind_of(key).as_deref() == Some(kind) {
                self.set_kind(key, other)?;
            }
            return Ok(());
        }
        let scaled = if entry.factor { product(key, &self.config, &entry.item) } else { None };
        if let Err(hint) = (key.set)(&mut self.config, scaled.as_ref().unwrap_or(&entry.item)) {
            let unquoted = entry.unquoted.as_ref().map(|item| (key.set)(&mut self.config, item));
            if unquoted != Some(Ok(())) {
                return Err(refused(entry, &key.allowed, hint));
            }
        }
        if entry.path == MODEL {
            self.choose_network(&network);
        }
        if entry.path == NAME {
            columns::apply(&mut self.config, self.known).map_err(|error| error.context(&entry.place))?;
        }
        Ok(())
    }

    /// Sets an option of the network.
    fn option(&mut self, entry: &Entry) -> Result<()> {
        let name = entry.path.strip_prefix(TABLE).unwrap_or(&entry.path);
        let given = Given { item: &entry.item, unquoted: entry.unquoted.as_ref(), found: &entry.found };
        let printed = entry.idle == Idle::Allowed;
        let idle = match model::set(&mut self.config, name, &given, printed, &self.known.models) {
            Ok(()) => None,
            Err(Refusal::Value(allowed, hint)) => return Err(refused(entry, &allowed, hint)),
            Err(Refusal::Unknown(error)) => Some(error.context(&entry.place)),
        };
        self.read_or_refuse(entry, idle)
    }

    /// Takes over the options that the network now named declares.
    fn choose_network(&mut self, before: &str) {
        let place_of = |key: &str| {
            let last = self.places.iter().rev().find(|(set, _)| set == key);
            last.map(|(_, place)| place.text.clone())
        };
        model::choose(&mut self.config, before, &mut self.strays, &self.known.models, place_of);
    }

    /// Of what kind the table of a key is.
    fn kind_of(&self, of: &Key) -> Option<String> {
        (key(&of.kind())?.get)(&self.config)?.as_str().map(String::from)
    }

    fn set_kind(&mut self, of: &Key, kind: &str) -> Result<()> {
        let item = Item::Value(kind.into());
        let set = key(&of.kind()).is_some_and(|key| (key.set)(&mut self.config, &item).is_ok());
        if set { Ok(()) } else { Err(Error::internal(format!("`{}` of no kind `{kind}`", of.path))) }
    }

    /// Turns the table of a key into the kind that reads it, if the key alone says which that is, and the source no other.
    fn turn_kind(&mut self, entry: &Entry, source: &[Entry]) -> Result<()> {
        let Some((key, (kinds, kind))) = key(&entry.path).and_then(|key| Some((key, key.turns?))) else {
            return Ok(());
        };
        let says = |word| !matches!(word, Some(Word::Not(..)));
        let is_nothing = entry.item.as_str() == Some("") || !says(entry.word);
        let is_said =
            source.iter().any(|other| other.path == key.kind() && says(other.word) && !entry.goes_first);
        let turns = self.kind_of(key).is_some_and(|now| kinds.contains(&&*now));
        if is_nothing || is_said || !turns || key.applies_to(&self.config) {
            return Ok(());
        }
        self.places.push((key.kind(), Place { text: entry.place.clone(), asked: false }));
        self.set_kind(key, kind)
    }

    /// Why nothing reads a value, after all of its source is set; `None` if something does, or if it says nothing.
    fn idle(&self, entry: &Entry) -> Option<Error> {
        let key = key(&entry.path).filter(|key| !key.applies_to(&self.config))?;
        // What says of what kind its table is says something by its default too.
        let is_default = || {
            let value = (key.get)(&self.config).map(|value| value.to_string());
            value == key.default && (key.turns.is_none() || value.is_some_and(|value| value == "\"\""))
        };
        match entry.idle {
            _ if matches!(entry.word, Some(Word::Not(..))) => return None,
            Idle::Allowed => return None,
            Idle::Default if is_default() => return None,
            Idle::Default | Idle::Refused => {}
        }
        let Entry { place, written, .. } = entry;
        let message = match key.applies {
            Applies::Where(condition) => {
                let of = match key.path.starts_with("method.") {
                    true => format!(" for method `{}`", self.config.method.name),
                    false => String::new(),
                };
                format!("{place}: `{written}` does nothing{of}: it is read where {}", condition.is)
            }
            _ => {
                let (of, kind) = (key.kind(), self.kind_of(key).unwrap_or_default());
                let kinds = one_of(key.kinds().iter().copied());
                format!("{place}: `{written}` does nothing where `{of}` is `{kind}`, expected {kinds}")
            }
        };
        let error = Error::usage(message);
        Some(match key.kinds() {
            [only] => error.hint(format!("{} = \"{only}\"", key.kind())),
            _ => error,
        })
    }

    /// Checks what the sources came to.
    fn finish(self) -> Result<(Config, Vec<Shared>)> {
        let Builder { mut config, places, agreements, strays, shared, units, known, .. } = self;
        // The errors of keys together begin with where one of them was set last, if any source set it.
        let placed = |Contradiction { keys, error }: Contradiction| match places
            .iter()
            .rev()
            .find(|(key, _)| keys.contains(&&**key))
        {
            Some((_, place)) => error.context(&place.text),
            None => error,
        };
        config.check_together().map_err(placed)?;
        units.check(&config).map_err(placed)?;
        config.method.topology(&known.methods, known.strangers).map_err(placed)?;
        config
            .row(&known.methods, known.strangers)
            .map_err(|error| placed(Contradiction::of(&[NAME], error)))?;
        for entry in &agreements {
            agree(entry, &config)?;
        }
        config.forget_idle()?;
        model::note(&mut config, strays);
        config.places = places.into_iter().collect();
        Ok((config, shared))
    }

    fn layer(&mut self, entry: &Entry, glob: &str) -> Result<()> {
        let named = Entry { written: format!("{LAYERS}.{glob}"), ..entry.clone() };
        let rule = Rule::<f64>::any().only("a number with 0 ≤ sparsity < 1", |x| (0.0..1.0).contains(x));
        let sparsity = rule.read(&entry.item).map_err(|hint| {
            let hint = hint.or_else(|| quoted_glob(glob, &entry.item));
            refused(&named, &rule.allowed(), hint)
        })?;
        check_glob(glob).map_err(|error| error.context(format!("{}: `{LAYERS}`", entry.place)))?;
        let layers = &mut self.config.method.layers.0;
        if entry.first {
            layers.retain(|(other, _)| other != glob);
            layers.insert(0, (glob.into(), sparsity));
        } else {
            layers.push((glob.into(), sparsity));
        }
        Ok(())
    }
}

/// `layer1.0.conv1 = 0.5` without quotes is a table of tables to TOML: the line that was meant.
fn quoted_glob(first: &str, item: &Item) -> Option<String> {
    let (mut glob, mut item) = (first.to_string(), item);
    while let Some(table) = item.as_table_like() {
        let (name, inner) = table.iter().next()?;
        glob = format!("{glob}.{name}");
        item = inner;
    }
    (glob != first).then_some(())?;
    Some(format!("{} = {}", TomlKey::new(glob).display_repr(), text(&f64::read(item)?)))
}

/// A factor times the number that a key has; `None` if one of the two is none.
fn product(key: &Key, config: &Config, factor: &Item) -> Option<Item> {
    let number = f64::read(&Item::Value((key.get)(config)?))?;
    Some(Item::Value((number * f64::read(factor)?).write()))
}

/// Whether what an older key says is so.
fn agree(entry: &Entry, config: &Config) -> Result<()> {
    let (Some(Word::Agrees(value, expected)), Some(renamed)) = (entry.word, entry.renamed) else {
        return Ok(());
    };
    let found = key(renamed).and_then(|key| (key.get)(config));
    if found.is_some_and(|found| found.as_str() == Some(value)) == expected {
        return Ok(());
    }
    let (Entry { place, written, found, .. }, not) = (entry, if expected { "" } else { "not " });
    Err(Error::usage(format!("{place}: `{written}` is {found}, with which `{renamed}` is {not}`{value}`")))
}

fn refused(entry: &Entry, allowed: &str, hint: Option<String>) -> Error {
    let Entry { written, place, found, .. } = entry;
    let error = Error::usage(format!("{place}: `{}` is {found}, expected {allowed}", short(written)));
    // A hint is pasted as it is: cut short it would be none.
    match hint.filter(|hint| hint.len() <= LONGEST_HINT && !hint.contains(char::is_control)) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests;
