//! What keys were called before, and what their values were. Files, presets, settings and sweeps with older names read as
//! they did; nothing is printed by them.

use super::model::is_once_for_all;
use super::table::KIND;
use super::{Key, key};

/// A key that was renamed.
#[derive(Debug)]
pub(super) struct Renamed {
    /// What it was called, in full.
    pub(super) old: &'static str,
    /// What it is called.
    pub(super) new: &'static str,
    /// How its values read.
    pub(super) read: Reads,
}

impl Renamed {
    /// What a word of it says.
    pub(super) fn word(&self, word: &str) -> Option<Word> {
        let Reads::Words(words) = self.read else { return None };
        words.iter().find(|(of, _)| *of == word).map(|(_, says)| *says)
    }
}

/// How the values of a key read that was renamed.
#[derive(Debug)]
pub(super) enum Reads {
    /// As those of the key it has become.
    Same,
    /// The same, and it went before the key that is now the kind of its table.
    First,
    /// By words of its own.
    Words(&'static [(&'static str, Word)]),
}

/// What a word says of the key that its own has become.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    /// This value, as TOML.
    Is(&'static str),
    /// Its table is not of the first kind: if it is, it becomes of the second.
    Not(&'static str, &'static str),
    /// It has that value, or has it not: to be found so, not set.
    Agrees(&'static str, bool),
}

const fn same(old: &'static str, new: &'static str) -> Renamed {
    Renamed { old, new, read: Reads::Same }
}

const fn words(old: &'static str, new: &'static str, words: &'static [(&'static str, Word)]) -> Renamed {
    Renamed { old, new, read: Reads::Words(words) }
}

/// Every key that was renamed.
pub(super) const RENAMED: &[Renamed] = &[
    words(
        "method.initial",
        "method.start.kind",
        &[
            ("dense", Word::Is("'full'")),
            ("full", Word::Is("'full'")),
            ("narrow", Word::Is("'narrow'")),
            ("random", Word::Is("'random'")),
            ("saliency", Word::Is("'saliency'")),
            ("magnitude", Word::Is("'magnitude'")),
        ],
    ),
    Renamed { old: "method.start-from", new: "method.start.run", read: Reads::First },
    same("method.start-values", "method.start.values"),
    same("method.narrow-to", "method.start.narrow-to"),
    same("method.threshold", "method.drop.threshold"),
    words(
        "method.after-step",
        "method.drop.noise",
        &[("none", Word::Is("false")), ("noise", Word::Is("true"))],
    ),
    same("method.noise-pull", "method.drop.pull"),
    same("method.noise-temperature", "method.drop.temperature"),
    same("method.gradient-average", "method.grow.average"),
    same("method.grown-init", "method.grow.init"),
    words(
        "method.state",
        "method.grow.kind",
        &[("reset", Word::Agrees("magnitude", false)), ("kept", Word::Agrees("magnitude", true))],
    ),
    words(
        "method.density-decay",
        "method.count.kind",
        &[("none", Word::Not("cubic", "constant")), ("cubic", Word::Is("'cubic'"))],
    ),
    words(
        "method.redistribution",
        "method.count.by",
        &[
            ("none", Word::Not("redistributed", "constant")),
            ("momentum", Word::Is("'momentum'")),
            ("survivors", Word::Is("'survivors'")),
        ],
    ),
    same("method.update-interval", "method.updates.interval"),
    same("method.update-begin", "method.updates.begin"),
    same("method.update-end", "method.updates.end"),
    same("method.drop-fraction", "method.updates.drop-fraction"),
    same("method.decay", "method.updates.decay"),
    same("method.step-policy", "method.updates.step-policy"),
    words(
        "method.update-timing",
        "method.updates.every-step",
        &[("scheduled", Word::Is("false")), ("every-step", Word::Is("true"))],
    ),
];

/// Keys that have kept their names, and were taken once whether something read them or not.
const TAKEN_UNREAD: [&str; 3] = ["data.mean", "data.std", DIVIDE_BY];

/// Keys that every configuration had once, dense ones too.
const OF_PATTERNS: [&str; 6] = [
    "method.sparsity",
    "method.distribution",
    "method.filter",
    "method.layers",
    "seeds.topology",
    "log.patterns",
];

/// Whether every configuration had a key of this name once, dense ones too: a grid may vary it beside methods of which one
/// is dense.
pub fn once_of_all(name: &str) -> bool {
    OF_PATTERNS.contains(&name)
}

const DIVIDE_BY: &str = "schedule.divide-by";

/// Whether earlier versions took a key by this name whether something read it or not.
pub fn taken_unread(name: &str) -> bool {
    renamed(name, RENAMED).is_some() || TAKEN_UNREAD.contains(&name)
}

/// A resolved file of an earlier version.
pub(super) struct Printed {
    /// The keys by which it is known: it had all of them, read or not.
    pub(super) by: &'static [&'static str],
    /// Whether it then has this key, read or not.
    pub(super) unread: fn(&str) -> bool,
}

