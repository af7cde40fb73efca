//! How passes are cut: enough tasks for many threads where there is work, nothing done twice on few, and memory that
//! does not grow with the batch. The functions that list tasks cut with the code of the passes themselves.

#[path = "support/layers.rs"]
mod layers;
#[path = "support/passes.rs"]
mod passes;

use layers::{LINEAR, RESNET_50, WRN_22_2};
use rigl_kernels::conv::Backward;
use rigl_kernels::linear::{LinearShape, Product, dense};
use rigl_kernels::simulate::{TaskWork, makespan};

fn cost(tasks: &[TaskWork]) -> f64 {
    tasks.iter().map(|task| task.cost()).sum()
}

/// How much less time so many threads take than one.
fn speedup(tasks: &passes::Tasks, threads: usize) -> f64 {
    let many = tasks(threads);
    let flops = |tasks: &[TaskWork]| tasks.iter().map(|task| task.flops).sum::<usize>();
    assert_eq!(flops(&many), flops(&tasks(1)), "work is lost or done twice");
    cost(&tasks(1)) / makespan(many.iter().map(|task| task.cost()), threads)
}

/// 50 µs of one core at 50 GFLOP/s.
const WORTH_A_TASK: f64 = 2.5e6;

#[test]
fn every_convolution_of_known_networks_has_work_for_96_threads_and_loses_little_on_two() {
    for (network, shapes, samples) in [
        ("WRN-22-2", WRN_22_2.as_slice(), 128),
        ("ResNet-50", &RESNET_50, 32),
        ("ResNet-50", &RESNET_50, 256),
    ] {
        for &(name, shape) in shapes {
            for density in [0.1, 1.0] {
                for (pass, tasks) in passes::conv(shape, density, samples) {
                    let what = format!("{network}, {samples}: {name}, {density}, {pass}");
                    // At 96 threads half of the time may go into staging rows once more, and a round may be half full.
                    let worth = cost(&tasks(1)) / WORTH_A_TASK;
                    let found = speedup(&tasks, 96);
                    assert!(found >= (96.0f64.min(worth) / 4.0).min(26.0), "{what}: {found} of {worth}");
                    assert!(tasks(96).len() >= worth.min(56.0) as usize / 2, "{what}");
                    let found = speedup(&tasks, 2);
                    assert!(found >= 1.85, "{what}: {found} on two threads");
                }
            }
        }
    }
}

#[test]
fn tasks_of_named_layers_are_as_many_as_the_page_on_performance_says() {
    let count = |tasks: &[(&'static str, passes::Tasks)]| {
        tasks.iter().map(|(_, of)| of(96).len()).collect::<Vec<_>>()
    };
    let wrn = |layer: usize, density| count(&passes::conv(WRN_22_2[layer].1, density, 128));
    // 32 → 32 on 32 × 32, 64 → 64 on 16 × 16, 128 → 128 on 8 × 8: forward, backward.
    assert!(wrn(2, 1.0).iter().chain(&wrn(4, 1.0)).chain(&wrn(6, 1.0)).all(|&n| n >= 128));
    assert!(wrn(2, 0.1).iter().chain(&wrn(4, 0.1)).chain(&wrn(6, 0.1)).all(|&n| n >= 64));
    let linear = |name: &str, density| {
        let (_, inputs, outputs, batch) = LINEAR.into_iter().find(|layer| layer.0 == name).unwrap();
        count(&passes::linear(inputs, outputs, density, batch))
    };
    // 384 → 384: forward, data, weights; a layer of 0.3 GFLOP has work for 96 threads, one of 4 MFLOP for a few.
    assert!(linear("384 → 384, batch 1024", 1.0).iter().all(|&n| n >= 96));
    assert!(linear("384 → 384, batch 128", 1.0).iter().all(|&n| n >= 24));
    assert!(linear("384 → 384, batch 1024", 0.1).iter().all(|&n| n >= 12));
    assert!(linear("384 → 384, batch 128", 0.1).iter().all(|&n| n >= 4));
    assert!(linear("784 → 300, batch 100", 0.1).iter().all(|&n| n >= 4));
}

#[test]
fn linear_layers_lose_nothing_on_two_threads() {
    for (name, inputs, outputs, batch) in LINEAR {
        for density in [0.1, 1.0] {
            for (pass, tasks) in passes::linear(inputs, outputs, density, batch) {
                let found = speedup(&tasks, 2);
                // Smaller ones run on one thread anyway.
                let small = cost(&tasks(1)) < 2e6;
                assert!(small || found > 1.7, "{name}, {density}, {pass}: {found}");
            }
        }
    }
}

#[test]
fn memory_for_partial_gradients_does_not_grow_with_the_batch() {
    for (name, shape) in WRN_22_2.into_iter().chain(RESNET_50) {
        let n = shape.weight_len();
        let shared = |samples| Backward::workspace(&shape, n, n, samples).shared;
        // In squares of 4 × 4 a gradient has up to a few numbers more.
        let squares = shape.outputs.next_multiple_of(4) * (n / shape.outputs).next_multiple_of(4);
        for samples in [1, 32, 128, 256, 4096] {
            let partials = (shared(samples) - n) / squares;
            assert!(partials <= 9 || partials <= 64 && partials * n <= 10 << 16, "{name}: {partials}");
        }
        assert_eq!(shared(100_000), shared(50_000), "{name}");
    }
}

#[test]
#[should_panic(expected = "of which no more than 16777216 are listed")]
fn more_tasks_than_can_be_listed_are_refused_in_words() {
    let shape = LinearShape { outputs: usize::MAX, inputs: usize::MAX, groups: usize::MAX };
    dense::tasks(shape, Product::Forward, 2);
}
