//! The data of a run: where they are looked for, what is noted of them, and whether they are those that it began with.

use std::path::{Path, PathBuf};

use rigl_base::error::short;
use rigl_base::{Error, Kind, Result, shown};
use rigl_data::{Identity, Sets};
use rigl_metrics::DataRecord;

use crate::config::Config;
use crate::machine::MachineOptions;
use crate::registry::Registry;

/// What is noted of the samples of a configuration.
pub fn record(config: &Config, sets: &Sets) -> DataRecord {
    let Identity { folder, published, train, test, fingerprint, .. } = &sets.identity;
    DataRecord {
        name: config.data.name.clone(),
        folder: folder.as_ref().map(|folder| folder.to_string_lossy().into_owned()),
        train_samples: *train as u64,
        test_samples: *test as u64,
        fingerprint: fingerprint.to_string(),
        published: *published,
    }
}

/// What a checkpoint tells of the data it was trained on; `None` if it tells nothing.
///
/// # Errors
/// [`Kind::Data`] if it tells something else.
pub fn recorded(data: Option<&str>) -> Result<Option<DataRecord>> {
    let read = |text: &str| serde_json::from_str(text);
    let record = data.map(read).transpose();
    record.map_err(|e| Error::data("what it says of its data cannot be read").caused_by(e))
}

/// A word on samples that were found elsewhere than in the folder that the configuration names.
pub fn moved(config: &Config, sets: &Sets) -> Option<String> {
    let dir = &config.data.dir;
    let found = sets.identity.folder.as_deref().filter(|_| !dir.is_empty())?;
    let name = short(&config.data.name);
    (found != absolute(Path::new(dir)))
        .then(|| format!("`{name}` is not in `{}`, and is read from `{}`", short(dir), shown::path(found)))
}

/// The samples of a configuration: of the folders in which they are looked for, the first that holds those that are
/// recorded, or else the first that holds any.
pub(crate) fn load(
    registry: &Registry,
    config: &Config,
    folder: Option<&Path>,
    threads: usize,
    recorded: Option<&DataRecord>,
) -> Result<Sets> {
    registry.check_dataset(config)?;
    let mut others = None;
    let found = first(config, folder, |folder| {
        let sets = registry.sets_in(config, folder, threads)?;
        if recorded.is_none_or(|recorded| recorded.same_samples(&record(config, &sets))) {
            return Ok(sets);
        }
        others.get_or_insert(sets);
        Err(Error::environment("other data"))
    });
    match (found, others) {
        // Which data these are is told then; what is damaged elsewhere has nothing to do with the run.
        (Err(_), Some(others)) => Ok(others),
        (found, _) => found,
    }
}

/// What `look` finds in the first folder that lacks nothing: that of `data.dir`, or the machine's.
///
/// # Errors
/// That of the machine's folder if something is missing in both. Any but [`Kind::Environment`] at once.
pub(crate) fn first<T>(
    config: &Config,
    folder: Option<&Path>,
    mut look: impl FnMut(Option<&Path>) -> Result<T>,
) -> Result<T> {
    let dir = &config.data.dir;
    if dir.is_empty() {
        return look(folder);
    }
    let folder = folder.filter(|folder| absolute(folder) != absolute(Path::new(dir)));
    match (look(Some(Path::new(dir))), folder) {
        (Err(error), Some(folder)) if error.kind() == Kind::Environment => {
            look(Some(folder)).map_err(|error| match error.kind() {
                Kind::Environment => error.context(format!("not in `data.dir` = `{}`", short(dir))),
                _ => error,
            })
        }
        (found, _) => found,
    }
}

