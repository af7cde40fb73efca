//! What is asked of a session and what it answers, in plain numbers.

use rigl_base::{Error, Result};
use rigl_topology::{MethodSlot, Score};

use crate::batch::Batch;
use crate::storage::Compute;

/// What a session runs on and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Samples of a (micro-)batch, at most; 0 where nothing is trained.
    pub batch: usize,
    /// Samples of an evaluation batch, at most.
    pub evaluation_batch: usize,
    /// Threads; results do not depend on them.
    pub threads: usize,
    /// An instruction set by name, or the best there is; results do not depend on it.
    pub isa: Option<String>,
    /// Arithmetic of sparse layers.
    pub compute: Compute,
    /// Seed of the initial values.
    pub seed: u64,
}

/// Sums over the samples of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Sum of the losses; NaN where a number was not finite, even if the loss did not come to know of it.
    pub loss: f64,
    /// Samples classified correctly.
    pub correct: usize,
    /// Samples.
    pub samples: usize,
}

impl Outcome {
    /// Adds the sums of another pass.
    pub fn add(&mut self, other: Outcome) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.samples += other.samples;
    }

    /// Mean loss per sample; NaN without samples.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples as f64
    }

    /// Share of samples classified correctly; NaN without samples.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }
}

/// The optimiser's constants for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepConstants {
    /// Learning rate.
    pub learning_rate: f64,
    /// Momentum.
    pub momentum: f64,
    /// Whether it is Nesterov's.
    pub nesterov: bool,
    /// L2 coefficient, for weights.
    pub l2: f64,
}

/// A part of a step's batch.
#[derive(Clone, Copy, Debug)]
pub struct MicroBatch<'a> {
    /// The samples.
    pub batch: &'a Batch,
    /// Samples of the whole step, over which the loss is averaged.
    pub of_samples: usize,
    /// The number of the batch in the run: what dropout masks are drawn by, with the seed and the part's number.
    pub draw: u64,
    /// The number of the part.
    pub number: u64,
    /// The seed of dropout masks.
    pub seed: u64,
    /// Whether it is the first part: gradients start over.
    pub first: bool,
    /// Whether it is the last part.
    pub last: bool,
}

/// A parameter whose dense gradient a pass computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// The parameter, by its number in the graph.
    pub parameter: usize,
    /// What of the gradient is wanted.
    pub take: Take,
}

/// What becomes of a dense gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Take {
    /// Scored and thrown away: so many positions of largest magnitude are remembered for the update of this step.
    Largest(usize),
    /// The same by a score of one's own; the largest are remembered.
    Best(usize, Score),
    /// All of it is kept until the next pass.
    All,
}

/// What training by a method holds beyond values, gradients and slots of active weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// The dense gradient of one convolution at a time; linear layers need none of theirs whole.
    pub scored: bool,
    /// The dense gradients of all sparse layers.
    pub gradients: bool,
    /// What it keeps of each sparse layer from one step to the next.
    pub slots: Vec<MethodSlot>,
    /// What changes the patterns.
    pub change: Option<PatternChange>,
}

/// A change of patterns, which holds something of its own while it lasts.
#[derive(Clone, Debug, PartialEq)]
pub enum PatternChange {
    /// First patterns are chosen of a dense network by scores of its weights, and leave so many of each parameter.
    Chosen(Vec<Option<usize>>),
    /// Updates replace this share of the active weights at most.
    Update {
        /// The share.
        replaced: f64,
        /// Whether they look at the gradient of active weights.
        gradient: bool,
    },
}

/// Where the gradients of several replicas meet. All replicas call it for the same parameters in the same order.
pub trait Exchange {
    /// Replaces numbers by the sums over all replicas, added in the order of these: the same bits everywhere.
    ///
    /// # Errors
    /// If a replica cannot be reached.
    fn sum(&mut self, numbers: &mut [f32]) -> Result<()>;
}

/// Seconds that a layer took in one forward and backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerTime {
    /// The layer's weight, by its number in the graph; none for the loss and for activations on their own.
    pub parameter: Option<usize>,
    /// Forward.
    pub forward_s: f64,
    /// Gradient of weight and bias.
    pub weights_s: f64,
    /// Gradient of the input.
    pub data_s: f64,
}

/// A kernel's refusal is a fault of the engine, which checks its callers first.
pub(crate) fn kernel(error: rigl_kernels::Error) -> Error {
    Error::internal("kernel").caused_by(error)
}
