//! Rows of maps on their way into and out of kernels: a row of a view is computed into scratch, with zero borders;
//! a finished row is stored, with what is fused behind it. Nothing else reads or writes stored maps.

use crate::map::shape::{BLOCK, MapShape};
use crate::map::view::{Affine, Dropout, GradientView, NormGradient, View};
use crate::simd::{LANES, Simd, Work};

/// How a staged row lies in scratch: per channel `planes` planes of `plane` vectors each. Column q, which stands
/// `left` columns behind the row's left edge, is vector (q + left) / planes of plane (q + left) mod planes, so
/// that columns one stride apart are neighbours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Staging {
    pub(crate) left: usize,
    pub(crate) planes: usize,
    pub(crate) plane: usize,
}

impl Staging {
    /// Vectors from one channel to the next.
    pub(crate) fn channel(self) -> usize {
        self.planes * self.plane
    }

    /// f32 of a row of so many channels.
    pub(crate) fn row_len(self, channels: usize) -> usize {
        channels * self.channel() * LANES
    }

    /// Where column q of a channel is, in vectors from the channel's beginning.
    #[inline(always)]
    fn at(self, column: usize) -> usize {
        let padded = column + self.left;
        padded % self.planes * self.plane + padded / self.planes
    }
}

/// Computes row `row` of block `block` of a view into scratch.
pub(crate) struct StageView<'a> {
    pub(crate) view: View<'a>,
    pub(crate) shape: MapShape,
    pub(crate) block: usize,
    pub(crate) row: usize,
    pub(crate) staging: Staging,
    /// Scratch of `staging.row_len(channels)` f32.
    pub(crate) out: *mut f32,
}

impl Work for StageView<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let StageView { view, shape, block, row, staging, out } = self;
        let first = block * shape.block_len() + row * shape.row_len();
        for c in 0..shape.channels {
            // SAFETY: the kernel checked the view against the shape, block and row are within it, and the scratch
            // holds a row; columns stay inside their planes (`Staging`, made for these columns).
            unsafe {
                let x = view.map.as_ptr().add(first + c * shape.columns * BLOCK);
                let out = out.add(c * staging.channel() * LANES);
                let point = Pointwise::new(s, &view, c);
                let words = (first / LANES) + c * shape.columns;
                if staging.planes == 1 {
                    let out = out.add(staging.left * LANES);
                    for q in 0..shape.columns {
                        let v = point.apply(s, s.load(x.add(q * LANES)), words + q);
                        s.store(out.add(q * LANES), v);
                    }
                } else {
                    for q in 0..shape.columns {
                        let v = point.apply(s, s.load(x.add(q * LANES)), words + q);
                        s.store(out.add(staging.at(q) * LANES), v);
                    }
                }
            }
        }
    }
}

/// What a view does to the values of one channel.
#[derive(Clone, Copy)]
pub(crate) struct Pointwise<'a, S: Simd> {
    norm: Option<[S::V; 3]>,
    relu: bool,
    dropout: Option<(&'a [u16], S::V)>,
}

impl<'a, S: Simd> Pointwise<'a, S> {
    /// # Safety
    /// The view has been checked against a shape with more channels than `channel`.
    #[inline(always)]
    pub(crate) unsafe fn new(s: S, view: &View<'a>, channel: usize) -> Pointwise<'a, S> {
        // SAFETY: the caller vouches for the lengths.
        let norm = view.norm.map(|Affine { mean, scale, offset }| unsafe {
            [mean, scale, offset].map(|values| s.splat(*values.get_unchecked(channel)))
        });
        let dropout = view.dropout.map(|Dropout { keep, scale }| (keep, s.splat(scale)));
        Pointwise { norm, relu: view.relu, dropout }
    }

    /// The value behind the norm (and the ReLU's gate).
    #[inline(always)]
    fn normalised(&self, s: S, x: S::V) -> S::V {
        match self.norm {
            Some([mean, scale, offset]) => s.fma(s.sub(x, mean), scale, offset),
            None => x,
        }
    }

    /// The value of the view whose dropout word is number `word`.
    ///
    /// # Safety
    /// The map of the view has a vector of that number.
    #[inline(always)]
    pub(crate) unsafe fn apply(&self, s: S, x: S::V, word: usize) -> S::V {
        let mut v = self.normalised(s, x);
        if self.relu {
            v = s.max(v, s.splat(0.0));
        }
        if let Some((keep, scale)) = self.dropout {
            // SAFETY: the caller vouches for the number.
            v = s.keep(unsafe { *keep.get_unchecked(word) }, s.mul(v, scale));
        }
        v
    }

    /// The gradient before the view's dropout and ReLU, of the gradient `dv` of its value where the map holds x.
    ///
    /// # Safety
    /// As [`Pointwise::apply`].
    #[inline(always)]
    pub(crate) unsafe fn gate(&self, s: S, x: S::V, dv: S::V, word: usize) -> S::V {
        let mut v = dv;
        if let Some((keep, scale)) = self.dropout {
            // SAFETY: the caller vouches for the number.
            v = s.keep(unsafe { *keep.get_unchecked(word) }, s.mul(v, scale));
        }
        if self.relu { s.where_positive(self.normalised(s, x), v) } else { v }
    }
}

/// Computes row `row` of block `block` of a gradient into scratch, zero in lanes without samples; with `keep` it
/// is written there as well.
pub(crate) struct StageGradient<'a> {
    pub(crate) view: GradientView<'a>,
    pub(crate) shape: MapShape,
    pub(crate) block: usize,
    pub(crate) row: usize,
    pub(crate) lanes: u16,
    pub(crate) staging: Staging,
    pub(crate) out: *mut f32,
    /// The whole map to write to, of the shape's length.
    pub(crate) keep: Option<*mut f32>,
}

