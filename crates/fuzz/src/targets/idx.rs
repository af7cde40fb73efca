//! Files of images and labels: what is accepted is, byte for byte, what the header claims; compressed files hold
//! what a decompressor finds in them.

use std::io::Read;

use flate2::bufread::GzDecoder;
use rigl_base::{Kind, Result};
use rigl_data::idx::{parse_images, parse_labels};

use crate::signal::Signal;

const CLASSES: usize = 10;

/// The most that is decompressed for comparison.
const COMPARED: u64 = 1 << 20;

/// A file of images.
pub fn images(bytes: &[u8]) -> Signal {
    match read_images(bytes) {
        Err(error) => Signal::refused(&error, &[Kind::Data]),
        Ok(plain) => {
            assert!(is_gzip(bytes) || plain == bytes, "the images are not those of the file");
            Signal::accepted(&[plain.len()])
        }
    }
}

/// A file of labels.
pub fn labels(bytes: &[u8]) -> Signal {
    match read_labels(bytes) {
        Err(error) => Signal::refused(&error, &[Kind::Data]),
        Ok(plain) => {
            assert!(is_gzip(bytes) || plain == bytes, "the labels are not those of the file");
            Signal::accepted(&[plain.len()])
        }
    }
}

/// A compressed file of either.
pub fn gzip(bytes: &[u8]) -> Signal {
    let whole = decompressed(bytes);
    let compare = |parse: fn(&[u8]) -> Result<Vec<u8>>| match (parse(bytes), &whole) {
        (Ok(plain), Whole::Is(expected)) => {
            assert!(plain == *expected, "the contents are not those of the file");
            Signal::accepted(&[plain.len()])
        }
        (Ok(plain), Whole::TooLong) => Signal::accepted(&[plain.len()]),
        (Ok(_), Whole::Damaged) => panic!("a damaged file was accepted"),
        (Err(error), whole) => {
            let refused = |plain: &Vec<u8>| is_gzip(plain) || parse(plain).is_err();
            assert!(
                !matches!(whole, Whole::Is(plain) if !refused(plain)),
                "a good file was refused: {error}"
            );
            Signal::refused(&error, &[Kind::Data])
        }
    };
    let (images, labels) = (compare(read_images), compare(read_labels));
    if labels.accepted { labels.and(images) } else { images.and(labels) }
}

/// What a file holds, decompressed.
enum Whole {
    Is(Vec<u8>),
    TooLong,
    Damaged,
}

fn decompressed(bytes: &[u8]) -> Whole {
    if !is_gzip(bytes) {
        return Whole::Is(bytes.to_vec());
    }
    let mut plain = Vec::new();
    let mut decoder = GzDecoder::new(bytes).take(COMPARED);
    match decoder.read_to_end(&mut plain) {
        Ok(_) if plain.len() as u64 == COMPARED => Whole::TooLong,
        Ok(_) if decoder.into_inner().get_ref().is_empty() => Whole::Is(plain),
        _ => Whole::Damaged,
    }
}

fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// The images of a file, printed again.
fn read_images(bytes: &[u8]) -> Result<Vec<u8>> {
    let images = parse_images(bytes, "f")?;
    assert_eq!(images.pixels.len(), images.count * images.rows * images.columns);
    let header = [2051, images.count as u32, images.rows as u32, images.columns as u32].map(u32::to_be_bytes);
    Ok([&header.concat(), images.pixels.as_slice()].concat())
}

/// The labels of a file, printed again.
fn read_labels(bytes: &[u8]) -> Result<Vec<u8>> {
    let labels = parse_labels(bytes, "f", CLASSES)?;
    assert!(labels.iter().all(|&label| usize::from(label) < CLASSES));
    let header = [2049, labels.len() as u32].map(u32::to_be_bytes);
    Ok([&header.concat(), labels.as_slice()].concat())
}
