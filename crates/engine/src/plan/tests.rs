use rigl_graph::models::{ModelSpec, Models};
use rigl_graph::{Builder, Graph, Linear};

use super::*;

fn lenet() -> Graph {
    let mut g = Builder::new("net");
    let x = g.input("image", &[1, 4, 5]);
    let h = g.flatten(x);
    let h = g.linear("fc1", h, 30, Linear::default());
    let h = g.relu(h);
    let h = g.linear("fc2", h, 10, Linear::default());
    g.cross_entropy(h, 10, 0.0);
    g.finish().unwrap()
}

fn model(name: &str) -> Graph {
    Models::default().build(name, &ModelSpec::new(&[3, 32, 32], 10)).unwrap()
}

#[test]
fn a_relu_between_linear_layers_is_fused_with_both() {
    let plan = Plan::compile(&lenet(), 100, Purpose::Training).unwrap();
    assert_eq!(plan.input, InputLayout::Vector { features: 20 });
    let relus: Vec<bool> = plan
        .passes
        .iter()
        .filter_map(|p| if let Pass::Linear { relu, .. } = p { Some(*relu) } else { None })
        .collect();
    assert_eq!((relus, plan.passes.len()), (vec![true, false], 3));
    let steps: Vec<(bool, bool)> = plan
        .steps
        .iter()
        .filter_map(|s| match s {
            Step::Linear { gated, dx, .. } => Some((*gated, dx.is_some())),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [(true, true), (false, false)]);
}

#[test]
fn evaluation_needs_less_memory_than_training() {
    for graph in [lenet(), model("wrn-22-2"), model("vgg-cifar"), model("resnet-cifar")] {
        let training = Plan::compile(&graph, 100, Purpose::Training).unwrap();
        let evaluation = Plan::compile(&graph, 100, Purpose::Evaluation).unwrap();
        // Training: every map lives with gradients until it has been gone back through.
        assert!(evaluation.arena < training.arena);
        assert!(evaluation.steps.is_empty());
    }
    assert_eq!(Plan::compile(&lenet(), 100, Purpose::Evaluation).unwrap().arena, 128 * 40);
}

#[test]
fn a_wide_residual_network_stores_one_map_per_convolution_and_adds_in_passing() {
    let graph = model("wrn-22-2");
    let plan = Plan::compile(&graph, 128, Purpose::Training).unwrap();
    let convs = plan.passes.iter().filter(|p| matches!(p, Pass::Conv { .. })).count();
    let added = plan.passes.iter().filter(|p| matches!(p, Pass::Conv { residual: Some(_), .. })).count();
    // 1 + 2 · 9 + 3 skips, in nine blocks; then pooling, the classifier and the loss.
    assert_eq!((convs, added, plan.passes.len()), (22, 9, 25));
    assert!(!plan.passes.iter().any(|p| matches!(p, Pass::Add { .. } | Pass::Measure { .. })));
    // Backward, a block whose skip changes nothing takes its gradient over without a pass of its own.
    let routes = plan.steps.iter().filter(|s| matches!(s, Step::Route { .. })).count();
    assert_eq!((routes, plan.steps.len()), (0, 24));
}

#[test]
fn every_norm_is_measured_once_and_its_gradient_finished_once() {
    for name in ["wrn-22-2", "resnet-cifar", "vgg-cifar"] {
        let graph = model(name);
        let plan = Plan::compile(&graph, 20, Purpose::Training).unwrap();
        let norms = graph.nodes().iter().filter(|n| n.op.word() == "batch-norm").count();
        let mut measured: Vec<usize> = plan
            .passes
            .iter()
            .flat_map(|pass| match pass {
                Pass::Conv { norms, .. } | Pass::Add { norms, .. } | Pass::Measure { norms, .. } => {
                    norms.clone()
                }
                _ => Vec::new(),
            })
            .collect();
        measured.sort_unstable();
        assert_eq!(measured, (0..norms).collect::<Vec<_>>(), "{name}");
        let mut finished: Vec<usize> = plan
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Conv { data, .. } => data.and_then(|target| target.finishes),
                Step::Route { target, .. } | Step::Pool { target, .. } | Step::FromVector { target, .. } => {
                    target.finishes
                }
                Step::Linear { .. } | Step::Relu { .. } | Step::ToVector { .. } => None,
            })
            .collect();
        finished.sort_unstable();
        assert_eq!(finished, (0..norms).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn a_gradient_is_written_before_it_is_added_to_or_read() {
    for name in ["wrn-22-2", "resnet-cifar", "vgg-cifar"] {
        let plan = Plan::compile(&model(name), 20, Purpose::Training).unwrap();
        let mut written: Vec<BufferId> = Vec::new();
        for pass in &plan.passes {
            if let Pass::Loss { gradient, .. } = pass {
                written.extend(gradient);
            }
        }
        for step in &plan.steps {
            let mut reads = Vec::new();
            let mut writes = Vec::new();
            match step {
                Step::Linear { dy, dx, .. } => {
                    reads.push(*dy);
                    writes.extend(dx.map(|target| target.out));
                }
                Step::Relu { dy, dx, .. } => {
                    reads.push(*dy);
                    writes.push(dx.out);
                }
                Step::Conv { gradient, keep, data, .. } => {
                    reads.extend(gradient.direct);
                    reads.extend(gradient.norm.map(|(_, dz)| dz));
                    writes.extend(*keep);
                    writes.extend(data.map(|target| target.out));
                    reads.extend(data.filter(|target| target.accumulate).map(|target| target.out));
                }
                Step::Route { gradient, target, .. } | Step::Pool { gradient, target, .. } => {
                    reads.extend(gradient.direct);
                    reads.extend(gradient.norm.map(|(_, dz)| dz));
                    writes.push(target.out);
                }
                Step::FromVector { dy, target, .. } => {
                    reads.push(*dy);
                    writes.push(target.out);
                }
                Step::ToVector { gradient, dx, .. } => {
                    reads.extend(gradient.direct);
                    reads.extend(gradient.norm.map(|(_, dz)| dz));
                    writes.push(dx.out);
                }
            }
            assert!(!reads.is_empty(), "{name}: {step:?}");
            assert!(reads.iter().all(|read| written.contains(read)), "{name}: {step:?}");
            written.extend(writes);
        }
    }
}

#[test]
fn what_cannot_be_run_is_refused_by_the_name_of_the_node() {
    let mut g = Builder::new("net");
    let a = g.input("image", &[20]);
    let b = g.input("other", &[20]);
    let a = g.linear("a", a, 10, Linear::default());
    let b = g.linear("b", b, 10, Linear::default());
    let h = g.add(a, b);
    g.cross_entropy(h, 10, 0.0);
    let error = Plan::compile(&g.finish().unwrap(), 1, Purpose::Training).unwrap_err();
    assert!(error.to_string().contains("`image`"), "{error}");
}
