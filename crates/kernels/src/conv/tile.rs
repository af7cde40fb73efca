//! From rows to tiles: which sizes of tiles cover a row, and the compiled form for each.

use std::ops::Range;

use crate::conv::ahead::Ahead;
use crate::conv::product::{DenseGradient, DenseTile, GradientTile, Place, SIDE, SparseGradient, SparseTile};
use crate::conv::stream::Order;
use crate::conv::taps::Taps;
use crate::simd::{Isa, LANES};

/// Pointers of a table of staged rows, at most: two rows of a tile times the largest kernel.
pub(crate) const BASES: usize = 128;

/// A table of staged rows: for each row of a tile and each tap row, where its vector for column 0 and offset 0 is.
#[derive(Clone, Copy)]
pub(crate) struct Bases([*const f32; BASES]);

impl Bases {
    /// The table for `rows` tile rows; `row(r, tap row)` gives each.
    pub(crate) fn new(rows: usize, taps: usize, row: impl Fn(usize, usize) -> *const f32) -> Bases {
        let mut bases = [std::ptr::null(); BASES];
        for (i, base) in bases.iter_mut().take(rows * taps).enumerate() {
            *base = row(i / taps, i % taps);
        }
        Bases(bases)
    }

    /// The table of one row of several, of so many taps.
    fn of_row(&self, row: usize, taps: usize) -> Bases {
        let mut bases = *self;
        bases.0.copy_within(row * taps..(row + 1) * taps, 0);
        bases
    }

    /// The same for tiles that begin at another column; of the first `count` pointers.
    fn moved(&self, column: usize, count: usize) -> Bases {
        let mut bases = *self;
        // Pointers stay inside the staged rows that they point into.
        bases.0.iter_mut().take(count).for_each(|base| *base = base.wrapping_add(column * LANES));
        bases
    }
}

/// Calls `tile(first column, columns)` for tiles of the given sizes, largest first, that cover `columns`.
fn cover(columns: usize, sizes: &[usize], mut tile: impl FnMut(usize, usize)) {
    let mut at = 0;
    for &size in sizes {
        while columns - at >= size {
            tile(at, size);
            at += size;
        }
    }
}

/// Sizes of the tiles over which weight gradients are chains: part of the order of sums, so alike everywhere.
const CHAINS: [usize; 5] = [16, 8, 4, 2, 1];

/// Runs a generic tile for R rows and C columns that are known only now. One form per size.
macro_rules! sized {
    ($isa:expr, $rows:expr, $columns:expr, $tile:ident, $fields:tt) => {
        match ($rows, $columns) {
            (1, 16) => $isa.run_raw($tile::<1, 16> $fields),
            (1, 8) => $isa.run_raw($tile::<1, 8> $fields),
            (1, 4) => $isa.run_raw($tile::<1, 4> $fields),
            (1, 2) => $isa.run_raw($tile::<1, 2> $fields),
            (1, _) => $isa.run_raw($tile::<1, 1> $fields),
            (_, 8) => $isa.run_raw($tile::<2, 8> $fields),
            (_, 4) => $isa.run_raw($tile::<2, 4> $fields),
            (_, 2) => $isa.run_raw($tile::<2, 2> $fields),
            (_, _) => $isa.run_raw($tile::<2, 1> $fields),
        }
    };
}

/// The results of some sections of a sparse product on `rows` (1 or 2) × `columns` positions.
///
/// # Safety
/// As [`SparseTile`] for all these columns.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn sparse_product(
    isa: Isa,
    (order, sections): (&Order, &Range<usize>),
    values: *const f32,
    bias: Option<*const f32>,
    (rows, columns): (usize, usize),
    bases: &Bases,
    place: Place,
    ahead: Ahead,
) {
    let tile = |rows: usize, first: usize, size: usize, bases: &Bases, out: *mut f32| {
        let ahead = ahead.part(first / size, columns.div_ceil(size));
        let bases = bases.moved(first, rows * order.tap_rows);
        let bases = bases.0.as_ptr();
        let place = Place { out: out.wrapping_add(first * LANES), ..place };
        let sections = sections.clone();
        // SAFETY: the columns are some of those that the caller vouches for.
        unsafe {
            sized!(isa, rows, size, SparseTile, { order, sections, values, bias, bases, place, ahead })
        };
    };
    if isa.is_wide() {
        let sizes: &[usize] = if rows == 1 { &CHAINS } else { &CHAINS[1..] };
        cover(columns, sizes, |first, size| tile(rows, first, size, bases, place.out));
    } else {
        // Eight accumulators of two registers each would be too many in sixteen: row by row, four at a time.
        for row in 0..rows {
            let of_row = bases.of_row(row, order.tap_rows);
            let out = place.out.wrapping_add(row * place.row);
            cover(columns, &CHAINS[2..], |first, size| tile(1, first, size, &of_row, out));
        }
    }
}

