//! The IDX format of MNIST's files: a big-endian header, then unsigned bytes; plain or gzipped, told apart by
//! their first bytes.
//!
//! | file | header | contents |
//! |---|---|---|
//! | images | `2051`, count, rows, columns | count · rows · columns pixels |
//! | images of several channels | `2052`, count, channels, rows, columns | as many pixels, channels first |
//! | labels | `2049`, count | count labels |
//!
//! Sizes in a file are claims. A claim is checked against the length of the file before anything of its size is
//! read or allocated, and no more is decompressed than the header allows (and one byte, to notice that there is more).
//! A gzipped file may have several members, and zeros behind each, at most 1 MiB of them.
//! Limits: images of 1 to 64 · 2²⁰ pixels, counts below 2³².

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use rigl_base::{Error, Result, files};

use crate::gzip::{Members, unreadable};

/// Unsigned bytes in three dimensions.
const IMAGES: u32 = 2051;
/// Unsigned bytes in four dimensions.
const CHANNELS: u32 = 2052;
/// Unsigned bytes in one dimension.
const LABELS: u32 = 2049;

/// The most pixels an image may have, those of all channels counted.
const MAX_PIXELS: u64 = 64 << 20;

/// No deflate stream grows by more than this factor when decompressed.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// The contents of a file of images.
///
/// Always so: `pixels.len()` is the product of `count` and `shape`, and no image is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Channels, rows and columns of an image.
    pub shape: [usize; 3],
    /// Values 0 … 255, image after image, channel after channel, row after row.
    pub pixels: Vec<u8>,
}

/// Reads a file of images.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if the file cannot be read, else as [`parse_images`].
pub fn read_images(path: &Path) -> Result<Images> {
    images(open(path)?)
}

/// Reads a file of labels.
///
/// # Errors
/// [`Kind::Environment`](rigl_base::Kind::Environment) if the file cannot be read, else as [`parse_labels`].
pub fn read_labels(path: &Path) -> Result<Vec<u8>> {
    labels(open(path)?)
}

/// Parses the bytes of a file of images, plain or gzipped; `name` stands for the file in messages.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data) for anything but exactly one whole file within the limits.
pub fn parse_images(bytes: &[u8], name: &str) -> Result<Images> {
    images(Contents::new(bytes, bytes, bytes.len() as u64, name.to_string()))
}

/// Parses the bytes of a file of labels, plain or gzipped.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data) for anything but exactly one whole file.
pub fn parse_labels(bytes: &[u8], name: &str) -> Result<Vec<u8>> {
    labels(Contents::new(bytes, bytes, bytes.len() as u64, name.to_string()))
}

/// The header of a file with these labels.
pub(crate) fn labels_head(labels: &[u8]) -> Vec<u8> {
    [LABELS, labels.len() as u32].map(u32::to_be_bytes).concat()
}

fn images(mut file: Contents<impl BufRead>) -> Result<Images> {
    let magic = file.number(&[IMAGES, CHANNELS], "images", 4)?;
    let words = if magic == CHANNELS { 5 } else { 4 };
    let count = file.number(&[], "images", words)?;
    let channels = if magic == CHANNELS { file.number(&[], "images", words)? } else { 1 };
    let [rows, columns] = [file.number(&[], "images", words)?, file.number(&[], "images", words)?];
    let size = match magic {
        CHANNELS => format!("{channels}×{rows}×{columns}"),
        _ => format!("{rows}×{columns}"),
    };
    let sides = [channels, rows, columns].map(u64::from);
    let pixels = sides.iter().try_fold(1u64, |product, &side| product.checked_mul(side));
    let pixels = pixels.filter(|pixels| (1..=MAX_PIXELS).contains(pixels)).ok_or_else(|| {
        file.error(&format!("images of {size} pixels, allowed are 1 to {MAX_PIXELS} pixels an image"))
    })?;
    // Below 2³² · 2²⁶: no overflow.
    let pixels = file.rest(u64::from(count) * pixels, &format!("{count} images of {size} pixels"))?;
    Ok(Images { count: count as usize, shape: [channels, rows, columns].map(|side| side as usize), pixels })
}

