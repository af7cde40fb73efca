//! A panic, in whichever thread, ends the command with one line that names it and with exit code 101; it hangs
//! nothing and loses nothing: what is resumed comes to the bits of a run that met none.
//!
//! The test is a program of its own (no libtest), started again as the command: `rigl::cli::run` with a data set that
//! panics at a chosen read. Where no part of a user's runs, on the threads of the engine, a hidden fault of the
//! kernels panics.

mod support;

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rigl::data::{Dataset, InMemory, Sample, Sets, Spec, drawn};
use support::{Place, Said, events, newest, same_run};

/// Set where this program is the command: which thread panics, and when.
const CHILD: &str = "RIGL_TEST_PANIC";

const CONFIG: &str = "
[data]
name = 'biting'
batch = 50
validation = 0.2

[schedule]
unit = 'steps'
length = 40

[method]
name = 'rigl'
update-interval = 10

[checkpoint]
every-seconds = 0.0

[log]
every-steps = 1
evaluate-every = 1
patterns = 2
";

#[allow(clippy::print_stdout, reason = "what libtest would print")]
fn main() -> ExitCode {
    if let Ok(panic) = std::env::var(CHILD) {
        return command(&panic);
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let checks: [(&str, fn()); 4] = [
        ("a_panic_while_training_ends_the_command_and_loses_nothing", while_training),
        ("a_panic_before_training_leaves_no_run_behind", before_training),
        ("a_panic_while_evaluating_a_run_is_told_likewise", while_evaluating),
        ("without_a_panic_nothing_is_told", no_panic),
    ];
    for (name, check) in checks.iter().filter(|(name, _)| name.contains(&wanted)) {
        check();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// The command of a program whose data set panics.
fn command(panic: &str) -> ExitCode {
    let (place, k) = panic.split_once(' ').expect("a place and a number");
    let k = k.parse().expect("a number");
    // Loading reads each sample once.
    let reads = |of: &str, loaded: u64| if place == of { loaded + k } else { u64::MAX };
    if place == "worker" {
        rigl_kernels::fault::arm(k);
    }
    let (train, test, load) = (reads("train", 500), reads("test", 100), place == "load");
    let mut registry = rigl::Registry::default();
    registry.datasets.insert("biting", move |_| {
        assert!(!load, "the shelf fell over");
        let set = |indices, reads| -> rigl::Result<Arc<dyn Dataset>> {
            Ok(Arc::new(Biting {
                set: drawn::samples(drawn::SEED, indices, 1)?,
                left: AtomicU64::new(reads),
            }))
        };
        Ok(Sets::new(set(0..500, train)?, set(500..600, test)?))
    });
    rigl::cli::run(registry)
}

/// Drawn digits that panic once: at a read of a chosen number, counted from 1.
struct Biting {
    set: InMemory,
    left: AtomicU64,
}

impl Dataset for Biting {
    fn spec(&self) -> &Spec {
        self.set.spec()
    }

    fn len(&self) -> usize {
        self.set.len()
    }

    fn read(&self, index: usize, into: &mut Sample) -> rigl::Result<()> {
        assert!(self.left.fetch_sub(1, Ordering::Relaxed) != 1, "the sample bites");
        self.set.read(index, into)
    }
}

fn place() -> Place {
    let place = Place::new();
    place.write("run.toml", CONFIG);
    place
}

/// Runs the command line with a panic to come, and sees to it that it ends.
fn run(place: &Place, panic: &str, line: &str) -> Said {
    let program = std::env::current_exe().unwrap();
    let mut command: Command = place.command_of(program, line.split_whitespace());
    command.env(CHILD, panic).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(300) {
            child.kill().unwrap();
            panic!("{panic}: still running after five minutes");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Said::from(child.wait_with_output().unwrap())
}

/// Never in a run of this length.
const NONE: &str = "none 0";

/// The command failed with one line that names the cause and tells where, and a hint.
#[track_caller]
fn told(said: &Said, cause: &str, file: &str) {
    assert_eq!(said.code, Some(101), "{}{}", said.out, said.err);
    assert_eq!(said.out, "");
    let lines: Vec<&str> = said.err.lines().filter(|line| line.contains("error:")).collect();
    let [line] = lines[..] else { panic!("{}", said.err) };
    assert!(line.starts_with(&format!("error: internal error at crates/{file}")), "{line}");
    assert!(line.ends_with(cause), "{line}");
    for noise in ["panicked at", "backtrace", "RUST_BACKTRACE"] {
        assert!(!said.err.contains(noise), "{}", said.err);
    }
    assert!(
        said.err.trim_end().ends_with("please report it with the command and this message"),
        "{}",
        said.err
    );
}

fn while_training() {
    let whole = place();
    run(&whole, NONE, "train run.toml --run-dir run").succeeded();
    let bites = ("a loader thread panicked: the sample bites", "cli/tests/panics.rs");
    let falls = ("kernel: a worker thread panicked: injected fault", "kernels/src/run/fault.rs");
    for (panic, threads, (cause, file)) in [
        // In the first batch; in the middle of the run, and near its end.
        ("train 1", 1, bites),
        ("train 520", 2, bites),
        ("train 2001", 1, bites),
        // At an evaluation: in the middle of the run, and at its end.
        ("test 150", 2, bites),
        ("test 490", 1, bites),
        // On a thread of the engine.
        ("worker 1", 2, falls),
        ("worker 30", 3, falls),
    ] {
        let place = place();
        let said = run(&place, panic, &format!("train run.toml --run-dir run --threads {threads}"));
        told(&said, cause, file);
        let folder = place.path("run");
        assert!(!folder.join("summary.json").exists(), "{panic}");
        // The last checkpoint is good, and of the last step that was logged, or the one before its evaluation.
        let logged = events(&folder, &["train"]).last().map_or(0, |event| event["step"].as_u64().unwrap());
        let saved = newest(&folder).metadata.step;
        assert!(saved <= logged && logged <= saved + 1, "{panic}: {saved} of {logged} steps");
        run(&place, NONE, "train --resume run").succeeded();
        same_run(&folder, &whole.path("run"));
    }
}

fn before_training() {
    let place = place();
    let said = run(&place, "load 0", "train run.toml --run-dir run");
    told(&said, "the shelf fell over", "cli/tests/panics.rs");
    assert!(!place.path("run").exists());
}

fn while_evaluating() {
    let place = place();
    run(&place, NONE, "train run.toml --run-dir run --set schedule.length=2").succeeded();
    let before = place.contents();
    let said = run(&place, "test 7", "eval run");
    told(&said, "a loader thread panicked: the sample bites", "cli/tests/panics.rs");
    assert_eq!(place.contents(), before);
    run(&place, NONE, "eval run").succeeded();
}

fn no_panic() {
    let place = place();
    // More than there are.
    for panic in ["train 1000000", "test 1000000", "worker 1000000"] {
        let said = run(&place, panic, "train run.toml --run-dir run --overwrite --set schedule.length=2")
            .succeeded();
        assert!(!said.err.contains("error"), "{}", said.err);
    }
}
