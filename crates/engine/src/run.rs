//! What passes run on: buffers of the arena, parameters, norms, scratch; and what several of them do alike.

use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rigl_base::random::{Purpose, Stream, name_id, pair_id};
use rigl_base::{Error, Result};
use rigl_kernels::loss::LossSums;
use rigl_kernels::map::dropout::{MaskStream, draw_mask};
use rigl_kernels::map::passes::Route;
use rigl_kernels::map::{self, GradientView, MapShape, Statistics, blocks};
use rigl_kernels::{Arena, LANES, Machine, Workspace};
use rigl_topology::{Largest, Score};

use crate::batch::Batch;
use crate::batch_norm::BatchNorm;
use crate::buffers::Buffers;
use crate::non_finite::NonFinite;
use crate::parameter::Parameter;
use crate::request::{MicroBatch, kernel};
use crate::value::{BufferId, Gradient, Operand, Source, Target};

/// What a pass works on.
pub(crate) struct Run<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) buffers: &'a Buffers,
    pub(crate) dropouts: &'a [Dropout],
    pub(crate) arena: &'a mut Arena,
    pub(crate) workspace: &'a mut Workspace,
    pub(crate) parameters: &'a mut [Parameter],
    pub(crate) norms: &'a mut [BatchNorm],
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) batch: &'a Batch,
    /// In training, which part of a step's batch this is.
    pub(crate) part: Option<MicroBatch<'a>>,
    /// Per parameter, what of its dense gradient is wanted. Empty where none is in this pass.
    pub(crate) collects: &'a [Option<Collect>],
    /// What the loss has summed up.
    pub(crate) sums: LossSums,
    /// Where a number was first met that is not finite.
    pub(crate) met: &'a mut Option<NonFinite>,
    /// Where times are wanted.
    pub(crate) stopwatch: Option<Stopwatch<'a>>,
}

/// A dropout whose mask is drawn in every training pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dropout {
    /// The node's name.
    pub(crate) name: String,
    pub(crate) shape: MapShape,
    pub(crate) probability: f32,
}

impl Dropout {
    /// Words of its mask.
    ///
    /// # Errors
    /// If they cannot be addressed.
    pub(crate) fn mask_words(&self, samples: usize) -> Result<usize> {
        Ok(self.shape.len(blocks(samples)).map_err(kernel)? / LANES)
    }
}

/// Small arrays that passes use in turn.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Two per channel of the widest norm.
    pub(crate) sums: Vec<f64>,
    /// One per channel.
    pub(crate) shift: Vec<f32>,
    /// The mask of each dropout.
    pub(crate) masks: Vec<Vec<u16>>,
}

/// What of a parameter's dense gradient is wanted.
pub(crate) enum Collect {
    /// The best of it.
    Best(Collectors),
    /// All of it.
    All,
}

/// What collects the positions of best score: one of its own for each worker.
pub(crate) struct Collectors {
    workers: Vec<Mutex<Largest>>,
    /// The score; the magnitude without one.
    score: Option<Score>,
}

impl Collectors {
    /// For the `count` best.
    pub(crate) fn new(workers: usize, count: usize, score: Option<Score>) -> Collectors {
        Collectors { workers: (0..workers).map(|_| Mutex::new(Largest::new(count))).collect(), score }
    }

    /// Takes the gradients of consecutive positions from `first` on, but for `active` ones.
    pub(crate) fn push(&self, worker: usize, first: u32, gradients: &[f32], active: &[u32]) {
        let mut collector = self.workers[worker].lock().unwrap_or_else(|e| e.into_inner());
        match self.score {
            None => collector.push_by(first, gradients, active, f32::abs),
            Some(score) => {
                collector.push_by(first, gradients, active, |gradient| score.of_inactive(gradient));
            }
        }
    }

    /// The best of what all workers have collected; none without workers.
    pub(crate) fn finish(self) -> Option<Largest> {
        let each = self.workers.into_iter().map(|m| m.into_inner().unwrap_or_else(|e| e.into_inner()));
        each.reduce(Largest::merge).map(Largest::settled)
    }
}

/// Where the time of a pass went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PassTimes {
    pub(crate) forward: Duration,
    pub(crate) weights: Duration,
    pub(crate) data: Duration,
}

