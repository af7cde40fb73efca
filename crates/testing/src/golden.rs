//! Golden numbers: the form of the files of `reference/golden`, and the numbers that the scripts there and the tests here
//! both compute (`reference/philox.py`).

use std::collections::BTreeMap;

use rigl_base::random::{Purpose, Stream, name_id};
use rigl_engine::StepConstants;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Samples;

/// Every `every`-th of `count` numbers, each off by `tolerance` at most; where that is not all, the sum and the sum
/// of squares of all, each with its tolerance.
#[derive(Clone, Debug, Deserialize)]
pub struct Numbers {
    every: usize,
    count: usize,
    values: Vec<f64>,
    tolerance: f64,
    sum: Option<[f64; 2]>,
    squares: Option<[f64; 2]>,
}

/// The same by name.
pub type Named = BTreeMap<String, Numbers>;

impl Numbers {
    /// Whether these are the numbers, of which `slack` gives what they may be off by beyond the tolerance (because of
    /// how they were read).
    #[track_caller]
    pub fn check(&self, what: &str, found: &[f64], slack: impl Fn(usize) -> f64) {
        assert_eq!(found.len(), self.count, "{what}");
        for (k, &golden) in self.values.iter().enumerate() {
            let i = k * self.every;
            close(&format!("{what} at {i}"), found[i], golden, self.tolerance + slack(i));
        }
        let slacks = || (0..found.len()).map(&slack);
        if let Some([golden, tolerance]) = self.sum {
            let sum = found.iter().sum();
            close(&format!("sum of {what}"), sum, golden, tolerance + slacks().sum::<f64>());
        }
        if let Some([golden, tolerance]) = self.squares {
            let squares = found.iter().map(|x| x * x).sum();
            let slack: f64 = slacks().zip(found).map(|(s, x)| (2.0 * x.abs() + s) * s).sum();
            close(&format!("sum of squares of {what}"), squares, golden, tolerance + slack);
        }
    }
}

/// Whether a number is within the tolerance of the golden one.
#[track_caller]
pub fn close(what: &str, found: f64, golden: f64, tolerance: f64) {
    let error = (found - golden).abs();
    assert!(error <= tolerance, "{what}: {found}, golden {golden}, error {error:e} > {tolerance:e}");
}

/// Draws of the stream of a name.
fn stream(seed: u64, name: &str) -> Stream {
    Stream::new(seed, Purpose::Test, name_id(name))
}

/// A number in [0, 1) for each position of the tensor of that name.
pub fn units(seed: u64, name: &str, count: usize) -> impl Iterator<Item = f64> + use<> {
    let mut draws = stream(seed, name).draws();
    (0..count).map(move |_| f64::from(rigl_base::random::unit(draws.word())))
}

/// Active positions of a weight at a density.
pub fn mask(seed: u64, name: &str, count: usize, density: f64) -> Vec<u32> {
    let units = units(seed, &format!("{name}.mask"), count);
    (0u32..).zip(units).filter(|&(_, u)| u < density).map(|(i, _)| i).collect()
}

/// Images and labels as `reference/philox.py` draws them.
pub fn samples(seed: u64, count: usize, features: usize, classes: u32) -> Samples {
    let mut bytes = stream(seed, "images").draws();
    let mut labels = stream(seed, "labels").draws();
    Samples {
        images: (0..count).map(|_| (0..features).map(|_| bytes.word() as u8).collect()).collect(),
        labels: (0..count).map(|_| labels.word() % classes).collect(),
    }
}

/// Constants of a step as the files have them.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Constants {
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
    l2: f64,
}

impl From<Constants> for StepConstants {
    fn from(of: Constants) -> StepConstants {
        let Constants { learning_rate, momentum, nesterov, l2 } = of;
        StepConstants { learning_rate, momentum, nesterov, l2 }
    }
}

/// A file of golden numbers.
pub fn read<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}
