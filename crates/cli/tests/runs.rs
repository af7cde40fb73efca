//! `rigl runs`: what a list of runs says of each.

mod support;

use support::Place;

const SHORT: &str = "--set schedule.unit=steps --set schedule.length=20 --set schedule.milestones=[] --set data.train-samples=200 --set data.test-samples=100 --no-progress";

fn trained() -> Place {
    let place = Place::new();
    place.run(&format!("train quickstart {SHORT} --run-dir runs/a")).succeeded();
    place.run(&format!("train quickstart {SHORT} --method dense --run-dir runs/sub/b")).succeeded();
    let diverged =
        place.run(&format!("train quickstart {SHORT} --set schedule.learning-rate=1e30 --run-dir runs/c"));
    assert_eq!(diverged.code, Some(1), "{}", diverged.err);
    // Killed before its summary was written.
    place.run(&format!("train quickstart {SHORT} --run-dir runs/d")).succeeded();
    rigl_base::files::remove(&place.path("runs/d/summary.json")).unwrap();
    place
}

#[test]
fn a_list_tells_what_each_run_is_where_it_stands_and_how_to_go_on() {
    let place = trained();
    let said = place.run("runs").succeeded();
    let line = |run: &str| {
        said.out.lines().find(|line| line.starts_with(run)).unwrap_or_else(|| panic!("{}", said.out))
    };
    for (run, parts) in [
        ("runs/a ", ["rigl", "90.00 %", "finished"]),
        ("runs/sub/b ", ["dense", "0.00 %", "finished"]),
        ("runs/c ", ["rigl", "90.00 %", "diverged, "]),
        ("runs/d ", ["rigl", "90.00 %", "stopped, 20 steps"]),
    ] {
        for part in parts {
            assert!(line(run).contains(part), "{run} {part}: {}", said.out);
        }
    }
    assert!(said.err.contains("`rigl train --resume runs/d` goes on"), "{}", said.err);
    assert!(said.err.contains("rigl train runs/c/config.toml --set schedule.learning-rate="), "{}", said.err);
    // What it says of going on is so.
    place.run("train --resume runs/d --no-progress").succeeded();
    let json = place.run("runs runs/d runs/a --json").json();
    let states: Vec<_> =
        json["runs"].as_array().unwrap().iter().map(|run| run["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["finished", "finished"]);
    assert_eq!(json["runs"][0]["accuracy"], json["runs"][1]["accuracy"]);
}

#[test]
fn a_run_that_prunes_is_as_sparse_as_its_last_update_left_it() {
    let place = Place::new();
    let pruning = SHORT.replace("length=20", "length=40");
    let updates = "--method pruning --set method.updates.begin=5 --set method.updates.end=30 --set method.updates.interval=5";
    place.run(&format!("train quickstart {pruning} {updates} --run-dir runs/p")).succeeded();
    // Killed before it wrote that it ended.
    rigl_base::files::remove(&place.path("runs/p/summary.json")).unwrap();
    let log = std::fs::read_to_string(place.path("runs/p/metrics.jsonl")).unwrap();
    let log: String =
        log.lines().filter(|line| !line.contains("\"end\"")).map(|line| format!("{line}\n")).collect();
    place.write("runs/p/metrics.jsonl", log);
    let run = &place.run("runs --json").succeeded().json()["runs"][0];
    assert_eq!(run["state"], "stopped");
    assert!((run["sparsity"].as_f64().unwrap() - 0.9).abs() < 0.01, "{run}");
}

#[test]
fn one_run_that_cannot_be_read_ends_no_list_and_no_runs_are_said_to_be_none() {
    let place = trained();
    place.write("runs/a/summary.json", "{");
    place.write("runs/notes/plan.txt", "more");
    let said = place.run("runs");
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.out.contains("unreadable") && said.out.contains("finished"), "{}", said.out);
    assert!(said.err.contains("`runs/a` cannot be read: "), "{}", said.err);
    // What has lost its configuration and its log is no less a run, and the way on is told.
    for lost in ["config.toml", "metrics.jsonl"] {
        rigl_base::files::remove(&place.path(&format!("runs/sub/b/{lost}"))).unwrap();
        let said = place.run("runs");
        assert!(
            said.code == Some(1) && said.err.contains("`runs/sub/b` cannot be read: "),
            "{lost}: {}",
            said.err
        );
    }
    let none = place.run("runs runs/notes").succeeded();
    assert!(none.out.is_empty() && none.err.contains("no runs in `runs/notes`"), "{}", none.err);
    let empty = Place::new().run("runs");
    assert!(empty.code == Some(2) && empty.err.contains("there is no folder `runs` here"), "{}", empty.err);
    let missing = place.run("runs elsewhere");
    assert!(missing.code == Some(2) && missing.err.contains("`elsewhere`"), "{}", missing.err);
}
