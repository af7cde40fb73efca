//! What the command says of a recipe that cannot be meant, and of one that is merely odd.

mod support;

use serde_json::Value;
use support::{Place, refused};

/// What would be trained in 300 steps of drawn digits.
const DRY: &str = "train quickstart --dry-run --threads 1 --set schedule.unit=steps --set schedule.length=300 \
    --set schedule.milestones=[]";

/// The same on the few samples of `data`.
const FEW: &str = "train quickstart --dry-run --threads 1 --data-dir data --set data.name=mnist --set data.batch=50 \
    --set schedule.unit=steps --set schedule.length=30 --set schedule.milestones=[]";

fn place() -> Place {
    let place = Place::new();
    place.write_data(100, 50);
    place
}

#[track_caller]
fn remarks(place: &Place, line: &str) -> Vec<String> {
    let found = place.run(&format!("{line} --json")).succeeded().json();
    let remarks: Vec<String> = serde_json::from_value(found["remarks"].clone()).unwrap();
    let text = place.run(line).succeeded().out;
    for remark in &remarks {
        assert!(text.contains(&format!("\nnote: {remark}\n")), "`{remark}` is not in {text}");
    }
    assert_eq!(text.matches("note: ").count(), remarks.len(), "{text}");
    remarks
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn what_a_dense_network_has_not_is_refused_with_it_and_no_word_is_said_of_a_recipe_that_has_it() {
    let place = place();
    for (flag, key, value) in [
        ("--sparsity", "method.sparsity", ".5"),
        ("--distribution", "method.distribution", "uniform"),
        ("--set", "method.filter", "all"),
        ("--set", "method.layers", "{fc1=0.5}"),
        ("--set", "method.layers.fc1", ".5"),
    ] {
        let given = if flag == "--set" { format!("{key}={value}") } else { value.to_string() };
        let of = if key == "method.layers.fc1" { "method.layers" } else { key };
        let error = format!(
            "`{flag}`: `{of}` does nothing for method `dense`: it is read where the network is not dense"
        );
        refused(&place, &format!("{DRY} --method dense {flag} {given}"), &error, "");
    }
    for (key, value, is) in [
        ("seeds.topology", "3", "it is read where the method draws something at random"),
        ("log.patterns", "5", "it is read where layers are or become sparse"),
    ] {
        let of = if key.starts_with("method") { " for method `dense`" } else { "" };
        let error = format!("`--set`: `{key}` does nothing{of}: {is}");
        refused(&place, &format!("{DRY} --method dense --set {key}={value}"), &error, "");
    }
    place.run(&format!("{DRY} --method dense --seed 7")).succeeded();
    place.run(&format!("{DRY} --method snip --seed 7")).succeeded();
    assert_eq!(remarks(&place, &format!("{DRY} --method dense")), [""; 0]);
    let dense = place.run(&format!("{DRY} --method dense --json")).succeeded().json();
    assert_eq!((&dense["sparsity"], &dense["network"]["sparsity"]), (&Value::Null, &0.0.into()));
    assert!(!dense["configuration"].as_str().unwrap().contains("\nsparsity = "));
}

#[test]
fn a_key_that_was_asked_for_and_reaches_no_layer_is_refused() {
    let place = place();
    let lenet = FEW.replace("quickstart", "mnist-lenet");
    let hint = "--set method.layers={} (takes them back)";
    for (flag, key) in [
        ("--sparsity .5", "method.sparsity"),
        ("--distribution uniform", "method.distribution"),
        ("--set method.filter=['fc1']", "method.filter"),
    ] {
        let flag_name = flag.split_whitespace().next().unwrap();
        let error = format!(
            "`{flag_name}`: `{key}` reaches no layer: `[method.layers]` gives each that may be sparse a sparsity of its own"
        );
        refused(&place, &format!("{lenet} {flag}"), &error, hint);
    }
    place.run(&format!("{lenet} --sparsity .5 --set method.layers={{}}")).succeeded();
    // What a preset or a file says of it goes without a word, and the label is the network's.
    assert_eq!(remarks(&place, &lenet), [""; 0]);
    place.write("my.toml", "preset = 'mnist-lenet'\nmethod.sparsity = 0.5");
    let mine = lenet.replace("mnist-lenet", "my.toml");
    assert_eq!(remarks(&place, &mine), [""; 0]);
    let found = place.run(&format!("{mine} --json")).succeeded().json();
    assert!((number(&found["sparsity"]) - 0.975).abs() < 1e-3, "{found}");
    let sweep = "preset = 'mnist-lenet'\n[set]\n'data.batch' = 50\n[grid]\n'method.sparsity' = [0.5, 0.9]\n";
    place.write("s.toml", sweep);
    let said = place.run("sweep s.toml --dry-run --data-dir data");
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("`s.toml` line 5: `method.sparsity` reaches no layer"), "{}", said.err);
}

