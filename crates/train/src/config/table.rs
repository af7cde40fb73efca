//! The macro behind the list of keys: one line per key makes the struct's field, its default, its check, its
//! place in the resolved file, its entry in the documentation.

use toml_edit::{Item, Value};

use super::Config;

/// A key of the configuration, as documentation and messages show it.
#[derive(Debug)]
pub struct Key {
    /// Its full name: `method.drop-fraction`.
    pub path: String,
    /// What it means, one or more sentences.
    pub doc: String,
    /// What values it takes: "a number with 0 ≤ sparsity < 1".
    pub allowed: String,
    /// Its default as TOML; `None` for a key that stands for others (`seed`).
    pub default: Option<String>,
    /// Sets it; on refusal, perhaps a hint.
    pub(super) set: fn(&mut Config, &Item) -> Result<(), Option<String>>,
    /// Its value, as it stands in the resolved file.
    pub(super) get: fn(&Config) -> Option<Value>,
}

impl Key {
    /// The table it stands in (empty for the top level) and its name there.
    pub fn parts(&self) -> (&str, &str) {
        self.path.split_once('.').unwrap_or(("", &self.path))
    }
}

/// A table of the configuration.
#[derive(Debug)]
pub struct TableDoc {
    /// Its name: `method`.
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

/// Declares the configuration:
///
/// ```text
/// Config {
///     /// Doc of a key.
///     key: Type = default, "what is allowed" if |value| check;
/// }
/// /// Doc of a table.
/// table: Type { keys as above }
/// ```
macro_rules! configuration {
    (
        $(#[doc = $config_doc:literal])*
        $Config:ident {
            $( $(#[doc = $top_doc:literal])+ $top:ident: $TopType:ty = $top_default:expr
               $(, $top_allowed:literal if $top_check:expr)?; )*
        }
        $(
            $(#[doc = $table_doc:literal])+
            $table:ident: $Table:ident {
                $( $(#[doc = $doc:literal])+ $key:ident: $Type:ty = $default:expr
                   $(, $allowed:literal if $check:expr)?; )*
            }
        )*
    ) => {
        $(#[doc = $config_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Config {
            $( $(#[doc = $top_doc])+ pub $top: $TopType, )*
            $( $(#[doc = $table_doc])+ pub $table: $Table, )*
        }

        impl Default for $Config {
            fn default() -> $Config {
                $Config { $( $top: $top_default, )* $( $table: $Table::default(), )* }
            }
        }

        $(
            $(#[doc = $table_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Table { $( $(#[doc = $doc])+ pub $key: $Type, )* }

            impl Default for $Table {
                fn default() -> $Table {
                    $Table { $( $key: $default, )* }
                }
            }
        )*

        /// The tables, in the order of the resolved file.
        pub const TABLES: &[TableDoc] = &[
            $( TableDoc { name: stringify!($table), doc: concat!($($table_doc, "\n"),+) }, )*
        ];

        fn declared_keys() -> Vec<Key> {
            let default = $Config::default();
            let mut keys = Vec::new();
            $(
                keys.push(Key {
                    path: key_name("", stringify!($top)),
                    doc: doc_text(concat!($($top_doc, "\n"),+)),
                    allowed: Rule::<$TopType>::any()$(.only($top_allowed, $top_check))?.allowed(),
                    default: Some(text(&default.$top)),
                    set: |config, item| {
                        config.$top = Rule::<$TopType>::any()$(.only($top_allowed, $top_check))?.read(item)?;
                        Ok(())
                    },
                    get: |config| Some(config.$top.write()),
                });
            )*
            $( $(
                keys.push(Key {
                    path: key_name(stringify!($table), stringify!($key)),
                    doc: doc_text(concat!($($doc, "\n"),+)),
                    allowed: Rule::<$Type>::any()$(.only($allowed, $check))?.allowed(),
                    default: Some(text(&default.$table.$key)),
                    set: |config, item| {
                        config.$table.$key = Rule::<$Type>::any()$(.only($allowed, $check))?.read(item)?;
                        Ok(())
                    },
                    get: |config| Some(config.$table.$key.write()),
                });
            )* )*
            keys
        }
    };
}
pub(super) use configuration;
