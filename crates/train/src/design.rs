//! A network under a configuration: which of its weights may be sparse, how many stay, what it costs.

use rigl_base::{Error, Result};
use rigl_graph::account::Cost;
use rigl_graph::models::OptionValue;
use rigl_graph::{Graph, ModelSpec, Op, ParameterKind};
use rigl_topology::{Layer, LayerKind, Method, NarrowTo, Pattern, Topology, allocate};

use crate::config::Config;
use crate::registry::Registry;

/// A network under a configuration: which of its weights may be sparse, and how many stay.
#[derive(Clone, Debug)]
pub struct Design {
    /// The network.
    pub graph: Graph,
    /// The method, with the configuration's columns.
    pub method: Method,
    /// Active count of each parameter of the graph; `None` for dense.
    pub active: Vec<Option<usize>>,
    /// The ε of the Erdős–Rényi distributions, where there is one.
    pub epsilon: Option<f64>,
    /// What it costs.
    pub cost: Cost,
    /// Floating-point operations of the forward pass of the dense network, per sample; of the one that was not
    /// narrowed, where a method narrows it.
    pub reference_flops: u64,
}

impl Design {
    /// The network of `config` for samples of this shape and so many classes.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for an unknown name, or values that do not fit the network.
    pub fn new(
        config: &Config,
        registry: &Registry,
        sample_shape: &[usize],
        classes: usize,
    ) -> Result<Design> {
        let graph = build(config, registry, sample_shape, classes, config.model.width)?;
        let design = Design::of_graph(config, registry, graph)?;
        let Topology::Narrow(to) = design.method.topology else { return Ok(design) };
        let mut active = vec![None; design.active.len()];
        let counts = allocate(&layers(&design.graph)?, &config.budget())?.active;
        design.graph.weights().zip(counts).for_each(|((id, _), count)| active[id.index()] = count);
        let size = |cost: &Cost| match to {
            NarrowTo::Bytes => cost.bytes,
            NarrowTo::Weights => cost.active as u64,
        };
        let wanted = size(&Cost::of(&design.graph, &active)?);
        let narrowed = |width| build(config, registry, sample_shape, classes, Some(width));
        let graph = narrow(wanted, narrowed, |graph| Cost::dense(graph).map(|cost| size(&cost)))?;
        let narrow = Design::of_graph(config, registry, graph)?;
        Ok(Design { reference_flops: design.reference_flops, ..narrow })
    }

    /// The same for a network that is there already.
    ///
    /// # Errors
    /// As [`Design::new`].
    pub fn of_graph(config: &Config, registry: &Registry, graph: Graph) -> Result<Design> {
        let method = config.method_row(&registry.methods)?;
        let layers = layers(&graph)?;
        let mut active = vec![None; graph.parameters().len()];
        // A dense method ignores sparsities, but a mistaken glob is a mistake there too.
        let allocation = allocate(&layers, &config.budget())?;
        let dense = method.is_dense();
        let epsilon = allocation.epsilon.filter(|_| !dense);
        if !dense {
            for ((id, _), count) in graph.weights().zip(allocation.active) {
                active[id.index()] = count;
            }
        }
        let cost = Cost::of(&graph, &active)?;
        let reference_flops = cost.dense_flops;
        Ok(Design { graph, method, active, epsilon, cost, reference_flops })
    }

    /// The pattern each parameter starts from.
    ///
    /// # Errors
    /// None that [`Design::new`] has not refused.
    pub fn patterns(&self, seed: u64) -> Result<Vec<Option<Pattern>>> {
        let mut patterns = vec![None; self.active.len()];
        for ((id, _), layer) in self.graph.weights().zip(layers(&self.graph)?) {
            patterns[id.index()] = self.method.initial(&layer, self.active[id.index()], seed)?;
        }
        Ok(patterns)
    }
}

/// The network of a configuration, at this width.
fn build(
    config: &Config,
    registry: &Registry,
    sample_shape: &[usize],
    classes: usize,
    width: Option<f64>,
) -> Result<Graph> {
    let model = &config.model;
    let mut spec = ModelSpec::new(sample_shape, classes);
    spec.label_smoothing = model.label_smoothing as f32;
    let hidden = (!model.hidden.is_empty()).then(|| model.hidden.clone().into());
    let options: [(&str, Option<OptionValue>); 5] = [
        ("hidden", hidden),
        ("depth", model.depth.map(Into::into)),
        ("width", width.map(Into::into)),
        ("dropout", model.dropout.map(Into::into)),
        ("bn-momentum", model.bn_momentum.map(Into::into)),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            spec.options.set(name, value);
        }
    }
    registry.models.build(&model.name, &spec)
}

/// Widths are tried in thousandths.
const WIDTHS: f64 = 1000.0;

/// Wider networks are not tried.
const WIDEST: f64 = 100.0;