/// Some results of a dense product on `rows` × `columns` positions; weights, bias and place are those of all.
///
/// # Safety
/// As [`DenseTile`] for all these results and columns.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn dense_product(
    isa: Isa,
    taps: &Taps,
    weights: *const f32,
    bias: Option<*const f32>,
    results: Range<usize>,
    (rows, columns): (usize, usize),
    bases: &Bases,
    place: Place,
) {
    // Where there are no taps at all, results still have their beginnings.
    let (side, sizes): (usize, &[usize]) = if isa.is_wide() { (4, &[4, 2, 1]) } else { (2, &[2, 1]) };
    for row in 0..rows {
        let of_row = bases.of_row(row, taps.rows);
        let out = place.out.wrapping_add(row * place.row);
        cover(columns, sizes, |first, size| {
            let moved = of_row.moved(first, taps.rows);
            let bases = moved.0.as_ptr();
            cover(results.len(), &[side, 1], |result, count| {
                let (result, taps) = (results.start + result, taps.taps.as_slice());
                let weights = weights.wrapping_add(result * taps.len());
                let bias = bias.map(|bias| bias.wrapping_add(result));
                let out = out.wrapping_add(result * place.result + first * LANES);
                let place = Place { out, ..place };
                // SAFETY: results and columns are some of those that the caller vouches for.
                unsafe {
                    match (count, size) {
                        (4, 4) => isa.run_raw(DenseTile::<4, 4> { taps, weights, bias, bases, place }),
                        (4, 2) => isa.run_raw(DenseTile::<4, 2> { taps, weights, bias, bases, place }),
                        (4, _) => isa.run_raw(DenseTile::<4, 1> { taps, weights, bias, bases, place }),
                        (2, 2) => isa.run_raw(DenseTile::<2, 2> { taps, weights, bias, bases, place }),
                        (2, _) => isa.run_raw(DenseTile::<2, 1> { taps, weights, bias, bases, place }),
                        (_, 4) => isa.run_raw(DenseTile::<1, 4> { taps, weights, bias, bases, place }),
                        (_, 2) => isa.run_raw(DenseTile::<1, 2> { taps, weights, bias, bases, place }),
                        (_, _) => isa.run_raw(DenseTile::<1, 1> { taps, weights, bias, bases, place }),
                    }
                }
            });
        });
    }
}

/// Rows of the output's gradient, staged.
#[derive(Clone, Copy)]
pub(crate) struct GradientRows {
    /// Channel 0, column 0 of each row of the tile; the second is used where there are two.
    pub(crate) rows: [*const f32; 2],
    /// f32 from one channel to the next.
    pub(crate) channel: usize,
}

impl GradientRows {
    fn tile<const R: usize>(&self, first: usize) -> GradientTile<R> {
        GradientTile {
            rows: std::array::from_fn(|r| self.rows[r].wrapping_add(first * LANES)),
            channel: self.channel,
        }
    }
}

/// The weight gradient at the nonzeros of some panels in some sections on `rows` × `columns` positions, tile by tile.
///
/// # Safety
/// As [`SparseGradient`] for all these columns.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn sparse_gradient(
    isa: Isa,
    (order, panels, sections): (&Order, &Range<usize>, &Range<usize>),
    (rows, columns): (usize, usize),
    bases: &Bases,
    dy: GradientRows,
    partial: *mut f32,
    mut first: bool,
    ahead: Ahead,
) {
    let sizes: &[usize] = if rows == 1 { &CHAINS } else { &CHAINS[1..] };
    cover(columns, sizes, |column, size| {
        let ahead = ahead.part(column / size, columns.div_ceil(size));
        let moved = bases.moved(column, rows * order.tap_rows);
        let bases = moved.0.as_ptr();
        let (panels, sections) = (panels.clone(), sections.clone());
        // SAFETY: the columns are some of those that the caller vouches for.
        unsafe {
            sized!(isa, rows, size, SparseGradient, {
                order, panels, sections, bases, gradient: dy.tile(column), partial, first, ahead
            });
        }
        first = false;
    });
}

/// The dense weight gradient of some results, from a multiple of [`SIDE`] on, on `rows` × `columns` positions, tile by
/// tile; gradient and partial are those of all.
///
/// # Safety
/// As [`DenseGradient`] for all these results and columns.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn dense_gradient(
    isa: Isa,
    taps: &Taps,
    results: &Range<usize>,
    (rows, columns): (usize, usize),
    bases: &Bases,
    dy: GradientRows,
    partial: *mut f32,
    mut first: bool,
) {
    let (tap_rows, taps) = (taps.rows, taps.taps.as_slice());
    let squares = taps.len().div_ceil(SIDE);
    let sizes: &[usize] = if rows == 1 { &CHAINS } else { &CHAINS[1..] };
    cover(columns, sizes, |column, size| {
        let moved = bases.moved(column, rows * tap_rows);
        let bases = moved.0.as_ptr();
        for result in results.clone().step_by(SIDE) {
            let skip = result * dy.channel;
            let dy = GradientRows { rows: dy.rows.map(|row| row.wrapping_add(skip)), ..dy };
            let partial = partial.wrapping_add(result / SIDE * squares * SIDE * SIDE);
            let results = SIDE.min(results.end - result);
            // SAFETY: results and columns are some of those that the caller vouches for.
            unsafe {
                sized!(isa, rows, size, DenseGradient, {
                    taps, tap_rows, results, bases, gradient: dy.tile(column), partial, first
                });
            }
        }
        first = false;
    });
}
