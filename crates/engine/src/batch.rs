//! Samples on their way into a network: bytes, or numbers, become a map of scaled numbers, in the threads of the loader.

use rigl_base::{Error, Result};
use rigl_kernels::vector::layout;
use rigl_kernels::{Isa, pack};

use crate::layout::Layout;

/// A batch in the engine's own layout.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) map: Vec<f32>,
    pub(crate) labels: Vec<u32>,
    /// Of the images packed last: x = byte · scale + shift, for each sample and channel.
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// Whether every number is.
    pub(crate) finite: bool,
}

impl Batch {
    /// Samples in it.
    pub fn samples(&self) -> usize {
        self.labels.len()
    }

    /// The label of each sample.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }
}

/// How samples become the numbers that a network reads: of bytes x = byte · scale + shift.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessing(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// The same for all images, by channel.
    Fixed { scale: Vec<f32>, shift: Vec<f32> },
    /// From the image itself.
    PerImage,
    /// Of samples that are numbers: (x − mean) / deviation, by channel or feature, or the same for all.
    Numbers { mean: Vec<f64>, deviation: Vec<f64> },
}

impl Preprocessing {
    /// (byte / 255 − mean) / deviation, one mean and deviation per channel, or one for all.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there are not as many of one as of the other, or 32 bits do not hold
    /// what pixels become.
    pub fn new(mean: &[f64], deviation: &[f64]) -> Result<Preprocessing> {
        as_many(mean, deviation)?;
        let scale: Vec<f32> = deviation.iter().map(|d| (1.0 / (255.0 * d)) as f32).collect();
        let shift: Vec<f32> = mean.iter().zip(deviation).map(|(m, d)| (-m / d) as f32).collect();
        // Those of white, so that all between are finite too.
        let white = |(scale, shift): (&f32, &f32)| 255.0 * scale + shift;
        if let Some(channel) = scale.iter().zip(&shift).position(|both| !white(both).is_finite()) {
            return Err(Error::usage(format!(
                "`data.mean` is {:e} and `data.std` {:e} in channel {channel}, expected numbers of which 32 bits hold the quotient",
                mean[channel], deviation[channel]
            )));
        }
        Ok(Preprocessing(Kind::Fixed { scale, shift }))
    }

    /// Of samples that are numbers: (x − mean) / deviation, in 64 bits and then rounded, one mean and deviation per channel
    /// or feature, or one for all.
    ///
    /// # Errors
    /// [`Kind::Usage`](rigl_base::Kind::Usage) if there are not as many of one as of the other. What is too large for 32 bits
    /// depends on the samples: it is noticed in their batch.
    pub fn of_numbers(mean: &[f64], deviation: &[f64]) -> Result<Preprocessing> {
        as_many(mean, deviation)?;
        Ok(Preprocessing(Kind::Numbers { mean: mean.to_vec(), deviation: deviation.to_vec() }))
    }

    /// Whether samples are numbers, not bytes.
    pub fn takes_numbers(&self) -> bool {
        matches!(self.0, Kind::Numbers { .. })
    }

    /// (byte / 255 − μ) / max(σ, 1/√n) with the mean μ and the deviation σ of all n values of the image itself, as
    /// TensorFlow's `per_image_standardization` has it.
    pub fn per_image() -> Preprocessing {
        Preprocessing(Kind::PerImage)
    }
}

fn as_many(mean: &[f64], deviation: &[f64]) -> Result<()> {
    if mean.len() == deviation.len() && !mean.is_empty() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "`data.mean` has {} values and `data.std` {}, expected as many of both, at least one",
        mean.len(),
        deviation.len()
    )))
}

/// Packs samples into batches; made by [`Session::packer`](crate::Session::packer), used from any thread.
#[derive(Clone, Debug)]
pub struct Packer {
    pub(crate) isa: Isa,
    pub(crate) layout: Layout,
    pub(crate) preprocessing: Preprocessing,
}

impl Packer {
    /// Packs images, each with its label, into `batch`, whose memory is reused.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if an image does not have as many bytes as the network has inputs, or that
    /// reads numbers; the batch then holds nothing.
    pub fn pack<'a>(
        &self,
        samples: impl ExactSizeIterator<Item = (&'a [u8], u32)>,
        batch: &mut Batch,
    ) -> Result<()> {
        batch.labels.clear();
        // What bytes become is: `Preprocessing` has refused what is not.
        batch.finite = true;
        let packed = self.fill(samples, batch);
        if packed.is_err() {
            *batch = Batch::default();
        }
        packed
    }

