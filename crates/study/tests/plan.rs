//! What a plan refuses before the first run starts, and what it says of memory.

use std::sync::Arc;

use rigl_base::Result;
use rigl_data::{InMemory, Sets, Spec};
use rigl_study::{Plan, Request, Sweep};
use rigl_train::config::{Base, Override};
use rigl_train::{MachineOptions, Registry};

fn plan(text: &str, registry: &Registry) -> Result<Plan> {
    plan_with(text, &[], registry)
}

fn plan_with(text: &str, settings: &[&str], registry: &Registry) -> Result<Plan> {
    let overrides: Vec<_> = settings.iter().map(|text| Override::parse("--set", text).unwrap()).collect();
    let sweep = Sweep::parse("s.toml", text)?;
    Plan::new(Request {
        sweep: &sweep,
        base: Base::Default,
        multiplier: None,
        overrides: &overrides,
        variant: "",
        folder: "sweeps/s".into(),
        registry,
        machine: &MachineOptions { threads: 1, ..MachineOptions::default() },
    })
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    refused_with(text, &[], expected);
}

#[track_caller]
fn refused_with(text: &str, settings: &[&str], expected: &str) {
    let error = plan_with(text, settings, &Registry::default()).expect_err(text);
    assert_eq!((error.kind(), error.to_string().as_str()), (rigl_base::Kind::Usage, expected));
}

#[test]
fn two_runs_with_the_same_settings_are_refused() {
    let same = |one: &str, other: &str| {
        format!("`s.toml`: `{one}` and `{other}` are one run with the same settings, and would count as two")
    };
    let seeds = "[set]\n'seeds.init' = 1\n'seeds.topology' = 2\n'seeds.data' = 3\n[grid]\nseed = [0, 1]";
    refused(seeds, &same("seed.0", "seed.1"));
    refused(
        "[grid]\nseed = [0, 1]\n[[when]]\nmatch = { seed = 1 }\nset = { seed = 0 }",
        &same("seed.0", "seed.1"),
    );
    let zeros = "[grid]\n'optimizer.l2' = [0.0, -0.0]";
    refused(zeros, &same("optimizer.l2.0", "optimizer.l2.-0"));
    // A dense network has no sparsity: at two of them it is one run.
    let dense = |exclude: &str| {
        format!("[grid]\n'method.name' = ['dense', 'static']\n'method.sparsity' = [0.5, 0.9]\n{exclude}")
    };
    let name = |sparsity: &str| format!("method.name.dense-method.sparsity.{sparsity}");
    refused(&dense(""), &same(&name("0.5"), &name("0.9")));
    let once = "[[exclude]]\n'method.name' = 'dense'\n'method.sparsity' = 0.9";
    let runs = plan(&dense(once), &Registry::default()).unwrap().runs;
    let shown: Vec<&str> = runs.iter().map(|run| run.values[1].as_str()).collect();
    assert_eq!(shown, ["", "0.5", "0.9"]);
    assert_eq!((runs[0].sparsity, runs[2].sparsity.map(|s| (100.0 * s).round())), (None, Some(90.0)));
}

#[test]
fn what_all_runs_share_may_do_nothing_in_some_of_them_but_not_in_all() {
    let grid = "[set]\n'method.updates.interval' = 50\n[grid]\n'method.name' = ['static', 'rigl']";
    let runs = plan(grid, &Registry::default()).unwrap().runs;
    let interval = |run: usize| runs[run].config.get("method.updates.interval");
    assert_eq!((interval(0), interval(1).as_deref()), (None, Some("50")));
    refused(
        "[set]\n'method.threshold' = 0.5\n[grid]\n'method.name' = ['static', 'rigl']",
        "`s.toml` line 2: `method.threshold` does nothing in any of the runs",
    );
    refused(
        "[grid]\n'method.name' = ['static', 'rigl']\n'method.updates.interval' = [50, 100]",
        "`s.toml` line 3: `method.updates.interval` does nothing for method `static`: it is read where the topology is \
         updated, but not at every step",
    );
    let tables = "[grid]\n'method.drop' = ['magnitude', { kind = 'threshold', threshold = 0.5 }]";
    let runs = plan(tables, &Registry::default()).unwrap().runs;
    assert_eq!(runs[0].name, "method.drop.magnitude");
    assert_eq!(runs[1].config.get("method.drop.threshold").as_deref(), Some("0.5"));
}

#[test]
fn an_option_that_no_network_of_the_sweep_has_is_refused() {
    let none = |place: &str, key: &str, value: &str| {
        format!(
            "{place}: `model.{key}` is `{value}`, but `lenet-300-100` has no such option, allowed are `model.width`"
        )
    };
    let grid = "[grid]\nseed = [0, 1]";
    refused(&format!("[set]\n'model.dropoot' = 0.5\n{grid}"), &none("`s.toml` line 2", "dropoot", "0.5"));
    refused_with(grid, &["model.frobnicate=3"], &none("`--set`", "frobnicate", "3"));
    refused_with(grid, &["model={frob=1}"], &none("`--set`", "frob", "1"));
    // One that some have is theirs alone.
    let networks = "[set]\n'model.hidden' = [20]\n[grid]\n'model.name' = ['lenet-300-100', 'mlp']";
    let runs = plan(networks, &Registry::default()).unwrap().runs;
    let hidden = |run: usize| runs[run].config.get("model.hidden");
    assert_eq!((hidden(0), hidden(1).as_deref()), (None, Some("[20]")));
}