#[test]
fn a_sparsity_that_is_not_that_of_all_weights_is_said() {
    let place = place();
    let line = format!("{DRY} --sparsity .5 --set method.layers.fc1=0");
    let [only] = &remarks(&place, &line)[..] else { panic!() };
    assert!(
        only.starts_with("the network is 5.8") && only.contains("`method.sparsity` = 0.5 is of layers"),
        "{only}"
    );
    assert_eq!(
        remarks(&place, &format!("{DRY} --sparsity 0")),
        ["nothing is sparse, so that `rigl` trains the dense network"]
    );
}

#[test]
fn a_sparsity_that_patterns_taken_over_have_not_is_refused() {
    let place = place();
    let half = FEW.replace("--dry-run", "--run-dir half").replace("length=30", "length=2");
    place.run(&format!("{half} --method static --sparsity .5")).succeeded();
    let taken = format!("{FEW} --method static --set method.start.run=half");
    let error = "`--sparsity`: `method.sparsity` is `0.9`, but the patterns of `method.start.run` = `half` stay as they are, \
                 58.68 % sparse";
    refused(
        &place,
        &format!("{taken} --sparsity .9"),
        error,
        "leave it out, or start from a run of that sparsity",
    );
    place.run(&format!("{taken} --sparsity .5")).succeeded();
    let [only] = &remarks(&place, &taken)[..] else { panic!() };
    assert!(only.starts_with("the network is 58.68 % sparse"), "{only}");
    // Pruning goes on from there to what is asked for.
    let pruned =
        format!("{FEW} --method pruning --set method.start.run=half --set method.updates.interval=5");
    assert_eq!(remarks(&place, &format!("{pruned} --sparsity .9")), [""; 0]);
}

#[test]
fn a_network_is_not_narrowed_to_what_no_width_makes_of_it() {
    let place = place();
    refused(
        &place,
        &format!("{DRY} --method small-dense --sparsity .9999"),
        "`--sparsity`: no width of the network makes it as small as 30 weights: the narrowest has 795",
        "",
    );
    assert_eq!(remarks(&place, &format!("{DRY} --method small-dense --sparsity .9")), [""; 0]);
}

#[test]
fn points_of_updates_that_leave_none_in_the_run_are_refused_where_they_were_asked_for() {
    let place = place();
    refused(
        &place,
        &format!("{DRY} --set method.updates.begin=300 --set method.updates.end=400"),
        "`--set`: `method.updates.begin`: updates begin at step 300 of 300, so that none falls into the run, expected one at \
         least",
        "method.updates.begin = \"auto\"",
    );
    refused(
        &place,
        &format!("{DRY} --set method.updates.begin=290"),
        "`--set`: `method.updates.begin` is step 290 of 300, expected a step before 225, where updates end",
        "",
    );
    let none = "no topology update falls into the run of 1 step: the patterns stay as they begin";
    let short = DRY.replace("length=300", "length=1");
    assert_eq!(remarks(&place, &short), [none, "the run is of one step"]);
}

