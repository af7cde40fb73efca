//! The pattern of a sparse linear layer, compiled for the kernels: two orders of the same nonzeros.
//!
//! The weight matrix (outputs × inputs) is cut into square tiles. The *forward order* walks tiles row by row and,
//! inside a tile, outputs and then inputs; the *backward order* walks tiles column by column and, inside a tile,
//! inputs and then outputs. So both passes read a small window of activations at a time, and the second order
//! gathers its values from a contiguous piece of the first. For any one output the forward order goes through
//! its inputs in ascending order, and the other way round: tiles change no sum.

use crate::Error;

/// Outputs (or inputs) that one task computes: borders of tasks depend on shapes alone.
pub(crate) const STRIP: usize = 64;

/// Nonzeros that a row of a tile should have at least, for its accumulators to pay for their loads and stores.
const ROW_NONZEROS: usize = 6;

/// Largest edge of a tile: local indices are 16 bits.
const MAX_TILE: usize = 1 << 14;

/// The compiled pattern of a linear layer's weight, shape (outputs, inputs).
///
/// Invariants, established by [`LinearStream::new`], the only constructor:
/// - every local index plus its tile's base is below the layer's inputs (forward) or outputs (backward);
/// - starts are ascending and end at the number of nonzeros;
/// - `source` is a permutation of the forward positions.
#[derive(Debug)]
pub struct LinearStream {
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) tile: usize,
    pub(crate) forward: Order,
    pub(crate) backward: Order,
    /// Forward position of each backward one.
    pub(crate) source: Vec<u32>,
    /// Rank among the sorted flat indices of each forward position; `None` where it is the same.
    rank: Option<Vec<u32>>,
}

/// One order of the nonzeros. "Rows" are outputs in the forward order and inputs in the backward order.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) column_tiles: usize,
    /// Start of (row tile, column tile, row within the tile), and the end of all.
    pub(crate) starts: Vec<u32>,
    /// Column within the tile, per nonzero.
    pub(crate) columns: Vec<u16>,
}

impl Order {
    fn new(rows: usize, columns: usize, tile: usize, nonzeros: usize) -> Result<Order, Error> {
        let column_tiles = columns.div_ceil(tile);
        let cells = rows
            .div_ceil(tile)
            .checked_mul(column_tiles)
            .and_then(|n| n.checked_mul(tile))
            .filter(|&n| n < u32::MAX as usize)
            .ok_or_else(|| Error::Shape(format!("linear layer of {rows} × {columns}")))?;
        Ok(Order { column_tiles, starts: vec![0; cells + 1], columns: vec![0; nonzeros] })
    }

    /// Index into `starts` of (row, column tile).
    #[inline(always)]
    pub(crate) fn cell(&self, tile: usize, row: usize, column_tile: usize) -> usize {
        ((row / tile) * self.column_tiles + column_tile) * tile + row % tile
    }
}

impl LinearStream {
    /// Compiles a pattern: `indices` are flat positions (row-major, outputs × inputs), strictly ascending.
    ///
    /// # Errors
    /// If an index is out of order or out of the shape, or the shape cannot be addressed.
    pub fn new(outputs: usize, inputs: usize, indices: &[u32]) -> Result<LinearStream, Error> {
        let weights = outputs
            .checked_mul(inputs)
            .filter(|&n| n <= u32::MAX as usize)
            .ok_or_else(|| Error::Shape(format!("linear layer of {outputs} × {inputs}")))?;
        if let Some(position) = (0..indices.len())
            .find(|&i| indices[i] as usize >= weights || (i > 0 && indices[i] <= indices[i - 1]))
        {
            return Err(Error::Index { position, found: indices[position], limit: weights });
        }
        let tile = tile_edge(outputs, inputs, indices.len());
        let mut forward = Order::new(outputs, inputs, tile, indices.len())?;
        let mut backward = Order::new(inputs, outputs, tile, indices.len())?;

        // Count, one cell ahead, so that the prefix sums are the starts.
        for_each(indices, inputs, |output, input| {
            let cell = forward.cell(tile, output, input / tile);
            forward.starts[cell + 1] += 1;
            let cell = backward.cell(tile, input, output / tile);
            backward.starts[cell + 1] += 1;
        });
        for order in [&mut forward, &mut backward] {
            let mut sum = 0;
            for start in &mut order.starts {
                sum += *start;
                *start = sum;
            }
        }
        // Place: walking in flat order fills the cells of both orders in ascending column order.
        let mut next_forward = forward.starts.clone();
        let mut next_backward = backward.starts.clone();
        let mut source = vec![0; indices.len()];
        let mut rank = (forward.column_tiles > 1).then(|| vec![0; indices.len()]);
        let mut k = 0u32;
        for_each(indices, inputs, |output, input| {
            let next = &mut next_forward[forward.cell(tile, output, input / tile)];
            let f = *next as usize;
            *next += 1;
            forward.columns[f] = (input % tile) as u16;
            let next = &mut next_backward[backward.cell(tile, input, output / tile)];
            let b = *next as usize;
            *next += 1;
            backward.columns[b] = (output % tile) as u16;
            source[b] = f as u32;
            if let Some(rank) = &mut rank {
                rank[f] = k;
            }
            k += 1;
        });
        Ok(LinearStream { outputs, inputs, tile, forward, backward, source, rank })
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
        let order = |o: &Order| 4 * o.starts.len() + 2 * o.columns.len();
        order(&self.forward)
            + order(&self.backward)
            + 4 * self.source.len()
            + 4 * self.rank.as_ref().map_or(0, Vec::len)
    }