/// Gives the time since it was last asked to a part of the pass that runs.
pub(crate) struct Stopwatch<'a> {
    /// One entry per pass.
    pub(crate) times: &'a mut [PassTimes],
    pub(crate) pass: usize,
    pub(crate) since: Instant,
}

/// What views are made of, beside the maps themselves.
#[derive(Clone, Copy)]
pub(crate) struct Views<'a> {
    pub(crate) dropouts: &'a [Dropout],
    pub(crate) parameters: &'a [Parameter],
    pub(crate) norms: &'a [BatchNorm],
    pub(crate) masks: &'a [Vec<u16>],
    pub(crate) batch: &'a Batch,
}

impl<'a> Views<'a> {
    /// What an operand reads, `in_arena` being the part of the arena that its source fills.
    pub(crate) fn of(&self, operand: Operand, in_arena: &'a [f32]) -> map::View<'a> {
        let map = stored(operand.source, in_arena, self.batch);
        let dropout = operand.view.dropout.map(|number| map::Dropout {
            keep: &self.masks[number][..map.len() / LANES],
            scale: 1.0 / (1.0 - self.dropouts[number].probability),
        });
        let norm = operand.view.norm.map(|norm| self.norms[norm].affine(self.parameters));
        map::View { map, norm, relu: operand.view.relu, dropout }
    }

    /// The gradient that the parts of the arena hold which [`Run::gradient_ranges`] names.
    pub(crate) fn gradient(&self, gradient: Gradient, [direct, dz, x]: [&'a [f32]; 3]) -> GradientView<'a> {
        GradientView {
            direct: gradient.direct.map(|_| direct),
            norm: gradient.norm.map(|(norm, _)| self.norms[norm].gradient(dz, x)),
        }
    }

    /// Room for the sums of the norm that a gradient finishes.
    pub(crate) fn sums<'s>(&self, target: Target, sums: &'s mut [f64]) -> Option<&'s mut [f64]> {
        target.finishes.map(|norm| &mut sums[..2 * self.norms[norm].channels()])
    }
}

/// Room for the statistics of so many channels, if there are any to be measured.
pub(crate) fn statistics<'s>(
    shift: &'s [f32],
    sums: &'s mut [f64],
    channels: usize,
) -> Option<Statistics<'s>> {
    (channels > 0).then(|| Statistics { shift: &shift[..channels], sums: &mut sums[..2 * channels] })
}

/// What a source holds: a part of the arena, or the batch.
pub(crate) fn stored<'a>(source: Source, in_arena: &'a [f32], batch: &'a Batch) -> &'a [f32] {
    if source == Source::Batch { &batch.map } else { in_arena }
}

