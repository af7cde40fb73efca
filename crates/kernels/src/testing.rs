//! What tests of kernels on maps stand on: random numbers, and plain loops for what is the same everywhere.

use crate::map::{Affine, BLOCK, Dropout, GradientView, MapShape, NormGradient, SUM_ROWS, View, blocks};

/// A small generator, so that tests need no other crate.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.word() % n as u64) as usize
    }

    pub(crate) fn number(&mut self) -> f32 {
        (self.word() % 4001) as f32 / 2000.0 - 1.0
    }

    pub(crate) fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }
}

/// Sum of the lanes by the tree.
pub(crate) fn tree(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

/// Whether value i of a map belongs to a sample.
pub(crate) fn is_sample(shape: MapShape, samples: usize, i: usize) -> bool {
    i / shape.block_len() * BLOCK + i % BLOCK < samples
}

/// The channel of value i of a map.
pub(crate) fn channel(shape: MapShape, i: usize) -> usize {
    i / BLOCK / shape.columns % shape.channels
}

/// A map of random numbers whose lanes without samples are zero.
pub(crate) fn map(random: &mut Random, shape: MapShape, samples: usize) -> Vec<f32> {
    let mut map = random.numbers(shape.len(blocks(samples)).unwrap());
    for (i, x) in map.iter_mut().enumerate() {
        if !is_sample(shape, samples, i) {
            *x = 0.0;
        }
    }
    map
}

/// A batch norm's numbers for so many channels.
pub(crate) struct Norm {
    pub(crate) mean: Vec<f32>,
    pub(crate) scale: Vec<f32>,
    pub(crate) offset: Vec<f32>,
}

impl Norm {
    pub(crate) fn new(random: &mut Random, channels: usize) -> Norm {
        Norm {
            mean: random.numbers(channels),
            scale: random.numbers(channels),
            offset: random.numbers(channels),
        }
    }

    pub(crate) fn view(&self) -> Affine<'_> {
        Affine { mean: &self.mean, scale: &self.scale, offset: &self.offset }
    }
}

/// A stored map with all that may lie behind it.
pub(crate) struct Viewed {
    shape: MapShape,
    pub(crate) map: Vec<f32>,
    norm: Option<Norm>,
    relu: bool,
    keep: Option<Vec<u16>>,
}

/// The scale of a [`Viewed`] map's dropout.
const KEPT: f32 = 1.5;

