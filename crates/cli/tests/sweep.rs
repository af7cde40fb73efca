//! `rigl sweep`: however it is killed, it comes to the same table, no run lost or done twice; a run that fails does not
//! end the others.
#![cfg(unix)]

mod support;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rigl_base::files;
use rigl_base::random::{Purpose, Stream};
use rigl_metrics::RunFolder;
use serde_json::Value;
use support::{Place, Said, events, refused, same_run, spawn};

/// Twelve short runs with everything in them that a checkpoint must carry, saved after every batch.
const GRID: &str = "
[set]
'data.name' = 'mnist'
'data.batch' = 20
'schedule.unit' = 'steps'
'schedule.length' = 40
'method.update-interval' = 4
'checkpoint.every-seconds' = 0
'log.every-steps' = 7
'log.patterns' = 5

[grid]
'method.name' = ['static', 'set', 'rigl']
'method.sparsity' = [0.9, 0.95]
seed = [0, 1]
";

/// What methods that never update have no use for.
const UPDATES: &str = "'method.update-interval' = 4\n";

const SWEEP: &str = "sweep grid.toml --data-dir data --jobs 2";

fn place(sweep: &str) -> Place {
    let place = Place::new();
    place.write_data(500, 100);
    place.write("grid.toml", sweep);
    place
}

fn start(place: &Place) -> Child {
    let mut command = place.command(SWEEP.split_whitespace());
    // In a group of its own, so that it can be killed with its children.
    command.process_group(0);
    spawn(command)
}

fn signal(signal: &str, target: &str) {
    assert!(Command::new("kill").args([signal, "--", target]).status().unwrap().success());
}

#[track_caller]
fn wait_until(what: &str, ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The folders of runs in that of a sweep.
fn runs(place: &Place) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place.path("sweeps/grid")).unwrap();
    let mut runs: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    runs.sort();
    runs
}

/// The summaries that there are, by run.
fn summaries(place: &Place) -> BTreeMap<PathBuf, Vec<u8>> {
    if !place.path("sweeps/grid").is_dir() {
        return BTreeMap::new();
    }
    let read = |run: PathBuf| Some((run.clone(), std::fs::read(run.join("summary.json")).ok()?));
    runs(place).into_iter().filter_map(read).collect()
}

/// A sweep's table without what depends on time.
fn table(place: &Place) -> Value {
    let text = std::fs::read_to_string(place.path("sweeps/grid/table.json")).unwrap();
    let mut table: Value = serde_json::from_str(&text).unwrap();
    for row in table["rows"].as_array_mut().unwrap() {
        row.as_object_mut().unwrap().remove("seconds").unwrap();
        for run in row["finished"].as_array_mut().unwrap() {
            run.as_object_mut().unwrap().remove("seconds").unwrap();
        }
    }
    table
}

#[test]
fn a_sweep_killed_three_times_comes_to_the_same_table_and_does_no_run_twice() {
    let whole = place(GRID);
    let said = whole.run(SWEEP).succeeded();
    assert_eq!(said.out, std::fs::read_to_string(whole.path("sweeps/grid/table.md")).unwrap());
    assert_eq!(said.out.lines().count(), 2 + 6, "{}", said.out);
    assert_eq!(runs(&whole).len(), 12);

    let killed = place(GRID);
    let mut draws = Stream::new(4, Purpose::Test, 0).draws();
    let (mut kills, mut finished) = (0, BTreeMap::new());
    while kills < 3 {
        let sweep = start(&killed);
        // At a random moment, after one run more or two.
        let wanted = finished.len() + 1 + draws.below(2) as usize;
        wait_until("some runs are finished", || summaries(&killed).len() >= wanted);
        std::thread::sleep(Duration::from_secs_f64(0.1 * draws.uniform()));
        // With its children, and without them: then they are still there when the next one begins.
        let children = if kills % 2 == 0 { "-" } else { "" };
        signal("-KILL", &format!("{children}{}", sweep.id()));
        assert_eq!(Said::from(sweep.wait_with_output().unwrap()).code, None);
        kills += 1;
        finished.extend(summaries(&killed));
    }
    assert!(finished.len() < 12, "nothing was left to be done");
    Said::from(start(&killed).wait_with_output().unwrap()).succeeded();

    assert_eq!(table(&killed), table(&whole));
    let [all, undisturbed] = [&killed, &whole].map(runs);
    assert_eq!(all.len(), 12);
    for (run, undisturbed) in all.iter().zip(&undisturbed) {
        assert_eq!(run.file_name(), undisturbed.file_name());
        // Begun once, and no step is in the log twice: it is that of the run that nobody killed.
        assert_eq!(events(run, &["run"]).len(), 1, "{}", run.display());
        same_run(run, undisturbed);
    }
    let after = summaries(&killed);
    for (run, summary) in finished {
        assert_eq!(after[&run], summary, "{} was done again", run.display());
    }
    // Once more there is nothing to do.
    let before = killed.contents();
    killed.run(SWEEP).succeeded();
    assert_eq!(summaries(&killed), after);
    assert_eq!(killed.contents().len(), before.len());
}

