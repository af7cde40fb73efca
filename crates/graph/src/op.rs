//! The table of operations. Each method of [`Op`] is one column: here the word, the number of inputs and the
//! attributes, in [`crate::rules`] shapes, parameters with their multiply-accumulates, and buffers. A new operation
//! is one new variant here; the compiler then names every place that must know about it.

use crate::init::Init;
use crate::words::{Attributes, clip};

/// What a node does. The enum is exhaustive on purpose: whoever runs or exports a network must say what it
/// does about each operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Samples enter here, one field of the data set, of this shape.
    Input {
        /// The shape of one sample.
        shape: Vec<usize>,
    },
    /// `[a, b, …]` to `[a·b·…]`, row-major: no value moves.
    Flatten,
    /// `y = W x + b`, from `[n]` to `[features]`; `W` is `[features, n]`.
    Linear {
        /// The number of outputs.
        features: usize,
        /// Whether there is a `b`.
        bias: bool,
        /// How `W` starts; `b` starts at 0.
        init: Init,
    },
    /// A cross-correlation with zeros around the map, from `[c, rows, columns]` to `[channels, …]`; the weight is
    /// `[channels, c / groups, kernel, kernel]`.
    Conv2d {
        /// Channels of the output.
        channels: usize,
        /// Rows and columns of the kernel, odd.
        kernel: usize,
        /// Rows and columns from one output to the next.
        stride: usize,
        /// Rows and columns of zeros on every side, fewer than the kernel has.
        padding: usize,
        /// Groups of channels that do not see each other; as many as there are inputs in a depthwise convolution.
        groups: usize,
        /// Whether each output channel has a bias.
        bias: bool,
        /// How the weight starts; biases start at 0.
        init: Init,
    },
    /// `γ (x − mean) / √(variance + ε) + β` per channel, of maps `[c, rows, columns]` or vectors `[c]`; over the batch
    /// in training, of running statistics in evaluation (Ioffe and Szegedy, 2015).
    BatchNorm {
        /// ε, above 0.
        epsilon: f32,
        /// Share of the new statistics in the running ones, above 0 and at most 1 (in PyTorch's sense: a decay of
        /// .9 is a momentum of .1).
        momentum: f32,
        /// What γ starts at; β starts at 0.
        scale: f32,
    },
    /// `max(x, 0)`, of any shape.
    Relu,
    /// `x` where it is positive, else `slope · x`, of any shape.
    LeakyRelu {
        /// At least 0 and below 1.
        slope: f32,
    },
    /// `1 / (1 + e⁻ˣ)`, of any shape.
    Sigmoid,
    /// The sum of two nodes of the same shape.
    Add,
    /// The product of two nodes of the same shape, number by number.
    Multiply,
    /// The largest of each window of a map; padding never is.
    MaxPool {
        /// Rows and columns of the window.
        kernel: usize,
        /// Rows and columns from one window to the next.
        stride: usize,
        /// Rows and columns around the map that windows may reach into, at most half the window.
        padding: usize,
    },
    /// The mean of each window of a map over all of its `kernel²` positions, padding counted as zeros.
    AvgPool {
        /// Rows and columns of the window.
        kernel: usize,
        /// Rows and columns from one window to the next.
        stride: usize,
        /// Rows and columns of zeros on every side, at most half the window.
        padding: usize,
    },
    /// The mean of each channel, from `[c, rows, columns]` to `[c]`.
    GlobalAvgPool,
    /// In training each value is 0 with this probability and else divided by one minus it; in evaluation nothing
    /// happens.
    Dropout {
        /// At least 0 and below 1.
        probability: f32,
    },
    /// The loss: softmax cross-entropy, from the logits `[classes]` and the sample's label to one number, whose
    /// mean over the batch is trained. The target of a class is `1 − ε + ε/classes` for the label's and
    /// `ε/classes` for the others, where ε is the label smoothing.
    CrossEntropy {
        /// The number of classes.
        classes: usize,
        /// ε, at least 0 and below 1.
        label_smoothing: f32,
    },
}

