//! The rules of the operations, the second half of their table (see [`crate::op`]): the shape of the result, and the
//! parameters and buffers a node owns.

use crate::init::Init;
use crate::op::Op;
use crate::parameter::{Buffer, NodeId, Parameter, ParameterKind};
use crate::words::{elements, shape_text};

/// The most multiply-accumulates that a node may take per sample: far beyond any layer, and sums over all nodes fit
/// 64 bits.
pub const MAX_MACS: u64 = 1 << 44;

impl Op {
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
            (Op::Conv2d { .. }, [x]) => self.convolved(x),
            (&Op::BatchNorm { epsilon, momentum, scale }, [x]) => {
                channels(x)?;
                if !(epsilon > 0.0 && epsilon.is_finite()) {
                    return Err(format!("epsilon must be above 0 and finite, found {epsilon}"));
                }
                if !(momentum > 0.0 && momentum <= 1.0) {
                    return Err(format!("momentum must be above 0 and at most 1, found {momentum}"));
                }
                if !scale.is_finite() {
                    return Err(format!("scale must be finite, found {scale}"));
                }
                Ok(x.to_vec())
            }
            (Op::Relu | Op::Sigmoid, [x]) => Ok(x.to_vec()),
            (&Op::LeakyRelu { slope }, [x]) => {
                if !(0.0..1.0).contains(&slope) || slope.is_sign_negative() {
                    return Err(format!("the slope must be in [0, 1), found {slope}"));
                }
                Ok(x.to_vec())
            }
            (Op::Add | Op::Multiply, [a, b]) if a == b => Ok(a.to_vec()),
            (Op::Add | Op::Multiply, [a, b]) => {
                Err(format!("expects two nodes of one shape, found {} and {}", shape_text(a), shape_text(b)))
            }
            (&(Op::MaxPool { kernel, stride, padding } | Op::AvgPool { kernel, stride, padding }), [x]) => {
                let [c, rows, columns] = map(x)?;
                if padding > kernel / 2 {
                    return Err(format!(
                        "padding must be at most half the kernel, {}, found {padding}",
                        kernel / 2
                    ));
                }
                let shape = vec![
                    c,
                    windows(rows, kernel, stride, padding)?,
                    windows(columns, kernel, stride, padding)?,
                ];
                elements(&shape)?;
                Ok(shape)
            }
            (Op::GlobalAvgPool, [x]) => Ok(vec![map(x)?[0]]),
            (&Op::Dropout { probability }, [x]) => {
                if !(0.0..1.0).contains(&probability) || probability.is_sign_negative() {
                    return Err(format!("the probability must be in [0, 1), found {probability}"));
                }
                Ok(x.to_vec())
            }
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

    /// The rule of a convolution.
    fn convolved(&self, x: &[usize]) -> Result<Vec<usize>, String> {
        let &Op::Conv2d { channels, kernel, stride, padding, groups, init, .. } = self else {
            return Err("is no convolution".into());
        };
        let [c, rows, columns] = map(x)?;
        init.check()?;
        if kernel % 2 == 0 {
            return Err(format!("the kernel must be odd, found {kernel}"));
        }
        if padding >= kernel {
            return Err(format!("padding must be below the kernel, {kernel}, found {padding}"));
        }
        if groups == 0 || c % groups != 0 || channels % groups != 0 {
            return Err(format!("groups must divide the channels, {c} to {channels}, found {groups}"));
        }
        let weights = elements(&[channels, c / groups, kernel, kernel])? as u64;
        let (rows, columns) =
            (windows(rows, kernel, stride, padding)?, windows(columns, kernel, stride, padding)?);
        let positions = elements(&[channels, rows, columns])? / channels;
        match weights.checked_mul(positions as u64).filter(|&macs| macs <= MAX_MACS) {
            Some(_) => Ok(vec![channels, rows, columns]),
            None => Err(format!(
                "{weights} weights at {positions} positions are more than {MAX_MACS} multiply-accumulates"
            )),
        }
    }