/// Files from before `[method]` had tables (`drop` and `grow` are read as the kinds of these), and from before a divisor
/// needed a milestone.
pub(super) const PRINTED: &[Printed] = &[
    Printed {
        by: &[
            "method.drop-fraction",
            "method.update-interval",
            "method.update-begin",
            "method.update-end",
            "method.decay",
            "method.drop",
            "method.grow",
            "method.grown-init",
            "method.step-policy",
        ],
        unread: |name| taken_unread(name) || is_once_for_all(name),
    },
    Printed {
        by: &[
            "schedule.unit",
            "schedule.length",
            "schedule.learning-rate",
            "schedule.warmup",
            "schedule.milestones",
            DIVIDE_BY,
        ],
        unread: |name| name == DIVIDE_BY,
    },
    // From before a dense run had no sparsity, and no seed of what is not drawn.
    Printed {
        by: &[
            "method.name",
            "method.sparsity",
            "method.distribution",
            "method.filter",
            "seeds.init",
            "seeds.topology",
            "seeds.data",
            "log.every-steps",
            "log.patterns",
        ],
        unread: once_of_all,
    },
];

/// How people wrote a setting, and write it now: the present name and the oldest one of a key, each with its value in
/// words as it is read there. Names of files hold them. A table's name alone stands for its kind, as it does in files.
pub fn spellings(name: &str, value: &str) -> Vec<(String, String)> {
    let kind = |name: &str| Some(format!("{name}.{KIND}")).filter(|path| key(path).is_some());
    let plain = |text: &str| text.trim_matches('\'').to_string();
    let (mut now, mut word) = (kind(name).unwrap_or_else(|| name.into()), value.to_string());
    if let Some(renamed) = renamed(name, RENAMED) {
        now = renamed.new.into();
        if let Some(Word::Is(value)) = renamed.word(value) {
            word = plain(value);
        }
    }
    let mut spellings = vec![(now.clone(), word.clone())];
    let older = RENAMED.iter().find(|renamed| renamed.new == now).filter(|renamed| match renamed.read {
        Reads::Words(words) => {
            words.iter().any(|(_, is)| matches!(is, Word::Is(value) if plain(value) == word))
        }
        Reads::Same | Reads::First => true,
    });
    match (older, now.strip_suffix(KIND).and_then(|table| table.strip_suffix('.'))) {
        (Some(Renamed { old, read, .. }), _) => {
            let words = if let Reads::Words(words) = read { words } else { &[][..] };
            let says = |(_, is): &&(&str, Word)| matches!(is, Word::Is(value) if plain(value) == word);
            let old_word = words.iter().find(says).map_or(word, |(word, _)| (*word).to_string());
            spellings.push(((*old).into(), old_word));
        }
        (None, Some(table)) => spellings.push((table.into(), word)),
        (None, None) => {}
    }
    spellings
}

/// The key that is called so, or was.
pub fn named(name: &str) -> Option<&'static Key> {
    let now = renamed(name, RENAMED).map_or(name, |renamed| renamed.new);
    key(now).or_else(|| key(&format!("{now}.{KIND}")))
}

/// What was renamed from `path`.
pub(super) fn renamed<'a>(path: &str, table: &'a [Renamed]) -> Option<&'a Renamed> {
    table.iter().find(|renamed| renamed.old == path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_setting_is_spelled_as_it_is_now_and_as_it_was() {
        let both = |name: &str, value: &str| {
            spellings(name, value)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
        };
        for (now, before) in [
            ("method.updates.interval=50", "method.update-interval=50"),
            ("method.grow.init=zeros", "method.grown-init=zeros"),
            ("method.drop.kind=none", "method.drop=none"),
            ("method.start.kind=saliency", "method.initial=saliency"),
            ("method.updates.every-step=true", "method.update-timing=every-step"),
            ("method.count.by=momentum", "method.redistribution=momentum"),
            ("method.start.run=x", "method.start-from=x"),
        ] {
            for spelled in [now, before] {
                let (name, value) = spelled.split_once('=').unwrap();
                assert_eq!(both(name, value), [now, before], "{spelled}");
            }
        }
        assert_eq!(both("method.initial", "dense"), ["method.start.kind=full", "method.initial=dense"]);
        assert_eq!(both("method.name", "dsr"), ["method.name=dsr"]);
        assert_eq!(both("no.key", "x"), ["no.key=x"]);
    }

    #[test]
    fn every_old_name_leads_to_a_key_and_hides_none() {
        for (i, Renamed { old, new, read }) in RENAMED.iter().enumerate() {
            let key = key(new).unwrap_or_else(|| panic!("{new}"));
            assert!(super::super::key(old).is_none() && renamed(old, &RENAMED[..i]).is_none(), "{old}");
            let Reads::Words(words) = read else { continue };
            for (word, meaning) in *words {
                let value = match meaning {
                    Word::Is(value) => (*value).to_string(),
                    Word::Not(kind, other) => {
                        let of = super::super::key(&key.kind()).unwrap();
                        assert!(of.words.iter().any(|(word, _)| word == kind), "{old} = {word}");
                        let item = toml_edit::Item::Value((*other).into());
                        assert!((of.set)(&mut Config::default(), &item).is_ok(), "{old} = {word}");
                        continue;
                    }
                    Word::Agrees(value, _) => format!("'{value}'"),
                };
                let item = toml_edit::Item::Value(value.parse().unwrap());
                assert!((key.set)(&mut Config::default(), &item).is_ok(), "{old} = {word}");
            }
        }
    }
}
