//! The ways between maps and vectors.

use rigl_base::Result;
use rigl_kernels::WorkspaceSize;
use rigl_kernels::map::{DataGradient, passes};
use rigl_kernels::vector::reshape;

use super::add::sum;
use super::{Pass, Purpose, Reread};
use crate::request::kernel;
use crate::run::{Lent, Run, stored};
use crate::value::{Back, Operand, Value};

/// The mean of each channel of a map, a vector.
#[derive(Debug)]
pub(crate) struct GlobalPool {
    pub(crate) x: Operand,
    pub(crate) y: Value,
}

/// All values of a map, a vector.
#[derive(Debug)]
pub(crate) struct Flatten {
    pub(crate) x: Operand,
    pub(crate) y: Value,
}

/// A vector as a map of one position, for what only maps have.
#[derive(Debug)]
pub(crate) struct Unflatten {
    x: Operand,
    y: Value,
    norms: Vec<usize>,
}

/// Implements a pass from a map to a vector by its two kernels.
macro_rules! map_to_vector {
    ($pass:ident, $name:literal, $forward:ident, $backward:ident) => {
        impl Pass for $pass {
            fn name(&self) -> &'static str {
                $name
            }

            fn operands(&self) -> &[Operand] {
                std::slice::from_ref(&self.x)
            }

            fn output(&self) -> Option<Value> {
                Some(self.y)
            }

            fn rereads(&self) -> &'static [Reread] {
                &[Reread::Operand(0)]
            }

            fn workspace(&self, samples: usize, _purpose: Purpose) -> WorkspaceSize {
                reshape::$backward::workspace(self.x.layout.map_shape(), samples)
            }

            fn forward(&self, run: &mut Run<'_>) -> Result<()> {
                let samples = run.samples();
                let reads = [run.buffers.source(self.x.source, samples)];
                let writes = [run.buffers.range(self.y.buffer, samples)];
                let Lent { reads: [x], writes: [y], views, machine, .. } = run.lend(reads, writes)?;
                let (shape, x) = (self.x.layout.map_shape(), views.of(self.x, x));
                reshape::$forward { shape, x, y, samples }.run(machine).map_err(kernel)
            }

            fn backward(&self, run: &mut Run<'_>, back: &Back) -> Result<()> {
                let (Some(dy), Some(&Some(target))) = (back.gradient.direct, back.targets.first()) else {
                    return Ok(());
                };
                let samples = run.samples();
                let reads = [run.buffers.source(self.x.source, samples), run.buffers.range(dy, samples)];
                let writes = [run.buffers.range(target.out, samples)];
                let Lent { reads: [x, gradient], writes: [out], views, sums, machine, workspace, .. } =
                    run.lend(reads, writes)?;
                let (shape, x) = (self.x.layout.map_shape(), views.of(self.x, x));
                let data =
                    DataGradient { out, accumulate: target.accumulate, sums: views.sums(target, sums) };
                reshape::$backward { shape, x, gradient, data, samples }
                    .run(machine, workspace)
                    .map_err(kernel)?;
                run.finish(Some(target))
            }
        }
    };
}

map_to_vector!(GlobalPool, "global-pool", GlobalAveragePool, GlobalAveragePoolBackward);
map_to_vector!(Flatten, "flatten", Flatten, FlattenBackward);

impl Unflatten {
    /// The vector `x` as the map `y`.
    pub(crate) fn new(x: Operand, y: Value) -> Unflatten {
        Unflatten { x, y, norms: Vec::new() }
    }
}

impl Pass for Unflatten {
    fn name(&self) -> &'static str {
        "unflatten"
    }

    fn operands(&self) -> &[Operand] {
        std::slice::from_ref(&self.x)
    }

    fn output(&self) -> Option<Value> {
        Some(self.y)
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
        passes::workspace(self.y.layout.map_shape(), samples)
    }

    fn forward(&self, run: &mut Run<'_>) -> Result<()> {
        let samples = run.samples();
        let reads = [run.buffers.source(self.x.source, samples)];
        let writes = [run.buffers.range(self.y.buffer, samples)];
        let Lent { reads: [x], writes: [y], views, machine, .. } = run.lend(reads, writes)?;
        let (shape, x) = (self.y.layout.map_shape(), stored(self.x.source, x, views.batch));
        reshape::Unflatten { shape, x, y, samples }.run(machine).map_err(kernel)?;
        if self.norms.is_empty() {
            return Ok(());
        }
        sum(run, self.y.operand(), None, None, &self.norms)
    }

    fn backward(&self, run: &mut Run<'_>, back: &Back) -> Result<()> {
        let Some(&Some(target)) = back.targets.first() else { return Ok(()) };
        let samples = run.samples();
        let reads = run.gradient_ranges(back.gradient);
        let writes = [run.buffers.range(target.out, samples)];
        let Lent { reads, writes: [out], views, machine, .. } = run.lend(reads, writes)?;
        let (shape, gradient) = (self.y.layout.map_shape(), views.gradient(back.gradient, reads));
        let accumulate = target.accumulate;
        reshape::UnflattenBackward { shape, gradient, out, accumulate, samples }.run(machine).map_err(kernel)
    }
}