    /// The parameters it owns as node `node` of name `name`, from the shapes it reads, which [`shape`](Op::shape)
    /// has accepted.
    pub(crate) fn parameters(&self, node: NodeId, name: &str, inputs: &[&[usize]]) -> Vec<Parameter> {
        let weight = match (self, inputs) {
            (&Op::Linear { features, init, .. }, [x]) => {
                let n = x.iter().product();
                Parameter {
                    name: format!("{name}.weight"),
                    shape: vec![features, n],
                    kind: ParameterKind::LinearWeight,
                    init,
                    fan_in: n,
                    fan_out: features,
                    node,
                    positions: 1,
                }
            }
            (&Op::Conv2d { channels, kernel, groups, init, .. }, [x]) => {
                let output = self.shape(inputs).unwrap_or_default();
                let (inputs, area) = (x[0] / groups, kernel * kernel);
                Parameter {
                    name: format!("{name}.weight"),
                    shape: vec![channels, inputs, kernel, kernel],
                    kind: ParameterKind::ConvWeight,
                    init,
                    fan_in: inputs * area,
                    fan_out: channels * area,
                    node,
                    positions: output.iter().skip(1).product(),
                }
            }
            (&Op::BatchNorm { scale, .. }, [x]) => Parameter {
                name: format!("{name}.weight"),
                shape: vec![x[0]],
                kind: ParameterKind::NormScale,
                init: Init::Constant(scale.into()),
                fan_in: 1,
                fan_out: 1,
                node,
                positions: 0,
            },
            _ => return vec![],
        };
        let second = match *self {
            Op::Linear { bias: true, .. } | Op::Conv2d { bias: true, .. } => Some(ParameterKind::Bias),
            Op::BatchNorm { .. } => Some(ParameterKind::NormShift),
            _ => None,
        };
        let second = second.map(|kind| Parameter {
            name: format!("{name}.bias"),
            shape: vec![weight.shape[0]],
            kind,
            init: Init::Zeros,
            positions: 0,
            ..weight.clone()
        });
        std::iter::once(weight).chain(second).collect()
    }