#[test]
fn what_is_odd_about_a_run_is_said_in_a_line() {
    let place = place();
    let cases = [
        (
            "--method set --set method.updates.end=30 --set method.updates.interval=29",
            "the last topology update comes after the last step: what it grows is not trained",
        ),
        (
            "--set method.updates.drop-fraction=0",
            "topology updates replace nothing: a share of 0 (`method.updates.drop-fraction`) is no weight of any layer",
        ),
        (
            "--set schedule.milestones=[10,30,40]",
            "2 of 3 points of `schedule.milestones` lie beyond the run of 30 steps",
        ),
        (
            "--set schedule.warmup=30",
            "`schedule.warmup` is of 30 steps and the run of 30: the learning rate never is what `schedule.learning-rate` says",
        ),
        (
            "--set data.batch=200",
            "a batch is of 200 samples and there are 100: each comes several times in every batch",
        ),
        ("--set data.train-samples=101", "`data.train-samples` is 101, but there are 100: all are used"),
        ("--set data.test-samples=51", "`data.test-samples` is 51, but there are 50: all are used"),
    ];
    for (flags, remark) in cases {
        assert_eq!(remarks(&place, &format!("{FEW} {flags}")), [remark], "{flags}");
    }
    assert_eq!(remarks(&place, FEW), [""; 0]);
    // It is said at the start of training too, and of the runs of a sweep.
    let begun = FEW.replace("--dry-run", "--run-dir run").replace("length=30", "length=2");
    let said = place.run(&format!("{begun} --set data.train-samples=101")).succeeded();
    assert!(
        said.err.contains("\nnote: `data.train-samples` is 101, but there are 100: all are used\n"),
        "{}",
        said.err
    );
    let sweep =
        "preset = 'quickstart'\n[set]\n'data.name' = 'mnist'\n'data.batch' = 200\n[grid]\nseed = [0, 1]\n";
    place.write("s.toml", sweep);
    let said = place.run("sweep s.toml --dry-run --data-dir data").succeeded();
    let note = "note: 2 of 2 runs: a batch is of 200 samples and there are 100: each comes several times in every batch";
    assert!(said.err.contains(note), "{}", said.err);
}

#[test]
fn a_unit_without_the_points_that_were_in_another_is_refused() {
    let place = place();
    let unit = "train quickstart --dry-run --set schedule.unit=steps";
    let in_epochs = |key: &str, value: &str| {
        format!(
            "`--set`: `schedule.unit` is `steps`, but `schedule.{key}` is `{value}` in epochs, expected it in steps too"
        )
    };
    refused(&place, unit, &in_epochs("length", "60"), "");
    refused(
        &place,
        &format!("{unit} --set schedule.length=300"),
        &in_epochs("milestones", "[36, 51]"),
        "schedule.milestones = []",
    );
    place.write("my.toml", "preset = 'quickstart'\nschedule.warmup = 1");
    refused(
        &place,
        "train my.toml --dry-run --set schedule.unit=steps --set schedule.length=9 --set schedule.milestones=[]",
        &in_epochs("warmup", "1"),
        "schedule.warmup = 0",
    );
    place.run(&format!("{unit} --set schedule.unit=epochs")).succeeded();
}

