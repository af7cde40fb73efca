//! The data set `array`: files of one's own, either arrays as numpy saves them or tables of text.
//!
//! | files | samples | classes |
//! |---|---|---|
//! | `train-inputs.npy`, `test-inputs.npy` | (samples, features), (samples, rows, columns), (samples, channels, rows, columns); bytes are images' pixels, all else numbers | |
//! | `train-labels.npy`, `test-labels.npy` | | (samples,), whole numbers |
//! | `train.csv`, `test.csv` | a row each, of numbers | one column, whole numbers or words |
//!
//! The classes are the different labels of the training set, in order; one that only the test set has is refused.

pub mod classes;
pub mod npy;
pub mod stored;
pub mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rigl_base::{Error, Result};

use crate::dataset::{Dataset, Sets, Spec};
use crate::memory::InMemory;
use crate::options::DataOptions;
use crate::positioned::open;
use crate::source::is_there;
use classes::{Classes, Label, MOST_CLASSES};
use stored::{Arrays, Inputs};
use table::{Table, TableOptions};

/// What the data set is called.
pub const NAME: &str = "array";

/// Folders in the data folder in which the files may lie, the best one first.
const PLACES: [&str; 2] = [NAME, ""];

const ARRAYS: [&str; 4] = ["train-inputs.npy", "train-labels.npy", "test-inputs.npy", "test-labels.npy"];

const TABLES: [&str; 2] = ["train.csv", "test.csv"];

/// Reads both sets. The files are looked for in `FOLDER/array` and in `FOLDER` itself.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment), naming what is missing and what to do;
/// [`Kind::Data`](rigl_base::Kind::Data) for a file that is no such array or table;
/// [`Kind::Usage`](rigl_base::Kind::Usage) if the options do not fit it.
pub fn sets(options: &DataOptions) -> Result<Sets> {
    let sets = match find(options.folder.as_deref())? {
        Found::Arrays(place, _) if options.table != TableOptions::default() => Err(Error::usage(format!(
            "`data.header` and `data.target` are read of tables, and `{}` holds arrays",
            place.display()
        ))),
        Found::Arrays(_, paths) => arrays(paths, options.in_memory),
        Found::Tables(paths) => tables(paths, &options.table),
    };
    Ok(sets?.from_folder(options.folder.as_deref()))
}

/// The files that there are.
pub(crate) enum Found {
    /// Arrays, in this folder.
    Arrays(PathBuf, [PathBuf; 4]),
    /// Tables.
    Tables([PathBuf; 2]),
}

