//! Each disk operation of a short run, in turn, fails, is torn, or is the last thing the process does: gone on with,
//! the run comes to the same bits.

#![cfg(unix)]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use rigl_base::files::{self, fault};
use rigl_metrics::RunFolder;
use rigl_train::{Config, MachineOptions, Prepared, Registry, Silent, train};
use support::{Place, same_run};

const CONFIG: &str = "
[data]
name = 'mnist'
batch = 20
validation = 0.2

[schedule]
unit = 'steps'
length = 3

[method]
update-interval = 1

[log]
every-steps = 1
evaluate-every = 0
patterns = 2
";

/// Set where this test is the process that meets a fault: its kind, and the number of the operation.
const CHILD: &str = "RIGL_TEST_FAULT";

#[test]
fn a_run_whose_kth_disk_operation_fails_comes_to_the_same_bits() {
    if let Ok(fault) = std::env::var(CHILD) {
        return child(&fault);
    }
    let whole = place();
    begin(&whole, "run").succeeded();
    let until_unmet = |faults: [&str; 2], whole: &Place| {
        for k in 1.. {
            // Faults take turns, so that an operation meets one of the two.
            let fault = faults[k % 2];
            let place = place();
            if !meets(&place, &format!("{fault} {k}")) {
                assert!(k > 50, "a run has only {k} operations");
                return;
            }
            if place.path("run/config.toml").is_file() {
                place.run("train --resume run --data-dir data --threads 1")
            } else {
                begin(&place, "run")
            }
            .succeeded();
            same_run(&place.path("run"), &whole.path("run"));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| until_unmet(["fail", "tear"], &whole));
        scope.spawn(|| until_unmet(["abort", "abort"], &whole));
    });
}

fn place() -> Place {
    let place = Place::new();
    place.write_data(100, 50);
    place.write("run.toml", CONFIG);
    place
}

fn begin(place: &Place, run: &str) -> support::Said {
    place.run(&format!("train run.toml --run-dir {run} --data-dir data --threads 1"))
}

/// Trains in a process that meets a fault. `false` if it ended before the fault came.
fn meets(place: &Place, fault: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.arg("--nocapture").env(CHILD, fault).current_dir(place.path("")).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) if out.contains("unmet") => false,
        Some(0) if out.contains("refused") => true,
        None if fault.starts_with("abort") => true,
        code => panic!("{fault}: {code:?} {out} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// The command's own steps, in this process, where the fault can be set.
#[allow(clippy::print_stdout, reason = "read by the process that started this one")]
fn child(fault: &str) {
    let (kind, k) = fault.split_once(' ').unwrap();
    let kind = match kind {
        "fail" => fault::Fault::Fail,
        "tear" => fault::Fault::Tear,
        _ => fault::Fault::Abort,
    };
    let registry = Registry::default();
    let config = Config::from_text("run.toml", CONFIG, &registry.known()).unwrap();
    let machine = MachineOptions { data_folder: Some("data".into()), threads: 1, isa: None };
    let prepared = Prepared::new(config, &registry, &machine).unwrap();
    let k: u64 = k.parse().unwrap();
    fault::arm(k, kind);
    let run = || {
        let writer = RunFolder::create_at(Path::new("run"))?;
        let config = prepared.design().settings().config().to_toml();
        files::write_atomic(&writer.config(), config.as_bytes())?;
        train(prepared, &writer, &mut Silent, &AtomicBool::new(false))
    };
    match run() {
        Ok(_) if fault::operations() < k => println!("unmet"),
        Ok(_) => panic!("operation {k} failed, and nobody noticed"),
        Err(error) => {
            assert!(error.to_string().contains("injected fault"), "{error}");
            println!("refused");
        }
    }
}
