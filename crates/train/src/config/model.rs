//! `[model]`: the network by its name, and the options that this network declares. They are keys like all others, but
//! which there are is known only once the network is.

use std::sync::{Arc, LazyLock};

use rigl_base::error::short;
use rigl_base::{Error, Result, nearest};
use rigl_graph::Models;
use rigl_graph::models::{Model as Network, ModelOption, OptionRange, OptionValue, Values};
use toml_edit::{Array, Item, Value};

use super::table::{Applies, Key, TableDoc, doc_text, key_name, place, table};
use super::value::{Rule, Setting, text};
use super::{Config, keys};

/// The key of the network's name.
pub(super) const MODEL: &str = "model.name";

const LABEL_SMOOTHING: &str = "model.label-smoothing";

/// What the keys of options begin with.
pub(super) const TABLE: &str = "model.";

/// The network where no source names one.
const FIRST_NETWORK: &str = "lenet-300-100";

/// Options that every configuration had as keys, whichever its network: what they then said for a network without them
/// is nothing.
const ONCE_FOR_ALL: [&str; 5] = ["hidden", "depth", "width", "dropout", "bn-momentum"];

table! {
    /// The network. Its options are keys of this table, each network's own (`docs/models.md` lists them).
    Model in [model] {
        /// The network's name: one of those that come with the program (`rigl train --help` lists them), or one that a
        /// program of one's own has registered.
        name: String = FIRST_NETWORK.into();
        /// Share of the target probability that is spread over all classes.
        label_smoothing: f64 as f32 = 0.0, "a number with 0 ≤ label-smoothing < 1" if |x| (0.0..1.0).contains(x);
    } with {
        /// Options of the network.
        options: Options,
    }
}

/// The options of a network that are set; the others have the network's own values.
#[derive(Clone, Debug)]
pub struct Options {
    set: Values,
    /// The network that declares them, where it is known.
    of: Option<Arc<Network>>,
    /// What was meant for another network, in one line.
    left_out: Option<String>,
}

/// None is set of those of the network that configurations begin with.
impl Default for Options {
    fn default() -> Options {
        static FIRST: LazyLock<Option<Arc<Network>>> =
            LazyLock::new(|| Models::default().find(FIRST_NETWORK).cloned().map(Arc::new));
        Options { set: Values::default(), of: FIRST.clone(), left_out: None }
    }
}

/// Equal if the same is set.
impl PartialEq for Options {
    fn eq(&self, other: &Options) -> bool {
        self.set == other.set
    }
}

impl Options {
    /// Those that are set.
    pub fn values(&self) -> &Values {
        &self.set
    }

    /// Sets one; whether the network has it and takes the value is found when it is built.
    pub fn set(&mut self, name: &str, value: impl Into<OptionValue>) {
        self.set.set(name, value);
    }

    /// Leaves one to the network; what it was set to, if it was.
    pub fn unset(&mut self, name: &str) -> Option<OptionValue> {
        self.set.remove(name)
    }
}

/// An option as the resolved file has it.
#[derive(Clone, Debug)]
pub struct OptionKey {
    /// The key's full name: `model.width`.
    pub path: String,
    /// Its value, as TOML.
    pub value: String,
    /// The network's own value; `None` if the network is not known.
    pub default: Option<String>,
    /// What it means and which values it takes, where the network is known.
    pub(super) about: String,
}

impl Config {
    /// The options of the network, those that are not set with the network's own values. Of a network that is not known
    /// only those that are set can be told.
    pub fn options(&self) -> Vec<OptionKey> {
        let Model { options, .. } = &self.model;
        let Some(network) = self.model.declared() else {
            let key = |(name, value): (&str, &OptionValue)| OptionKey {
                path: path(name),
                value: written(value, false).to_string(),
                default: None,
                about: "An option of the network.".into(),
            };
            return options.set.iter().map(key).collect();
        };
        let key = |option: &ModelOption| OptionKey {
            path: path(&option.name),
            value: written(options.set.get(&option.name).unwrap_or(&option.default), true).to_string(),
            default: Some(written(&option.default, true).to_string()),
            about: format!("{} Takes {}.", option.doc, allowed(option)),
        };
        network.options.iter().map(key).collect()
    }

    /// What sources said of another network than the one that a later source chose, and what is left out for that, in
    /// one line.
    pub fn left_out(&self) -> Option<&str> {
        self.model.options.left_out.as_deref()
    }

    /// Whether the network, if it is known, has the options that are set, and takes their values.
    pub(super) fn check_options(&self) -> Result<()> {
        let Some(network) = self.model.declared() else { return Ok(()) };
        for (name, value) in self.model.options.set.iter() {
            let (path, found) = (path(name), format!("`{}`", written(value, true)));
            let Some(option) = network.find_option(name) else {
                return Err(no_option(network, name, &found, &Models::default()));
            };
            if option.check(value).is_err() {
                return Err(Error::usage(format!("`{path}` is {found}, expected {}", allowed(option))));
            }
        }
        Ok(())
    }
}