fn labels(mut file: Contents<impl BufRead>) -> Result<Vec<u8>> {
    file.number(&[LABELS], "labels", 2)?;
    let count = file.number(&[], "labels", 2)?;
    file.rest(u64::from(count), &format!("{count} labels"))
}

fn open(path: &Path) -> Result<Contents<BufReader<File>>> {
    let cannot = |e| Error::io("cannot read", path, e);
    let file = files::open(path)?;
    let length = file.metadata().map_err(cannot)?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let first = reader.fill_buf().map_err(cannot)?.to_vec();
    Ok(Contents::new(reader, &first, length, path.display().to_string()))
}

/// The bytes of a file, decompressed as they are read.
struct Contents<R: BufRead> {
    name: String,
    /// Length of the file as it is stored.
    stored: u64,
    /// Bytes that were read, decompressed.
    done: u64,
    source: Source<R>,
}

enum Source<R: BufRead> {
    Plain(R),
    Gzip(Box<Members<R>>),
}

impl<R: BufRead> Contents<R> {
    /// A file of `stored` bytes that begins with those in `first`.
    fn new(reader: R, first: &[u8], stored: u64, name: String) -> Contents<R> {
        let source = match first {
            [0x1f, 0x8b, ..] => Source::Gzip(Box::new(Members::new(reader))),
            _ => Source::Plain(reader),
        };
        Contents { name, stored, done: 0, source }
    }

    /// The next number of the header, which must be one of these, if there are any. `what` says what the file should
    /// hold, `words` how many numbers its header has.
    fn number(&mut self, allowed: &[u32], what: &str, words: u64) -> Result<u32> {
        let bytes = self.read(4)?;
        let Some(&word) = bytes.first_chunk() else {
            return Err(self.error(&format!("{} bytes, expected a header of {}", self.done, 4 * words)));
        };
        let number = u32::from_be_bytes(word);
        if allowed.is_empty() || allowed.contains(&number) {
            return Ok(number);
        }
        let allowed = allowed.iter().map(u32::to_string).collect::<Vec<_>>().join(" or ");
        Err(self.error(&format!("the first number is {number}, expected {allowed} for {what}")))
    }

    /// The `expected` bytes after the header, which must be all there is; `claim` is what the header says.
    fn rest(mut self, expected: u64, claim: &str) -> Result<Vec<u8>> {
        let says = format!("the header says {claim}, {expected} bytes, but");
        let (available, plain) = match &self.source {
            Source::Plain(_) => (self.stored.saturating_sub(self.done), true),
            Source::Gzip(_) => (self.stored.saturating_mul(MAX_DEFLATE_RATIO), false),
        };
        if expected > available || usize::try_from(expected).is_err() {
            return Err(self.error(&format!("{says} the file holds {available} at most")));
        }
        // What is known to be too long need not be read.
        let more = || format!("{says} more follow");
        if plain && expected < available {
            return Err(self.error(&more()));
        }
        let bytes = self.read(expected + 1)?;
        let found = bytes.len() as u64;
        if found < expected {
            return Err(self.error(&format!("{says} {found} follow")));
        }
        if found > expected {
            return Err(self.error(&more()));
        }
        Ok(bytes)
    }

