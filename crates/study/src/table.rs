//! What runs came to, side by side: one row for those that differ in seeds alone, with mean and standard deviation. Runs of
//! different data never share a row, and one that is there twice counts once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use rigl_base::Result;
use rigl_metrics::Summary;
use rigl_train::Config;
use rigl_train::config::{Base, Known, Override, Sources, StartKind, keys};

use crate::folder::{FinishedRun, State};
use crate::plan::{Plan, value};

/// A table of runs.
#[derive(Clone, Debug)]
pub struct Table {
    /// The configuration keys in which its rows differ; `data`, where they differ in that, is the fingerprint of data.
    pub columns: Vec<String>,
    /// Its rows.
    pub groups: Vec<Group>,
    /// Runs that are left out since they are others over again.
    pub repeated: Vec<Repeated>,
}

/// A run that is another one over again: of the same configuration, seeds included, on the same data, or with the same
/// weights at its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Repeated {
    /// Its folder.
    pub run: PathBuf,
    /// The folder of the one that counts.
    pub of: PathBuf,
}

/// Runs that differ in seeds alone.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their values for the table's columns.
    pub values: Vec<String>,
    /// How many there are to be.
    pub planned: usize,
    /// Those that are finished.
    pub runs: Vec<FinishedRun>,
}

/// Mean and standard deviation of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Of those that are finite.
    pub mean: f64,
    /// Their standard deviation, that of a sample (n − 1 below); `None` of a single number.
    pub deviation: Option<f64>,
}

impl Spread {
    /// Of these numbers, without those that are not finite; `None` if there are none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let numbers: Vec<f64> = numbers.into_iter().filter(|x| x.is_finite()).collect();
        if numbers.is_empty() {
            return None;
        }
        let n = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / n;
        let squares: f64 = numbers.iter().map(|x| (x - mean) * (x - mean)).sum();
        Some(Spread { mean, deviation: (numbers.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) })
    }
}

impl Group {
    /// Accuracy, 0 to 1, where runs have one.
    pub fn accuracy(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.summary.accuracy))
    }

    /// Final loss of its runs.
    pub fn loss(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|run| run.summary.loss))
    }

    /// Loss over all training samples in the end, of the runs that were asked for it.
    pub fn train_loss(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.summary.train_loss))
    }

    /// A group for each of the data of its runs, which becomes a value; runs that are still to come go with the first.
    fn by_data(self) -> Vec<Group> {
        let Group { values, planned, runs } = self;
        let to_come = planned - runs.len();
        let mut groups = Vec::new();
        for run in runs {
            let values = [&values[..], &[data(&run).to_string()]].concat();
            let group = group(&mut groups, &values);
            group.planned += 1;
            group.runs.push(run);
        }
        match groups.first_mut() {
            Some(first) => first.planned += to_come,
            None => groups.push(Group {
                values: [&values[..], &[String::new()]].concat(),
                planned,
                runs: Vec::new(),
            }),
        }
        groups
    }

    /// The mean of a number of their summaries.
    pub fn mean(&self, of: impl Fn(&Summary) -> f64) -> Option<f64> {
        Spread::of(self.runs.iter().map(|run| of(&run.summary))).map(|spread| spread.mean)
    }
}

/// Sparsities that differ by more are told apart: half a point.
const TELLING: f64 = 0.005;

impl Group {
    /// A value of the group as tables show it: beside a sparsity that its networks do not have, the one that they have.
    pub(crate) fn seen(&self, column: &str, value: &str) -> String {
        // A narrowed network is as large as one of that sparsity, and has none.
        let narrowed = self.runs.iter().any(|run| run.config.method.start.kind == StartKind::Narrow);
        let asked = value.parse::<f64>().ok().filter(|_| column == SPARSITY && !narrowed);
        match (asked, self.mean(|summary| summary.sparsity)) {
            (Some(asked), Some(found)) if (asked - found).abs() > TELLING => {
                format!("{value} (is {found:.3})")
            }
            _ => value.into(),
        }
    }
}

impl Plan {
    /// The table of the runs that are finished, of runs that have come so far: a row for each combination of the grid
    /// without its seeds, in the grid's order.
    pub fn table(&self, states: &[State]) -> Table {
        let mut groups: Vec<Group> = Vec::new();
        for (run, state) in self.runs.iter().zip(states) {
            let group = group(&mut groups, &run.values);
            group.planned += 1;
            if let State::Finished(summary) = state {
                let (path, config) = (run.path.clone(), run.config.clone());
                group.runs.push(FinishedRun { path, config, summary: (**summary).clone() });
            }
        }
        let mut columns = self.columns.clone();
        let mut runs = groups.iter().flat_map(|group| &group.runs).map(data);
        let first = runs.next();
        if runs.any(|data| Some(data) != first) {
            columns.push(DATA.into());
            groups = groups.into_iter().flat_map(Group::by_data).collect();
        }
        Table { columns, groups, repeated: Vec::new() }
    }
}

