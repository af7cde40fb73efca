//! The whole training loop, loader thread included, asks the system for no memory in an ordinary step. Topology
//! updates, records of the log, evaluations and checkpoints do.

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rigl_base::random::{Purpose, Stream};
use rigl_base::{Result, files};
use rigl_data::{Dataset, InMemory, Sample, Sets, Spec};
use rigl_metrics::RunFolder;
use rigl_train::{Config, Ended, MachineOptions, Prepared, Registry, Silent, train};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

const BATCH: usize = 32;

/// Batches between two readings of the count.
const WINDOW: usize = 200;
const WINDOWS: usize = 6;

/// Noise that notes how many allocations there were when each [`WINDOW`]-th batch began to be read.
struct Watched {
    noise: InMemory,
    reads: AtomicUsize,
    seen: [AtomicUsize; WINDOWS + 1],
}

impl Watched {
    fn new() -> Watched {
        let samples = 1000;
        let mut draws = Stream::new(0, Purpose::Test, 0).draws();
        let images = (0..samples * 28 * 28).map(|_| draws.word() as u8).collect();
        let labels = (0..samples).map(|_| draws.below(10) as u8).collect();
        let spec = Spec::new("noise", [1, 28, 28], (0..10).map(|class| class.to_string()));
        Watched {
            noise: InMemory::new(spec, images, labels).unwrap(),
            reads: AtomicUsize::new(0),
            seen: Default::default(),
        }
    }
}

impl Dataset for Watched {
    fn spec(&self) -> &Spec {
        self.noise.spec()
    }

    fn len(&self) -> usize {
        self.noise.len()
    }

    fn read(&self, index: usize, into: &mut Sample) -> Result<()> {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        if reads.is_multiple_of(BATCH * WINDOW)
            && let Some(seen) = self.seen.get(reads / (BATCH * WINDOW))
        {
            seen.store(allocations(), Ordering::Relaxed);
        }
        self.noise.read(index, into)
    }
}

#[test]
fn an_ordinary_step_of_the_whole_loop_allocates_nothing() {
    for (method, micro_batches) in [("static", 1), ("rigl", 2), ("dense", 1)] {
        let updates = if method == "rigl" { ", updates = { interval = 100000 }" } else { "" };
        let text = format!(
            "
            data = {{ name = 'noise', batch = {BATCH}, micro-batches = {micro_batches} }}
            schedule = {{ unit = 'steps', length = {} }}
            method = {{ name = '{method}'{updates} }}
            log = {{ every-steps = 100000, evaluate-every = 0 }}
            checkpoint = {{ every-seconds = 100000 }}
            ",
            WINDOW * WINDOWS + 20
        );
        let watched = Arc::new(Watched::new());
        let mut registry = Registry::default();
        let sets = Sets::new(watched.clone(), watched.clone());
        registry.datasets.insert("noise", move |_| Ok(sets.clone()));
        let config = Config::from_text("a test", &text, &registry.known()).unwrap();
        let machine = MachineOptions { threads: 1, ..MachineOptions::default() };
        let prepared = Prepared::new(config, &registry, &machine).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create_at(&folder.path().join("run")).unwrap();
        files::write_atomic(&run.config(), text.as_bytes()).unwrap();
        let ended = train(prepared, &run, &mut Silent, &AtomicBool::new(false));
        assert!(matches!(ended, Ok(Ended::Finished(_))), "{ended:?}");

        let seen = watched.seen.each_ref().map(|seen| seen.load(Ordering::Relaxed));
        let windows: Vec<usize> = seen.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // The first holds the beginning of the run. A batch more than before may be in use at once later on, and is
        // made then: that spoils a window or two.
        assert!(windows[1..].iter().filter(|&&n| n == 0).count() >= 3, "{method}: {windows:?}");
    }
}
