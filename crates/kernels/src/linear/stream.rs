//! The pattern of a sparse linear layer, compiled for the kernels: two orders of the same nonzeros.
//!
//! The weight matrix (outputs × inputs) is cut into cells. In the *forward order* a cell is a strip of outputs × a tile of
//! inputs; cells go strip by strip and, inside, tile by tile. In the *backward order* strips are of inputs
//! and tiles of outputs. So a pass works on a window of one map, as wide as a tile, that stays in the first cache,
//! and on a strip of the other that stays in the second; and the second order gathers its values from a small
//! piece of the first.
//!
//! Inside a cell, rows with the same number of nonzeros stand together, so that the processor can foresee where
//! their loops end; rows without any are left out, except in the first and the last cell of a strip, where results
//! begin and end. For any one row the order of its nonzeros is ascending over all cells: no sum depends on this.

use std::ops::Range;

use crate::error::Error;

/// Rows (outputs or inputs) of a strip, at most and at least: with fewer, the map that is read is streamed from a far
/// cache more often.
const MAX_STRIP: usize = 256;
const MIN_STRIP: usize = 64;

/// Nonzeros that a cell should have, for the mispredicted ends of rows of different lengths to be few: where a row has
/// many, a strip may be lower, and there are more of them for more threads.
const CELL_NONZEROS: f64 = 4096.0;

/// Narrowest and widest tile; local indices are 16 bits.
const MIN_TILE: usize = 64;
const MAX_TILE: usize = 1 << 12;

/// Nonzeros that a row of a cell should have on average, for its accumulators to pay for their loads and stores.
const ROW_NONZEROS: f64 = 4.0;

/// The compiled pattern of a linear layer's weight, shape (outputs, inputs).
///
/// Invariants, established by [`LinearStream::new`], the only constructor:
/// - both orders hold every nonzero once: rows of a visit plus their strip's first row, and columns plus their
///   tile's first column, are inside the shape;
/// - cells are ascending, and the visits of a cell have as many nonzeros as the cell;
/// - `source` is a permutation of the forward positions.
#[derive(Debug)]
pub struct LinearStream {
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) forward: Order,
    pub(crate) backward: Order,
    /// Forward position of each backward one.
    pub(crate) source: Vec<u32>,
    /// Rank among the sorted flat indices of each forward position.
    rank: Vec<u32>,
}

/// One order of the nonzeros. "Rows" are outputs in the forward order and inputs in the backward order.
#[derive(Debug)]
pub(crate) struct Order {
    /// Rows of a strip, but for the last one.
    pub(crate) strip: usize,
    /// Columns of a tile.
    pub(crate) tile: usize,
    /// Tiles of a strip; at least one, if there are rows.
    pub(crate) tiles: usize,
    /// Where (strip, tile) begins, strip-major, and the end of all.
    pub(crate) cells: Vec<Cell>,
    pub(crate) visits: Vec<Visit>,
    /// Column within the tile, per nonzero.
    pub(crate) columns: Vec<u16>,
}

impl Order {
    /// Nonzeros of some cells.
    pub(crate) fn nonzeros(&self, cells: Range<usize>) -> usize {
        (self.cells[cells.end].nonzero - self.cells[cells.start].nonzero) as usize
    }
}

/// Where a cell begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cell {
    pub(crate) visit: u32,
    pub(crate) nonzero: u32,
}

/// A row of a cell: which one of its strip, and how many nonzeros.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) row: u16,
    pub(crate) count: u16,
}