impl Table {
    /// Any finished runs side by side: those that differ in nothing but seeds make a row, and the columns are the keys
    /// in which rows differ. Keys that decide no result do not count, and what a method's name says of itself is told
    /// by the name.
    ///
    /// # Errors
    /// If a run's configuration contradicts itself.
    pub fn compare(runs: Vec<FinishedRun>, known: &Known) -> Result<Table> {
        let known = &Known { strangers: true, ..known.clone() };
        let mut keys: Vec<String> = keys()
            .iter()
            .filter(|key| {
                runs.iter().any(|run| run.config.depends_on(key))
                    && key.parts().0 != "seeds"
                    && key.path != "seed"
            })
            .map(|key| key.path.clone())
            .collect();
        for option in runs.iter().flat_map(|run| run.config.options()) {
            if !keys.contains(&option.path) {
                keys.push(option.path);
            }
        }
        let values_of = |config: &Config, data: &str| -> Vec<String> {
            let value = |key: &String| match (value(config, key).unwrap_or_default(), key.as_str()) {
                (run, START) => without_seed(&run),
                (value, _) => value,
            };
            keys.iter().map(value).chain([data.to_string()]).collect()
        };
        // Of each method with each network, what their names alone make of the keys.
        let mut named = HashMap::new();
        let (mut groups, mut repeated) = (Vec::new(), Vec::new());
        for run in runs {
            if let Entry::Vacant(entry) = named.entry(names(&run.config)) {
                let keys = [METHOD, MODEL].into_iter().zip(entry.key());
                let settings = keys.map(|(key, name)| Override::new(key, key, &format!("{name:?}")));
                let settings: Vec<Override> = settings.collect();
                let config = Config::resolve(&Sources { base: Base::Default, overrides: &settings }, known)?;
                entry.insert(values_of(&config, ""));
            }
            let group = group(&mut groups, &values_of(&run.config, data(&run)));
            match group.runs.iter().find(|other| is_repeated(&run, other)) {
                Some(other) => repeated.push(Repeated { run: run.path, of: other.path.clone() }),
                None => {
                    group.planned += 1;
                    group.runs.push(run);
                }
            }
        }
        keys.push(DATA.into());
        let by_name = |group: &Group, number: usize| {
            let named = group.runs.first().and_then(|run| named.get(&names(&run.config)));
            named.is_some_and(|values| values[number] == group.values[number])
        };
        let is_shown = |&number: &usize| {
            // What only some of the methods read is told by what makes them read it.
            let mut read = groups.iter().map(|group| &group.values[number]).filter(|value| !value.is_empty());
            let first = read.next();
            let differs = read.any(|value| Some(value) != first);
            differs
                && ([METHOD, MODEL].contains(&&*keys[number])
                    || !groups.iter().all(|group| by_name(group, number)))
        };
        let mut shown: Vec<usize> = (0..keys.len()).filter(is_shown).collect();
        // One row alone is told by its method.
        if shown.is_empty() {
            shown = (0..keys.len()).filter(|&n| [METHOD, SPARSITY].contains(&&*keys[n])).collect();
        }
        for group in &mut groups {
            group.values = shown.iter().map(|&number| std::mem::take(&mut group.values[number])).collect();
        }
        let columns = shown.iter().map(|&number| keys[number].to_string()).collect();
        Ok(Table { columns, groups, repeated })
    }
}

/// The column of data, which is no key of the configuration.
const DATA: &str = "data";

/// What stands there for runs of releases that did not tell.
const UNKNOWN: &str = "not recorded";

/// What tells the data of a run from others.
fn data(run: &FinishedRun) -> &str {
    run.summary.data.as_ref().map_or(UNKNOWN, |data| &data.fingerprint)
}

/// Whether a run is another one over again, of two that differ in seeds at most.
fn is_repeated(run: &FinishedRun, other: &FinishedRun) -> bool {
    run.config.difference(&other.config).is_none()
        || run.summary.weights_crc32c == other.summary.weights_crc32c
}

const METHOD: &str = "method.name";
const MODEL: &str = "model.name";
const SPARSITY: &str = "method.sparsity";
const START: &str = "method.start.run";

