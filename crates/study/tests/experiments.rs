//! The files of `experiments/`: each is a sweep that this program can do, and the README says what it costs.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rigl_study::{Plan, Request, Start, Sweep};
use rigl_train::config::{Base, StartValues, read_text};
use rigl_train::{Config, MachineOptions, Registry};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments")
}

fn request<'a>(sweep: &'a Sweep, base: Base<'a>, multiplier: Option<f64>, folder: &Path) -> Request<'a> {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::default);
    static MACHINE: LazyLock<MachineOptions> =
        LazyLock::new(|| MachineOptions { threads: 1, ..MachineOptions::default() });
    Request {
        sweep,
        base,
        multiplier,
        overrides: &[],
        variant: "",
        folder: folder.into(),
        registry: &REGISTRY,
        machine: &MACHINE,
    }
}

fn plan(path: &Path, multiplier: Option<f64>) -> Plan {
    let name = path.file_name().unwrap().to_string_lossy();
    let sweep = Sweep::parse(&name, &read_text(path).unwrap()).unwrap();
    let base = match &sweep.start {
        Start::Preset(preset) => Base::Preset(preset),
        other => panic!("{name}: {other:?}"),
    };
    let plan = Plan::new(request(&sweep, base, multiplier, Path::new("sweeps")));
    plan.unwrap_or_else(|error| panic!("{error:?}"))
}

/// The same experiments as they were written before `[method]` had tables, where that makes a difference.
fn before() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/before");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn older_files_make_the_same_runs_and_what_they_have_trained_is_found() {
    assert_eq!(before().len(), 6);
    for file in before() {
        let now = plan(&folder().join(file.file_name().unwrap()), None).runs;
        let older = plan(&file, None).runs;
        assert_eq!(now.len(), older.len());
        for (now, older) in now.iter().zip(&older) {
            assert_eq!(now.config, older.config, "{}", now.name);
        }
    }
    // Folders are looked for by all spellings.
    let place = tempfile::tempdir().unwrap();
    let (now, older) = ("method.updates.interval.50-seed.0", "method.update-interval.50-seed.0");
    let names = |key: &str| {
        let text = format!("[grid]\n\"{key}\" = [50, 100]\nseed = [0]");
        let sweep = Sweep::parse("s.toml", &text).unwrap();
        let plan = request(&sweep, Base::Default, None, place.path());
        Plan::new(plan).unwrap().runs.into_iter().map(|run| run.name).collect::<Vec<_>>()
    };
    let [interval, update_interval] = ["method.updates.interval", "method.update-interval"];
    assert_eq!((names(interval)[0].as_str(), names(update_interval)[0].as_str()), (now, older));
    rigl_base::files::create_folder(&place.path().join(older)).unwrap();
    for key in [interval, update_interval] {
        assert_eq!(names(key)[0], older, "{key}");
    }
    assert_eq!(names(interval)[1], "method.updates.interval.100-seed.0");
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

#[test]
fn every_experiment_can_be_done_in_full_and_in_short() {
    assert!(files().len() >= 8);
    for file in files() {
        let (full, short) = (plan(&file, None), plan(&file, Some(0.02)));
        for (full, short) in full.runs.iter().zip(&short.runs) {
            assert_eq!(full.name, short.name);
            let ratio = short.steps as f64 / full.steps as f64;
            assert!((ratio - 0.02).abs() < 1e-3, "{} {ratio}", full.name);
        }
    }
}

#[test]
fn the_readme_says_what_each_experiment_costs() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let row = |file: &PathBuf| {
        let runs = plan(file, None).runs;
        let steps: u64 = runs.iter().map(|run| run.steps).sum();
        let flops: f64 = runs.iter().map(|run| run.flops).sum();
        let name = file.file_name().unwrap().to_string_lossy();
        format!("| `{name}` | {} | {:.2} M | {:.1} P |", runs.len(), steps as f64 / 1e6, flops / 1e15)
    };
    let missing: Vec<String> = files().iter().map(row).filter(|row| !readme.contains(row)).collect();
    assert!(missing.is_empty(), "README.md lacks\n{}", missing.join("\n"));
}

#[test]
fn tickets_are_those_of_the_dense_runs() {
    let folder = folder();
    let dense = plan(&folder.join("lottery-dense.toml"), None);
    for run in plan(&folder.join("lottery.toml"), None).runs {
        let from = Path::new(&run.config.method.start.run);
        let seed =
            dense.runs.iter().find(|dense| from.ends_with(Path::new("lottery-dense").join(&dense.name)));
        let (mine, of_dense) = (&run.config.seeds, &seed.expect(&run.name).config.seeds);
        assert_eq!((mine.topology, mine.data), (of_dense.topology, of_dense.data), "{}", run.name);
        let redrawn = run.config.method.start.values == StartValues::Redrawn;
        assert_eq!(mine.init != of_dense.init, redrawn, "{}", run.name);
    }
}

#[test]
fn tickets_of_rigl_are_the_runs_that_ended_with_them() {
    let folder = folder();
    let trained = plan(&folder.join("cifar10.toml"), None);
    let runs = plan(&folder.join("lottery-rigl.toml"), None).runs;
    assert_eq!(runs.len(), 12);
    for run in runs {
        let from = Path::new(&run.config.method.start.run);
        let ticket = trained.runs.iter().find(|run| from.ends_with(Path::new("cifar10").join(&run.name)));
        let ticket = &ticket.expect(&run.name).config;
        let same = |config: &Config| (config.seeds.init, config.seeds.data, config.method.sparsity);
        assert_eq!(same(&run.config), same(ticket));
        assert_eq!((ticket.method.name.as_str(), ticket.multiplier), ("rigl", 1.0));
        assert_eq!(run.config.method.start.values, StartValues::Initial);
    }
}
