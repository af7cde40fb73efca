//! Logits that a session lends are those that its losses and hits come from, sample by sample, whatever the batch.

use rigl_engine::{Compute, Options, Preprocessing, Session};
use rigl_graph::{ModelSpec, Models};
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
