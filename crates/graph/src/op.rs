//! The table of operations. Each method of [`Op`] is one column: the word, the number of inputs, the
//! attributes, the shape rule, the parameters with their multiply-accumulates. A new operation is one new
//! variant here; the compiler then names every place that must know about it.

use crate::init::Init;
use crate::parameter::{NodeId, Parameter, ParameterKind};
use crate::words::{Attributes, clip, elements, shape_text};

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
    /// `max(x, 0)`, of any shape.
    Relu,
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
            Op::Relu => "relu",
            Op::CrossEntropy { .. } => "cross-entropy",
        }
    }

    /// How many nodes it reads.
    pub fn arity(&self) -> usize {
        match self {
            Op::Input { .. } => 0,
            Op::Flatten | Op::Linear { .. } | Op::Relu | Op::CrossEntropy { .. } => 1,
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
            Op::Input { .. } | Op::Flatten | Op::Relu => vec![],
            Op::Linear { features, bias, init } => {
                vec![
                    ("features", features.to_string()),
                    ("bias", bias.to_string()),
                    ("init", init.to_string()),
                ]
            }
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
            "relu" => Op::Relu,
            "cross-entropy" => Op::CrossEntropy {
                classes: attributes.count("classes")?,
                label_smoothing: attributes.number("label-smoothing")?,
            },
            _ => {
                let word = clip(word);
                return Err(format!(
                    "unknown operation `{word}`; known are `input`, `flatten`, `linear`, `relu`, `cross-entropy`"
                ));
            }
        })
    }

    /// The shape of its output, from the shapes it reads (as many as [`arity`](Op::arity) says).
    ///
    /// # Errors
    /// If an attribute is out of range or the shapes do not fit: found and expected, without the node's name.
    pub(crate) fn shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        match (self, inputs) {
            (Op::Input { shape }, []) => {
                if shape.is_empty() {
                    return Err("the shape of an input must have at least one dimension, found []".into());
                }
                elements(shape)?;
                Ok(shape.clone())
            }
            (Op::Flatten, [x]) => Ok(vec![elements(x)?]),
            (&Op::Linear { features, init, .. }, [x]) => {
                let n = vector(x)?;
                init.check()?;
                elements(&[features, n])?;
                Ok(vec![features])
            }
            (Op::Relu, [x]) => Ok(x.to_vec()),
            (&Op::CrossEntropy { classes, label_smoothing }, [x]) => {
                let n = vector(x)?;
                if classes < 2 {
                    return Err(format!("classes must be at least 2, found {classes}"));
                }
                if n != classes {
                    return Err(format!("expects one logit per class, {classes}, found {n}"));
                }
                if !(0.0..1.0).contains(&label_smoothing) || label_smoothing.is_sign_negative() {
                    return Err(format!("label smoothing must be in [0, 1), found {label_smoothing}"));
                }
                Ok(vec![])
            }
            _ => Err(format!("the number of inputs must be {}, found {}", self.arity(), inputs.len())),
        }
    }

    /// The parameters it owns as node `node` of name `name`, from the shapes it reads, which [`shape`](Op::shape)
    /// has accepted.
    pub(crate) fn parameters(&self, node: NodeId, name: &str, inputs: &[&[usize]]) -> Vec<Parameter> {
        match (self, inputs) {
            (&Op::Linear { features, bias, init }, [x]) => {
                let n = x.iter().product();
                let weight = Parameter {
                    name: format!("{name}.weight"),
                    shape: vec![features, n],
                    kind: ParameterKind::LinearWeight,
                    init,
                    fan_in: n,
                    fan_out: features,
                    node,
                    positions: 1,
                };
                let bias = bias.then(|| Parameter {
                    name: format!("{name}.bias"),
                    shape: vec![features],
                    kind: ParameterKind::Bias,
                    init: Init::Zeros,
                    positions: 0,
                    ..weight.clone()
                });
                std::iter::once(weight).chain(bias).collect()
            }
            _ => vec![],
        }
    }
}

/// The length of a vector; other shapes do not fit.
fn vector(shape: &[usize]) -> Result<usize, String> {
    match shape {
        &[n] => Ok(n),
        _ => Err(format!("expects a vector [n], found {}; flatten it first", shape_text(shape))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(features: usize) -> Op {
        Op::Linear { features, bias: true, init: Init::GlorotUniform }
    }

    #[test]
    fn shapes_follow_the_table() {
        assert_eq!(Op::Input { shape: vec![3, 2] }.shape(&[]), Ok(vec![3, 2]));
        assert_eq!(Op::Flatten.shape(&[&[3, 2]]), Ok(vec![6]));
        assert_eq!(linear(5).shape(&[&[6]]), Ok(vec![5]));
        assert_eq!(Op::Relu.shape(&[&[3, 2]]), Ok(vec![3, 2]));
        assert_eq!(Op::CrossEntropy { classes: 5, label_smoothing: 0.1 }.shape(&[&[5]]), Ok(vec![]));
    }

    #[test]
    fn wrong_shapes_and_attributes_say_what_was_found() {
        let error = |op: Op, x: &[usize]| op.shape(&[x]).unwrap_err();
        assert_eq!(
            error(linear(5), &[1, 28, 28]),
            "expects a vector [n], found [1, 28, 28]; flatten it first"
        );
        assert!(error(linear(0), &[4]).contains("found [0, 4]"));
        assert!(error(linear(1 << 20), &[1 << 20]).contains("4294967295"));
        let loss = |classes, label_smoothing| Op::CrossEntropy { classes, label_smoothing };
        assert_eq!(error(loss(10, 0.0), &[9]), "expects one logit per class, 10, found 9");
        assert!(error(loss(1, 0.0), &[1]).contains("at least 2"));
        for smoothing in [1.0, -0.1, -0.0, f32::NAN, f32::INFINITY] {
            assert!(error(loss(10, smoothing), &[10]).contains("[0, 1)"), "{smoothing}");
        }
        assert_eq!(Op::Relu.shape(&[]).unwrap_err(), "the number of inputs must be 1, found 0");
    }

    #[test]
    fn a_linear_layer_owns_a_weight_and_perhaps_a_bias() {
        let parameters = linear(5).parameters(NodeId(3), "fc", &[&[6]]);
        let of = |p: &Parameter| (p.name.clone(), p.shape.clone(), p.fan_in, p.fan_out, p.positions);
        assert_eq!(of(&parameters[0]), ("fc.weight".into(), vec![5, 6], 6, 5, 1));
        assert_eq!(of(&parameters[1]), ("fc.bias".into(), vec![5], 6, 5, 0));
        let bare = Op::Linear { features: 5, bias: false, init: Init::GlorotUniform };
        assert_eq!(bare.parameters(NodeId(3), "fc", &[&[6]]).len(), 1);
    }
}