    /// Packs samples that are numbers, each with its label, into `batch`, whose memory is reused.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if a sample does not have as many numbers as the network has inputs, or that
    /// reads bytes; the batch then holds nothing.
    pub fn pack_numbers<'a>(
        &self,
        samples: impl ExactSizeIterator<Item = (&'a [f32], u32)>,
        batch: &mut Batch,
    ) -> Result<()> {
        batch.labels.clear();
        let packed = self.fill_numbers(samples, batch);
        if packed.is_err() {
            *batch = Batch::default();
        }
        packed
    }

    fn fill_numbers<'a>(
        &self,
        samples: impl ExactSizeIterator<Item = (&'a [f32], u32)>,
        batch: &mut Batch,
    ) -> Result<()> {
        let Kind::Numbers { mean, deviation } = &self.preprocessing.0 else {
            return Err(Error::data("a sample of numbers, where the network was trained on bytes"));
        };
        let inputs = self.layout.features();
        let channels = mean.len();
        if !inputs.is_multiple_of(channels) {
            return Err(Error::usage(format!(
                "`data.mean` and `data.std` of {channels} channels, the network has {inputs} inputs"
            )));
        }
        // Lanes behind the last sample are zero.
        let mut finite = true;
        batch.map.clear();
        batch.map.resize(self.layout.len(samples.len())?, 0.0);
        for (place, (numbers, label)) in samples.enumerate() {
            if numbers.len() != inputs {
                return Err(Error::data(format!(
                    "a sample has {} numbers, expected the {inputs} inputs of the network",
                    numbers.len(),
                )));
            }
            batch.labels.push(label);
            let by_channel = numbers.chunks_exact((inputs / channels).max(1)).zip(mean.iter().zip(deviation));
            let scaled = by_channel.flat_map(|(numbers, (mean, deviation))| {
                numbers.iter().map(move |&x| ((f64::from(x) - mean) / deviation) as f32)
            });
            let scaled = scaled.inspect(|x| finite &= x.is_finite());
            self.layout.put(&mut batch.map, place, scaled);
        }
        batch.finite = finite;
        Ok(())
    }

    /// Appends the numbers of a batch as the network reads them, one sample after the other, each in its own order
    /// (row-major in its shape).
    ///
    /// # Errors
    /// [`Kind::Internal`](rigl_base::Kind::Internal) if the batch was packed for another network.
    pub fn unpack(&self, batch: &Batch, numbers: &mut Vec<f32>) -> Result<()> {
        self.layout.unpack(&batch.map, batch.samples(), numbers)
    }

    /// Piece by piece, so that no list of all images is needed.
    fn fill<'a>(
        &self,
        mut samples: impl ExactSizeIterator<Item = (&'a [u8], u32)>,
        batch: &mut Batch,
    ) -> Result<()> {
        if self.preprocessing.takes_numbers() {
            return Err(Error::data("a sample of bytes, where the network was trained on numbers"));
        }
        let piece = self.layout.piece();
        batch.map.resize(self.layout.len(samples.len())?, 0.0);
        let bytes = self.layout.features();
        for map in batch.map.chunks_exact_mut((bytes * piece).max(1)) {
            let mut images: [&[u8]; layout::GROUP] = [&[]; layout::GROUP];
            let mut count = 0;
            for (slot, (image, label)) in images.iter_mut().take(piece).zip(&mut samples) {
                if image.len() != bytes {
                    return Err(Error::data(format!(
                        "a sample has {} bytes, expected the {bytes} inputs of the network",
                        image.len(),
                    )));
                }
                *slot = image;
                batch.labels.push(label);
                count += 1;
            }
            let images = &images[..count];
            batch.scale.clear();
            batch.shift.clear();
            let channels = self.values(images, &mut batch.scale, &mut batch.shift);
            let (scale, shift) = (&batch.scale, &batch.shift);
            match self.layout {
                Layout::Vector(_) => pack::pack_vectors(self.isa, images, channels, scale, shift, map),
                Layout::Map(shape) => pack::pack_maps(self.isa, images, shape, scale, shift, map),
            }
            .map_err(|e| Error::usage("`data.mean` and `data.std`").caused_by(e))?;
        }
        Ok(())
    }

