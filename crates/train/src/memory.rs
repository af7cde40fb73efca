//! How much memory training takes, told before a byte of it is asked for.

use rigl_base::Result;
use rigl_engine::{Extra, Options, Session};
use rigl_graph::Parameter;
use rigl_topology::{Gradients, Start};

use crate::config::Config;
use crate::design::Design;
use crate::recipe::Recipe;

/// Batches prepared ahead of use.
pub(crate) const LOADER_DEPTH: usize = 8;

/// Bytes that training of a network under `config`, on samples of this shape, holds at once: parameters with their
/// slots, activations, batches ahead of use. The data set itself is not among them.
///
/// # Errors
/// If the network cannot be run.
pub fn planned_bytes(
    design: &Design,
    recipe: &Recipe,
    config: &Config,
    sample_shape: &[usize],
    threads: usize,
) -> Result<u64> {
    let gradients = recipe.updates.gradients();
    let options = options(config, threads, None);
    let momentum = config.optimizer.momentum != 0.0;
    let parts = config.data.micro_batches > 1;
    let extra = Extra {
        scored: gradients == Gradients::Dense && !parts,
        // Over the parts of a batch all are summed.
        gradients: gradients == Gradients::Kept || (gradients == Gradients::Dense && parts),
        slots: design.method.slots(),
    };
    let planned =
        |active: &[Option<usize>]| Session::planned_bytes(&design.graph, active, &options, momentum, &extra);
    // Networks that begin dense take most then.
    let first = |(p, &count): (&Parameter, &Option<usize>)| match design.method.start()? {
        _ if design.method.prunes() => count.map(|_| p.len()),
        Start::Random | Start::Given => count,
        Start::Saliency | Start::Magnitude => None,
    };
    let first: Vec<_> = design.graph.parameters().iter().zip(&design.active).map(first).collect();
    let engine = planned(&design.active)?.max(planned(&first)?);
    let inputs: usize = sample_shape.iter().product();
    // Packed, and the samples they are packed from.
    let each = config.data.batch.next_multiple_of(64).saturating_mul(inputs).saturating_mul(4 + 1);
    Ok((engine as u64).saturating_add(each.saturating_mul(LOADER_DEPTH + 2) as u64))
}

/// What the engine is made with.
pub(crate) fn options(config: &Config, threads: usize, isa: Option<String>) -> Options {
    Options {
        batch: micro_batch(config),
        evaluation_batch: evaluation_batch(micro_batch(config)),
        threads,
        isa,
        compute: config.compute,
        seed: config.seeds.init,
    }
}

/// Samples of one part of a step's batch.
pub(crate) fn micro_batch(config: &Config) -> usize {
    config.data.batch / config.data.micro_batches.max(1)
}

/// Samples of an evaluation batch, for training (micro-)batches of so many.
pub(crate) fn evaluation_batch(micro_batch: usize) -> usize {
    micro_batch.max(500)
}
