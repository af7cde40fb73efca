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
mod methods;
#[cfg(test)]
mod refusals;
mod resolve;
mod source;
mod table;
mod value;
mod write;

use std::sync::LazyLock;

use rigl_base::named_enum;
use rigl_topology::{Decay, Distribution, GrownInit, LayerFilter, NarrowTo, StepPolicy};

use table::{configuration, doc_text, key_name};
use value::{Rule, Setting, text};

pub use columns::{
    AfterStep, DensityDecay, DropScore, GrowScore, Initial, Redistribution, StateHandling, UpdateTiming,
};
pub use difference::Difference;
pub use resolve::{Base, Known, Sources};
pub use rigl_engine::Compute;
pub use source::{Override, read_text};
pub use table::{Key, TableDoc};

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
        /// From `mean` and `std`.
        Fixed = "fixed",
        /// From each image itself.
        PerImage = "per-image",
    }
}

named_enum! {
    /// The values that a run takes over from the one it starts from.
    pub enum StartValues {
        /// The initial values of that run: its seed's (the lottery ticket).
        Initial = "initial",
        /// The values that it ended with, running statistics included.
        Trained = "trained",
        /// None: initial values by this run's own seed.
        Redrawn = "redrawn",
    }
}

/// The step at which topology updates end, before the multiplier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpdateEnd {
    /// Three quarters of all steps.
    Auto,
    /// This step.
    Step(u64),
}

/// How many samples are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// All there are.
    All,
    /// So many, chosen by the data seed.
    First(usize),
}

/// Sparsities of single layers: globs on parameter names without `.weight`, the first that matches decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layers(pub Vec<(String, f64)>);

/// The largest seed: TOML's integers have 63 bits.
pub const MAX_SEED: u64 = i64::MAX as u64;

/// The largest step and size that a key takes: far beyond any run, and its products fit 64 bits.
const MAX_STEP: u64 = 1_000_000_000_000;
const MAX_SIZE: usize = 1 << 24;