impl LinearStream {
    /// Compiles a pattern: `indices` are flat positions (row-major, outputs × inputs), strictly ascending.
    ///
    /// # Errors
    /// If an index is out of order or out of the shape, or the shape cannot be addressed.
    pub fn new(outputs: usize, inputs: usize, indices: &[u32]) -> Result<LinearStream, Error> {
        let shape = || Error::Shape(format!("linear layer of {outputs} × {inputs}"));
        let weights = outputs.checked_mul(inputs).filter(|&n| n <= u32::MAX as usize).ok_or_else(shape)?;
        let out_of_order = |i: usize| i > 0 && indices[i] <= indices[i - 1];
        if let Some(position) =
            (0..indices.len()).find(|&i| indices[i] as usize >= weights || out_of_order(i))
        {
            return Err(Error::Index { position, found: indices[position], limit: weights });
        }
        let tile = tile_width(outputs, inputs, indices.len());
        let coordinates = coordinates(inputs, indices);
        let forward = Builder::new(outputs, inputs, tile, indices.len()).ok_or_else(shape)?;
        let (forward, placed) = forward.build(coordinates.iter().map(|&(o, i)| (o as usize, i as usize)));
        let backward = Builder::new(inputs, outputs, tile, indices.len()).ok_or_else(shape)?;
        let (backward, back) = backward.build(coordinates.iter().map(|&(o, i)| (i as usize, o as usize)));
        let mut rank = vec![0; indices.len()];
        let mut source = vec![0; indices.len()];
        for (k, (&f, &b)) in placed.iter().zip(&back).enumerate() {
            rank[f as usize] = k as u32;
            source[b as usize] = f;
        }
        Ok(LinearStream { outputs, inputs, forward, backward, source, rank })
    }

    /// Nonzeros.
    pub fn count(&self) -> usize {
        self.source.len()
    }

    /// Outputs of the layer.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let order = |o: &Order| 8 * o.cells.len() + 4 * o.visits.len() + 2 * o.columns.len();
        order(&self.forward) + order(&self.backward) + 4 * self.source.len() + 4 * self.rank.len()
    }

    /// About what [`LinearStream::bytes`] says of `nonzeros` at random positions, without compiling any.
    pub fn planned_bytes(outputs: usize, inputs: usize, nonzeros: usize) -> usize {
        let tile = tile_width(outputs, inputs, nonzeros);
        let density = nonzeros as f64 / (outputs as f64 * inputs as f64).max(1.0);
        let order = |rows: usize, columns: usize| {
            let tiles = columns.div_ceil(tile).max(1);
            let cells = rows.div_ceil(strip_height(rows, columns, tile, nonzeros)) * tiles;
            // The first and the last tile have all rows, those between the rows with nonzeros.
            let between = tiles.saturating_sub(2) as f64 * (1.0 - (1.0 - density).powf(tile as f64));
            8 * cells + 4 * (rows as f64 * (between + tiles.min(2) as f64)) as usize + 2 * nonzeros
        };
        order(outputs, inputs) + order(inputs, outputs) + 8 * nonzeros
    }

    /// Reorders values from sorted flat order into the forward order, in which kernels take them.
    ///
    /// # Panics
    /// If `sorted` does not hold one value per nonzero.
    pub fn to_forward(&self, sorted: &[f32]) -> Vec<f32> {
        assert_eq!(sorted.len(), self.count(), "one value per nonzero");
        self.rank.iter().map(|&r| sorted[r as usize]).collect()
    }

    /// The reverse of [`LinearStream::to_forward`].
    ///
    /// # Panics
    /// If `forward` does not hold one value per nonzero.
    pub fn to_sorted(&self, forward: &[f32]) -> Vec<f32> {
        assert_eq!(forward.len(), self.count(), "one value per nonzero");
        let mut sorted = vec![0.0; forward.len()];
        for (&r, &x) in self.rank.iter().zip(forward) {
            sorted[r as usize] = x;
        }
        sorted
    }
}

/// (output, input) of every index, without a division per index.
fn coordinates(inputs: usize, indices: &[u32]) -> Vec<(u32, u32)> {
    let (mut output, mut row_start) = (0, 0);
    let of = |&index: &u32| {
        let index = index as usize;
        if index >= row_start + inputs {
            output = index / inputs;
            row_start = output * inputs;
        }
        (output as u32, (index - row_start) as u32)
    };
    indices.iter().map(of).collect()
}