#[test]
fn an_interrupted_sweep_lets_its_runs_save_and_goes_on() {
    let place = place(GRID);
    // To all of the group, as a terminal does it, and to the sweep alone.
    for (name, group, code) in [("-INT", "-", 130), ("-TERM", "", 143)] {
        let sweep = start(&place);
        let finished = summaries(&place).len();
        wait_until("some runs are finished", || summaries(&place).len() > finished + 1);
        signal(name, &format!("{group}{}", sweep.id()));
        let said = Said::from(sweep.wait_with_output().unwrap());
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{}", said.err);
        assert!(said.err.contains("the same command goes on with it"), "{}", said.err);
        assert!(!said.err.contains("warning"), "{}", said.err);
        // Nobody is left behind.
        assert!(runs(&place).iter().all(|run| RunFolder::open(run).unwrap().in_use().unwrap().is_none()));
        assert!(!place.path("sweeps/grid/table.json").exists());
    }
    let said = place.run(&format!("{SWEEP} --table")).succeeded();
    assert!(said.out.contains(" of 2 |"), "{}", said.out);
    place.run(SWEEP).succeeded();
    assert_eq!(summaries(&place).len(), 12);
    assert!(runs(&place).iter().all(|run| events(run, &["run"]).len() == 1));
}

#[test]
fn a_run_that_fails_is_named_and_the_others_are_done() {
    let place = place(&GRID.replace("seed = [0, 1]", "'schedule.learning-rate' = [1e30, 0.1]"));
    let said = place.run(SWEEP);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(summaries(&place).len(), 6);
    let failed: Vec<&str> =
        said.err.lines().filter(|line| line.contains("` failed: a number at step ")).collect();
    assert_eq!(failed.len(), 6, "{}", said.err);
    assert!(failed.iter().all(|line| line.contains("schedule.learning-rate.1000")), "{}", said.err);
    assert!(said.err.contains("6 of 12 runs failed"), "{}", said.err);
    assert_eq!(said.out.lines().filter(|line| line.contains("| 0 of 1 |")).count(), 6, "{}", said.out);
    let logs = std::fs::read_dir(place.path("sweeps/grid")).unwrap();
    let logs = logs.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "log"));
    assert_eq!(logs.count(), 6);
    // What is finished stays so.
    let before = summaries(&place);
    let said = place.run(&format!("{SWEEP} --json"));
    assert_eq!((said.code, said.json()["failed"].as_array().unwrap().len()), (Some(1), 6));
    assert_eq!(summaries(&place), before);
}

