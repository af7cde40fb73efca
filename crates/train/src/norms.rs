//! Whether batch norms have something to average over.

use rigl_base::{Error, Result};
use rigl_graph::{Graph, Op};

use crate::settings::Settings;

/// Refuses parts of a batch that leave a batch norm one value of each channel: less its mean it is 0, whatever the weights
/// before it, and nothing before it learns.
pub(crate) fn check(graph: &Graph, settings: &Settings) -> Result<()> {
    let single = |node: &&rigl_graph::Node| {
        let places: usize = node.shape.iter().skip(1).product();
        matches!(node.op, Op::BatchNorm { .. }) && places * settings.micro_batch() < 2
    };
    let Some(norm) = graph.nodes().iter().find(single) else { return Ok(()) };
    let batch = settings.batch();
    let (key, hint) = match settings.parts() {
        1 => ("data.batch", "--set data.batch=2".into()),
        parts => {
            let fewer = (1..parts).rev().find(|parts| batch.is_multiple_of(*parts) && batch / parts > 1);
            ("data.micro-batches", format!("--set data.micro-batches={}", fewer.unwrap_or(1)))
        }
    };
    let error = Error::usage(format!(
        "`{key}` leaves the batch norm `{}` one value of each channel to average over, at least 2 are needed",
        norm.name
    ));
    Err(settings.config().blame(key, error.hint(hint)))
}

#[cfg(test)]
mod tests {
    use rigl_graph::{BatchNorm, Builder, Linear};

    use super::*;
    use crate::{Config, Registry};

    #[test]
    fn a_norm_with_one_value_of_each_channel_is_refused_with_parts_that_will_do() {
        let mut g = Builder::new("one");
        let x = g.input("image", &[1, 2, 2]);
        let h = g.flatten(x);
        let h = g.linear("fc", h, 3, Linear::default());
        let h = g.batch_norm("bn", h, BatchNorm::default());
        g.outputs(&[h]);
        let vector = g.finish().unwrap();
        let mut g = Builder::new("map");
        let x = g.input("image", &[1, 2, 2]);
        let h = g.batch_norm("bn", x, BatchNorm::default());
        let h = g.flatten(h);
        g.outputs(&[h]);
        let map = g.finish().unwrap();
        let check = |graph: &Graph, batch, parts| {
            let mut config = Config::default();
            (config.data.batch, config.data.micro_batches) = (batch, parts);
            let settings = Settings::new(config, &Registry::default()).unwrap();
            check(graph, &settings).map_err(|e| (e.to_string(), e.hint_text().unwrap().to_string()))
        };
        let message = |key: &str| {
            format!(
                "`{key}` leaves the batch norm `bn` one value of each channel to average over, at least 2 are needed"
            )
        };
        assert_eq!(check(&vector, 12, 6), Ok(()));
        assert_eq!(
            check(&vector, 12, 12),
            Err((message("data.micro-batches"), "--set data.micro-batches=6".into()))
        );
        assert_eq!(check(&vector, 1, 1), Err((message("data.batch"), "--set data.batch=2".into())));
        assert_eq!(check(&map, 1, 1), Ok(()));
    }
}
