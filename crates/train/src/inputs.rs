//! How samples become the numbers that a network reads: what a configuration says of it, what is measured of the training
//! samples where it leaves that to them, and the words in which checkpoints note both, so that a trained network needs no
//! training set.

use rigl_base::error::short;
use rigl_base::{Error, Result};
use rigl_data::{Dataset, Sample, Spec, Values};
use rigl_engine::Preprocessing;

use crate::config::{Config, Standardize};

/// How samples become numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inputs {
    values: Values,
    scaling: Scaling,
}

#[derive(Clone, Debug, PartialEq)]
enum Scaling {
    /// Less the mean, divided by the deviation: one of both for all, or one for each channel or feature.
    By(Vec<f64>, Vec<f64>),
    /// By those of each image itself.
    PerImage,
}

impl Inputs {
    /// For a network that is trained on these samples.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if the configuration does not fit them; else of reading them.
    pub(crate) fn new(config: &Config, train: &dyn Dataset) -> Result<Inputs> {
        let spec = train.spec();
        check(config, spec)?;
        let scaling = match standardize(config, spec.values) {
            Standardize::PerImage => Scaling::PerImage,
            Standardize::Training => measured(train)?,
            Standardize::Fixed | Standardize::Auto => given(config),
        };
        Ok(Inputs { values: spec.values, scaling })
    }

    /// For a network that was trained, on samples of so many channels or features; `text` is what its checkpoint notes.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if what was measured is not noted.
    pub(crate) fn recorded(config: &Config, channels: usize, text: &str) -> Result<Inputs> {
        let noted = || {
            Inputs::parse(text).filter(|inputs| inputs.fits(channels)).ok_or_else(|| {
                Error::data(format!(
                    "it notes of its inputs `{}`, expected mean and deviation of each of {channels}",
                    short(text)
                ))
            })
        };
        let values = if text.starts_with(NUMBERS) { Values::Numbers } else { Values::Bytes };
        match config.data.standardize {
            Standardize::Training => noted(),
            Standardize::PerImage => Ok(Inputs { values, scaling: Scaling::PerImage }),
            Standardize::Fixed | Standardize::Auto => {
                check_lengths(config, channels)?;
                Ok(Inputs { values, scaling: given(config) })
            }
        }
    }

    /// The same for the engine, of samples with so many channels or features.
    ///
    /// # Errors
    /// None if it was made for such samples.
    pub(crate) fn preprocessing(&self, channels: usize) -> Result<Preprocessing> {
        let Scaling::By(mean, deviation) = &self.scaling else { return Ok(Preprocessing::per_image()) };
        let wide =
            |values: &[f64]| if values.len() == 1 { vec![values[0]; channels] } else { values.to_vec() };
        match self.values {
            Values::Bytes => Preprocessing::new(&wide(mean), &wide(deviation)),
            Values::Numbers => Preprocessing::of_numbers(&wide(mean), &wide(deviation)),
        }
    }

    /// The same in words, for checkpoints and for whoever feeds the network without this program.
    pub(crate) fn text(&self) -> String {
        let start = match self.values {
            Values::Bytes => BYTES,
            Values::Numbers => NUMBERS,
        };
        match &self.scaling {
            Scaling::By(mean, deviation) => format!("{start}{mean:?}) / {deviation:?}"),
            Scaling::PerImage => format!("{start}mean) / max(deviation, 1 / sqrt(n)), of each image"),
        }
    }

    /// Reads what [`Inputs::text`] wrote of mean and deviation.
    fn parse(text: &str) -> Option<Inputs> {
        let bytes = text.strip_prefix(BYTES).map(|rest| (Values::Bytes, rest));
        let (values, rest) = bytes.or_else(|| Some((Values::Numbers, text.strip_prefix(NUMBERS)?)))?;
        let (mean, deviation) = rest.split_once(") / ")?;
        Some(Inputs { values, scaling: Scaling::By(list(mean)?, list(deviation)?) })
    }

