//! `drawn-digits`: handwritten-like digits of 28×28 pixels, drawn by this crate's own code, so that a fresh
//! machine can train at once, without a download.
//!
//! A digit is a writing variant out of [`glyphs`]: strokes through a handful of points. Its points are jittered,
//! bent by a smooth random field, turned, slanted, scaled and shifted, and drawn with a pen of varying width
//! on noisy paper ([`render`]). Everything about sample `i` follows from (seed, `i`), with portable
//! math only: the same bytes on every machine. They never change, since runs are resumed on them.
//!
//! The amounts are chosen so that the set tells networks apart: a linear classifier reaches BAND %, an MLP of
//! 300 and 100 hidden units MLP %.

mod glyphs;
mod render;

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use rigl_base::random::{Purpose, Stream, name_id, pair_id};
use rigl_base::{Error, Result};

use crate::dataset::{Sets, Spec};
use crate::memory::InMemory;
use crate::registry::DataOptions;

/// The name of the data set.
pub const NAME: &str = "drawn-digits";

/// Rows and columns of an image.
pub const SIDE: usize = 28;

/// One image, row after row; 0 is paper, 255 is ink.
pub type Image = [u8; SIDE * SIDE];

/// Samples of the training set: those of index 0 … 11,999.
pub const TRAIN: Range<u64> = 0..12_000;

/// Samples of the test set.
pub const TEST: Range<u64> = 12_000..14_000;

/// The seed of the data set that everybody gets. A run's own seed does not change it, as it does not change
/// MNIST: otherwise runs of different seeds would be tested on different samples.
pub const SEED: u64 = 0;

/// The training and the test set of `drawn-digits`, drawn now, by `options.threads` threads.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if no thread can be started.
pub fn sets(options: &DataOptions) -> Result<Sets> {
    let train = samples(SEED, TRAIN, options.threads)?;
    let test = samples(SEED, TEST, options.threads)?;
    Ok(Sets::new(Arc::new(train), Arc::new(test)))
}

/// The samples of the given indices. The result does not depend on the number of threads.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if no thread can be started.
pub fn samples(seed: u64, indices: Range<u64>, threads: usize) -> Result<InMemory> {
    let count = usize::try_from(indices.end.saturating_sub(indices.start))
        .map_err(|_| Error::usage("more samples than this machine can address"))?;
    let mut images = vec![[0; SIDE * SIDE]; count];
    let mut labels = vec![0; count];
    let share = count.div_ceil(threads.max(1)).max(1);
    thread::scope(|scope| {
        let parts = images.chunks_mut(share).zip(labels.chunks_mut(share));
        let starts = (indices.start..).step_by(share);
        let mut handles = Vec::new();
        for (start, (images, labels)) in starts.zip(parts) {
            let draw_part = move || {
                for (index, (image, label)) in (start..).zip(images.iter_mut().zip(labels)) {
                    *label = draw(seed, index, image);
                }
            };
            handles.push(
                thread::Builder::new()
                    .spawn_scoped(scope, draw_part)
                    .map_err(|e| Error::environment("cannot start a drawing thread").caused_by(e))?,
            );
        }
        for handle in handles {
            handle.join().map_err(|_| Error::internal("a drawing thread panicked"))?;
        }
        Ok(())
    })?;
    let spec = Spec::new(NAME, [1, SIDE, SIDE], (0..10).map(|digit| digit.to_string()));
    InMemory::new(spec, images.into_flattened(), labels)
}

/// Draws sample `index` and returns its label.
pub fn draw(seed: u64, index: u64, image: &mut Image) -> u8 {
    let label = label(seed, index);
    render::draw(label, &mut Stream::new(seed, Purpose::Drawn, index).draws(), image);
    label
}

/// The label of sample `index`: random, but every ten samples from a multiple of ten on hold every digit once.
pub fn label(seed: u64, index: u64) -> u8 {
    let id = pair_id(name_id("label"), index / 10);
    let mut digits = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    Stream::new(seed, Purpose::Drawn, id).draws().shuffle(&mut digits);
    digits[(index % 10) as usize]
}
