//! The configuration of a run: every key, where its value comes from, and the resolved file that repeats a
//! run.
//!
//! Later sources win: defaults, a preset, a file (which may name a preset itself), then settings from the
//! command line. [`Config::resolve`] puts them together and checks the result; [`Config::to_toml`] prints all
//! of it. The keys are declared once, below; documentation, defaults, checks, messages and the printed file
//! follow from that.

#[cfg(test)]
pub(crate) mod arbitrary;
mod check;
mod columns;
mod difference;
mod method;
mod model;
mod places;
mod reference;
#[cfg(test)]
mod refusals;
mod renamed;
mod resolve;
mod source;
mod table;
mod units;
mod value;
mod write;

use std::sync::LazyLock;

use rigl_base::named_enum;
use rigl_data::Column;

use method::{DRAWN, PATTERNS};
use table::{doc_text, key_name, place, table};
use value::{Rule, Setting, text};

pub use difference::Difference;
pub use method::{
    CountKind, DropKind, GrowKind, Layers, Method, MethodCount, MethodDrop, MethodGrow, MethodStart,
    MethodUpdates, StartKind, StartValues, UpdateEnd,
};
pub use model::{Model, OptionKey, Options};
pub use places::Places;
pub use reference::reference;
pub use renamed::{named, once_of_all, spellings, taken_unread};
pub use resolve::{Base, Known, Shared, Sources};
pub use rigl_engine::Compute;
pub(crate) use source::LAYERS;
pub use source::{Override, read_text};
pub use table::{Applies, Condition, Key, TableDoc};

named_enum! {
    /// What the points of a schedule are counted in.
    pub enum Unit {
        /// Passes over the training samples.
        Epochs = "epochs",
        /// Optimiser steps.
        Steps = "steps",
    }
}

named_enum! {
    /// How the learning rate falls after the warm-up.
    pub enum Shape {
        /// In steps, at the milestones.
        Steps = "steps",
        /// As half a wave of a cosine, to 0 at the end of the run (Loshchilov and Hutter, 2017, without restarts).
        Cosine = "cosine",
    }
}

named_enum! {
    /// The optimisers.
    pub enum OptimizerName {
        /// Stochastic gradient descent, with momentum if it is not 0.
        Sgd = "sgd",
    }
}

named_enum! {
    /// What is done at random to training images.
    pub enum Augment {
        /// Nothing.
        None = "none",
        /// Padded by 4 pixels of its own mirror image, cut at random, flipped left to right in half of the cases.
        CropFlip = "crop-flip",
    }
}

named_enum! {
    /// Where the mean and the deviation come from by which inputs are scaled.
    pub enum Standardize {
        /// `fixed` of samples that are bytes, and where `mean` or `std` is given; of numbers else `training`.
        Auto = "auto",
        /// From `mean` and `std`.
        Fixed = "fixed",
        /// Of each channel, or of each feature of samples that are no images, over the training samples.
        Training = "training",
        /// From each image itself.
        PerImage = "per-image",
    }
}

/// How many samples are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// All there are.
    All,
    /// So many, chosen by the data seed.
    First(usize),
}

const FIXED: Condition = Condition {
    is: "`data.standardize` is `auto` or `fixed`",
    holds: |config| matches!(config.data.standardize, Standardize::Fixed | Standardize::Auto),
};

const ARRAY: Condition =
    Condition { is: "`data.name` is `array`", holds: |config| config.data.name == rigl_data::array::NAME };

const STEPPED: Condition =
    Condition { is: "`schedule.shape` is `steps`", holds: |config| config.schedule.shape == Shape::Steps };

const DIVIDED: Condition = Condition {
    is: "`schedule.milestones` has any",
    holds: |config| (STEPPED.holds)(config) && !config.schedule.milestones.is_empty(),
};

const CHOOSES: Condition = Condition {
    is: "`data.validation` and `log.evaluate-every` are above 0",
    holds: |config| config.data.validation > 0.0 && config.log.evaluate_every > 0.0,
};

/// The largest seed: TOML's integers have 63 bits.
pub const MAX_SEED: u64 = i64::MAX as u64;

