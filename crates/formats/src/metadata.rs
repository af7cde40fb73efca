//! What a checkpoint says about itself besides tensors: where the run stood, and everything needed to rebuild
//! the network. Kept in the file as text under fixed keys.

use std::collections::BTreeMap;
use std::str::FromStr;

use rigl_base::error::short;
use rigl_base::{Error, Kind, Result};

/// The metadata of a file, as it stands there.
pub(crate) type Map = BTreeMap<String, String>;

/// The version of the file format that this release writes. It reads this and all earlier ones.
pub const FORMAT_VERSION: u32 = 1;

pub(crate) const FORMAT: &str = "format-version";
const DATA: &str = "data";
const EXTRA: &str = "extra:";

/// Where a run stood, and what its network is.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// Version of the file format; only [`FORMAT_VERSION`] is ever written.
    pub format_version: u32,
    /// Version of the arithmetic: runs of different versions give different bits.
    pub arithmetic_version: u32,
    /// Optimiser steps taken.
    pub step: u64,
    /// Batches consumed.
    pub draw: u64,
    /// Whether the topology update due at `step` has been done.
    pub updated: bool,
    /// Training time so far, in seconds, added up over resumes. From 0 to 10¹⁰.
    pub elapsed_s: f64,
    /// Bytes of the event log that belong to this state.
    pub log_length: u64,
    /// The resolved configuration (TOML).
    pub configuration: String,
    /// The network's graph, printed.
    pub graph: String,
    /// Names of the classes, in order.
    pub classes: Vec<String>,
    /// How an input is prepared before it enters the network.
    pub preprocessing: String,
    /// The data that it was trained on, as JSON; `None` in files of releases that did not tell, and where there are none.
    pub data: Option<String>,
    /// Anything else a run keeps, by name.
    pub extra: BTreeMap<String, String>,
}

impl Default for Metadata {
    fn default() -> Metadata {
        Metadata {
            format_version: FORMAT_VERSION,
            arithmetic_version: 0,
            step: 0,
            draw: 0,
            updated: false,
            elapsed_s: 0.0,
            log_length: 0,
            configuration: String::new(),
            graph: String::new(),
            classes: Vec::new(),
            preprocessing: String::new(),
            data: None,
            extra: BTreeMap::new(),
        }
    }
}

impl Metadata {
    /// As text, sorted by key.
    pub(crate) fn to_map(&self) -> Result<Map> {
        if self.format_version != FORMAT_VERSION {
            return Err(Error::internal(format!(
                "format version {} cannot be written, only {FORMAT_VERSION}",
                self.format_version
            )));
        }
        check_elapsed(self.elapsed_s).map_err(|text| Error::new(Kind::Internal, text))?;
        let classes = serde_json::to_string(&self.classes)
            .map_err(|e| Error::internal("class names cannot be written").caused_by(e))?;
        let fixed = [
            (FORMAT, self.format_version.to_string()),
            ("arithmetic-version", self.arithmetic_version.to_string()),
            ("step", self.step.to_string()),
            ("draw", self.draw.to_string()),
            ("updated", self.updated.to_string()),
            ("elapsed-seconds", self.elapsed_s.to_string()),
            ("log-length", self.log_length.to_string()),
            ("configuration", self.configuration.clone()),
            ("graph", self.graph.clone()),
            ("class-names", classes),
            ("input-preprocessing", self.preprocessing.clone()),
        ];
        let data = self.data.iter().map(|data| (DATA.to_owned(), data.clone()));
        let extra = self.extra.iter().map(|(key, value)| (format!("{EXTRA}{key}"), value.clone()));
        Ok(fixed.map(|(key, value)| (key.to_owned(), value)).into_iter().chain(data).chain(extra).collect())
    }

    /// From text. Keys that this release does not know are ignored.
    pub(crate) fn from_map(map: &Map) -> Result<Metadata> {
        let metadata = Metadata {
            format_version: check_version(map)?,
            arithmetic_version: value(map, "arithmetic-version")?,
            step: value(map, "step")?,
            draw: value(map, "draw")?,
            updated: value(map, "updated")?,
            elapsed_s: value(map, "elapsed-seconds")?,
            log_length: value(map, "log-length")?,
            configuration: text(map, "configuration")?.to_owned(),
            graph: text(map, "graph")?.to_owned(),
            classes: serde_json::from_str(text(map, "class-names")?)
                .map_err(|e| Error::data("metadata `class-names` is not a list of names").caused_by(e))?,
            preprocessing: text(map, "input-preprocessing")?.to_owned(),
            data: map.get(DATA).cloned(),
            extra: map
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(EXTRA)?.to_owned(), value.clone())))
                .collect(),
        };
        check_elapsed(metadata.elapsed_s).map_err(Error::data)?;
        Ok(metadata)
    }
}