#[test]
fn a_run_that_cannot_be_read_is_named_and_the_others_are_done() {
    let place = place(&GRID.replace("'static', 'set', 'rigl'", "'set'"));
    place.run(SWEEP).succeeded();
    let broken = "sweeps/grid/method.name.set-method.sparsity.0.9-seed.0";
    place.write(&format!("{broken}/summary.json"), "{");
    place.remove_folder("sweeps/grid/method.name.set-method.sparsity.0.95-seed.1");
    let warning = format!(
        "warning: run `method.name.set-method.sparsity.0.9-seed.0` failed: `{broken}/summary.json` is not a summary"
    );
    for (line, rows) in [(SWEEP.to_string(), ["1 of 2", "2"]), (format!("{SWEEP} --table"), ["1 of 2", "2"])]
    {
        let said = place.run(&line);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.err.contains(&warning) && !said.err.contains("RUN.log"), "{}", said.err);
        assert!(!said.err.contains("tries them again"), "{}", said.err);
        assert!(rows.iter().all(|n| said.out.contains(&format!(" {n} |"))), "{}", said.out);
    }
    let said = place.run(&format!("{SWEEP} --dry-run"));
    assert_eq!((said.code, said.out.matches("unreadable").count()), (Some(1), 1), "{}", said.out);
    assert_eq!(summaries(&place).len(), 4);
}

#[test]
fn what_is_done_or_has_begun_needs_no_run_to_start_from_and_what_is_done_no_data() {
    let short = GRID.replace("'static', 'set', 'rigl'", "'static'").replace("[0.9, 0.95]", "[0.9]");
    let place = place(&short.replace(UPDATES, "").replace("[grid]", "'method.start-from' = 'dense'\n[grid]"));
    let line = "--data-dir data --set data.name=mnist --set data.batch=20 --set schedule.unit=steps --set schedule.milestones=[]";
    place.run(&format!("train --method dense --run-dir dense --set schedule.length=5 {line}")).succeeded();
    place.run(SWEEP).succeeded();
    place.remove_folder("dense");
    let run = "sweeps/grid/method.name.static-method.sparsity.0.9-seed.0";
    // There is a checkpoint to go on from.
    files::remove(&place.path(run).join("summary.json")).unwrap();
    place.run(SWEEP).succeeded();
    place.remove_folder("data");
    let said = place.run(SWEEP).succeeded();
    assert_eq!(said.out.lines().count(), 2 + 1, "{}", said.out);
    place.remove_folder(run);
    place.write_data(500, 100);
    let error = "run `method.name.static-method.sparsity.0.9-seed.0` starts from `dense`, which is not there";
    refused(&place, SWEEP, error, "");
}

#[test]
fn runs_that_start_from_another_are_planned_with_its_patterns() {
    let short =
        GRID.replace("'static', 'set', 'rigl'", "'static', 'snip', 'dense'").replace("[0.9, 0.95]", "[0.5]");
    let short = short.replace("[0, 1]", "[0]").replace("[grid]", "'method.start-from' = 'half'\n[grid]");
    let place = place(&short.replace(UPDATES, ""));
    let note = "3 of 3 runs start from runs that cannot be taken over now, and are counted as their distribution says";
    let dry = format!("{SWEEP} --dry-run");
    assert!(place.run(&dry).succeeded().err.contains(note));
    let line = "--data-dir data --set data.name=mnist --set data.batch=20 --set schedule.unit=steps --set schedule.milestones=[]";
    let half = "train quickstart --method static --sparsity 0.5 --run-dir half --set schedule.length=5";
    place.run(&format!("{half} {line}")).succeeded();
    assert!(!place.run(&dry).succeeded().err.contains("start from runs"));
    let planned = place.run(&format!("{dry} --json")).succeeded().json();
    place.run(SWEEP).succeeded();
    for run in planned["runs"].as_array().unwrap() {
        let summary = support::summary(&place.path(run["run"].as_str().unwrap()));
        let taken = summary.training.flops * (summary.draws * 20) as f64;
        let flops = run["flops"].as_f64().unwrap();
        assert!((flops / taken - 1.0).abs() < 1e-9, "{}: {flops} of {taken}", summary.method);
    }
}