impl Viewed {
    /// Kind 0 is a plain map; of the others, bit 0 says whether there is a norm, bit 1 a ReLU, bit 2 dropout.
    pub(crate) fn new(random: &mut Random, shape: MapShape, samples: usize, kind: usize) -> Viewed {
        let map = random.numbers(shape.len(blocks(samples)).unwrap());
        let words = map.len() / BLOCK;
        Viewed {
            shape,
            map,
            norm: (kind & 1 > 0).then(|| Norm::new(random, shape.channels)),
            relu: kind & 2 > 0,
            keep: (kind & 4 > 0).then(|| (0..words).map(|_| random.word() as u16).collect()),
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View {
            map: &self.map,
            norm: self.norm.as_ref().map(Norm::view),
            relu: self.relu,
            dropout: self.keep.as_ref().map(|keep| Dropout { keep, scale: KEPT }),
        }
    }

    fn normalised(&self, i: usize) -> f32 {
        let c = channel(self.shape, i);
        match &self.norm {
            Some(norm) => (self.map[i] - norm.mean[c]).mul_add(norm.scale[c], norm.offset[c]),
            None => self.map[i],
        }
    }

    fn dropped(&self, i: usize, v: f32) -> f32 {
        match &self.keep {
            Some(keep) if keep[i / BLOCK] >> (i % BLOCK) & 1 == 1 => v * KEPT,
            Some(_) => 0.0,
            None => v,
        }
    }

    /// What the view holds at i.
    pub(crate) fn value(&self, i: usize) -> f32 {
        let v = self.normalised(i);
        self.dropped(i, if self.relu && v <= 0.0 { 0.0 } else { v })
    }

    /// The gradient before dropout and ReLU, of a gradient `dv` of the value at i.
    pub(crate) fn gate(&self, i: usize, dv: f32) -> f32 {
        let v = self.dropped(i, dv);
        if self.relu && self.normalised(i) <= 0.0 { 0.0 } else { v }
    }

    /// The result for the gradient `dv` of the values, added to `before` or not, and its sums: of every eight rows of
    /// a block in f32, then in f64.
    pub(crate) fn gradient(
        &self,
        dv: &[f32],
        before: Option<&[f32]>,
        samples: usize,
    ) -> (Vec<f32>, Vec<f64>) {
        let shape = self.shape;
        let out: Vec<f32> =
            (0..dv.len()).map(|i| before.map_or(0.0, |b| b[i]) + self.gate(i, dv[i])).collect();
        let mut sums = vec![0.0; 2 * shape.channels];
        for block in 0..blocks(samples) {
            for first in (0..shape.rows).step_by(SUM_ROWS) {
                for c in 0..shape.channels {
                    let mean = self.norm.as_ref().map_or(0.0, |norm| norm.mean[c]);
                    let (mut sum, mut product) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
                    for r in first..shape.rows.min(first + SUM_ROWS) {
                        for q in 0..shape.columns {
                            for l in 0..BLOCK {
                                let i = shape.at(block, r, c, q) + l;
                                sum[l] += out[i];
                                product[l] = out[i].mul_add(self.map[i] - mean, product[l]);
                            }
                        }
                    }
                    sums[2 * c] += f64::from(tree(sum));
                    sums[2 * c + 1] += f64::from(tree(product));
                }
            }
        }
        (out, sums)
    }
}

/// A gradient in up to two parts.
pub(crate) struct Gradient {
    shape: MapShape,
    samples: usize,
    direct: Option<Vec<f32>>,
    norm: Option<Through>,
}

/// A gradient through a norm.
struct Through {
    dz: Vec<f32>,
    x: Vec<f32>,
    norm: Norm,
    slope: Vec<f32>,
}

impl Gradient {
    /// Bit 0 of the kind says whether there is a direct part, bit 1 one through a norm.
    pub(crate) fn new(random: &mut Random, shape: MapShape, samples: usize, kind: usize) -> Gradient {
        // With numbers in all lanes, which must not be seen.
        let map = |random: &mut Random| random.numbers(shape.len(blocks(samples)).unwrap());
        let direct = (kind & 1 > 0).then(|| map(random));
        let norm = (kind & 2 > 0).then(|| Through {
            dz: map(random),
            x: map(random),
            norm: Norm::new(random, shape.channels),
            slope: random.numbers(shape.channels),
        });
        Gradient { shape, samples, direct, norm }
    }

    pub(crate) fn view(&self) -> GradientView<'_> {
        GradientView {
            direct: self.direct.as_deref(),
            norm: self.norm.as_ref().map(|Through { dz, x, norm, slope }| NormGradient {
                dz,
                x,
                mean: &norm.mean,
                scale: &norm.scale,
                slope,
                shift: &norm.offset,
            }),
        }
    }

    /// The gradient at i.
    pub(crate) fn value(&self, i: usize) -> f32 {
        if !is_sample(self.shape, self.samples, i) {
            return 0.0;
        }
        let c = channel(self.shape, i);
        let through = self.norm.as_ref().map_or(0.0, |Through { dz, x, norm, slope }| {
            norm.scale[c].mul_add(dz[i], slope[c].mul_add(x[i] - norm.mean[c], norm.offset[c]))
        });
        through + self.direct.as_ref().map_or(0.0, |direct| direct[i])
    }
}

/// Equal to the bit, but for the sign of a zero.
pub(crate) fn same(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        // A zero's sign may differ: borders are added as products with 0.
        assert!(a == b, "{what}: {a} at {i}, expected {b}");
    }
}
