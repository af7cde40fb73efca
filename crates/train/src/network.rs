//! A network under its settings: which of its weights may be sparse, and how many of them the sparsity leaves.

use rigl_base::{Error, Result};
use rigl_graph::account::Cost;
use rigl_graph::{Graph, ModelSpec, Op, Parameter, ParameterKind};
use rigl_topology::{Layer, LayerFilter, LayerKind, NarrowTo, Topology, allocate};

use crate::config::LAYERS;
use crate::registry::Registry;
use crate::settings::Settings;

/// A graph, with the active counts that the distribution gives its weights.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) graph: Graph,
    /// Active count of each parameter of the graph, as the distribution says; `None` for dense.
    pub(crate) allocated: Vec<Option<usize>>,
    /// The same at the initial sparsity, where density decays from there; else the same.
    pub(crate) first: Vec<Option<usize>>,
    /// The ε of the Erdős–Rényi distributions, where there is one.
    pub(crate) epsilon: Option<f64>,
    /// Whether the sparsity is spread over any layer: not where each has its own.
    pub(crate) spread: bool,
    /// The size that a narrowed network was to have, and what it has.
    pub(crate) narrowed: Option<Narrowed>,
    /// Floating-point operations of the forward pass of the dense network, per sample; of the one that was not
    /// narrowed, where a method narrows it.
    pub(crate) reference_flops: u64,
}

/// How large a narrowed network was to be, and is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Narrowed {
    /// In what.
    pub(crate) to: NarrowTo,
    pub(crate) wanted: u64,
    pub(crate) found: u64,
}

impl Network {
    /// The network for samples of this shape and so many classes.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) for an unknown name, or values that do not fit the network.
    pub(crate) fn new(
        settings: &Settings,
        registry: &Registry,
        sample_shape: &[usize],
        classes: usize,
    ) -> Result<Network> {
        let graph = build(settings, registry, sample_shape, classes, None)?;
        let reference_flops = Cost::dense(&graph)?.dense_flops;
        // A dense method ignores sparsities, but a mistaken glob is a mistake there too.
        let layers = layers(&graph)?;
        check_layers(settings, &layers)?;
        let allocation = allocate(&layers, &settings.budget)?;
        let spread = allocation.spread;
        if !spread && settings.method.topology != Topology::Dense {
            check_reach(settings)?;
        }
        let by_parameter = |active: Vec<Option<usize>>| {
            let mut counts = vec![None; graph.parameters().len()];
            graph.weights().zip(active).for_each(|((id, _), count)| counts[id.index()] = count);
            counts
        };
        let allocated = by_parameter(allocation.active);
        let first = match &settings.initial_budget {
            None => allocated.clone(),
            Some(budget) => {
                // A layer that ends sparse may begin dense, and none begins with less than it ends with.
                let initial = by_parameter(allocate(&layers, budget)?.active);
                let first = |((p, end), initial): ((&Parameter, &Option<usize>), Option<usize>)| {
                    end.map(|end| initial.map_or(p.len(), |initial| initial.max(end)))
                };
                graph.parameters().iter().zip(&allocated).zip(initial).map(first).collect()
            }
        };
        let dense = |graph: Graph, narrowed| {
            let none = vec![None; graph.parameters().len()];
            let (allocated, first) = (none.clone(), none);
            Ok(Network { graph, allocated, first, epsilon: None, spread, narrowed, reference_flops })
        };
        match settings.method.topology {
            Topology::Dense => dense(graph, None),
            Topology::Narrow(to) => {
                let size = |cost: &Cost| match to {
                    NarrowTo::Bytes => cost.bytes,
                    NarrowTo::Weights => cost.active as u64,
                };
                let wanted = size(&Cost::of(&graph, &allocated)?);
                if settings.network(registry)?.find_option("width").is_none() {
                    let (method, name) = (&settings.method.name, &settings.config().model.name);
                    return Err(Error::usage(format!(
                        "method `{method}` narrows a network by its option `width`, which `{name}` does not have"
                    )));
                }
                let narrowed = |width| build(settings, registry, sample_shape, classes, Some(width));
                let size = |graph: &Graph| Cost::dense(graph).map(|cost| size(&cost));
                let graph = narrow(wanted, to, narrowed, size)
                    .map_err(|error| settings.config().blame("method.sparsity", error))?;
                let found = size(&graph)?;
                dense(graph, Some(Narrowed { to, wanted, found }))
            }
            Topology::Static(_) | Topology::Dynamic(..) => {
                let epsilon = allocation.epsilon;
                Ok(Network { graph, allocated, first, epsilon, spread, narrowed: None, reference_flops })
            }
        }
    }
}

