//! The pattern of a sparse convolution, compiled for the kernels.
//!
//! An [`Order`] lists nonzeros for one kind of product: results (channels of the output, or of the input in the
//! data gradient) are sums over *visits*, runs of nonzeros of one result within one block of summed channels. The
//! blocks keep the window of staged rows that is read in the nearest cache. Inside a block, visits stand in the
//! order of their lengths, so that the processor foresees where their loops end. For any one result the order of
//! its nonzeros is the canonical one over all blocks: channel, kernel row, kernel column, ascending. So blocks and
//! visits change no bit.
//!
//! The data gradient has one order per class of input positions: with stride s the position (r, q) is reached by
//! kernel rows and columns that equal r + padding and q + padding modulo s.

use crate::conv::shape::{ConvShape, OFFSET_BITS};
use crate::error::Error;

/// Bytes of staged rows that a block of channels should keep in the nearest cache.
const WINDOW: usize = 42 << 10;

/// Nonzeros that a visit should have on average, for its accumulators to pay for their loads and stores.
const VISIT_NONZEROS: usize = 5;

/// A run of nonzeros of one result; they follow those of the visit before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    /// The channel of the result.
    pub(crate) result: u32,
    /// Its nonzeros.
    pub(crate) count: u32,
}

/// Nonzeros in the order in which one kernel needs them.
///
/// Invariants, established by [`Order::new`], the only constructor:
/// - `blocks`, where the visits of each block begin, ascends from 0 to the number of visits, and all visits together
///   have as many nonzeros as there are;
/// - every visit's result is below `results`; the first block visits every result once, and no block one twice;
/// - the row of every tap is below `tap_rows`, its offset that of a channel and kernel column of the shape;
/// - every `source` is below the number of nonzeros, and they are all different.
#[derive(Debug, Default)]
pub(crate) struct Order {
    pub(crate) tap_rows: usize,
    pub(crate) blocks: Vec<u32>,
    pub(crate) visits: Vec<Visit>,
    /// Row << [`OFFSET_BITS`] | offset in vectors.
    pub(crate) taps: Vec<u32>,
    /// The position of each nonzero in the sorted pattern.
    pub(crate) source: Vec<u32>,
}

/// A nonzero on its way into an order.
#[derive(Clone, Copy)]
struct Nonzero {
    /// The channel it multiplies.
    summed: u32,
    tap: u32,
    source: u32,
}

impl Order {
    /// `nonzeros` are those of result 0, of result 1, …, ending at `ends`; each in canonical order. `per_channel` is
    /// the bytes of staged rows that a tile reads of one summed channel.
    fn new(
        tap_rows: usize,
        results: usize,
        summed: usize,
        per_channel: usize,
        nonzeros: &[Nonzero],
        ends: &[u32],
    ) -> Order {
        let enough = (VISIT_NONZEROS * results * summed).div_ceil(nonzeros.len().max(1));
        let channels = (WINDOW / per_channel.max(1)).max(enough).clamp(1, summed.max(1));
        let channels = summed.div_ceil(summed.div_ceil(channels).max(1)).max(1);
        let count = summed.div_ceil(channels).max(1);
        // Where the visit of each result in the present block begins.
        let mut next: Vec<u32> = std::iter::once(0).chain(ends.iter().copied()).take(results).collect();
        let mut order = Order {
            tap_rows,
            blocks: Vec::with_capacity(count + 1),
            visits: Vec::with_capacity(results),
            taps: Vec::with_capacity(nonzeros.len()),
            source: Vec::with_capacity(nonzeros.len()),
        };
        let mut block_visits: Vec<(u32, u32, u32)> = Vec::with_capacity(results);
        for block in 0..count {
            order.blocks.push(order.visits.len() as u32);
            let end = ((block + 1) * channels) as u32;
            block_visits.clear();
            for (result, (next, &last)) in next.iter_mut().zip(ends).enumerate() {
                let run = &nonzeros[*next as usize..last as usize];
                let length = run.iter().take_while(|n| n.summed < end).count() as u32;
                if length > 0 || block == 0 {
                    block_visits.push((length, result as u32, *next));
                }
                *next += length;
            }
            block_visits.sort_unstable();
            for &(count, result, first) in &block_visits {
                order.visits.push(Visit { result, count });
                for n in &nonzeros[first as usize..(first + count) as usize] {
                    order.taps.push(n.tap);
                    order.source.push(n.source);
                }
            }
        }
        order.blocks.push(order.visits.len() as u32);
        order
    }
}