/// The method and the network of a configuration.
fn names(config: &Config) -> [String; 2] {
    [config.method.name.clone(), config.model.name.clone()]
}

/// The name of a run's folder without its seed: runs that start from others, each from that of its own seed, differ in
/// seeds alone.
fn without_seed(name: &str) -> String {
    let mut parts = name.split("seed");
    let mut text = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let rest = part.trim_start_matches('.').trim_start_matches(|c: char| c.is_ascii_digit());
        text.push_str("seed");
        text.push_str(if rest.len() < part.trim_start_matches('.').len() { rest } else { part });
    }
    text
}

/// The group with these values, which may be a new one.
fn group<'a>(groups: &'a mut Vec<Group>, values: &[String]) -> &'a mut Group {
    let at = groups.iter().position(|group| group.values == values).unwrap_or(groups.len());
    if at == groups.len() {
        groups.push(Group { values: values.to_vec(), planned: 0, runs: Vec::new() });
    }
    &mut groups[at]
}

#[cfg(test)]
pub(crate) mod tests {
    use rigl_metrics::summary::Flops;
    use rigl_metrics::{DataRecord, Status};

    use super::*;

    /// A finished run of that method, sparsity and seed.
    pub(crate) fn finished(method: &str, sparsity: f64, seed: u64, accuracy: Option<f64>) -> FinishedRun {
        let of_method = if method == "dense" { String::new() } else { format!("sparsity = {sparsity}") };
        let text = format!("seed = {seed}\n[method]\nname = '{method}'\n{of_method}");
        let config = Config::from_text("config.toml", &text, &Known::default()).unwrap();
        let summary = Summary {
            version: 1,
            status: Status::Finished,
            method: method.into(),
            sparsity,
            distribution: "erk".into(),
            seed,
            accuracy,
            test_error: accuracy.map(|x| 1.0 - x),
            loss: 0.5 + seed as f64,
            train_loss: None,
            train_accuracy: None,
            active: 100,
            most_active: None,
            weights: 1000,
            bytes: 1500,
            explored: 0.25,
            inference: Flops::new(25.0, 100.0),
            training: Flops::new(80.0, 320.0),
            steps: 10,
            stopped_early: false,
            draws: 11,
            updates: 1,
            seconds: 2.0 + seed as f64,
            evaluation_seconds: None,
            samples_per_s: 1.0,
            peak_memory_bytes: None,
            weights_crc32c: crc32c::crc32c(text.as_bytes()),
            data: None,
            layers: Vec::new(),
            program: String::new(),
            commit: None,
        };
        FinishedRun { path: format!("runs/{method}-{seed}").into(), config, summary }
    }