impl Model {
    /// The network of that name with these options, which `models` may know.
    #[cfg(test)]
    pub(super) fn with(name: String, label_smoothing: f64, set: Values, models: &Models) -> Model {
        let of = models.find(&name).cloned().map(Arc::new);
        Model { name, label_smoothing, options: Options { set, of, left_out: None } }
    }

    /// The key of the first option that another configuration of the same network gives another value, with both values.
    pub(super) fn difference(&self, other: &Model) -> Option<(String, String, String)> {
        let (here, there) = (&self.options.set, &other.options.set);
        let mut names = here.iter().chain(there.iter()).map(|(name, _)| name);
        let name = names.find(|name| here.get(name) != there.get(name))?;
        // Where one of the two does not know the network, the other may.
        let declared = self.declared().or(other.declared()).and_then(|network| network.find_option(name));
        let own = declared.map(|option| &option.default);
        let text = |set: &Values| {
            let value = set.get(name).or(own);
            value.map_or_else(String::new, |value| written(value, true).to_string())
        };
        Some((path(name), text(here), text(there)))
    }

    /// The network of its name, where it is known.
    fn declared(&self) -> Option<&Network> {
        self.options.of.as_deref().filter(|network| network.name == self.name)
    }
}

/// An option that was set for a network which a later source put another in the place of.
#[derive(Clone, Debug)]
pub(super) struct Stray {
    /// The network.
    of: String,
    name: String,
    value: OptionValue,
    /// Where it was set.
    place: Option<String>,
    /// Whether to note it if it stays left out.
    noted: bool,
}

/// Takes over what the network now named declares. Options that were set for the one `before` become strays, those that
/// were set for this one are taken from them.
///
/// `place_of` tells where a key was set.
pub(super) fn choose(
    config: &mut Config,
    before: &str,
    strays: &mut Vec<Stray>,
    models: &Models,
    place_of: impl Fn(&str) -> Option<String>,
) {
    let Model { name, options, .. } = &mut config.model;
    options.of = models.find(name).cloned().map(Arc::new);
    if *name == before {
        return;
    }
    let stray = |(name, value): (&str, &OptionValue)| {
        let (of, place) = (before.to_string(), place_of(&path(name)));
        Stray { of, name: name.into(), value: value.clone(), place, noted: true }
    };
    strays.extend(std::mem::take(&mut options.set).iter().map(stray));
    for Stray { name, value, .. } in strays.extract_if(.., |stray| stray.of == *name) {
        options.set.set(name, value);
    }
}

/// Leaves out without a word what was set for other networks, if these keys are all that a network has: whoever set them
/// says everything of it, as a resolved file does.
pub(super) fn settle<'a>(config: &Config, strays: &mut [Stray], keys: impl Iterator<Item = &'a str> + Clone) {
    let says = |key: &str| keys.clone().any(|said| said == key);
    let own = config.options();
    if [MODEL, LABEL_SMOOTHING].into_iter().all(says) && own.iter().all(|option| says(&option.path)) {
        strays.iter_mut().for_each(|stray| stray.noted = false);
    }
}

/// Notes what was left out and not set again.
pub(super) fn note(config: &mut Config, mut strays: Vec<Stray>) {
    let Model { name, options, .. } = &mut config.model;
    strays.retain(|stray| stray.noted && options.set.get(&stray.name).is_none());
    let Some(Stray { of, .. }) = strays.first() else { return };
    let list = strays.iter().map(|Stray { name, value, place, .. }| {
        let place = place.as_ref().map_or_else(String::new, |place| format!(" ({place})"));
        format!("`{} = {}`{place}", path(name), short(&written(value, true).to_string()))
    });
    let list = list.collect::<Vec<_>>().join(", ");
    options.left_out =
        Some(format!("left out for `{}`, as it was meant for `{}`: {list}", short(name), short(of)));
}

/// Why an option was not set.
pub(super) enum Refusal {
    /// It takes other values; perhaps with a hint.
    Value(String, Option<String>),
    /// The network has no such option.
    Unknown(Error),
}

/// A value for an option: as it stands in its source, read as a string, and as messages show it.
pub(super) struct Given<'a> {
    pub(super) item: &'a Item,
    pub(super) unquoted: Option<&'a Item>,
    pub(super) found: &'a str,
}

/// Sets the option of that name. One that was `printed` whichever the network says nothing to a network without it.
pub(super) fn set(
    config: &mut Config,
    name: &str,
    given: &Given,
    printed: bool,
    models: &Models,
) -> Result<(), Refusal> {
    let value = match config.model.declared() {
        // Whoever knows the network checks it.
        None if says_nothing(given.item) => None,
        None => Some(raw(given.item).ok_or_else(|| {
            Refusal::Value("a number, a word, `true`, `false` or a list of whole numbers".into(), None)
        })?),
        Some(network) => match network.find_option(name) {
            Some(option) => read(option, given).map_err(|hint| Refusal::Value(allowed(option), hint))?,
            None if ONCE_FOR_ALL.contains(&name) && (printed || says_nothing(given.item)) => return Ok(()),
            None => return Err(Refusal::Unknown(no_option(network, name, given.found, models))),
        },
    };
    match value {
        Some(value) => config.model.options.set(name, value),
        None => _ = config.model.options.unset(name),
    }
    Ok(())
}