impl Work for StageGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let StageGradient { view, shape, block, row, lanes, staging, out, keep } = self;
        let first = block * shape.block_len() + row * shape.row_len();
        for c in 0..shape.channels {
            let at = first + c * shape.columns * BLOCK;
            // SAFETY: the kernel checked the view against the shape (and `keep` has its length), block and row are
            // within it, and the scratch holds a row of these columns.
            unsafe {
                let out = out.add((c * staging.channel() + staging.left) * LANES);
                let norm = view.norm.map(|n| NormTerms::new(s, &n, c));
                for q in 0..shape.columns {
                    let at = at + q * LANES;
                    let mut v = match norm {
                        Some(norm) => norm.apply(s, at),
                        None => s.splat(0.0),
                    };
                    if let Some(direct) = view.direct {
                        v = s.add(v, s.load(direct.as_ptr().add(at)));
                    }
                    let v = s.keep(lanes, v);
                    s.store(out.add(q * LANES), v);
                    if let Some(keep) = keep {
                        s.store(keep.add(at), v);
                    }
                }
            }
        }
    }
}

/// The backward pass of a norm for one channel.
#[derive(Clone, Copy)]
pub(crate) struct NormTerms<S: Simd> {
    dz: *const f32,
    x: *const f32,
    mean: S::V,
    scale: S::V,
    slope: S::V,
    shift: S::V,
}

impl<S: Simd> NormTerms<S> {
    /// # Safety
    /// The gradient has been checked against a shape with more channels than `channel`.
    #[inline(always)]
    pub(crate) unsafe fn new(s: S, norm: &NormGradient, channel: usize) -> NormTerms<S> {
        // SAFETY: the caller vouches for the lengths.
        unsafe {
            NormTerms {
                dz: norm.dz.as_ptr(),
                x: norm.x.as_ptr(),
                mean: s.splat(*norm.mean.get_unchecked(channel)),
                scale: s.splat(*norm.scale.get_unchecked(channel)),
                slope: s.splat(*norm.slope.get_unchecked(channel)),
                shift: s.splat(*norm.shift.get_unchecked(channel)),
            }
        }
    }

    /// The gradient of the vector at `at`.
    ///
    /// # Safety
    /// The maps hold 16 f32 at `at`, and the channel is that of this value.
    #[inline(always)]
    pub(crate) unsafe fn apply(&self, s: S, at: usize) -> S::V {
        // SAFETY: the caller vouches for `at`.
        let (dz, x) = unsafe { (s.load(self.dz.add(at)), s.load(self.x.add(at))) };
        s.fma(self.scale, dz, s.fma(self.slope, s.sub(x, self.mean), self.shift))
    }
}

/// Sums of the lanes of each channel, while rows go by: `[channel][first, second][16]`.
pub(crate) type LaneSums = *mut f32;

/// Stores a finished row of a forward pass: adds the residual, and adds up what the next batch norm needs,
/// Σ(y − shift) and Σ(y − shift)², over lanes with samples.
pub(crate) struct StoreForward<'a> {
    /// The row, `[channel][column][16]`.
    pub(crate) from: *const f32,
    pub(crate) residual: Option<View<'a>>,
    pub(crate) shape: MapShape,
    pub(crate) block: usize,
    pub(crate) row: usize,
    pub(crate) lanes: u16,
    /// The whole map, of the shape's length, if the row is to be stored at all.
    pub(crate) y: Option<*mut f32>,
    /// The running mean, by which sums are shifted, and the sums.
    pub(crate) statistics: Option<(&'a [f32], LaneSums)>,
    /// Whether stores go past the caches; the map is then aligned to 64 bytes.
    pub(crate) past: bool,
}

