//! The macro behind the list of keys: one line per key makes the struct's field, its default, its check, its
//! place in the resolved file, its entry in the documentation, and when it may be set.

use toml_edit::{Item, Value};

use super::{Config, key};

/// A key of the configuration, as documentation and messages show it.
#[derive(Debug)]
pub struct Key {
    /// Its full name: `method.updates.drop-fraction`.
    pub path: String,
    /// What it means, one or more sentences.
    pub doc: String,
    /// What values it takes: "a number with 0 ≤ sparsity < 1".
    pub allowed: String,
    /// The words among these values, each with what it means.
    pub words: Vec<(&'static str, &'static str)>,
    /// Its default as TOML; `None` for a key that stands for others (`seed`).
    pub default: Option<String>,
    /// When it is read.
    pub applies: Applies,
    /// Kinds of its table that setting it turns into one that reads it.
    pub(super) turns: Option<(&'static [&'static str], &'static str)>,
    /// Sets it; on refusal, perhaps a hint.
    pub(super) set: fn(&mut Config, &Item) -> Result<(), Option<String>>,
    /// Its value, as it stands in the resolved file.
    pub(super) get: fn(&Config) -> Option<Value>,
}

/// When a key is read. Set where it is not, it would do nothing: that is refused.
#[derive(Clone, Copy, Debug)]
pub enum Applies {
    /// Always.
    Always,
    /// Where its table's `kind` is one of these.
    To(&'static [&'static str]),
    /// Where the configuration is such.
    Where(Condition),
}

/// Something that may hold of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// What it is, to stand after "where": "updates fall on a schedule".
    pub is: &'static str,
    pub(super) holds: fn(&Config) -> bool,
}

impl Key {
    /// The table it stands in (empty for the top level) and its name there.
    pub fn parts(&self) -> (&str, &str) {
        self.path.rsplit_once('.').unwrap_or(("", &self.path))
    }

    /// The key of its table's `kind`.
    pub(super) fn kind(&self) -> String {
        format!("{}.{KIND}", self.parts().0)
    }

    /// Its value in `config`, if that reads it.
    pub fn value(&self, config: &Config) -> Option<Value> {
        (self.get)(config).filter(|_| self.applies_to(config))
    }

    /// The kinds of its table that read it, if that is what it depends on.
    pub fn kinds(&self) -> &'static [&'static str] {
        match self.applies {
            Applies::To(kinds) => kinds,
            Applies::Always | Applies::Where(_) => &[],
        }
    }

    /// Whether it chooses between kinds, which have keys of their own.
    pub(super) fn is_kind(&self) -> bool {
        self.parts().1 == KIND
    }

    /// When it is read, as a sentence; `None` for always.
    pub fn read_when(&self) -> Option<String> {
        match self.applies {
            Applies::Always => None,
            Applies::Where(condition) => Some(format!("Read where {}.", condition.is)),
            Applies::To(kinds) => {
                let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
                Some(format!("Read where `{KIND}` is {}.", kinds.join(" or ")))
            }
        }
    }

    /// Whether `config` reads it.
    pub fn applies_to(&self, config: &Config) -> bool {
        match self.applies {
            Applies::Always => true,
            Applies::Where(condition) => (condition.holds)(config),
            Applies::To(kinds) => {
                let kind = key(&self.kind()).and_then(|kind| (kind.get)(config));
                kind.is_some_and(|kind| kind.as_str().is_some_and(|kind| kinds.contains(&kind)))
            }
        }
    }
}

/// What the key of a table is called by which it says what it holds.
pub(super) const KIND: &str = "kind";

/// A table of the configuration.
#[derive(Debug)]
pub struct TableDoc {
    /// Its name: `method.drop`; empty for the top level.
    pub name: &'static str,
    /// What its keys are about.
    pub doc: &'static str,
}

/// `drop_fraction` is the key `drop-fraction`.
pub(super) fn key_name(table: &str, field: &str) -> String {
    let name = field.replace('_', "-");
    if table.is_empty() { name } else { format!("{table}.{name}") }
}

/// The text of a doc comment.
pub(super) fn doc_text(lines: &str) -> String {
    lines.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_string()
}

/// Declares a table of the configuration, which lies in a field of [`Config`]:
///
/// ```text
/// /// Doc of the table.
/// Type in [field.of.config] {
///     /// Doc of a key.
///     key: Type = default, "what is allowed" if |value| check, for [kinds];
/// }
/// ```
///
/// `Type as f32` is of numbers that are computed with in 32 bits. The check may be left out, and so may be when the key applies: `for` kinds of the table, or `where` a [`Condition`]
/// holds, and what setting it makes of other kinds, `turning [these] into that`. `with { field: Type, … }` behind it are fields that are tables themselves.
/// What lies in `[]` is the configuration itself.
macro_rules! table {
    (
        $(#[doc = $table_doc:literal])+
        $Table:ident in $place:tt {
            $( $(#[doc = $doc:literal])+ $key:ident: $Type:ty $(as $single:ident)? = $default:expr
               $(, $allowed:literal if $check:expr)? $(, turning [$($turned:expr),+] into $makes:expr)? $(, for [$($for:expr),+])?
               $(, where $where:expr)?; )*
        }
        $(with { $( $(#[doc = $field_doc:literal])+ $field:ident: $Field:ty, )* })?
    ) => {
        $(#[doc = $table_doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Table {
            $( $(#[doc = $doc])+ pub $key: $Type, )*
            $( $( $(#[doc = $field_doc])+ pub $field: $Field, )* )?
        }

        impl Default for $Table {
            fn default() -> $Table {
                $Table { $( $key: $default, )* $( $( $field: Default::default(), )* )? }
            }
        }

        impl $Table {
            /// Where it lies, and what it is about.
            pub(super) const DOC: TableDoc = TableDoc {
                name: place!(name of $place),
                doc: concat!($($table_doc, "\n"),+),
            };

            /// Its keys.
            pub(super) fn keys() -> Vec<Key> {
                let default = $Table::default();
                vec![$( Key {
                    path: key_name($Table::DOC.name, stringify!($key)),
                    doc: doc_text(concat!($($doc, "\n"),+)),
                    allowed: Rule::<$Type>::any()$(.only($allowed, $check))?$(.$single())?.allowed(),
                    words: <$Type as Setting>::words(),
                    default: Some(text(&default.$key)),
                    applies: [
                        $(Applies::To(const { &[$($for.name()),+] }),)?
                        $(Applies::Where($where),)?
                        Applies::Always
                    ][0],
                    turns: [$(Some((const { &[$($turned.name()),+] as &'static [&'static str] }, $makes.name())),)? None][0],
                    set: |config, item| {
                        place!(config $place).$key =
                            Rule::<$Type>::any()$(.only($allowed, $check))?$(.$single())?.read(item)?;
                        Ok(())
                    },
                    get: |config| Some(place!(config $place).$key.write()),
                }, )*]
            }
        }
    };
}
pub(super) use table;

/// Where a table lies in the configuration, and its name.
macro_rules! place {
    (name of []) => { "" };
    (name of [$($field:tt)+]) => { stringify!($($field)+) };
    ($config:ident []) => { $config };
    ($config:ident [$($field:tt)+]) => { $config.$($field)+ };
}
pub(super) use place;
