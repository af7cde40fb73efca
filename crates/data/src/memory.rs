//! A data set that fits in memory.

use rigl_base::{Error, Result};

use crate::dataset::{Dataset, Sample, Spec, no_such_sample};

/// Samples held in memory, image after image.
///
/// Always so: there are `labels.len() × spec.image_len()` bytes of images, and every label has a class.
#[derive(Clone, Debug)]
pub struct InMemory {
    spec: Spec,
    image_len: usize,
    images: Vec<u8>,
    labels: Vec<u8>,
}

impl InMemory {
    /// A data set out of images, one after the other, and their labels.
    ///
    /// ```
    /// use rigl_data::{Dataset, InMemory, Sample, Spec};
    /// let spec = Spec::new("two-dots", [1, 1, 2], ["left", "right"]);
    /// let set = InMemory::new(spec, vec![255, 0, 0, 255], vec![0, 1])?;
    /// let mut sample = Sample::default();
    /// set.read(1, &mut sample)?;
    /// assert_eq!((sample.image, sample.label), (vec![0, 255], 1));
    /// # Ok::<(), rigl_base::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if the images' length does not fit shape and number of labels, or
    /// a label has no class.
    pub fn new(spec: Spec, images: Vec<u8>, labels: Vec<u8>) -> Result<InMemory> {
        let name = &spec.name;
        let image_len = spec.image_len().filter(|&len| len > 0);
        let image_len = image_len.ok_or_else(|| {
            Error::data(format!(
                "data set `{name}`: images of shape {:?}, allowed are sides from 1 up",
                spec.shape
            ))
        })?;
        if labels.len().checked_mul(image_len) != Some(images.len()) {
            return Err(Error::data(format!(
                "data set `{name}`: {} bytes of images for {} labels, expected {image_len} bytes a label",
                images.len(),
                labels.len(),
            )));
        }
        let classes = spec.classes.len();
        if let Some(at) = labels.iter().position(|&label| usize::from(label) >= classes) {
            return Err(Error::data(format!(
                "data set `{name}`: label {} of sample {at}, allowed are labels below {classes}",
                labels[at],
            )));
        }
        Ok(InMemory { spec, image_len, images, labels })
    }
}

impl Dataset for InMemory {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn read(&self, index: usize, into: &mut Sample) -> Result<()> {
        let label = self.labels.get(index).ok_or_else(|| no_such_sample(self, index))?;
        let start = index * self.image_len;
        into.image.clear();
        into.image.extend_from_slice(&self.images[start..start + self.image_len]);
        into.label = u32::from(*label);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rigl_base::Kind;

    use super::*;

    fn spec() -> Spec {
        Spec::new("t", [1, 2, 2], ["a", "b"])
    }

    #[test]
    fn a_sample_replaces_what_the_buffer_held() {
        let set = InMemory::new(spec(), (0..12).collect(), vec![0, 1, 0]).unwrap();
        let mut sample = Sample { image: vec![99; 50], label: 7 };
        set.read(1, &mut sample).unwrap();
        assert_eq!(sample, Sample { image: vec![4, 5, 6, 7], label: 1 });
        assert_eq!(set.len(), 3);
    }

    #[test]
    fn an_index_past_the_end_is_an_error_and_no_panic() {
        let set = InMemory::new(spec(), vec![0; 4], vec![0]).unwrap();
        let error = set.read(1, &mut Sample::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        assert_eq!(error.to_string(), "sample 1 of data set `t` was asked for, which has 1");
    }

    #[test]
    fn images_and_labels_that_do_not_fit_are_refused() {
        let refused =
            |spec: Spec, images, labels| InMemory::new(spec, images, labels).unwrap_err().to_string();
        assert!(refused(spec(), vec![0; 5], vec![0]).contains("5 bytes of images for 1 labels, expected 4"));
        assert!(
            refused(spec(), vec![0; 8], vec![0, 2])
                .contains("label 2 of sample 1, allowed are labels below 2")
        );
        let huge = Spec::new("h", [usize::MAX, 2, 2], ["a"]);
        assert!(refused(huge, vec![], vec![]).contains("allowed are sides from 1 up"));
        assert!(refused(Spec::new("z", [0, 2], ["a"]), vec![], vec![0]).contains("[0, 2]"));
    }
}
