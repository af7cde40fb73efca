//! The taps of a dense convolution: for every product, where the staged vector of each summed weight begins.

use crate::conv::shape::{ConvShape, OFFSET_BITS};
use crate::error::Error;
use crate::run::Machine;

/// The weights that one result sums, in canonical order: channel, kernel row, kernel column.
///
/// Invariant, established by [`ConvTaps::new`]: the row of every tap is below `rows`, its offset that of a channel
/// and kernel column of the shape.
#[derive(Debug)]
pub(crate) struct Taps {
    pub(crate) rows: usize,
    /// Row << [`OFFSET_BITS`] | offset in vectors.
    pub(crate) taps: Vec<u32>,
}

/// What the dense kernels need of a convolution without groups; made once.
#[derive(Debug)]
pub struct ConvTaps {
    pub(crate) shape: ConvShape,
    pub(crate) forward: Taps,
    /// One per class of rows and class of columns, row classes outermost, as in a stream.
    pub(crate) backward: Vec<Taps>,
}

impl ConvTaps {
    /// The taps of a convolution.
    ///
    /// # Errors
    /// [`Error::Shape`] for an impossible shape, or one with groups: these run as streams
    /// ([`ConvStream::full`](crate::conv::ConvStream::full)).
    pub fn new(shape: ConvShape) -> Result<ConvTaps, Error> {
        shape.check()?;
        if shape.groups != 1 {
            return Err(Error::Shape(format!("a dense convolution with groups: {shape:?}")));
        }
        let (k, s) = (shape.kernel, shape.stride);
        let mut taps = Vec::with_capacity(shape.inputs * k * k);
        for channel in 0..shape.inputs {
            for row in 0..k {
                for column in 0..k {
                    taps.push((row << OFFSET_BITS | shape.input_offset(channel, column)) as u32);
                }
            }
        }
        let forward = Taps { rows: k, taps };
        let class = |class: usize| {
            let (rows, columns) = (shape.class_taps(class / s), shape.class_taps(class % s));
            let mut taps = Vec::with_capacity(shape.outputs * rows * columns);
            for channel in 0..shape.outputs {
                for row in 0..rows {
                    for column in 0..columns {
                        let offset = shape.gradient_offset(channel, class % s, column);
                        taps.push((row << OFFSET_BITS | offset) as u32);
                    }
                }
            }
            Taps { rows, taps }
        };
        Ok(ConvTaps { shape, forward, backward: (0..s * s).map(class).collect() })
    }

    /// Writes the weight as the classes of the data gradient need it, one after the other:
    /// `[class][input channel][output channel][taps of the class]`.
    pub(crate) fn turn(&self, machine: &Machine, weight: &[f32], into: &mut [f32]) -> Result<(), Error> {
        let ConvShape { inputs, kernel, stride, .. } = self.shape;
        let mut rest = into;
        for (class, taps) in self.backward.iter().enumerate() {
            let of_input = taps.taps.len();
            let (of_class, behind) = rest.split_at_mut(inputs * of_input);
            rest = behind;
            if of_input == 0 {
                continue;
            }
            // Memory is what it waits for.
            let cost = of_class.len().saturating_mul(64);
            machine.chunks(of_class, of_input, cost, &|first, out| {
                let input = first / of_input;
                let mut out = out.iter_mut();
                for of_output in weight.chunks_exact(inputs * kernel * kernel) {
                    let of_channel = &of_output[input * kernel * kernel..][..kernel * kernel];
                    for row in (class / stride..kernel).step_by(stride) {
                        for column in (class % stride..kernel).step_by(stride) {
                            if let Some(out) = out.next() {
                                *out = of_channel[row * kernel + column];
                            }
                        }
                    }
                }
            })?;
        }
        Ok(())
    }
}