#[test]
fn a_run_takes_no_more_memory_than_was_planned_for_it() {
    let place = place(&GRID.replace("[0.9, 0.95]", "[0.9]").replace("[0, 1]", "[0]"));
    let planned = place.run(&format!("{SWEEP} --dry-run --json")).succeeded().json();
    place.run(SWEEP).succeeded();
    for run in planned["runs"].as_array().unwrap() {
        let summary = support::summary(&place.path(run["run"].as_str().unwrap()));
        let planned = run["planned_bytes"].as_u64().unwrap();
        let peak = summary.peak_memory_bytes.unwrap_or(0);
        assert!(peak <= planned, "{}: {peak} of {planned}", summary.method);
    }
}

#[test]
fn a_run_that_another_process_trains_is_waited_for() {
    let place = place(GRID);
    let sweep = start(&place);
    let first = place.path("sweeps/grid/method.name.static-method.sparsity.0.9-seed.0");
    wait_until("the first run has begun", || first.join("config.toml").is_file());
    signal("-TERM", &sweep.id().to_string());
    sweep.wait_with_output().unwrap();
    let lock = RunFolder::open(&first).unwrap().lock().unwrap();
    let sweep = start(&place);
    // There is one sweep in a folder at a time.
    wait_until("the sweep holds its lock", || place.path("sweeps/grid/sweep.lock").is_file());
    wait_until("the others are finished", || summaries(&place).len() == 11);
    let second = place.run(SWEEP);
    assert_eq!((second.code, second.out.as_str()), (Some(2), ""));
    assert!(
        second.err.contains(&format!("`sweeps/grid` is in use by process {}", sweep.id())),
        "{}",
        second.err
    );
    drop(lock);
    let said = Said::from(sweep.wait_with_output().unwrap()).succeeded();
    let line = format!("is in use by process {} ", std::process::id());
    assert_eq!(said.err.matches(&line).count(), 1, "{}", said.err);
    assert_eq!(summaries(&place).len(), 12);
}

#[test]
fn a_dry_run_lists_the_runs_with_their_cost_and_a_multiplier_scales_them_all() {
    let place =
        place("[set]\n'schedule.unit' = 'steps'\n'schedule.length' = 1000\n[grid]\nmultiplier = [1, 2]\n");
    let before = place.contents();
    let text = place.run("sweep grid.toml --dry-run").succeeded().out;
    assert!(
        text.contains("\nmultiplier.1  new          90.00 %  1,000  ")
            && text.contains("\n2 runs        0 finished            3,000  "),
        "{text}"
    );
    let value =
        place.run("sweep grid.toml --dry-run --multiplier 0.5 --set data.batch=10 --json").succeeded().json();
    assert_eq!(value["folder"], "sweeps/grid-x0.5-data.batch.10");
    let steps: Vec<&Value> = value["runs"].as_array().unwrap().iter().map(|run| &run["steps"]).collect();
    assert_eq!(steps, [500, 1000]);
    // LeNet's 266,200 weights at density .1, RigL: (3 · 26,620 · 100 + 2 · 26,620 + 266,200)/101 · 2 per sample, about.
    let flops = value["runs"][0]["flops"].as_f64().unwrap();
    assert!((flops / (500.0 * 10.0 * 163_000.0) - 1.0).abs() < 0.02, "{flops}");
    assert_eq!(place.contents(), before);
}

#[test]
fn the_table_of_a_sweep_and_a_comparison_of_its_folder_are_the_same() {
    let grid = GRID.replace("'rigl'", "'dense'").replace("seed = [0, 1]", "seed = [3]");
    // A dense network has no sparsity: at two of them it is one run.
    let same = "would count as two";
    assert!(place(&grid).run(SWEEP).err.contains(same));
    let sweep = place(&(grid + "[[exclude]]\n'method.name' = 'dense'\n'method.sparsity' = 0.95\n"));
    let said = sweep.run(SWEEP).succeeded();
    let rows = |text: &str| -> Vec<String> {
        let mut rows: Vec<String> = text.lines().map(String::from).collect();
        rows[2..].sort();
        rows
    };
    let compared = sweep.run("compare sweeps/grid").succeeded();
    assert_eq!((rows(&compared.out), compared.out.lines().count()), (rows(&said.out), 2 + 5));
    let one = sweep.run("compare sweeps/grid/method.name.set-method.sparsity.0.9-seed.3 --csv").succeeded();
    let csv = std::fs::read_to_string(sweep.path("sweeps/grid/table.csv")).unwrap();
    assert!(csv.lines().any(|line| Some(line) == one.out.lines().nth(1)), "{csv}{}", one.out);
    let json = sweep.run("compare sweeps/grid sweeps/grid/method.name.set-method.sparsity.0.9-seed.3 --json");
    assert_eq!(json.json()["rows"].as_array().unwrap().len(), 5, "a run named twice counts once");
}

