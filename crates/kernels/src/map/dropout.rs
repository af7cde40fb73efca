//! The masks of dropout: one word of 16 bits per vector of a map, bit l for lane l, drawn by counter-based random
//! numbers (Philox 4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//!
//! A mask is a pure function of key, counter and position: neither threads nor the instruction set nor the length of
//! the map change a bit of it. Word w has the draws of blocks 2w (lanes 0 to 7) and 2w + 1 (lanes 8 to 15); of a
//! block's four numbers each makes two draws of 16 bits, the lower half first.

use crate::error::Error;
use crate::run::Machine;
use crate::simd::{Simd, Work};

/// What a mask is drawn from: a key, and the two upper words of the counter. The lower two are the number of the
/// block, so these are the blocks of a `rigl_base::random::Stream` of that key and id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MaskStream {
    /// The key.
    pub key: [u32; 2],
    /// Words 2 and 3 of the counter.
    pub counter: [u32; 2],
}

/// Words that one task draws.
const CHUNK: usize = 1 << 11;

/// Blocks that are computed side by side.
const SIDE: usize = 16;

/// Draws a mask: every bit of `out` is 0 with `probability`, rounded to 1/65536, and else 1 (kept).
///
/// # Errors
/// [`Error::Probability`] unless it is 0 … 1; or if a worker panicked.
pub fn draw_mask(
    machine: &Machine,
    stream: MaskStream,
    probability: f32,
    out: &mut [u16],
) -> Result<(), Error> {
    if !(0.0..=1.0).contains(&probability) {
        return Err(Error::Probability(probability.to_string()));
    }
    // Draws below it are kept: 0 … 65536, all of them.
    let kept = ((1.0 - f64::from(probability)) * 65536.0).round() as u32;
    // Two blocks a word, of ten rounds of a handful of operations.
    machine.chunks(out, CHUNK, out.len().saturating_mul(128), &|first, out| {
        machine.isa.run(Mask { stream, kept, first: 2 * first as u64, out });
    })
}

/// Words whose first block is number `first`.
struct Mask<'a> {
    stream: MaskStream,
    kept: u32,
    first: u64,
    out: &'a mut [u16],
}

impl Work for Mask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Mask { stream, kept, mut first, out } = self;
        for words in out.chunks_mut(SIDE / 2) {
            let numbers = philox(stream, first);
            let mut bits = [0u32; SIDE];
            for (i, of_block) in numbers.iter().enumerate() {
                for b in 0..SIDE {
                    let (low, high) = (of_block[b] & 0xFFFF, of_block[b] >> 16);
                    bits[b] |= (u32::from(low < kept) | u32::from(high < kept) << 1) << (2 * i);
                }
            }
            for (w, word) in words.iter_mut().enumerate() {
                *word = (bits[2 * w] | bits[2 * w + 1] << 8) as u16;
            }
            first = first.wrapping_add(SIDE as u64);
        }
    }
}

