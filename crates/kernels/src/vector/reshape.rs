//! Between maps of images, `[block of 16][row][channel][column][16]`, and vectors, `[group of 64][feature][64]`: four
//! blocks fill a group, of the last one or more may be missing. Lanes without samples are zeros in every result.
//!
//! # Order of sums
//! A mean over positions is the sum of the values in row-major order, times 1 / (rows · columns).

use std::ops::Range;

use crate::error::{Error, check_len};
use crate::map::{
    DataGradient, GradientView, Gradients, MapShape, Part, StoredMut, Strips, Target, Values, View, blocks,
    lanes, scatter, scatter_workspace,
};
use crate::run::{Machine, Shared, Workspace, WorkspaceSize};
use crate::simd::{Finite, LANES, RawWork, Simd};
use crate::vector::layout::{GROUP, VECTORS, groups, map_len};

/// The mean over all positions of each channel: a map becomes a vector of as many features as it has channels.
#[derive(Debug)]
pub struct GlobalAveragePool<'a> {
    /// The shape of the map.
    pub shape: MapShape,
    /// The map.
    pub x: View<'a>,
    /// The vector.
    pub y: &'a mut [f32],
    /// Samples of the batch.
    pub samples: usize,
}

impl GlobalAveragePool<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// If a length does not fit the shape, or a worker panicked.
    pub fn run(self, machine: &Machine) -> Result<(), Error> {
        let GlobalAveragePool { shape, x, y, samples } = self;
        to_vector(machine, Features::Means, (shape, samples), Source::View(x), y, false)
    }
}

/// The gradient of a [`GlobalAveragePool`].
#[derive(Debug)]
pub struct GlobalAveragePoolBackward<'a> {
    /// The shape of the map.
    pub shape: MapShape,
    /// The map.
    pub x: View<'a>,
    /// The gradient of the vector.
    pub gradient: &'a [f32],
    /// Where the gradient of the map goes.
    pub data: DataGradient<'a>,
    /// Samples of the batch.
    pub samples: usize,
}

impl GlobalAveragePoolBackward<'_> {
    /// The scratch that it needs.
    pub fn workspace(shape: MapShape, samples: usize) -> WorkspaceSize {
        scatter_workspace(shape, samples, 0)
    }

    /// Runs it.
    ///
    /// # Errors
    /// If a length does not fit the shape, the workspace is too small, or a worker panicked.
    pub fn run(self, machine: &Machine, scratch: &mut Workspace) -> Result<(), Error> {
        let GlobalAveragePoolBackward { shape, x, gradient, data, samples } = self;
        gradient_of_map(machine, Features::Means, (shape, samples), x, gradient, data, scratch)
    }
}

/// A map becomes a vector of all its values, features in the order `[channel][row][column]`.
#[derive(Debug)]
pub struct Flatten<'a> {
    /// The shape of the map.
    pub shape: MapShape,
    /// The map.
    pub x: View<'a>,
    /// The vector.
    pub y: &'a mut [f32],
    /// Samples of the batch.
    pub samples: usize,
}

impl Flatten<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// If a length does not fit the shape, or a worker panicked.
    pub fn run(self, machine: &Machine) -> Result<(), Error> {
        let Flatten { shape, x, y, samples } = self;
        to_vector(machine, Features::Values, (shape, samples), Source::View(x), y, false)
    }
}

/// The gradient of a [`Flatten`].
#[derive(Debug)]
pub struct FlattenBackward<'a> {
    /// The shape of the map.
    pub shape: MapShape,
    /// The map.
    pub x: View<'a>,
    /// The gradient of the vector.
    pub gradient: &'a [f32],
    /// Where the gradient of the map goes.
    pub data: DataGradient<'a>,
    /// Samples of the batch.
    pub samples: usize,
}

impl FlattenBackward<'_> {
    /// The scratch that it needs.
    pub fn workspace(shape: MapShape, samples: usize) -> WorkspaceSize {
        scatter_workspace(shape, samples, 0)
    }

    /// Runs it.
    ///
    /// # Errors
    /// If a length does not fit the shape, the workspace is too small, or a worker panicked.
    pub fn run(self, machine: &Machine, scratch: &mut Workspace) -> Result<(), Error> {
        let FlattenBackward { shape, x, gradient, data, samples } = self;
        gradient_of_map(machine, Features::Values, (shape, samples), x, gradient, data, scratch)
    }
}

/// A vector becomes a map, features in the order `[channel][row][column]`. With one row and one column every feature
/// is a channel: what a batch norm needs.
#[derive(Debug)]
pub struct Unflatten<'a> {
    /// The shape of the map.
    pub shape: MapShape,
    /// The vector.
    pub x: &'a [f32],
    /// The map.
    pub y: &'a mut [f32],
    /// Samples of the batch.
    pub samples: usize,
}

