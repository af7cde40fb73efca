//! Initial values. Each is a pure function of (seed, parameter's name, flat position), so that a sparse layer
//! computes only the positions it keeps, and dense, masked and sparse storage all start from the same values.
//!
//! The key is (seed, [`Purpose::Init`], name). A uniform value comes from draw number *position* of that stream;
//! a normal one from block number *position* (four draws). Fans are counted dense, whatever the sparsity.

use rigl_base::math;
use rigl_base::random::{Purpose, Stream, name_id, normals, unit};

use crate::init::Init;
use crate::parameter::Parameter;

/// The initial value of one position. For many positions make one [`InitialValues`].
pub fn value_at(parameter: &Parameter, seed: u64, index: usize) -> f32 {
    InitialValues::new(parameter, seed).at(index)
}

/// Writes the initial values of positions `first`, `first + 1`, ….
pub fn fill(parameter: &Parameter, seed: u64, first: usize, out: &mut [f32]) {
    InitialValues::new(parameter, seed).fill(first, out);
}

/// All initial values of one parameter, computed when asked for.
#[derive(Clone, Copy, Debug)]
pub struct InitialValues {
    stream: Stream,
    init: Init,
    /// The value itself, the half-width or the standard deviation.
    scale: f64,
}

/// The standard deviation of a standard normal that is cut off at ±2.
const TRUNCATED_DEVIATION: f64 = 0.879_625_661_034_239_8;

impl InitialValues {
    /// The initial values of `parameter` in runs of this seed.
    pub fn new(parameter: &Parameter, seed: u64) -> InitialValues {
        InitialValues::from_stream(parameter, Stream::new(seed, Purpose::Init, name_id(&parameter.name)))
    }

    /// Values of the same distribution out of another stream.
    pub fn from_stream(parameter: &Parameter, stream: Stream) -> InitialValues {
        let (fan_in, fan_out) = (parameter.fan_in as f64, parameter.fan_out as f64);
        let scale = match parameter.init {
            Init::Zeros => 0.0,
            Init::Constant(value) => value,
            Init::GlorotUniform => math::sqrt(6.0 / (fan_in + fan_out)),
            Init::TruncatedNormal => math::sqrt(1.0 / fan_in) / TRUNCATED_DEVIATION,
            Init::HeNormal => math::sqrt(2.0 / fan_in),
            Init::Normal(deviation) => deviation,
        };
        InitialValues { stream, init: parameter.init, scale }
    }

    /// The value at a flat position (row-major).
    pub fn at(&self, index: usize) -> f32 {
        let n = index as u64;
        match self.init {
            Init::Zeros | Init::Constant(_) => self.scale as f32,
            Init::GlorotUniform => self.uniform(self.stream.word_at(n)),
            Init::TruncatedNormal => (self.scale * self.truncated(n)) as f32,
            Init::HeNormal | Init::Normal(_) => (self.scale * normals(self.stream.block(n))[0]) as f32,
        }
    }

    /// Writes the values at `first`, `first + 1`, ….
    pub fn fill(&self, first: usize, out: &mut [f32]) {
        if self.init == Init::GlorotUniform {
            return self.fill_uniform(first as u64, out);
        }
        for (i, value) in out.iter_mut().enumerate() {
            *value = self.at(first + i);
        }
    }

    /// Each block of four draws is computed once.
    fn fill_uniform(&self, first: u64, out: &mut [f32]) {
        let head = out.len().min((first.wrapping_neg() % 4) as usize);
        let (head, rest) = out.split_at_mut(head);
        for (n, value) in (first..).zip(head.iter_mut()) {
            *value = self.uniform(self.stream.word_at(n));
        }
        let block = (first + head.len() as u64) / 4;
        for (n, four) in (block..).zip(rest.chunks_mut(4)) {
            for (value, word) in four.iter_mut().zip(self.stream.block(n)) {
                *value = self.uniform(word);
            }
        }
    }

    fn uniform(&self, word: u32) -> f32 {
        ((2.0 * f64::from(unit(word)) - 1.0) * self.scale) as f32
    }

