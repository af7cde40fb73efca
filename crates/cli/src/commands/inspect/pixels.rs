//! The paper's figure of appendix B: how many connections leave each pixel of the input, as a map in text.

use std::fmt;

use rigl_base::{Error, Result};
use rigl_graph::{Graph, Node, Op};
use serde_json::{Value, json};

use super::layers::Weight;
use crate::output::count;

/// From no connection to the most.
const SHADES: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];

/// The largest height and width that are drawn: beyond, nobody could read it.
const LARGEST: usize = 256;

/// Active weights that lead from each pixel, over all channels.
pub(super) struct Pixels {
    parameter: String,
    height: usize,
    width: usize,
    connections: Vec<u64>,
}

impl Pixels {
    /// Of the first linear layer that reads an image as it is.
    ///
    /// # Errors
    /// If the network has none, or nothing is known of its weight.
    pub(super) fn of(graph: &Graph, weights: &[Weight<'_>]) -> Result<Pixels> {
        let layer = graph.nodes().iter().find_map(|node| Some((node, image_of(graph, node)?)));
        let Some((node, [height, width])) = layer else {
            let shapes: Vec<String> = graph.inputs().map(|i| format!("{:?}", graph.node(i).shape)).collect();
            return Err(Error::usage(format!(
                "`--pixels` needs a linear layer that reads an image, network `{}` has none: its input is {}",
                graph.name(),
                shapes.join(", ")
            )));
        };
        let parameter = graph.parameter(node.parameters[0]);
        let weight = weights.iter().find(|weight| weight.parameter.name == parameter.name);
        let weight = weight.ok_or_else(|| {
            Error::usage(format!("`--pixels` needs `{}`, of which the file holds nothing", parameter.name))
        })?;
        if height.max(width) > LARGEST {
            return Err(Error::usage(format!(
                "`--pixels` draws images of at most {LARGEST}×{LARGEST} pixels, the network reads {height}×{width}"
            )));
        }
        let pixels = height * width;
        let mut connections = vec![0; pixels];
        match &weight.pattern {
            None => connections.fill((parameter.len() / pixels) as u64),
            // One channel follows the other.
            Some(pattern) => pattern.indices().iter().for_each(|&i| connections[i as usize % pixels] += 1),
        }
        Ok(Pixels { parameter: parameter.name.clone(), height, width, connections })
    }

    fn most(&self) -> u64 {
        self.connections.iter().copied().max().unwrap_or(0)
    }

    pub(super) fn json(&self) -> Value {
        let rows: Vec<&[u64]> = self.connections.chunks(self.width).collect();
        json!({ "weight": self.parameter, "height": self.height, "width": self.width, "connections": rows })
    }
}

/// Height and width of the image that a linear layer reads, if it reads one.
fn image_of(graph: &Graph, node: &Node) -> Option<[usize; 2]> {
    if !matches!(node.op, Op::Linear { .. }) {
        return None;
    }
    let mut from = graph.node(*node.inputs.first()?);
    while matches!(from.op, Op::Flatten) {
        from = graph.node(*from.inputs.first()?);
    }
    match (&from.op, &from.shape[..]) {
        (Op::Input { .. }, &[_, height, width]) => Some([height, width]),
        _ => None,
    }
}

/// The shade of a pixel: blank for none, then in equal steps up to the most.
fn shade(connections: u64, most: u64) -> char {
    let shades = SHADES.len() as u64 - 1;
    SHADES[(connections * shades).div_ceil(most.max(1)) as usize]
}

impl fmt::Display for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.most();
        let sum: u64 = self.connections.iter().sum();
        let unused = self.connections.iter().filter(|&&c| c == 0).count();
        writeln!(
            f,
            "connections that leave each pixel in `{}`: mean {:.1}, most {}, none from {} of {} pixels",
            self.parameter,
            sum as f64 / self.connections.len() as f64,
            count(most),
            count(unused as u64),
            count(self.connections.len() as u64),
        )?;
        let rule = "─".repeat(2 * self.width);
        writeln!(f, "┌{rule}┐")?;
        for row in self.connections.chunks(self.width) {
            write!(f, "│")?;
            // Two characters are about as wide as one is high.
            row.iter().map(|&c| shade(c, most)).try_for_each(|shade| write!(f, "{shade}{shade}"))?;
            writeln!(f, "│")?;
        }
        writeln!(f, "└{rule}┘")?;
        write!(f, "blank: none;")?;
        let shades = SHADES.len() as u64 - 1;
        for (i, shade) in (1..).zip(&SHADES[1..]) {
            // With few connections some shades stand for none.
            let (above, upto) = ((i - 1) * most / shades, i * most / shades);
            match upto - above {
                0 => continue,
                1 => write!(f, "  {shade} {upto}")?,
                _ => write!(f, "  {shade} {}–{upto}", above + 1)?,
            }
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use rigl_graph::{ModelSpec, Models};
    use rigl_topology::Pattern;

    use super::*;

    #[test]
    fn shades_rise_from_none_to_the_most_and_the_legend_tells_which_is_which() {
        assert_eq!((shade(0, 0), shade(0, 5), shade(5, 5), shade(1, 1)), (' ', ' ', '@', '@'));
        for most in 1..60 {
            let shades: Vec<char> = (0..=most).map(|c| shade(c, most)).collect();
            let place = |c: &char| SHADES.iter().position(|s| s == c).unwrap();
            assert!(shades.is_sorted_by_key(place) && shades[1] != ' ');
            let pixels = Pixels {
                parameter: "w".into(),
                height: 1,
                width: most as usize + 1,
                connections: (0..=most).collect(),
            };
            let text = pixels.to_string();
            let legend = text.lines().last().unwrap().strip_prefix("blank: none;").unwrap();
            let mut told = vec![' '];
            for entry in legend.split("  ").filter(|entry| !entry.is_empty()) {
                let (shade, range) = entry.split_once(' ').unwrap();
                let (from, to) = range.split_once('–').unwrap_or((range, range));
                let [from, to] = [from, to].map(|n| n.parse::<usize>().unwrap());
                told.extend(std::iter::repeat_n(shade.chars().next().unwrap(), to + 1 - from));
            }
            assert_eq!(told, shades, "{text}");
        }
    }

    #[test]
    fn channels_add_up_in_a_map_of_pixels() {
        let graph = Models::default().build("lenet-300-100", &ModelSpec::new(&[2, 1, 3], 10)).unwrap();
        let parameter = graph.parameters().first().unwrap();
        // Inputs 0, 1 and 2 are the first channel.
        let pattern = Pattern::new(parameter.len(), vec![0, 2, 3, 6]).unwrap();
        let weights = [Weight { parameter, groups: 1, pattern: Some(pattern), values: None, explored: None }];
        let pixels = Pixels::of(&graph, &weights).unwrap();
        assert_eq!(pixels.json()["connections"], json!([[3, 0, 1]]));
        let picture = pixels.to_string();
        assert!(picture.contains("\n│@@  --│\n"), "{picture}");
        assert!(picture.starts_with("connections that leave each pixel in `fc1.weight`: mean 1.3, most 3,"));
    }
}
