//! The header of any safetensors file: what is accepted lies within the file, and every array has a name of its own.

use std::collections::BTreeSet;

use rigl_base::Kind;
use rigl_formats::arrays;

use crate::signal::Signal;

/// How long the files are said to be behind their headers.
const DATA: u64 = 1 << 20;

/// A header.
pub fn header(bytes: &[u8]) -> Signal {
    match arrays::parse(bytes, DATA) {
        Err(error) => Signal::refused(&error, &[Kind::Data]),
        Ok(found) => {
            let names: BTreeSet<&str> = found.arrays.iter().map(|array| &*array.name).collect();
            assert_eq!(names.len(), found.arrays.len(), "two arrays have one name");
            assert!(found.arrays.iter().all(|array| array.bytes <= DATA), "an array is longer than its file");
            let numbers = found.arrays.iter().fold(0, |sum: u64, array| sum.saturating_add(array.numbers()));
            Signal::accepted(&[found.arrays.len(), found.metadata.len(), usize::from(numbers > DATA)])
        }
    }
}