    /// The buffers it owns, as [`parameters`](Op::parameters).
    pub(crate) fn buffers(&self, node: NodeId, name: &str, inputs: &[&[usize]]) -> Vec<Buffer> {
        match (self, inputs) {
            (Op::BatchNorm { .. }, [x]) => {
                let buffer = |what, initial| Buffer {
                    name: format!("{name}.{what}"),
                    shape: vec![x[0]],
                    initial,
                    node,
                };
                vec![buffer("running_mean", 0.0), buffer("running_var", 1.0)]
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

/// Channels, rows and columns of a map; other shapes do not fit.
fn map(shape: &[usize]) -> Result<[usize; 3], String> {
    <[usize; 3]>::try_from(shape)
        .map_err(|_| format!("expects maps [channels, rows, columns], found {}", shape_text(shape)))
}

/// The channels of a map or vector; other shapes do not fit.
fn channels(shape: &[usize]) -> Result<usize, String> {
    match *shape {
        [c] | [c, _, _] => Ok(c),
        _ => Err(format!(
            "expects maps [channels, rows, columns] or a vector [n], found {}",
            shape_text(shape)
        )),
    }
}

/// How many windows fit in one direction.
fn windows(size: usize, kernel: usize, stride: usize, padding: usize) -> Result<usize, String> {
    if kernel == 0 || stride == 0 {
        return Err(format!("kernel and stride must be at least 1, found {kernel} and {stride}"));
    }
    let padded = padding.checked_mul(2).and_then(|both| both.checked_add(size));
    match padded.and_then(|padded| padded.checked_sub(kernel)) {
        Some(room) => Ok(room / stride + 1),
        None => Err(format!(
            "a kernel of {kernel} does not fit into {size} rows or columns with a padding of {padding}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(features: usize) -> Op {
        Op::Linear { features, bias: true, init: Init::GlorotUniform }
    }

    fn conv(channels: usize, kernel: usize, stride: usize, padding: usize, groups: usize) -> Op {
        Op::Conv2d { channels, kernel, stride, padding, groups, bias: true, init: Init::HeNormal }
    }

    fn norm(epsilon: f32, momentum: f32, scale: f32) -> Op {
        Op::BatchNorm { epsilon, momentum, scale }
    }

    #[test]
    fn shapes_follow_the_table() {
        assert_eq!(Op::Input { shape: vec![3, 2] }.shape(&[]), Ok(vec![3, 2]));
        assert_eq!(Op::Flatten.shape(&[&[3, 2]]), Ok(vec![6]));
        assert_eq!(linear(5).shape(&[&[6]]), Ok(vec![5]));
        for op in [Op::Relu, Op::Sigmoid, Op::LeakyRelu { slope: 0.0 }] {
            assert_eq!(op.shape(&[&[3, 2]]), Ok(vec![3, 2]));
        }
        assert_eq!(Op::CrossEntropy { classes: 5, label_smoothing: 0.1 }.shape(&[&[5]]), Ok(vec![]));
        assert_eq!(norm(1e-5, 0.1, 1.0).shape(&[&[3, 4, 5]]), Ok(vec![3, 4, 5]));
        assert_eq!(norm(1e-5, 1.0, 0.0).shape(&[&[3]]), Ok(vec![3]));
        assert_eq!(Op::Add.shape(&[&[3, 4], &[3, 4]]), Ok(vec![3, 4]));
        assert_eq!(Op::Multiply.shape(&[&[3, 4], &[3, 4]]), Ok(vec![3, 4]));
        assert_eq!(Op::GlobalAvgPool.shape(&[&[3, 4, 5]]), Ok(vec![3]));
        assert_eq!(Op::Dropout { probability: 0.0 }.shape(&[&[3, 4, 5]]), Ok(vec![3, 4, 5]));
    }

    #[test]
    fn windows_are_counted_as_pytorch_counts_them() {
        // Conv2d(6, 8, kernel, stride, padding) of 6 × 32 × 17.
        for (kernel, stride, padding, rows, columns) in
            [(3, 1, 1, 32, 17), (3, 2, 1, 16, 9), (1, 2, 0, 16, 9), (7, 2, 3, 16, 9), (5, 3, 0, 10, 5)]
        {
            let shape = conv(8, kernel, stride, padding, 2).shape(&[&[6, 32, 17]]);
            assert_eq!(shape, Ok(vec![8, rows, columns]), "{kernel} {stride} {padding}");
        }
        let pool = Op::MaxPool { kernel: 2, stride: 2, padding: 0 };
        assert_eq!(pool.shape(&[&[6, 32, 17]]), Ok(vec![6, 16, 8]));
        let pool = Op::AvgPool { kernel: 3, stride: 2, padding: 1 };
        assert_eq!(pool.shape(&[&[6, 32, 17]]), Ok(vec![6, 16, 9]));
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
            assert!(error(Op::Dropout { probability: smoothing }, &[10]).contains("[0, 1)"), "{smoothing}");
            assert!(error(Op::LeakyRelu { slope: smoothing }, &[10]).contains("[0, 1)"), "{smoothing}");
        }
        assert_eq!(Op::Relu.shape(&[]).unwrap_err(), "the number of inputs must be 1, found 0");
        for op in [Op::Add, Op::Multiply] {
            assert_eq!(op.shape(&[&[3]]).unwrap_err(), "the number of inputs must be 2, found 1");
        }
        assert_eq!(
            Op::Add.shape(&[&[3], &[4]]).unwrap_err(),
            "expects two nodes of one shape, found [3] and [4]"
        );
        assert!(error(Op::GlobalAvgPool, &[3]).contains("maps [channels, rows, columns], found [3]"));
        for (op, what) in [
            (norm(0.0, 0.1, 1.0), "epsilon"),
            (norm(f32::NAN, 0.1, 1.0), "epsilon"),
            (norm(1e-5, 0.0, 1.0), "momentum"),
            (norm(1e-5, 1.5, 1.0), "momentum"),
            (norm(1e-5, 0.1, f32::INFINITY), "scale"),
        ] {
            assert!(error(op, &[3]).contains(what), "{what}");
        }
        assert!(error(norm(1e-5, 0.1, 1.0), &[3, 4]).contains("found [3, 4]"));
    }

    #[test]
    fn impossible_windows_are_refused_and_never_overflow() {
        let error = |op: Op| op.shape(&[&[6, 8, 8]]).unwrap_err();
        let huge = usize::MAX;
        assert!(error(conv(8, 2, 1, 0, 1)).contains("odd, found 2"));
        assert!(error(conv(8, 3, 1, 3, 1)).contains("below the kernel, 3, found 3"));
        assert!(error(conv(8, 3, 0, 1, 1)).contains("at least 1"));
        assert!(error(conv(8, 3, 1, 1, 4)).contains("groups must divide the channels, 6 to 8, found 4"));
        assert!(error(conv(8, 3, 1, 1, 0)).contains("groups"));
        assert!(error(conv(0, 3, 1, 1, 1)).contains("at least 1"));
        assert!(error(conv(huge, 3, 1, 1, 1)).contains("4294967295"));
        assert!(error(conv(8, huge, 1, huge - 1, 1)).contains("4294967295"));
        assert!(error(conv(8, 11, 1, 0, 1)).contains("does not fit into 8"));
        let wide = conv(60_000, 3, 1, 1, 1).shape(&[&[1000, 250, 250]]).unwrap_err();
        assert!(wide.contains("multiply-accumulates"), "{wide}");
        let pool = |kernel, stride, padding| error(Op::MaxPool { kernel, stride, padding });
        assert!(pool(3, 1, 2).contains("half the kernel, 1, found 2"));
        assert!(pool(0, 1, 0).contains("at least 1"));
        assert!(pool(2, 0, 0).contains("at least 1"));
        assert!(pool(9, 1, 0).contains("does not fit into 8"));
        assert!(
            pool(huge, 1, huge / 2).contains("does not fit into 8")
                || pool(huge, 1, huge / 2).contains("4294967295")
        );
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

    #[test]
    fn a_convolution_counts_fans_as_pytorch_and_positions_by_its_output() {
        let parameters = conv(8, 3, 2, 1, 2).parameters(NodeId(1), "conv1", &[&[6, 32, 17]]);
        let of = |p: &Parameter| (p.name.clone(), p.shape.clone(), p.fan_in, p.fan_out, p.positions);
        assert_eq!(of(&parameters[0]), ("conv1.weight".into(), vec![8, 3, 3, 3], 27, 72, 16 * 9));
        assert_eq!(parameters[0].kind, ParameterKind::ConvWeight);
        assert_eq!(parameters[0].macs(), 216 * 144);
        assert_eq!((parameters[1].name.as_str(), parameters[1].len()), ("conv1.bias", 8));
        assert_eq!(parameters[1].kind, ParameterKind::Bias);
    }

    #[test]
    fn a_batch_norm_owns_scale_and_shift_and_two_running_statistics() {
        let op = norm(1e-5, 0.1, 0.5);
        let parameters = op.parameters(NodeId(1), "bn1", &[&[6, 4, 4]]);
        let of = |p: &Parameter| (p.name.clone(), p.shape.clone(), p.kind, p.init, p.positions);
        assert_eq!(
            of(&parameters[0]),
            ("bn1.weight".into(), vec![6], ParameterKind::NormScale, Init::Constant(0.5), 0)
        );
        assert_eq!(
            of(&parameters[1]),
            ("bn1.bias".into(), vec![6], ParameterKind::NormShift, Init::Zeros, 0)
        );
        let buffers = op.buffers(NodeId(1), "bn1", &[&[6, 4, 4]]);
        let of = |b: &Buffer| (b.name.clone(), b.shape.clone(), b.initial, b.node);
        assert_eq!(of(&buffers[0]), ("bn1.running_mean".into(), vec![6], 0.0, NodeId(1)));
        assert_eq!(of(&buffers[1]), ("bn1.running_var".into(), vec![6], 1.0, NodeId(1)));
        assert!(Op::Relu.buffers(NodeId(1), "relu", &[&[6]]).is_empty());
    }
}
