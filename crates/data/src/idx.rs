//! The IDX format of MNIST's files: a big-endian header, then unsigned bytes; plain or gzipped, told apart by
//! their first bytes.
//!
//! | file | header | contents |
//! |---|---|---|
//! | images | `2051`, count, rows, columns | count · rows · columns pixels |
//! | labels | `2049`, count | count labels |
//!
//! Sizes in a file are claims. A claim is checked against the length of the file before anything of its size is
//! allocated, and no more is decompressed than the header allows (and one byte, to notice that there is more).
//! Limits: images of 1 to 64 · 2²⁰ pixels, counts below 2³².

use std::io::Read;
use std::path::Path;

use flate2::bufread::GzDecoder;
use rigl_base::{Error, Result, files};

/// Unsigned bytes in three dimensions.
const IMAGES: u32 = 2051;
/// Unsigned bytes in one dimension.
const LABELS: u32 = 2049;

/// The most pixels an image may have.
const MAX_PIXELS: u64 = 64 << 20;

/// No deflate stream grows by more than this factor when decompressed.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// The contents of a file of images.
///
/// Always so: `pixels.len() == count · rows · columns`, and no image is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Rows of an image.
    pub rows: usize,
    /// Columns of an image.
    pub columns: usize,
    /// Grey values, image after image, row after row.
    pub pixels: Vec<u8>,
}

/// Reads a file of images.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if the file cannot be read, else as [`parse_images`].
pub fn read_images(path: &Path) -> Result<Images> {
    parse_images(&read(path)?, &path.display().to_string())
}

/// Reads a file of labels.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if the file cannot be read, else as [`parse_labels`].
pub fn read_labels(path: &Path, classes: usize) -> Result<Vec<u8>> {
    parse_labels(&read(path)?, &path.display().to_string(), classes)
}

/// Parses the bytes of a file of images, plain or gzipped; `name` stands for the file in messages.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data) for anything but exactly one whole file within the limits.
pub fn parse_images(bytes: &[u8], name: &str) -> Result<Images> {
    let mut file = Contents::open(bytes, name);
    let [count, rows, columns] = file.header(IMAGES, "images")?;
    let pixels = u64::from(rows) * u64::from(columns);
    if pixels == 0 || pixels > MAX_PIXELS {
        return Err(Error::data(format!(
            "`{name}`: images of {rows}×{columns} pixels, allowed are 1 to {MAX_PIXELS} pixels an image"
        )));
    }
    // Below 2³² · 2²⁶: no overflow.
    let claim = format!("{count} images of {rows}×{columns} pixels");
    let pixels = file.rest(u64::from(count) * pixels, &claim)?;
    Ok(Images { count: count as usize, rows: rows as usize, columns: columns as usize, pixels })
}

/// Parses the bytes of a file of labels, plain or gzipped; every label must be below `classes`.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data) for anything but exactly one whole file with labels in range.
pub fn parse_labels(bytes: &[u8], name: &str, classes: usize) -> Result<Vec<u8>> {
    let mut file = Contents::open(bytes, name);
    let [count] = file.header(LABELS, "labels")?;
    let labels = file.rest(u64::from(count), &format!("{count} labels"))?;
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok(labels),
        Some(at) => Err(Error::data(format!(
            "`{name}`: label {} of sample {at}, allowed are labels below {classes}",
            labels[at]
        ))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    files::open(path)?.read_to_end(&mut bytes).map_err(|e| Error::io("cannot read", path, e))?;
    Ok(bytes)
}

/// The bytes of a file, decompressed as they are read.
struct Contents<'a> {
    name: &'a str,
    /// Length of the file as it is stored.
    stored: u64,
    source: Source<'a>,
}

