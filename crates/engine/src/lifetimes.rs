//! Where buffers lie in one arena: those that live at the same time lie apart, the others may share a place.

/// A buffer of `len` f32 that is needed from time `first` to time `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Buffer {
    pub(crate) len: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// The offset of each buffer, a multiple of `align`, and the length of the arena. Largest first, each into the
/// lowest gap that fits.
pub(crate) fn place(buffers: &[Buffer], align: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&b| (std::cmp::Reverse(buffers[b].len), b));
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for b in order {
        let buffer = buffers[b];
        if buffer.len == 0 {
            continue;
        }
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&o| buffers[o].first <= buffer.last && buffer.first <= buffers[o].last)
            .map(|&o| (offsets[o], offsets[o] + buffers[o].len.next_multiple_of(align)))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if start >= offset + buffer.len.next_multiple_of(align) {
                break;
            }
            offset = offset.max(end);
        }
        offsets[b] = offset;
        placed.push(b);
        total = total.max(offset + buffer.len.next_multiple_of(align));
    }
    (offsets, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(len: usize, first: usize, last: usize) -> Buffer {
        Buffer { len, first, last }
    }

    #[test]
    fn buffers_that_never_meet_share_a_place() {
        assert_eq!(place(&[buffer(16, 0, 1), buffer(16, 2, 3)], 16), (vec![0, 0], 16));
    }

    #[test]
    fn buffers_that_meet_at_one_moment_lie_apart() {
        assert_eq!(place(&[buffer(16, 0, 2), buffer(16, 2, 3)], 16), (vec![0, 16], 32));
    }

    #[test]
    fn a_gap_is_filled_when_it_fits() {
        let buffers = [buffer(64, 0, 1), buffer(32, 0, 9), buffer(48, 5, 9)];
        let (offsets, total) = place(&buffers, 16);
        assert_eq!((offsets, total), (vec![0, 64, 0], 96));
    }

    #[test]
    fn random_buffers_that_live_together_never_overlap() {
        let mut draws = rigl_base::random::Stream::new(0, rigl_base::random::Purpose::Test, 0).draws();
        for _ in 0..200 {
            let buffers: Vec<Buffer> = (0..12)
                .map(|_| {
                    let first = draws.below(10) as usize;
                    buffer(draws.below(100) as usize, first, first + draws.below(5) as usize)
                })
                .collect();
            let (offsets, total) = place(&buffers, 16);
            for (i, a) in buffers.iter().enumerate() {
                assert!(offsets[i] % 16 == 0 && offsets[i] + a.len <= total);
                for (j, b) in buffers.iter().enumerate().take(i) {
                    let together = a.first <= b.last && b.first <= a.last && a.len > 0 && b.len > 0;
                    let apart = offsets[i] + a.len <= offsets[j] || offsets[j] + b.len <= offsets[i];
                    assert!(!together || apart);
                }
            }
        }
    }
}
