//! Gradients one channel of a part of a map at a time, for pooling and for vectors, whose channels have nothing to do
//! with each other: a gradient is read as its consumers say it, and written through the view it belongs to.

use crate::error::{Error, check_len};
use crate::map::channel::{GradientSink, TwoSums};
use crate::map::shape::{MapShape, blocks};
use crate::map::stored::StoredMut;
use crate::map::strips::{Part, Strips, strip_sums};
use crate::map::sums::add_up;
use crate::map::view::{DataGradient, View};
use crate::run::{Machine, Shared, Workspace, WorkspaceSize};
use crate::simd::Simd;

/// Scratch of [`scatter`] with `worker` f32 for each worker.
pub(crate) fn scatter_workspace(shape: MapShape, samples: usize, worker: usize) -> WorkspaceSize {
    WorkspaceSize { worker, shared: 0, sums: strip_sums(shape, samples) }
}

/// What a task writes: the gradient of a part of a map.
pub(crate) struct Target<'a> {
    pub(crate) part: Part,
    /// The worker's, as much as was asked for.
    pub(crate) scratch: *mut f32,
    view: View<'a>,
    out: StoredMut,
    accumulate: bool,
    /// Of the strip, `[channel][2]`.
    sums: Option<*mut f64>,
}

/// Runs `write` for every part of the gradient of `view`, a map of `shape`, and adds up the sums of all parts in
/// their order.
///
/// `write` must write every vector of its part through a [`Target::channel`].
pub(crate) fn scatter(
    machine: &Machine,
    (shape, samples): (MapShape, usize),
    view: View,
    data: DataGradient,
    (scratch, size): (&mut Workspace, WorkspaceSize),
    write: &(dyn Fn(Target) + Sync),
) -> Result<(), Error> {
    let DataGradient { out, accumulate, sums: wanted } = data;
    let blocks = blocks(samples);
    view.check(shape, blocks)?;
    check_len("data gradient", out.len(), shape.len(blocks)?)?;
    if let Some(sums) = &wanted {
        check_len("sums", sums.len(), 2 * shape.channels)?;
    }
    let strips = Strips::new(shape, samples);
    let parts = scratch.parts(machine.pool.threads(), size)?;
    let (out, sums, workers) = (Shared::new(out), Shared::new(parts.sums), parts.workers);
    let summed = wanted.is_some();
    strips.run(machine, strips.cost(), &|worker, part| {
        // SAFETY: there are sums for every strip (`scatter_workspace`).
        let sums = unsafe { sums.get().add(part.strip * 2 * shape.channels) };
        write(Target {
            part,
            scratch: workers[worker].get(),
            view,
            out: StoredMut::new(out.get()),
            accumulate,
            sums: summed.then_some(sums),
        });
    })?;
    match wanted {
        Some(sums) => add_up(machine, &parts.sums[..strips.count() * 2 * shape.channels], sums),
        None => Ok(()),
    }
}

impl<'a> Target<'a> {
    /// Where the gradient of a channel of the part is written to.
    ///
    /// # Safety
    /// The target is that of a [`scatter`], and the channel one of the part's.
    #[inline(always)]
    pub(crate) unsafe fn channel<S: Simd>(&self, s: S, channel: usize) -> GradientSink<'a, S> {
        debug_assert!(self.part.channels.contains(&channel));
        // SAFETY: `scatter` checked the view.
        unsafe { GradientSink::new(s, &self.view, channel, (self.out, self.accumulate), TwoSums::zero(s)) }
    }

    /// Leaves the sums of a channel that has been written.
    ///
    /// # Safety
    /// As [`Target::channel`].
    #[inline(always)]
    pub(crate) unsafe fn finish<S: Simd>(&self, s: S, channel: usize, sink: GradientSink<S>) {
        if let Some(sums) = self.sums {
            let TwoSums([first, second]) = sink.sums;
            // SAFETY: the sums of a strip are two for every channel; only this task has the part's.
            unsafe {
                *sums.add(2 * channel) = f64::from(s.sum(first));
                *sums.add(2 * channel + 1) = f64::from(s.sum(second));
            }
        }
    }
}
