//! Random subsets: each subset of the wanted size is equally likely.

use rigl_base::random::Stream;

use crate::sorted;

/// `count` distinct numbers below `len`, sorted. Costs O(count log count) where `count` is far below `len`,
/// else O(len); memory is O(count) either way.
///
/// They are the first `count` distinct values the stream draws (of the complement, where that is smaller).
pub(crate) fn distinct(len: usize, count: usize, stream: Stream) -> Vec<u32> {
    debug_assert!(count <= len, "{count} distinct numbers below {len}");
    if count > len - count {
        return sorted::complement(len, &distinct(len, len - count, stream));
    }
    // From here on a bit per position takes no more memory than the result.
    if len / 32 <= count { by_bits(len, count, stream) } else { by_sorting(len, count, stream) }
}

fn by_bits(len: usize, count: usize, stream: Stream) -> Vec<u32> {
    let mut draws = stream.draws();
    let mut taken = vec![0u64; len.div_ceil(64)];
    let mut left = count;
    while left > 0 {
        let value = draws.below(len as u64) as usize;
        let (word, bit) = (&mut taken[value / 64], 1 << (value % 64));
        left -= usize::from(*word & bit == 0);
        *word |= bit;
    }
    let mut values = Vec::with_capacity(count);
    for (i, mut word) in taken.into_iter().enumerate() {
        while word != 0 {
            values.push(i as u32 * 64 + word.trailing_zeros());
            word &= word - 1;
        }
    }
    values
}

fn by_sorting(len: usize, count: usize, stream: Stream) -> Vec<u32> {
    let mut draws = stream.draws();
    let mut values: Vec<u32> = Vec::with_capacity(count);
    // Duplicates are replaced by further draws; the stable sort is linear on a sorted start and a short rest.
    while values.len() < count {
        values.extend((values.len()..count).map(|_| draws.below(len as u64) as u32));
        values.sort();
        values.dedup();
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rigl_base::random::Purpose;

    use super::*;

    fn stream(id: u64) -> Stream {
        Stream::new(5, Purpose::Test, id)
    }

    #[test]
    fn both_ways_of_drawing_give_the_same_subset() {
        for (len, count) in [(1, 0), (1, 1), (64, 32), (65, 20), (1000, 31), (4096, 2000)] {
            assert_eq!(by_bits(len, count, stream(0)), by_sorting(len, count, stream(0)), "{count} of {len}");
        }
    }

    #[test]
    fn every_subset_is_equally_likely() {
        for count in [2, 4] {
            let mut seen = std::collections::BTreeMap::new();
            for id in 0..15_000 {
                *seen.entry(distinct(6, count, stream(id))).or_insert(0u32) += 1;
            }
            assert_eq!(seen.len(), 15);
            // 1000 expected in each, standard deviation 30.6.
            assert!(seen.values().all(|n| (850..1150).contains(n)), "{seen:?}");
        }
    }

    #[test]
    fn a_few_of_four_thousand_million_cost_little() {
        let values = distinct(u32::MAX as usize, 1000, stream(1));
        sorted::check(u32::MAX as usize, &values).unwrap();
        assert_eq!(values.len(), 1000);
        assert!(values[999] > 3_000_000_000);
    }

    proptest! {
        #[test]
        fn subsets_are_sorted_unique_and_of_the_wanted_size(len in 0usize..3000, share in 0.0..=1.0f64, id: u64) {
            let count = (len as f64 * share) as usize;
            let values = distinct(len, count, stream(id));
            prop_assert_eq!(values.len(), count);
            prop_assert!(sorted::check(len, &values).is_ok());
        }
    }
}
