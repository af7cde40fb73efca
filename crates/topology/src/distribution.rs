//! How a network's sparsity is spread over its layers (RigL, §3, "Sparsity distribution"; Mocanu et al. 2018 for
//! Erdős–Rényi).

use rigl_base::error::short;
use rigl_base::{Error, Result, counts};

use crate::filter::{LayerFilter, matches};
use crate::layer::Layer;
use crate::names::Distribution;

/// What a network may keep, and how it is spread.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// S: the share of weights that are inactive, over all layers inside the budget; in [0, 1).
    pub sparsity: f64,
    /// How S is spread.
    pub distribution: Distribution,
    /// Which layers may be sparse.
    pub layers: LayerFilter,
    /// Sparsities of single layers, by globs over their names without `.weight`; 0 is dense. The first glob that
    /// matches decides. These layers are outside the budget, and the filter does not matter to them.
    pub explicit: Vec<(String, f64)>,
}

impl Budget {
    /// Sparsity `sparsity`, over the default layers.
    pub fn new(distribution: Distribution, sparsity: f64) -> Budget {
        Budget { sparsity, distribution, layers: LayerFilter::Default, explicit: Vec::new() }
    }

    /// Whether sparsity is asked for and some layer is chosen to have it: `chosen` are the layers of the filter.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if none is.
    pub fn check_chosen(&self, chosen: &[bool]) -> Result<()> {
        if !self.explicit.is_empty() || self.sparsity == 0.0 || chosen.contains(&true) {
            return Ok(());
        }
        Err(Error::usage("no layer of the network is chosen to be sparse").hint("the filter `all`"))
    }
}

/// How many weights each layer keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// Active weights of each layer, never 0; `None` for a dense layer.
    pub active: Vec<Option<usize>>,
    /// The ε that meets the budget: the density of a layer is ε times its Erdős–Rényi term. `None` where the
    /// distribution has none, or every layer inside the budget is dense.
    pub epsilon: Option<f64>,
    /// Whether there are layers that the sparsity is spread over: such as may be sparse, have no sparsity of their own, and
    /// are not the first convolution under `uniform`.
    pub spread: bool,
}

impl Allocation {
    /// The share of all weights of `layers` (those it was made for) that is active.
    pub fn density(&self, layers: &[Layer]) -> f64 {
        let all: usize = layers.iter().map(Layer::weights).sum();
        let active: usize = self.active.iter().zip(layers).map(|(n, l)| n.unwrap_or(l.weights())).sum();
        if all == 0 { 1.0 } else { active as f64 / all as f64 }
    }
}

/// Gives every layer its active count.
///
/// A layer of N weights at sparsity s keeps N − floor(s·N), at least one.
/// - *Uniform*: every layer is at S, but the first one stays dense if it is a convolution.
/// - *ER* and *ERK*: the budget is the sum of those whole numbers at S over the layers inside it. One ε meets
///   it; a layer whose density ε·term would exceed 1 becomes dense, and ε is solved again for the others. Each
///   layer then rounds on its own, so budget ≤ sum of counts < budget + number of layers. Fully connected
///   layers have the same term under both.
///
/// ```
/// use rigl_topology::{Budget, Distribution, Layer, LayerKind, allocate};
/// let layers = [
///     Layer::new("fc1.weight", &[300, 784], LayerKind::Linear, true)?,
///     Layer::new("fc2.weight", &[100, 300], LayerKind::Linear, false)?,
///     Layer::new("fc3.weight", &[10, 100], LayerKind::Linear, false)?,
/// ];
/// let mut budget = Budget::new(Distribution::Uniform, 0.9);
/// budget.explicit = vec![("fc1".into(), 0.99), ("fc3".into(), 0.0)];
/// assert_eq!(allocate(&layers, &budget)?.active, [Some(2352), Some(3000), None]);
/// # Ok::<(), rigl_base::Error>(())
/// ```
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage) for a sparsity outside [0, 1), a glob that cannot be read or matches
/// no layer, and a filter that leaves nothing to be sparse.
pub fn allocate(layers: &[Layer], budget: &Budget) -> Result<Allocation> {
    check_sparsity("sparsity", budget.sparsity)?;
    let explicit = explicit_sparsities(layers, &budget.explicit)?;
    let selected = budget.layers.select(layers)?;
    let inside: Vec<usize> = (0..layers.len())
        .filter(|&at| selected[at] && explicit[at].is_none())
        .filter(|&at| budget.distribution != Distribution::Uniform || !dense_under_uniform(&layers[at]))
        .collect();
    budget.check_chosen(&selected)?;
    let spread = !inside.is_empty();

    let mut active: Vec<usize> = layers.iter().map(Layer::weights).collect();
    for (at, sparsity) in explicit.iter().enumerate() {
        active[at] = counts::active(active[at], sparsity.unwrap_or(0.0));
    }
    let mut epsilon = None;
    match budget.distribution {
        Distribution::Uniform => {
            for at in inside {
                active[at] = counts::active(active[at], budget.sparsity);
            }
        }
        Distribution::Er | Distribution::Erk => {
            let terms: Vec<f64> = inside.iter().map(|&at| term(&layers[at], budget.distribution)).collect();
            let weights: Vec<usize> = inside.iter().map(|&at| active[at]).collect();
            let wanted = weights.iter().map(|&n| counts::active(n, budget.sparsity)).sum();
            epsilon = solve(&terms, &weights, wanted);
            for ((&at, term), n) in inside.iter().zip(&terms).zip(weights) {
                let density = epsilon.map_or(1.0, |epsilon| (epsilon * term).min(1.0));
                active[at] = counts::active(n, 1.0 - density);
            }
        }
    }
    let sparse = |(n, layer): (usize, &Layer)| (n < layer.weights()).then_some(n);
    let active = active.into_iter().zip(layers).map(sparse).collect();
    Ok(Allocation { active, epsilon, spread })
}