    /// Appends scale and shift of each image and channel; gives the number of channels.
    fn values(&self, images: &[&[u8]], scale: &mut Vec<f32>, shift: &mut Vec<f32>) -> usize {
        // Values that are the same for all channels are one channel's to vectors, but maps know their channels.
        let channels = |known: usize| match self.layout {
            Layout::Map(shape) if known == 1 => shape.channels,
            _ => known,
        };
        match &self.preprocessing.0 {
            Kind::Fixed { scale: scales, shift: shifts } => {
                let channels = channels(scales.len());
                let times = images.len() * (channels / scales.len());
                for _ in 0..times {
                    scale.extend_from_slice(scales);
                    shift.extend_from_slice(shifts);
                }
                channels
            }
            // Refused before.
            Kind::Numbers { .. } => 0,
            Kind::PerImage => {
                let channels = channels(1);
                for image in images {
                    let (a, b) = standardization(image);
                    scale.extend(std::iter::repeat_n(a, channels));
                    shift.extend(std::iter::repeat_n(b, channels));
                }
                channels
            }
        }
    }
}

/// Scale and shift that give an image mean 0 and deviation 1.
fn standardization(image: &[u8]) -> (f32, f32) {
    let (mut sum, mut squares) = (0u64, 0u64);
    // Short enough for 32 bits: sums the compiler turns into vectors. Whole numbers have no order of sums.
    for bytes in image.chunks(1 << 15) {
        sum += u64::from(bytes.iter().map(|&b| u32::from(b)).sum::<u32>());
        squares += u64::from(bytes.iter().map(|&b| u32::from(b) * u32::from(b)).sum::<u32>());
    }
    let n = image.len().max(1) as f64;
    let mean = sum as f64 / n / 255.0;
    let variance = (u128::from(squares) * image.len() as u128 - u128::from(sum).pow(2)) as f64;
    let deviation = (variance.sqrt() / n / 255.0).max(1.0 / n.sqrt());
    ((1.0 / (255.0 * deviation)) as f32, (-mean / deviation) as f32)
}

#[cfg(test)]
mod tests {
    use rigl_kernels::map::MapShape;

    use super::*;

    fn packer(layout: Layout, preprocessing: Preprocessing) -> Packer {
        Packer { isa: Isa::detect(), layout, preprocessing }
    }

    fn images(count: usize, len: usize) -> Vec<Vec<u8>> {
        (0..count).map(|s| (0..len).map(|i| (s * 31 + i * i * 7 + i) as u8).collect()).collect()
    }

    fn pack(packer: &Packer, images: &[Vec<u8>]) -> Batch {
        // Memory of a larger batch, which must not shine through.
        let mut batch = Batch { map: vec![f32::NAN; 10_000], labels: vec![7; 10], ..Batch::default() };
        let labels = (0..).zip(images).map(|(i, image)| (image.as_slice(), i));
        packer.pack(labels.collect::<Vec<_>>().into_iter(), &mut batch).unwrap();
        assert_eq!(batch.labels, (0..images.len() as u32).collect::<Vec<_>>());
        batch
    }

    /// The value of one sample at a channel, a row and a column, in a map of that shape.
    fn at(shape: MapShape, batch: &Batch, sample: usize, [c, r, q]: [usize; 3]) -> f32 {
        let MapShape { channels, rows, columns } = shape;
        batch.map[(((sample / 16 * rows + r) * channels + c) * columns + q) * 16 + sample % 16]
    }

    #[test]
    fn both_layouts_hold_the_same_numbers() {
        let shape = MapShape { channels: 3, rows: 4, columns: 5 };
        let fixed = Preprocessing::new(&[0.1, 0.2, 0.3], &[0.5, 0.6, 0.7]).unwrap();
        let same = Preprocessing::new(&[0.1], &[0.5]).unwrap();
        for preprocessing in [fixed, same, Preprocessing::per_image()] {
            for samples in [1, 16, 17, 65, 100] {
                let images = images(samples, 60);
                let vectors = pack(&packer(Layout::Vector(60), preprocessing.clone()), &images);
                let maps = pack(&packer(Layout::Map(shape), preprocessing.clone()), &images);
                assert_eq!(maps.map.len(), samples.div_ceil(16) * 60 * 16);
                for sample in 0..maps.map.len() / 60 {
                    for feature in 0..60 {
                        let x = at(shape, &maps, sample, [feature / 20, feature / 5 % 4, feature % 5]);
                        let y = vectors.map[(sample / 64 * 60 + feature) * 64 + sample % 64];
                        assert_eq!(x.to_bits(), y.to_bits(), "{preprocessing:?} {sample} {feature}");
                        assert!(sample < samples || x == 0.0);
                    }
                }
            }
        }
    }

