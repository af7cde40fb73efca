//! The pattern of a sparse convolution, compiled for the kernels.
//!
//! An [`Order`] lists nonzeros for one kind of product: results (channels of the output, or of the input in the
//! data gradient) are sums over *visits*, runs of nonzeros of one result within one *panel* of summed channels. A
//! panel's part of the window of staged rows stays in the nearest cache. Results are cut into *sections*, so that
//! several threads may share a band; a panel and a section are a *cell*. Inside a cell, visits stand in the order of
//! their lengths, so that the processor foresees where their loops end. For any one result the order of its nonzeros is
//! the canonical one over all panels: channel, kernel row, kernel column, ascending. So panels, sections and visits
//! change no bit.
//!
//! The data gradient has one order per class of input positions: with stride s the position (r, q) is reached by
//! kernel rows and columns that equal r + padding and q + padding modulo s.

use std::ops::Range;

use crate::conv::cut::sections;
use crate::conv::shape::{ConvShape, OFFSET_BITS};
use crate::error::Error;
use crate::run::Machine;

/// Bytes of staged rows that a panel should keep in the nearest cache: most of one of 48 KiB, as recent processors have
/// it. With 14 to 128 KiB convolutions were within a few percent as fast.
const WINDOW: usize = 42 << 10;

/// Nonzeros that a visit should have on average, for its accumulators to pay for their loads and stores.
const VISIT_NONZEROS: usize = 5;

/// Channels of a section, at least: fewer would stage all summed channels for little. Few in tests.
const SECTION: usize = if cfg!(test) { 2 } else { 32 };

/// A run of nonzeros of one result; they follow those of the visit before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    /// The channel of the result.
    pub(crate) result: u32,
    /// Its nonzeros.
    pub(crate) count: u32,
}

/// A place between two visits: how many visits, and nonzeros, come before it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cell {
    pub(crate) visit: u32,
    pub(crate) nonzero: u32,
}

/// Nonzeros in the order in which one kernel needs them.
///
/// Invariants, established by [`Order::new`], the only constructor:
/// - `cells`, where (panel, section) begins, panel by panel, and where the last ends, ascends from nothing to all visits
///   and nonzeros, and the visits of a cell have as many nonzeros as the cell;
/// - every visit's result is below `results` and in the section of its cell; the first panel visits every result once, and
///   no panel one twice;
/// - the row of every tap is below `tap_rows`, its offset that of a channel and kernel column of the shape, and the
///   channel is one of the panel's `panel` channels;
/// - every `source` is below the number of nonzeros, and they are all different.
#[derive(Debug, Default)]
pub(crate) struct Order {
    pub(crate) tap_rows: usize,
    /// Channels of a panel.
    pub(crate) panel: usize,
    /// Sections of a panel.
    pub(crate) sections: usize,
    pub(crate) cells: Vec<Cell>,
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
    /// the bytes of staged rows that a tile reads of one summed channel, `sections` where the results of each end.
    fn new(
        tap_rows: usize,
        summed: usize,
        per_channel: usize,
        sections: &[u32],
        nonzeros: &[Nonzero],
        ends: &[u32],
    ) -> Order {
        let results = ends.len();
        let enough = (VISIT_NONZEROS * results * summed).div_ceil(nonzeros.len().max(1));
        let panel = (WINDOW / per_channel.max(1)).max(enough).clamp(1, summed.max(1));
        let panel = summed.div_ceil(summed.div_ceil(panel).max(1)).max(1);
        let panels = summed.div_ceil(panel).max(1);
        // Where the visit of each result in the present panel begins.
        let mut next: Vec<u32> = std::iter::once(0).chain(ends.iter().copied()).take(results).collect();
        let mut order = Order {
            tap_rows,
            panel,
            sections: sections.len(),
            cells: Vec::with_capacity(panels * sections.len() + 1),
            visits: Vec::with_capacity(results),
            taps: Vec::with_capacity(nonzeros.len()),
            source: Vec::with_capacity(nonzeros.len()),
        };
        let mut of_cell: Vec<(u32, u32, u32)> = Vec::with_capacity(results);
        for number in 0..panels {
            let end = ((number + 1) * panel) as u32;
            let mut first = 0;
            for &last in sections {
                order.cells.push(order.end());
                of_cell.clear();
                for result in first as usize..last as usize {
                    let run = &nonzeros[next[result] as usize..ends[result] as usize];
                    let length = run.iter().take_while(|n| n.summed < end).count() as u32;
                    if length > 0 || number == 0 {
                        of_cell.push((length, result as u32, next[result]));
                    }
                    next[result] += length;
                }
                of_cell.sort_unstable();
                for &(count, result, first) in &of_cell {
                    order.visits.push(Visit { result, count });
                    for n in &nonzeros[first as usize..(first + count) as usize] {
                        order.taps.push(n.tap);
                        order.source.push(n.source);
                    }
                }
                first = last;
            }
        }
        order.cells.push(order.end());
        order
    }