impl Op {
    /// The word for it in the text form.
    pub fn word(&self) -> &'static str {
        match self {
            Op::Input { .. } => "input",
            Op::Flatten => "flatten",
            Op::Linear { .. } => "linear",
            Op::Conv2d { .. } => "conv2d",
            Op::BatchNorm { .. } => "batch-norm",
            Op::Relu => "relu",
            Op::LeakyRelu { .. } => "leaky-relu",
            Op::Sigmoid => "sigmoid",
            Op::Add => "add",
            Op::Multiply => "multiply",
            Op::MaxPool { .. } => "max-pool",
            Op::AvgPool { .. } => "avg-pool",
            Op::GlobalAvgPool => "global-avg-pool",
            Op::Dropout { .. } => "dropout",
            Op::CrossEntropy { .. } => "cross-entropy",
        }
    }

    /// How many nodes it reads.
    pub fn arity(&self) -> usize {
        match self {
            Op::Input { .. } => 0,
            Op::Flatten
            | Op::Linear { .. }
            | Op::Conv2d { .. }
            | Op::BatchNorm { .. }
            | Op::Relu
            | Op::LeakyRelu { .. }
            | Op::Sigmoid
            | Op::MaxPool { .. }
            | Op::AvgPool { .. }
            | Op::GlobalAvgPool
            | Op::Dropout { .. }
            | Op::CrossEntropy { .. } => 1,
            Op::Add | Op::Multiply => 2,
        }
    }

    /// Whether it is the loss, which nothing else reads.
    pub fn is_loss(&self) -> bool {
        matches!(self, Op::CrossEntropy { .. })
    }

    /// Its attributes and their values in the order in which they are printed. An input has none: its shape is
    /// the node's.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        match self {
            Op::Input { .. }
            | Op::Flatten
            | Op::Relu
            | Op::Sigmoid
            | Op::Add
            | Op::Multiply
            | Op::GlobalAvgPool => vec![],
            Op::LeakyRelu { slope } => vec![("slope", format!("{slope:?}"))],
            Op::Linear { features, bias, init } => {
                vec![
                    ("features", features.to_string()),
                    ("bias", bias.to_string()),
                    ("init", init.to_string()),
                ]
            }
            Op::Conv2d { channels, kernel, stride, padding, groups, bias, init } => vec![
                ("channels", channels.to_string()),
                ("kernel", kernel.to_string()),
                ("stride", stride.to_string()),
                ("padding", padding.to_string()),
                ("groups", groups.to_string()),
                ("bias", bias.to_string()),
                ("init", init.to_string()),
            ],
            Op::BatchNorm { epsilon, momentum, scale } => vec![
                ("epsilon", format!("{epsilon:?}")),
                ("momentum", format!("{momentum:?}")),
                ("scale", format!("{scale:?}")),
            ],
            Op::MaxPool { kernel, stride, padding } | Op::AvgPool { kernel, stride, padding } => vec![
                ("kernel", kernel.to_string()),
                ("stride", stride.to_string()),
                ("padding", padding.to_string()),
            ],
            Op::Dropout { probability } => vec![("probability", format!("{probability:?}"))],
            Op::CrossEntropy { classes, label_smoothing } => {
                vec![("classes", classes.to_string()), ("label-smoothing", format!("{label_smoothing:?}"))]
            }
        }
    }

    /// The operation of that word; `shape` is the one the text gives for the node.
    pub(crate) fn read(word: &str, attributes: &mut Attributes<'_>, shape: &[usize]) -> Result<Op, String> {
        Ok(match word {
            "input" => Op::Input { shape: shape.to_vec() },
            "flatten" => Op::Flatten,
            "linear" => Op::Linear {
                features: attributes.count("features")?,
                bias: attributes.flag("bias")?,
                init: attributes.init("init")?,
            },
            "conv2d" => Op::Conv2d {
                channels: attributes.count("channels")?,
                kernel: attributes.count("kernel")?,
                stride: attributes.count("stride")?,
                padding: attributes.count("padding")?,
                groups: attributes.count("groups")?,
                bias: attributes.flag("bias")?,
                init: attributes.init("init")?,
            },
            "batch-norm" => Op::BatchNorm {
                epsilon: attributes.number("epsilon")?,
                momentum: attributes.number("momentum")?,
                scale: attributes.number("scale")?,
            },
            "relu" => Op::Relu,
            "leaky-relu" => Op::LeakyRelu { slope: attributes.number("slope")? },
            "sigmoid" => Op::Sigmoid,
            "add" => Op::Add,
            "multiply" => Op::Multiply,
            "max-pool" => Op::MaxPool {
                kernel: attributes.count("kernel")?,
                stride: attributes.count("stride")?,
                padding: attributes.count("padding")?,
            },
            "avg-pool" => Op::AvgPool {
                kernel: attributes.count("kernel")?,
                stride: attributes.count("stride")?,
                padding: attributes.count("padding")?,
            },
            "global-avg-pool" => Op::GlobalAvgPool,
            "dropout" => Op::Dropout { probability: attributes.number("probability")? },
            "cross-entropy" => Op::CrossEntropy {
                classes: attributes.count("classes")?,
                label_smoothing: attributes.number("label-smoothing")?,
            },
            _ => {
                let word = clip(word);
                return Err(format!(
                    "unknown operation `{word}`; known are `input`, `flatten`, `linear`, `conv2d`, `batch-norm`, `relu`, \
                     `leaky-relu`, `sigmoid`, `add`, `multiply`, `max-pool`, `avg-pool`, `global-avg-pool`, `dropout`, `cross-entropy`"
                ));
            }
        })
    }
}