    /// The first standard normal within ±2. Positions are 32-bit, so attempt `a` of position `n` has block
    /// `n + a · 2³²` to itself.
    fn truncated(&self, n: u64) -> f64 {
        let mut block = n;
        loop {
            if let Some(&z) = normals(self.stream.block(block)).iter().find(|z| z.abs() < 2.0) {
                return z;
            }
            block = block.wrapping_add(1 << 32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameter::{NodeId, ParameterKind};
    use proptest::prelude::*;

    fn parameter(name: &str, init: Init) -> Parameter {
        Parameter {
            name: name.into(),
            shape: vec![300, 784],
            kind: ParameterKind::LinearWeight,
            init,
            fan_in: 784,
            fan_out: 300,
            node: NodeId(0),
            positions: 1,
        }
    }

    const ALL: [Init; 6] = [
        Init::Zeros,
        Init::GlorotUniform,
        Init::TruncatedNormal,
        Init::Normal(0.01),
        Init::HeNormal,
        Init::Constant(0.5),
    ];

    fn moments(init: Init) -> (f64, f64, f64) {
        let mut values = vec![0.0; 235_200];
        fill(&parameter("fc1.weight", init), 3, 0, &mut values);
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean, variance, values.iter().fold(0.0, |m, &v| f64::from(v.abs()).max(m)))
    }

    #[test]
    fn glorot_uniform_is_the_draw_of_the_position_scaled() {
        let p = parameter("fc1.weight", Init::GlorotUniform);
        let stream = Stream::new(11, Purpose::Init, name_id("fc1.weight"));
        let limit = (6.0f64 / 1084.0).sqrt();
        for index in [0, 1, 2, 3, 4, 1001, 235_199] {
            let u = f64::from(stream.uniform_at(index as u64));
            assert_eq!(value_at(&p, 11, index), ((2.0 * u - 1.0) * limit) as f32);
        }
        let (mean, variance, largest) = moments(Init::GlorotUniform);
        assert!(mean.abs() < 1e-3, "{mean}");
        assert!((variance / (limit * limit / 3.0) - 1.0).abs() < 0.01, "{variance}");
        assert!(largest <= limit && largest > 0.999 * limit, "{largest}");
    }

    #[test]
    fn truncated_normal_has_variance_one_over_fan_in_and_ends_at_two_deviations() {
        let (mean, variance, largest) = moments(Init::TruncatedNormal);
        assert!(mean.abs() < 1e-3, "{mean}");
        assert!((variance * 784.0 - 1.0).abs() < 0.01, "{variance}");
        let end = 2.0 / TRUNCATED_DEVIATION / 28.0;
        assert!(largest <= end * (1.0 + 1e-6) && largest > 0.99 * end, "{largest}");
    }

    #[test]
    fn normal_has_its_deviation_and_is_not_cut_off() {
        let (mean, variance, largest) = moments(Init::Normal(0.01));
        assert!(mean.abs() < 1e-4, "{mean}");
        assert!((variance.sqrt() / 0.01 - 1.0).abs() < 0.01, "{variance}");
        assert!(largest > 0.035, "{largest}");
    }

    #[test]
    fn he_normal_has_variance_two_over_fan_in() {
        let (mean, variance, largest) = moments(Init::HeNormal);
        assert!(mean.abs() < 1e-3, "{mean}");
        assert!((variance * 392.0 - 1.0).abs() < 0.01, "{variance}");
        assert!(largest > 0.17, "{largest}");
    }

    #[test]
    fn zeros_and_constants_are_one_value() {
        assert_eq!(moments(Init::Zeros), (0.0, 0.0, 0.0));
        assert_eq!(moments(Init::Constant(-0.5)), (-0.5, 0.0, 0.5));
    }

    #[test]
    fn values_are_fixed_for_ever() {
        // Part of the file format: a resumed or repeated run starts from these.
        let bits = |init| value_at(&parameter("fc1.weight", init), 42, 1234).to_bits();
        assert_eq!(ALL.map(bits), PINNED);
    }

    const PINNED: [u32; 6] = [0, 1_029_310_696, 1_016_271_666, 999_351_612, 1_018_623_304, 1_056_964_608];

    #[test]
    fn names_and_seeds_give_different_values() {
        let p = parameter("fc1.weight", Init::GlorotUniform);
        assert_ne!(value_at(&p, 0, 5), value_at(&p, 1, 5));
        assert_ne!(value_at(&p, 0, 5), value_at(&parameter("fc2.weight", Init::GlorotUniform), 0, 5));
    }

    #[test]
    fn names_read_back() {
        for init in ALL {
            assert_eq!(Init::from_name(&init.to_string()), Some(init));
        }
        for name in ["", "normal", "normal()", "normal(x)", "normal(1", "constant(x)", "other(1)", "Zeros"] {
            assert_eq!(Init::from_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_piece_filled_is_the_values_one_by_one(first in 0usize..100, len in 0usize..40, which in 0usize..6) {
            let p = parameter("w", ALL[which]);
            let mut values = vec![f32::NAN; len];
            fill(&p, 9, first, &mut values);
            let one_by_one: Vec<f32> = (first..first + len).map(|i| value_at(&p, 9, i)).collect();
            prop_assert_eq!(values, one_by_one);
        }
    }
}
