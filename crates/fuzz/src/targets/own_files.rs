//! Arrays of numpy and tables: what is accepted holds the numbers of the file.

use std::fmt::Write;

use rigl_base::Kind;
use rigl_data::array::classes::Classes;
use rigl_data::array::npy::Element;
use rigl_data::array::stored::{Inputs, labels as read_labels};
use rigl_data::array::table::{self, Table};
use rigl_data::{Column, Dataset, Sample, TableOptions, Values};

use crate::signal::Signal;

/// Pieces of headers.
pub const NPY: &[&str] = &[
    "'descr': ",
    "'fortran_order': ",
    "'shape': ",
    "'<f4'",
    "'<f8'",
    "'|u1'",
    "'|b1'",
    "'<i8'",
    "'|O'",
    "[('a', '<f4')]",
    "True",
    "False",
    "(3, 2)",
    "(6,)",
    "()",
    "18446744073709551615",
    "\x01\0",
    "\x02\0",
    "\x03\0",
];

/// Pieces of tables.
pub const CSV: &[&str] = &[
    ",",
    "\"",
    "\"\"",
    "\r\n",
    "\n",
    ";",
    "\t",
    "nan",
    "inf",
    "1e39",
    "-0",
    ".5",
    "1.0",
    "x,y,kind\n",
    "a",
    "\u{feff}",
];

/// An array of samples.
pub fn samples(bytes: &[u8]) -> Signal {
    let arrays = Inputs::new(bytes, bytes.len() as u64, "f".into()).and_then(|inputs| {
        let (samples, follow, element) = (inputs.samples(), inputs.bytes(), inputs.element());
        let spec = inputs.spec("array", ["a", "b"]);
        inputs.in_memory(spec, vec![1; samples]).map(|arrays| (arrays, follow, element))
    });
    let (arrays, follow, element) = match arrays {
        Ok(arrays) => arrays,
        Err(error) => return Signal::refused(&error, &[Kind::Data]),
    };
    let elements = &bytes[bytes.len() - follow as usize..];
    let each = arrays.spec().sample_len().unwrap_or(0);
    let mut sample = Sample::default();
    let mut all = Vec::new();
    for index in 0..arrays.len() {
        arrays.read(index, &mut sample).expect("a sample that was checked");
        match arrays.spec().values {
            Values::Bytes => all.extend_from_slice(&sample.image),
            Values::Numbers => {
                assert!(sample.numbers.len() == each && sample.numbers.iter().all(|x| x.is_finite()));
                if element == Element::F32 {
                    all.extend(sample.numbers.iter().flat_map(|x| x.to_le_bytes()));
                }
            }
        }
    }
    assert!(all.is_empty() || all == elements, "the samples are not those of the file");
    assert!(arrays.read(arrays.len(), &mut sample).is_err(), "a sample behind the last");
    Signal::accepted(&[arrays.len(), each, arrays.spec().shape.len()])
}

/// An array of labels.
pub fn labels(bytes: &[u8]) -> Signal {
    match read_labels(bytes, bytes.len() as u64, "f") {
        Ok(labels) => Signal::accepted(&[
            labels.len(),
            labels.iter().map(|n| n.unsigned_abs()).max().unwrap_or(0) as usize,
        ]),
        Err(error) => Signal::refused(&error, &[Kind::Data]),
    }
}

/// A table, trained on and tested on.
pub fn table(bytes: &[u8]) -> Signal {
    let (first, classes) = match table::training(bytes, "f", &TableOptions::default()) {
        Ok(read) => read,
        Err(error) => return Signal::refused(&error, &[Kind::Data]),
    };
    assert!(
        first.numbers.len() == first.labels.len() * first.features
            && first.numbers.iter().all(|x| x.is_finite())
    );
    let again = table::like(bytes, "g", &first, &classes).expect("the same file");
    assert_eq!(again, first);
    let text = printed(&first, &classes);
    let options =
        TableOptions { header: Some(first.header.is_some()), target: Column::Number(first.target + 1) };
    let (reread, same) = table::training(text.as_bytes(), "f", &options).expect("what was printed");
    assert_eq!((&reread, &same), (&first, &classes));
    Signal::accepted(&[
        first.labels.len(),
        first.features,
        classes.names().len(),
        usize::from(first.header.is_some()),
    ])
}

/// The table as text again.
fn printed(table: &Table, classes: &Classes) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let names = classes.names();
    let mut text = String::new();
    let mut row = |mut cells: Vec<String>, target: Option<String>| {
        if let Some(word) = target {
            cells.insert(table.target, word);
        }
        let _ = writeln!(text, "{}", cells.join(","));
    };
    if let Some(header) = &table.header {
        row(header.iter().map(|name| quoted(name)).collect(), None);
    }
    for (numbers, &label) in table.numbers.chunks(table.features).zip(&table.labels) {
        row(numbers.iter().map(f32::to_string).collect(), Some(quoted(&names[label as usize])));
    }
    text
}