/// Brings values into an order.
pub(crate) fn gather(source: &[u32], values: &[f32], into: &mut [f32]) {
    for (out, &source) in into.iter_mut().zip(source) {
        *out = values[source as usize];
    }
}

/// The compiled pattern of a convolution's weight.
#[derive(Debug)]
pub struct ConvStream {
    pub(crate) shape: ConvShape,
    pub(crate) forward: Order,
    /// One order per class of rows and class of columns, row classes outermost.
    pub(crate) backward: Vec<Order>,
}

impl ConvStream {
    /// Compiles a pattern: the strictly ascending flat indices of the nonzeros in
    /// `[outputs, inputs / groups, kernel, kernel]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for an impossible shape, [`Error::Index`] for the first index out of order or shape.
    pub fn new(shape: ConvShape, indices: &[u32]) -> Result<ConvStream, Error> {
        shape.check()?;
        let limit = shape.weight_len();
        for (position, &found) in indices.iter().enumerate() {
            let ascending = position == 0 || indices[position - 1] < found;
            if !ascending || found as usize >= limit {
                return Err(Error::Index { position, found, limit });
            }
        }
        let forward = forward(&shape, indices);
        let backward = backward(&shape, indices);
        Ok(ConvStream { shape, forward, backward })
    }

    /// The compiled pattern in which every weight is active.
    ///
    /// # Errors
    /// [`Error::Shape`] for an impossible shape.
    pub fn full(shape: ConvShape) -> Result<ConvStream, Error> {
        shape.check()?;
        let indices: Vec<u32> = (0..shape.weight_len() as u32).collect();
        ConvStream::new(shape, &indices)
    }

    /// Nonzeros.
    pub fn count(&self) -> usize {
        self.forward.taps.len()
    }

    /// The convolution.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }
}

/// Splits a flat index into output channel, input channel, kernel row, kernel column.
fn split(shape: &ConvShape, index: u32) -> [usize; 4] {
    let (k, per_group) = (shape.kernel, shape.inputs / shape.groups);
    let index = index as usize;
    let (output, rest) = (index / (per_group * k * k), index % (per_group * k * k));
    let group = output / (shape.outputs / shape.groups);
    [output, group * per_group + rest / (k * k), rest / k % k, rest % k]
}

fn forward(shape: &ConvShape, indices: &[u32]) -> Order {
    let mut ends = vec![0u32; shape.outputs];
    let mut nonzeros = Vec::with_capacity(indices.len());
    for (source, &index) in (0u32..).zip(indices) {
        let [output, input, row, column] = split(shape, index);
        ends[output] += 1;
        let tap = (row << OFFSET_BITS | shape.input_offset(input, column)) as u32;
        nonzeros.push(Nonzero { summed: input as u32, tap, source });
    }
    accumulate(&mut ends);
    let rows = shape.window_rows();
    let columns = (shape.tile_columns().min(shape.output().columns) + shape.kernel - 1) * shape.stride;
    Order::new(shape.kernel, shape.outputs, shape.inputs, rows * columns * 64, &nonzeros, &ends)
}

