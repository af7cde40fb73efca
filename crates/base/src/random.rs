//! Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011).
//!
//! A [`Stream`] is a pure function from a draw's number to its value, keyed by (seed, purpose, id). There is
//! nothing to save in a checkpoint and nothing that could drift between threads or replicas: whoever knows the
//! key and the number of the draw knows the value.

use crate::math;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One block of four random words: Philox 4x32 with ten rounds.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c0);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c2);
        [c0, c1, c2, c3] = [(p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32];
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// What random numbers are for. Streams of different purposes are independent; the values are part of the
/// file format (a resumed run must draw the same), so they never change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Purpose {
    /// Initial values of parameters; id: the parameter's name.
    Init = 1,
    /// The initial pattern of a layer; id: the parameter's name.
    Topology = 2,
    /// Random growth at an update; id: parameter's name combined with the step.
    Growth = 3,
    /// The order of samples; id: the epoch.
    Order = 4,
    /// Augmentation; id: the draw.
    Augment = 5,
    /// Dropout masks; id: node combined with the draw.
    Dropout = 6,
    /// The drawn data set; id: the sample.
    Drawn = 7,
    /// Splitting samples off for validation; id: 0.
    Split = 8,
    /// Values of grown weights where the method redraws them; id: parameter's name combined with the step.
    Grown = 9,
    /// Tests and benchmarks.
    Test = 10,
    /// Noise on active weights; id: parameter's name combined with the step.
    Noise = 11,
}

/// A 64-bit id for a name: FNV-1a. Part of the file format.
pub fn name_id(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// An id made of two: for streams keyed by, say, a parameter's name and a step.
pub fn pair_id(a: u64, b: u64) -> u64 {
    let [x, y, ..] = philox(words(a, b), [0x7061_6972, 0]);
    u64::from(x) | u64::from(y) << 32
}

fn words(a: u64, b: u64) -> [u32; 4] {
    [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]
}

/// A stream of random numbers, addressed by the number of the draw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stream {
    key: [u32; 2],
    id: u64,
}

impl Stream {
    /// The stream that this seed, purpose and id name: others are independent of it, whatever was drawn from them.
    pub fn new(seed: u64, purpose: Purpose, id: u64) -> Stream {
        let [k0, k1, ..] = philox(words(seed, u64::from(purpose as u32)), [0x7269_676C, 0x7365_6564]);
        Stream { key: [k0, k1], id }
    }

    /// What its blocks are made of, for those who compute them elsewhere: block n is [`philox`] of the counter
    /// (low half of n, high half of n, the two words of the id) under the key. Key, then the words of the id.
    pub fn words(&self) -> ([u32; 2], [u32; 2]) {
        (self.key, [self.id as u32, (self.id >> 32) as u32])
    }

    /// The four words of block `n`; draw `i` is word `i % 4` of block `i / 4`.
    pub fn block(&self, n: u64) -> [u32; 4] {
        philox(words(n, self.id), self.key)
    }

    /// Draw `n` as a 32-bit word.
    pub fn word_at(&self, n: u64) -> u32 {
        self.block(n / 4)[(n % 4) as usize]
    }

    /// Draw `n`, uniform in [0, 1) with 24 bits.
    pub fn uniform_at(&self, n: u64) -> f32 {
        unit(self.word_at(n))
    }

    /// The draws in order, from draw 0.
    pub fn draws(&self) -> Draws {
        Draws { stream: *self, next: 0, block: [0; 4] }
    }
}

/// Two standard normals out of four words (Box-Muller, with 53-bit uniforms).
pub fn normals(words: [u32; 4]) -> [f64; 2] {
    let uniform = |low: u32, high: u32| {
        let word = u64::from(low) | u64::from(high) << 32;
        (word >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    };
    let radius = math::sqrt(-2.0 * math::ln(1.0 - uniform(words[0], words[1])));
    let angle = 2.0 * math::PI * uniform(words[2], words[3]);
    [radius * math::cos(angle), radius * math::sin(angle)]
}

/// A word as a number in [0, 1) with 24 bits.
pub fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// The draws of a [`Stream`] in order.
#[derive(Clone, Debug)]
pub struct Draws {
    stream: Stream,
    next: u64,
    block: [u32; 4],
}

impl Draws {
    /// The next 32-bit word.
    pub fn word(&mut self) -> u32 {
        let i = (self.next % 4) as usize;
        if i == 0 {
            self.block = self.stream.block(self.next / 4);
        }
        self.next += 1;
        self.block[i]
    }

    /// The next 64-bit word (two draws).
    pub fn word64(&mut self) -> u64 {
        let low = u64::from(self.word());
        low | u64::from(self.word()) << 32
    }

    /// Uniform in [0, 1) with 53 bits (two draws).
    pub fn uniform(&mut self) -> f64 {
        (self.word64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform among 0 … n − 1, without bias (Lemire, "Fast random integer generation in an interval", 2019).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "below(0) has no value to draw");
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.word64()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Standard normal (Box-Muller, the cosine half; four draws).
    pub fn normal(&mut self) -> f64 {
        let radius = math::sqrt(-2.0 * math::ln(1.0 - self.uniform()));
        radius * math::cos(2.0 * math::PI * self.uniform())
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_its_authors() {
        // From the test vectors published with Random123.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn draws_are_the_words_of_the_stream_in_order() {
        let stream = Stream::new(7, Purpose::Test, 3);
        let mut draws = stream.draws();
        for n in 0..40 {
            assert_eq!(draws.word(), stream.word_at(n));
        }
    }

    #[test]
    fn streams_differ_by_seed_purpose_and_id() {
        let first = |s: Stream| s.block(0);
        let base = first(Stream::new(0, Purpose::Init, 0));
        assert_ne!(base, first(Stream::new(1, Purpose::Init, 0)));
        assert_ne!(base, first(Stream::new(0, Purpose::Topology, 0)));
        assert_ne!(base, first(Stream::new(0, Purpose::Init, 1)));
        assert_ne!(pair_id(1, 2), pair_id(2, 1));
    }

    #[test]
    fn below_is_uniform_and_shuffle_is_a_permutation() {
        let mut draws = Stream::new(1, Purpose::Test, 0).draws();
        let mut seen = [0usize; 7];
        for _ in 0..70_000 {
            seen[draws.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (9_500..10_500).contains(&n)), "{seen:?}");
        let mut items: Vec<u32> = (0..100).collect();
        draws.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let mut draws = Stream::new(2, Purpose::Test, 0).draws();
        let n = 100_000;
        let values: Vec<f64> = (0..n).map(|_| draws.normal()).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
