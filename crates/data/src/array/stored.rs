//! Samples of an array file. What fits is held in memory as it lies in the file; what does not is read sample by sample,
//! by positioned reads, when it is asked for. Both give the same samples.
//!
//! Numbers must be finite as 32-bit numbers: those of files held in memory are checked when they are opened, those of
//! others as they are read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rigl_base::error::short;
use rigl_base::{Error, Result};

use super::npy::{Element, Header, tuple};
use crate::dataset::{Dataset, Sample, Spec, Values, no_such_sample};
use crate::positioned::{open, read_at};

/// The most features of a sample that is no image: mean and deviation of each are noted in every checkpoint.
pub const MOST_FEATURES: usize = 100_000;

/// The most values of an image.
pub const MOST_VALUES: usize = 64 << 20;

/// An array file of samples, opened: its header has been read, and fits samples.
#[derive(Debug)]
pub struct Inputs<R> {
    name: String,
    file: R,
    header: Header,
    shape: Vec<usize>,
    /// Values of a sample.
    each: usize,
}

impl Inputs<File> {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`Inputs::new`]; [`Kind::Environment`](rigl_base::Kind::Environment) if it cannot be read.
    pub fn open(path: &Path) -> Result<Inputs<File>> {
        let (file, length) = open(path)?;
        Inputs::new(file, length, path.display().to_string())
    }
}

impl<R: Read> Inputs<R> {
    /// Samples in `length` bytes; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if it is no array of samples.
    pub fn new(mut file: R, length: u64, name: String) -> Result<Inputs<R>> {
        let header = Header::read(&mut file, length, &name)?;
        let refused = |what: &str| {
            let shape = tuple(&header.shape);
            Error::data(format!(
                "`{name}` has shape {shape}, {what}; allowed are (samples, features), (samples, rows, columns) and \
                 (samples, channels, rows, columns)"
            ))
        };
        let shape = match header.shape[..] {
            [_, features] => vec![features],
            [_, rows, columns] => vec![1, rows, columns],
            [_, channels, rows, columns] => vec![channels, rows, columns],
            [_] => return Err(refused("one side alone").hint("np.save(FILE, array.reshape(-1, 1))")),
            _ => return Err(refused("which is none of samples")),
        };
        let each = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        let most = if shape.len() == 1 { MOST_FEATURES } else { MOST_VALUES };
        match each {
            Some(each) if (1..=most).contains(&each) => Ok(Inputs { name, file, header, shape, each }),
            _ => Err(Error::data(format!(
                "`{name}` has shape {}, allowed are samples of 1 to {most} values",
                tuple(&header.shape)
            ))),
        }
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.header.shape[0]
    }

    /// Shape of a sample: features, or channels, rows and columns.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What the file is made of.
    pub fn element(&self) -> Element {
        self.header.element
    }

    /// Whether values are bytes, as those of images, or numbers.
    pub fn values(&self) -> Values {
        if self.header.element == Element::BYTE { Values::Bytes } else { Values::Numbers }
    }

    /// Bytes of all samples.
    pub fn bytes(&self) -> u64 {
        (self.samples() as u64).saturating_mul((self.each * self.header.element.bytes()) as u64)
    }

    /// What messages call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the samples are like, as those of the data set `name` with these classes.
    pub fn spec<C: Into<String>>(&self, name: &str, classes: impl IntoIterator<Item = C>) -> Spec {
        let spec = Spec::new(name, self.shape.clone(), classes);
        if self.values() == Values::Numbers { spec.of_numbers() } else { spec }
    }

    /// The samples, held in memory; `spec` is that of [`Inputs::spec`], and every label has a class in it.
    ///
    /// # Errors
    /// [`Kind::Environment`](rigl_base::Kind::Environment) if the file cannot be read or memory does not suffice;
    /// [`Kind::Data`](rigl_base::Kind::Data) if a number is not finite, or there are not as many labels.
    pub fn in_memory(mut self, spec: Spec, labels: Vec<u32>) -> Result<Arrays> {
        let bytes = self.bytes();
        let mut all = read_all(&mut self.file, bytes, &self.name)?;
        let element = &mut self.header.element;
        if element.bytes() > Element::F32.bytes() {
            narrow(*element, &mut all);
            *element = Element::F32;
        }
        let arrays = self.stored(spec, labels, |_| Stored::Memory(all))?;
        if arrays.spec.values == Values::Numbers {
            let mut sample = Sample::default();
            for index in 0..arrays.len() {
                arrays.read(index, &mut sample)?;
                arrays.check_finite(index, &sample.numbers)?;
            }
        }
        Ok(arrays)
    }

    fn stored(self, spec: Spec, labels: Vec<u32>, stored: impl FnOnce(R) -> Stored) -> Result<Arrays> {
        if labels.len() != self.samples() {
            return Err(Error::data(format!(
                "`{}` has {} samples, and there are {} labels",
                self.name,
                self.samples(),
                labels.len()
            )));
        }
        let Inputs { name, file, header, each, .. } = self;
        let sample = each * header.element.bytes();
        Ok(Arrays {
            spec,
            name,
            element: header.element,
            sample,
            offset: header.offset,
            stored: stored(file),
            labels,
        })
    }
}

impl Inputs<File> {
    /// The samples, read from the file as they are asked for.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if there are not as many labels.
    pub fn on_disk(self, spec: Spec, labels: Vec<u32>) -> Result<Arrays> {
        self.stored(spec, labels, Stored::File)
    }
}

