//! How much memory training takes, told before a byte of it is asked for.

use rigl_base::{Error, Result};
use rigl_engine::{Extra, Session};
use rigl_graph::Graph;
use rigl_topology::Gradients;

use crate::machine::MachineOptions;
use crate::settings::Settings;

/// Batches prepared ahead of use.
pub(crate) const LOADER_DEPTH: usize = 8;

/// Bytes that training holds at once. The data set itself is not among them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Memory {
    /// Parameters with their slots, activations, gradients, and what the method keeps.
    pub engine: u64,
    /// Batches ahead of use.
    pub batches: u64,
}

impl Memory {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.engine.saturating_add(self.batches)
    }

    /// What training of this network takes, on samples of this shape, whose active counts are these, one
    /// after the other, and whose batches need `gradients` at most.
    pub(crate) fn planned(
        graph: &Graph,
        counts: &[Vec<Option<usize>>],
        gradients: Gradients,
        settings: &Settings,
        sample_shape: &[usize],
        machine: &MachineOptions,
    ) -> Result<Memory> {
        let options = settings.engine(machine, 0);
        let parts = settings.parts() > 1;
        let extra = Extra {
            scored: gradients == Gradients::Dense && !parts,
            // Over the parts of a batch all are summed.
            gradients: gradients == Gradients::Kept || (gradients == Gradients::Dense && parts),
            slots: settings.method().slots(),
        };
        let momentum = settings.optimizer.momentum != 0.0;
        let mut engine = 0;
        for active in counts {
            engine = engine.max(Session::planned_bytes(graph, active, &options, momentum, &extra)?);
        }
        let inputs: usize = sample_shape.iter().product();
        // Packed, and the samples they are packed from.
        let each = settings.batch().next_multiple_of(64).saturating_mul(inputs).saturating_mul(4 + 1);
        Ok(Memory { engine: engine as u64, batches: each.saturating_mul(LOADER_DEPTH + 2) as u64 })
    }
}

/// Refuses what the machine has no memory for; `fits` gives what would fit, as a hint, of a limit in bytes.
pub(crate) fn check(what: &str, planned: u64, fits: impl FnOnce(u64) -> Option<String>) -> Result<()> {
    // A part of it is for samples, the program itself and the copies made while saving.
    let limit = rigl_metrics::machine::memory_limit_bytes().map(|limit| limit / 16 * 15);
    let Some(limit) = limit.filter(|&limit| planned > limit) else { return Ok(()) };
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    let error = Error::environment(format!(
        "{what} needs {:.1} GiB of memory, and the machine has {:.1} GiB for it",
        gib(planned),
        gib(limit)
    ));
    Err(match fits(limit) {
        Some(hint) => error.hint(hint),
        None => error,
    })
}
