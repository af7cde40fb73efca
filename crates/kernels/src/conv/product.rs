//! The inner loops of convolutions: a tile of results as sums of weights times staged vectors.
//!
//! A tile is R rows × C columns of one or several results. The staged rows are given by a table of pointers,
//! `bases[r][tap row]`: the vector that tap row `tap row` reads for row r of the tile begins at the tap's offset
//! from there.
//!
//! Loads stand in plain loops: closures, those of `array::from_fn` among them, are not compiled for the caller's
//! instruction set and would be called, one by one, where the compiler does not inline them.

use crate::conv::ahead::Ahead;
use crate::conv::shape::OFFSET_BITS;
use crate::conv::stream::Order;
use crate::simd::{LANES, Simd, Work};

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

/// All results of a sparse product on one tile.
///
/// Whoever runs it vouches that `values` holds a number per nonzero of the order, `bias` one per result, `bases`
/// R × `order.tap_rows` pointers from which every tap's offset and C vectors behind it can be read, and `place`
/// room for C vectors in each of R rows of every result.
pub(crate) struct SparseTile<'a, const R: usize, const C: usize> {
    pub(crate) order: &'a Order,
    pub(crate) values: *const f32,
    pub(crate) bias: Option<*const f32>,
    pub(crate) bases: *const *const f32,
    pub(crate) place: Place,
    pub(crate) ahead: Ahead,
}

impl<const R: usize, const C: usize> Work for SparseTile<'_, R, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let SparseTile { order, values, bias, bases, place, ahead } = self;
        let mut ahead = ahead.over(order.visits.len());
        let mut j = 0;
        for (number, pair) in order.blocks.windows(2).enumerate() {
            let is_first = number == 0;
            // SAFETY: the blocks and visits are those of an `Order`; the rest is what the caller vouches for.
            unsafe {
                for visit in order.visits.get_unchecked(pair[0] as usize..pair[1] as usize) {
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
/// Whoever runs it vouches that `weights` holds `taps.len()` numbers for each of O results, `bias` O numbers, and
/// for `bases` and `place` as in [`SparseTile`] with R = 1.
pub(crate) struct DenseTile<'a, const O: usize, const C: usize> {
    pub(crate) taps: &'a [u32],
    pub(crate) weights: *const f32,
    pub(crate) bias: Option<*const f32>,
    pub(crate) bases: *const *const f32,
    pub(crate) place: Place,
}

impl<const O: usize, const C: usize> Work for DenseTile<'_, O, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
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

/// Adds one tile to the weight gradient at the nonzeros: per nonzero one multiply-add chain per lane over the tile's
/// positions, then the lane tree.
///
/// Whoever runs it vouches for `bases` as in [`SparseTile`], that `partial` holds a number per nonzero, and that
/// `gradient` has C vectors in each row of every result.
pub(crate) struct SparseGradient<'a, const R: usize, const C: usize> {
    pub(crate) order: &'a Order,
    pub(crate) bases: *const *const f32,
    pub(crate) gradient: GradientTile<R>,
    pub(crate) partial: *mut f32,
    /// Whether this is the first tile: `partial` holds nothing yet.
    pub(crate) first: bool,
    pub(crate) ahead: Ahead,
}

impl<const R: usize, const C: usize> Work for SparseGradient<'_, R, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let SparseGradient { order, bases, gradient, partial, first, ahead } = self;
        let mut ahead = ahead.over(order.visits.len());
        // Lane sums wait until there are 16, which are then added up together.
        let mut waiting = [s.splat(0.0); LANES];
        let (mut j, mut written) = (0, 0);
        // SAFETY: the visits are those of an `Order`; the rest is what the caller vouches for.
        unsafe {
            for visit in &order.visits {
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
                    *waiting.get_unchecked_mut(j - written) = sum;
                    j += 1;
                    if j - written == LANES {
                        let out = partial.add(written);
                        let mut sums = s.sum16(waiting);
                        if !first {
                            sums = s.add(s.load(out), sums);
                        }
                        s.store(out, sums);
                        written = j;
                    }
                }
            }
            if j > written {
                let mut sums = [0.0; LANES];
                s.store(sums.as_mut_ptr(), s.sum16(waiting));
                for (k, &sum) in sums.iter().enumerate().take(j - written) {
                    let out = partial.add(written + k);
                    *out = if first { sum } else { *out + sum };
                }
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
/// Whoever runs it vouches for `bases` and `gradient` as there, with at most [`SIDE`] results, and that `partial`
/// holds a square for every [`SIDE`] taps.
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

impl<const R: usize, const C: usize> Work for DenseGradient<'_, R, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: what the caller vouches for; results and weights behind the last are read as the last, and their
        // places in the squares are not looked at again.
        unsafe {
            let dy: [[*const f32; R]; SIDE] = std::array::from_fn(|o| {
                self.gradient.rows.map(|row| row.add(o.min(self.results - 1) * self.gradient.channel))
            });
            let mut waiting = [s.splat(0.0); LANES];
            for (chunk, taps) in self.taps.chunks(SIDE).enumerate() {
                let x: [[*const f32; R]; SIDE] = std::array::from_fn(|i| {
                    let (row, offset) = split(taps[i.min(taps.len() - 1)]);
                    std::array::from_fn(|r| (*self.bases.add(r * self.tap_rows + row)).add(offset))
                });
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
