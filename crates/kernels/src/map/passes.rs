//! Passes over whole maps, for what no convolution does in passing: additions, sums of a map that something else
//! made, and gradients on their way through a view.

use crate::error::{Error, check_len};
use crate::map::shape::{MapShape, blocks};
use crate::map::store::{GradientSource, RowSums, Source, StoreForward, StoreGradient};
use crate::map::stored::StoredMut;
use crate::map::strips::{Part, Strips, strip_sums};
use crate::map::sums::{AddLanes, add_up};
use crate::map::view::{GradientView, Statistics, View};
use crate::run::{Machine, Shared, Workspace, WorkspaceSize};
use crate::simd::LANES;

/// The scratch that any pass over a map of this shape needs.
pub fn workspace(shape: MapShape, samples: usize) -> WorkspaceSize {
    let lane_sums = shape.channels.saturating_mul(2 * LANES);
    WorkspaceSize { worker: lane_sums, shared: 0, sums: strip_sums(shape, samples) }
}

/// Calls `row(part, row, lane sums)` for every row of every part, on all threads, and leaves the sums of each part.
///
/// # Safety
/// `row` writes the sums of its part's channels only, of which there is room for two each.
unsafe fn rows(
    machine: &Machine,
    strips: &Strips,
    (scratch, size): (&mut Workspace, WorkspaceSize),
    sums: Option<&mut [f64]>,
    row: &(dyn Fn(&Part, usize, RowSums) + Sync),
) -> Result<(), Error> {
    let parts = scratch.parts(machine.pool.threads(), size)?;
    let count = strips.channels() * 2;
    let (strip_sums, workers, summed) = (Shared::new(parts.sums), parts.workers, sums.is_some());
    strips.run(machine, strips.cost(), &|worker, part| {
        let lane_sums = workers[worker].get();
        let first = part.channels.start * 2;
        let len = part.channels.len() * 2;
        // SAFETY: the worker's scratch holds two vectors for every channel, and there are as many sums for every strip
        // (`workspace`), of which this task has those of its channels.
        unsafe {
            let (lanes, sums) =
                (lane_sums.add(first * LANES), strip_sums.get().add(part.strip * count + first));
            std::slice::from_raw_parts_mut(lanes, len * LANES).fill(0.0);
            part.rows.clone().for_each(|r| row(&part, r, lane_sums));
            if summed {
                std::slice::from_raw_parts_mut(sums, len).fill(0.0);
                machine.isa.run_raw(AddLanes { lanes, sums, count: len });
            }
        }
    })?;
    match sums {
        Some(sums) => add_up(machine, &parts.sums[..strips.count() * count], sums),
        None => Ok(()),
    }
}

/// y = a (+ b), with the sums that the next batch norm needs.
#[derive(Debug)]
pub struct Add<'a> {
    /// The shape of all maps.
    pub shape: MapShape,
    /// The first summand.
    pub a: View<'a>,
    /// The second.
    pub b: Option<View<'a>>,
    /// The result; without it only sums are made.
    pub y: Option<&'a mut [f32]>,
    /// Sums over the result.
    pub statistics: Option<Statistics<'a>>,
    /// Samples of the batch.
    pub samples: usize,
}

impl Add<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// If a length does not fit the shape, the workspace is too small, or a worker panicked.
    pub fn run(self, machine: &Machine, scratch: &mut Workspace) -> Result<(), Error> {
        let Add { shape, a, b, mut y, statistics, samples } = self;
        let blocks = blocks(samples);
        a.check(shape, blocks)?;
        if let Some(b) = &b {
            b.check(shape, blocks)?;
        }
        if let Some(y) = &y {
            check_len("y", y.len(), shape.len(blocks)?)?;
        }
        if let Some(statistics) = &statistics {
            statistics.check(shape.channels)?;
        }
        let strips = Strips::new(shape, samples);
        let y = y.as_mut().map(|y| Shared::new(y));
        let (shift, sums) = match statistics {
            Some(Statistics { shift, sums }) => (Some(shift), Some(sums)),
            None => (None, None),
        };
        let scratch = (scratch, workspace(shape, samples));
        // SAFETY: everything was checked above, and a row's sums are those of its channels.
        unsafe {
            rows(machine, &strips, scratch, sums, &|part, row, lane_sums| {
                machine.isa.run_raw(StoreForward {
                    from: Source::View(a),
                    residual: b,
                    shape,
                    channels: part.channels.clone(),
                    block: part.block,
                    row,
                    lanes: part.lanes,
                    y: y.map(|y| StoredMut::new(y.get())),
                    statistics: shift.map(|shift| (shift, lane_sums)),
                    past: false,
                });
            })
        }
    }
}

/// The gradient of a map's consumer, brought to the map (or to its norm's result): through the view's dropout and
/// ReLU.
#[derive(Debug)]
pub struct Route<'a> {
    /// The shape of all maps.
    pub shape: MapShape,
    /// The gradient of the view's value.
    pub gradient: GradientView<'a>,
    /// The view.
    pub view: View<'a>,
    /// The gradient of the view's norm's result, or of its map if there is none.
    pub out: &'a mut [f32],
    /// Whether it is added to what is there.
    pub accumulate: bool,
    /// Replaced by Σ dz and Σ dz·(x − μ) of the whole result, `[channel][2]`.
    pub sums: Option<&'a mut [f64]>,
    /// Samples of the batch.
    pub samples: usize,
}

