//! From the sources to one configuration: default < preset < file < command line.

use rigl_base::error::short;
use rigl_base::{Error, Result};
use rigl_topology::{Method as Row, check_glob};
use toml_edit::{Item, Key as TomlKey};

use super::source::{self, Aliases, Entry, LAYERS, Override};
use super::value::{Rule, Setting, text};
use super::{Config, key, methods};
use crate::presets::{self, Preset};

/// Renamed keys stay readable: what a key was called, what it is called now.
const ALIASES: Aliases = &[];

/// Keys that stand for others. Within a source they are set first, so that the others, wherever they stand,
/// override.
const FIRST: [&str; 2] = ["seed", "method.name"];

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

/// What names there are.
#[derive(Clone, Debug)]
pub struct Known {
    /// What `preset` may name.
    pub presets: Vec<Preset>,
    /// What `method.name` may name, with the columns that each stands for.
    pub methods: Vec<Row>,
}

impl Default for Known {
    /// What comes with the program.
    fn default() -> Known {
        Known { presets: presets::ALL.to_vec(), methods: Row::ALL.to_vec() }
    }
}

impl Config {
    /// Puts the sources together and checks the result.
    ///
    /// A source that sets `method.name` sets with it the columns which the name determines, even if an
    /// earlier source had set these; what the same source says about a column overrides the name, in whatever
    /// order. A file's `[method.layers]` replaces an earlier one; `method.layers.GLOB` on the command line
    /// sets one entry, which decides before those there were.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), naming the file and line (or flag), the key, what was found
    /// and what is allowed, with a hint where one can be given.
    pub fn resolve(sources: &Sources, known: &Known) -> Result<Config> {
        resolve_with(sources, known, ALIASES)
    }

    /// The configuration of a file's text alone; `name` is what messages call the file.
    ///
    /// # Errors
    /// As [`resolve`](Config::resolve).
    pub fn from_text(name: &str, text: &str, known: &Known) -> Result<Config> {
        Config::resolve(&Sources { base: Base::File { name, text }, overrides: &[] }, known)
    }
}

fn resolve_with(sources: &Sources, known: &Known, aliases: Aliases) -> Result<Config> {
    let mut builder = Builder { config: Config::default(), places: Vec::new(), known, aliases };
    match sources.base {
        Base::Default => {}
        Base::Preset(name) => builder.preset(name)?,
        Base::File { name, text } => {
            let file = source::from_text(&format!("`{name}`"), text, aliases)?;
            if let Some(entry) = file.iter().find(|entry| entry.path == "preset") {
                let preset = String::read(&entry.item).ok_or_else(|| refused(entry, "a string", None))?;
                if !preset.is_empty() {
                    builder.preset(&preset).map_err(|error| error.context(&entry.place))?;
                }
            }
            builder.source(file)?;
        }
    }
    builder.source(source::from_overrides(sources.overrides, aliases)?)?;
    let Builder { config, places, .. } = builder;
    // The errors of keys together begin with where the key was set last, if any source set it.
    let placed =
        |keys: &[&str], error: Error| match places.iter().rev().find(|(key, _)| keys.contains(&&**key)) {
            Some((_, place)) => error.context(place),
            None => error,
        };
    config.check_together().map_err(|(key, error)| placed(&[key], error))?;
    config.method_row(&known.methods).map_err(|error| placed(methods::COLUMNS, error))?;
    Ok(config)
}

struct Builder<'a> {
    config: Config,
    /// Where each key was set, the latest last.
    places: Vec<(String, String)>,
    known: &'a Known,
    aliases: Aliases<'a>,
}