    fn end(&self) -> Cell {
        Cell { visit: self.visits.len() as u32, nonzero: self.taps.len() as u32 }
    }

    pub(crate) fn panels(&self) -> usize {
        self.cells.len().saturating_sub(1) / self.sections.max(1)
    }

    /// Nonzeros of some panels in some sections.
    pub(crate) fn count_of(&self, panels: &Range<usize>, sections: &Range<usize>) -> usize {
        let of = |panel: usize| {
            let of_panel = &self.cells[panel * self.sections..];
            (of_panel[sections.end].nonzero - of_panel[sections.start].nonzero) as usize
        };
        panels.clone().map(of).sum()
    }

    /// The summed channels of some panels, of `channels` in all.
    pub(crate) fn summed(&self, panels: &Range<usize>, channels: usize) -> Range<usize> {
        (panels.start * self.panel).min(channels)..(panels.end * self.panel).min(channels)
    }
}

/// The compiled pattern of a convolution's weight.
#[derive(Debug)]
pub struct ConvStream {
    pub(crate) shape: ConvShape,
    pub(crate) forward: Order,
    /// Where the outputs of each section of the forward order end.
    pub(crate) outputs: Vec<u32>,
    /// One order per class of rows and class of columns, row classes outermost.
    pub(crate) backward: Vec<Order>,
    /// Where the inputs of each section of every backward order end.
    pub(crate) inputs: Vec<u32>,
}

