//! Files of images and labels: what is accepted is, byte for byte, what the header claims; compressed files hold
//! what a decompressor finds in them.

use std::io::Read;

use flate2::bufread::GzDecoder;
use rigl_base::{Kind, Result};
use rigl_data::idx::{parse_images, parse_labels};

use crate::signal::Signal;

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
    let (mut plain, mut rest) = (Vec::new(), bytes);
    loop {
        let mut member = GzDecoder::new(rest).take(COMPARED - plain.len() as u64);
        match member.read_to_end(&mut plain) {
            Ok(_) if plain.len() as u64 == COMPARED => return Whole::TooLong,
            Ok(_) => rest = member.into_inner().into_inner(),
            Err(_) => return Whole::Damaged,
        }
        // Zeros may stand behind each part; no input has so many that they would be refused.
        let zeros = rest.iter().take_while(|&&byte| byte == 0).count();
        rest = &rest[zeros..];
        if rest.is_empty() {
            return Whole::Is(plain);
        }
    }
}

fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// The images of a file, printed again.
fn read_images(bytes: &[u8]) -> Result<Vec<u8>> {
    let images = parse_images(bytes, "f")?;
    let [channels, rows, columns] = images.shape;
    assert_eq!(images.pixels.len(), images.count * channels * rows * columns);
    let sizes = [images.count, rows, columns].map(|size| size as u32);
    // One channel may stand in either form: the file tells in which.
    let mut head = match plain_start(bytes) {
        [0, 0, 8, 4] => vec![2052, sizes[0], channels as u32],
        _ => vec![2051, sizes[0]],
    };
    head.extend(&sizes[1..]);
    let head: Vec<u8> = head.into_iter().flat_map(u32::to_be_bytes).collect();
    Ok([&head, images.pixels.as_slice()].concat())
}

/// The first four bytes of a file, decompressed.
fn plain_start(bytes: &[u8]) -> [u8; 4] {
    match decompressed(bytes) {
        Whole::Is(plain) => plain.first_chunk().copied().unwrap_or_default(),
        Whole::TooLong | Whole::Damaged => [0, 0, 8, 3],
    }
}

/// The labels of a file, printed again.
fn read_labels(bytes: &[u8]) -> Result<Vec<u8>> {
    let labels = parse_labels(bytes, "f")?;
    let header = [2049, labels.len() as u32].map(u32::to_be_bytes);
    Ok([&header.concat(), labels.as_slice()].concat())
}