enum Source<'a> {
    Plain(&'a [u8]),
    Gzip(GzDecoder<&'a [u8]>),
}

impl<'a> Contents<'a> {
    fn open(bytes: &'a [u8], name: &'a str) -> Contents<'a> {
        let source = match bytes {
            [0x1f, 0x8b, ..] => Source::Gzip(GzDecoder::new(bytes)),
            _ => Source::Plain(bytes),
        };
        Contents { name, stored: bytes.len() as u64, source }
    }

    /// The numbers of the header, after checking its first one. `what` says what the file should hold.
    fn header<const N: usize>(&mut self, magic: u32, what: &str) -> Result<[u32; N]> {
        let mut numbers = [0; N];
        let whole = 4 * (N as u64 + 1);
        let bytes = self.read(whole)?;
        let mut words = bytes.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        if let Some(found) = words.next()
            && found != magic
        {
            return Err(self.error(&format!("the first number is {found}, expected {magic} for {what}")));
        }
        if (bytes.len() as u64) < whole {
            return Err(self.error(&format!("{} bytes, expected a header of {whole}", bytes.len())));
        }
        for (number, word) in numbers.iter_mut().zip(words) {
            *number = word;
        }
        Ok(numbers)
    }

    /// The `expected` bytes after the header, which must be all there is; `claim` is what the header says.
    fn rest(mut self, expected: u64, claim: &str) -> Result<Vec<u8>> {
        let available = match &self.source {
            Source::Plain(left) => left.len() as u64,
            Source::Gzip(_) => self.stored.saturating_mul(MAX_DEFLATE_RATIO),
        };
        if expected > available || usize::try_from(expected).is_err() {
            return Err(self.error(&format!(
                "the header says {claim}, {expected} bytes, but the file holds {} at most",
                available
            )));
        }
        let bytes = self.read(expected + 1)?;
        let found = bytes.len() as u64;
        if found < expected {
            return Err(self.error(&format!("the header says {claim}, {expected} bytes, but {found} follow")));
        }
        let trailing = match &self.source {
            Source::Plain(_) => false,
            Source::Gzip(decoder) => !decoder.get_ref().is_empty(),
        };
        if found > expected || trailing {
            return Err(self.error(&format!("the header says {claim}, {expected} bytes, but more follow")));
        }
        Ok(bytes)
    }

    /// Up to `limit` bytes, fewer only at the end of the contents.
    fn read(&mut self, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let done = match &mut self.source {
            Source::Plain(left) => left.take(limit).read_to_end(&mut bytes),
            Source::Gzip(decoder) => decoder.take(limit).read_to_end(&mut bytes),
        };
        match done {
            Ok(_) => Ok(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.error("the gzip file ends too early").caused_by(e))
            }
            Err(e) => Err(self.error("damaged gzip file").caused_by(e)),
        }
    }

    fn error(&self, message: &str) -> Error {
        Error::data(format!("`{}`: {message}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use rigl_base::Kind;

    use super::*;

    fn file(header: &[u32], contents: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = header.iter().flat_map(|n| n.to_be_bytes()).collect();
        bytes.extend_from_slice(contents);
        bytes
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn small() -> Vec<u8> {
        file(&[2051, 2, 3, 2], &(0..12).collect::<Vec<u8>>())
    }

    /// The text of the error that both the plain and the gzipped form give.
    fn refused(bytes: &[u8]) -> String {
        let text = |bytes: &[u8]| {
            let error = parse_images(bytes, "f").unwrap_err();
            assert_eq!(error.kind(), Kind::Data);
            error.to_string()
        };
        assert!(text(&gz(bytes)).starts_with("`f`: "));
        text(bytes)
    }

    #[test]
    fn plain_and_gzipped_files_hold_the_same() {
        let images = parse_images(&small(), "f").unwrap();
        assert_eq!((images.count, images.rows, images.columns), (2, 3, 2));
        assert_eq!(images.pixels, (0..12).collect::<Vec<u8>>());
        assert_eq!(parse_images(&gz(&small()), "f").unwrap(), images);
        let labels = file(&[2049, 4], &[0, 3, 9, 1]);
        assert_eq!(parse_labels(&labels, "f", 10).unwrap(), [0, 3, 9, 1]);
        assert_eq!(parse_labels(&gz(&labels), "f", 10).unwrap(), [0, 3, 9, 1]);
        assert_eq!(parse_images(&file(&[2051, 0, 28, 28], &[]), "f").unwrap().count, 0);
    }

    #[test]
    fn each_fault_has_its_own_message() {
        assert_eq!(refused(&[]), "`f`: 0 bytes, expected a header of 16");
        assert_eq!(refused(&small()[..9]), "`f`: 9 bytes, expected a header of 16");
        let labels = file(&[2049, 12], &[0; 12]);
        assert_eq!(refused(&labels), "`f`: the first number is 2049, expected 2051 for images");
        let trailing = [small(), vec![0]].concat();
        assert_eq!(
            refused(&trailing),
            "`f`: the header says 2 images of 3×2 pixels, 12 bytes, but more follow"
        );
        let flat = file(&[2051, 2, 0, 2], &[]);
        assert_eq!(refused(&flat), "`f`: images of 0×2 pixels, allowed are 1 to 67108864 pixels an image");
        let error = parse_labels(&file(&[2049, 2], &[3, 10]), "f", 10).unwrap_err();
        assert_eq!(error.to_string(), "`f`: label 10 of sample 1, allowed are labels below 10");
    }

    #[test]
    fn a_truncated_file_is_told_from_a_truncated_gzip_file() {
        let short = &small()[..20];
        let text = refused(short);
        assert_eq!(
            text,
            "`f`: the header says 2 images of 3×2 pixels, 12 bytes, but the file holds 4 at most"
        );
        let text = parse_images(&gz(short), "f").unwrap_err().to_string();
        assert_eq!(text, "`f`: the header says 2 images of 3×2 pixels, 12 bytes, but 4 follow");
        let whole = gz(&small());
        let text = parse_images(&whole[..whole.len() - 3], "f").unwrap_err().to_string();
        assert!(text.starts_with("`f`: the gzip file ends too early"), "{text}");
    }

    #[test]
    fn absurd_sizes_are_refused_before_anything_is_allocated() {
        for header in [[2051, u32::MAX, 8192, 8192], [2051, u32::MAX, 1, 1], [2051, 1, u32::MAX, u32::MAX]] {
            refused(&file(&header, &[0; 100]));
        }
        refused(&file(&[2051, 1, 65536, 65536], &[0; 100]));
        assert!(parse_labels(&gz(&file(&[2049, u32::MAX], &[1])), "f", 10).is_err());
    }

    #[test]
    fn bytes_after_a_gzip_file_and_a_wrong_checksum_are_refused() {
        let extra = [gz(&small()), vec![0]].concat();
        assert!(parse_images(&extra, "f").unwrap_err().to_string().contains("but more follow"));
        let twice = [gz(&small()), gz(&small())].concat();
        assert!(parse_images(&twice, "f").is_err());
        let mut wrong = gz(&small());
        let at = wrong.len() - 6;
        wrong[at] ^= 1;
        assert!(parse_images(&wrong, "f").unwrap_err().to_string().contains("damaged gzip file"));
    }

    #[test]
    fn a_folder_or_a_missing_file_is_no_data_error() {
        let folder = tempfile::tempdir().unwrap();
        let kind = |path: &Path| read_images(path).unwrap_err().kind();
        assert_eq!(kind(folder.path()), Kind::Environment);
        assert_eq!(kind(&folder.path().join("none")), Kind::Environment);
    }

    /// Whatever comes out is consistent; whatever is refused is the file's fault.
    fn check(bytes: &[u8]) -> std::result::Result<(), TestCaseError> {
        match parse_images(bytes, "f") {
            Ok(images) => prop_assert_eq!(images.pixels.len(), images.count * images.rows * images.columns),
            Err(error) => prop_assert_eq!(error.kind(), Kind::Data),
        }
        match parse_labels(bytes, "f", 10) {
            Ok(labels) => prop_assert!(labels.iter().all(|&label| label < 10)),
            Err(error) => prop_assert_eq!(error.kind(), Kind::Data),
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            start in prop::sample::select(vec![&[][..], &[0, 0, 8, 3], &[0, 0, 8, 1], &[0x1f, 0x8b], &[0x1f, 0x8b, 8, 0]]),
        ) {
            let bytes = [start, &bytes].concat();
            check(&bytes)?;
            check(&gz(&bytes))?;
        }

        #[test]
        fn a_truncated_file_is_always_refused(share in 0.0f64..1.0) {
            for whole in [small(), gz(&small())] {
                let cut = (share * whole.len() as f64) as usize;
                prop_assert!(parse_images(&whole[..cut], "f").is_err());
            }
        }

        #[test]
        fn flipped_bits_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u32), 1..4)) {
            for mut bytes in [small(), gz(&small()), file(&[2049, 3], &[1, 2, 3]), gz(&file(&[2049, 3], &[1, 2, 3]))] {
                for (at, bit) in &flips {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1 << bit;
                }
                check(&bytes)?;
            }
        }
    }
}
