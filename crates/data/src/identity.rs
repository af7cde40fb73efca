//! Which data a run was trained on: where they lay, how many samples there were, and a fingerprint of these, so that a
//! run goes on with the same ones and runs of others are not averaged with it.
//!
//! The fingerprint is of the samples, not of files: packed or unpacked, held in memory or read as needed, in whichever
//! folder, the same samples have the same one. It is that of the whole sets, before any split or limit, which the
//! configuration tells.

use std::fmt;
use std::path::PathBuf;

use rigl_base::Result;

use crate::dataset::{Dataset, Sample, Sets};

/// Most bytes of images of one set that a fingerprint reads: of larger sets it is that of every k-th sample, with the
/// smallest k that reads no more.
const MOST: u64 = 256 << 20;

/// What is known of a task's samples besides themselves.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Identity {
    /// The data folder in which their files were found, absolute; `None` if they are read from no files.
    pub folder: Option<PathBuf>,
    /// Whether they are the published ones of their name; `None` if none are published, or nobody can tell.
    pub published: Option<bool>,
    /// Training samples, before any split or limit.
    pub train: usize,
    /// Test samples, before any limit.
    pub test: usize,
    /// What tells them from other samples.
    pub fingerprint: Fingerprint,
}

/// Two CRC-32C: of labels, and of images. Both go over shape and number of classes first, then over the training set and
/// the test set. Printed as `1c0ffee5-00ddba11`, each with eight hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Fingerprint {
    labels: u32,
    images: u32,
}

impl Fingerprint {
    /// That of a training and a test set.
    ///
    /// # Errors
    /// If a sample cannot be read.
    pub fn of(sets: &Sets) -> Result<Fingerprint> {
        let mut print = Fingerprint::default();
        for set in [&sets.train, &sets.test] {
            print.add(set.as_ref(), MOST)?;
        }
        Ok(print)
    }

    fn add(&mut self, set: &dyn Dataset, most: u64) -> Result<()> {
        let spec = set.spec();
        let sizes = spec.shape.iter().copied().chain([spec.classes.len(), set.len()]);
        let head: Vec<u8> = sizes.flat_map(|size| (size as u64).to_le_bytes()).collect();
        let mut add = |labels: &[u8], image: &[u8]| {
            self.labels = crc32c::crc32c_append(self.labels, labels);
            self.images = crc32c::crc32c_append(self.images, image);
        };
        add(&head, &head);
        let (mut sample, mut values) = (Sample::default(), Vec::new());
        for index in (0..set.len()).step_by(every(set, most)) {
            set.read(index, &mut sample)?;
            values.clear();
            values.extend_from_slice(&sample.image);
            values.extend(sample.numbers.iter().flat_map(|number| number.to_le_bytes()));
            add(&sample.label.to_le_bytes(), &values);
        }
        Ok(())
    }
}

/// Every how many samples are read, so that their images have at most so many bytes.
fn every(set: &dyn Dataset, most: u64) -> usize {
    let bytes = (set.spec().sample_bytes().unwrap_or(1) as u64).saturating_mul(set.len() as u64);
    usize::try_from(bytes.div_ceil(most)).unwrap_or(usize::MAX).max(1)
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}", self.labels, self.images)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{InMemory, Spec};

    fn set(images: &[u8], labels: &[u8]) -> Arc<dyn Dataset> {
        let spec = Spec::new("t", [1, 1, 2], ["a", "b", "c"]);
        Arc::new(InMemory::new(spec, images.to_vec(), labels.to_vec()).unwrap())
    }

    fn print(train: &Arc<dyn Dataset>, test: &Arc<dyn Dataset>) -> Fingerprint {
        Fingerprint::of(&Sets::new(Arc::clone(train), Arc::clone(test))).unwrap()
    }

    #[test]
    fn the_same_samples_have_one_fingerprint_and_any_others_another() {
        let (train, test) = (set(&[1, 2, 3, 4], &[0, 1]), set(&[5, 6], &[2]));
        let first = print(&train, &test);
        assert_eq!(print(&set(&[1, 2, 3, 4], &[0, 1]), &test), first);
        let pixel = print(&set(&[1, 2, 3, 5], &[0, 1]), &test);
        assert!(pixel.labels == first.labels && pixel.images != first.images);
        let label = print(&train, &set(&[5, 6], &[1]));
        assert!(label.labels != first.labels && label.images == first.images);
        // Samples that go from one set to the other are other data.
        let moved = print(&set(&[1, 2], &[0]), &set(&[3, 4, 5, 6], &[1, 2]));
        assert!(moved.labels != first.labels && moved.images != first.images);
        let wide = Spec::new("t", [2, 1, 1], ["a", "b", "c"]);
        let wide: Arc<dyn Dataset> = Arc::new(InMemory::new(wide, vec![1, 2, 3, 4], vec![0, 1]).unwrap());
        assert_ne!(print(&wide, &test), first);
    }

    #[test]
    fn of_large_sets_every_so_many_samples_are_read() {
        let images: Vec<u8> = (0..20).collect();
        let of = |images: &[u8], most| {
            let mut print = Fingerprint::default();
            print.add(set(images, &[0; 10]).as_ref(), most).unwrap();
            print
        };
        let mut other = images.clone();
        other[3] = 99;
        assert_ne!(of(&images, 20), of(&other, 20));
        // Samples 0, 2, … are read, 1 is not.
        assert_eq!(of(&images, 10), of(&other, 10));
        assert_eq!(every(set(&images, &[0; 10]).as_ref(), 6), 4);
    }

    #[test]
    fn it_is_printed_in_two_words_of_eight_digits() {
        assert_eq!(Fingerprint { labels: 0x1c0f, images: u32::MAX }.to_string(), "00001c0f-ffffffff");
    }
}
