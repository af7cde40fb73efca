//! What a network costs: operations and bytes, sparse beside dense.
//!
//! Forward operations are 2 × multiply-accumulates of the weights, backward ones twice as many; norms, activations,
//! loss and the choice of masks are not counted, as in the paper (RigL, appendix on calculating FLOPs). Bytes are 4 per
//! active value and one bit per position of each sparse parameter, which says where they are. A norm counts as one
//! bias per channel, also as in the paper: its scale is for the weights beside it to absorb.

use rigl_base::{Error, Result};

use crate::graph::Graph;
use crate::parameter::{Parameter, ParameterKind};

/// What one parameter takes, as it is and dense.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterCost {
    /// Its name, `fc1.weight`.
    pub name: String,
    /// Its natural shape: `[out, in]` of a linear layer, `[out, in / groups, rows, columns]` of a convolution.
    pub shape: Vec<usize>,
    /// What it is to its layer.
    pub kind: ParameterKind,
    /// Values when dense.
    pub weights: usize,
    /// Values that are there.
    pub active: usize,
    /// Whether it is stored sparse, be it at sparsity 0.
    pub sparse: bool,
    /// 1 − active / weights.
    pub sparsity: f64,
    /// Floating-point operations of the forward pass per sample.
    pub flops: u64,
    /// The same when dense.
    pub dense_flops: u64,
    /// Size in a file, without names.
    pub bytes: u64,
    /// The same when dense.
    pub dense_bytes: u64,
}

/// The cost of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// One row for each parameter, in the order of the graph.
    pub parameters: Vec<ParameterCost>,
    /// Values of all weights when dense, without biases.
    pub weights: usize,
    /// Values of all weights that are there, without biases.
    pub active: usize,
    /// 1 − active / weights.
    pub sparsity: f64,
    /// Values of all other parameters.
    pub biases: usize,
    /// Floating-point operations of the forward pass per sample: f_S.
    pub flops: u64,
    /// The same when dense: f_D.
    pub dense_flops: u64,
    /// Size in a file, without names.
    pub bytes: u64,
    /// The same when dense.
    pub dense_bytes: u64,
}

impl Cost {
    /// The cost of `graph` with these active counts, one for each parameter; `None` means stored dense.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if the counts are not those of this graph.
    pub fn of(graph: &Graph, active: &[Option<usize>]) -> Result<Cost> {
        let parameters = graph.parameters();
        if active.len() != parameters.len() {
            let (expected, found) = (parameters.len(), active.len());
            return Err(Error::internal(format!("expects {expected} active counts, found {found}")));
        }
        let rows = parameters.iter().zip(active).map(|(p, &a)| ParameterCost::of(p, a));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let weights = || rows.iter().filter(|r| r.kind.is_weight());
        let sum = |of: fn(&ParameterCost) -> u64| rows.iter().map(of).sum();
        let all = weights().map(|r| r.weights).sum();
        let left = weights().map(|r| r.active).sum();
        Ok(Cost {
            weights: all,
            active: left,
            sparsity: sparsity(all, left),
            biases: rows.iter().filter(|r| !r.kind.is_weight()).map(|r| r.weights).sum(),
            flops: sum(|r| r.flops),
            dense_flops: sum(|r| r.dense_flops),
            bytes: sum(|r| r.bytes),
            dense_bytes: sum(|r| r.dense_bytes),
            parameters: rows,
        })
    }

    /// The cost of `graph` when all of it is dense.
    ///
    /// # Errors
    /// None for a graph that was built or parsed.
    pub fn dense(graph: &Graph) -> Result<Cost> {
        Cost::of(graph, &vec![None; graph.parameters().len()])
    }
}

impl ParameterCost {
    fn of(parameter: &Parameter, active: Option<usize>) -> Result<ParameterCost> {
        let weights = parameter.len();
        let left = active.unwrap_or(weights);
        if left > weights {
            let name = &parameter.name;
            return Err(Error::internal(format!(
                "parameter `{name}`: {left} of {weights} values are active"
            )));
        }
        let absorbed = parameter.kind == ParameterKind::NormScale;
        Ok(ParameterCost {
            name: parameter.name.clone(),
            shape: parameter.shape.clone(),
            kind: parameter.kind,
            weights,
            active: left,
            sparse: active.is_some(),
            sparsity: sparsity(weights, left),
            flops: 2 * left as u64 * parameter.positions as u64,
            dense_flops: 2 * parameter.macs(),
            bytes: if absorbed { 0 } else { bytes(weights, active) },
            dense_bytes: if absorbed { 0 } else { bytes(weights, None) },
        })
    }
}

/// Bytes of one parameter: 4 for each active value, and a bit for each position if it is sparse, padded to whole
/// bytes.
pub fn bytes(weights: usize, active: Option<usize>) -> u64 {
    match active {
        None => 4 * weights as u64,
        Some(active) => 4 * active as u64 + (weights as u64).div_ceil(8),
    }
}