/// Looks for the files of the data set, all that it needs.
///
/// # Errors
/// As [`sets`], of files that are missing or too many.
pub(crate) fn find(folder: Option<&Path>) -> Result<Found> {
    let Some(folder) = folder else {
        let message = format!("data set `{NAME}` is read from files, and no data folder is given");
        return Err(Error::environment(message).hint("--data-dir DIR, the folder that holds them"));
    };
    let places = PLACES.map(|place| if place.is_empty() { folder.to_path_buf() } else { folder.join(place) });
    let found = |place: &PathBuf| ARRAYS.iter().chain(&TABLES).any(|name| is_there(&place.join(name)));
    let Some(place) = places.iter().find(|place| found(place)) else {
        let [inside, folder] = places.map(|place| place.display().to_string());
        return Err(Error::environment(format!(
            "data set `{NAME}`: no `{}` and no `{}` in `{inside}` and in `{folder}`; docs/data.md says what they hold",
            ARRAYS[0], TABLES[0]
        ))
        .hint("--data-dir DIR, the folder that holds them"));
    };
    // Nobody can tell which files are in a folder that may not be looked into.
    place.read_dir().map_err(|e| Error::io("cannot read folder", place, e))?;
    let any = |names: &[&'static str]| names.iter().copied().find(|name| is_there(&place.join(name)));
    match (any(&ARRAYS), any(&TABLES)) {
        (Some(array), Some(table)) => Err(Error::usage(format!(
            "`{}` holds arrays (`{array}`) and tables (`{table}`): one of them is to be read, and nobody says which",
            place.display()
        ))
        .hint("move one of them into another folder")),
        (Some(_), None) => Ok(Found::Arrays(place.clone(), all_there(place, ARRAYS)?)),
        (None, _) => all_there(place, TABLES).map(Found::Tables),
    }
}

/// The paths of all these files.
fn all_there<const N: usize>(place: &Path, names: [&str; N]) -> Result<[PathBuf; N]> {
    let paths = names.map(|name| place.join(name));
    let missing: Vec<String> = names
        .iter()
        .zip(&paths)
        .filter(|(_, path)| !is_there(path))
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if missing.is_empty() {
        return Ok(paths);
    }
    let error = Error::environment(format!(
        "data set `{NAME}`: {} {} missing in `{}`",
        missing.join(", "),
        if missing.len() == 1 { "is" } else { "are" },
        place.display()
    ));
    let only_test = missing.iter().all(|name| name.starts_with("`test"));
    Err(match only_test {
        true => {
            error.hint("move some of the training samples into test files: results are reported on those")
        }
        false => error,
    })
}

fn arrays([inputs, labels, test_inputs, test_labels]: [PathBuf; 4], in_memory: u64) -> Result<Sets> {
    let train = Inputs::open(&inputs)?;
    let test = Inputs::open(&test_inputs)?;
    if (test.shape(), test.values()) != (train.shape(), train.values()) {
        return Err(Error::data(format!(
            "`{}` holds {}, and `{}` {}",
            test.name(),
            samples(&test),
            train.name(),
            samples(&train)
        )));
    }
    let of_train = read_labels(&labels)?;
    // Of more than there may be one more is enough to be refused.
    let mut different = BTreeSet::new();
    let _ = of_train.iter().find(|&&label| {
        different.insert(Label::Whole(label));
        different.len() > MOST_CLASSES
    });
    let classes = Classes::new(different, &labels.display().to_string())?;
    let of_test = read_labels(&test_labels)?;
    let spec = train.spec(NAME, classes.names());
    // What does not fit together is not held in memory.
    let held = train.bytes().saturating_add(test.bytes()) <= in_memory;
    let set = |inputs: Inputs<std::fs::File>, found: Vec<i64>, file: &Path| -> Result<Arc<dyn Dataset>> {
        let labels = places(&found, &classes, file)?;
        let set: Result<Arrays> = match held {
            true => inputs.in_memory(spec.clone(), labels),
            false => inputs.on_disk(spec.clone(), labels),
        };
        Ok(Arc::new(set?))
    };
    Ok(Sets::new(set(train, of_train, &labels)?, set(test, of_test, &test_labels)?))
}

fn samples<R: std::io::Read>(inputs: &Inputs<R>) -> String {
    let what = match inputs.values() {
        crate::dataset::Values::Bytes => "bytes",
        crate::dataset::Values::Numbers => "numbers",
    };
    format!("{what} of shape {:?}", inputs.shape())
}

fn read_labels(path: &Path) -> Result<Vec<i64>> {
    let (file, length) = open(path)?;
    stored::labels(file, length, &path.display().to_string())
}

/// The place of each label among the classes.
fn places(labels: &[i64], classes: &Classes, file: &Path) -> Result<Vec<u32>> {
    let place = |(sample, &label): (usize, &i64)| {
        classes.place(&Label::Whole(label)).ok_or_else(|| {
            Error::data(format!(
                "`{}`: label {label} of sample {sample} is no class of the training set, which has {}",
                file.display(),
                classes.allowed()
            ))
        })
    };
    labels.iter().enumerate().map(place).collect()
}

fn tables([train, test]: [PathBuf; 2], options: &TableOptions) -> Result<Sets> {
    let name = |path: &Path| path.display().to_string();
    let (of_train, classes) = table::training(open(&train)?.0, &name(&train), options)?;
    let of_test = table::like(open(&test)?.0, &name(&test), &of_train, &classes)?;
    let spec = Spec::new(NAME, [of_train.features], classes.names());
    let set = |table: Table| -> Result<Arc<dyn Dataset>> {
        Ok(Arc::new(InMemory::of_numbers(spec.clone(), table.numbers, table.labels)?))
    };
    Ok(Sets::new(set(of_train)?, set(of_test)?))
}

#[cfg(test)]
mod tests;