/// Refuses a sparsity that is not in [0, 1), naming the key it stands under.
///
/// # Errors
/// [`Kind::Usage`](rigl_base::Kind::Usage), with what was probably meant as hint: `0.9` for `90`.
pub fn check_sparsity(key: &str, sparsity: f64) -> Result<()> {
    if (0.0..1.0).contains(&sparsity) {
        return Ok(());
    }
    let meant = if sparsity > 1.0 && sparsity < 100.0 { sparsity / 100.0 } else { 0.9 };
    let message = format!("`{key}` is `{sparsity}`, allowed is 0 up to, but not including, 1");
    Err(Error::usage(message).hint(meant.to_string()))
}

/// The sparsity of each layer that a glob names.
fn explicit_sparsities(layers: &[Layer], explicit: &[(String, f64)]) -> Result<Vec<Option<f64>>> {
    let mut sparsities = vec![None; layers.len()];
    for (glob, sparsity) in explicit {
        check_sparsity("sparsity", *sparsity).map_err(|e| e.context(format!("layers `{}`", short(glob))))?;
        for at in matches(glob, layers)? {
            sparsities[at].get_or_insert(*sparsity);
        }
    }
    Ok(sparsities)
}

fn dense_under_uniform(layer: &Layer) -> bool {
    layer.first() && layer.is_convolution()
}

/// The Erdős–Rényi term, which a layer's density is proportional to.
fn term(layer: &Layer, distribution: Distribution) -> f64 {
    let with_kernel = distribution == Distribution::Erk && layer.is_convolution();
    let dimensions = if with_kernel { layer.shape() } else { &layer.shape()[..2] };
    let sum: f64 = dimensions.iter().map(|&n| n as f64).sum();
    let product: f64 = dimensions.iter().map(|&n| n as f64).product();
    sum / product
}