impl Work for StoreForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let StoreForward { from, residual, shape, block, row, lanes, y, statistics, past } = self;
        let first = block * shape.block_len() + row * shape.row_len();
        for c in 0..shape.channels {
            let at = first + c * shape.columns * BLOCK;
            // SAFETY: the kernel checked residual, map and statistics against the shape, block and row are within
            // it, and `from` holds a row.
            unsafe {
                let from = from.add(c * shape.columns * BLOCK);
                let residual = residual.as_ref().map(|view| (view.map.as_ptr(), Pointwise::new(s, view, c)));
                let (shift, sums) = match statistics {
                    Some((shift, sums)) => (s.splat(*shift.get_unchecked(c)), sums.add(c * 2 * LANES)),
                    None => (s.splat(0.0), std::ptr::null_mut()),
                };
                let (mut sum, mut square) = (s.splat(0.0), s.splat(0.0));
                if !sums.is_null() {
                    (sum, square) = (s.load(sums), s.load(sums.add(LANES)));
                }
                for q in 0..shape.columns {
                    let at = at + q * LANES;
                    let mut v = s.load(from.add(q * LANES));
                    if let Some((map, point)) = residual {
                        v = s.add(v, point.apply(s, s.load(map.add(at)), at / LANES));
                    }
                    match y {
                        Some(y) if past => s.store_past(y.add(at), v),
                        Some(y) => s.store(y.add(at), v),
                        None => {}
                    }
                    let d = s.keep(lanes, s.sub(v, shift));
                    sum = s.add(sum, d);
                    square = s.fma(d, d, square);
                }
                if !sums.is_null() {
                    s.store(sums, sum);
                    s.store(sums.add(LANES), square);
                }
            }
        }
        if past {
            s.fence();
        }
    }
}

/// Stores a finished row of a data gradient: through the view's dropout and ReLU, added to what is there or not,
/// and adds up what the backward pass of the view's norm needs, Σ dz and Σ dz·(x − μ).
pub(crate) struct StoreGradient<'a> {
    /// The row, `[channel][class][column of the class][16]` for columns of so many classes.
    pub(crate) from: *const f32,
    /// The class of column 0, and where each class begins, in vectors.
    pub(crate) classes: Classes<'a>,
    pub(crate) view: View<'a>,
    pub(crate) shape: MapShape,
    pub(crate) block: usize,
    pub(crate) row: usize,
    /// The whole map, of the shape's length.
    pub(crate) out: *mut f32,
    pub(crate) accumulate: bool,
    pub(crate) sums: Option<LaneSums>,
}

/// How the columns of a data gradient are dealt out: column q is in class (q + padding) mod stride, which begins at
/// vector `begins[class]` of a channel; columns of a class follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Classes<'a> {
    pub(crate) padding: usize,
    pub(crate) begins: &'a [usize],
}

impl Work for StoreGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let StoreGradient { from, classes, view, shape, block, row, out, accumulate, sums } = self;
        let first = block * shape.block_len() + row * shape.row_len();
        let stride = classes.begins.len();
        for c in 0..shape.channels {
            let at = first + c * shape.columns * BLOCK;
            // SAFETY: the kernel checked view and map against the shape, block and row are within it, and `from`
            // holds a row in which every column has its place in its class.
            unsafe {
                let from = from.add(c * shape.columns * BLOCK);
                let point = Pointwise::new(s, &view, c);
                let mean = view.norm.map_or(s.splat(0.0), |norm| s.splat(*norm.mean.get_unchecked(c)));
                let sums = sums.map_or(std::ptr::null_mut(), |sums| sums.add(c * 2 * LANES));
                let (mut sum, mut product) = (s.splat(0.0), s.splat(0.0));
                if !sums.is_null() {
                    (sum, product) = (s.load(sums), s.load(sums.add(LANES)));
                }
                let first_of = |class: usize| (class + stride - classes.padding % stride) % stride;
                for q in 0..shape.columns {
                    let place = if stride == 1 {
                        q
                    } else {
                        let class = (q + classes.padding) % stride;
                        classes.begins.get_unchecked(class) + (q - first_of(class)) / stride
                    };
                    let at = at + q * LANES;
                    let x = s.load(view.map.as_ptr().add(at));
                    let mut v = point.gate(s, x, s.load(from.add(place * LANES)), at / LANES);
                    if accumulate {
                        v = s.add(s.load(out.add(at)), v);
                    }
                    s.store(out.add(at), v);
                    sum = s.add(sum, v);
                    product = s.fma(v, s.sub(x, mean), product);
                }
                if !sums.is_null() {
                    s.store(sums, sum);
                    s.store(sums.add(LANES), product);
                }
            }
        }
    }
}

/// Adds a staged row of a gradient to the lane sums of its channels, `[channel][16]`: the gradient of a bias.
pub(crate) struct SumRow {
    /// Channel 0, column 0.
    pub(crate) row: *const f32,
    pub(crate) channels: usize,
    pub(crate) columns: usize,
    /// Vectors from one channel to the next.
    pub(crate) channel: usize,
    pub(crate) sums: *mut f32,
}

impl Work for SumRow {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for c in 0..self.channels {
            // SAFETY: the caller has a row of so many channels and columns, and a vector of sums for each channel.
            unsafe {
                let sums = self.sums.add(c * LANES);
                let row = self.row.add(c * self.channel * LANES);
                let mut sum = s.load(sums);
                for q in 0..self.columns {
                    sum = s.add(sum, s.load(row.add(q * LANES)));
                }
                s.store(sums, sum);
            }
        }
    }
}