impl Builder<'_> {
    fn preset(&mut self, name: &str) -> Result<()> {
        let preset = presets::find(name, &self.known.presets)?;
        let entries = source::from_text(&format!("preset `{name}`"), preset.text, self.aliases)?;
        if let Some(entry) = entries.iter().find(|entry| entry.path == "preset") {
            return Err(Error::usage(format!("{}: a preset cannot begin with another", entry.place)));
        }
        self.source(entries)?;
        self.config.preset = name.into();
        Ok(())
    }

    fn source(&mut self, mut entries: Vec<Entry>) -> Result<()> {
        // A stable sort: the rest keeps its order.
        entries.sort_by_key(|entry| !FIRST.contains(&entry.path.as_str()));
        for entry in entries {
            self.entry(&entry)?;
            self.places.push((entry.path, entry.place));
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        if let Some(glob) = &entry.glob {
            return self.layer(entry, glob);
        }
        let Some(key) = key(&entry.path) else {
            return Err(Error::internal(format!("no key `{}`", entry.path)));
        };
        if let Err(hint) = (key.set)(&mut self.config, &entry.item) {
            let unquoted = entry.unquoted.as_ref().map(|item| (key.set)(&mut self.config, item));
            if unquoted != Some(Ok(())) {
                return Err(refused(entry, &key.allowed, hint));
            }
        }
        if entry.path == "method.name" {
            methods::apply(&mut self.config, &self.known.methods)
                .map_err(|error| error.context(&entry.place))?;
        }
        Ok(())
    }

    fn layer(&mut self, entry: &Entry, glob: &str) -> Result<()> {
        let named = Entry { path: format!("{LAYERS}.{glob}"), ..entry.clone() };
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

fn refused(entry: &Entry, allowed: &str, hint: Option<String>) -> Error {
    let Entry { path, place, found, .. } = entry;
    let error = Error::usage(format!("{place}: `{}` is {found}, expected {allowed}", short(path)));
    // A hint is pasted as it is: cut short it would be none.
    match hint.filter(|hint| hint.len() <= LONGEST_HINT && !hint.contains(char::is_control)) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use rigl_topology::{Distribution, LayerFilter, StepPolicy};

    use super::*;
    use crate::config::{DropScore, GrowScore, Limit, UpdateEnd};

    fn file(text: &str) -> Result<Config> {
        Config::from_text("my.toml", text, &Known::default())
    }

    fn command_line(base: Base, settings: &[&str]) -> Result<Config> {
        let overrides: Vec<_> = settings.iter().map(|text| Override::parse("--set", text).unwrap()).collect();
        Config::resolve(&Sources { base, overrides: &overrides }, &Known::default())
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(file("").unwrap(), Config::default());
    }

    #[test]
    fn later_sources_win() {
        let text = "preset = 'mnist-lenet'\n[schedule]\nlearning-rate = 0.05\n[data]\nbatch = 50";
        let config = command_line(Base::File { name: "my.toml", text }, &["data.batch=25"]).unwrap();
        assert_eq!(config.preset, "mnist-lenet");
        assert_eq!(config.schedule.length, 200.0, "from the preset");
        assert_eq!(config.schedule.learning_rate, 0.05, "from the file");
        assert_eq!(config.data.batch, 25, "from the command line");
        assert_eq!(config.checkpoint.keep, 2, "from the defaults");
    }

    #[test]
    fn a_seed_sets_all_seeds_and_single_ones_override_it_in_any_order() {
        let config = file("seeds.data = 1\nseed = 7").unwrap();
        assert_eq!((config.seeds.init, config.seeds.topology, config.seeds.data), (7, 7, 1));
        let config = command_line(Base::Default, &["seeds.init=2", "seed=3"]).unwrap();
        assert_eq!((config.seeds.init, config.seeds.topology, config.seeds.data), (2, 3, 3));
    }

    #[test]
    fn a_methods_name_sets_its_columns_and_columns_of_the_same_source_override_it() {
        let config = file("[method]\ngrow = 'gradient'\nname = 'set'").unwrap();
        assert_eq!(config.method.grow, GrowScore::Gradient);
        assert_eq!(config.method.step_policy, StepPolicy::After);
        let config = command_line(Base::Default, &["method.grow=gradient", "method.name=set"]).unwrap();
        assert_eq!((config.method.drop, config.method.grow), (DropScore::Magnitude, GrowScore::Gradient));
    }

    #[test]
    fn a_methods_name_in_a_later_source_resets_its_columns_but_not_the_rest() {
        let text = "[method]\nname = 'set'\ngrow = 'gradient'\nsparsity = 0.5\nfilter = 'all'";
        let config = command_line(Base::File { name: "my.toml", text }, &["method.name=set"]).unwrap();
        assert_eq!(config.method.grow, GrowScore::Random);
        assert_eq!(config.method.sparsity, 0.5);
        assert_eq!(config.method.filter, LayerFilter::All);
    }

    #[test]
    fn layers_of_a_file_replace_and_single_ones_of_the_command_line_go_first() {
        let text = "preset = 'mnist-lenet'\n[method.layers]\n'fc*' = 0.5\nfc3 = 0.25";
        let base = Base::File { name: "my.toml", text };
        let layers = |settings: &[&str]| command_line(base, settings).unwrap().method.layers.0;
        let entry = |glob: &str, sparsity| (glob.to_string(), sparsity);
        assert_eq!(layers(&[]), [entry("fc*", 0.5), entry("fc3", 0.25)]);
        assert_eq!(layers(&["method.layers.fc3=.75"]), [entry("fc3", 0.75), entry("fc*", 0.5)]);
        assert_eq!(
            layers(&["method.layers.layer1.0.conv1=0", "method.layers.\"a b\"=1e-1"])[..2],
            [entry("a b", 0.1), entry("layer1.0.conv1", 0.0)]
        );
        assert_eq!(layers(&["method.layers={}"]), []);
        assert_eq!(
            layers(&["method.layers={x=0.1}", "method.layers.y=0.2"]),
            [entry("y", 0.2), entry("x", 0.1)]
        );
    }

    #[test]
    fn the_command_line_needs_no_quotes_and_takes_numbers_as_people_write_them() {
        let settings =
            ["method.sparsity=.95", "method.distribution=uniform", "data.name=123", "data.train-samples=all"];
        let config = command_line(Base::Default, &settings).unwrap();
        assert_eq!(config.method.sparsity, 0.95);
        assert_eq!(config.method.distribution, Distribution::Uniform);
        assert_eq!(config.data.name, "123");
        let settings = ["method.update-end=5000", "data.test-samples = 10", "schedule.milestones=[5, 10.5]"];
        let config = command_line(Base::Preset("quickstart"), &settings).unwrap();
        assert_eq!(config.method.update_end, UpdateEnd::Step(5000));
        assert_eq!(config.data.test_samples, Limit::First(10));
        assert_eq!(config.schedule.milestones, [5.0, 10.5]);
    }

    #[test]
    fn a_renamed_key_stays_readable() {
        let aliases: Aliases =
            &[("training.lr", "schedule.learning-rate"), ("method.alpha", "method.drop-fraction")];
        let resolve = |text| {
            let base = Base::File { name: "my.toml", text };
            resolve_with(&Sources { base, overrides: &[] }, &Known::default(), aliases)
        };
        let config = resolve("[training]\nlr = 0.5\n[method]\nalpha = 0.25").unwrap();
        assert_eq!((config.schedule.learning_rate, config.method.drop_fraction), (0.5, 0.25));
        let twice = resolve("[method]\nalpha = 0.25\ndrop-fraction = 0.5").unwrap_err();
        assert_eq!(
            twice.to_string(),
            "`my.toml` line 3: `method.drop-fraction` is set already at `my.toml` line 2"
        );
        let overrides = [Override::parse("--set", "training.lr=0.5").unwrap()];
        let sources = Sources { base: Base::Default, overrides: &overrides };
        assert_eq!(resolve_with(&sources, &Known::default(), aliases).unwrap().schedule.learning_rate, 0.5);
    }

    #[test]
    fn every_alias_leads_to_a_key_and_hides_none() {
        for (old, new) in ALIASES {
            assert!(key(new).is_some() && key(old).is_none(), "{old} = {new}");
        }
    }
}