    /// Reorders values from sorted flat order into the forward order, in which kernels take them.
    ///
    /// # Panics
    /// If `sorted` does not hold one value per nonzero.
    pub fn to_forward(&self, sorted: &[f32]) -> Vec<f32> {
        assert_eq!(sorted.len(), self.count(), "one value per nonzero");
        match &self.rank {
            None => sorted.to_vec(),
            Some(rank) => rank.iter().map(|&r| sorted[r as usize]).collect(),
        }
    }

    /// The reverse of [`LinearStream::to_forward`].
    ///
    /// # Panics
    /// If `forward` does not hold one value per nonzero.
    pub fn to_sorted<'a>(&self, forward: &'a [f32]) -> std::borrow::Cow<'a, [f32]> {
        assert_eq!(forward.len(), self.count(), "one value per nonzero");
        match &self.rank {
            None => forward.into(),
            Some(rank) => {
                let mut sorted = vec![0.0; forward.len()];
                for (&r, &x) in rank.iter().zip(forward) {
                    sorted[r as usize] = x;
                }
                sorted.into()
            }
        }
    }
}

/// Calls `f(output, input)` for every index, without a division per index.
fn for_each(indices: &[u32], inputs: usize, mut f: impl FnMut(usize, usize)) {
    let (mut output, mut row_start) = (0, 0);
    for &index in indices {
        let index = index as usize;
        if index >= row_start + inputs {
            output = index / inputs;
            row_start = output * inputs;
        }
        f(output, index - row_start);
    }
}

/// The edge of a tile: a fixed rule on shape and count, so that runs are reproducible. Sums do not depend on
/// it, speed does.
fn tile_edge(outputs: usize, inputs: usize, nonzeros: usize) -> usize {
    let mut tile = STRIP;
    let per_output = |tile: usize| nonzeros as f64 * tile as f64 / (outputs as f64 * inputs as f64).max(1.0);
    while tile < MAX_TILE && tile < outputs.max(inputs) && per_output(tile) < ROW_NONZEROS as f64 {
        tile *= 2;
    }
    tile
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(outputs: usize, inputs: usize, keep: impl Fn(usize) -> bool) -> Vec<u32> {
        (0..outputs * inputs).filter(|&i| keep(i)).map(|i| i as u32).collect()
    }

    #[test]
    fn both_orders_hold_every_nonzero_once_and_ascending_within_a_row() {
        for (outputs, inputs) in [(1, 1), (3, 200), (200, 3), (130, 257), (64, 64), (65, 129)] {
            for step in [1, 2, 7, 50] {
                let indices = indices(outputs, inputs, |i| i % step == 0);
                let stream = LinearStream::new(outputs, inputs, &indices).unwrap();
                let mut seen = Vec::new();
                for row in 0..outputs {
                    let mut last = None;
                    for t in 0..stream.forward.column_tiles {
                        let cell = stream.forward.cell(stream.tile, row, t);
                        for j in stream.forward.starts[cell]..stream.forward.starts[cell + 1] {
                            let input = t * stream.tile + stream.forward.columns[j as usize] as usize;
                            assert!(last < Some(input) && input < inputs);
                            last = Some(input);
                            seen.push((row * inputs + input) as u32);
                        }
                    }
                }
                assert_eq!(seen, indices);
                let sorted: Vec<f32> = (0..indices.len()).map(|i| i as f32).collect();
                let forward = stream.to_forward(&sorted);
                assert_eq!(stream.to_sorted(&forward).as_ref(), sorted);
                // The backward order finds the same nonzero through `source`.
                for input in 0..inputs {
                    let mut last = None;
                    for t in 0..stream.backward.column_tiles {
                        let cell = stream.backward.cell(stream.tile, input, t);
                        for j in stream.backward.starts[cell]..stream.backward.starts[cell + 1] {
                            let output = t * stream.tile + stream.backward.columns[j as usize] as usize;
                            assert!(last < Some(output) && output < outputs);
                            last = Some(output);
                            let k = forward[stream.source[j as usize] as usize] as usize;
                            assert_eq!(indices[k] as usize, output * inputs + input);
                        }
                    }
                }
            }
        }
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