    #[test]
    fn mean_and_deviation_are_those_of_a_sample() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([f64::NAN]), None);
        assert_eq!(Spread::of([3.0, f64::NAN]), Some(Spread { mean: 3.0, deviation: None }));
        // Squares about 4: 4 + 1 + 1 + 4 = 10, of which a third is 10/3.
        let spread = Spread::of([2.0, 3.0, 5.0, 6.0]).unwrap();
        assert_eq!(spread.mean, 4.0);
        assert!((spread.deviation.unwrap() - (10.0f64 / 3.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn runs_that_differ_in_seeds_alone_share_a_row_and_columns_are_what_differs() {
        let mut runs = vec![
            finished("rigl", 0.9, 0, Some(0.75)),
            finished("set", 0.9, 0, Some(0.5)),
            finished("rigl", 0.9, 1, Some(0.25)),
        ];
        runs[2].config.log.every_steps = 7;
        let compare = |runs| Table::compare(runs, &Known::default()).unwrap();
        let table = compare(runs.clone());
        assert_eq!(table.columns, ["method.name"]);
        let rows: Vec<_> = table.groups.iter().map(|g| (g.values[0].as_str(), g.runs.len())).collect();
        assert_eq!(rows, [("rigl", 2), ("set", 1)]);
        assert_eq!(table.groups[0].accuracy().unwrap().mean, 0.5);
        assert_eq!(table.groups[0].mean(|s| s.seconds), Some(2.5));
        runs.push(finished("rigl", 0.5, 0, None));
        let table = compare(runs.clone());
        assert_eq!(table.columns, ["method.name", "method.sparsity"]);
        assert_eq!(table.groups[2].values, ["rigl", "0.5"]);
        assert_eq!(table.groups[2].accuracy(), None);
        // What a static topology has no use for makes no column.
        let mut long = finished("rigl", 0.9, 0, None);
        long.config.method.updates.interval = 7;
        assert_eq!(compare(vec![finished("static", 0.9, 0, None), long]).columns, ["method.name"]);
        // Another policy than the name's.
        runs[3].config.method.updates.step_policy = runs[1].config.method.updates.step_policy;
        assert_eq!(compare(runs).columns, ["method.name", "method.sparsity", "method.updates.step-policy"]);
    }

    /// The same run on other data.
    fn on(fingerprint: &str, run: FinishedRun) -> FinishedRun {
        let data = DataRecord {
            name: "mnist".into(),
            folder: None,
            train_samples: 2,
            test_samples: 1,
            fingerprint: fingerprint.into(),
            published: None,
        };
        FinishedRun { summary: Summary { data: Some(data), ..run.summary }, ..run }
    }

    #[test]
    fn runs_of_different_data_share_no_row() {
        let runs = vec![
            on("a", finished("rigl", 0.9, 0, None)),
            on("b", finished("rigl", 0.9, 1, None)),
            on("a", finished("rigl", 0.9, 2, None)),
            finished("rigl", 0.9, 3, None),
        ];
        let table = Table::compare(runs.clone(), &Known::default()).unwrap();
        assert_eq!(table.columns, ["data"]);
        let rows: Vec<_> = table.groups.iter().map(|g| (g.values[0].as_str(), g.runs.len())).collect();
        assert_eq!(rows, [("a", 2), ("b", 1), ("not recorded", 1)]);
        let same = Table::compare(vec![runs[0].clone(), runs[2].clone()], &Known::default()).unwrap();
        assert!(!same.columns.contains(&"data".into()) && same.groups.len() == 1);
        let group = Group { values: vec!["x".into()], planned: 6, runs };
        let split: Vec<_> = group.by_data().into_iter().map(|g| (g.values.join(" "), g.planned)).collect();
        assert_eq!(split, [("x a".into(), 4), ("x b".into(), 1), ("x not recorded".into(), 1)]);
        let none = Group { values: vec!["x".into()], planned: 2, runs: Vec::new() }.by_data();
        assert_eq!((none.len(), none[0].planned, none[0].values.len()), (1, 2, 2));
    }

    #[test]
    fn a_run_that_is_there_twice_counts_once() {
        let one = finished("rigl", 0.9, 0, Some(0.5));
        let copy = FinishedRun { path: "copy".into(), ..one.clone() };
        // Another seed that made no difference to any weight.
        let mut idle = FinishedRun { path: "idle".into(), ..one.clone() };
        idle.config.seeds.topology = 7;
        let runs = vec![one.clone(), copy, finished("rigl", 0.9, 1, Some(0.75)), idle];
        let table = Table::compare(runs, &Known::default()).unwrap();
        assert_eq!((table.groups.len(), table.groups[0].runs.len(), table.groups[0].planned), (1, 2, 2));
        let repeated = |run: &str| Repeated { run: run.into(), of: one.path.clone() };
        assert_eq!(table.repeated, [repeated("copy"), repeated("idle")]);
        // On other data the same configuration is another run.
        let table = Table::compare(vec![on("a", one.clone()), on("b", one)], &Known::default()).unwrap();
        assert_eq!((table.groups.len(), table.repeated.len()), (2, 0));
    }

    #[test]
    fn runs_that_start_from_runs_of_their_seed_share_a_row() {
        let run = |seed: u64, from: &str| {
            let mut run = finished("rigl", 0.9, seed, None);
            run.config.method.start.kind = StartKind::From;
            run.config.method.start.run = from.replace("N", &seed.to_string());
            run
        };
        let groups = |from: &str, other: &str| {
            let runs = vec![run(3, from), run(41, from), run(3, other)];
            Table::compare(runs, &Known::default()).unwrap().groups.len()
        };
        assert_eq!(groups("sweeps/a/method.name.dense-seed.N", "sweeps/b/method.name.dense-seed.N"), 2);
        assert_eq!(groups("runs/20260101-dense-seedN", "runs/20260102-dense-seedN-2"), 2);
        assert_eq!(groups("seeds/N", "x"), 3);
    }

    #[test]
    fn a_single_row_is_told_by_its_method() {
        let table = Table::compare(vec![finished("rigl", 0.9, 3, None)], &Known::default()).unwrap();
        assert_eq!(
            (table.columns.len(), &table.groups[0].values[..]),
            (2, &["rigl".into(), "0.9".into()][..])
        );
    }
}
