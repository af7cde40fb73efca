//! A convolutional network trained by the command: the same bits for any number of threads, in sparse and in masked
//! arithmetic, and however often the run is killed.
#![cfg(unix)]

mod support;

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rigl_base::random::{Purpose, Stream};
use support::{Place, Said, events, kill, kills, same_run, spawn, summary};

/// Short, with everything in it that such a network brings: norms with running statistics, skips with and without a
/// convolution, dropout, images cut and mirrored at random, per-image standardisation, layers that ERK leaves dense.
/// Batches do not fill the engine's blocks of samples.
const CONFIG: &str = "
[model]
name = 'wide-resnet'
depth = 10
width = 1
dropout = 0.3

[data]
name = 'cifar10'
batch = 20
validation = 0.1
augment = 'crop-flip'
standardize = 'per-image'

[schedule]
unit = 'steps'
length = 20
milestones = [15]
divide-by = [5]

[method]
name = 'rigl'
sparsity = 0.9
distribution = 'erk'
update-interval = 3
update-end = 16

[checkpoint]
every-seconds = 0

[log]
every-steps = 4
evaluate-every = 1
patterns = 6
";

/// A folder with data and the configuration.
fn place() -> Place {
    let place = Place::new();
    place.write_cifar10(42);
    place.write("run.toml", CONFIG);
    place
}

/// The run that nobody interrupts, and how long it took.
fn whole() -> &'static (Place, Duration) {
    static WHOLE: OnceLock<(Place, Duration)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let place = place();
        let began = Instant::now();
        place.run("train run.toml --run-dir whole --data-dir data --threads 1").succeeded();
        (place, began.elapsed())
    })
}

fn whole_run() -> std::path::PathBuf {
    whole().0.path("whole")
}

#[test]
fn two_threads_and_other_instructions_come_to_the_same_bits() {
    let place = place();
    place.run("train run.toml --run-dir two --data-dir data --threads 2").succeeded();
    same_run(&place.path("two"), &whole_run());
    let mut command =
        place.command("train run.toml --run-dir portable --data-dir data --threads 2".split_whitespace());
    command.env("RIGL_ISA", "portable");
    Said::of(command).succeeded();
    same_run(&place.path("portable"), &whole_run());
}

#[test]
fn masked_arithmetic_comes_to_the_same_bits() {
    let place = place();
    for compute in ["sparse", "masked"] {
        let line =
            format!("train run.toml --run-dir {compute} --compute {compute} --data-dir data --threads 2");
        place.run(&line).succeeded();
        same_numbers(&place.path(compute), &whole_run());
    }
}

/// As [`same_run`], but for the configuration and the storage that it leads to.
#[track_caller]
fn same_numbers(a: &Path, b: &Path) {
    assert_eq!(summary(a).weights_crc32c, summary(b).weights_crc32c);
    let learned = |run| events(run, &["train", "evaluation", "update", "end"]);
    assert!(learned(a) == learned(b), "{} {}", a.display(), b.display());
}

#[test]
fn a_run_killed_at_random_moments_comes_to_the_same_bits() {
    let (_, took) = whole();
    let place = place();
    let mut draws = Stream::new(1, Purpose::Test, 0).draws();
    let (mut killed, mut runs) = (0, 0);
    while killed < kills() {
        let name = format!("run-{runs}");
        killed += usize::from(kill_after(&place, &name, 1 + killed % 2, took.mul_f64(0.6 * draws.uniform())));
        if place.path(&name).join("summary.json").exists() {
            same_run(&place.path(&name), &whole_run());
            runs += 1;
        }
    }
    let name = format!("run-{runs}");
    let child = start(&place, &name, 2);
    Said::from(child.wait_with_output().unwrap()).succeeded();
    same_run(&place.path(&name), &whole_run());
}

/// Begins a run or goes on with it, and kills it after a while. `false` if it had ended before.
fn kill_after(place: &Place, name: &str, threads: usize, wait: Duration) -> bool {
    let child = start(place, name, threads);
    std::thread::sleep(wait);
    kill(child)
}

fn start(place: &Place, name: &str, threads: usize) -> std::process::Child {
    let line = match place.path(name).join("config.toml").is_file() {
        true => format!("train --resume {name} -q"),
        false => format!("train run.toml --run-dir {name}"),
    };
    let line = format!("{line} --data-dir data --threads {threads}");
    spawn(place.command(line.split_whitespace()))
}
