//! Between maps of images, `[block of 16][row][channel][column][16]`, and vectors, `[group of 64][feature][64]`: four
//! blocks fill a group, of the last one or more may be missing. Lanes without samples are zeros in every result.
//!
//! # Order of sums
//! A mean over positions is the sum of the values in row-major order, times 1 / (rows · columns).

use crate::error::{Error, check_len};
use crate::map::{
    DataGradient, GradientView, MapShape, Pointwise, Reader, Strip, View, Writer, blocks, lanes, scatter,
    scatter_workspace,
};
use crate::run::{Machine, Shared, Workspace, WorkspaceSize};
use crate::simd::{LANES, Simd, Work};
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
        machine.run(blocks, cost(shape, samples), &|_, block| {
            let lanes = lanes(samples, block);
            machine.isa.run(Copy { shape, x, y: y.get(), block, lanes });
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

/// Operations in all, for the rule on what is worth other threads: memory is what these passes wait for.
fn cost(shape: MapShape, samples: usize) -> usize {
    blocks(samples).saturating_mul(shape.block_len()).saturating_mul(16)
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
    // Blocks that the last group lacks have no lanes with samples: they are written, but not read.
    machine.run(groups(samples) * VECTORS, cost(shape, samples), &|_, block| {
        let lanes = lanes(samples, block);
        let y = y.get();
        machine.isa.run(ToVector { features, shape, source, y, accumulate, block, lanes });
    })
}

/// The features of a block. Source and vector have been checked against the shape.
struct ToVector<'a> {
    features: Features,
    shape: MapShape,
    source: Source<'a>,
    y: *mut f32,
    accumulate: bool,
    block: usize,
    lanes: u16,
}

impl Work for ToVector<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ToVector { features, shape, source, y, accumulate, block, lanes } = self;
        let count = features.count(shape);
        if lanes == 0 {
            if !accumulate {
                for feature in 0..count {
                    // SAFETY: the vector has whole groups.
                    unsafe { s.store(y.add(place(count, block, feature)), s.splat(0.0)) };
                }
            }
            return;
        }
        let share = s.splat(1.0 / (shape.rows * shape.columns) as f32);
        for c in 0..shape.channels {
            // SAFETY: the map has this block, as it has samples, and the vector every feature of the shape.
            unsafe {
                let channel = match &source {
                    Source::View(view) => Channel::View(view.map.as_ptr(), Pointwise::new(s, view, c)),
                    Source::Gradient(gradient) => Channel::Gradient(Reader::new(s, gradient, c, lanes)),
                };
                let mut sum = s.splat(0.0);
                for r in 0..shape.rows {
                    for q in 0..shape.columns {
                        let at = shape.at(block, r, c, q);
                        let v = match &channel {
                            Channel::View(map, point) => point.apply(s, s.load(map.add(at)), at / LANES),
                            Channel::Gradient(reader) => reader.value(s, at),
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
                        s.store(to, v);
                    }
                }
                if features == Features::Means {
                    s.store(y.add(place(count, block, c)), s.keep(lanes, s.mul(sum, share)));
                }
            }
        }
    }
}

/// A channel of a source.
enum Channel<'a, S: Simd> {
    View(*const f32, Pointwise<'a, S>),
    Gradient(Reader<S>),
}

/// A block of a map from a vector, both checked against the shape.
struct Copy<'a> {
    shape: MapShape,
    x: &'a [f32],
    y: *mut f32,
    block: usize,
    lanes: u16,
}

impl Work for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Copy { shape, x, y, block, lanes } = self;
        let count = Features::Values.count(shape);
        for r in 0..shape.rows {
            for c in 0..shape.channels {
                for q in 0..shape.columns {
                    // SAFETY: block and feature are within vector and map.
                    unsafe {
                        let from = place(count, block, Features::Values.number(shape, c, r, q));
                        let v = s.keep(lanes, s.load(x.as_ptr().add(from)));
                        s.store(y.add(shape.at(block, r, c, q)), v);
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
    scatter(machine, (shape, samples), x, data, (scratch, size), &|strip| {
        machine.isa.run(FromVector { features, shape, gradient, strip });
    })
}

/// The gradient of some rows of a block. The vector has been checked against the shape, the strip is that of
/// [`scatter`].
struct FromVector<'a> {
    features: Features,
    shape: MapShape,
    gradient: &'a [f32],
    strip: Strip<'a>,
}

impl Work for FromVector<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let FromVector { features, shape, gradient, strip } = self;
        let Strip { block, rows, lanes, scratch: _, target } = strip;
        let count = features.count(shape);
        let scale = match features {
            Features::Means => s.splat(1.0 / (shape.rows * shape.columns) as f32),
            Features::Values => s.splat(1.0),
        };
        for c in 0..shape.channels {
            // SAFETY: block, rows, and every feature are within the shapes.
            unsafe {
                let mut writer = Writer::new(s, &target, c);
                for r in rows.clone() {
                    for q in 0..shape.columns {
                        let from = place(count, block, features.number(shape, c, r, q));
                        let g = s.mul(s.load(gradient.as_ptr().add(from)), scale);
                        writer.put(s, shape.at(block, r, c, q), s.keep(lanes, g));
                    }
                }
                writer.finish(s);
            }
        }
    }
}
