//! The inner loops of convolutions: a tile of results as sums of weights times staged vectors.
//!
//! A tile is R rows × C columns of one or several results. The staged rows are given by a table of pointers,
//! `bases[r][tap row]`: the vector that tap row `tap row` reads for row r of the tile begins at the tap's offset
//! from there.
//!
//! Loads stand in plain loops: closures, those of `array::from_fn` among them, are not compiled for the caller's
//! instruction set and would be called, one by one, where the compiler does not inline them.

use std::ops::Range;

use crate::conv::ahead::Ahead;
use crate::conv::shape::OFFSET_BITS;
use crate::conv::stream::Order;
use crate::simd::{LANES, LaneSums, RawWork, Simd};

/// Where a tile of results goes.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Result 0, row 0, column 0 of the tile.
    pub(crate) out: *mut f32,
    /// f32 from one row of the tile to the next.
    pub(crate) row: usize,
    /// f32 from one result to the next.
    pub(crate) result: usize,
}

#[inline(always)]
fn split(tap: u32) -> (usize, usize) {
    ((tap >> OFFSET_BITS) as usize, (tap & ((1 << OFFSET_BITS) - 1)) as usize * LANES)
}

/// The results of some sections of a sparse product on one tile.
///
/// # Safety
/// The sections are some of the order's. `values` holds a number per nonzero of the order, `bias` one per result,
/// `bases` R × `order.tap_rows` pointers from which every tap's offset and C vectors behind it can be read, and `place`
/// room for C vectors in each of R rows of every result of the sections, which no other task has.
pub(crate) struct SparseTile<'a, const R: usize, const C: usize> {
    pub(crate) order: &'a Order,
    pub(crate) sections: Range<usize>,
    pub(crate) values: *const f32,
    pub(crate) bias: Option<*const f32>,
    pub(crate) bases: *const *const f32,
    pub(crate) place: Place,
    pub(crate) ahead: Ahead,
}

impl<const R: usize, const C: usize> RawWork for SparseTile<'_, R, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let SparseTile { order, sections, values, bias, bases, place, ahead } = self;
        let mut ahead = ahead.over(order.visits.len() * sections.len() / order.sections);
        for panel in 0..order.panels() {
            let is_first = panel == 0;
            // SAFETY: cells and visits are those of an `Order`; the rest is what the caller vouches for.
            unsafe {
                let begin = *order.cells.get_unchecked(panel * order.sections + sections.start);
                let end = *order.cells.get_unchecked(panel * order.sections + sections.end);
                let mut j = begin.nonzero as usize;
                for visit in order.visits.get_unchecked(begin.visit as usize..end.visit as usize) {
                    ahead.next(s);
                    let result = visit.result as usize;
                    let out = place.out.add(result * place.result);
                    let mut sums = [[s.splat(0.0); C]; R];
                    if !is_first {
                        for (r, sums) in sums.iter_mut().enumerate() {
                            for (c, sum) in sums.iter_mut().enumerate() {
                                *sum = s.load(out.add(r * place.row + c * LANES));
                            }
                        }
                    } else if let Some(bias) = bias {
                        sums = [[s.splat(*bias.add(result)); C]; R];
                    }
                    let end = j + visit.count as usize;
                    while j < end {
                        let (row, offset) = split(*order.taps.get_unchecked(j));
                        let w = s.splat(*values.add(j));
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let x = (*bases.add(r * order.tap_rows + row)).add(offset);
                            for (c, sum) in sums.iter_mut().enumerate() {
                                *sum = s.fma(w, s.load(x.add(c * LANES)), *sum);
                            }
                        }
                        j += 1;
                    }
                    for (r, sums) in sums.iter().enumerate() {
                        for (c, &sum) in sums.iter().enumerate() {
                            s.store(out.add(r * place.row + c * LANES), sum);
                        }
                    }
                }
            }
        }
    }
}

/// O results of a dense product on one row of C columns.
///
/// # Safety
/// `weights` holds `taps.len()` numbers for each of O results, `bias` O numbers; `bases` and `place` are as in
/// [`SparseTile`] with R = 1.
pub(crate) struct DenseTile<'a, const O: usize, const C: usize> {
    pub(crate) taps: &'a [u32],
    pub(crate) weights: *const f32,
    pub(crate) bias: Option<*const f32>,
    pub(crate) bases: *const *const f32,
    pub(crate) place: Place,
}

