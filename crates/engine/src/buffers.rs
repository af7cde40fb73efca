//! The buffers of a plan in one arena: those that live at the same time lie apart, the others may share a place.

use std::ops::Range;

use rigl_base::Result;
use rigl_kernels::LANES;

use crate::layout::Layout;
use crate::value::{BufferId, Source};

/// The buffers of a plan and where they lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers {
    layouts: Vec<Layout>,
    /// First and last time that each is used; none where it never is.
    lives: Vec<Option<(usize, usize)>>,
    starts: Vec<usize>,
}

impl Buffers {
    /// One more.
    pub(crate) fn add(&mut self, layout: Layout) -> BufferId {
        self.layouts.push(layout);
        self.lives.push(None);
        BufferId(self.layouts.len() - 1)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.layouts.len()
    }

    /// Notes that a buffer is read or written at that time.
    pub(crate) fn touch(&mut self, time: usize, buffer: BufferId) {
        let (first, last) = self.lives[buffer.0].unwrap_or((time, time));
        self.lives[buffer.0] = Some((first.min(time), last.max(time)));
    }

    /// Places all that are ever used, for a batch of so many samples; gives the f32 that the arena must hold.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if a buffer cannot be addressed.
    pub(crate) fn place(&mut self, samples: usize) -> Result<usize> {
        let place = |(layout, life): (&Layout, &Option<(usize, usize)>)| {
            let len = layout.len(samples)?;
            Ok(match *life {
                Some((first, last)) => Buffer { len, first, last },
                None => Buffer { len: 0, first: 0, last: 0 },
            })
        };
        let buffers = self.layouts.iter().zip(&self.lives).map(place).collect::<Result<Vec<_>>>()?;
        let (starts, arena) = place_all(&buffers, LANES);
        self.starts = starts;
        Ok(arena)
    }

    /// The part of the arena that a batch of so many samples fills of a buffer.
    pub(crate) fn range(&self, buffer: BufferId, samples: usize) -> Range<usize> {
        let start = self.starts[buffer.0];
        // It was computed for the plan's batch before, which is no smaller.
        start..start + self.layouts[buffer.0].len(samples).unwrap_or(0)
    }

    /// The same of a source; empty for the batch.
    pub(crate) fn source(&self, source: Source, samples: usize) -> Range<usize> {
        match source {
            Source::Batch => 0..0,
            Source::Buffer(buffer) => self.range(buffer, samples),
        }
    }

    /// The same of an optional buffer; empty without one.
    pub(crate) fn optional(&self, buffer: Option<BufferId>, samples: usize) -> Range<usize> {
        buffer.map_or(0..0, |buffer| self.range(buffer, samples))
    }
}

/// A buffer of `len` f32 that is needed from time `first` to time `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Buffer {
    len: usize,
    first: usize,
    last: usize,
}

/// The offset of each buffer, a multiple of `align`, and the length of the arena. Largest first, each into the
/// lowest gap that fits.
fn place_all(buffers: &[Buffer], align: usize) -> (Vec<usize>, usize) {
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
        assert_eq!(place_all(&[buffer(16, 0, 1), buffer(16, 2, 3)], 16), (vec![0, 0], 16));
    }

    #[test]
    fn buffers_that_meet_at_one_moment_lie_apart() {
        assert_eq!(place_all(&[buffer(16, 0, 2), buffer(16, 2, 3)], 16), (vec![0, 16], 32));
    }

    #[test]
    fn a_gap_is_filled_when_it_fits() {
        let buffers = [buffer(64, 0, 1), buffer(32, 0, 9), buffer(48, 5, 9)];
        let (offsets, total) = place_all(&buffers, 16);
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
            let (offsets, total) = place_all(&buffers, 16);
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