    #[test]
    fn unpacked_samples_are_the_numbers_of_their_images_in_order() {
        let shape = MapShape { channels: 3, rows: 4, columns: 5 };
        let preprocessing = Preprocessing::new(&[0.1, 0.2, 0.3], &[0.5, 0.6, 0.7]).unwrap();
        for layout in [Layout::Vector(60), Layout::Map(shape)] {
            let packer = packer(layout, preprocessing.clone());
            for samples in [1, 16, 17, 65, 100] {
                let images = images(samples, 60);
                let batch = pack(&packer, &images);
                let mut numbers = vec![7.0];
                packer.unpack(&batch, &mut numbers).unwrap();
                assert_eq!(numbers.len(), 1 + samples * 60);
                for (i, (x, &byte)) in numbers[1..].iter().zip(images.iter().flatten()).enumerate() {
                    let (mean, deviation) = [(0.1, 0.5), (0.2, 0.6), (0.3, 0.7)][i % 60 / 20];
                    let expected = (f64::from(byte) / 255.0 - mean) / deviation;
                    assert!((f64::from(*x) - expected).abs() < 1e-6, "{samples} {i}: {x} {expected}");
                }
                let other = Layout::Vector(61);
                assert!(other.unpack(&batch.map, samples, &mut numbers).is_err());
            }
        }
    }

    #[test]
    fn an_image_is_standardised_by_its_own_mean_and_deviation() {
        let packer = packer(Layout::Vector(12), Preprocessing::per_image());
        let images = images(3, 12);
        let batch = pack(&packer, &images);
        for (s, image) in images.iter().enumerate() {
            let values: Vec<f64> = image.iter().map(|&b| f64::from(b) / 255.0).collect();
            let mean = values.iter().sum::<f64>() / 12.0;
            let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 12.0;
            let deviation = variance.sqrt().max(1.0 / 12f64.sqrt());
            for (i, x) in values.iter().enumerate() {
                let found = f64::from(batch.map[i * 64 + s]);
                assert!((found - (x - mean) / deviation).abs() < 1e-6, "{found}");
            }
        }
    }

    #[test]
    fn the_deviation_of_an_even_image_is_no_smaller_than_one_over_the_root_of_its_values() {
        // All the same: zeros but for rounding. One different: divided by 1/√n.
        let packer = packer(Layout::Vector(100), Preprocessing::per_image());
        let mut image = vec![200; 100];
        let batch = pack(&packer, &[image.clone()]);
        assert!(batch.map.iter().all(|x| x.abs() < 1e-5));
        image[0] = 201;
        let batch = pack(&packer, &[image]);
        assert!((batch.map[0] - 0.99 / 255.0 * 10.0).abs() < 1e-5, "{}", batch.map[0]);
        // And of no image at all there is nothing to divide.
        assert_eq!(standardization(&[]), (1.0 / 255.0, 0.0));
    }

    #[test]
    fn the_sums_of_the_largest_image_do_not_overflow() {
        let image = vec![255; 3_000_000];
        let (scale, shift) = standardization(&image);
        assert!((f64::from(scale) * 255.0 + f64::from(shift)).abs() < 1e-3);
        let mut half = image;
        half[..1_500_000].fill(0);
        assert_eq!(standardization(&half), ((2.0f64 / 255.0) as f32, -1.0));
    }

    #[test]
    fn an_image_of_another_size_leaves_an_empty_batch() {
        let shape = MapShape { channels: 1, rows: 2, columns: 2 };
        for layout in [Layout::Vector(4), Layout::Map(shape)] {
            let packer = packer(layout, Preprocessing::new(&[0.0], &[1.0]).unwrap());
            let mut batch = Batch::default();
            let images: [&[u8]; 2] = [&[1, 2, 3, 4], &[1, 2, 3]];
            let error = packer.pack(images.into_iter().zip([0, 1]), &mut batch).unwrap_err();
            assert_eq!(error.kind(), rigl_base::Kind::Data);
            assert_eq!(error.to_string(), "a sample has 3 bytes, expected the 4 inputs of the network");
            assert_eq!((batch.samples(), batch.map.len()), (0, 0));
        }
    }

