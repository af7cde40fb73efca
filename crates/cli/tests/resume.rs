//! `rigl train --resume`: a run may be ended at any moment, and comes to the same bits as one that was not.
//!
//! `RIGL_TEST_KILLS` sets how many kills at random moments there are, 10 if it is not set.
#![cfg(unix)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rigl_base::files;
use rigl_base::random::{Purpose, Stream};
use support::{Place, Said, checkpoints, events, kill, kills, newest, same_run, spawn};

/// Short, with everything in it that a checkpoint must carry: momentum, updates, a milestone, a validation split, sums
/// between two records of the log; and with images changed at random. Saved after every batch.
const CONFIG: &str = "
[data]
name = 'mnist'
batch = 20
validation = 0.2
augment = 'crop-flip'
standardize = 'per-image'

[schedule]
unit = 'steps'
length = 60
milestones = [40]
divide-by = [5]

[method]
update-interval = 2

[checkpoint]
every-seconds = 0

[log]
every-steps = 7
evaluate-every = 1
training-loss = true
patterns = 10
";

/// A folder with data and a configuration.
fn place(config: &str) -> Place {
    let place = Place::new();
    place.write_data(500, 100);
    place.write("run.toml", config);
    place
}

/// The run that nobody interrupts.
struct Whole {
    place: Place,
    took: Duration,
}

impl Whole {
    fn of(config: &str) -> Whole {
        let place = place(config);
        let began = Instant::now();
        place.run("train run.toml --run-dir whole --data-dir data --threads 1").succeeded();
        Whole { place, took: began.elapsed() }
    }

    /// That of `CONFIG`.
    fn get() -> &'static Whole {
        static WHOLE: OnceLock<Whole> = OnceLock::new();
        WHOLE.get_or_init(|| Whole::of(CONFIG))
    }

    #[track_caller]
    fn is_equal_to(&self, run: &Path) {
        same_run(run, &self.place.path("whole"));
    }
}

/// Begins the run `name`, or goes on with it where that is possible.
fn start(place: &Place, name: &str, threads: usize) -> Child {
    let threads = threads.to_string();
    let machine = ["--data-dir", "data", "--threads", &threads];
    let line = match place.path(name).join("config.toml").is_file() {
        true => ["train", "--resume", name, "-q"],
        false => ["train", "run.toml", "--run-dir", name],
    };
    spawn(place.command(line.iter().chain(&machine)))
}

