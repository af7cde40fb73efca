//! Operations on sorted lists of unique flat indices, each a single walk over its inputs.

use rigl_base::{Error, Result};

/// Checks that `indices` are sorted, unique and below `len`, and that `len` positions can be indexed by u32.
pub(crate) fn check(len: usize, indices: &[u32]) -> Result<()> {
    check_len(len)?;
    if let Some(at) = indices.windows(2).position(|pair| pair[0] >= pair[1]) {
        let (a, b) = (indices[at], indices[at + 1]);
        return Err(Error::data(format!("flat indices must be sorted and unique, found `{b}` after `{a}`")));
    }
    match indices.last() {
        Some(&last) if last as usize >= len => {
            Err(Error::data(format!("flat index `{last}` is outside a weight of {len} positions")))
        }
        _ => Ok(()),
    }
}

/// Checks that `len` positions can be indexed by u32.
pub(crate) fn check_len(len: usize) -> Result<()> {
    if len > u32::MAX as usize {
        return Err(Error::usage(format!(
            "a weight has {len} positions, at most {} are supported",
            u32::MAX
        )));
    }
    Ok(())
}

/// All of 0 … len − 1 that are not in `indices`.
pub(crate) fn complement(len: usize, indices: &[u32]) -> Vec<u32> {
    let mut rest = Vec::with_capacity(len - indices.len());
    let mut next = 0;
    for &index in indices {
        rest.extend(next..index);
        next = index + 1;
    }
    rest.extend(next..len as u32);
    rest
}

/// Everything that is in `a` or in `b`.
pub(crate) fn union(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut both = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let smaller = a[i].min(b[j]);
        i += usize::from(a[i] == smaller);
        j += usize::from(b[j] == smaller);
        both.push(smaller);
    }
    both.extend_from_slice(&a[i..]);
    both.extend_from_slice(&b[j..]);
    both
}

/// Everything in `a` that is not in `b`.
pub(crate) fn difference(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut b = b.iter().copied().peekable();
    a.iter()
        .copied()
        .filter(|&index| {
            while b.next_if(|&other| other < index).is_some() {}
            b.peek() != Some(&index)
        })
        .collect()
}

/// Turns sorted ranks among the positions that are not in `excluded` into those positions.
pub(crate) fn unrank(ranks: &mut [u32], excluded: &[u32]) {
    let mut before = 0;
    for rank in ranks {
        while excluded.get(before).is_some_and(|&e| e <= *rank + before as u32) {
            before += 1;
        }
        *rank += before as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_operations_on_small_lists() {
        assert_eq!(complement(6, &[0, 3, 5]), [1, 2, 4]);
        assert_eq!(complement(3, &[]), [0, 1, 2]);
        assert_eq!(union(&[1, 4, 6], &[0, 4, 9]), [0, 1, 4, 6, 9]);
        assert_eq!(difference(&[1, 4, 6, 7], &[0, 4, 7, 9]), [1, 6]);
    }

    #[test]
    fn ranks_count_only_positions_that_are_not_excluded() {
        let excluded = [0, 1, 4, 6];
        let mut ranks = [0, 1, 2, 3, 4];
        unrank(&mut ranks, &excluded);
        assert_eq!(ranks.as_slice(), &complement(9, &excluded)[..5]);
    }

    #[test]
    fn errors_say_which_index_is_wrong() {
        assert!(check(5, &[0, 4]).is_ok());
        assert!(check(5, &[1, 1]).unwrap_err().to_string().contains("found `1` after `1`"));
        assert!(check(5, &[3, 2]).unwrap_err().to_string().contains("found `2` after `3`"));
        assert!(check(5, &[5]).unwrap_err().to_string().contains("`5` is outside a weight of 5"));
        assert!(check(u32::MAX as usize + 1, &[]).is_err());
    }
}
