//! `rigl flops`: the cost of a network under a configuration.

use std::process::ExitCode;

use rigl_base::Result;
use rigl_train::{Design, Prepared, Registry};
use serde_json::json;

use super::named::{Named, Samples};
use super::network;
use crate::args::{Flops, Shape};
use crate::output::{Align, Printer, Table, count, percent};

pub(crate) fn run(args: &Flops, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let named = Named::new(&args.recipe, &args.keys, &args.samples, registry)?;
    // The files of a data set are needed only where nobody has said what is in them.
    let samples = named.samples(|config| {
        let prepared = Prepared::new(config.clone(), registry, &args.machine.options()?)?;
        let spec = prepared.sets.train.spec();
        Ok(Samples { shape: spec.shape.clone(), classes: spec.classes.len() })
    })?;
    let design = named.design(&samples, registry)?;
    let interval = named.config.method.update_interval;
    let training = training(&design, interval, registry);
    if printer.json() {
        let training: serde_json::Map<_, _> = training
            .into_iter()
            .map(|cost| {
                let value = json!({ "flops_per_sample": cost.per_sample, "of_dense": cost.of_dense });
                (cost.method.to_string(), value)
            })
            .collect();
        printer.json_result(&json!({
            "model": design.graph.name(),
            "sample_shape": samples.shape,
            "classes": samples.classes,
            "network": network::value(&design.cost),
            "epsilon": design.epsilon,
            "update_interval": interval,
            "training": training,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        Table::new(&[("training", Align::Left), ("per sample", Align::Right), ("of dense", Align::Right)]);
    for cost in training {
        table.row(vec![cost.method.into(), network::flops(cost.per_sample), percent(cost.of_dense)]);
    }
    printer.result(&format!("{}\n{table}", network::table(&design)))?;
    printer.note(&format!(
        "{} for samples of {} and {} classes\nFLOPs: 2 for each multiply-accumulate of a forward pass of one sample, \
         backward twice as many; topology updates every {} steps",
        design.graph.name(),
        Shape::text(&samples.shape, "×"),
        count(samples.classes as u64),
        count(interval),
    ));
    Ok(ExitCode::SUCCESS)
}

/// What training by a method costs.
struct Training<'r> {
    method: &'r str,
    per_sample: f64,
    of_dense: f64,
}

/// By every method there is, with the active weights of `design` where the method is sparse.
fn training<'r>(design: &Design, interval: u64, registry: &'r Registry) -> Vec<Training<'r>> {
    let (dense, sparse) = (design.cost.dense_flops as f64, design.cost.flops as f64);
    let of = |method: &'r rigl_topology::Method| {
        let formula = Design::training_cost_of(method);
        let interval = interval as usize;
        Training {
            method: &method.name,
            per_sample: formula.per_sample(dense, sparse, interval),
            of_dense: formula.multiple(dense, sparse, interval),
        }
    };
    registry.methods.iter().map(of).collect()
}
