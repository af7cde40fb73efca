//! Loss and accuracy of a network on a set of samples, each seen once.

use std::sync::Arc;

use rigl_base::{Error, Result};
use rigl_data::{Dataset, EvaluationLoader, LoaderOptions, Sample};
use rigl_engine::{Batch, Outcome, Packer, Preprocessing, Session};

/// Evaluates the session's network on all of `set`, `batch` samples at a time.
///
/// # Errors
/// Of reading the samples, or of the engine.
pub fn evaluate(
    session: &mut Session,
    set: &Arc<dyn Dataset>,
    preprocessing: &Preprocessing,
    batch: usize,
) -> Result<Outcome> {
    let packer = session.packer(preprocessing);
    let options = LoaderOptions { threads: 1, depth: 2 };
    let pack = move |samples: &[Sample], packed: &mut Packed| packed.fill(&packer, samples, 1);
    let mut loader = EvaluationLoader::new(Arc::clone(set), batch, options, Packed::default, pack)?;
    let mut outcome = Outcome::default();
    while let Some(packed) = loader.next()? {
        for part in packed.parts()? {
            outcome.add(session.evaluate(part)?);
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
}

impl Packed {
    /// Packs samples into `parts` equal parts.
    pub(crate) fn fill(&mut self, packer: &Packer, samples: &[Sample], parts: usize) {
        self.parts.resize_with(parts, Batch::default);
        let each = samples.len().div_ceil(parts).max(1);
        self.error = None;
        for (samples, part) in samples.chunks(each).zip(&mut self.parts) {
            let samples = samples.iter().map(|sample| (sample.image.as_slice(), sample.label));
            if let Err(error) = packer.pack(samples, part) {
                self.error.get_or_insert(error);
            }
        }
    }

    /// The parts.
    pub(crate) fn parts(&self) -> Result<&[Batch]> {
        match &self.error {
            None => Ok(&self.parts),
            Some(error) => Err(Error::new(error.kind(), error.to_string())),
        }
    }
}