/// The network whose size lies nearest to the one wanted, among those of all widths; of two as near, the narrower one.
fn narrow(
    wanted: u64,
    build: impl Fn(f64) -> Result<Graph>,
    size: impl Fn(&Graph) -> Result<u64>,
) -> Result<Graph> {
    let at = |width: u32| -> Result<(Graph, u64)> {
        let graph = build(f64::from(width) / WIDTHS)?;
        let size = size(&graph)?;
        Ok((graph, size))
    };
    // Smaller than wanted at `low`, at least as large at `high`.
    let (mut low, mut high) = (0, 1);
    while at(high)?.1 < wanted {
        if f64::from(high) > WIDEST * WIDTHS {
            return Err(Error::usage(format!("no width of the network makes it as large as {wanted}")));
        }
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if at(middle)?.1 < wanted { low = middle } else { high = middle }
    }
    let (upper, above) = at(high)?;
    if low == 0 {
        return Ok(upper);
    }
    let (lower, below) = at(low)?;
    Ok(if above - wanted < wanted - below { upper } else { lower })
}

/// The weights of a graph as a method sees them, in the graph's order.
fn layers(graph: &Graph) -> Result<Vec<Layer>> {
    let mut first = true;
    graph
        .weights()
        .map(|(_, p)| {
            let kind = match p.kind {
                ParameterKind::LinearWeight => LayerKind::Linear,
                ParameterKind::ConvWeight => match graph.node(p.node).op {
                    Op::Conv2d { groups, .. } if groups > 1 && p.shape[1] == 1 => LayerKind::Depthwise,
                    _ => LayerKind::Conv,
                },
                other => return Err(Error::internal(format!("no kind of layer for `{other}`"))),
            };
            Layer::new(&p.name, &p.shape, kind, std::mem::replace(&mut first, false))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rigl_topology::Distribution;

    use super::*;

    fn wide(change: impl FnOnce(&mut Config)) -> Result<Design> {
        let mut config = Config::default();
        config.model.name = "wrn-22-2".into();
        config.method.distribution = Distribution::Erk;
        change(&mut config);
        Design::new(&config, &Registry::default(), &[3, 32, 32], 10)
    }

    #[test]
    fn erk_of_wrn_22_2_leaves_the_papers_share_of_operations() {
        for (sparsity, share) in [(0.5, 0.728), (0.8, 0.352), (0.9, 0.174), (0.95, 0.088)] {
            let cost = wide(|config| config.method.sparsity = sparsity).unwrap().cost;
            let found = cost.flops as f64 / cost.dense_flops as f64;
            assert!((found - share).abs() < 5e-4, "{sparsity}: {found}");
        }
    }

    #[test]
    fn at_sparsity_90_erk_leaves_four_layers_of_wrn_22_2_dense() {
        let design = wide(|config| config.method.sparsity = 0.9).unwrap();
        let rows = design.cost.parameters.iter().filter(|row| row.kind.is_weight());
        let dense: Vec<_> =
            rows.filter(|row| row.active == row.weights).map(|row| row.name.as_str()).collect();
        assert_eq!(
            dense,
            [
                "conv1.weight",
                "block1.layer.0.convShortcut.weight",
                "block2.layer.0.convShortcut.weight",
                "fc.weight"
            ]
        );
    }

    #[test]
    fn uniform_leaves_the_first_convolution_dense() {
        let design = wide(|config| config.method.distribution = Distribution::Uniform).unwrap();
        let rows: Vec<_> = design.cost.parameters.iter().filter(|row| row.kind.is_weight()).collect();
        assert!(!rows[0].sparse);
        assert!(rows[1..].iter().all(|row| row.sparse && (row.sparsity - 0.9).abs() < 1e-2));
    }

    #[test]
    fn norms_and_biases_are_never_sparse() {
        let design = wide(|_| ()).unwrap();
        for (parameter, active) in design.graph.parameters().iter().zip(&design.active) {
            assert!(parameter.is_weight() || active.is_none(), "{}", parameter.name);
        }
    }

    #[test]
    fn options_reach_the_network_or_are_refused() {
        let design = wide(|config| {
            config.model.name = "wide-resnet".into();
            config.model.depth = Some(10);
            config.model.width = Some(1.5);
            config.model.dropout = Some(0.3);
            config.model.bn_momentum = Some(0.01);
        })
        .unwrap();
        let ops = || design.graph.nodes().iter().map(|node| &node.op);
        assert!(ops().any(|op| *op == Op::Dropout { probability: 0.3 }));
        assert!(ops().any(|op| matches!(op, Op::BatchNorm { momentum: 0.01, .. })));
        assert_eq!(design.graph.parameter(design.graph.find_parameter("fc.weight").unwrap()).shape, [10, 96]);

        let error = wide(|config| config.model.depth = Some(16)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`wrn-22-2` has no option `depth`, allowed are `width`, `dropout`, `bn-momentum`"
        );
    }

    #[test]
    fn only_convolutions_of_single_channels_in_groups_are_depthwise() {
        let mut g = rigl_graph::Builder::new("net");
        let conv = rigl_graph::Conv2d::k3();
        let x = g.input("image", &[1, 8, 8]);
        let h = g.conv2d("first", x, 4, conv);
        let h = g.conv2d("grouped", h, 4, conv.groups(2));
        let h = g.conv2d("depthwise", h, 8, conv.groups(4));
        let h = g.global_avg_pool(h);
        g.cross_entropy(h, 8, 0.0);
        let kinds: Vec<_> = layers(&g.finish().unwrap()).unwrap().iter().map(Layer::kind).collect();
        assert_eq!(kinds, [LayerKind::Conv, LayerKind::Conv, LayerKind::Depthwise]);
    }
}