impl<const O: usize, const C: usize> RawWork for DenseTile<'_, O, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let DenseTile { taps, weights, bias, bases, place } = self;
        // SAFETY: what the caller vouches for.
        unsafe {
            let mut sums = [[s.splat(0.0); C]; O];
            if let Some(bias) = bias {
                for (o, sums) in sums.iter_mut().enumerate() {
                    *sums = [s.splat(*bias.add(o)); C];
                }
            }
            for (i, &tap) in taps.iter().enumerate() {
                let (row, offset) = split(tap);
                let base = (*bases.add(row)).add(offset);
                let mut x = [s.splat(0.0); C];
                for (c, x) in x.iter_mut().enumerate() {
                    *x = s.load(base.add(c * LANES));
                }
                for (o, sums) in sums.iter_mut().enumerate() {
                    let w = s.splat(*weights.add(o * taps.len() + i));
                    for (sum, &x) in sums.iter_mut().zip(&x) {
                        *sum = s.fma(w, x, *sum);
                    }
                }
            }
            for (o, sums) in sums.iter().enumerate() {
                for (c, &sum) in sums.iter().enumerate() {
                    s.store(place.out.add(o * place.result + c * LANES), sum);
                }
            }
        }
    }
}

/// The gradient of the output on one tile: rows of staged vectors.
#[derive(Clone, Copy)]
pub(crate) struct GradientTile<const R: usize> {
    /// Channel 0, column 0 of the tile in each of its rows.
    pub(crate) rows: [*const f32; R],
    /// f32 from one channel to the next.
    pub(crate) channel: usize,
}

/// Adds one tile to the weight gradient at the nonzeros of some panels in some sections: per nonzero one multiply-add
/// chain per lane over the tile's positions, then the lane tree.
///
/// # Safety
/// Panels and sections are some of the order's. `bases` is as in [`SparseTile`], as far as these panels read; `partial`
/// holds a number per nonzero of the order, of which no other task has these; `gradient` has C vectors in each row of
/// every result of the sections.
pub(crate) struct SparseGradient<'a, const R: usize, const C: usize> {
    pub(crate) order: &'a Order,
    pub(crate) panels: Range<usize>,
    pub(crate) sections: Range<usize>,
    pub(crate) bases: *const *const f32,
    pub(crate) gradient: GradientTile<R>,
    pub(crate) partial: *mut f32,
    /// Whether this is the first tile: `partial` holds nothing yet.
    pub(crate) first: bool,
    pub(crate) ahead: Ahead,
}

impl<const R: usize, const C: usize> RawWork for SparseGradient<'_, R, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        let SparseGradient { order, panels, sections, bases, gradient, partial, first, ahead } = self;
        let mut ahead = ahead.over(order.visits.len() * sections.len() / order.sections);
        let mut waiting = [s.splat(0.0); LANES];
        // With all sections, the nonzeros of all panels follow each other.
        let step = if sections.len() == order.sections { panels.len() } else { 1 };
        for panel in panels.step_by(step.max(1)) {
            // SAFETY: cells and visits are those of an `Order`; the rest is what the caller vouches for.
            unsafe {
                let begin = *order.cells.get_unchecked(panel * order.sections + sections.start);
                let end = *order.cells.get_unchecked((panel + step - 1) * order.sections + sections.end);
                let mut j = begin.nonzero as usize;
                let mut out = LaneSums::new(&mut waiting, partial.add(j), !first);
                for visit in order.visits.get_unchecked(begin.visit as usize..end.visit as usize) {
                    ahead.next(s);
                    let mut dy = [[s.splat(0.0); C]; R];
                    for (dy, row) in dy.iter_mut().zip(gradient.rows) {
                        let row = row.add(visit.result as usize * gradient.channel);
                        for (c, dy) in dy.iter_mut().enumerate() {
                            *dy = s.load(row.add(c * LANES));
                        }
                    }
                    let end = j + visit.count as usize;
                    while j < end {
                        let (row, offset) = split(*order.taps.get_unchecked(j));
                        let mut sum = s.splat(0.0);
                        for (r, dy) in dy.iter().enumerate() {
                            let x = (*bases.add(r * order.tap_rows + row)).add(offset);
                            for (c, &dy) in dy.iter().enumerate() {
                                sum = s.fma(dy, s.load(x.add(c * LANES)), sum);
                            }
                        }
                        out.push(s, sum);
                        j += 1;
                    }
                }
                out.finish(s);
            }
        }
    }
}

