//! `rigl flops`: the cost of a network under a configuration.

use std::process::ExitCode;

use rigl_base::Result;
use rigl_graph::account::TrainingCost;
use rigl_train::{Design, Prepared, Registry};
use serde_json::json;

use super::{configuration, network};
use crate::args::Flops;
use crate::output::{Align, Printer, Table, percent};

pub(crate) fn run(args: &Flops, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let config = configuration(&args.recipe, &args.keys.overrides()?, registry)?;
    // The files of a data set are needed only where nobody has said what is in them.
    let design = match registry.datasets.description(&config.data.name) {
        Some((spec, _)) => Design::new(&config, registry, &spec.shape, spec.classes.len())?,
        None => Prepared::new(config.clone(), registry, &args.machine.options()?)?.design,
    };
    let cost = &design.cost;
    let interval = config.method.update_interval as usize;
    let (dense, sparse) = (cost.dense_flops as f64, cost.flops as f64);
    let methods =
        [("dense", TrainingCost::Dense), ("static, set", TrainingCost::Sparse), ("rigl", TrainingCost::Rigl)];
    if printer.json() {
        let training: serde_json::Map<_, _> = methods
            .iter()
            .map(|(name, formula)| {
                let value = json!({
                    "flops_per_sample": formula.per_sample(dense, sparse, interval),
                    "of_dense": formula.multiple(dense, sparse, interval),
                });
                ((*name).to_string(), value)
            })
            .collect();
        printer.json_result(&json!({
            "network": network::value(cost),
            "update_interval": interval,
            "training": training,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        Table::new(&[("training", Align::Left), ("per sample", Align::Right), ("of dense", Align::Right)]);
    for (name, formula) in methods {
        table.row(vec![
            name.into(),
            network::flops(formula.per_sample(dense, sparse, interval)),
            percent(formula.multiple(dense, sparse, interval)),
        ]);
    }
    printer.result(&format!("{}\n{table}", network::table(&design)))?;
    printer.note(&format!(
        "FLOPs: 2 for each multiply-accumulate of a forward pass of one sample, backward twice as many; \
         topology updates every {interval} steps"
    ));
    Ok(ExitCode::SUCCESS)
}
