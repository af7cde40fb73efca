//! Files of records, and archives that hold them, as those of CIFAR: what is accepted gives back the bytes it was
//! read from.

use rigl_base::{Kind, Result};
use rigl_data::archive::{self, Wanted};
use rigl_data::{Dataset, RecordFormat, Records, Sample, Spec};

use crate::signal::Signal;

/// The files in the archive, and their largest size.
const FILES: [Wanted<'static>; 2] =
    [Wanted { name: "set/train.bin", bytes: 3000 }, Wanted { name: "set/test.bin", bytes: 600 }];

/// Pieces of archives.
pub const TOKENS: &[&str] = &[
    "set/train.bin",
    "set/test.bin",
    "./",
    "ustar\0",
    "ustar  \0",
    "\0",
    "5",
    "x",
    "00000000000\0",
    "00000000006\0",
    "00000005670\0",
    "77777777777\0",
    "        ",
    "\x1f\u{8}",
];

/// Two bytes, the second the label, and an image of four.
fn format() -> RecordFormat {
    RecordFormat { spec: Spec::new("set", [1, 2, 2], ["a", "b", "c"]), header: 2, label: 1 }
}

/// A file of records.
pub fn bytes(bytes: &[u8]) -> Signal {
    match read(vec![bytes.to_vec()]) {
        Ok(samples) => Signal::accepted(&[samples]),
        Err(error) => Signal::refused(&error, &[Kind::Data]),
    }
}

/// An archive with two of them.
pub fn archive(bytes: &[u8]) -> Signal {
    let files = match archive::read(bytes, "f", &FILES) {
        Ok(files) => files,
        Err(error) => return Signal::refused(&error, &[Kind::Data]),
    };
    for (file, wanted) in files.iter().zip(&FILES) {
        assert!(file.len() as u64 <= wanted.bytes, "`{}` has {} bytes", wanted.name, file.len());
        // Contents begin where a header ends.
        let lies_at = |at: usize| bytes.get(at..at + file.len()) == Some(file);
        let is_compressed = bytes.starts_with(&[0x1f, 0x8b]);
        assert!(is_compressed || (512..bytes.len() + 1).step_by(512).any(lies_at), "no bytes of the archive");
    }
    let sizes: Vec<usize> = files.iter().map(Vec::len).collect();
    let contents = match read(files) {
        Ok(samples) => Signal::accepted(&[samples]),
        Err(error) => Signal::refused(&error, &[Kind::Data]),
    };
    Signal::accepted(&sizes).and(contents)
}

/// Reads all samples of files of records, which must be those that the bytes say; gives their number.
fn read(files: Vec<Vec<u8>>) -> Result<usize> {
    let expected = files.concat();
    let named = files.into_iter().map(|file| ("f".to_string(), file)).collect();
    let records = Records::from_memory(format(), named)?;
    assert_eq!(records.len() * 6, expected.len());
    let mut sample = Sample::default();
    for (i, record) in expected.chunks_exact(6).enumerate() {
        records.read(i, &mut sample)?;
        assert!(sample.image == record[2..] && sample.label == u32::from(record[1]) && sample.label < 3);
    }
    assert!(records.read(records.len(), &mut sample).is_err(), "a sample behind the last");
    Ok(records.len())
}
