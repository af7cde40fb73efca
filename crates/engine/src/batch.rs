//! Samples on their way into a network: bytes become a map of scaled numbers, in the threads of the loader.

use rigl_base::{Error, Result};
use rigl_kernels::{Isa, layout};

/// A batch in the engine's own layout.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) map: Vec<f32>,
    pub(crate) labels: Vec<u32>,
}

impl Batch {
    /// Samples in it.
    pub fn samples(&self) -> usize {
        self.labels.len()
    }
}

/// How images become numbers: x = byte · scale + shift, per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessing {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Preprocessing {
    /// (byte / 255 − mean) / deviation, one mean and deviation per channel, or one for all.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there are not as many of one as of the other.
    pub fn new(mean: &[f64], deviation: &[f64]) -> Result<Preprocessing> {
        if mean.len() != deviation.len() || mean.is_empty() {
            return Err(Error::usage(format!(
                "`data.mean` has {} values and `data.std` {}, expected as many of both, at least one",
                mean.len(),
                deviation.len()
            )));
        }
        Ok(Preprocessing {
            scale: deviation.iter().map(|d| (1.0 / (255.0 * d)) as f32).collect(),
            shift: mean.iter().zip(deviation).map(|(m, d)| (-m / d) as f32).collect(),
        })
    }
}

/// Packs samples into batches; made by [`Session::packer`](crate::Session::packer), used from any thread.
#[derive(Clone, Debug)]
pub struct Packer {
    pub(crate) isa: Isa,
    pub(crate) features: usize,
    pub(crate) preprocessing: Preprocessing,
}

impl Packer {
    /// Packs images, each with its label, into `batch`, whose memory is reused.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if an image does not have as many bytes as the network has inputs;
    /// the batch then holds nothing.
    pub fn pack<'a>(
        &self,
        samples: impl ExactSizeIterator<Item = (&'a [u8], u32)>,
        batch: &mut Batch,
    ) -> Result<()> {
        batch.labels.clear();
        let packed = self.fill(samples, batch);
        if packed.is_err() {
            *batch = Batch::default();
        }
        packed
    }

    /// Group by group, so that no list of all images is needed.
    fn fill<'a>(
        &self,
        mut samples: impl ExactSizeIterator<Item = (&'a [u8], u32)>,
        batch: &mut Batch,
    ) -> Result<()> {
        let len =
            |groups| layout::map_len(self.features, groups).map_err(|e| Error::usage("batch").caused_by(e));
        batch.map.resize(len(layout::groups(samples.len()))?, 0.0);
        let Preprocessing { scale, shift } = &self.preprocessing;
        for map in batch.map.chunks_exact_mut(len(1)?.max(1)) {
            let mut images: [&[u8]; layout::GROUP] = [&[]; layout::GROUP];
            let mut count = 0;
            for (slot, (image, label)) in images.iter_mut().zip(&mut samples) {
                if image.len() != self.features {
                    return Err(Error::data(format!(
                        "a sample has {} bytes, expected the {} inputs of the network",
                        image.len(),
                        self.features
                    )));
                }
                *slot = image;
                batch.labels.push(label);
                count += 1;
            }
            layout::pack_images(self.isa, &images[..count], scale, shift, map)
                .map_err(|e| Error::usage("`data.mean` and `data.std`").caused_by(e))?;
        }
        Ok(())
    }
}
