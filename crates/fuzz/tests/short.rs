//! A short run of every target: all seeds, then mutated inputs. The long ones are in `docs/fuzzing.md`.

use std::alloc::System;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rigl_base::Result;
use rigl_fuzz::{ALL, Fuzzer, Signal, Target, find, run, seeds};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Inputs of each target.
const RUNS: usize = 20_000;

/// Bytes that all seeds may have together, and one.
const SEEDS: usize = 200_000;
const SEED: usize = 4096;

fn seeds_of(target: &Target) -> Result<Vec<Vec<u8>>> {
    seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds"), target)
}

/// Memory can be told only where nothing else runs.
fn alone<T>(test: impl FnOnce() -> T) -> T {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    test()
}

fn all_holds(name: &str) {
    alone(|| {
        let target = find(name).unwrap();
        let mut fuzzer = Fuzzer::new(target, 0, seeds_of(target).unwrap());
        let mut accepted = 0;
        for done in 0..RUNS {
            let input = fuzzer.next_input();
            match run(target, &input) {
                Ok(signal) => {
                    accepted += usize::from(signal.accepted);
                    fuzzer.learn(input, signal);
                }
                Err(what) => panic!("input {done}: {what}\n{}", input.escape_ascii()),
            }
        }
        // Else only the first lines of the parser would have been tried.
        assert!(
            accepted > RUNS / 100 && fuzzer.kinds() > 10,
            "{accepted} accepted, {} kinds",
            fuzzer.kinds()
        );
    });
}

macro_rules! targets {
    ($($test:ident = $name:literal,)+) => {
        $(#[test]
        fn $test() {
            all_holds($name);
        })+

        #[test]
        fn every_target_has_a_test_and_small_seeds() {
            assert_eq!([$($name),+].as_slice(), ALL.iter().map(|target| target.name).collect::<Vec<_>>());
            let seeds: Vec<_> = ALL.iter().flat_map(|target| seeds_of(target).unwrap()).collect();
            assert!(seeds.iter().all(|seed| seed.len() <= SEED));
            assert!(seeds.iter().map(Vec::len).sum::<usize>() <= SEEDS);
        }
    };
}

targets! {
    whatever_a_file_of_images_holds = "idx-images",
    whatever_a_file_of_labels_holds = "idx-labels",
    whatever_a_gzip_file_holds = "gzip",
    whatever_records_hold = "records",
    whatever_an_archive_holds = "archive",
    whatever_an_array_of_samples_holds = "npy-inputs",
    whatever_an_array_of_labels_holds = "npy-labels",
    whatever_a_table_says = "table",
    whatever_a_configuration_says = "config",
    whatever_is_set_on_the_command_line = "override",
    whatever_a_sweep_says = "sweep",
    whatever_a_checkpoint_holds = "checkpoint",
    whatever_a_file_of_arrays_says = "arrays",
    whatever_a_graph_says = "graph",
    whatever_a_line_of_the_log_says = "event",
    whatever_a_log_says = "event-log",
    whatever_a_summary_says = "summary",
}

/// A mistake that shows only behind both checksums of a checkpoint, in a number that the seeds do not hold.
fn mistaken(bytes: &[u8]) -> Signal {
    let signal = (find("checkpoint").unwrap().run)(bytes);
    let step = rigl_formats::checkpoint::parse(bytes, "f").map_or(0, |found| found.metadata.step);
    assert!(step < 10_000, "step {step}");
    signal
}

#[test]
fn a_mistake_behind_checksums_is_found_and_found_again() {
    let target: &'static Target =
        Box::leak(Box::new(Target { run: mistaken, ..*find("checkpoint").unwrap() }));
    let first = || {
        let mut fuzzer = Fuzzer::new(target, 0, seeds_of(target).unwrap());
        (0..10 * RUNS).find_map(|done| {
            let input = fuzzer.next_input();
            match run(target, &input) {
                Ok(signal) => fuzzer.learn(input, signal),
                Err(what) => return Some((done, what)),
            }
            None
        })
    };
    alone(|| {
        let found = first().expect("it is found");
        assert!(found.1.starts_with("step "), "{found:?}");
        assert_eq!(first(), Some(found));
    });
}
