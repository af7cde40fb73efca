//! Gradients one channel of a strip of rows at a time, for pooling and for vectors, whose channels have nothing to
//! do with each other: a gradient is read as its consumers say it, and written through the view it belongs to.

use std::ops::Range;

use crate::error::{Error, check_len};
use crate::map::rows::{NormTerms, Pointwise};
use crate::map::shape::{MapShape, blocks, lanes};
use crate::map::strips::{Strips, task_sums};
use crate::map::sums::add_up;
use crate::map::view::{DataGradient, GradientView, View};
use crate::run::{Machine, Shared, Workspace, WorkspaceSize};
use crate::simd::{LANES, Simd};

/// Scratch of [`scatter`] with `worker` f32 for each worker.
pub(crate) fn scatter_workspace(shape: MapShape, samples: usize, worker: usize) -> WorkspaceSize {
    WorkspaceSize { worker, shared: 0, sums: task_sums(shape, samples) }
}

/// What a task writes: the gradient of some rows of a block, all channels of them.
pub(crate) struct Strip<'a> {
    pub(crate) block: usize,
    pub(crate) rows: Range<usize>,
    /// The lanes of the block that hold samples.
    pub(crate) lanes: u16,
    /// The worker's.
    pub(crate) scratch: *mut f32,
    pub(crate) target: Target<'a>,
}

/// Runs `write` for every strip of the gradient of `view`, a map of `shape`, and adds up the sums of all strips in
/// their order.
///
/// `write` must write every vector of its strip through a [`Writer`]. Writing is safe for it only there, and in as
/// much scratch as `size` says.
pub(crate) fn scatter(
    machine: &Machine,
    (shape, samples): (MapShape, usize),
    view: View,
    data: DataGradient,
    (scratch, size): (&mut Workspace, WorkspaceSize),
    write: &(dyn Fn(Strip) + Sync),
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
    machine.run(strips.tasks(), strips.cost(), &|worker, task| {
        let (block, rows) = strips.strip(task);
        // SAFETY: the sums hold those of all tasks (`workspace`).
        let sums = unsafe { sums.get().add(task * 2 * shape.channels) };
        let target = Target { view, shape, out: out.get(), accumulate, sums: summed.then_some(sums) };
        let scratch = workers[worker].get();
        write(Strip { block, rows, lanes: lanes(samples, block), scratch, target });
    })?;
    if let Some(sums) = wanted {
        add_up(&parts.sums[..strips.tasks() * 2 * shape.channels], sums);
    }
    Ok(())
}

/// Where the gradient of a view goes: all that a [`Writer`] is made of.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    view: View<'a>,
    shape: MapShape,
    out: *mut f32,
    accumulate: bool,
    /// Of this task, `[channel][2]`.
    sums: Option<*mut f64>,
}

/// Writes the gradient of one channel of a strip: through the view's dropout and ReLU, added to what is there or
/// not, and adds up Σ dz and Σ dz·(x − μ).
pub(crate) struct Writer<'a, S: Simd> {
    point: Pointwise<'a, S>,
    x: *const f32,
    out: *mut f32,
    accumulate: bool,
    mean: S::V,
    sum: S::V,
    product: S::V,
    sums: Option<*mut f64>,
}

impl<'a, S: Simd> Writer<'a, S> {
    /// # Safety
    /// The target is that of [`scatter`], and its shape has more channels than `channel`.
    #[inline(always)]
    pub(crate) unsafe fn new(s: S, target: &Target<'a>, channel: usize) -> Writer<'a, S> {
        let Target { view, shape, out, accumulate, sums } = target;
        debug_assert!(channel < shape.channels);
        // SAFETY: `scatter` checked the view, and has two sums for every channel.
        unsafe {
            let mean = match view.norm {
                Some(norm) => s.splat(*norm.mean.get_unchecked(channel)),
                None => s.splat(0.0),
            };
            Writer {
                point: Pointwise::new(s, view, channel),
                x: view.map.as_ptr(),
                out: *out,
                accumulate: *accumulate,
                mean,
                sum: s.splat(0.0),
                product: s.splat(0.0),
                sums: sums.map(|sums| sums.add(2 * channel)),
            }
        }
    }

    /// What the view holds at `at`.
    ///
    /// # Safety
    /// The map has a vector at `at`, in this channel.
    #[inline(always)]
    pub(crate) unsafe fn value(&self, s: S, at: usize) -> S::V {
        // SAFETY: the caller vouches for `at`.
        unsafe { self.point.apply(s, s.load(self.x.add(at)), at / LANES) }
    }

    /// Writes the vector at `at`, of which `dv` is the gradient of the view's value.
    ///
    /// # Safety
    /// As [`Writer::value`]; no other task writes it.
    #[inline(always)]
    pub(crate) unsafe fn put(&mut self, s: S, at: usize, dv: S::V) {
        // SAFETY: the caller vouches for `at`.
        unsafe {
            let x = s.load(self.x.add(at));
            let mut v = self.point.gate(s, x, dv, at / LANES);
            if self.accumulate {
                v = s.add(s.load(self.out.add(at)), v);
            }
            s.store(self.out.add(at), v);
            self.sum = s.add(self.sum, v);
            self.product = s.fma(v, s.sub(x, self.mean), self.product);
        }
    }

    /// Writes the sums of the channel.
    ///
    /// # Safety
    /// The task is that of the target.
    #[inline(always)]
    pub(crate) unsafe fn finish(self, s: S) {
        if let Some(sums) = self.sums {
            // SAFETY: `new` chose two numbers that are the task's own.
            unsafe {
                *sums = f64::from(s.sum(self.sum));
                *sums.add(1) = f64::from(s.sum(self.product));
            }
        }
    }
}

/// Reads the gradient of one channel as its consumers say it.
pub(crate) struct Reader<S: Simd> {
    norm: Option<NormTerms<S>>,
    direct: Option<*const f32>,
    lanes: u16,
}

impl<S: Simd> Reader<S> {
    /// Zero in lanes that are not in `lanes`.
    ///
    /// # Safety
    /// The gradient has been checked against a shape with more channels than `channel`.
    #[inline(always)]
    pub(crate) unsafe fn new(s: S, view: &GradientView, channel: usize, lanes: u16) -> Reader<S> {
        // SAFETY: the caller vouches for the lengths.
        let norm = view.norm.as_ref().map(|norm| unsafe { NormTerms::new(s, norm, channel) });
        Reader { norm, direct: view.direct.map(<[f32]>::as_ptr), lanes }
    }

    /// The gradient at `at`.
    ///
    /// # Safety
    /// The maps have a vector at `at`, in this channel.
    #[inline(always)]
    pub(crate) unsafe fn value(&self, s: S, at: usize) -> S::V {
        // SAFETY: the caller vouches for `at`.
        unsafe {
            let mut v = match &self.norm {
                Some(norm) => norm.apply(s, at),
                None => s.splat(0.0),
            };
            if let Some(direct) = self.direct {
                v = s.add(v, s.load(direct.add(at)));
            }
            s.keep(self.lanes, v)
        }
    }
}
