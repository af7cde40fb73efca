//! Loss and accuracy of a network on a set of samples, each seen once, and its logits.

use std::sync::Arc;

use rigl_base::{Error, Result};
use rigl_data::{CropFlip, Dataset, EvaluationLoader, LoaderOptions, Sample};
use rigl_engine::{Batch, Outcome, Packer, Preprocessing, Session};

/// Evaluates the session's network on all of `set`, `batch` samples at a time.
///
/// # Errors
/// Of reading the samples, or of the engine.
pub(crate) fn evaluate(
    session: &mut Session,
    set: &Arc<dyn Dataset>,
    preprocessing: &Preprocessing,
    batch: usize,
) -> Result<Outcome> {
    each_batch(session, set, preprocessing, batch, |session, _, batch| session.evaluate(batch, None))
}

/// What a network reads and answers, one sample after the other in the order of the set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits {
    /// Losses and hits.
    pub outcome: Outcome,
    /// The network's input as it is fed, after preprocessing; each sample row-major in its shape.
    pub inputs: Vec<f32>,
    /// The samples' classes.
    pub labels: Vec<i64>,
    /// The network's output, one number per class.
    pub logits: Vec<f32>,
}

/// [`evaluate`] that keeps what the network reads and answers.
///
/// # Errors
/// As [`evaluate`]; [`Kind::Environment`](rigl_base::Kind::Environment) if the numbers do not fit into memory.
pub(crate) fn logits(
    session: &mut Session,
    set: &Arc<dyn Dataset>,
    preprocessing: &Preprocessing,
    batch: usize,
) -> Result<Logits> {
    let (samples, each) = (set.len(), set.spec().shape.iter().product::<usize>());
    let mut all = Logits::default();
    all.inputs.try_reserve_exact(samples.saturating_mul(each)).map_err(|e| {
        Error::environment(format!("no memory for the inputs of {samples} samples, {each} numbers each"))
            .caused_by(e)
    })?;
    let Logits { inputs, labels, logits, .. } = &mut all;
    all.outcome = each_batch(session, set, preprocessing, batch, |session, packer, batch| {
        packer.unpack(batch, inputs)?;
        labels.extend(batch.labels().iter().map(|&label| i64::from(label)));
        session.evaluate(batch, Some(logits))
    })?;
    Ok(all)
}

/// Adds up what `pass` gives for each batch of `set`.
fn each_batch(
    session: &mut Session,
    set: &Arc<dyn Dataset>,
    preprocessing: &Preprocessing,
    batch: usize,
    mut pass: impl FnMut(&mut Session, &Packer, &Batch) -> Result<Outcome>,
) -> Result<Outcome> {
    let packer = session.packer(preprocessing);
    let reader = packer.clone();
    let options = LoaderOptions { threads: 1, depth: 2 };
    let pack = move |_, samples: &mut [Sample], packed: &mut Packed| packed.fill(&packer, samples, 1);
    let mut loader = EvaluationLoader::new(Arc::clone(set), batch, options, Packed::default, pack)?;
    let mut outcome = Outcome::default();
    while let Some(mut packed) = loader.next()? {
        for part in packed.parts()? {
            outcome.add(pass(session, &reader, part)?);
        }
        loader.recycle(packed);
    }
    Ok(outcome)
}

/// A batch ready for the engine, in one or several parts, or why it is not.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    parts: Vec<Batch>,
    error: Option<Error>,
    /// Where an image is changed.
    image: Vec<u8>,
    numbers: Vec<f32>,
}

impl Packed {
    /// Changes the samples of batch `draw` at random, then packs them into `parts` equal parts.
    pub(crate) fn augment_and_fill(
        &mut self,
        augmentation: Option<&CropFlip>,
        packer: &Packer,
        draw: u64,
        samples: &mut [Sample],
        parts: usize,
    ) {
        let mut failed = None;
        for (place, sample) in samples.iter_mut().enumerate() {
            let Some(crop) = augmentation else { break };
            let changed = match sample.numbers.is_empty() {
                true => change(crop, (draw, place), &mut sample.image, &mut self.image),
                false => change(crop, (draw, place), &mut sample.numbers, &mut self.numbers),
            };
            failed = failed.or(changed.err());
        }
        self.fill(packer, samples, parts);
        if failed.is_some() {
            self.error = failed;
        }
    }

