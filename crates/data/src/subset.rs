//! Parts of a data set: validation splits and limited sample counts.

use std::sync::Arc;

use rigl_base::counts;
use rigl_base::random::{Purpose, Stream};
use rigl_base::{Error, Result};

use crate::dataset::{Dataset, Sample, Spec, no_such_sample};

/// Ids of the random streams: a split and a limit of the same set are independent.
const SPLIT: u64 = 0;
const LIMIT: u64 = 1;

/// Some samples of a data set, in the order they have there.
#[derive(Clone)]
pub struct Subset {
    whole: Arc<dyn Dataset>,
    /// Sorted, each below `whole.len()`.
    indices: Vec<usize>,
}

impl Subset {
    /// Splits `whole` in two: all but a share, and a share of `trunc(len · share)` samples, chosen by `seed`
    /// alone. No sample is in both and none is in neither.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage), naming the key `data.validation`, unless both parts hold at
    /// least one sample.
    pub fn split(whole: &Arc<dyn Dataset>, share: f64, seed: u64) -> Result<(Subset, Subset)> {
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::usage(format!(
                "`data.validation` is {share}, allowed is a share between 0 and 1"
            ))
            .hint("0.1"));
        }
        let taken = counts::trunc_product(whole.len(), share);
        if taken == 0 || taken >= whole.len() {
            return Err(Error::usage(format!(
                "`data.validation` is {share}, which takes {taken} of the {} training samples of `{}`; both \
                 parts need one",
                whole.len(),
                whole.spec().name,
            )));
        }
        let (part, rest) = choose(whole.len(), taken, seed, SPLIT);
        let subset = |indices| Subset { whole: Arc::clone(whole), indices };
        Ok((subset(rest), subset(part)))
    }

    /// `count` samples of `whole`, or all of them if it has fewer, chosen by `seed` alone: not the first ones,
    /// since files are often sorted by class.
    pub fn limited(whole: &Arc<dyn Dataset>, count: usize, seed: u64) -> Subset {
        let (indices, _) = choose(whole.len(), count.min(whole.len()), seed, LIMIT);
        Subset { whole: Arc::clone(whole), indices }
    }

    /// The first `count` samples of `whole`, or all of them if it has fewer, as they come: for looking at, not for
    /// training on.
    pub fn first(whole: &Arc<dyn Dataset>, count: usize) -> Subset {
        Subset { whole: Arc::clone(whole), indices: (0..count.min(whole.len())).collect() }
    }

    /// The indices in the whole set, sorted.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

/// `count` of the indices below `len`, and the others, both sorted.
fn choose(len: usize, count: usize, seed: u64, id: u64) -> (Vec<usize>, Vec<usize>) {
    let mut chosen: Vec<usize> = (0..len).collect();
    Stream::new(seed, Purpose::Split, id).draws().shuffle(&mut chosen);
    let mut others = chosen.split_off(count);
    chosen.sort_unstable();
    others.sort_unstable();
    (chosen, others)
}

impl Dataset for Subset {
    fn spec(&self) -> &Spec {
        self.whole.spec()
    }

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn is_held(&self) -> bool {
        self.whole.is_held()
    }

    fn read(&self, index: usize, into: &mut Sample) -> Result<()> {
        let at = self.indices.get(index).ok_or_else(|| no_such_sample(self, index))?;
        self.whole.read(*at, into)
    }
}

#[cfg(test)]
mod tests {
    use rigl_base::Kind;

    use super::*;
    use crate::InMemory;

    /// Sample `i` is one pixel of value `i`.
    fn numbered(len: u8) -> Arc<dyn Dataset> {
        let spec = Spec::new("numbered", [1, 1, 1], ["only"]);
        Arc::new(InMemory::new(spec, (0..len).collect(), vec![0; usize::from(len)]).unwrap())
    }

    #[test]
    fn a_split_parts_the_set_by_the_seed_alone() {
        let whole = numbered(100);
        let (train, validation) = Subset::split(&whole, 0.29, 5).unwrap();
        assert_eq!((train.len(), validation.len()), (71, 29));
        let mut all = [train.indices(), validation.indices()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        let again = Subset::split(&whole, 0.29, 5).unwrap().1;
        let other = Subset::split(&whole, 0.29, 6).unwrap().1;
        assert_eq!(validation.indices(), again.indices());
        assert_ne!(validation.indices(), other.indices());
    }

    #[test]
    fn the_first_samples_come_as_they_are() {
        for (count, expected) in [(0, 0), (3, 3), (50, 50), (51, 50)] {
            let first = Subset::first(&numbered(50), count);
            assert_eq!(first.indices(), (0..expected).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_sample_of_a_subset_is_the_sample_of_the_whole() {
        let (_, part) = Subset::split(&numbered(50), 0.2, 1).unwrap();
        let mut sample = Sample::default();
        for (i, &at) in part.indices().iter().enumerate() {
            part.read(i, &mut sample).unwrap();
            assert_eq!(usize::from(sample.image[0]), at);
        }
        assert_eq!(part.read(10, &mut sample).unwrap_err().kind(), Kind::Internal);
    }

    #[test]
    fn a_limit_takes_that_many_or_all() {
        let whole = numbered(20);
        assert_eq!(Subset::limited(&whole, 5, 0).len(), 5);
        assert_eq!(Subset::limited(&whole, 50, 0).indices(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn shares_that_leave_a_part_empty_are_refused() {
        let refused = |share| Subset::split(&numbered(20), share, 0).err().map(|e| e.kind());
        for share in [0.0, 1.0, -0.5, 90.0, f64::NAN, f64::INFINITY, 0.01] {
            assert_eq!(refused(share), Some(Kind::Usage), "{share}");
        }
        assert_eq!(refused(0.05), None);
    }
}