/// Refuses globs that match no layer of the network, and a filter that leaves none to be sparse, where they were set.
fn check_layers(settings: &Settings, layers: &[Layer]) -> Result<()> {
    let (config, budget) = (settings.config(), &settings.budget);
    for (glob, _) in &budget.explicit {
        let of_glob = LayerFilter::Globs(vec![glob.clone()]).select(layers);
        of_glob.map_err(|e| config.blame(&format!("{LAYERS}.{glob}"), e.context(format!("`{LAYERS}`"))))?;
    }
    let refused = |e: Error| config.blame("method.filter", e.context("`method.filter`"));
    let chosen = budget.layers.select(layers).map_err(refused)?;
    budget.check_chosen(&chosen).map_err(|e| refused(e.hint("method.filter = \"all\"")))
}

/// Refuses what was asked for of layers that the sparsity is spread over, where there are none.
fn check_reach(settings: &Settings) -> Result<()> {
    let config = settings.config();
    let idle = ["method.sparsity", "method.distribution", "method.filter"];
    let Some(key) = idle.into_iter().find(|key| config.asks_for(key)) else { return Ok(()) };
    let error = match settings.budget.explicit.is_empty() {
        // All that may be sparse is a first convolution.
        true => Error::usage(format!(
            "`{key}` reaches no layer: under `uniform` the first convolution stays dense"
        ))
        .hint("--distribution erk"),
        false => Error::usage(format!(
            "`{key}` reaches no layer: `[{LAYERS}]` gives each that may be sparse a sparsity of its own"
        ))
        .hint(format!("--set {LAYERS}={{}} (takes them back)")),
    };
    Err(config.blame(key, error))
}

/// The network of these settings, at this width if one is given.
fn build(
    settings: &Settings,
    registry: &Registry,
    sample_shape: &[usize],
    classes: usize,
    width: Option<f64>,
) -> Result<Graph> {
    let model = &settings.config().model;
    let mut spec = ModelSpec::new(sample_shape, classes);
    spec.label_smoothing = model.label_smoothing as f32;
    spec.options = model.options.values().clone();
    if let Some(width) = width {
        spec.options.set("width", width);
    }
    settings.network(registry)?.build(&spec)
}

/// Widths are tried in thousandths.
const WIDTHS: f64 = 1000.0;

/// Wider networks are not tried.
const WIDEST: f64 = 100.0;

/// The network whose size, in these units, lies nearest to the one wanted, among those of all widths; of two as near, the narrower one.
fn narrow(
    wanted: u64,
    to: NarrowTo,
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
            return Err(Error::usage(format!("no width of the network makes it as large as {wanted} {to}")));
        }
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if at(middle)?.1 < wanted { low = middle } else { high = middle }
    }
    let (upper, above) = at(high)?;
    if low == 0 && above > wanted {
        return Err(Error::usage(format!(
            "no width of the network makes it as small as {wanted} {to}: the narrowest has {above}"
        )));
    }
    if low == 0 {
        return Ok(upper);
    }
    let (lower, below) = at(low)?;
    Ok(if above - wanted < wanted - below { upper } else { lower })
}

/// The weights of a graph as a method sees them, in the graph's order.
pub(crate) fn layers(graph: &Graph) -> Result<Vec<Layer>> {
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
    use rigl_topology::Method;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_network_without_widths_is_not_narrowed() {
        let registry = Registry::default().model("fixed", |spec| {
            let mut g = rigl_graph::Builder::new("fixed");
            let x = g.input("image", &spec.sample_shape);
            let h = g.linear("fc", x, spec.classes, rigl_graph::Linear::default());
            g.cross_entropy(h, spec.classes, spec.label_smoothing);
            g.finish()
        });
        let small = Method::ALL.iter().find(|row| row.name == "small-dense").unwrap();
        let mut config = Config::default().with_method(small);
        config.model.name = "fixed".into();
        let settings = Settings::new(config, &registry).unwrap();
        let error = Network::new(&settings, &registry, &[20], 10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "method `small-dense` narrows a network by its option `width`, which `fixed` does not have"
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
