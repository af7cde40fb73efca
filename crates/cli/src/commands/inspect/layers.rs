//! The weights of a network, layer by layer: what is active, what was explored, what is cut off, and the values.

use rigl_base::{Error, Result};
use rigl_graph::state::{self, Role, Tensor, Values};
use rigl_graph::{Graph, Op, Parameter};
use rigl_topology::{Explored, Pattern};
use serde_json::{Value, json};

use crate::output::{Align, Table, count, percent};

/// What a file holds of one weight.
pub(super) struct Weight<'a> {
    pub(super) parameter: &'a Parameter,
    /// Of a grouped convolution: outputs of one group see inputs of that group alone.
    pub(super) groups: usize,
    /// `None`: it is dense, all of it is active.
    pub(super) pattern: Option<Pattern>,
    /// The values of the active positions, unless the file holds patterns alone.
    pub(super) values: Option<&'a [f32]>,
    pub(super) explored: Option<Explored>,
}

/// What `state` holds of the weights of `graph`: values, or patterns alone.
pub(super) fn weights<'a>(graph: &'a Graph, state: &'a [Tensor<'_>]) -> Result<Vec<Weight<'a>>> {
    let mut weights = Vec::new();
    for (_, parameter) in graph.weights() {
        let bad = |e: Error| {
            Error::data(format!("what it holds of `{}` does not fit", parameter.name)).caused_by(e)
        };
        let name = format!("{PATTERN}{}", parameter.name);
        let (indices, values) = if let Some(t) = state::find(state, &Role::Parameter, &parameter.name) {
            (t.indices.as_deref(), t.values.as_f32())
        } else if let Some(Values::U32(indices)) = state::find(state, &Role::Method, &name).map(|t| &t.values)
        {
            (Some(&**indices), None)
        } else {
            continue;
        };
        let pattern = indices.map(|indices| Pattern::new(parameter.len(), indices.to_vec()));
        let groups = match graph.node(parameter.node).op {
            Op::Conv2d { groups, .. } => groups,
            _ => 1,
        };
        weights.push(Weight {
            parameter,
            groups,
            pattern: pattern.transpose().map_err(bad)?,
            values,
            explored: rigl_train::explored(state, parameter).map_err(bad)?,
        });
    }
    Ok(weights)
}

/// How the names of tensors begin that are patterns.
pub(super) const PATTERN: &str = "pattern/";

/// One weight in numbers.
pub(super) struct Layer {
    name: String,
    shape: Vec<usize>,
    weights: usize,
    active: usize,
    sparse: bool,
    /// How many weights were ever active, where the file tells.
    explored: Option<usize>,
    outputs: usize,
    /// Outputs that no active weight leads to.
    dead_outputs: usize,
    inputs: usize,
    /// Inputs that no active weight leads from.
    unused_inputs: usize,
    values: Option<Statistics>,
}

/// Of active weights.
struct Statistics {
    min: f32,
    max: f32,
    mean_magnitude: f64,
    /// Their standard deviation.
    deviation: f64,
    /// How many are exactly 0.
    zeros: usize,
}

impl Layer {
    /// A sum of active and all weights, with its own.
    pub(super) fn add_to(&self, (active, weights): (usize, usize)) -> (usize, usize) {
        (active + self.active, weights + self.weights)
    }

    pub(super) fn of(weight: &Weight<'_>) -> Layer {
        let Weight { parameter, groups, pattern, values, explored } = weight;
        let weights = parameter.len();
        let active = pattern.as_ref().map_or(weights, Pattern::count);
        let [outputs, inputs] = sides(&parameter.shape, *groups);
        let [dead_outputs, unused_inputs] = cut_off(&parameter.shape, *groups, pattern.as_ref());
        Layer {
            name: parameter.name.clone(),
            shape: parameter.shape.clone(),
            weights,
            active,
            sparse: pattern.is_some(),
            explored: match (explored, pattern) {
                (Some(explored), _) => Some(explored.count()),
                (None, None) => Some(weights),
                (None, Some(_)) => None,
            },
            outputs,
            dead_outputs,
            inputs,
            unused_inputs,
            values: values.filter(|values| !values.is_empty()).map(Statistics::of),
        }
    }

    fn density(&self) -> f64 {
        self.active as f64 / self.weights as f64
    }

    fn explored(&self) -> f64 {
        self.explored.map_or(f64::NAN, |explored| explored as f64 / self.weights as f64)
    }

    pub(super) fn json(&self) -> Value {
        let values = self.values.as_ref().map(|v| {
            json!({
                "min": v.min, "max": v.max, "mean_magnitude": v.mean_magnitude, "deviation": v.deviation,
                "zeros": v.zeros,
                "zero_share": v.zeros as f64 / self.active as f64,
            })
        });
        json!({
            "name": self.name, "shape": self.shape, "weights": self.weights, "active": self.active,
            "sparse": self.sparse, "density": self.density(), "explored": self.explored.map(|_| self.explored()),
            "outputs": self.outputs, "dead_outputs": self.dead_outputs,
            "inputs": self.inputs, "unused_inputs": self.unused_inputs, "values": values,
        })
    }
}

impl Statistics {
    fn of(values: &[f32]) -> Statistics {
        let mean = |of: &dyn Fn(f64) -> f64| {
            values.iter().map(|&w| of(f64::from(w))).sum::<f64>() / values.len() as f64
        };
        let center = mean(&|w| w);
        Statistics {
            min: values.iter().copied().fold(f32::INFINITY, f32::min),
            max: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            mean_magnitude: mean(&f64::abs),
            deviation: mean(&|w| (w - center).powi(2)).sqrt(),
            zeros: values.iter().filter(|&&w| w == 0.0).count(),
        }
    }
}