/// The version of the format, if this release can read it.
pub(crate) fn check_version(map: &Map) -> Result<u32> {
    if !map.contains_key(FORMAT) {
        return Err(Error::data(format!("not a checkpoint: no `{FORMAT}` in its metadata")));
    }
    match value(map, FORMAT)? {
        version @ 1..=FORMAT_VERSION => Ok(version),
        version => Err(Error::data(format!(
            "written in format version {version}, this release reads versions 1 to {FORMAT_VERSION}"
        ))
        .hint("read it with the release that wrote it, or a later one")),
    }
}

/// More seconds than any run takes: three centuries.
const LONGEST_TIME: f64 = 1e10;

fn check_elapsed(seconds: f64) -> Result<(), String> {
    if (0.0..=LONGEST_TIME).contains(&seconds) {
        return Ok(());
    }
    Err(format!("elapsed time of `{seconds:e}` seconds, expected a number from 0 to {LONGEST_TIME:e}"))
}

pub(crate) fn text<'a>(map: &'a Map, key: &str) -> Result<&'a str> {
    map.get(key)
        .map(String::as_str)
        .ok_or_else(|| Error::data(format!("no `{}` in its metadata", short(key))))
}

fn value<T: FromStr>(map: &Map, key: &str) -> Result<T> {
    let text = text(map, key)?;
    text.parse().map_err(|_| Error::data(format!("metadata `{key}` is `{}`, not a valid value", short(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Metadata {
        Metadata {
            arithmetic_version: 3,
            step: 300,
            draw: u64::MAX,
            updated: true,
            elapsed_s: 0.1 + 0.2,
            log_length: 12_345,
            configuration: "[model]\nname = \"lenet\"\n".into(),
            graph: "input\u{1F600} \"quoted\"".into(),
            classes: vec!["0".into(), "a, b".into(), "\"".into()],
            preprocessing: "scale".into(),
            data: Some("{}".into()),
            extra: [("best".to_owned(), "0.9".to_owned())].into(),
            ..Metadata::default()
        }
    }

    #[test]
    fn metadata_survives_being_text() {
        assert_eq!(Metadata::from_map(&full().to_map().unwrap()).unwrap(), full());
        assert_eq!(Metadata::from_map(&Metadata::default().to_map().unwrap()).unwrap(), Metadata::default());
    }

    #[test]
    fn a_missing_or_wrong_value_is_named() {
        for key in full().to_map().unwrap().keys().filter(|k| !k.starts_with(EXTRA) && *k != DATA) {
            let mut map = full().to_map().unwrap();
            map.remove(key);
            let error = Metadata::from_map(&map).unwrap_err();
            assert!(error.to_string().contains(key.as_str()), "{error}");
        }
        for (key, wrong) in [
            ("step", "-1"),
            ("updated", "1"),
            ("elapsed-seconds", "NaN"),
            ("elapsed-seconds", "1e300"),
            ("draw", ""),
        ] {
            let mut map = full().to_map().unwrap();
            map.insert(key.into(), wrong.into());
            assert_eq!(Metadata::from_map(&map).unwrap_err().kind(), Kind::Data, "{key}");
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_number() {
        for version in ["0", "2", "4000000000"] {
            let map = Map::from([(FORMAT.into(), version.into())]);
            let error = check_version(&map).unwrap_err();
            assert!(error.to_string().contains(&format!("format version {version}")), "{error}");
        }
        let other = Metadata { format_version: 2, ..Metadata::default() };
        assert_eq!(other.to_map().unwrap_err().kind(), Kind::Internal);
    }

    #[test]
    fn unknown_keys_are_ignored() {
        let mut map = full().to_map().unwrap();
        map.insert("colour".into(), "blue".into());
        assert_eq!(Metadata::from_map(&map).unwrap(), full());
    }
}