/// Whether a value leaves an option to the network.
fn says_nothing(item: &Item) -> bool {
    item.as_str() == Some("auto") || item.as_array().is_some_and(Array::is_empty)
}

/// What an option is set to, or a hint; `None` for the network's own value: it is the same whether somebody writes it
/// or nobody does.
fn read(option: &ModelOption, given: &Given) -> Result<Option<OptionValue>, Option<String>> {
    let read = |item: &Item| {
        let own = says_nothing(item) && !has_auto(option);
        if own { Ok(option.default.clone()) } else { checked(option, item) }
    };
    let value =
        read(given.item).or_else(|hint| given.unquoted.and_then(|item| read(item).ok()).ok_or(hint))?;
    Ok(Some(value).filter(|value| *value != option.default))
}

/// The value of an option, or a hint what to write instead.
fn checked(option: &ModelOption, item: &Item) -> Result<OptionValue, Option<String>> {
    match option.range {
        OptionRange::Whole { .. } | OptionRange::OneOf(_) => typed::<usize>(option, item),
        OptionRange::Number(..) => typed::<f64>(option, item),
        OptionRange::Sizes => typed::<Vec<usize>>(option, item),
        OptionRange::Word(_) => typed::<String>(option, item),
        OptionRange::Flag => typed::<bool>(option, item),
    }
}

fn typed<T: Setting + Into<OptionValue>>(
    option: &ModelOption,
    item: &Item,
) -> Result<OptionValue, Option<String>> {
    let found = T::read(item).map(Into::into);
    let tried = found.as_ref().map(|value| option.check(value));
    if let Some(Ok(value)) = tried {
        return Ok(value);
    }
    let near = tried.and_then(Result::err).flatten();
    let meant = T::read(item).or_else(|| T::guess(item));
    let better = meant.as_ref().and_then(T::instead);
    let others = meant.into_iter().chain(better).map(Into::into);
    let hint = near.into_iter().chain(others).find_map(|value| option.check(&value).ok());
    Err(hint.map(|value| written(&value, true).to_string()))
}

/// A value of an option that nobody has declared.
fn raw(item: &Item) -> Option<OptionValue> {
    let number = || f64::read(item).map(OptionValue::from);
    let whole = usize::read(item).map(OptionValue::from).or_else(number);
    let flag = whole.or_else(|| bool::read(item).map(OptionValue::from));
    let word = flag.or_else(|| String::read(item).map(OptionValue::from));
    word.or_else(|| Vec::<usize>::read(item).map(OptionValue::from))
}

/// As TOML. A number that was declared as such is written without a needless fraction.
fn written(value: &OptionValue, declared: bool) -> Value {
    match value {
        OptionValue::Whole(n) => n.write(),
        OptionValue::Number(x) if declared => x.write(),
        OptionValue::Number(x) => (*x).into(),
        OptionValue::Sizes(sizes) => sizes.write(),
        OptionValue::Word(word) => word.write(),
        OptionValue::Flag(flag) => flag.write(),
    }
}

/// Which values an option takes in a configuration.
fn allowed(option: &ModelOption) -> String {
    if has_auto(option) { option.allowed() } else { format!("`auto` or {}", option.allowed()) }
}

/// Whether `auto` is a word of its own.
fn has_auto(option: &ModelOption) -> bool {
    matches!(&option.range, OptionRange::Word(words) if words.contains(&"auto"))
}

/// Whether a network that comes with the program has such an option.
pub(super) fn is_option(name: &str) -> bool {
    Models::default().iter().any(|model| model.find_option(name).is_some())
}

/// Whether every configuration had this option as a key.
pub(super) fn is_once_for_all(path: &str) -> bool {
    path.strip_prefix(TABLE).is_some_and(|name| ONCE_FOR_ALL.contains(&name))
}

fn path(name: &str) -> String {
    format!("{TABLE}{name}")
}

/// The error for an option that a network does not have.
fn no_option(network: &Network, name: &str, found: &str, models: &Models) -> Error {
    let own: Vec<String> = network.options.iter().map(|option| format!("`{}`", path(&option.name))).collect();
    let allowed =
        if own.is_empty() { "it has none".into() } else { format!("allowed are {}", own.join(", ")) };
    let (key, model) = (short(&path(name)), &network.name);
    let error = Error::usage(format!("`{key}` is {found}, but `{model}` has no such option, {allowed}"));
    let fixed = keys().iter().map(Key::parts).filter(|(table, _)| *table == Model::DOC.name);
    let names = network.options.iter().map(|option| &*option.name).chain(fixed.map(|(_, name)| name));
    if let Some(near) = nearest(name, names) {
        return error.hint(path(near));
    }
    let others: Vec<&str> =
        models.iter().filter(|model| model.find_option(name).is_some()).map(|model| &*model.name).collect();
    match others[..] {
        [] => error,
        [only] => error.hint(format!("{MODEL} = \"{only}\"")),
        _ => error.hint(format!("`{}` have it", others.join("`, `"))),
    }
}

#[cfg(test)]
mod tests;