/// Outputs and inputs of a weight of shape `[outputs, inputs / groups, …]`.
fn sides(shape: &[usize], groups: usize) -> [usize; 2] {
    let [outputs, inputs] = [0, 1].map(|axis| shape.get(axis).copied().unwrap_or(1));
    [outputs, inputs * groups]
}

/// How many outputs, and how many inputs, no active weight belongs to. Takes memory for what is active alone: a shape
/// in a file is a claim.
fn cut_off(shape: &[usize], groups: usize, pattern: Option<&Pattern>) -> [usize; 2] {
    let Some(pattern) = pattern else { return [0, 0] };
    let [outputs, inputs] = sides(shape, groups);
    let (outputs_each, inputs_each) = (outputs / groups, inputs / groups);
    let each: usize = shape.iter().skip(2).product();
    let pairs = || pattern.indices().iter().map(|&index| index as usize / each);
    let mut of_output: Vec<usize> = pairs().map(|pair| pair / inputs_each).collect();
    of_output.dedup();
    let input = |pair: usize| pair / inputs_each / outputs_each * inputs_each + pair % inputs_each;
    let mut of_input: Vec<usize> = pairs().map(input).collect();
    of_input.sort_unstable();
    of_input.dedup();
    [outputs - of_output.len(), inputs - of_input.len()]
}

/// The layers with their totals. Explored is of sparse layers, as everywhere.
/// What is no weight follows in numbers.
pub(super) fn table(layers: &[Layer], others: &[(&str, usize)]) -> Table {
    let mut columns = vec![
        ("layer", Align::Left),
        ("shape", Align::Left),
        ("active", Align::Right),
        ("density", Align::Right),
        ("explored", Align::Right),
        ("dead out", Align::Right),
        ("unused in", Align::Right),
    ];
    if layers.iter().any(|layer| layer.values.is_some()) {
        columns.extend(["mean |w|", "min", "max", "zeros"].map(|name| (name, Align::Right)));
    }
    let mut table = Table::new(&columns);
    for layer in layers {
        let mut row = vec![
            layer.name.strip_suffix(".weight").unwrap_or(&layer.name).to_string(),
            shape_text(&layer.shape),
            count(layer.active as u64),
            percent(layer.density()),
            percent(layer.explored()),
            count(layer.dead_outputs as u64),
            count(layer.unused_inputs as u64),
        ];
        if let Some(v) = &layer.values {
            row.extend([v.mean_magnitude, f64::from(v.min), f64::from(v.max)].map(number));
            row.push(percent(v.zeros as f64 / layer.active as f64));
        }
        table.row(row);
    }
    if layers.len() > 1 || !others.is_empty() {
        table.rule();
    }
    if layers.len() > 1 {
        let sum = |of: &dyn Fn(&Layer) -> usize| layers.iter().map(of).sum::<usize>();
        let (active, weights) = (sum(&|l| l.active), sum(&|l| l.weights));
        table.row(vec![
            "all weights".into(),
            String::new(),
            count(active as u64),
            percent(active as f64 / weights as f64),
            percent(explored(layers)),
        ]);
    }
    for (name, numbers) in others {
        table.row(vec![(*name).to_string(), String::new(), count(*numbers as u64)]);
    }
    table
}

/// R_s over all sparse layers; 1 if all are dense, NaN if it is not known.
fn explored(layers: &[Layer]) -> f64 {
    let sparse = || layers.iter().filter(|layer| layer.sparse);
    let weights: usize = sparse().map(|layer| layer.weights).sum();
    match sparse().map(|layer| layer.explored).sum::<Option<usize>>() {
        Some(_) if weights == 0 => 1.0,
        Some(explored) => explored as f64 / weights as f64,
        None => f64::NAN,
    }
}

/// A shape as `300×784`.
pub(super) fn shape_text(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

/// Four digits, whatever the size.
fn number(x: f64) -> String {
    if x == 0.0 || (0.001..1000.0).contains(&x.abs()) { format!("{x:.4}") } else { format!("{x:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_and_inputs_without_an_active_weight_are_counted() {
        let cut_off = |shape: &[usize], groups: usize, indices: &[u32]| {
            let pattern = Pattern::new(shape.iter().product(), indices.to_vec()).unwrap();
            cut_off(shape, groups, Some(&pattern))
        };
        assert_eq!(cut_off(&[4, 3], 1, &[0, 2, 11]), [2, 1]);
        assert_eq!(cut_off(&[3, 4], 1, &[0, 4, 8]), [0, 3]);
        assert_eq!(cut_off(&[4, 3], 1, &[]), [4, 3]);
        // Of a convolution, whose kernel comes last.
        assert_eq!(cut_off(&[2, 3, 1, 2], 1, &[0, 1, 6, 11]), [0, 1]);
        // In groups: outputs 0 and 1 read inputs 0 to 2, outputs 2 and 3 read inputs 3 to 5.
        assert_eq!(cut_off(&[4, 3, 1, 1], 2, &[0, 1, 3, 6, 11]), [0, 2]);
        // Depthwise: each output has an input of its own.
        assert_eq!(cut_off(&[4, 1, 1, 2], 4, &[0, 1, 7]), [2, 2]);
        assert_eq!(super::cut_off(&[4, 3], 1, None), [0, 0]);
    }

    #[test]
    fn statistics_are_of_active_weights() {
        let v = Statistics::of(&[0.5, -1.0, 0.0, 0.0]);
        assert_eq!((v.min, v.max, v.mean_magnitude, v.zeros), (-1.0, 0.5, 0.375, 2));
        assert_eq!(v.deviation, (0.3125f64 - 0.125 * 0.125).sqrt());
        assert_eq!([0.0, 0.5, -0.00012, 1e6].map(number), ["0.0000", "0.5000", "-1.20e-4", "1.00e6"]);
    }
}