/// The largest step and size that a key takes: far beyond any run, and its products fit 64 bits.
const MAX_STEP: u64 = 1_000_000_000_000;
const MAX_SIZE: usize = 1 << 24;

table! {
    /// What a run is made from. Its fields are the keys of a configuration file, `-` written as `_`.
    ///
    /// Fields may be set directly; [`Config::check`] says whether they fit together.
    Config in [] {
        /// The preset that this configuration started from; empty if none.
        preset: String = String::new();
        /// Scales the whole recipe: steps, learning-rate points and the end of updates, but not the update
        /// interval.
        multiplier: f64 = 1.0, "a number with 0 < multiplier ≤ 1000000" if |&x| x > 0.0 && x <= 1e6;
        /// How sparse layers are computed; `auto` decides for each by a fixed rule on shape and density.
        compute: Compute = Compute::Auto;
    } with {
        /// The network.
        model: Model,
        /// The samples, and how they reach the network.
        data: Data,
        /// How gradients become steps.
        optimizer: Optimizer,
        /// Length of the run and its learning rate, before the multiplier.
        schedule: Schedule,
        /// Which weights exist, and how that changes.
        method: Method,
        /// Where random numbers start. `seed` at the top level sets all three.
        seeds: Seeds,
        /// Saving, so that a run can be resumed.
        checkpoint: Checkpoint,
        /// What is recorded on the way.
        log: Log,
        /// Where keys were set, for messages.
        places: Places,
    }
}

table! {
    /// The samples, and how they reach the network.
    Data in [data] {
        /// The data set's name.
        name: String = "drawn-digits".into();
        /// The folder in which its files are looked for first, before the machine's data folder; empty for that one
        /// alone. A run notes here where they were. No result depends on it.
        dir: String = String::new();
        /// Samples per optimiser step.
        batch: usize = 100, "a whole number from 1 to 16777216" if |n| (1..=MAX_SIZE).contains(n);
        /// Equal parts in which a batch is computed one after another, to save memory; must divide the batch.
        micro_batches: usize = 1, "a whole number from 1 to 16777216" if |n| (1..=MAX_SIZE).contains(n);
        /// Share of the training samples that is held out, and on which choices are made.
        validation: f64 = 0.0, "a number with 0 ≤ validation < 1" if |x| (0.0..1.0).contains(x);
        /// How many training samples are used, chosen by the data seed.
        train_samples: Limit = Limit::All;
        /// How many test samples are used, chosen by the data seed.
        test_samples: Limit = Limit::All;
        /// What is done at random to training images: `crop-flip` pads them by 4 pixels of their mirror image, cuts
        /// them at a random place, and flips half of them.
        augment: Augment = Augment::None;
        /// Where the mean and the deviation of inputs come from: `mean` and `std`, the training samples, or each image
        /// itself (the deviation is then at least 1/√n, with n values in an image).
        standardize: Standardize = Standardize::Auto;
        /// Subtracted from inputs, which are then divided by `std`. One number, or one per channel (or feature); bytes
        /// are within 0 and 1 before that, numbers as they are.
        mean: Vec<f64> as f32 = vec![0.0], "a list of finite numbers, one for all channels or one per channel"
            if |list| !list.is_empty(), where FIXED;
        /// What inputs are divided by. One number, or one per channel.
        std: Vec<f64> as f32 = vec![1.0], "a list of numbers > 0, one for all channels or one per channel"
            if |list| !list.is_empty() && list.iter().all(|&x| x > 0.0), where FIXED;
        /// Whether the first row of a table names its columns; `auto` says so if none of its features is a number.
        header: Option<bool> = None, where ARRAY;
        /// The column of a table that holds the classes.
        target: Column = Column::Last, where ARRAY;
    }
}