    #[test]
    fn values_for_other_channels_than_the_maps_are_refused() {
        let layout = Layout::Map(MapShape { channels: 3, rows: 1, columns: 1 });
        let two = Preprocessing::new(&[0.0; 2], &[1.0; 2]).unwrap();
        let image: &[u8] = &[1, 2, 3];
        let error = packer(layout, two).pack([(image, 0)].into_iter(), &mut Batch::default()).unwrap_err();
        assert_eq!(error.kind(), rigl_base::Kind::Usage);
    }

    #[test]
    fn numbers_are_scaled_by_channel_in_both_layouts() {
        let shape = MapShape { channels: 3, rows: 4, columns: 5 };
        let (mean, deviation) = ([0.5, -1.0, 1e9], [2.0, 0.25, 1e3]);
        let preprocessing = Preprocessing::of_numbers(&mean, &deviation).unwrap();
        for layout in [Layout::Vector(60), Layout::Map(shape)] {
            let packer = packer(layout, preprocessing.clone());
            for samples in [1, 16, 17, 65, 100] {
                let numbers: Vec<f32> = (0..samples * 60).map(|i| (i * i % 97) as f32 - 40.0).collect();
                // Memory of a larger batch, which must not shine through.
                let mut batch =
                    Batch { map: vec![f32::NAN; 10_000], labels: vec![7; 10], ..Batch::default() };
                packer
                    .pack_numbers(numbers.chunks(60).zip(0..).collect::<Vec<_>>().into_iter(), &mut batch)
                    .unwrap();
                assert_eq!(batch.labels, (0..samples as u32).collect::<Vec<_>>());
                let mut found = Vec::new();
                packer.unpack(&batch, &mut found).unwrap();
                for (i, (x, &number)) in found.iter().zip(&numbers).enumerate() {
                    let c = i % 60 / 20;
                    assert_eq!(*x, ((f64::from(number) - mean[c]) / deviation[c]) as f32, "{samples} {i}");
                }
                assert!(batch.finite && found.len() == numbers.len());
                let filled = batch.map.iter().filter(|x| **x != 0.0).count();
                assert_eq!(filled, found.iter().filter(|x| **x != 0.0).count());
            }
        }
    }

    #[test]
    fn samples_of_the_other_kind_or_size_are_refused() {
        let numbers = packer(Layout::Vector(2), Preprocessing::of_numbers(&[0.0], &[1.0]).unwrap());
        let bytes = packer(Layout::Vector(2), Preprocessing::per_image());
        let refused = |packer: &Packer, sample: &[f32]| {
            packer.pack_numbers([(sample, 0)].into_iter(), &mut Batch::default()).unwrap_err().to_string()
        };
        assert_eq!(refused(&numbers, &[1.0]), "a sample has 1 numbers, expected the 2 inputs of the network");
        assert!(
            refused(&bytes, &[1.0, 2.0])
                .starts_with("a sample of numbers, where the network was trained on bytes")
        );
        let image: &[u8] = &[1, 2];
        let error = numbers.pack([(image, 0)].into_iter(), &mut Batch::default()).unwrap_err();
        assert_eq!(error.to_string(), "a sample of bytes, where the network was trained on numbers");
        assert!(numbers.preprocessing.takes_numbers() && !bytes.preprocessing.takes_numbers());
        let three = packer(Layout::Vector(2), Preprocessing::of_numbers(&[0.0; 3], &[1.0; 3]).unwrap());
        assert!(refused(&three, &[1.0, 2.0]).contains("of 3 channels"));
        assert!(Preprocessing::of_numbers(&[0.0], &[]).is_err());
        // What becomes too large is told as everywhere.
        let tiny = packer(Layout::Vector(2), Preprocessing::of_numbers(&[0.0], &[1e-40]).unwrap());
        let mut batch = Batch::default();
        for (number, finite) in [(1e10, false), (0.0, true)] {
            tiny.pack_numbers([(&[0.0, number][..], 0)].into_iter(), &mut batch).unwrap();
            assert_eq!(batch.finite, finite);
        }
    }
}