/// The ε at which layers of these terms and sizes keep `wanted` weights in all, none of them above density 1.
/// `None` if all are dense.
fn solve(terms: &[f64], weights: &[usize], wanted: usize) -> Option<f64> {
    let mut free: Vec<usize> = (0..terms.len()).collect();
    let mut left = wanted as f64;
    // Making a layer dense leaves more for the others, so ε only rises and a dense layer stays dense.
    loop {
        let weighted: f64 = free.iter().map(|&at| terms[at] * weights[at] as f64).sum();
        let epsilon = (!free.is_empty()).then_some(left / weighted)?;
        let before = free.len();
        free.retain(|&at| {
            let fits = epsilon * terms[at] <= 1.0;
            left -= if fits { 0.0 } else { weights[at] as f64 };
            fits
        });
        if free.len() == before {
            return Some(epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layer::LayerKind;
    use crate::shapes::{Network, mobilenet_v1, resnet50, wrn22_2};

    fn allocation(network: &Network, distribution: Distribution, sparsity: f64) -> Allocation {
        allocate(&network.layers, &Budget::new(distribution, sparsity)).unwrap()
    }

    fn dense_layers(network: &Network, allocation: &Allocation) -> Vec<String> {
        let layers = network.layers.iter().zip(&allocation.active);
        layers.filter(|(_, n)| n.is_none()).map(|(layer, _)| layer.short_name().to_string()).collect()
    }

    /// Forward FLOPs as a share of the dense network's.
    fn flops_share(network: &Network, distribution: Distribution, sparsity: f64) -> f64 {
        network.flops(&allocation(network, distribution, sparsity).active) / network.dense_flops()
    }

    /// Whether `found` is `expected` to as many decimals as `expected` is quoted with.
    fn assert_rounds_to(found: f64, expected: f64, decimals: usize, what: &str) {
        assert_eq!(format!("{found:.decimals$}"), format!("{expected:.decimals$}"), "{what}: {found}");
    }

    #[test]
    fn resnet50_under_erk_at_80_percent_has_the_eight_dense_layers_and_densities_of_the_paper() {
        let net = resnet50();
        assert_eq!(net.layers.iter().map(Layer::weights).sum::<usize>(), 25_502_912);
        let allocation = allocation(&net, Distribution::Erk, 0.8);
        let mut dense = dense_layers(&net, &allocation);
        dense.sort();
        assert_eq!(
            dense,
            [
                "layer1.0.conv1",
                "layer1.0.conv3",
                "layer1.0.downsample.0",
                "layer1.1.conv1",
                "layer1.1.conv3",
                "layer1.2.conv1",
                "layer1.2.conv3",
                "layer2.0.conv1"
            ]
        );
        assert_rounds_to(allocation.epsilon.unwrap(), 99.562, 3, "epsilon");
        for (name, density) in
            [("conv1", 0.8572), ("layer1.0.conv2", 0.3619), ("layer4.0.conv2", 0.0435), ("fc", 0.1482)]
        {
            let at = net.layers.iter().position(|layer| layer.short_name() == name).unwrap();
            let found = allocation.active[at].unwrap() as f64 / net.layers[at].weights() as f64;
            assert_rounds_to(found, density, 4, name);
        }
    }

    #[test]
    fn resnet50_under_erk_at_90_percent_has_one_dense_layer() {
        let net = resnet50();
        let allocation = allocation(&net, Distribution::Erk, 0.9);
        assert_eq!(dense_layers(&net, &allocation), ["layer1.0.conv1"]);
        assert_rounds_to(allocation.epsilon.unwrap(), 48.787, 3, "epsilon");
    }

    #[test]
    fn wrn22_2_under_erk_at_90_percent_has_four_dense_layers() {
        let net = wrn22_2();
        assert_eq!(net.layers.iter().map(Layer::weights).sum::<usize>(), 1_076_912);
        let allocation = allocation(&net, Distribution::Erk, 0.9);
        assert_eq!(dense_layers(&net, &allocation), ["conv1", "layer1.0.skip", "layer2.0.skip", "fc"]);
    }

    #[test]
    fn resnet50_costs_the_flops_of_the_paper() {
        let net = resnet50();
        assert_rounds_to(net.dense_flops() / 1e9, 8.178, 3, "dense GFLOPs");
        for (distribution, shares) in [
            (Distribution::Uniform, [0.2231, 0.1260, 0.0774]),
            (Distribution::Er, [0.4530, 0.2571, 0.1426]),
            (Distribution::Erk, [0.4138, 0.2418, 0.1217]),
        ] {
            for (sparsity, share) in [0.8, 0.9, 0.95].into_iter().zip(shares) {
                let what = format!("{distribution} at {sparsity}");
                assert_rounds_to(flops_share(&net, distribution, sparsity), share, 4, &what);
            }
        }
        // RigL: ΔT steps of 3 f_S and one update of 2 f_S + f_D.
        for (sparsity, multiple) in [(0.8, 0.4157), (0.9, 0.2443)] {
            let sparse = flops_share(&net, Distribution::Erk, sparsity);
            let training = (3.0 * sparse * 100.0 + 2.0 * sparse + 1.0) / 101.0 / 3.0;
            assert_rounds_to(training, multiple, 4, "training");
        }
    }

    #[test]
    fn wrn22_2_costs_the_flops_of_the_paper() {
        let net = wrn22_2();
        assert_rounds_to(net.dense_flops() / 2e6, 157.73, 2, "dense MMACs");
        for (sparsity, share) in [(0.5, 0.728), (0.8, 0.352), (0.9, 0.174), (0.95, 0.088)] {
            assert_rounds_to(flops_share(&net, Distribution::Erk, sparsity), share, 3, &sparsity.to_string());
        }
    }

    #[test]
    fn mobilenet_v1_keeps_its_first_and_depthwise_layers_dense_and_costs_the_flops_of_the_paper() {
        let net = mobilenet_v1();
        assert_rounds_to(net.dense_flops() / 1e6, 1137.5, 1, "dense MFLOPs");
        for (distribution, sparsity, mflops) in [
            (Distribution::Erk, 0.75, 595.3),
            (Distribution::Erk, 0.9, 330.5),
            (Distribution::Uniform, 0.75, 326.7),
            (Distribution::Uniform, 0.9, 164.6),
        ] {
            let allocation = allocation(&net, distribution, sparsity);
            let dense = dense_layers(&net, &allocation);
            assert!(
                dense.contains(&"conv1".into()) && dense.contains(&"blocks.12.depthwise".into()),
                "{dense:?}"
            );
            let what = format!("{distribution} at {sparsity}");
            assert_rounds_to(net.flops(&allocation.active) / 1e6, mflops, 1, &what);
        }
    }

    #[test]
    fn a_first_layer_is_dense_under_uniform_only_if_it_is_a_convolution() {
        let net = wrn22_2();
        assert_eq!(dense_layers(&net, &allocation(&net, Distribution::Uniform, 0.9)), ["conv1"]);
        let mlp = [
            Layer::new("fc1.weight", &[300, 784], LayerKind::Linear, true).unwrap(),
            Layer::new("fc2.weight", &[10, 300], LayerKind::Linear, false).unwrap(),
        ];
        let allocation = allocate(&mlp, &Budget::new(Distribution::Uniform, 0.9)).unwrap();
        assert_eq!((allocation.active, allocation.epsilon), (vec![Some(23_520), Some(300)], None));
    }

    #[test]
    fn layers_named_explicitly_are_outside_the_budget_and_the_first_glob_decides() {
        let net = wrn22_2();
        let mut budget = Budget::new(Distribution::Erk, 0.9);
        budget.explicit = vec![("layer3.0.*".into(), 0.5), ("layer3.*".into(), 0.0), ("fc".into(), 0.25)];
        let explicit = allocate(&net.layers, &budget).unwrap();
        let (mut inside, mut rest) = (Vec::new(), Vec::new());
        for (layer, active) in net.layers.iter().zip(&explicit.active) {
            let n = layer.weights();
            match layer.short_name() {
                name if name.starts_with("layer3.0.") => assert_eq!(*active, Some(n / 2)),
                name if name.starts_with("layer3.") => assert_eq!(*active, None),
                "fc" => assert_eq!(*active, Some(960)),
                _ => {
                    inside.push(layer.clone());
                    rest.push(*active);
                }
            }
        }
        assert_eq!(allocate(&inside, &Budget::new(Distribution::Erk, 0.9)).unwrap().active, rest);
    }

    #[test]
    fn sparsity_0_makes_everything_dense() {
        let net = wrn22_2();
        for distribution in Distribution::ALL {
            let allocation = allocation(&net, *distribution, 0.0);
            assert!(allocation.active.iter().all(Option::is_none));
            assert_eq!(allocation.density(&net.layers), 1.0);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_hint() {
        let net = wrn22_2();
        for (sparsity, hint) in
            [(90.0, "0.9"), (1.0, "0.9"), (-0.1, "0.9"), (f64::NAN, "0.9"), (95.0, "0.95")]
        {
            let error = allocate(&net.layers, &Budget::new(Distribution::Erk, sparsity)).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`sparsity` is `{sparsity}`")), "{error}");
            assert_eq!(error.hint_text(), Some(hint));
        }
        let mut budget = Budget::new(Distribution::Erk, 0.9);
        budget.explicit = vec![("layer9.*".into(), 0.5)];
        assert!(
            allocate(&net.layers, &budget).unwrap_err().to_string().contains("no layer matches `layer9.*`")
        );
        budget.explicit = vec![("fc".into(), 50.0)];
        assert!(
            allocate(&net.layers, &budget)
                .unwrap_err()
                .to_string()
                .starts_with("layers `fc`: `sparsity` is `50`")
        );
        let embedding = Layer::new("embedding.weight", &[256, 128], LayerKind::Embedding, true).unwrap();
        assert!(allocate(&[embedding], &Budget::new(Distribution::Erk, 0.9)).is_err());
    }

    proptest! {
        #[test]
        fn each_layer_rounds_up_on_its_own(
            shapes in proptest::collection::vec((1usize..40, 1usize..40, 1usize..4), 1..12),
            sparsity in 0.0..0.999f64,
            erk: bool,
        ) {
            let layers: Vec<Layer> = shapes
                .iter()
                .enumerate()
                .map(|(i, &(o, c, k))| Layer::new(i.to_string(), &[o, c, k, k], LayerKind::Conv, i == 0).unwrap())
                .collect();
            let distribution = if erk { Distribution::Erk } else { Distribution::Er };
            let active = allocate(&layers, &Budget::new(distribution, sparsity)).unwrap().active;
            let budget: usize = layers.iter().map(|l| counts::active(l.weights(), sparsity)).sum();
            let kept: usize = active.iter().zip(&layers).map(|(n, l)| n.unwrap_or(l.weights())).sum();
            prop_assert!(active.iter().all(|n| *n != Some(0)));
            prop_assert!(budget <= kept && kept < budget + layers.len(), "{budget} {kept}");
        }
    }
}