#[test]
fn mistakes_are_told_in_one_line_before_anything_begins() {
    let place = place(GRID);
    let file = |text: &str| place.write("s.toml", text);
    let refuse = |error: &str, hint: &str| refused(&place, "sweep s.toml --data-dir data", error, hint);
    refused(&place, "sweep n.toml", "cannot read `n.toml`: No such file or directory (os error 2)", "");
    file("[grid]\n'method.sparsty' = [0.9]");
    refuse("`s.toml` line 2: unknown key `method.sparsty`", "method.sparsity");
    file("[grid]\nseed = [0]\n'method.sparsity' = [\n  0.9,\n  90]");
    let range = "expected a number with 0 ≤ sparsity < 1";
    refuse(&format!("`s.toml` line 3: `method.sparsity` is `90`, {range}"), "0.9");
    file("[grid]\nseed = [0]\n[set]\n'method.name' = 'rigel'");
    let said = place.run("sweep s.toml");
    assert!(said.err.starts_with("error: `s.toml` line 4: no method is called `rigel`"), "{}", said.err);
    file("preset = 'quikstart'\n[grid]\nseed = [0]");
    let said = place.run("sweep s.toml");
    assert!(said.err.starts_with("error: no preset is called `quikstart`, allowed are"), "{}", said.err);
    file("base = 'b.toml'\n[grid]\nseed = [0]");
    refuse("`s.toml`: `base`: cannot read `b.toml`: No such file or directory (os error 2)", "");
    place.write("b.toml", "[data]\nbatchs = 3");
    refuse("`b.toml` line 2: unknown key `data.batchs`", "data.batch");
    file("[grid]\nseed = [0]\n[set]\n'method.layers' = { fcl = 0.5 }");
    let said = place.run("sweep s.toml");
    assert!(said.err.starts_with("error: run `seed.0`: ") && said.err.contains("`fcl`"), "{}", said.err);
    file("[grid]\nseed = [0]\n[set]\n'data.batch' = 16000000");
    let said = place.run("sweep s.toml");
    assert!(said.err.contains("run `seed.0` needs") && said.err.contains("GiB of memory"), "{}", said.err);
    file("[grid]\nseed = [0]\n[set]\n'data.name' = 'cifar10'");
    let said = place.run("sweep s.toml --data-dir data");
    assert!(said.err.ends_with("\nhint: rigl data fetch cifar10 --data-dir data\n"), "{}", said.err);
    refused(
        &place,
        "sweep grid.toml --set seed=3",
        "`--set`: `seed` is varied by the grid of `grid.toml`",
        "",
    );
    refused(
        &place,
        "sweep grid.toml --multiplier -1",
        "`--multiplier`: `multiplier` is `-1`, expected a number with 0 < multiplier ≤ 1000000",
        "",
    );
    refused(&place, "compare data", "`data` is not a run: it has no `config.toml`", "");
    assert!(!place.path("sweeps").exists());
}