/// Brings values into an order.
pub(crate) fn gather(
    machine: &Machine,
    source: &[u32],
    values: &[f32],
    into: &mut [f32],
) -> Result<(), Error> {
    // Memory is what it waits for.
    machine.chunks(into, 1 << 12, source.len().saturating_mul(64), &|first, into| {
        for (out, &source) in into.iter_mut().zip(&source[first..]) {
            *out = values[source as usize];
        }
    })
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
        let (forward, outputs) = forward(&shape, indices);
        let (backward, inputs) = backward(&shape, indices);
        Ok(ConvStream { shape, forward, outputs, backward, inputs })
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

/// Cuts results into sections of about as many nonzeros: where each ends. `ends` is where the nonzeros of each result end.
fn cut(shape: &ConvShape, ends: &[u32]) -> Vec<u32> {
    let all = ends.last().copied().unwrap_or(0);
    let count = sections(shape, all as usize, ends.len(), SECTION);
    let mut last = 0;
    let end = |section: usize| {
        let wanted = (u64::from(all) * section as u64).div_ceil(count as u64);
        // A result in each section, and as many left as sections are to come.
        let found = ends.partition_point(|&end| u64::from(end) < wanted) + 1;
        last = found.clamp(last + 1, ends.len() - (count - section));
        last as u32
    };
    (1..count).map(end).chain(std::iter::once(ends.len() as u32)).collect()
}

/// The order of the forward pass and the weight gradient, and where its sections end.
fn forward(shape: &ConvShape, indices: &[u32]) -> (Order, Vec<u32>) {
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
    let sections = cut(shape, &ends);
    (Order::new(shape.kernel, shape.inputs, rows * columns * 64, &sections, &nonzeros, &ends), sections)
}

/// The orders of the data gradient, and where their sections end: the same in all, so that a section is whole channels.
fn backward(shape: &ConvShape, indices: &[u32]) -> (Vec<Order>, Vec<u32>) {
    let s = shape.stride;
    let mut ends = vec![vec![0u32; shape.inputs]; s * s];
    let mut all = vec![0u32; shape.inputs];
    for &index in indices {
        let [_, input, row, column] = split(shape, index);
        ends[row % s * s + column % s][input] += 1;
        all[input] += 1;
    }
    ends.iter_mut().for_each(|ends| accumulate(ends));
    accumulate(&mut all);
    let sections = cut(shape, &all);
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
        Order::new(row_taps, shape.outputs, rows * columns * 64, &sections, nonzeros, ends)
    });
    (classes.collect(), sections)
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

    fn check(order: &Order, sections: &[u32], results: usize, count: usize) {
        assert_eq!(order.taps.len(), count);
        let mut source = order.source.clone();
        source.sort_unstable();
        source.dedup();
        assert_eq!(source.len(), count);
        assert_eq!(order.cells[0], Cell::default());
        assert_eq!(order.cells[order.cells.len() - 1], order.end());
        assert_eq!(order.cells.len(), order.panels() * sections.len() + 1);
        assert_eq!(sections[sections.len() - 1] as usize, results);
        assert!(
            sections[0] > 0 && sections.is_sorted_by(|a, b| a < b),
            "a section without results: {sections:?}"
        );
        for (number, pair) in order.cells.windows(2).enumerate() {
            let (panel, section) = (number / order.sections, number % order.sections);
            let results =
                if section == 0 { 0..sections[0] } else { sections[section - 1]..sections[section] };
            let visits = &order.visits[pair[0].visit as usize..pair[1].visit as usize];
            let nonzeros: u32 = visits.iter().map(|v| v.count).sum();
            assert_eq!(nonzeros, pair[1].nonzero - pair[0].nonzero);
            let mut seen: Vec<u32> = visits.iter().map(|v| v.result).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), visits.len());
            assert!(seen.iter().all(|r| results.contains(r)));
            assert!(panel > 0 || seen.len() == results.len());
        }
        // Whatever the panels, the nonzeros of a result stand in the order of the pattern.
        let mut last = vec![None; results];
        let mut j = 0;
        for visit in &order.visits {
            for _ in 0..visit.count {
                let before = last[visit.result as usize].replace(order.source[j]);
                assert!(before < Some(order.source[j]));
                j += 1;
            }
        }
        let (panels, all) = (0..order.panels(), 0..order.sections);
        let each: usize = all.clone().map(|s| order.count_of(&panels, &(s..s + 1))).sum();
        assert_eq!((each, order.count_of(&panels, &all)), (count, count));
    }

    #[test]
    fn every_order_holds_every_nonzero_once_and_results_keep_the_canonical_order() {
        let mut most = 0;
        for (inputs, outputs, groups) in [(64, 48, 1), (5, 7, 1), (6, 6, 6), (8, 4, 2), (100, 160, 1)] {
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
                    // One output with most of the nonzeros, too.
                    let first = 0..(shape.weight_len() / outputs) as u32;
                    let skewed =
                        first.clone().chain(every(shape, 50).into_iter().skip_while(|i| first.contains(i)));
                    for indices in [every(shape, step), skewed.collect()] {
                        let stream = ConvStream::new(shape, &indices).unwrap();
                        assert_eq!(stream.count(), indices.len());
                        check(&stream.forward, &stream.outputs, outputs, indices.len());
                        let total: usize = stream.backward.iter().map(|o| o.taps.len()).sum();
                        assert_eq!(total, indices.len());
                        let inputs = &stream.inputs;
                        stream.backward.iter().for_each(|order| {
                            check(order, inputs, shape.inputs, order.taps.len());
                        });
                        most = most.max(stream.outputs.len());
                    }
                }
            }
        }
        assert!(most > 2, "no case has sections");
    }

    #[test]
    fn panels_know_the_channels_that_they_sum() {
        let shape = ConvShape {
            inputs: 70,
            rows: 9,
            columns: 16,
            outputs: 48,
            kernel: 3,
            stride: 1,
            padding: 1,
            groups: 1,
        };
        let stream = ConvStream::new(shape, &every(shape, 3)).unwrap();
        let order = &stream.forward;
        assert!(order.panels() > 2 && order.sections > 1);
        for panel in 0..order.panels() {
            let channels = order.summed(&(panel..panel + 1), shape.inputs);
            let [from, to] = [panel, panel + 1].map(|p| order.cells[p * order.sections].nonzero as usize);
            for tap in &order.taps[from..to] {
                let offset = (tap & ((1 << OFFSET_BITS) - 1)) as usize;
                assert!(channels.contains(&(offset / shape.input_staging().channel())));
            }
        }
        assert_eq!(order.summed(&(0..order.panels()), shape.inputs), 0..shape.inputs);
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