table! {
    /// How gradients become steps.
    Optimizer in [optimizer] {
        /// The optimiser.
        name: OptimizerName = OptimizerName::Sgd;
        /// Share of the previous step's velocity that is kept.
        momentum: f64 as f32 = 0.9, "a number with 0 ≤ momentum < 1" if |x| (0.0..1.0).contains(x);
        /// Whether the gradient is added once more after the velocity (Nesterov).
        nesterov: bool = true;
        /// L2 regularisation λ of weights (not of biases): adds λ·w to the gradient of active weights.
        l2: f64 as f32 = 1e-4, "a number ≥ 0" if |&x| x >= 0.0;
    }
}

table! {
    /// Length of the run and its learning rate, before the multiplier.
    Schedule in [schedule] {
        /// What `length`, `warmup` and `milestones` are counted in.
        unit: Unit = Unit::Epochs;
        /// Length of the run.
        length: f64 = 20.0, "a number with 0 < length ≤ 1000000000000" if |&x| x > 0.0 && x <= MAX_STEP as f64;
        /// Learning rate after the warm-up, before it falls.
        learning_rate: f64 as f32 = 0.1, "a number > 0" if |&x| x > 0.0;
        /// How long the learning rate rises linearly from 0.
        warmup: f64 = 0.0, "a number with 0 ≤ warmup ≤ 1000000000000" if |&x| (0.0..=MAX_STEP as f64).contains(&x);
        /// How the learning rate falls after the warm-up.
        shape: Shape = Shape::Steps;
        /// Points at which the learning rate is divided, ascending.
        milestones: Vec<f64> = Vec::new(), "a list of numbers > 0, each at most 1000000000000"
            if |list| list.iter().all(|&x| x > 0.0 && x <= MAX_STEP as f64), where STEPPED;
        /// What the learning rate is divided by at the milestones: one number for all, or one per milestone.
        divide_by: Vec<f64> as f32 = vec![10.0], "a list of numbers > 0" if |list| list.iter().all(|&x| x > 0.0),
            where DIVIDED;
        /// Evaluations one after the other without a better accuracy on the validation split, after which the run ends; 0
        /// ends it at its length alone. The multiplier does not scale it.
        patience: u64 = 0, "a whole number from 0 to 1000000000000" if |&n| n <= MAX_STEP, where CHOOSES;
    }
}

table! {
    /// Where random numbers start. `seed` at the top level sets all three.
    Seeds in [seeds] {
        /// Initial values of parameters.
        init: u64 = 0, "a whole number from 0 to 9223372036854775807" if |&seed| seed <= MAX_SEED;
        /// Initial positions of active weights, and random growth.
        topology: u64 = 0, "a whole number from 0 to 9223372036854775807" if |&seed| seed <= MAX_SEED, where DRAWN;
        /// Order of samples, and their augmentation.
        data: u64 = 0, "a whole number from 0 to 9223372036854775807" if |&seed| seed <= MAX_SEED;
    }
}

table! {
    /// Saving, so that a run can be resumed.
    Checkpoint in [checkpoint] {
        /// Seconds from one checkpoint to the next; 0 saves after every batch.
        every_seconds: f64 = 60.0, "a number with 0 ≤ every-seconds ≤ 31536000"
            if |x| (0.0..=31_536_000.0).contains(x);
        /// How many of the latest checkpoints are kept.
        keep: usize = 2, "a whole number from 1 to 1000000" if |n| (1..=1_000_000).contains(n);
    }
}

table! {
    /// What is recorded on the way.
    Log in [log] {
        /// Steps from one record of the loss to the next.
        every_steps: u64 = 100, "a whole number from 1 to 1000000000000" if |n| (1..=MAX_STEP).contains(n);
        /// Epochs from one evaluation to the next; 0 evaluates only at the end.
        evaluate_every: f64 = 1.0, "a number with 0 ≤ evaluate-every ≤ 1000000000000"
            if |&x| (0.0..=MAX_STEP as f64).contains(&x);
        /// Keeps the pattern of every n-th topology update, and the first and the last one; 0 keeps none.
        patterns: u64 = 0, "a whole number from 0 to 1000000000000" if |&n| n <= MAX_STEP, where PATTERNS;
        /// Evaluates on all training samples too, once, when the run ends: neither changed at random nor with dropout.
        training_loss: bool = false;
        /// Writes what is recorded for TensorBoard too.
        tensorboard: bool = true;
    }
}