impl Route<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// If a length does not fit the shape, the workspace is too small, or a worker panicked.
    pub fn run(self, machine: &Machine, scratch: &mut Workspace) -> Result<(), Error> {
        let Route { shape, gradient, view, out, accumulate, sums: wanted, samples } = self;
        let blocks = blocks(samples);
        gradient.check(shape, blocks)?;
        view.check(shape, blocks)?;
        check_len("out", out.len(), shape.len(blocks)?)?;
        if let Some(sums) = &wanted {
            check_len("sums", sums.len(), 2 * shape.channels)?;
        }
        let strips = Strips::new(shape, samples);
        let (out, summed) = (Shared::new(out), wanted.is_some());
        let scratch = (scratch, workspace(shape, samples));
        // SAFETY: everything was checked above, and a row's sums are those of its channels.
        unsafe {
            rows(machine, &strips, scratch, wanted, &|part, row, lane_sums| {
                machine.isa.run_raw(StoreGradient {
                    from: GradientSource::View(gradient, part.lanes),
                    view,
                    shape,
                    channels: part.channels.clone(),
                    block: part.block,
                    row,
                    out: StoredMut::new(out.get()),
                    accumulate,
                    sums: summed.then_some(lane_sums),
                });
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::view::Affine;
    use crate::simd::Isa;

    const SHAPE: MapShape = MapShape { channels: 3, rows: 11, columns: 5 };

    fn map(salt: usize, samples: usize) -> Vec<f32> {
        let len = SHAPE.len(blocks(samples)).unwrap();
        let is_sample = |i: usize| i / SHAPE.block_len() * 16 + i % 16 < samples;
        (0..len)
            .map(|i| if is_sample(i) { ((i * 37 + salt * 11) % 101) as f32 / 50.0 - 1.0 } else { 0.0 })
            .collect()
    }

    #[test]
    fn sums_of_views_and_gradients_through_views_are_as_defined() {
        let channel = |i: usize| i / 16 / SHAPE.columns % SHAPE.channels;
        let (mean, scale, offset) = ([0.1, 0.2, -0.3], [1.5, -2.0, 0.5], [0.3, 0.1, -0.1]);
        let norm = Some(Affine { mean: &mean, scale: &scale, offset: &offset });
        for isa in Isa::available() {
            for samples in [1, 17, 40] {
                let machine = Machine::new(isa, 2);
                let mut scratch = Workspace::new(2, workspace(SHAPE, samples)).unwrap();
                let (a, b, g, before) = (map(1, samples), map(2, samples), map(3, samples), map(4, samples));
                let view = View { map: &a, norm, relu: true, dropout: None };
                let z = |i: usize| (a[i] - mean[channel(i)]).mul_add(scale[channel(i)], offset[channel(i)]);
                let is_sample = |i: usize| i / SHAPE.block_len() * 16 + i % 16 < samples;
                let (mut y, mut sums) = (vec![f32::NAN; a.len()], [f64::NAN; 6]);
                let shift = [0.5, 0.0, -0.5];
                let statistics = Some(Statistics { shift: &shift, sums: &mut sums });
                Add { shape: SHAPE, a: view, b: Some(View::plain(&b)), y: Some(&mut y), statistics, samples }
                    .run(&machine, &mut scratch)
                    .unwrap();
                let mut expected = [0.0; 6];
                for i in 0..y.len() {
                    assert_eq!(y[i], z(i).max(0.0) + b[i]);
                    if is_sample(i) {
                        let d = f64::from(y[i]) - f64::from(shift[channel(i)]);
                        expected[2 * channel(i)] += d;
                        expected[2 * channel(i) + 1] += d * d;
                    }
                }
                let close = |sums: &[f64; 6], expected: &[f64; 6]| {
                    sums.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3)
                };
                assert!(close(&sums, &expected), "{sums:?} {expected:?}");
                // Sums alone, of the map that was made.
                let mut again = [f64::NAN; 6];
                let statistics = Some(Statistics { shift: &shift, sums: &mut again });
                Add { shape: SHAPE, a: View::plain(&y), b: None, y: None, statistics, samples }
                    .run(&machine, &mut scratch)
                    .unwrap();
                assert_eq!(again, sums);

                let (mut out, mut sums) = (before.clone(), [f64::NAN; 6]);
                Route {
                    shape: SHAPE,
                    gradient: GradientView { direct: Some(&g), norm: None },
                    view,
                    out: &mut out,
                    accumulate: true,
                    sums: Some(&mut sums),
                    samples,
                }
                .run(&machine, &mut scratch)
                .unwrap();
                let mut expected = [0.0; 6];
                for i in 0..out.len() {
                    assert_eq!(out[i], before[i] + if z(i) > 0.0 { g[i] } else { 0.0 });
                    expected[2 * channel(i)] += f64::from(out[i]);
                    expected[2 * channel(i) + 1] += f64::from(out[i]) * f64::from(a[i] - mean[channel(i)]);
                }
                assert!(close(&sums, &expected), "{sums:?} {expected:?}");
            }
        }
    }
}
