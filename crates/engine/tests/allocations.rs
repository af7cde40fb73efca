//! After their first steps, neither training nor evaluation ask the system for memory, on any thread.

use std::alloc::System;

use rigl_engine::{Batch, Compute, Options, Packer, Preprocessing, Session, StepConstants};
use rigl_graph::models::{ModelSpec, Models};
use rigl_graph::{Builder, Graph, Linear};
use rigl_testing::{Samples, options, part, patterns};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLASSES: usize = 10;

/// Large enough that its layers are worth several threads.
fn linear() -> Graph {
    let mut g = Builder::new("net");
    let x = g.input("image", &[1, 28, 28]);
    let mut h = g.flatten(x);
    for (name, size) in [("fc1", 300), ("fc2", 100)] {
        h = g.linear(name, h, size, Linear::default());
        h = g.relu(h);
    }
    h = g.linear("fc3", h, CLASSES, Linear::default());
    g.cross_entropy(h, CLASSES, 0.1);
    g.finish().unwrap()
}

/// With norms, skips with and without a convolution, and dropout.
fn residual() -> Graph {
    let spec =
        ModelSpec::new(&[3, 16, 16], CLASSES).with("depth", 16usize).with("width", 0.5).with("dropout", 0.3);
    Models::default().build("wide-resnet", &spec).unwrap()
}

/// A network and how it is run.
struct Case {
    graph: Graph,
    samples: usize,
    /// Steps in which nothing may be allocated.
    steps: usize,
}

fn session(case: &Case, density: Option<f64>, compute: Compute, threads: usize) -> Session {
    let Case { graph, samples, .. } = case;
    let patterns = patterns(graph, density.unwrap_or(1.0), |_| density.is_some());
    Session::new(graph, patterns, &Options { threads, compute, ..options(*samples) }).unwrap()
}

fn images(case: &Case) -> Vec<Vec<u8>> {
    let features = case.graph.inputs().flat_map(|input| case.graph.node(input).shape.iter()).product();
    Samples::drawn(1, case.samples, features, CLASSES).images
}

/// One step on `parts` micro-batches, which are packed on the way, and an evaluation of the last one.
fn step(session: &mut Session, packer: &Packer, images: &[Vec<u8>], parts: usize, batch: &mut Batch) {
    let each = images.len() / parts;
    for (i, chunk) in images.chunks(each).enumerate() {
        let labels = (0..chunk.len()).map(|sample| (sample % CLASSES) as u32);
        packer.pack(chunk.iter().map(Vec::as_slice).zip(labels), batch).unwrap();
        session.accumulate(part(batch, i, parts, images.len()), &[]).unwrap();
    }
    let constants = StepConstants { learning_rate: 0.1, momentum: 0.9, nesterov: true, l2: 1e-4 };
    session.step(constants).unwrap();
    session.evaluate(batch, None).unwrap();
}

/// One test: what other tests allocate at the same time would be counted too.
#[test]
fn after_two_steps_training_and_evaluation_allocate_nothing() {
    let linear = Case { graph: linear(), samples: 64, steps: 50 };
    let residual = Case { graph: residual(), samples: 34, steps: 5 };
    for case in [linear, residual] {
        let images = images(&case);
        for (storage, density, compute) in [
            ("sparse", Some(0.1), Compute::Sparse),
            ("masked", Some(0.7), Compute::Masked),
            ("dense", None, Compute::Auto),
        ] {
            for threads in [1, 2] {
                for parts in [1, 2] {
                    let mut session = session(&case, density, compute, threads);
                    assert!(session.parameters().iter().any(|p| p.storage() == storage));
                    let packer = session.packer(&Preprocessing::per_image());
                    let mut batch = Batch::default();
                    let mut steps = |count| {
                        let region = Region::new(ALLOCATOR);
                        for _ in 0..count {
                            step(&mut session, &packer, &images, parts, &mut batch);
                        }
                        let Stats { allocations, reallocations, .. } = region.change();
                        allocations + reallocations
                    };
                    assert_ne!(steps(2), 0, "the first steps make their buffers, or nothing is counted");
                    // A thread allocates as it begins, which may be late: each but the caller may spoil one round.
                    let rounds: Vec<usize> = (0..threads).map(|_| steps(case.steps)).collect();
                    let name = case.graph.name();
                    assert!(
                        rounds.contains(&0),
                        "{name} {storage}, {threads} threads, {parts} parts: {rounds:?}"
                    );
                }
            }
        }
    }
}