    /// Packs samples into `parts` equal parts.
    pub(crate) fn fill(&mut self, packer: &Packer, samples: &[Sample], parts: usize) {
        self.parts.resize_with(parts, Batch::default);
        let each = samples.len().div_ceil(parts).max(1);
        self.error = None;
        for (samples, part) in samples.chunks(each).zip(&mut self.parts) {
            let are_numbers = samples.first().is_some_and(|sample| !sample.numbers.is_empty());
            let packed = match are_numbers {
                true => packer.pack_numbers(samples.iter().map(|s| (s.numbers.as_slice(), s.label)), part),
                false => packer.pack(samples.iter().map(|s| (s.image.as_slice(), s.label)), part),
            };
            if let Err(error) = packed {
                self.error.get_or_insert(error);
            }
        }
    }

    /// What was packed, or the error, which is told once.
    pub(crate) fn parts(&mut self) -> Result<&[Batch]> {
        self.error.take().map_or(Ok(self.parts.as_slice()), Err)
    }
}

/// Replaces a sample by itself changed at random, in the memory of `other`.
fn change<T: Copy>(
    crop: &CropFlip,
    (draw, place): (u64, usize),
    sample: &mut Vec<T>,
    other: &mut Vec<T>,
) -> Result<()> {
    crop.apply(draw, place, sample, other)?;
    std::mem::swap(sample, other);
    Ok(())
}

#[cfg(test)]
mod tests {
    use rigl_data::{InMemory, Spec};
    use rigl_graph::{ModelSpec, Models};

    use super::*;

    /// Random images of three channels, and what packs them.
    fn setup(count: usize) -> (Vec<Sample>, Packer, CropFlip) {
        let spec = Spec::new("noise", [3, 8, 8], ["a", "b"]);
        let images = (0..count * 192).map(|i| (i * i * 31 + i / 5) as u8).collect();
        let set = InMemory::new(spec, images, vec![1; count]).unwrap();
        let mut samples = vec![Sample::default(); count];
        samples.iter_mut().enumerate().for_each(|(i, sample)| set.read(i, sample).unwrap());
        let graph = Models::default().build("mlp", &ModelSpec::new(&[3, 8, 8], 2)).unwrap();
        let patterns = vec![None; graph.parameters().len()];
        let session = Session::new(&graph, patterns, &rigl_testing::options(count)).unwrap();
        (samples, session.packer(&Preprocessing::per_image()), CropFlip::new(5, &[3, 8, 8], 4).unwrap())
    }

    #[test]
    fn samples_are_changed_by_their_place_in_the_whole_batch() {
        let (samples, packer, crop) = setup(24);
        let parts = |parts: usize, draw: u64| {
            let (mut packed, mut samples) = (Packed::default(), samples.clone());
            packed.augment_and_fill(Some(&crop), &packer, draw, &mut samples, parts);
            assert_eq!(packed.parts().unwrap().iter().map(|part| part.samples()).sum::<usize>(), 24);
            samples
        };
        let mut image = Vec::new();
        let expected = samples.iter().enumerate().map(|(place, sample)| {
            crop.apply(9, place, &sample.image, &mut image).unwrap();
            image.clone()
        });
        let expected: Vec<Vec<u8>> = expected.collect();
        for count in [1, 2, 8] {
            let found: Vec<Vec<u8>> = parts(count, 9).into_iter().map(|sample| sample.image).collect();
            assert_eq!(found, expected, "{count}");
        }
        assert_ne!(parts(1, 10)[0].image, expected[0]);
    }

    #[test]
    fn without_augmentation_samples_stay_as_they_are_and_one_that_is_no_image_is_an_error() {
        let (mut samples, packer, crop) = setup(4);
        let before = samples.clone();
        let mut packed = Packed::default();
        packed.augment_and_fill(None, &packer, 1, &mut samples, 2);
        assert!(samples == before && packed.parts().is_ok());
        samples[2].image.pop();
        packed.augment_and_fill(Some(&crop), &packer, 1, &mut samples, 2);
        assert!(packed.parts().unwrap_err().to_string().contains("191 values cannot be cropped"));
        packed.error = Some(Error::data("odd").hint("even"));
        assert_eq!(packed.parts().unwrap_err().hint_text(), Some("even"));
    }
}