/// Refuses to go on with other data than the recorded ones, or says that they are accepted.
///
/// # Errors
/// [`Kind::Usage`], naming both.
pub(crate) fn compare(recorded: &DataRecord, found: &DataRecord, accepted: bool) -> Result<Option<String>> {
    if recorded.same_samples(found) {
        return Ok(None);
    }
    let place = |record: &DataRecord| {
        record.folder.as_deref().map_or_else(String::new, |folder| format!(" in `{}`", short(folder)))
    };
    let message = format!(
        "the run was trained on `{}` of {}{}, and there are {}{}",
        short(&recorded.name),
        recorded.samples_text(),
        place(recorded),
        found.samples_text(),
        place(found),
    );
    match accepted {
        true => Ok(Some(format!("other data were accepted: {message}"))),
        false => Err(Error::usage(format!("other data: {message}"))
            .hint("`--data-dir DIR`, the folder with those it was trained on, or `--accept-data`")),
    }
}

/// Has the data of a configuration looked for in the given folder alone, if one is given; gives what is then used of the
/// machine.
///
/// # Errors
/// [`Kind::Usage`] if the path is no text.
pub fn given(config: &mut Config, folder: Option<&Path>, machine: &MachineOptions) -> Result<MachineOptions> {
    let Some(folder) = folder else { return Ok(machine.clone()) };
    let text = folder.to_str();
    config.data.dir = text
        .ok_or_else(|| Error::usage(format!("the data folder `{}` is not UTF-8 text", folder.display())))?
        .into();
    Ok(MachineOptions { data_folder: None, ..machine.clone() })
}

/// Notes in a configuration where the data were found, so that they are found from any folder.
pub(crate) fn note_folder(config: &mut Config, sets: &Sets) {
    let named = Some(&config.data.dir).filter(|dir| !dir.is_empty()).map(|dir| absolute(Path::new(dir)));
    // A path that is no text cannot be noted.
    if let Some(folder) = sets.identity.folder.clone().or(named).as_deref().and_then(Path::to_str) {
        config.data.dir = folder.into();
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> DataRecord {
        DataRecord {
            name: "mnist".into(),
            folder: Some("/data".into()),
            train_samples: 600,
            test_samples: 100,
            fingerprint: "00000001-00000002".into(),
            published: Some(false),
        }
    }

    #[test]
    fn the_same_samples_are_accepted_wherever_they_lie_and_others_on_demand() {
        let moved = DataRecord { folder: None, published: None, ..sample() };
        assert_eq!(compare(&sample(), &moved, false).unwrap(), None);
        let other = DataRecord {
            train_samples: 60,
            fingerprint: "3-4".into(),
            folder: Some("/b".into()),
            ..sample()
        };
        let error = compare(&sample(), &other, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "other data: the run was trained on `mnist` of 600 + 100 samples, fingerprint 00000001-00000002 in `/data`, \
             and there are 60 + 100 samples, fingerprint 3-4 in `/b`"
        );
        let word = compare(&sample(), &other, true).unwrap().unwrap();
        assert!(word.starts_with("other data were accepted: the run was"), "{word}");
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_nothing_else_is_one() {
        let text = serde_json::to_string(&sample()).unwrap();
        assert_eq!(recorded(Some(&text)).unwrap(), Some(sample()));
        assert_eq!(recorded(None).unwrap(), None);
        assert_eq!(recorded(Some("{}")).unwrap_err().kind(), Kind::Data);
    }

    #[test]
    fn the_machines_folder_is_looked_at_where_something_is_missing_and_for_no_other_reason() {
        let look = |dir: &str, folder: Option<&str>, kind: Kind| {
            let mut config = Config::default();
            config.data.dir = dir.into();
            let mut looked = Vec::new();
            let found = first(&config, folder.map(Path::new), |folder| {
                looked.push(folder.map(|folder| folder.display().to_string()).unwrap_or_default());
                if looked.len() == 1 { Err(Error::new(kind, "no")) } else { Ok(()) }
            });
            (looked.join(" "), found.map_err(|e| e.to_string()))
        };
        assert_eq!(look("", Some("m"), Kind::Environment), ("m".into(), Err("no".into())));
        assert_eq!(look("d", Some("m"), Kind::Environment), ("d m".into(), Ok(())));
        assert_eq!(look("d", None, Kind::Environment), ("d".into(), Err("no".into())));
        assert_eq!(look("d", Some("m"), Kind::Data), ("d".into(), Err("no".into())));
    }
}