/// Side of the squares of weights that [`DenseGradient`] adds up together.
pub(crate) const SIDE: usize = 4;

/// Adds one tile of positions to the dense weight gradient of [`SIDE`] results, in the order of
/// [`SparseGradient`].
///
/// The result lies in squares of [`SIDE`] results × [`SIDE`] weights, one after the other.
///
/// # Safety
/// `bases` and `gradient` are as there, with 1 to [`SIDE`] results, and `partial` holds a square for every [`SIDE`] taps,
/// which no other task has.
pub(crate) struct DenseGradient<'a, const R: usize, const C: usize> {
    pub(crate) taps: &'a [u32],
    pub(crate) tap_rows: usize,
    pub(crate) results: usize,
    pub(crate) bases: *const *const f32,
    pub(crate) gradient: GradientTile<R>,
    pub(crate) partial: *mut f32,
    pub(crate) first: bool,
}

impl<const R: usize, const C: usize> DenseGradient<'_, R, C> {
    /// Lane sums of O results × I weights from result `o` and weight `i` of the tile on.
    ///
    /// # Safety
    /// As [`DenseGradient`].
    #[inline(always)]
    unsafe fn chains<S: Simd, const O: usize, const I: usize>(
        &self,
        s: S,
        dy: &[[*const f32; R]; SIDE],
        x: &[[*const f32; R]; SIDE],
        (o, i): (usize, usize),
        waiting: &mut [S::V; LANES],
    ) {
        let mut sums = [[s.splat(0.0); I]; O];
        for r in 0..R {
            for c in 0..C {
                // SAFETY: the caller vouches for the tile.
                unsafe {
                    let mut inputs = [s.splat(0.0); I];
                    for (k, input) in inputs.iter_mut().enumerate() {
                        *input = s.load(x[i + k][r].add(c * LANES));
                    }
                    for (k, sums) in sums.iter_mut().enumerate() {
                        let dy = s.load(dy[o + k][r].add(c * LANES));
                        for (sum, &x) in sums.iter_mut().zip(&inputs) {
                            *sum = s.fma(dy, x, *sum);
                        }
                    }
                }
            }
        }
        for (k, sums) in sums.iter().enumerate() {
            for (l, &sum) in sums.iter().enumerate() {
                waiting[(o + k) * SIDE + i + l] = sum;
            }
        }
    }
}

impl<const R: usize, const C: usize> RawWork for DenseGradient<'_, R, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run_raw<S: Simd>(self, s: S) {
        // SAFETY: what the caller vouches for; results and weights behind the last are read as the last, and their
        // places in the squares are not looked at again.
        unsafe {
            let mut dy = [self.gradient.rows; SIDE];
            for (o, dy) in dy.iter_mut().enumerate() {
                for row in dy {
                    *row = row.add(o.min(self.results - 1) * self.gradient.channel);
                }
            }
            let mut waiting = [s.splat(0.0); LANES];
            for (chunk, taps) in self.taps.chunks(SIDE).enumerate() {
                let mut x = [[std::ptr::null(); R]; SIDE];
                for (i, x) in x.iter_mut().enumerate() {
                    let (row, offset) = split(taps[i.min(taps.len() - 1)]);
                    for (r, x) in x.iter_mut().enumerate() {
                        *x = (*self.bases.add(r * self.tap_rows + row)).add(offset);
                    }
                }
                if S::WIDE {
                    self.chains::<S, 4, 4>(s, &dy, &x, (0, 0), &mut waiting);
                } else {
                    for at in [(0, 0), (0, 2), (2, 0), (2, 2)] {
                        self.chains::<S, 2, 2>(s, &dy, &x, at, &mut waiting);
                    }
                }
                let out = self.partial.add(chunk * LANES);
                let mut sums = s.sum16(waiting);
                if !self.first {
                    sums = s.add(s.load(out), sums);
                }
                s.store(out, sums);
            }
        }
    }
}