    /// Up to `limit` bytes, fewer only at the end of the contents.
    fn read(&mut self, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let done = match &mut self.source {
            Source::Plain(reader) => reader.take(limit).read_to_end(&mut bytes),
            Source::Gzip(members) => members.take(limit).read_to_end(&mut bytes),
        };
        match done {
            Ok(read) => {
                self.done += read as u64;
                Ok(bytes)
            }
            Err(e) => Err(unreadable(&self.name, e)),
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
        assert_eq!((images.count, images.shape), (2, [1, 3, 2]));
        assert_eq!(images.pixels, (0..12).collect::<Vec<u8>>());
        assert_eq!(parse_images(&gz(&small()), "f").unwrap(), images);
        let labels = file(&[2049, 4], &[0, 3, 9, 1]);
        assert_eq!(parse_labels(&labels, "f").unwrap(), [0, 3, 9, 1]);
        assert_eq!(parse_labels(&gz(&labels), "f").unwrap(), [0, 3, 9, 1]);
        assert_eq!(parse_images(&file(&[2051, 0, 28, 28], &[]), "f").unwrap().count, 0);
    }

    #[test]
    fn a_gzip_file_may_have_several_members_and_zeros_behind_each() {
        let images = parse_images(&small(), "f").unwrap();
        for at in [0, 3, 16, 20, small().len()] {
            let (head, tail) = (gz(&small()[..at]), gz(&small()[at..]));
            for file in [
                [&head[..], &tail].concat(),
                [&head[..], &tail, &[0; 512]].concat(),
                [&head[..], &[0], &tail, &[0; 3]].concat(),
                [&gz(&[]), &head[..], &tail, &gz(&[])].concat(),
            ] {
                assert_eq!(parse_images(&file, "f").unwrap(), images, "{at}");
            }
        }
    }

    #[test]
    fn images_may_have_any_size_and_channels() {
        let colour = file(&[2052, 2, 3, 1, 2], &(0..12).collect::<Vec<u8>>());
        for bytes in [colour.clone(), gz(&colour)] {
            let images = parse_images(&bytes, "f").unwrap();
            assert_eq!((images.count, images.shape, images.pixels[11]), (2, [3, 1, 2], 11));
        }
        let text = parse_images(&file(&[2052, 1, 65536, 65536, 65536], &[]), "f").unwrap_err().to_string();
        assert_eq!(
            text,
            "`f`: images of 65536×65536×65536 pixels, allowed are 1 to 67108864 pixels an image"
        );
    }

    #[test]
    fn a_plain_file_is_compared_with_its_header_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        rigl_base::files::write_atomic(&path, &small()).unwrap();
        // Far more than any memory: reading it would not end.
        let long = rigl_base::files::open_for_appending(&path).unwrap();
        long.set_len(1 << 42).unwrap();
        let text = read_images(&path).unwrap_err().to_string();
        assert!(
            text.ends_with("the header says 2 images of 3×2 pixels, 12 bytes, but more follow"),
            "{text}"
        );
        long.set_len(small().len() as u64).unwrap();
        assert_eq!(read_images(&path).unwrap(), parse_images(&small(), "f").unwrap());
    }

    #[test]
    fn each_fault_has_its_own_message() {
        assert_eq!(refused(&[]), "`f`: 0 bytes, expected a header of 16");
        assert_eq!(refused(&small()[..9]), "`f`: 9 bytes, expected a header of 16");
        let labels = file(&[2049, 12], &[0; 12]);
        assert_eq!(refused(&labels), "`f`: the first number is 2049, expected 2051 or 2052 for images");
        let trailing = [small(), vec![0]].concat();
        assert_eq!(
            refused(&trailing),
            "`f`: the header says 2 images of 3×2 pixels, 12 bytes, but more follow"
        );
        let flat = file(&[2051, 2, 0, 2], &[]);
        assert_eq!(refused(&flat), "`f`: images of 0×2 pixels, allowed are 1 to 67108864 pixels an image");
        let images = file(&[2051, 1, 1, 1], &[0]);
        let error = parse_labels(&images, "f").unwrap_err();
        assert_eq!(error.to_string(), "`f`: the first number is 2051, expected 2049 for labels");
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
        assert!(parse_labels(&gz(&file(&[2049, u32::MAX], &[1])), "f").is_err());
    }

    #[test]
    fn bytes_after_a_gzip_file_and_a_wrong_checksum_are_refused() {
        let extra = [gz(&small()), vec![0, 0, 1]].concat();
        let text = parse_images(&extra, "f").unwrap_err().to_string();
        assert_eq!(text, "`f`: damaged gzip file: other bytes follow it");
        let twice = [gz(&small()), gz(&small())].concat();
        assert!(parse_images(&twice, "f").unwrap_err().to_string().contains("but more follow"));
        let padded = [gz(&small()), vec![0; (1 << 20) + 1]].concat();
        assert!(parse_images(&padded, "f").unwrap_err().to_string().contains("more than 1048576 zeros"));
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
            Ok(images) => {
                prop_assert_eq!(images.pixels.len(), images.count * images.shape.iter().product::<usize>());
            }
            Err(error) => prop_assert_eq!(error.kind(), Kind::Data),
        }
        if let Err(error) = parse_labels(bytes, "f") {
            prop_assert_eq!(error.kind(), Kind::Data);
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