fn sparsity(weights: usize, active: usize) -> f64 {
    if weights == 0 { 0.0 } else { (weights - active) as f64 / weights as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{BatchNorm, Builder, Conv2d, Linear};
    use crate::models::{ModelSpec, Models};
    use rigl_base::counts;

    fn lenet() -> Graph {
        Models::default().build("lenet-300-100", &ModelSpec::new(&[1, 28, 28], 10)).unwrap()
    }

    #[test]
    fn dense_lenet_is_as_computed_by_hand() {
        let cost = Cost::dense(&lenet()).unwrap();
        assert_eq!((cost.weights, cost.active, cost.biases), (266_200, 266_200, 410));
        assert_eq!((cost.flops, cost.dense_flops), (532_400, 532_400));
        assert_eq!((cost.bytes, cost.dense_bytes), (1_066_440, 1_066_440));
        assert_eq!(cost.sparsity, 0.0);
        assert_eq!(cost.parameters[1].flops, 0);
    }

    #[test]
    fn sparse_lenet_is_as_computed_by_hand() {
        let (first, second) = (counts::active(235_200, 0.99), counts::active(30_000, 0.89));
        let cost = Cost::of(&lenet(), &[Some(first), None, Some(second), None, None, None]).unwrap();
        let weights: Vec<usize> = cost.parameters.iter().step_by(2).map(|r| r.active).collect();
        assert_eq!(weights, [2352, 3300, 1000]);
        assert_eq!((cost.weights, cost.active, cost.biases), (266_200, 6652, 410));
        assert_eq!((cost.flops, cost.dense_flops), (13_304, 532_400));
        // 4 · 6652 values, 29,400 and 3,750 bytes of bits, 4 · 410 biases.
        assert_eq!((cost.bytes, cost.dense_bytes), (61_398, 1_066_440));
        assert_eq!(cost.sparsity, 1.0 - 6652.0 / 266_200.0);
        let row = &cost.parameters[0];
        assert_eq!(
            (row.name.as_str(), row.sparse, row.weights, row.active),
            ("fc1.weight", true, 235_200, 2352)
        );
        assert_eq!(
            (row.flops, row.dense_flops, row.bytes, row.dense_bytes),
            (4704, 470_400, 38_808, 940_800)
        );
        assert!((row.sparsity - 0.99).abs() < 1e-12);
        assert!(!cost.parameters[4].sparse);
    }

    #[test]
    fn a_convolutional_network_is_as_computed_by_hand() {
        let mut g = Builder::new("net");
        let x = g.input("image", &[3, 8, 8]);
        let h = g.conv2d("conv1", x, 4, Conv2d::k3().stride(2));
        let h = g.batch_norm("bn1", h, BatchNorm::default());
        let h = g.global_avg_pool(h);
        let h = g.linear("fc", h, 2, Linear::default());
        g.cross_entropy(h, 2, 0.0);
        let graph = g.finish().unwrap();
        let cost = Cost::of(&graph, &[Some(20), None, None, None, None]).unwrap();
        assert_eq!((cost.weights, cost.active, cost.biases), (108 + 8, 20 + 8, 4 + 4 + 2));
        assert_eq!((cost.flops, cost.dense_flops), (2 * (20 * 16 + 8), 2 * (108 * 16 + 8)));
        // 20 values and 14 bytes of bits, one value for each channel's norm, 8 weights, 2 biases.
        assert_eq!((cost.bytes, cost.dense_bytes), (4 * (20 + 4 + 8 + 2) + 14, 4 * (108 + 4 + 8 + 2)));
    }

    #[test]
    fn counts_of_another_network_are_refused() {
        assert!(Cost::of(&lenet(), &[None; 5]).is_err());
        let error = Cost::of(&lenet(), &[Some(235_201), None, None, None, None, None]).unwrap_err();
        assert!(error.message().contains("`fc1.weight`"), "{error}");
    }

    #[test]
    fn bits_are_padded_to_bytes() {
        assert_eq!(bytes(9, Some(2)), 10);
        assert_eq!(bytes(8, Some(8)), 33);
        assert_eq!(bytes(9, None), 36);
    }

    #[test]
    fn resnet50_has_the_papers_sizes() {
        // ERK: active weights, weights of the layers that stay sparse (at .8 eight are dense, 135,168 weights; at .9
        // only layer1.0.conv1, 4096), and a bias for each of the classifier's 1000 outputs and of the 26,560 channels.
        let all = 25_502_912usize;
        for (active, dense, megabytes) in
            [(5_100_630, 135_168, 23.683), (2_550_353, 4096, 13.499), (1_275_200, 0, 8.399)]
        {
            let total = bytes(all - dense, Some(active - dense)) + bytes(dense, None) + bytes(27_560, None);
            assert!((total as f64 / 1e6 - megabytes).abs() < 1e-3, "{total}");
        }
    }
}
