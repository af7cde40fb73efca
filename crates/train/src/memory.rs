//! How much memory training takes, told before a byte of it is asked for.

use rigl_base::{Error, Result};
use rigl_engine::{Extra, Options, PatternChange, Session};
use rigl_graph::Graph;
use rigl_topology::{Gradients, Updates};

use crate::design::DataSpec;
use crate::machine::MachineOptions;
use crate::settings::Settings;

/// Batches prepared ahead of use.
pub(crate) const LOADER_DEPTH: usize = 8;

/// Bytes that a process takes beside its network and its samples: the program, its threads, what it reads and writes at
/// once. Measured on Linux with the tests' build.
const PROCESS: u64 = 22_000_000;

/// Bytes that training holds at once, at the moment when that is most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Memory {
    /// Parameters with their slots, activations, gradients, what the method keeps, and what it takes while it changes
    /// patterns.
    pub engine: u64,
    /// Batches ahead of use.
    pub batches: u64,
    /// Samples.
    pub samples: u64,
    /// The program itself.
    pub process: u64,
}

/// What of a run memory is planned for.
pub(crate) struct Planned<'a> {
    pub(crate) graph: &'a Graph,
    /// Active counts, one after the other.
    pub(crate) counts: &'a [Vec<Option<usize>>],
    /// Whether the first patterns are chosen of a dense network, and leave the first of these counts.
    pub(crate) chosen: bool,
    pub(crate) updates: &'a Updates,
    pub(crate) settings: &'a Settings,
    pub(crate) data: &'a DataSpec,
}

impl Memory {
    /// All of it.
    pub fn bytes(&self) -> u64 {
        [self.engine, self.batches, self.samples, self.process].into_iter().fold(0, u64::saturating_add)
    }

    /// The same with so many samples of so many bytes in memory: training, validation and test together.
    #[must_use]
    pub fn with_samples(self, samples: usize, bytes: usize) -> Memory {
        // Each with its label.
        let each = bytes.saturating_add(1);
        Memory { samples: samples.saturating_mul(each) as u64, ..self }
    }

    /// What training takes.
    pub(crate) fn planned(run: &Planned<'_>, machine: &MachineOptions) -> Result<Memory> {
        let Planned { graph, settings, data, .. } = run;
        let options = settings.engine(machine, 0);
        let mut engine = 0;
        if run.chosen {
            let dense = vec![None; graph.parameters().len()];
            let left = run.counts.first().cloned().unwrap_or_default();
            let extra = Extra { change: Some(PatternChange::Chosen(left)), ..Extra::default() };
            // There was no step yet, so there is no velocity.
            engine = Session::planned_bytes(graph, &dense, &options, false, &extra)?;
        }
        let (momentum, extra) = (settings.optimizer.momentum != 0.0, run.extra());
        for active in run.counts {
            engine = engine.max(Session::planned_bytes(graph, active, &options, momentum, &extra)?);
        }
        let inputs: usize = data.shape.iter().product();
        // Packed, and the samples they are packed from.
        let each = settings.batch().next_multiple_of(64).saturating_mul(inputs).saturating_mul(4 + 1);
        let batches = each.saturating_mul(LOADER_DEPTH + 2) as u64;
        let memory = Memory { engine: engine as u64, batches, samples: 0, process: PROCESS };
        // Bytes, for all that is known here.
        Ok(memory.with_samples(data.samples, inputs))
    }
}

impl Planned<'_> {
    fn extra(&self) -> Extra {
        let (gradients, method) = (self.updates.gradients(), self.settings.method());
        let parts = self.settings.parts() > 1;
        // All weights compete for all places, or a share of the active ones is replaced.
        let replaced = if method.keeps_inactive() { 1.0 } else { self.updates.schedule().drop_fraction };
        let gradient = method.updates_need_gradient();
        Extra {
            scored: gradients == Gradients::Dense && !parts,
            // Over the parts of a batch all are summed.
            gradients: gradients == Gradients::Kept || (gradients == Gradients::Dense && parts),
            slots: method.slots(),
            change: (self.updates.count() > 0).then_some(PatternChange::Update { replaced, gradient }),
        }
    }
}

/// Refuses to evaluate a network for which the machine has no memory.
pub(crate) fn check_evaluation(graph: &Graph, active: &[Option<usize>], options: &Options) -> Result<()> {
    let engine = Session::planned_bytes(graph, active, options, false, &Extra::default())?;
    check("evaluation", (engine as u64).saturating_add(PROCESS), |_| None)
}

/// Refuses what the machine has no memory for; `fits` gives what would fit, as a hint, of a limit in bytes.
pub(crate) fn check(what: &str, planned: u64, fits: impl FnOnce(u64) -> Option<String>) -> Result<()> {
    // A part of it is for what the system keeps of memory that was given back.
    let limit = rigl_metrics::machine::memory_limit_bytes().map(|limit| limit / 16 * 15);
    let Some(limit) = limit.filter(|&limit| planned > limit) else { return Ok(()) };
    let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
    let error = Error::environment(format!(
        "{what} needs {:.2} GiB of memory, and the machine has {:.2} GiB for it",
        gib(planned),
        gib(limit)
    ));
    Err(match fits(limit) {
        Some(hint) => error.hint(hint),
        None => error,
    })
}