#[test]
fn numbers_that_32_bits_do_not_hold_are_refused_at_their_key() {
    let place = place();
    let bits = "(in 32 bits: 0, or 1.2e-38 to 3.4e38 in size)";
    for (flags, key, value, allowed) in [
        ("", "optimizer.l2", "1e308", "a number ≥ 0"),
        ("", "optimizer.l2", "1e-320", "a number ≥ 0"),
        ("", "optimizer.momentum", "0.9999999999", "a number with 0 ≤ momentum < 1"),
        ("", "schedule.learning-rate", "1e300", "a number > 0"),
        ("", "data.std", "[1e-320]", "a list of numbers > 0, one for all channels or one per channel"),
        ("", "data.mean", "[1e300]", "a list of finite numbers, one for all channels or one per channel"),
        ("--method mest", "method.drop.gradient", "1e300", "a number ≥ 0"),
        ("--method dsr", "method.drop.threshold", "1e-320", "a number > 0"),
        ("--method deepr", "method.drop.pull", "1e300", "a number ≥ 0"),
        ("--method deepr", "method.drop.temperature", "1e300", "`auto` or a number ≥ 0"),
        ("--method snfs", "method.grow.average", "0.9999999999", "a number with 0 ≤ average < 1"),
        ("", "model.label-smoothing", "1e-320", "a number with 0 ≤ label-smoothing < 1"),
    ] {
        let error = format!("`--set`: `{key}` is `{value}`, expected {allowed} {bits}");
        refused(&place, &format!("{DRY} {flags} --set {key}={value}"), &error, "");
    }
    refused(
        &place,
        &format!("{DRY} --set data.mean=[1e38] --set data.std=[2e-38]"),
        "`--set`: `data.mean` is 1e38 and `data.std` 2e-38 in channel 0, expected numbers of which 32 bits hold the quotient",
        "",
    );
    let small = format!("0.{}1", "0".repeat(29));
    refused(
        &place,
        &format!("train quickstart --dry-run --set schedule.divide-by=[{small}]"),
        &format!(
            "`--set`: `schedule.divide-by` is `[{small}]`, with which the learning rate becomes 1.0e59, expected one that 32 \
             bits hold"
        ),
        "",
    );
}

#[test]
fn a_multiplier_scales_the_recipes_own_in_every_command() {
    let place = place();
    place.write("my.toml", "preset = 'quickstart'\nmultiplier = 0.5");
    place.write("s.toml", "base = 'my.toml'\n[grid]\nseed = [0]\n");
    let steps =
        |line: &str| place.run(&format!("{line} --json")).succeeded().json()["steps"].as_u64().unwrap();
    assert_eq!(steps("train my.toml --dry-run"), 3600);
    assert_eq!(steps("train my.toml --dry-run --multiplier 0.1"), 360);
    assert_eq!(steps("sweep s.toml --dry-run --multiplier 0.1"), 360);
    assert_eq!(steps("train my.toml --dry-run --set multiplier=0.1"), 720);
}

#[test]
fn plans_count_with_the_data_that_are_there() {
    let place = place();
    let recipe = "preset = 'mnist-lenet'\n[set]\n'schedule.length' = 10\n'schedule.milestones' = []\n'method.updates.end' = 5\n\
                  [grid]\nseed = [0]\n";
    place.write("s.toml", recipe);
    let plan = |data: &str| place.run(&format!("sweep s.toml --dry-run --data-dir {data}")).succeeded();
    let planned = |data: &str| {
        place.run(&format!("sweep s.toml --dry-run --json --data-dir {data}")).succeeded().json()
    };
    assert_eq!(planned("data")["steps"], 10);
    assert_eq!(planned("nowhere")["steps"], 6000);
    let note = "the files of data set `mnist` could not be read: its runs are counted for the set as it is published";
    assert!(plan("nowhere").err.contains(note) && !plan("data").err.contains(note));
    let flops = |flags: &str| {
        let line =
            format!("flops quickstart --set data.name=mnist --set method.updates.end=5 --json {flags}");
        place.run(&line).succeeded().json()["training"]["rigl"]["run_of_dense"].clone()
    };
    assert!(number(&flops("--data-dir data")) > number(&flops("")));
    refused(
        &place,
        "flops mlp --data-dir data --input 1x28x28 --classes 10",
        "`--data-dir` does nothing where a network is named: the samples are those that it is usually for",
        "--set data.name=drawn-digits",
    );
}

#[test]
fn an_option_that_none_of_several_networks_has_is_refused_with_all_of_them() {
    let place = place();
    place.write("s.toml", "[set]\n'model.frobs' = 1\n[grid]\n'model.name' = ['lenet-300-100', 'mlp']\n");
    refused(
        &place,
        "sweep s.toml --dry-run",
        "`s.toml` line 2: none of the networks `lenet-300-100`, `mlp` has an option `model.frobs`",
        "",
    );
}
