//! Samples: images of bytes, with labels.

use std::ops::Range;

use rigl_base::random::{Purpose, Stream};
use rigl_engine::{Batch, Preprocessing, Session};
use serde::Deserialize;

/// Images and their labels.
#[derive(Clone, Debug, Deserialize)]
pub struct Samples {
    /// The bytes of each image.
    pub images: Vec<Vec<u8>>,
    /// The class of each.
    pub labels: Vec<u32>,
}

impl Samples {
    /// So many that are drawn, of so many bytes and classes.
    pub fn drawn(seed: u64, count: usize, features: usize, classes: usize) -> Samples {
        let mut draws = Stream::new(seed, Purpose::Test, 1).draws();
        let images = (0..count).map(|_| (0..features).map(|_| draws.word() as u8).collect()).collect();
        Samples { images, labels: (0..count).map(|_| draws.below(classes as u64) as u32).collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Those of a range.
    pub fn range(&self, range: Range<usize>) -> Samples {
        Samples { images: self.images[range.clone()].to_vec(), labels: self.labels[range].to_vec() }
    }

    /// As a batch of the session.
    pub fn pack(&self, session: &Session, how: &Preprocessing) -> Batch {
        let images = self.images.iter().map(Vec::as_slice);
        let mut batch = Batch::default();
        session.packer(how).pack(images.zip(self.labels.iter().copied()), &mut batch).unwrap();
        batch
    }
}