impl Unflatten<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// If a length does not fit the shape, or a worker panicked.
    pub fn run(self, machine: &Machine) -> Result<(), Error> {
        let Unflatten { shape, x, y, samples } = self;
        let blocks = blocks(samples);
        check_len("x", x.len(), Features::Values.len(shape, samples)?)?;
        check_len("y", y.len(), shape.len(blocks)?)?;
        if y.is_empty() {
            return Ok(());
        }
        let y = Shared::new(y);
        let strips = Strips::new(shape, samples);
        strips.run(machine, strips.cost(), &|_, part| {
            // SAFETY: both were checked against the shape, and parts are of the map.
            unsafe { machine.isa.run_raw(FromValues { shape, x, y: StoredMut::new(y.get()), part }) };
        })
    }
}

/// The gradient of an [`Unflatten`].
#[derive(Debug)]
pub struct UnflattenBackward<'a> {
    /// The shape of the map.
    pub shape: MapShape,
    /// The gradient of the map.
    pub gradient: GradientView<'a>,
    /// The gradient of the vector.
    pub out: &'a mut [f32],
    /// Whether it is added to what is there.
    pub accumulate: bool,
    /// Samples of the batch.
    pub samples: usize,
}

impl UnflattenBackward<'_> {
    /// Runs it. Lanes behind the last sample become zeros, or are left where the gradient is added up.
    ///
    /// # Errors
    /// If a length does not fit the shape, or a worker panicked.
    pub fn run(self, machine: &Machine) -> Result<(), Error> {
        let UnflattenBackward { shape, gradient, out, accumulate, samples } = self;
        let source = Source::Gradient(gradient);
        to_vector(machine, Features::Values, (shape, samples), source, out, accumulate)
    }
}

/// Which features a vector has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Features {
    /// One per channel.
    Means,
    /// One per value.
    Values,
}

impl Features {
    /// The length of the vector.
    fn len(self, shape: MapShape, samples: usize) -> Result<usize, Error> {
        // Refuses what cannot be multiplied.
        shape.len(blocks(samples).max(1))?;
        map_len(self.count(shape), groups(samples))
    }

    #[inline(always)]
    fn count(self, shape: MapShape) -> usize {
        match self {
            Features::Means => shape.channels,
            Features::Values => shape.channels * shape.rows * shape.columns,
        }
    }

    #[inline(always)]
    fn number(self, shape: MapShape, channel: usize, row: usize, column: usize) -> usize {
        match self {
            Features::Means => channel,
            Features::Values => (channel * shape.rows + row) * shape.columns + column,
        }
    }
}

/// Where feature `feature` (of `features`) of a block begins.
#[inline(always)]
fn place(features: usize, block: usize, feature: usize) -> usize {
    (block / VECTORS * features + feature) * GROUP + block % VECTORS * LANES
}

/// What a vector is made of.
#[derive(Clone, Copy)]
enum Source<'a> {
    View(View<'a>),
    Gradient(GradientView<'a>),
}

fn to_vector(
    machine: &Machine,
    features: Features,
    (shape, samples): (MapShape, usize),
    source: Source,
    y: &mut [f32],
    accumulate: bool,
) -> Result<(), Error> {
    match &source {
        Source::View(view) => view.check(shape, blocks(samples))?,
        Source::Gradient(gradient) => gradient.check(shape, blocks(samples))?,
    }
    check_len("vector", y.len(), features.len(shape, samples)?)?;
    if y.is_empty() {
        return Ok(());
    }
    let y = Shared::new(y);
    // All rows of a block at a time, as means run over them.
    let parts = shape.channels.div_ceil((CHANNEL_PART / (shape.rows * shape.columns).max(1)).max(1));
    let each = shape.channels.div_ceil(parts);
    let cost = Strips::new(shape, samples).cost();
    // Blocks that the last group lacks have no lanes with samples: they are written, but not read.
    machine.run(groups(samples) * VECTORS * parts, cost, &|_, task| {
        let (block, first) = (task / parts, task % parts * each);
        let channels = first.min(shape.channels)..shape.channels.min(first + each);
        let lanes = lanes(samples, block);
        let y = y.get();
        // SAFETY: source and vector were checked against the shape, and tasks have their own features of their block.
        let finite = unsafe {
            machine.isa.run_raw(ToVector { features, shape, source, y, accumulate, block, channels, lanes })
        };
        machine.note(finite);
    })
}

/// Vectors of a map that one task turns into features, about.
const CHANNEL_PART: usize = 1 << 11;

/// Features of some channels of a block; says whether they are finite.
///
/// # Safety
/// Source and vector have been checked against the shape, the channels are within it; the vector has the block, and no
/// other task writes these features of it.
struct ToVector<'a> {
    features: Features,
    shape: MapShape,
    source: Source<'a>,
    y: *mut f32,
    accumulate: bool,
    block: usize,
    channels: Range<usize>,
    lanes: u16,
}