    /// Whether there is a mean and a deviation for each channel, and they can be.
    fn fits(&self, channels: usize) -> bool {
        let Scaling::By(mean, deviation) = &self.scaling else { return false };
        let finite =
            mean.iter().chain(deviation).all(|x| x.is_finite()) && deviation.iter().all(|&x| x > 0.0);
        finite && mean.len() == channels && deviation.len() == channels
    }
}

/// How the words begin that say how bytes are scaled.
const BYTES: &str = "(x / 255 - ";

/// The same of numbers.
const NUMBERS: &str = "(x - ";

fn list(text: &str) -> Option<Vec<f64>> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    inside.split(", ").map(|number| number.parse().ok()).collect()
}

/// Whether a configuration fits samples that are like this.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage), where the key was set.
pub(crate) fn check(config: &Config, spec: &Spec) -> Result<()> {
    match standardize(config, spec.values) {
        Standardize::PerImage if spec.values == Values::Numbers => {
            let error = Error::usage(format!(
                "`data.standardize` is `per-image`, which is for images of bytes; samples of `{}` are numbers",
                short(&spec.name)
            ));
            Err(config.blame("data.standardize", error.hint("--set data.standardize=training")))
        }
        Standardize::PerImage | Standardize::Training => Ok(()),
        Standardize::Fixed | Standardize::Auto => {
            let channels = channels(&spec.shape);
            check_lengths(config, channels)?;
            let fixed = Inputs { values: spec.values, scaling: given(config) };
            fixed.preprocessing(channels).map(drop).map_err(|error| config.blame("data.std", error))
        }
    }
}

/// What `auto` stands for with such samples, and everything else for itself.
pub(crate) fn standardize(config: &Config, values: Values) -> Standardize {
    let data = &config.data;
    let is_given = (data.mean.as_slice(), data.std.as_slice()) != (&[0.0], &[1.0]);
    match data.standardize {
        Standardize::Auto if values == Values::Bytes || is_given => Standardize::Fixed,
        Standardize::Auto => Standardize::Training,
        other => other,
    }
}

/// The channels of samples of this shape; of samples that are no images their features.
pub(crate) fn channels(shape: &[usize]) -> usize {
    shape.first().copied().unwrap_or(1)
}

fn check_lengths(config: &Config, channels: usize) -> Result<()> {
    for (key, values) in [("data.mean", &config.data.mean), ("data.std", &config.data.std)] {
        if values.len() != 1 && values.len() != channels {
            let error = Error::usage(format!(
                "`{key}` has {} values, expected 1 or one for each of the {channels} channels",
                values.len()
            ));
            return Err(config.blame(key, error));
        }
    }
    Ok(())
}

fn given(config: &Config) -> Scaling {
    Scaling::By(config.data.mean.clone(), config.data.std.clone())
}

/// What is summed over the values of a channel.
#[derive(Clone, Copy)]
struct Sums {
    sum: f64,
    least: f64,
    most: f64,
}

/// Mean and deviation of each channel or feature over all samples, in 64 bits and in their order. One that never varies is
/// divided by 1.
fn measured(set: &dyn Dataset) -> Result<Scaling> {
    let channels = channels(&set.spec().shape);
    let none = Sums { sum: 0.0, least: f64::INFINITY, most: f64::NEG_INFINITY };
    let mut all = vec![none; channels];
    each_value(set, |channel, x| {
        let Sums { sum, least, most } = &mut all[channel];
        (*sum, *least, *most) = (*sum + x, least.min(x), most.max(x));
    })?;
    let each = set.spec().sample_len().unwrap_or(0) / channels.max(1);
    let count = (set.len() * each).max(1) as f64;
    let varies = |sums: &Sums| sums.least < sums.most;
    let mean: Vec<f64> =
        all.iter().map(|sums| if varies(sums) { sums.sum / count } else { sums.least }).collect();
    let mut squares = vec![0.0; channels];
    each_value(set, |channel, x| squares[channel] += (x - mean[channel]) * (x - mean[channel]))?;
    let deviation = |(sums, squares): (&Sums, f64)| if varies(sums) { (squares / count).sqrt() } else { 1.0 };
    let deviation = all.iter().zip(squares).map(deviation).collect();
    Ok(Scaling::By(mean, deviation))
}