/// Waits until `ready`, or the command has ended.
fn wait_until(child: &mut Child, ready: impl Fn() -> bool) {
    while !ready() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Lets a run come to its end.
#[track_caller]
fn finish(place: &Place, name: &str) {
    Said::from(start(place, name, 1).wait_with_output().unwrap()).succeeded();
}

#[test]
fn a_run_killed_at_random_moments_comes_to_the_same_bits() {
    let whole = Whole::get();
    // Saved after every batch; then with batches, and events in the log, that a kill loses.
    for (every, kills) in [("0", kills().div_ceil(2)), ("0.03", kills() / 2)] {
        let place = place(&CONFIG.replace("every-seconds = 0", &format!("every-seconds = {every}")));
        let mut draws = Stream::new(1, Purpose::Test, every.len() as u64).draws();
        let (mut killed, mut runs) = (0, 0);
        while killed < kills {
            let name = format!("run-{runs}");
            // Another number of threads each time changes nothing.
            let child = start(&place, &name, 1 + killed % 3);
            std::thread::sleep(whole.took.mul_f64(0.6 * draws.uniform()));
            if kill(child) {
                killed += 1;
            }
            if place.path(&name).join("summary.json").exists() {
                finish(&place, &name);
                whole.is_equal_to(&place.path(&name));
                runs += 1;
            }
        }
        let name = format!("run-{runs}");
        finish(&place, &name);
        whole.is_equal_to(&place.path(&name));
    }
}

#[test]
fn a_run_killed_at_its_very_start_goes_on_or_begins_anew() {
    let place = place(CONFIG);
    for (i, file) in ["", "run.lock", "config.toml", "metrics.jsonl", "checkpoints"].iter().enumerate() {
        let name = format!("run-{i}");
        let run = place.path(&name);
        let mut child = start(&place, &name, 1);
        wait_until(&mut child, || match *file {
            "checkpoints" => !checkpoints(&run).is_empty(),
            file => run.join(file).exists(),
        });
        kill(child);
        if !run.join("config.toml").exists() {
            let said = place.run(&format!("train --resume {name}"));
            assert_eq!(said.code, Some(2), "{}", said.err);
        }
        finish(&place, &name);
        Whole::get().is_equal_to(&run);
    }
}

#[test]
fn a_run_killed_between_an_update_and_its_step_goes_on_with_the_step() {
    let config = CONFIG.replace("update-interval = 2", "update-interval = 1\nupdate-end = 60");
    let whole = Whole::of(&config);
    let place = place(&config);
    let mut hit = 0;
    for attempt in 0.. {
        let name = format!("run-{attempt}");
        let run = place.path(&name);
        let mut child = start(&place, &name, 1);
        // The first update of all; then somewhere in the middle.
        wait_until(&mut child, || checkpoints(&run).len() == 2 && (hit == 0 || newest_step(&run) > 15));
        if !kill(child) {
            continue;
        }
        // Every other batch is an update's, and two checkpoints are kept: if the kill came after the step, the one
        // before it is the state between.
        if !newest(&run).metadata.updated {
            files::remove(&checkpoints(&run).pop().unwrap()).unwrap();
        }
        let between = newest(&run).metadata;
        assert!(between.updated, "step {} draw {}", between.step, between.draw);
        finish(&place, &name);
        whole.is_equal_to(&run);
        let resume = &events(&run, &["resume"])[0];
        assert_eq!((&resume["step"], &resume["draw"]), (&between.step.into(), &between.draw.into()));
        hit += 1;
        if hit == 3 {
            break;
        }
    }
}

fn newest_step(run: &Path) -> u64 {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap()["step-".len()..][..9].to_owned();
    checkpoints(run).last().map_or(0, |path| name(path).parse().unwrap())
}

const COMPARISON: &str = "train --run-dir both --data-dir data --threads 1 --set data.name=mnist --set data.batch=20 \
    --set schedule.unit=steps --set schedule.length=24 --set schedule.milestones=[16] \
    --set method.update-interval=2 --set checkpoint.every-seconds=0 --set log.every-steps=7";

#[test]
fn a_comparison_killed_in_either_run_goes_on_with_both() {
    let whole = place("");
    let table = whole.run(COMPARISON).succeeded();
    let place = place("");
    let both = place.path("both");
    let resume = "train --resume both --data-dir data --threads 1";
    for (run, line) in [("sparse", COMPARISON), ("dense", resume)] {
        let mut child = spawn(place.command(line.split_whitespace()));
        wait_until(&mut child, || newest_step(&both.join(run)) > 5);
        kill(child);
    }
    assert!(both.join("sparse/summary.json").exists());
    let said = place.run(resume).succeeded();
    for run in ["sparse", "dense"] {
        same_run(&both.join(run), &whole.path("both").join(run));
    }
    let untimed = |said: &Said| {
        said.out.lines().filter(|line| !line.starts_with("time")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(untimed(&said), untimed(&table));
    assert!(said.err.contains("`both/sparse` is finished already"), "{}", said.err);
}

#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let place = place(CONFIG);
    let mut attempts = 0..300;
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        // Until one is interrupted before its end.
        let (name, said) = loop {
            let number =
                attempts.next().expect("one of 300 runs is interrupted, unless signals are ignored here");
            let name = format!("run-{number}");
            let run = place.path(&name);
            let mut child = start(&place, &name, 1);
            wait_until(&mut child, || newest_step(&run) > 3);
            send(signal, &child);
            let said = Said::from(child.wait_with_output().unwrap());
            if said.code != Some(0) {
                break (name, said);
            }
        };
        assert_eq!(said.code, Some(code), "{}", said.err);
        assert_eq!(said.out, "");
        let run = place.path(&name);
        let step = newest(&run).metadata.step;
        let end = events(&run, &["end"]).pop().unwrap();
        assert_eq!((&end["status"], &end["step"]), (&"interrupted".into(), &step.into()));
        // The line to be pasted.
        let line = said.err.lines().last().unwrap().trim().strip_prefix("rigl ").unwrap();
        assert_eq!(line, format!("train --resume {name}"));
        let said = place.run(&format!("{line} --data-dir data --threads 1")).succeeded();
        let found = format!("rigl  goes on at step {step} from `step-");
        assert!(said.err.contains(&found), "{}", said.err);
        Whole::get().is_equal_to(&run);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_hang_up_that_is_ignored_from_outside_does_not_end_a_run() {
    let place = place(CONFIG);
    let run = place.path("run");
    // What `nohup` does.
    let line = "train run.toml --run-dir run --data-dir data --threads 1";
    let script = format!("trap '' HUP; exec '{}' {line}", env!("CARGO_BIN_EXE_rigl"));
    let mut child = spawn(place.command_of("sh", ["-c", &script]));
    wait_until(&mut child, || newest_step(&run) > 3);
    send("HUP", &child);
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.err);
    Whole::get().is_equal_to(&run);
}

#[test]
fn a_run_whose_standard_input_ends_saves_and_stops() {
    let place = place(CONFIG);
    let mut attempts = 0..300;
    // Until one is stopped before its end.
    let (name, said) = loop {
        let name = format!("run-{}", attempts.next().unwrap());
        let line = format!("train run.toml --run-dir {name} --data-dir data --threads 1 --stop-at-eof");
        let mut command = place.command(line.split_whitespace());
        command.stdin(Stdio::piped());
        let mut child = spawn(command);
        wait_until(&mut child, || newest_step(&place.path(&name)) > 3);
        drop(child.stdin.take());
        let said = Said::from(child.wait_with_output().unwrap());
        if said.code != Some(0) {
            break (name, said);
        }
    };
    assert_eq!(said.code, Some(143), "{}", said.err);
    assert!(said.err.ends_with(&format!("go on with\n  rigl train --resume {name}\n")), "{}", said.err);
    finish(&place, &name);
    Whole::get().is_equal_to(&place.path(&name));
}

#[test]
fn a_second_signal_ends_the_process_at_once_and_loses_no_more_than_a_kill() {
    let place = place(CONFIG);
    let mut child = start(&place, "run", 1);
    wait_until(&mut child, || newest_step(&place.path("run")) > 3);
    send("TERM", &child);
    send("TERM", &child);
    let said = Said::from(child.wait_with_output().unwrap());
    assert!([Some(143), Some(0)].contains(&said.code), "{:?} {}", said.code, said.err);
    finish(&place, "run");
    Whole::get().is_equal_to(&place.path("run"));
}

fn send(signal: &str, to: &Child) {
    // It may have ended already.
    let _ =
        Command::new("kill").args([format!("-{signal}"), to.id().to_string()]).stderr(Stdio::null()).status();
}

#[test]
fn a_finished_run_is_told_of_again_and_not_touched() {
    let whole = Whole::get();
    let before = whole.place.contents();
    let said = whole.place.run("train --resume whole --data-dir data").succeeded();
    assert!(said.err.contains("`whole` is finished already"), "{}", said.err);
    assert!(said.out.contains("test accuracy"), "{}", said.out);
    assert_eq!(whole.place.contents(), before);
}

/// Nothing else will do in its place, unless it is asked for by its name.
#[test]
fn of_a_finished_run_the_last_checkpoint_is_read_or_none() {
    let place = place(&CONFIG.replace("length = 60", "length = 3"));
    let train = "train run.toml --data-dir data --threads 1 --run-dir";
    place.run(&format!("{train} run")).succeeded();
    let files = checkpoints(&place.path("run"));
    let [before, last] = &files[..] else { panic!("{files:?}") };
    let mut bytes = std::fs::read(last).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    files::write_atomic(last, &bytes).unwrap();
    let name = |file: &Path| format!("run/checkpoints/{}", file.file_name().unwrap().to_str().unwrap());
    let refused = |line: &str, what: &str| {
        let contents = place.contents();
        let said = place.run(line);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{line}: {}", said.err);
        let error = format!("the last checkpoint of the finished run `run` cannot be read: {what}");
        assert!(said.err.contains(&error), "{line}: {}", said.err);
        assert!(said.err.ends_with(&format!(" is `{}`\n", name(before))), "{line}: {}", said.err);
        assert_eq!(place.contents(), contents, "{line}");
    };
    let lines = [
        "eval run --data-dir data".to_string(),
        "export run net.safetensors".to_string(),
        format!("{train} other --method static --set method.start-from=run"),
    ];
    let damaged = format!("checkpoint `{}`: damaged: the checksum of the data does not match", name(last));
    lines.iter().for_each(|line| refused(line, &damaged));
    place.run(&format!("eval {} --data-dir data", name(before))).succeeded();
    files::remove(last).unwrap();
    lines.iter().for_each(|line| refused(line, "of step 3 there is none"));
}

#[test]
fn a_damaged_newest_checkpoint_is_passed_over_with_a_warning() {
    let place = place(CONFIG);
    loop {
        let mut child = start(&place, "run", 1);
        wait_until(&mut child, || newest_step(&place.path("run")) > 15);
        if kill(child) {
            break;
        }
        place.remove_folder("run");
    }
    let run = place.path("run");
    // Three, if the kill came before the oldest was removed.
    let files = checkpoints(&run);
    let [.., before, newest] = &files[..] else { panic!("two checkpoints are kept: {files:?}") };
    let mut bytes = std::fs::read(newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    files::write_atomic(newest, &bytes).unwrap();
    let said = place.run("train --resume run --data-dir data --threads 1").succeeded();
    let warnings: Vec<&str> = said.err.lines().filter(|line| line.starts_with("warning: ")).collect();
    let (before, newest) = (before.file_name().unwrap().to_str(), newest.file_name().unwrap().to_str());
    assert_eq!(warnings.len(), 1, "{}", said.err);
    assert!(warnings[0].contains(newest.unwrap()) && warnings[0].contains("checksum"), "{}", said.err);
    assert_eq!(events(&run, &["resume"])[0]["checkpoint"].as_str(), before);
    Whole::get().is_equal_to(&run);
}