/// The tables, in the order of the resolved file.
pub const TABLES: &[TableDoc] = &[
    Model::DOC,
    Data::DOC,
    Optimizer::DOC,
    Schedule::DOC,
    Method::DOC,
    MethodStart::DOC,
    MethodDrop::DOC,
    MethodGrow::DOC,
    MethodCount::DOC,
    MethodUpdates::DOC,
    Seeds::DOC,
    Checkpoint::DOC,
    Log::DOC,
];

/// Every key, in the order of the resolved file. `seed`, which is no field of [`Config`], sets `[seeds]`.
pub fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let tables = [Config::keys(), Model::keys(), Data::keys(), Optimizer::keys(), Schedule::keys()];
        let after = [Seeds::keys(), Checkpoint::keys(), Log::keys()];
        let mut keys: Vec<Key> = tables.into_iter().flatten().collect();
        keys.extend(Method::all_keys());
        keys.extend(after.into_iter().flatten());
        keys.insert(1, seed_key());
        keys
    });
    &KEYS
}

fn seed_key() -> Key {
    let rule =
        || Rule::<u64>::any().only("a whole number from 0 to 9223372036854775807", |&seed| seed <= MAX_SEED);
    Key {
        path: "seed".into(),
        doc: "Sets all of `[seeds]`.".into(),
        allowed: rule().allowed(),
        words: Vec::new(),
        default: None,
        applies: Applies::Always,
        turns: None,
        set: |config, item| {
            let seed = Rule::<u64>::any().read(item)?;
            config.seeds = Seeds { init: seed, topology: seed, data: seed };
            Ok(())
        },
        get: |_| None,
    }
}

/// The key of that full name.
fn key(path: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.path == path)
}

impl Config {
    /// The value of a key by its full name, as TOML; `None` if there is no such key, or none that is read. An option of
    /// the network is a key too.
    ///
    /// ```
    /// let config = rigl_train::config::Config::default();
    /// assert_eq!(config.get("method.sparsity").as_deref(), Some("0.9"));
    /// ```
    pub fn get(&self, path: &str) -> Option<String> {
        match key(path) {
            Some(key) => key.value(self).map(|value| value.to_string()),
            None => self.options().into_iter().find(|option| option.path == path).map(|option| option.value),
        }
    }

    /// Evaluations one after the other without a better validation accuracy after which the run ends; `None` where it ends
    /// at its length alone.
    pub fn patience(&self) -> Option<u64> {
        Some(self.schedule.patience).filter(|&patience| patience > 0 && (CHOOSES.holds)(self))
    }

    /// Of `all` samples that a data set has to train on, how many this configuration trains on: those left by the
    /// validation split, up to its limit.
    pub fn training_samples(&self, all: usize) -> usize {
        let left = all - rigl_base::counts::trunc_product(all, self.data.validation);
        match self.data.train_samples {
            Limit::All => left,
            Limit::First(limit) => left.min(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented_and_stands_in_a_documented_table() {
        assert!(TABLES.iter().any(|table| table.name == "method.drop"));
        for key in keys() {
            let (table, name) = key.parts();
            assert!(key.doc.ends_with('.') && key.doc.len() > 10, "{}", key.path);
            assert!(table.is_empty() || TABLES.iter().any(|t| t.name == table), "{}", key.path);
            assert!(!name.contains('_') && !key.allowed.is_empty(), "{}", key.path);
        }
    }

    #[test]
    fn no_key_appears_twice() {
        for (i, key) in keys().iter().enumerate() {
            assert!(keys()[..i].iter().all(|other| other.path != key.path), "{}", key.path);
        }
    }

    #[test]
    fn every_default_is_allowed() {
        for key in keys() {
            let Some(default) = &key.default else { continue };
            let item = toml_edit::Item::Value(default.parse().unwrap());
            let mut config = Config::default();
            assert!((key.set)(&mut config, &item).is_ok(), "{}", key.path);
            assert_eq!(config, Config::default(), "{}", key.path);
        }
        Config::default().check().unwrap();
    }
}