#[test]
fn keys_within_a_table_are_checked_like_any_others() {
    let grid = "[grid]\n'method.name' = ['static', 'rigl']";
    for table in ["method.drop={threshold=0.1}", "method={drop={threshold=0.1}}"] {
        let message = "`--set`: `method.drop.threshold` does nothing in any of the runs";
        refused_with(grid, &[table], message);
    }
    let varied = "`--set`: `method.name` is varied by the grid of `s.toml`";
    refused_with(grid, &["method={name='set'}"], varied);
    let runs = plan_with(grid, &["method={updates={interval=50}}"], &Registry::default()).unwrap().runs;
    assert_eq!(runs[1].config.get("method.updates.interval").as_deref(), Some("50"));
}

#[test]
fn older_keys_that_say_nothing_are_taken_as_they_are_by_training() {
    for setting in [
        "'method.redistribution' = 'none'",
        "'method.after-step' = 'none'",
        "'method.threshold' = 0.001",
        "'method.start-values' = 'initial'",
        "'method.start-from' = ''",
    ] {
        let sweep = format!("[set]\n{setting}\n[grid]\n'method.name' = ['static', 'rigl']");
        assert_eq!(plan(&sweep, &Registry::default()).unwrap().runs.len(), 2, "{setting}");
    }
}

#[test]
fn older_keys_of_a_grid_or_a_match_may_do_nothing_in_some_runs_but_not_in_all() {
    let count = |text: &str| plan(text, &Registry::default()).map(|plan| plan.runs.len());
    let methods = "[grid]\n'method.name' = ['set', 'static']\n";
    let fractions = format!("{methods}'method.drop-fraction' = [0.1, 0.3]");
    let plan = plan(&fractions, &Registry::default()).unwrap();
    assert_eq!(plan.runs.len(), 4);
    assert_eq!(plan.runs[2].name, "method.name.static-method.drop-fraction.0.1");
    assert_eq!(plan.runs[2].values, ["static", "0.1"]);
    let means = "[grid]\n'data.standardize' = ['fixed', 'per-image']\n'data.mean' = [[0.1], [0.2]]";
    assert_eq!(count(means).unwrap(), 4);
    let when =
        "[[when]]\nmatch = { 'method.name' = ['set', 'static'] }\nset = { 'method.update-interval' = 9 }";
    assert_eq!(count(&format!("{methods}{when}")).unwrap(), 2);
    let only = "[[when]]\nmatch = { 'method.name' = 'static' }\nset = { 'method.update-interval' = 9 }";
    assert_eq!(count(&format!("{methods}{only}")).unwrap(), 2);
    refused(
        "[grid]\n'method.name' = ['static', 'dense']\n'method.drop-fraction' = [0.1, 0.2]",
        "`s.toml` line 3: `method.drop-fraction` does nothing in any of the runs",
    );
    // Where something reads it, two runs that come to the same are one.
    refused(
        &format!(
            "{fractions}\n[[when]]\nmatch = {{ 'method.name' = 'set' }}\nset = {{ 'method.drop-fraction' = 0.2 }}"
        ),
        "`s.toml`: `method.name.set-method.drop-fraction.0.1` and `method.name.set-method.drop-fraction.0.3` are one run \
         with the same settings, and would count as two",
    );
}

#[test]
fn what_does_not_fit_the_samples_is_refused_before_the_first_run() {
    refused(
        "[grid]\n'data.mean' = [[0.1], [0.1, 0.2]]",
        "run `data.mean._0.1_0.2_`: `s.toml` line 2: `data.mean` has 2 values, expected 1 or one for each of the 1 channels",
    );
    let mut registry = Registry::default();
    registry.datasets.insert("flat", |_| sets([4], 1, 1));
    let text = "[set]\n'data.name' = 'flat'\n[grid]\n'data.augment' = ['crop-flip']";
    let error = plan(text, &registry).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "run `data.augment.crop-flip`: `s.toml` line 4: `data.augment`: samples of shape [4]"
        ),
        "{error}"
    );
}

#[test]
fn all_samples_count_as_memory_and_so_does_a_process_itself() {
    let bytes = |train: usize, test: usize| {
        let mut registry = Registry::default();
        registry.datasets.insert("dots", move |_| sets([1, 2, 2], train, test));
        let text = "[grid]\n'data.name' = ['dots']\n'schedule.unit' = ['steps']\n'schedule.length' = [10]";
        plan(text, &registry).unwrap().runs[0].bytes
    };
    let (few, many) = (bytes(10, 10), bytes(110, 1010));
    // The label of a sample is kept beside it.
    assert_eq!(many - few, 5 * 1100);
    assert!(few > 16 << 20, "{few}");
    // Of sets that are known without their files too: MNIST's 70,000 samples.
    let mnist = plan("[grid]\n'data.name' = ['mnist']", &Registry::default()).unwrap().runs[0].bytes;
    assert!(mnist > (16 << 20) + 70_000 * 785, "{mnist}");
}

fn sets<const N: usize>(shape: [usize; N], train: usize, test: usize) -> Result<Sets> {
    let set = |samples: usize| {
        let spec = Spec::new("own", shape, ["a", "b"]);
        let bytes = samples * spec.sample_len().unwrap();
        InMemory::new(spec, vec![0; bytes], vec![0; samples]).map(Arc::new)
    };
    Ok(Sets::new(set(train)?, set(test)?))
}