impl RawWork for ToVector<'_> {
    type Output = bool;

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) -> bool {
        let ToVector { features, shape, source, y, accumulate, block, channels, lanes } = self;
        let count = features.count(shape);
        if lanes == 0 {
            if !accumulate {
                let of_channel = count / shape.channels;
                for feature in channels.start * of_channel..channels.end * of_channel {
                    // SAFETY: the vector has whole groups.
                    unsafe { s.store(y.add(place(count, block, feature)), s.splat(0.0)) };
                }
            }
            return true;
        }
        let mut finite = Finite::new(s);
        let share = s.splat(1.0 / (shape.rows * shape.columns) as f32);
        for c in channels {
            // SAFETY: the map has this block, as it has samples, and the vector every feature of the shape.
            unsafe {
                let channel = match &source {
                    Source::View(view) => Channel::View(Values::new(s, view, c)),
                    Source::Gradient(gradient) => Channel::Gradient(Gradients::new(s, gradient, c, lanes)),
                };
                let mut sum = s.splat(0.0);
                for r in 0..shape.rows {
                    for q in 0..shape.columns {
                        let at = shape.at(block, r, c, q);
                        let v = match &channel {
                            Channel::View(values) => values.value(s, at),
                            Channel::Gradient(gradients) => gradients.value(s, at),
                        };
                        if features == Features::Means {
                            sum = s.add(sum, v);
                            continue;
                        }
                        let to = y.add(place(count, block, features.number(shape, c, r, q)));
                        let mut v = s.keep(lanes, v);
                        if accumulate {
                            v = s.add(s.load(to), v);
                        }
                        finite.see(s, v);
                        s.store(to, v);
                    }
                }
                if features == Features::Means {
                    let mean = s.keep(lanes, s.mul(sum, share));
                    finite.see(s, mean);
                    s.store(y.add(place(count, block, c)), mean);
                }
            }
        }
        finite.all(s)
    }
}

/// A channel of a source.
enum Channel<'a, S: Simd> {
    View(Values<'a, S>),
    Gradient(Gradients<'a, S>),
}

/// A part of a map from a vector.
///
/// # Safety
/// Both have been checked against the shape, the part is one of the map; no other task writes it.
struct FromValues<'a> {
    shape: MapShape,
    x: &'a [f32],
    y: StoredMut,
    part: Part,
}

impl RawWork for FromValues<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let FromValues { shape, x, y, part } = self;
        let count = Features::Values.count(shape);
        for r in part.rows {
            for c in part.channels.clone() {
                for q in 0..shape.columns {
                    // SAFETY: block and feature are within vector and map.
                    unsafe {
                        let from = place(count, part.block, Features::Values.number(shape, c, r, q));
                        let v = s.keep(part.lanes, s.load(x.as_ptr().add(from)));
                        y.store(s, shape.at(part.block, r, c, q), v);
                    }
                }
            }
        }
    }
}

fn gradient_of_map(
    machine: &Machine,
    features: Features,
    (shape, samples): (MapShape, usize),
    x: View,
    gradient: &[f32],
    data: DataGradient,
    scratch: &mut Workspace,
) -> Result<(), Error> {
    check_len("gradient", gradient.len(), features.len(shape, samples)?)?;
    let size = scatter_workspace(shape, samples, 0);
    scatter(machine, (shape, samples), x, data, (scratch, size), &|target| {
        // SAFETY: the vector was checked above.
        unsafe { machine.isa.run_raw(FromGradient { features, shape, gradient, target }) };
    })
}

/// The gradient of a part of a map from that of a vector.
///
/// # Safety
/// The vector has been checked against the shape; the target is that of [`scatter`].
struct FromGradient<'a> {
    features: Features,
    shape: MapShape,
    gradient: &'a [f32],
    target: Target<'a>,
}

impl RawWork for FromGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let FromGradient { features, shape, gradient, target } = self;
        let Part { block, rows, channels, lanes, .. } = target.part.clone();
        let count = features.count(shape);
        let scale = match features {
            Features::Means => s.splat(1.0 / (shape.rows * shape.columns) as f32),
            Features::Values => s.splat(1.0),
        };
        for c in channels {
            // SAFETY: block, rows, and every feature are within the shapes.
            unsafe {
                let mut sink = target.channel(s, c);
                for r in rows.clone() {
                    for q in 0..shape.columns {
                        let from = place(count, block, features.number(shape, c, r, q));
                        let g = s.mul(s.load(gradient.as_ptr().add(from)), scale);
                        sink.put(s, shape.at(block, r, c, q), s.keep(lanes, g));
                    }
                }
                target.finish(s, c, sink);
            }
        }
    }
}