/// The width of a tile: a fixed rule on shape and count, so that runs are reproducible. Sums do not depend on
/// it, speed does.
fn tile_width(outputs: usize, inputs: usize, nonzeros: usize) -> usize {
    let density = nonzeros as f64 / (outputs as f64 * inputs as f64).max(1.0);
    let mut tile = MIN_TILE;
    while tile < MAX_TILE && tile < outputs.max(inputs) && density * (tile as f64) < ROW_NONZEROS {
        tile *= 2;
    }
    tile
}

/// The rows of a strip: a fixed rule on rows and nonzeros, as for tiles; all strips are about as high.
fn strip_height(rows: usize, columns: usize, tile: usize, nonzeros: usize) -> usize {
    let of_row = nonzeros as f64 / rows.max(1) as f64 / columns.div_ceil(tile).max(1) as f64;
    let height = ((CELL_NONZEROS / of_row.max(1.0)) as usize).clamp(MIN_STRIP, MAX_STRIP);
    rows.div_ceil(rows.div_ceil(height).max(1)).max(1)
}

/// Builds an order by counting.
struct Builder {
    rows: usize,
    strip: usize,
    tile: usize,
    tiles: usize,
    strips: usize,
    nonzeros: usize,
}

impl Builder {
    /// `None` if the grid cannot be addressed.
    fn new(rows: usize, columns: usize, tile: usize, nonzeros: usize) -> Option<Builder> {
        let strip = strip_height(rows, columns, tile, nonzeros);
        let (strips, tiles) = (rows.div_ceil(strip), columns.div_ceil(tile).max(1));
        let cells = strips.checked_mul(tiles)?.checked_mul(strip)?;
        (cells < u32::MAX as usize).then_some(Builder { rows, strip, tile, tiles, strips, nonzeros })
    }

