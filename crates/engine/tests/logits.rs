//! Logits that a session lends are those that its losses and hits come from, sample by sample, whatever the batch.

use rigl_engine::{Compute, Options, Preprocessing, Session};
use rigl_graph::{BatchNorm, Builder, Conv2d, Graph, Linear, ModelSpec, Models, NodeId};
use rigl_testing::golden::samples;

const CLASSES: u32 = 7;
const SHAPE: [usize; 3] = [3, 8, 8];

fn session(model: &str) -> Session {
    let mut spec = ModelSpec::new(&SHAPE, CLASSES as usize);
    if model == "wide-resnet" {
        spec = spec.with("depth", 10usize).with("width", 1.0);
    }
    let graph = Models::default().build(model, &spec).unwrap();
    let patterns = vec![None; graph.parameters().len()];
    let options =
        Options { batch: 8, evaluation_batch: 100, threads: 2, isa: None, compute: Compute::Auto, seed: 5 };
    Session::new(&graph, patterns, &options).unwrap()
}

/// Loss of a sample in f64.
fn loss(logits: &[f32], label: usize) -> f64 {
    logits.iter().map(|&z| f64::from(z).exp()).sum::<f64>().ln() - f64::from(logits[label])
}

#[test]
fn losses_and_hits_are_those_of_the_logits() {
    for model in ["mlp", "wide-resnet"] {
        let mut session = session(model);
        for count in [1, 17, 64, 100] {
            let samples = samples(11, count, SHAPE.iter().product(), CLASSES);
            let batch = samples.pack(&session, &Preprocessing::per_image());
            let mut logits = vec![f32::NAN];
            let outcome = session.evaluate(&batch, Some(&mut logits)).unwrap();
            assert_eq!(outcome, session.evaluate(&batch, None).unwrap());
            let logits = &logits[1..];
            assert_eq!(logits.len(), count * CLASSES as usize);
            let mut correct = 0;
            for (i, logits) in logits.chunks(CLASSES as usize).enumerate() {
                let alone = samples.range(i..i + 1).pack(&session, &Preprocessing::per_image());
                let mut own = Vec::new();
                let outcome = session.evaluate(&alone, Some(&mut own)).unwrap();
                assert_eq!(bits(&own), bits(logits), "{model} {i}");
                // The label is the one whose loss that is.
                let label = (0..CLASSES as usize).min_by(|&a, &b| {
                    let error = |label| (loss(logits, label) - outcome.loss).abs();
                    error(a).total_cmp(&error(b))
                });
                let label = label.unwrap();
                assert!((loss(logits, label) - outcome.loss).abs() < 1e-5, "{model} {i}");
                let best =
                    (0..CLASSES as usize).fold(0, |best, c| if logits[c] > logits[best] { c } else { best });
                assert_eq!(outcome.correct, usize::from(best == label), "{model} {i}");
                correct += outcome.correct;
            }
            assert_eq!(correct, outcome.correct, "{model} {count}");
        }
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|z| z.to_bits()).collect()
}

/// A convolution with norm and ReLU, and two linear layers; ended by `end`, which is given some of its nodes.
fn network(end: impl FnOnce(&mut Builder, [NodeId; 5])) -> Graph {
    let mut g = Builder::new("net");
    let x = g.input("image", &SHAPE);
    let x = g.conv2d("conv", x, 6, Conv2d::k3());
    let x = g.batch_norm("norm", x, BatchNorm::default());
    let map = g.relu(x);
    let means = g.global_avg_pool(map);
    let hidden = g.linear("fc1", means, 9, Linear::default());
    let rectified = g.relu(hidden);
    let code = g.linear("fc2", rectified, CLASSES as usize, Linear::default());
    end(&mut g, [map, means, hidden, rectified, code]);
    g.finish().unwrap()
}

#[test]
fn a_network_without_a_loss_predicts_all_its_outputs_and_is_neither_trained_nor_evaluated() {
    let options =
        Options { batch: 8, evaluation_batch: 40, threads: 2, isa: None, compute: Compute::Auto, seed: 5 };
    let session =
        |graph: &Graph| Session::new(graph, vec![None; graph.parameters().len()], &options).unwrap();
    let mut without = session(&network(|g, nodes| g.outputs(&nodes)));
    let mut with = session(&network(|g, [.., code]| _ = g.cross_entropy(code, CLASSES as usize, 0.0)));
    for count in [1, 17, 40] {
        let samples = samples(11, count, SHAPE.iter().product(), CLASSES);
        let batch = samples.pack(&with, &Preprocessing::per_image());
        let mut logits = Vec::new();
        with.evaluate(&batch, Some(&mut logits)).unwrap();
        assert_eq!(with.predict(&batch).unwrap(), [logits.clone()]);
        let outputs = without.predict(&batch).unwrap();
        let [map, means, hidden, rectified, code] = <[Vec<f32>; 5]>::try_from(outputs).unwrap();
        assert_eq!(bits(&code), bits(&logits));
        let relu: Vec<f32> = hidden.iter().map(|h| h.max(0.0)).collect();
        assert_eq!(rectified, relu);
        assert!(hidden.iter().any(|&h| h < 0.0) && map.contains(&0.0) && map.iter().all(|&v| v >= 0.0));
        assert_eq!((map.len(), means.len()), (count * 6 * 64, count * 6));
        for (channel, &mean) in map.chunks(64).zip(&means) {
            assert!((channel.iter().sum::<f32>() / 64.0 - mean).abs() < 1e-5);
        }
        assert!(without.evaluate(&batch, None).unwrap_err().message().contains("has no loss"));
    }
    let batch = samples(11, 8, SHAPE.iter().product(), CLASSES).pack(&without, &Preprocessing::per_image());
    let error = without.accumulate(rigl_testing::whole(&batch), &[]).unwrap_err();
    assert_eq!(
        error.message(),
        "network `net` cannot be trained: it ends in `relu` and 4 more, not in a loss"
    );
}
