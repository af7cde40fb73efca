//! Sums of maps; also maps that are stored as they are seen, and maps that are read for their statistics alone.

use rigl_base::Result;
use rigl_kernels::WorkspaceSize;
use rigl_kernels::map::passes;

use super::{Pass, Purpose};
use crate::request::kernel;
use crate::run::{Lent, Run, statistics};
use crate::value::{Back, Gradient, Operand, Value};

/// y = a (+ b), both as they are seen.
#[derive(Debug)]
pub(crate) struct Add {
    /// One or two.
    operands: Vec<Operand>,
    /// None where only statistics are wanted.
    output: Option<Value>,
    norms: Vec<usize>,
}

impl Add {
    /// a + b.
    pub(crate) fn sum(a: Operand, b: Operand, output: Value) -> Add {
        Add { operands: vec![a, b], output: Some(output), norms: Vec::new() }
    }

    /// An operand, stored as it is seen.
    pub(crate) fn stored(a: Operand, output: Value) -> Add {
        Add { operands: vec![a], output: Some(output), norms: Vec::new() }
    }

    /// The statistics of what something else has made.
    pub(crate) fn statistics(a: Operand, norms: Vec<usize>) -> Add {
        Add { operands: vec![a], output: None, norms }
    }
}

impl Pass for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn operands(&self) -> &[Operand] {
        &self.operands
    }

    fn output(&self) -> Option<Value> {
        self.output
    }

    fn hands_on(&self, _operand: usize) -> bool {
        true
    }

    fn measure(&mut self, norms: &[usize]) -> bool {
        self.norms = norms.to_vec();
        true
    }

    #[cfg(test)]
    fn measures(&self) -> &[usize] {
        &self.norms
    }

    fn workspace(&self, samples: usize, _purpose: Purpose) -> WorkspaceSize {
        let shape = self.operands.first().map(|a| a.layout.map_shape());
        shape.map_or(WorkspaceSize::default(), |shape| passes::workspace(shape, samples))
    }

    fn forward(&self, run: &mut Run<'_>) -> Result<()> {
        let b = self.operands.get(1).copied();
        let Some(&a) = self.operands.first() else { return Ok(()) };
        sum(run, a, b, self.output, &self.norms)
    }

    fn backward(&self, run: &mut Run<'_>, back: &Back) -> Result<()> {
        let mut gradient = back.gradient;
        if let Some(out) = back.store {
            // It is stored once, and then read for the one side and taken over by the other.
            run.store(gradient, out)?;
            gradient = Gradient { direct: Some(out), norm: None, ..gradient };
        }
        for (&operand, &target) in self.operands.iter().zip(&back.targets).rev() {
            if let Some(target) = target {
                run.route(gradient, operand, target)?;
            }
        }
        Ok(())
    }
}

/// The kernel: y = a (+ b) with the statistics of the result for norms.
pub(super) fn sum(
    run: &mut Run<'_>,
    a: Operand,
    b: Option<Operand>,
    y: Option<Value>,
    norms: &[usize],
) -> Result<()> {
    let samples = run.samples();
    let channels = run.shift(norms);
    let reads =
        [run.buffers.source(a.source, samples), b.map_or(0..0, |b| run.buffers.source(b.source, samples))];
    let writes = [run.buffers.optional(y.map(|y| y.buffer), samples)];
    let Lent { reads: [a_map, b_map], writes: [y_map], views, sums, shift, machine, workspace } =
        run.lend(reads, writes)?;
    passes::Add {
        shape: a.layout.map_shape(),
        a: views.of(a, a_map),
        b: b.map(|b| views.of(b, b_map)),
        y: y.map(|_| y_map),
        statistics: statistics(shift, sums, channels),
        samples,
    }
    .run(machine, workspace)
    .map_err(kernel)?;
    run.measured(norms, channels)
}