    /// The order, and the position in it of every nonzero in the order given: by row and column for the forward
    /// order, by column and row for the backward one, so that columns of a row come ascending either way.
    fn build(self, nonzeros: impl Iterator<Item = (usize, usize)> + Clone) -> (Order, Vec<u32>) {
        let height = self.strip;
        let cell_of = |row: usize, column: usize| (row / height) * self.tiles + column / self.tile;
        // Nonzeros of each (cell, row of the strip).
        let mut counts = vec![0u16; self.strips * self.tiles * height];
        for (row, column) in nonzeros.clone() {
            counts[cell_of(row, column) * height + row % height] += 1;
        }
        let mut cells = Vec::with_capacity(self.strips * self.tiles + 1);
        let mut visits = Vec::new();
        // Where the nonzeros of each (cell, row) go.
        let mut next = vec![0u32; counts.len()];
        let mut nonzero = 0;
        let mut order: Vec<u16> = Vec::with_capacity(height);
        for cell in 0..self.strips * self.tiles {
            cells.push(Cell { visit: visits.len() as u32, nonzero });
            let (strip, tile) = (cell / self.tiles, cell % self.tiles);
            let border = tile == 0 || tile + 1 == self.tiles;
            let rows = height.min(self.rows - strip * height);
            let counts = &counts[cell * height..][..rows];
            order.clear();
            order.extend((0..rows as u16).filter(|&row| border || counts[row as usize] > 0));
            order.sort_by_key(|&row| std::cmp::Reverse(counts[row as usize]));
            for &row in &order {
                let count = counts[row as usize];
                visits.push(Visit { row, count });
                next[cell * height + row as usize] = nonzero;
                nonzero += u32::from(count);
            }
        }
        cells.push(Cell { visit: visits.len() as u32, nonzero });
        let mut columns = vec![0; self.nonzeros];
        let placed = nonzeros
            .map(|(row, column)| {
                let next = &mut next[cell_of(row, column) * height + row % height];
                let position = *next;
                *next += 1;
                columns[position as usize] = (column % self.tile) as u16;
                position
            })
            .collect();
        (Order { strip: height, tile: self.tile, tiles: self.tiles, cells, visits, columns }, placed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(outputs: usize, inputs: usize, keep: impl Fn(usize) -> bool) -> Vec<u32> {
        (0..outputs * inputs).filter(|&i| keep(i)).map(|i| i as u32).collect()
    }

    /// (row, column, position) of every nonzero in the order of the visits.
    fn walk(order: &Order) -> Vec<(usize, usize, usize)> {
        let mut seen = Vec::new();
        for cell in 0..order.cells.len() - 1 {
            let (strip, tile) = (cell / order.tiles, cell % order.tiles);
            let (begin, end) = (order.cells[cell], order.cells[cell + 1]);
            let mut j = begin.nonzero as usize;
            for visit in &order.visits[begin.visit as usize..end.visit as usize] {
                for _ in 0..visit.count {
                    let column = tile * order.tile + order.columns[j] as usize;
                    seen.push((strip * order.strip + visit.row as usize, column, j));
                    j += 1;
                }
            }
            assert_eq!(j, end.nonzero as usize);
        }
        seen
    }

    #[test]
    fn both_orders_hold_every_nonzero_once_and_ascending_within_a_row() {
        for (outputs, inputs) in [(1, 1), (3, 200), (200, 3), (130, 257), (64, 64), (300, 129), (513, 70)] {
            for step in [1, 2, 7, 50] {
                let indices = indices(outputs, inputs, |i| i % step == 0 || i % 31 == 5);
                let stream = LinearStream::new(outputs, inputs, &indices).unwrap();
                let numbers: Vec<f32> = (0..indices.len()).map(|i| i as f32).collect();
                let forward = stream.to_forward(&numbers);
                assert_eq!(stream.to_sorted(&forward), numbers);
                let flat = |position: usize| indices[forward[position] as usize] as usize;

                let mut seen = walk(&stream.forward);
                assert!(seen.iter().all(|&(output, input, j)| flat(j) == output * inputs + input));
                seen.sort_by_key(|&(row, ..)| row);
                assert!(seen.iter().map(|&(o, i, _)| (o * inputs + i) as u32).eq(indices.iter().copied()));

                let mut seen = walk(&stream.backward);
                let source = |j: usize| stream.source[j] as usize;
                assert!(seen.iter().all(|&(input, output, j)| flat(source(j)) == output * inputs + input));
                seen.sort_by_key(|&(row, ..)| row);
                assert!(seen.windows(2).all(|w| (w[0].0, w[0].1) < (w[1].0, w[1].1)));
                assert_eq!(seen.len(), indices.len());
            }
        }
    }

    #[test]
    fn every_row_is_visited_in_the_first_and_the_last_cell_of_its_strip() {
        let stream = LinearStream::new(300, 200, &[7, 8, 30_000]).unwrap();
        for order in [&stream.forward, &stream.backward] {
            for cell in (0..order.cells.len() - 1).filter(|c| c % order.tiles == 0) {
                let visits = order.cells[cell + 1].visit - order.cells[cell].visit;
                assert!(visits == 150 || visits == 200, "{visits}");
            }
        }
    }

    #[test]
    fn strips_are_even_and_lower_where_rows_have_many_nonzeros() {
        let height = |rows, columns, nonzeros| {
            strip_height(rows, columns, tile_width(rows, columns, nonzeros), nonzeros)
        };
        // LeNet-300-100's first layer at 90 %, and layers of 384 at 90 % and dense.
        assert_eq!(height(300, 784, 23_520), 150);
        assert_eq!([height(384, 384, 14_745), height(384, 384, 384 * 384)], [192, 64]);
        assert_eq!([height(0, 5, 0), height(1, 1, 1), height(257, 10, 0)], [1, 1, 129]);
    }

    #[test]
    fn indices_out_of_order_or_shape_are_refused() {
        assert!(LinearStream::new(2, 3, &[0, 6]).is_err());
        assert!(LinearStream::new(2, 3, &[1, 1]).is_err());
        assert!(LinearStream::new(2, 3, &[2, 1]).is_err());
        assert!(LinearStream::new(0, 3, &[0]).is_err());
        assert!(LinearStream::new(usize::MAX, 3, &[0]).is_err());
        assert!(LinearStream::new(1 << 17, 1 << 17, &[0]).is_err());
        assert!(LinearStream::new(0, 0, &[]).is_ok());
        assert_eq!(LinearStream::new(2, 3, &[]).unwrap().count(), 0);
    }
}
