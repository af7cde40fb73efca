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

fn names(plan: &Plan) -> Vec<&'static str> {
    plan.passes.iter().map(|pass| pass.name()).collect()
}

#[test]
fn a_relu_between_linear_layers_is_fused_with_both() {
    let plan = Plan::compile(&lenet(), 100, Purpose::Training).unwrap();
    assert_eq!(plan.input, Layout::Vector(20));
    assert_eq!(names(&plan), ["linear", "linear", "cross-entropy"]);
    let flags = |pass: usize| {
        let text = format!("{:?}", plan.passes[pass]);
        (text.contains("relu: true"), text.contains("gated: true"))
    };
    assert_eq!((flags(0), flags(1)), ((true, false), (false, true)));
    let backs: Vec<(usize, bool)> = plan.backs.iter().map(|b| (b.pass, b.targets[0].is_some())).collect();
    assert_eq!(backs, [(1, true), (0, false)]);
}

#[test]
fn evaluation_needs_less_memory_than_training() {
    for graph in [lenet(), model("wrn-22-2"), model("vgg-cifar"), model("resnet-cifar")] {
        let training = Plan::compile(&graph, 100, Purpose::Training).unwrap();
        let evaluation = Plan::compile(&graph, 100, Purpose::Evaluation).unwrap();
        // Training: every map lives with gradients until it has been gone back through.
        assert!(evaluation.arena < training.arena);
        assert!(evaluation.backs.is_empty());
    }
    assert_eq!(Plan::compile(&lenet(), 100, Purpose::Evaluation).unwrap().arena, 128 * 40);
}

#[test]
fn a_wide_residual_network_stores_one_map_per_convolution_and_adds_in_passing() {
    let graph = model("wrn-22-2");
    let plan = Plan::compile(&graph, 128, Purpose::Training).unwrap();
    let names = names(&plan);
    let convs = names.iter().filter(|name| **name == "conv").count();
    let added = plan.passes.iter().filter(|pass| pass.name() == "conv" && pass.operands().len() == 2).count();
    // 1 + 2 · 9 + 3 skips, in nine blocks; then pooling, the classifier and the loss.
    assert_eq!((convs, added, plan.passes.len()), (22, 9, 25));
    assert!(!names.contains(&"add"));
    // Backward, a block whose skip changes nothing takes its gradient over, without a pass of its own or a copy.
    let moved = |back: &&Back| !back.gather.is_empty() || back.targets.get(1).is_some_and(Option::is_some);
    assert_eq!((plan.backs.iter().filter(moved).count(), plan.backs.len()), (0, 24));
}

#[test]
fn every_norm_is_measured_once_and_its_gradient_finished_once() {
    for name in ["wrn-22-2", "resnet-cifar", "vgg-cifar"] {
        let graph = model(name);
        let plan = Plan::compile(&graph, 20, Purpose::Training).unwrap();
        let norms = graph.nodes().iter().filter(|n| n.op.word() == "batch-norm").count();
        let mut measured: Vec<usize> =
            plan.passes.iter().flat_map(|pass| pass.measures().iter().copied()).collect();
        measured.sort_unstable();
        assert_eq!(measured, (0..norms).collect::<Vec<_>>(), "{name}");
        let targets = plan.backs.iter().flat_map(|back| back.targets.iter().flatten());
        let mut finished: Vec<usize> = targets.filter_map(|target| target.finishes).collect();
        finished.sort_unstable();
        assert_eq!(finished, (0..norms).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn a_gradient_is_written_before_it_is_added_to_or_read() {
    for graph in [lenet(), model("wrn-22-2"), model("resnet-cifar"), model("vgg-cifar")] {
        let plan = Plan::compile(&graph, 20, Purpose::Training).unwrap();
        let name = graph.name();
        let mut written: Vec<BufferId> = plan.passes.iter().filter_map(|pass| pass.leaves()).collect();
        for back in &plan.backs {
            let whole = (&back.gradient, back.store, back.targets.iter().flatten().collect::<Vec<_>>());
            let gathered = back.gather.iter().map(|(gradient, target)| (gradient, None, vec![target]));
            for (gradient, store, targets) in gathered.chain([whole]) {
                let mut reads: Vec<BufferId> = gradient.direct.into_iter().collect();
                reads.extend(gradient.norm.map(|(_, dz)| dz));
                reads.extend(targets.iter().filter(|target| target.accumulate).map(|target| target.out));
                assert!(!reads.is_empty(), "{name}: {back:?}");
                assert!(reads.iter().all(|read| written.contains(read)), "{name}: {back:?}");
                written.extend(targets.iter().map(|target| target.out).chain(store));
            }
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

#[test]
fn a_network_without_a_loss_is_not_trained_and_the_node_that_it_ends_in_is_named() {
    let mut g = Builder::new("net");
    let x = g.input("image", &[20]);
    let h = g.linear("code", x, 10, Linear::default());
    g.outputs(&[h]);
    let error = Plan::compile(&g.finish().unwrap(), 1, Purpose::Training).unwrap_err();
    assert_eq!(error.kind(), rigl_base::Kind::Usage);
    assert_eq!(error.message(), "network `net` cannot be trained: it ends in `code`, not in a loss");
}