#[test]
fn a_file_that_changed_since_is_told_by_run_and_key() {
    let small = GRID.replace("'static', 'set', 'rigl'", "'set'").replace("0.9, 0.95", "0.9");
    let place = place(&small);
    place.run(SWEEP).succeeded();
    place.write("grid.toml", small.replace("'schedule.length' = 40", "'schedule.length' = 50"));
    let run = "sweeps/grid/method.name.set-method.sparsity.0.9-seed.0";
    for line in [SWEEP, "sweep grid.toml --table", "sweep grid.toml --dry-run"] {
        refused(
            &place,
            line,
            &format!("`{run}` holds a run with `schedule.length` = `40`, where the sweep says `50`"),
            "take another folder with `--out DIR`, or delete this one",
        );
    }
    place.run(&format!("{SWEEP} --out elsewhere")).succeeded();
    assert!(place.path("elsewhere/table.md").is_file());
    // A grid that grows keeps what there is; what decides no result may change.
    place.write("grid.toml", small.replace("'set'", "'set', 'rigl'").replace("'log.every-steps' = 7", ""));
    let before = summaries(&place);
    place.run(SWEEP).succeeded();
    let after = summaries(&place);
    assert_eq!((before.len(), after.len()), (2, 4));
    assert!(before.iter().all(|(run, summary)| after[run] == *summary));
}

#[test]
fn an_unfinished_run_is_compared_only_if_nobody_named_it() {
    let place = place(&GRID.replace("'static', 'set', 'rigl'", "'set'"));
    place.run(SWEEP).succeeded();
    let run = "sweeps/grid/method.name.set-method.sparsity.0.9-seed.0";
    files::remove(&place.path(run).join("summary.json")).unwrap();
    let said = place.run("compare sweeps/grid -q").succeeded();
    assert_eq!(said.err, format!("warning: run `{run}` is not finished, and left out\n"));
    let hint = format!("rigl train --resume {run}");
    refused(&place, &format!("compare {run}"), &format!("run `{run}` is not finished"), &hint);
    // Among others that are named, as by a pattern, it does not keep these from being compared; but it was meant.
    let said = place.run(&format!("compare sweeps/grid/method.name.set-method.sparsity.0.95-seed.0 {run}"));
    assert_eq!(said.code, Some(1));
    let row = "row 1: sweeps/grid/method.name.set-method.sparsity.0.95-seed.0";
    assert_eq!(said.err, format!("warning: run `{run}` is not finished, and left out\n{row}\n"));
    assert_eq!(said.out.lines().count(), 3, "{}", said.out);
    assert!(Path::new(&place.path(run)).is_dir());
}

#[test]
fn a_run_that_cannot_be_read_is_named_and_left_out_of_a_comparison() {
    let place = place(&GRID.replace("'static', 'set', 'rigl'", "'set'"));
    place.run(SWEEP).succeeded();
    let run = |rest: &str| format!("sweeps/grid/method.name.set-method.sparsity.{rest}");
    let [summary, config, lost] = ["0.9-seed.0", "0.9-seed.1", "0.95-seed.0"].map(run);
    place.write(&format!("{summary}/summary.json"), "{");
    place.write(&format!("{config}/config.toml"), "[method]\nnaem = 'set'");
    files::remove(&place.path(&lost).join("config.toml")).unwrap();
    let each = [
        (&summary, format!("`{summary}/summary.json` is not a summary")),
        (&config, format!("`{config}/config.toml` line 2: unknown key `method.naem`")),
        (&lost, format!("`{lost}` has lost its `config.toml`")),
    ];
    let said = place.run("compare sweeps/grid -q");
    assert_eq!((said.code, said.out.lines().count()), (Some(1), 3), "{}", said.out);
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines.len(), 3, "{}", said.err);
    for ((run, reason), line) in each.iter().zip(lines) {
        assert!(line.starts_with(&format!("warning: run `{run}` is left out: {reason}")), "{line}");
    }
    let said = place.run("compare sweeps/grid --json");
    let left_out = said.json()["left_out"].as_array().unwrap().clone();
    assert_eq!((said.code, left_out.len()), (Some(1), 3));
    assert_eq!(left_out[0]["run"], summary.as_str());
    // One that is named by itself is the whole of what was asked.
    for (run, reason) in &each {
        let said = place.run(&format!("compare {run}"));
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
        assert!(said.err.starts_with(&format!("error: {reason}")), "{}", said.err);
    }
}
