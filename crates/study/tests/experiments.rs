//! The files of `experiments/`: each is a sweep that this program can do, and the README says what it costs.

use std::path::{Path, PathBuf};

use rigl_study::{Plan, Request, Start, Sweep};
use rigl_train::config::{Base, StartValues, read_text};
use rigl_train::{MachineOptions, Registry};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments")
}

fn plan(path: &Path, multiplier: Option<f64>) -> Plan {
    let name = path.file_name().unwrap().to_string_lossy();
    let sweep = Sweep::parse(&name, &read_text(path).unwrap()).unwrap();
    let base = match &sweep.start {
        Start::Preset(preset) => Base::Preset(preset),
        other => panic!("{name}: {other:?}"),
    };
    let plan = Plan::new(Request {
        sweep: &sweep,
        base,
        multiplier,
        overrides: &[],
        variant: "",
        folder: "sweeps".into(),
        registry: &Registry::default(),
        machine: &MachineOptions { threads: 1, ..MachineOptions::default() },
    });
    plan.unwrap_or_else(|error| panic!("{error:?}"))
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
        let from = Path::new(&run.config.method.start_from);
        let seed =
            dense.runs.iter().find(|dense| from.ends_with(Path::new("lottery-dense").join(&dense.name)));
        let (mine, of_dense) = (&run.config.seeds, &seed.expect(&run.name).config.seeds);
        assert_eq!((mine.topology, mine.data), (of_dense.topology, of_dense.data), "{}", run.name);
        let redrawn = run.config.method.start_values == StartValues::Redrawn;
        assert_eq!(mine.init != of_dense.init, redrawn, "{}", run.name);
    }
}
