//! A data set that fits in memory.

use rigl_base::{Error, Result};

use crate::dataset::{Dataset, Sample, Spec, Values, no_such_sample};

/// Samples held in memory, one after the other.
///
/// Always so: there are `labels.len() × spec.sample_len()` values, numbers are finite, and every label has a class.
#[derive(Clone, Debug)]
pub struct InMemory {
    spec: Spec,
    each: usize,
    stored: Stored,
}

#[derive(Clone, Debug)]
enum Stored {
    Bytes(Vec<u8>, Vec<u8>),
    Numbers(Vec<f32>, Vec<u32>),
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
        let spec = Spec { values: Values::Bytes, ..spec };
        let each = check(&spec, (images.len(), "bytes of images"), labels.iter().map(|&label| label.into()))?;
        Ok(InMemory { spec, each, stored: Stored::Bytes(images, labels) })
    }

    /// A data set out of numbers, those of one sample after those of the other, and their labels.
    ///
    /// ```
    /// use rigl_data::{Dataset, InMemory, Sample, Spec};
    /// let spec = Spec::new("flowers", [2], ["small", "large"]);
    /// let set = InMemory::of_numbers(spec, vec![1.4, 0.2, 4.7, 1.4], vec![0, 1])?;
    /// let mut sample = Sample::default();
    /// set.read(1, &mut sample)?;
    /// assert_eq!((sample.numbers, sample.label), (vec![4.7, 1.4], 1));
    /// # Ok::<(), rigl_base::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`InMemory::new`], and if a number is not finite.
    pub fn of_numbers(spec: Spec, numbers: Vec<f32>, labels: Vec<u32>) -> Result<InMemory> {
        let spec = spec.of_numbers();
        let each = check(&spec, (numbers.len(), "numbers"), labels.iter().copied())?;
        if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
            let (name, sample) = (&spec.name, at / each);
            let number = numbers[at];
            return Err(Error::data(format!(
                "data set `{name}`: {number} in sample {sample}, allowed are finite numbers"
            )));
        }
        Ok(InMemory { spec, each, stored: Stored::Numbers(numbers, labels) })
    }
}

/// The values of a sample, if values and labels fit each other and `spec`.
fn check(
    spec: &Spec,
    (found, what): (usize, &str),
    mut labels: impl ExactSizeIterator<Item = u32>,
) -> Result<usize> {
    let name = &spec.name;
    let each = spec.sample_len().filter(|&len| len > 0);
    let each = each.ok_or_else(|| {
        Error::data(format!(
            "data set `{name}`: samples of shape {:?}, allowed are sides from 1 up",
            spec.shape
        ))
    })?;
    let count = labels.len();
    if count.checked_mul(each) != Some(found) {
        return Err(Error::data(format!(
            "data set `{name}`: {found} {what} for {count} labels, expected {each} a label"
        )));
    }
    let classes = spec.classes.len();
    match labels.by_ref().enumerate().find(|&(_, label)| label as usize >= classes) {
        None => Ok(each),
        Some((at, label)) => Err(Error::data(format!(
            "data set `{name}`: label {label} of sample {at}, allowed are labels below {classes}"
        ))),
    }
}

impl Dataset for InMemory {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn len(&self) -> usize {
        match &self.stored {
            Stored::Bytes(_, labels) => labels.len(),
            Stored::Numbers(_, labels) => labels.len(),
        }
    }

    fn read(&self, index: usize, into: &mut Sample) -> Result<()> {
        if index >= self.len() {
            return Err(no_such_sample(self, index));
        }
        let range = index * self.each..(index + 1) * self.each;
        into.image.clear();
        into.numbers.clear();
        match &self.stored {
            Stored::Bytes(images, labels) => {
                into.image.extend_from_slice(&images[range]);
                into.label = labels[index].into();
            }
            Stored::Numbers(numbers, labels) => {
                into.numbers.extend_from_slice(&numbers[range]);
                into.label = labels[index];
            }
        }
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
        let mut sample = Sample { image: vec![99; 50], numbers: vec![9.0], label: 7 };
        set.read(1, &mut sample).unwrap();
        assert_eq!(sample, Sample { image: vec![4, 5, 6, 7], numbers: vec![], label: 1 });
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
        assert!(
            refused(spec(), vec![0; 5], vec![0])
                .contains("5 bytes of images for 1 labels, expected 4 a label")
        );
        assert!(
            refused(spec(), vec![0; 8], vec![0, 2])
                .contains("label 2 of sample 1, allowed are labels below 2")
        );
        let huge = Spec::new("h", [usize::MAX, 2, 2], ["a"]);
        assert!(refused(huge, vec![], vec![]).contains("allowed are sides from 1 up"));
        assert!(refused(Spec::new("z", [0, 2], ["a"]), vec![], vec![0]).contains("[0, 2]"));
    }

    #[test]
    fn numbers_are_samples_as_bytes_are_and_finite() {
        let spec = || Spec::new("t", [2], ["a", "b"]);
        let set = InMemory::of_numbers(spec(), vec![1.0, 2.0, 3.0, -4.0], vec![0, 1]).unwrap();
        let mut sample = Sample { image: vec![9], numbers: vec![], label: 7 };
        set.read(1, &mut sample).unwrap();
        assert_eq!(sample, Sample { image: vec![], numbers: vec![3.0, -4.0], label: 1 });
        assert_eq!((set.spec().values, set.spec().sample_bytes()), (Values::Numbers, Some(8)));
        assert!(set.read(2, &mut sample).is_err());
        let refused =
            |numbers, labels| InMemory::of_numbers(spec(), numbers, labels).unwrap_err().to_string();
        assert!(refused(vec![1.0; 3], vec![0]).contains("3 numbers for 1 labels, expected 2 a label"));
        assert!(refused(vec![1.0; 2], vec![2]).contains("label 2 of sample 0"));
        assert!(refused(vec![1.0, 2.0, 3.0, f32::NAN], vec![0, 1]).contains("NaN in sample 1"));
    }
}