/// Calls `value` with the channel and each value of every sample, one sample after the other. Bytes are within 0 and 1.
fn each_value(set: &dyn Dataset, mut value: impl FnMut(usize, f64)) -> Result<()> {
    let spec = set.spec();
    let each = (spec.sample_len().unwrap_or(0) / channels(&spec.shape).max(1)).max(1);
    let mut sample = Sample::default();
    for index in 0..set.len() {
        set.read(index, &mut sample)?;
        match spec.values {
            Values::Bytes => {
                sample.image.iter().enumerate().for_each(|(i, &x)| value(i / each, f64::from(x) / 255.0));
            }
            Values::Numbers => {
                sample.numbers.iter().enumerate().for_each(|(i, &x)| value(i / each, f64::from(x)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rigl_base::Kind;
    use rigl_data::InMemory;

    use super::*;

    fn numbers(shape: &[usize], numbers: &[f32]) -> InMemory {
        let spec = Spec::new("t", shape, ["a", "b"]);
        let count = numbers.len() / spec.sample_len().unwrap();
        InMemory::of_numbers(spec, numbers.to_vec(), vec![0; count]).unwrap()
    }

    fn bytes(shape: &[usize], bytes: &[u8]) -> InMemory {
        let spec = Spec::new("t", shape, ["a", "b"]);
        let count = bytes.len() / spec.sample_len().unwrap();
        InMemory::new(spec, bytes.to_vec(), vec![0; count]).unwrap()
    }

    fn with(standardize: Standardize) -> Config {
        let mut config = Config::default();
        config.data.standardize = standardize;
        config
    }

    fn by(inputs: &Inputs) -> (&[f64], &[f64]) {
        match &inputs.scaling {
            Scaling::By(mean, deviation) => (mean, deviation),
            Scaling::PerImage => panic!("per image"),
        }
    }

    #[test]
    fn each_feature_has_its_mean_and_deviation_and_one_that_never_varies_is_divided_by_1() {
        let set = numbers(&[3], &[1.0, 0.1, -1e30, 3.0, 0.1, 1e30, 5.0, 0.1, 3e30]);
        let inputs = Inputs::new(&with(Standardize::Auto), &set).unwrap();
        let (mean, deviation) = by(&inputs);
        assert_eq!((mean[0], deviation[0]), (3.0, (8.0f64 / 3.0).sqrt()));
        // Not the sum of three divided by three, which is another number.
        assert_eq!((mean[1], deviation[1]), (f64::from(0.1f32), 1.0));
        assert!((mean[2] / 1e30 - 1.0).abs() < 1e-6 && (deviation[2] / 1e30 - 1.632_993).abs() < 1e-5);
    }

    #[test]
    fn images_are_measured_by_channel_and_bytes_within_0_and_1() {
        let set = numbers(&[2, 1, 2], &[0.0, 2.0, 5.0, 5.0, 4.0, 6.0, 5.0, 5.0]);
        let inputs = Inputs::new(&with(Standardize::Training), &set).unwrap();
        assert_eq!(by(&inputs), (&[3.0, 5.0][..], &[5f64.sqrt(), 1.0][..]));
        let set = bytes(&[1, 1, 2], &[0, 255, 0, 255]);
        let inputs = Inputs::new(&with(Standardize::Training), &set).unwrap();
        assert_eq!(by(&inputs), (&[0.5][..], &[0.5][..]));
        assert_eq!(inputs.text(), "(x / 255 - [0.5]) / [0.5]");
    }

    #[test]
    fn auto_is_fixed_for_bytes_and_where_something_is_given_else_measured() {
        let mut config = Config::default();
        assert_eq!(config.data.standardize, Standardize::Auto);
        assert_eq!(standardize(&config, Values::Bytes), Standardize::Fixed);
        assert_eq!(standardize(&config, Values::Numbers), Standardize::Training);
        config.data.std = vec![2.0];
        assert_eq!(standardize(&config, Values::Numbers), Standardize::Fixed);
        let inputs = Inputs::new(&config, &numbers(&[2], &[1.0, 2.0])).unwrap();
        assert_eq!(inputs.text(), "(x - [0.0]) / [2.0]");
        assert!(inputs.preprocessing(2).unwrap().takes_numbers());
        assert_eq!(standardize(&with(Standardize::PerImage), Values::Bytes), Standardize::PerImage);
    }

    #[test]
    fn what_is_noted_gives_the_same_inputs_without_a_training_set() {
        let config = with(Standardize::Training);
        let noise: Vec<f32> = (0..60).map(|i| (i * i % 37) as f32 / 7.0).collect();
        for inputs in [
            Inputs::new(&config, &numbers(&[3], &noise)).unwrap(),
            Inputs::new(&config, &numbers(&[3, 2, 2], &noise)).unwrap(),
            Inputs::new(&config, &bytes(&[3, 1, 1], &[1, 2, 3, 4, 5, 99])).unwrap(),
        ] {
            assert_eq!(Inputs::recorded(&config, 3, &inputs.text()).unwrap(), inputs);
        }
        let fixed = Inputs::recorded(&with(Standardize::Fixed), 3, "(x - [0.0]) / [1.0]").unwrap();
        assert_eq!(fixed.values, Values::Numbers);
        // As checkpoints of old have it, and as tests leave it.
        for text in ["(x / 255 - [0.0]) / [1.0]", ""] {
            assert_eq!(Inputs::recorded(&Config::default(), 3, text).unwrap().values, Values::Bytes);
        }
        let each = "(x / 255 - mean) / max(deviation, 1 / sqrt(n)), of each image";
        let inputs = Inputs::recorded(&with(Standardize::PerImage), 3, each).unwrap();
        assert_eq!((inputs.text().as_str(), inputs.values), (each, Values::Bytes));
    }

    #[test]
    fn what_is_not_noted_as_it_was_written_is_refused() {
        let config = with(Standardize::Training);
        for text in [
            "",
            "(x - [0.0]) / [1.0]",
            "(x - [0.0, 1.0]) / [1.0]",
            "(x - [0.0, 1.0]) / [1.0, 0.0]",
            "(x - [0.0, 1.0]) / [1.0, -1.0]",
            "(x - [0.0, NaN]) / [1.0, 1.0]",
            "(x - [0.0, 1.0]) / [1.0, inf]",
            "(x - [0.0, 1.0] / [1.0, 1.0]",
            "(x / 255 - mean) / max(deviation, 1 / sqrt(n)), of each image",
        ] {
            assert_eq!(Inputs::recorded(&config, 2, text).unwrap_err().kind(), Kind::Data, "{text}");
        }
        assert!(Inputs::recorded(&config, 2, "(x - [0.0, 1e-300]) / [1.0, 7.5]").is_ok());
    }

    #[test]
    fn a_configuration_that_does_not_fit_the_samples_is_refused() {
        let refused = |config: &Config, spec: &Spec| check(config, spec).unwrap_err().to_string();
        let spec = Spec::new("t", [4], ["a"]).of_numbers();
        let text = refused(&with(Standardize::PerImage), &spec);
        assert_eq!(
            text,
            "`data.standardize` is `per-image`, which is for images of bytes; samples of `t` are numbers"
        );
        let mut config = Config::default();
        config.data.mean = vec![1.0, 2.0];
        let text = refused(&config, &spec);
        assert_eq!(text, "`data.mean` has 2 values, expected 1 or one for each of the 4 channels");
    }
}