/// Samples of an array file, with their labels.
///
/// Always so: there are `labels.len()` samples, and every label has a class.
#[derive(Debug)]
pub struct Arrays {
    spec: Spec,
    name: String,
    element: Element,
    /// Bytes of a sample.
    sample: usize,
    /// Bytes before the first one in the file.
    offset: u64,
    stored: Stored,
    labels: Vec<u32>,
}

#[derive(Debug)]
enum Stored {
    Memory(Vec<u8>),
    File(File),
}

impl Arrays {
    fn numbers(&self, bytes: &[u8], into: &mut Vec<f32>) {
        into.clear();
        into.extend(bytes.chunks_exact(self.element.bytes()).map(|bytes| self.element.number(bytes)));
    }

    /// Whether the numbers of this sample are finite.
    fn check_finite(&self, index: usize, into: &[f32]) -> Result<()> {
        match into.iter().position(|number| !number.is_finite()) {
            None => Ok(()),
            Some(at) => Err(Error::data(format!(
                "`{}`: sample {index} has {} at {}, allowed are numbers that 32 bits hold",
                self.name,
                shown(into[at]),
                place(at, &self.spec.shape)
            ))),
        }
    }
}

fn shown(number: f32) -> &'static str {
    if number.is_nan() { "NaN" } else { "infinity, or a number beyond 3.4e38," }
}

/// The index of a value in its sample.
fn place(mut at: usize, shape: &[usize]) -> String {
    let mut indices = vec![0; shape.len()];
    for (index, &side) in indices.iter_mut().zip(shape).rev() {
        (*index, at) = (at % side, at / side);
    }
    format!("{indices:?}")
}

impl Dataset for Arrays {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn is_held(&self) -> bool {
        matches!(self.stored, Stored::Memory(_))
    }

    fn read(&self, index: usize, into: &mut Sample) -> Result<()> {
        into.label = *self.labels.get(index).ok_or_else(|| no_such_sample(self, index))?;
        into.image.clear();
        into.numbers.clear();
        match &self.stored {
            Stored::Memory(all) => {
                let bytes = &all[index * self.sample..][..self.sample];
                match self.spec.values {
                    Values::Bytes => into.image.extend_from_slice(bytes),
                    Values::Numbers => self.numbers(bytes, &mut into.numbers),
                }
            }
            Stored::File(file) => {
                into.image.resize(self.sample, 0);
                let offset = self.offset + index as u64 * self.sample as u64;
                read_at(file, &mut into.image, offset)
                    .map_err(|e| Error::io("cannot read", Path::new(&self.name), e))?;
                if self.spec.values == Values::Numbers {
                    self.numbers(&into.image, &mut into.numbers);
                    self.check_finite(index, &into.numbers)?;
                    into.image.clear();
                }
            }
        }
        Ok(())
    }
}

/// The labels in an array file, each a whole number; `name` stands for the file in messages.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data) if it is no array of labels; [`Kind::Environment`](rigl_base::Kind::Environment)
/// if it cannot be read.
pub fn labels(mut file: impl Read, length: u64, name: &str) -> Result<Vec<i64>> {
    let Header { element, shape, .. } = Header::read(&mut file, length, name)?;
    let [count] = shape[..] else {
        let error = Error::data(format!("`{name}` has shape {}, expected (samples,)", tuple(&shape)));
        return Err(error.hint("np.save(FILE, labels.ravel()), or of one-hot labels labels.argmax(axis=1)"));
    };
    if !element.is_whole() {
        let error =
            Error::data(format!("`{name}` holds fractional numbers, expected whole ones: the classes"));
        return Err(error.hint("np.save(FILE, labels.astype(np.int64))"));
    }
    let all = read_all(&mut file, (count * element.bytes()) as u64, name)?;
    let mut labels = Vec::new();
    labels.try_reserve_exact(count).map_err(|e| no_memory(name, e))?;
    for (sample, bytes) in all.chunks_exact(element.bytes()).enumerate() {
        let number = element.whole(bytes);
        labels.push(
            i64::try_from(number).map_err(|_| {
                Error::data(format!("`{name}`: label {number} of sample {sample} is too large"))
            })?,
        );
    }
    Ok(labels)
}

/// Reads so many bytes, which a file claims to have.
fn read_all(file: &mut impl Read, bytes: u64, name: &str) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    all.try_reserve_exact(length).map_err(|e| no_memory(name, e))?;
    let done = file.take(bytes).read_to_end(&mut all);
    done.map_err(|e| Error::io("cannot read", Path::new(name), e))?;
    if all.len() != length {
        return Err(Error::environment(format!("`{}` became shorter while it was read", short(name))));
    }
    Ok(all)
}

/// Makes 32-bit numbers of wider elements, in their place.
fn narrow(element: Element, all: &mut Vec<u8>) {
    let wide = element.bytes();
    let count = all.len() / wide;
    for at in 0..count {
        let number = element.number(&all[at * wide..][..wide]).to_le_bytes();
        all[at * number.len()..][..number.len()].copy_from_slice(&number);
    }
    all.truncate(count * Element::F32.bytes());
    all.shrink_to_fit();
}

pub(super) fn no_memory(name: &str, e: std::collections::TryReserveError) -> Error {
    Error::environment(format!("no memory for the contents of `{}`", short(name))).caused_by(e)
}