/// Sixteen blocks from number `first` on, number i of block b in `[i][b]`. Plain loops over the blocks, which
/// compilers turn into vectors.
#[inline(always)]
fn philox(stream: MaskStream, first: u64) -> [[u32; SIDE]; 4] {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let [mut c0, mut c1, mut c2, mut c3] = [[0u32; SIDE]; 4];
    for b in 0..SIDE {
        let number = first.wrapping_add(b as u64);
        (c0[b], c1[b]) = (number as u32, (number >> 32) as u32);
        (c2[b], c3[b]) = (stream.counter[0], stream.counter[1]);
    }
    let [mut k0, mut k1] = stream.key;
    for _ in 0..10 {
        for b in 0..SIDE {
            let p0 = MULTIPLIERS[0] * u64::from(c0[b]);
            let p1 = MULTIPLIERS[1] * u64::from(c2[b]);
            c0[b] = (p1 >> 32) as u32 ^ c1[b] ^ k0;
            c1[b] = p1 as u32;
            c2[b] = (p0 >> 32) as u32 ^ c3[b] ^ k1;
            c3[b] = p0 as u32;
        }
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    /// One block, as its authors write it.
    fn block([k0, k1]: [u32; 2], [c0, c1, c2, c3]: [u32; 4]) -> [u32; 4] {
        let (mut c, mut k) = ([c0, c1, c2, c3], [k0, k1]);
        for _ in 0..10 {
            let p0 = 0xD251_1F53_u64 * u64::from(c[0]);
            let p1 = 0xCD9E_8D57_u64 * u64::from(c[2]);
            c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
            k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
        }
        c
    }

    #[test]
    fn philox_gives_the_known_answers_of_its_authors() {
        // From the test vectors published with Random123.
        let cases = [
            ([0; 2], [0; 4], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 2], [u32::MAX; 4], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (key, [c0, c1, c2, c3], expected) in cases {
            assert_eq!(block(key, [c0, c1, c2, c3]), expected);
            for lane in [0, 1, 15] {
                let first = (u64::from(c0) | u64::from(c1) << 32).wrapping_sub(lane as u64);
                let found = philox(MaskStream { key, counter: [c2, c3] }, first);
                assert_eq!([0, 1, 2, 3].map(|i: usize| found[i][lane]), expected);
            }
        }
    }

    #[test]
    fn masks_are_the_draws_of_their_blocks_whatever_draws_them() {
        let stream = MaskStream { key: [7, 0xDEAD_BEEF], counter: [3, 0x8000_0001] };
        let plain = |len: usize, kept: u32| -> Vec<u16> {
            (0..len)
                .map(|w| {
                    let half = |b: u64| {
                        let [c2, c3] = stream.counter;
                        let numbers = block(stream.key, [b as u32, (b >> 32) as u32, c2, c3]);
                        (0..8).fold(0u16, |bits, l| {
                            let draw = numbers[l / 2] >> (16 * (l % 2)) & 0xFFFF;
                            bits | u16::from(draw < kept) << l
                        })
                    };
                    half(2 * w as u64) | half(2 * w as u64 + 1) << 8
                })
                .collect()
        };
        for isa in Isa::available() {
            for threads in [1, 3] {
                let machine = Machine::new(isa, threads);
                for len in [0, 1, 7, 8, 9, 100, CHUNK - 1, CHUNK, 20 * CHUNK + 11] {
                    for (probability, kept) in [(0.0, 65536), (0.3, 45875), (0.5, 32768), (1.0, 0)] {
                        let mut out = vec![0xABCD; len];
                        draw_mask(&machine, stream, probability, &mut out).unwrap();
                        assert!(out == plain(len, kept), "{} {threads} {len} {probability}", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn as_many_lanes_are_kept_as_the_probability_says_in_every_lane_of_its_own() {
        const WORDS: usize = 50_000;
        let machine = Machine::new(Isa::detect(), 2);
        let mask = |probability, id| {
            let mut out = vec![0; WORDS];
            let stream = MaskStream { key: [1, 2], counter: [id, 0] };
            draw_mask(&machine, stream, probability, &mut out).unwrap();
            out
        };
        for probability in [0.1f32, 0.3, 0.5, 0.9] {
            let (a, b) = (mask(probability, 0), mask(probability, 1));
            let kept = 1.0 - f64::from(probability);
            // Five standard deviations.
            let within = |count: u32, p: f64, draws: f64| {
                let found = f64::from(count) / draws;
                assert!((found - p).abs() < 5.0 * (p * (1.0 - p) / draws).sqrt(), "{found}, {p}");
            };
            let count = |words: &[u16]| words.iter().map(|w| w.count_ones()).sum::<u32>();
            within(count(&a), kept, 16.0 * WORDS as f64);
            for lane in 0..16 {
                let of_lane = |words: &[u16]| words.iter().map(|&w| u32::from(w >> lane & 1)).sum::<u32>();
                within(of_lane(&a), kept, WORDS as f64);
            }
            // Masks of two counters, and neighbouring lanes of one, say nothing about each other.
            let both = |a: &[u16], b: &[u16]| a.iter().zip(b).map(|(a, b)| (a & b).count_ones()).sum();
            within(both(&a, &b), kept * kept, 16.0 * WORDS as f64);
            let turned: Vec<u16> = a.iter().map(|w| w.rotate_left(1)).collect();
            within(both(&a, &turned), kept * kept, 16.0 * WORDS as f64);
        }
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        let machine = Machine::new(Isa::detect(), 1);
        for wrong in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
            let stream = MaskStream { key: [0; 2], counter: [0; 2] };
            let error = draw_mask(&machine, stream, wrong, &mut [0; 3]).unwrap_err();
            assert!(error.to_string().contains(&wrong.to_string()), "{error}");
        }
    }
}