configuration! {
    /// What a run is made from. Its fields are the keys of a configuration file, `-` written as `_`.
    ///
    /// Fields may be set directly; [`Config::check`] says whether they fit together.
    Config {
        /// The preset that this configuration started from; empty if none.
        preset: String = String::new();
        /// Scales the whole recipe: steps, learning-rate points and the end of updates, but not the update
        /// interval.
        multiplier: f64 = 1.0, "a number with 0 < multiplier ≤ 1000000" if |&x| x > 0.0 && x <= 1e6;
        /// How sparse layers are computed; `auto` decides for each by a fixed rule on shape and density.
        compute: Compute = Compute::Auto;
    }

    /// The network.
    model: Model {
        /// The network's name: `lenet-300-100`, `mlp`, `wide-resnet`, `wrn-22-2`, `resnet-cifar`, `vgg-cifar`, `resnet`,
        /// `resnet-50`, `mobilenet-v1`, `mobilenet-v2`, or one that the program registered.
        name: String = "lenet-300-100".into();
        /// Sizes of the hidden layers, for networks that let them be chosen (`mlp`); empty for the network's own.
        hidden: Vec<usize> = Vec::new(), "a list of whole numbers from 1 to 16777216"
            if |list| list.iter().all(|size| (1..=MAX_SIZE).contains(size));
        /// Layers with weights, for networks that let it be chosen: 6n + 4 of `wide-resnet`, 6n + 2 of `resnet-cifar`,
        /// 11, 13, 16 or 19 of `vgg-cifar`, 18, 34, 50, 101 or 152 of `resnet`; `auto` for the network's own.
        depth: Option<usize> = None, "`auto` or a whole number from 1 to 2002"
            if |depth| depth.is_none_or(|depth| (1..=2002).contains(&depth));
        /// Multiple of the network's channels or hidden sizes; `auto` for the network's own.
        width: Option<f64> = None, "`auto` or a number with 0 < width ≤ 1000"
            if |width| width.is_none_or(|x| x > 0.0 && x <= 1000.0);
        /// Probability with which dropout sets a value to 0, for networks that have it (`wide-resnet`, `wrn-22-2`);
        /// `auto` for the network's own, which is 0.
        dropout: Option<f64> = None, "`auto` or a number with 0 ≤ dropout < 1"
            if |dropout| dropout.is_none_or(|x| (0.0..1.0).contains(&x));
        /// Share of a batch's statistics in the running statistics of batch norms, for networks that have them;
        /// `auto` for 0.1, which keeps 0.9 of the running ones.
        bn_momentum: Option<f64> = None, "`auto` or a number with 0 < bn-momentum ≤ 1"
            if |momentum| momentum.is_none_or(|x| x > 0.0 && x <= 1.0);
        /// Share of the target probability that is spread over all classes.
        label_smoothing: f64 = 0.0, "a number with 0 ≤ label-smoothing < 1" if |x| (0.0..1.0).contains(x);
    }

    /// The samples, and how they reach the network.
    data: Data {
        /// The data set's name.
        name: String = "drawn-digits".into();
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
        /// Where the mean and the deviation of inputs come from: `mean` and `std`, or each image itself, which does
        /// without those two (the deviation is then at least 1/√n, with n values in an image).
        standardize: Standardize = Standardize::Fixed;
        /// Subtracted from inputs, which are then divided by `std`. One number, or one per channel; images
        /// are within 0 and 1 before that.
        mean: Vec<f64> = vec![0.0], "a list of finite numbers, one for all channels or one per channel"
            if |list| !list.is_empty();
        /// What inputs are divided by. One number, or one per channel.
        std: Vec<f64> = vec![1.0], "a list of numbers > 0, one for all channels or one per channel"
            if |list| !list.is_empty() && list.iter().all(|&x| x > 0.0);
    }

    /// How gradients become steps.
    optimizer: Optimizer {
        /// The optimiser.
        name: OptimizerName = OptimizerName::Sgd;
        /// Share of the previous step's velocity that is kept.
        momentum: f64 = 0.9, "a number with 0 ≤ momentum < 1" if |x| (0.0..1.0).contains(x);
        /// Whether the gradient is added once more after the velocity (Nesterov).
        nesterov: bool = true;
        /// L2 regularisation λ of weights (not of biases): adds λ·w to the gradient of active weights.
        l2: f64 = 1e-4, "a number ≥ 0" if |&x| x >= 0.0;
    }

    /// Length of the run and its learning rate, before the multiplier.
    schedule: Schedule {
        /// What `length`, `warmup` and `milestones` are counted in.
        unit: Unit = Unit::Epochs;
        /// Length of the run.
        length: f64 = 20.0, "a number with 0 < length ≤ 1000000000000" if |&x| x > 0.0 && x <= MAX_STEP as f64;
        /// Learning rate after the warm-up, before the first milestone.
        learning_rate: f64 = 0.1, "a number > 0" if |&x| x > 0.0;
        /// How long the learning rate rises linearly from 0.
        warmup: f64 = 0.0, "a number with 0 ≤ warmup ≤ 1000000000000" if |&x| (0.0..=MAX_STEP as f64).contains(&x);
        /// Points at which the learning rate is divided, ascending.
        milestones: Vec<f64> = Vec::new(), "a list of numbers > 0, each at most 1000000000000"
            if |list| list.iter().all(|&x| x > 0.0 && x <= MAX_STEP as f64);
        /// What the learning rate is divided by at the milestones: one number for all, or one per milestone.
        divide_by: Vec<f64> = vec![10.0], "a list of numbers > 0" if |list| list.iter().all(|&x| x > 0.0);
    }

    /// Which weights exist, and how that changes. The name sets `initial`, `drop`, `grow`, `grown-init`,
    /// `step-policy`, `update-timing`, `state`, `density-decay`, `redistribution` and `after-step`, each of which may be
    /// set on its own as well.
    method: Method {
        /// The method: a row of values for the keys it sets. `dense` leaves every layer dense.
        name: String = "rigl".into();
        /// Share of weights that are absent, over all layers that may be sparse and have none of their own in
        /// `layers`.
        sparsity: f64 = 0.9, "a number with 0 ≤ sparsity < 1" if |x| (0.0..1.0).contains(x);
        /// How sparsity is spread over the layers.
        distribution: Distribution = Distribution::Erk;
        /// Share α of a layer's active weights that the first update replaces.
        drop_fraction: f64 = 0.3, "a number with 0 ≤ drop-fraction ≤ 1" if |x| (0.0..=1.0).contains(x);
        /// Steps ΔT from one topology update to the next; not scaled by the multiplier.
        update_interval: u64 = 100, "a whole number from 1 to 1000000000000" if |n| (1..=MAX_STEP).contains(n);
        /// Step of the first topology update; `auto` is 0, and a fifth of the run where density decays.
        update_begin: Option<u64> = None, "`auto` or a whole number from 0 to 1000000000000"
            if |n| n.is_none_or(|n| n <= MAX_STEP);
        /// Step at which updates end: all are before it. `auto` is three quarters of the run.
        update_end: UpdateEnd = UpdateEnd::Auto, "`auto` or a step, a whole number from 1 to 1000000000000"
            if |end| !matches!(end, UpdateEnd::Step(step) if *step > MAX_STEP);
        /// How the drop fraction shrinks from begin to end of the updates.
        decay: Decay = Decay::Cosine;
        /// The pattern that layers start from.
        initial: Initial = Initial::Random;
        /// A finished run (its folder, or a checkpoint file) that this one starts from, in place of `initial`. A layer
        /// that is sparse there keeps its pattern; of a dense one as many weights as this run's sparsity leaves, the
        /// largest by magnitude, stay; where density decays, all.
        start_from: String = String::new();
        /// The values that go with it: `initial`, those which that run began with (a lottery ticket); `trained`, those
        /// it ended with; `redrawn`, this run's own.
        start_values: StartValues = StartValues::Initial;
        /// In what a network with `initial` = `narrow` is to be as large as the sparse one: `weights`, or `bytes`, by
        /// which the paper's small-dense networks were chosen.
        narrow_to: NarrowTo = NarrowTo::Weights;
        /// By which score weights are dropped; the smallest go.
        drop: DropScore = DropScore::Magnitude;
        /// By which score weights are grown; the largest come.
        grow: GrowScore = GrowScore::Gradient;
        /// The value a grown weight starts from.
        grown_init: GrownInit = GrownInit::Zeros;
        /// Whether an update replaces the optimiser's step or follows it.
        step_policy: StepPolicy = StepPolicy::Replace;
        /// Whether updates fall on the schedule of interval, begin and end, or at every step.
        update_timing: UpdateTiming = UpdateTiming::Scheduled;
        /// What becomes of inactive weights and of optimiser slots.
        state: StateHandling = StateHandling::Reset;
        /// How the number of active weights goes from all to what the sparsity leaves, between begin and end.
        density_decay: DensityDecay = DensityDecay::None;
        /// How growth is spread over layers; the number of all active weights stays.
        redistribution: Redistribution = Redistribution::None;
        /// What happens to active weights after each optimiser step; `noise` goes with `drop` = `sign-change`.
        after_step: AfterStep = AfterStep::None;
        /// Share of the average that each step keeps, where growth goes by averaged gradients.
        gradient_average: f64 = 0.9, "a number with 0 ≤ gradient-average < 1" if |x| (0.0..1.0).contains(x);
        /// The magnitude from which the threshold starts, where weights are dropped by one.
        threshold: f64 = 1e-3, "a number > 0" if |&x| x > 0.0;
        /// Where noise is added: how strongly active weights are pulled towards 0, as a multiple α of the learning
        /// rate η.
        noise_pull: f64 = 1e-4, "a number ≥ 0" if |&x| x >= 0.0;
        /// The temperature T of that noise, whose standard deviation is √(2ηT); `auto` is ηα²/2, with which noise is as
        /// large as the pull.
        noise_temperature: Option<f64> = None, "`auto` or a number ≥ 0" if |x| x.is_none_or(|x| x >= 0.0);
        /// Which layers may be sparse; globs are on their names.
        filter: LayerFilter = LayerFilter::Default;
        /// Sparsities of single layers, by glob on the layer's name (the first that matches decides); these
        /// layers are outside the overall sparsity.
        layers: Layers = Layers::default(), "a table from globs to numbers with 0 ≤ sparsity < 1"
            if |layers| layers.0.iter().all(|(_, sparsity)| (0.0..1.0).contains(sparsity));
    }

    /// Where random numbers start. `seed` at the top level sets all three.
    seeds: Seeds {
        /// Initial values of parameters.
        init: u64 = 0, "a whole number from 0 to 9223372036854775807" if |&seed| seed <= MAX_SEED;
        /// Initial positions of active weights, and random growth.
        topology: u64 = 0, "a whole number from 0 to 9223372036854775807" if |&seed| seed <= MAX_SEED;
        /// Order of samples, and their augmentation.
        data: u64 = 0, "a whole number from 0 to 9223372036854775807" if |&seed| seed <= MAX_SEED;
    }

    /// Saving, so that a run can be resumed.
    checkpoint: Checkpoint {
        /// Seconds from one checkpoint to the next; 0 saves after every batch.
        every_seconds: f64 = 60.0, "a number with 0 ≤ every-seconds ≤ 31536000"
            if |x| (0.0..=31_536_000.0).contains(x);
        /// How many of the latest checkpoints are kept.
        keep: usize = 2, "a whole number from 1 to 1000000" if |n| (1..=1_000_000).contains(n);
    }

    /// What is recorded on the way.
    log: Log {
        /// Steps from one record of the loss to the next.
        every_steps: u64 = 100, "a whole number from 1 to 1000000000000" if |n| (1..=MAX_STEP).contains(n);
        /// Epochs from one evaluation to the next; 0 evaluates only at the end.
        evaluate_every: f64 = 1.0, "a number with 0 ≤ evaluate-every ≤ 1000000000000"
            if |&x| (0.0..=MAX_STEP as f64).contains(&x);
        /// Keeps the pattern of every n-th topology update, and the first and the last one; 0 keeps none.
        patterns: u64 = 0, "a whole number from 0 to 1000000000000" if |&n| n <= MAX_STEP;
        /// Writes what is recorded for TensorBoard too.
        tensorboard: bool = true;
    }
}

/// Every key, in the order of the resolved file. `seed`, which is no field of [`Config`], sets `[seeds]`.
pub fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let mut keys = declared_keys();
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
        default: None,
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
    /// The value of a key by its full name, as TOML; `None` if there is no such key.
    ///
    /// ```
    /// let config = rigl_train::config::Config::default();
    /// assert_eq!(config.get("method.sparsity").as_deref(), Some("0.9"));
    /// ```
    pub fn get(&self, path: &str) -> Option<String> {
        (key(path)?.get)(self).map(|value| value.to_string())
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
