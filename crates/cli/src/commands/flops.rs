//! `rigl flops`: the cost of a network under a configuration.

use std::process::ExitCode;

use clap::Args;
use rigl_base::counts::counted;
use rigl_base::{Error, Result};
use rigl_topology::Method;
use rigl_train::{Config, Design, Origin, Prepared, Registry, Settings, data};
use serde_json::json;

use super::named::{Named, Samples};
use super::network;
use crate::args::{Keys, MachineFlags, SampleFlags, Shape};
use crate::output::{Align, Printer, Table, percent};

/// Samples of an epoch where nothing is known of the data.
const EPOCH: usize = 50_000;

const FLOPS_EXAMPLES: &str = "\
Examples:
  rigl flops mnist-lenet
  rigl flops quickstart --sparsity 0.95 --distribution uniform --json
  rigl flops resnet-50 --sparsity 0.8 --distribution erk
  rigl flops mobilenet-v1 --set model.width=0.5 --input 3x160x160";

/// Show what a network costs: shapes, active weights, bytes and FLOPs of each layer, and the FLOPs of training
/// for each method.
#[derive(Args, Clone, Debug)]
#[command(after_help = FLOPS_EXAMPLES)]
pub(crate) struct Flops {
    /// A preset, a model, or a configuration file ending in .toml
    #[arg(value_name = "PRESET|MODEL|FILE.toml", default_value = "quickstart")]
    pub(crate) recipe: String,
    #[command(flatten)]
    pub(crate) samples: SampleFlags,
    #[command(flatten)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    pub(crate) machine: MachineFlags,
}

pub(crate) fn run(args: &Flops, registry: &Registry, printer: &Printer) -> Result<ExitCode> {
    let named = Named::new(&args.recipe, &args.keys, &args.samples, registry)?;
    named.config.left_out().iter().for_each(|text| printer.warning(text));
    // The files of a data set are looked at only where nobody has said what is in them, or where it is said where they are.
    let mut train_samples = named.train_samples;
    let mut look = |config: &Config| {
        let (mut config, machine) = (config.clone(), args.machine.options()?);
        let machine = data::given(&mut config, args.machine.data_dir.as_deref(), &machine)?;
        let prepared = Prepared::new(config, registry, &machine)?;
        train_samples = Some(prepared.sets().train.len());
        let spec = prepared.sets().train.spec();
        Ok(Samples { shape: spec.shape.clone(), classes: spec.classes.len() })
    };
    let found = match args.machine.data_dir {
        None => None,
        Some(_) if named.is_of_data() => Some(look(&named.config)?),
        Some(_) => {
            let error = "`--data-dir` does nothing where a network is named: the samples are those that it is usually for";
            return Err(Error::usage(error).hint(format!("--set data.name={}", named.config.data.name)));
        }
    };
    let samples = named.samples(found, look)?;
    // Only where the run is counted in epochs of data that nobody knows is its length a guess.
    let count_of_samples = train_samples.unwrap_or(EPOCH);
    let settings = Settings::new(named.config.clone(), registry)?;
    let origin = Origin::begin(&settings, registry)?;
    let design = named.design(&settings, &samples, count_of_samples, &origin, registry)?;
    let interval = design.updates().schedule().interval;
    let training = training(&named, &design, &origin, registry)?;
    if printer.json() {
        let training: serde_json::Map<_, _> = training
            .into_iter()
            .map(|Training { method, costs }| {
                let value = costs.map(|[updating, run]| {
                    json!({
                        "flops_per_sample": updating[0], "of_dense": updating[1],
                        "run_flops_per_sample": run[0], "run_of_dense": run[1],
                    })
                });
                (method.to_string(), value.unwrap_or_default())
            })
            .collect();
        printer.json_result(&json!({
            "model": design.graph().name(),
            "sample_shape": samples.shape,
            "classes": samples.classes,
            "network": network::value(design.cost()),
            "epsilon": design.epsilon(),
            "update_interval": interval,
            "training": training,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&[
        ("training", Align::Left),
        ("per sample", Align::Right),
        ("of dense", Align::Right),
        ("mean of the run", Align::Right),
        ("of dense", Align::Right),
    ]);
    for Training { method, costs } in training {
        let mut row = vec![method.to_string()];
        match costs {
            None => row.extend(["–"; 4].map(String::from)),
            Some(costs) => {
                row.extend(costs.into_iter().flat_map(|[n, share]| [network::flops(n), percent(share)]))
            }
        }
        table.row(row);
    }
    printer.result(&format!("{}\n{table}", network::table(&design)))?;
    printer.note(&format!(
        "{} for samples of {} and {}\nFLOPs: 2 for each multiply-accumulate of a forward pass of one sample, \
         backward twice as many; while topology updates go on, every {}",
        design.graph().name(),
        Shape::text(&samples.shape, "×"),
        counted(samples.classes as u64, "class"),
        counted(interval, "step"),
    ));
    Ok(ExitCode::SUCCESS)
}

/// What training by a method costs.
struct Training<'r> {
    method: &'r str,
    /// Operations of a sample, while updates go on and as the mean over the recipe's run; as shares of the dense
    /// network's too. `None` where another method cannot do with this recipe: no width has as many weights, or updates
    /// end too late for it.
    costs: Option<[[f64; 2]; 2]>,
}

/// By every method there is, each with its own active weights; the recipe's own method with its own columns.
fn training<'r>(
    named: &Named,
    own: &Design,
    origin: &Origin,
    registry: &'r Registry,
) -> Result<Vec<Training<'r>>> {
    let by = |method: &Method| {
        let settings = Settings::new(named.recipe.config(Some(&method.name), registry)?, registry)?;
        Design::new(&settings, registry, own.data(), origin)
    };
    let mut all = Vec::new();
    for method in &registry.methods {
        let design = match named.config.method.name == method.name {
            true => Some(own.clone()),
            // What another method cannot do is no mistake in this recipe.
            false => by(method).ok(),
        };
        let costs = match design {
            Some(design) => {
                let (cost, dense) = (design.training()?, 3.0 * design.reference_flops() as f64);
                Some([cost.per_sample, cost.mean].map(|flops| [flops, flops / dense]))
            }
            None => None,
        };
        all.push(Training { method: &method.name, costs });
    }
    Ok(all)
}