impl Run<'_> {
    /// Samples of the batch.
    pub(crate) fn samples(&self) -> usize {
        self.batch.samples()
    }

    /// The part of a step's batch that is gone back through.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) in evaluation.
    pub(crate) fn part(&self) -> Result<MicroBatch<'_>> {
        self.part.ok_or_else(|| Error::internal("nothing is gone back through in evaluation"))
    }

    /// Gives the time that has passed to a part of the pass.
    pub(crate) fn lap(&mut self, part: impl FnOnce(&mut PassTimes) -> &mut Duration) {
        if let Some(stopwatch) = &mut self.stopwatch {
            let now = Instant::now();
            *part(&mut stopwatch.times[stopwatch.pass]) += now - stopwatch.since;
            stopwatch.since = now;
        }
    }

    /// Draws the masks of all dropouts for this part of a step's batch.
    pub(crate) fn draw_masks(&mut self) -> Result<()> {
        let part = self.part.ok_or_else(|| Error::internal("masks are drawn in training alone"))?;
        for (of, mask) in self.dropouts.iter().zip(&mut self.scratch.masks) {
            let id = pair_id(name_id(&of.name), pair_id(part.draw, part.number));
            let stream = Stream::new(part.seed, Purpose::Dropout, id);
            let words = of.mask_words(part.batch.samples())?;
            let mask = mask.get_mut(..words).ok_or_else(|| Error::internal("dropout mask too short"))?;
            let (key, counter) = stream.words();
            draw_mask(self.machine, MaskStream { key, counter }, of.probability, mask).map_err(kernel)?;
        }
        Ok(())
    }

    /// Prepares the shift of the sums that norms take their statistics from; gives their channels, 0 without norms.
    pub(crate) fn shift(&mut self, norms: &[usize]) -> usize {
        let Some(&first) = norms.first() else { return 0 };
        let running = &self.norms[first].running_mean.values;
        self.scratch.shift[..running.len()].copy_from_slice(running);
        running.len()
    }

    /// Gives norms the statistics that a pass has summed up.
    pub(crate) fn measured(&mut self, norms: &[usize], channels: usize) -> Result<()> {
        let samples = self.samples();
        for &norm in norms {
            let (sums, shift) = (&self.scratch.sums[..2 * channels], &self.scratch.shift[..channels]);
            let norm = &mut self.norms[norm];
            norm.measured(sums, shift, samples, self.parameters)?;
            self.machine.note(norm.runs_on_finite());
        }
        Ok(())
    }

    /// Hands the sums that a backward pass has made to the norm that it finishes.
    pub(crate) fn finish(&mut self, target: Option<Target>) -> Result<()> {
        let Some(norm) = target.and_then(|target| target.finishes) else { return Ok(()) };
        let (samples, accumulate) = (self.samples(), !self.part()?.first);
        let norm = &mut self.norms[norm];
        let sums = &self.scratch.sums[..2 * norm.channels()];
        norm.finish(sums, samples, accumulate, self.parameters)
    }

    /// The parts of the arena that a gradient is read from: direct, behind the norm, the value itself.
    pub(crate) fn gradient_ranges(&self, gradient: Gradient) -> [Range<usize>; 3] {
        let samples = self.samples();
        let dz = gradient.norm.map(|(_, dz)| dz);
        let x = gradient.norm.map(|_| gradient.of.buffer);
        [gradient.direct, dz, x].map(|buffer| self.buffers.optional(buffer, samples))
    }

    /// Borrows parts of the arena with everything that a kernel needs beside them.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if a part that is written overlaps another.
    pub(crate) fn lend<const R: usize, const W: usize>(
        &mut self,
        reads: [Range<usize>; R],
        writes: [Range<usize>; W],
    ) -> Result<Lent<'_, R, W>> {
        let (reads, writes) = self.arena.borrow(reads, writes).map_err(kernel)?;
        let Scratch { sums, shift, masks } = &mut *self.scratch;
        Ok(Lent {
            reads,
            writes,
            views: Views {
                dropouts: self.dropouts,
                parameters: self.parameters,
                norms: self.norms,
                masks,
                batch: self.batch,
            },
            sums,
            shift,
            machine: self.machine,
            workspace: self.workspace,
        })
    }

    /// Stores a gradient as it is evaluated.
    ///
    /// # Errors
    /// As [`Run::route`].
    pub(crate) fn store(&mut self, gradient: Gradient, out: BufferId) -> Result<()> {
        let target = Target { out, accumulate: false, finishes: None };
        self.route(gradient, gradient.of.operand(), target)
    }

    /// Brings a gradient to the operand that it is the gradient of, as that is seen.
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if buffers overlap, or a worker panicked.
    pub(crate) fn route(&mut self, gradient: Gradient, operand: Operand, target: Target) -> Result<()> {
        let samples = self.samples();
        let [direct, dz, map] = self.gradient_ranges(gradient);
        let reads = [self.buffers.source(operand.source, samples), direct, dz, map];
        let writes = [self.buffers.range(target.out, samples)];
        let Lent { reads: [x, direct, dz, map], writes: [out], views, sums, machine, workspace, .. } =
            self.lend(reads, writes)?;
        Route {
            shape: operand.layout.map_shape(),
            gradient: views.gradient(gradient, [direct, dz, map]),
            view: views.of(operand, x),
            out,
            accumulate: target.accumulate,
            sums: views.sums(target, sums),
            samples,
        }
        .run(machine, workspace)
        .map_err(kernel)?;
        self.finish(Some(target))
    }
}

/// What a kernel borrows of a run.
pub(crate) struct Lent<'a, const R: usize, const W: usize> {
    pub(crate) reads: [&'a [f32]; R],
    pub(crate) writes: [&'a mut [f32]; W],
    pub(crate) views: Views<'a>,
    /// Room for the sums of a norm.
    pub(crate) sums: &'a mut [f64],
    /// What [`Run::shift`] has prepared.
    pub(crate) shift: &'a [f32],
    pub(crate) machine: &'a Machine,
    pub(crate) workspace: &'a mut Workspace,
}