fn backward(shape: &ConvShape, indices: &[u32]) -> Vec<Order> {
    let s = shape.stride;
    let mut ends = vec![vec![0u32; shape.inputs]; s * s];
    for &index in indices {
        let [_, input, row, column] = split(shape, index);
        ends[row % s * s + column % s][input] += 1;
    }
    ends.iter_mut().for_each(|ends| accumulate(ends));
    let mut next: Vec<Vec<u32>> =
        ends.iter().map(|e| std::iter::once(0).chain(e.iter().copied()).take(e.len()).collect()).collect();
    let empty = Nonzero { summed: 0, tap: 0, source: 0 };
    let mut nonzeros: Vec<Vec<Nonzero>> =
        ends.iter().map(|e| vec![empty; e.last().copied().unwrap_or(0) as usize]).collect();
    for (source, &index) in (0u32..).zip(indices) {
        let [output, input, row, column] = split(shape, index);
        let class = row % s * s + column % s;
        let offset = shape.gradient_offset(output, column % s, column / s);
        let at = &mut next[class][input];
        nonzeros[class][*at as usize] =
            Nonzero { summed: output as u32, tap: ((row / s) << OFFSET_BITS | offset) as u32, source };
        *at += 1;
    }
    let classes = nonzeros.iter().zip(&ends).enumerate().map(|(class, (nonzeros, ends))| {
        let (row_taps, column_taps) = (shape.class_taps(class / s), shape.class_taps(class % s));
        let rows = row_taps + shape.tile_rows() - 1;
        let columns =
            shape.tile_columns().min(shape.class_columns(class % s)) + column_taps.saturating_sub(1);
        Order::new(row_taps, shape.inputs, shape.outputs, rows * columns * 64, nonzeros, ends)
    });
    classes.collect()
}

/// Counts become ends.
fn accumulate(counts: &mut [u32]) {
    let mut end = 0;
    for count in counts {
        end += *count;
        *count = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(shape: ConvShape, step: usize) -> Vec<u32> {
        (0..shape.weight_len() as u32).step_by(step).collect()
    }

    fn check(order: &Order, results: usize, count: usize) {
        assert_eq!(order.taps.len(), count);
        let mut source = order.source.clone();
        source.sort_unstable();
        source.dedup();
        assert_eq!(source.len(), count);
        assert_eq!(order.blocks[0], 0);
        assert_eq!(order.blocks[order.blocks.len() - 1] as usize, order.visits.len());
        assert_eq!(order.visits.iter().map(|v| v.count as usize).sum::<usize>(), count);
        for (number, pair) in order.blocks.windows(2).enumerate() {
            let visits = &order.visits[pair[0] as usize..pair[1] as usize];
            let mut seen: Vec<u32> = visits.iter().map(|v| v.result).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), visits.len());
            assert!(seen.iter().all(|&r| (r as usize) < results));
            assert!(number > 0 || seen.len() == results);
        }
        // Whatever the blocks, the nonzeros of a result stand in the order of the pattern.
        let mut last = vec![None; results];
        let mut j = 0;
        for visit in &order.visits {
            for _ in 0..visit.count {
                let before = last[visit.result as usize].replace(order.source[j]);
                assert!(before < Some(order.source[j]));
                j += 1;
            }
        }
    }

    #[test]
    fn every_order_holds_every_nonzero_once_and_results_keep_the_canonical_order() {
        for (inputs, outputs, groups) in [(64, 48, 1), (5, 7, 1), (6, 6, 6), (8, 4, 2)] {
            for stride in [1, 2, 3] {
                for step in [1, 2, 13, 1000] {
                    let shape = ConvShape {
                        inputs,
                        rows: 9,
                        columns: 16,
                        outputs,
                        kernel: 3,
                        stride,
                        padding: 1,
                        groups,
                    };
                    let indices = every(shape, step);
                    let stream = ConvStream::new(shape, &indices).unwrap();
                    assert_eq!(stream.count(), indices.len());
                    check(&stream.forward, outputs, indices.len());
                    let total: usize = stream.backward.iter().map(|o| o.taps.len()).sum();
                    assert_eq!(total, indices.len());
                    stream.backward.iter().for_each(|order| check(order, inputs, order.taps.len()));
                }
            }
        }
    }

    #[test]
    fn indices_out_of_order_or_shape_are_refused() {
        let shape = ConvShape {
            inputs: 2,
            rows: 4,
            columns: 4,
            outputs: 2,
            kernel: 3,
            stride: 1,
            padding: 1,
            groups: 1,
        };
        assert!(ConvStream::new(shape, &[0, 35]).is_ok());
        assert!(ConvStream::new(shape, &[]).is_ok());
        assert!(ConvStream::new(shape, &[36]).is_err());
        assert!(ConvStream::new(shape, &[1, 1]).is_err());
        assert!(ConvStream::new(shape, &[2, 1]).is_err());
        assert!(ConvStream::new(ConvShape { groups: 3, ..shape }, &[]).is_err());
        assert_eq!(ConvStream::full(shape).unwrap().count(), 36);
    }
}
