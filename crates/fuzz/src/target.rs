//! The table of targets: a new parser is one new row.

use crate::envelope::Envelope;
use crate::signal::Signal;
use crate::targets::{arrays, checkpoint, config, graph, idx, log, own_files, records, sweep};

/// A parser, and what is worth trying on it.
#[derive(Debug)]
pub struct Target {
    /// Its name; that of its folder of seeds too.
    pub name: &'static str,
    /// What it parses, in a few words.
    pub about: &'static str,
    /// Parses the bytes and checks all that must hold.
    ///
    /// # Panics
    /// If something does not hold.
    pub run: fn(&[u8]) -> Signal,
    /// Pieces of the format, put into inputs as they are.
    pub tokens: &'static [&'static str],
    /// What surrounds the contents and has to be right for them to be looked at.
    pub envelope: Option<Envelope>,
    /// Most bytes that an input may ask for, freed ones included, for each byte of it and above [`Target::MEMORY`].
    pub growth: usize,
}

impl Target {
    /// Bytes that an input may ask for however short it is.
    pub const MEMORY: usize = 2 << 20;
}

/// What may be compressed: no deflate stream grows by more than 1032, and a vector may have twice the room it needs. (A
/// part of 20 bytes that holds nothing needs what decompresses it, 43 kB.)
const COMPRESSED: usize = 4 * 1032;

/// Every target.
pub static ALL: &[Target] = &[
    Target {
        name: "idx-images",
        about: "a file of images",
        run: idx::images,
        tokens: &["\0\0\x08\x03", "\0\0\x08\x04", "\0\0\x08\x01", "\0\0\0\x1c", "\x1f\u{8}"],
        envelope: None,
        growth: COMPRESSED,
    },
    Target {
        name: "idx-labels",
        about: "a file of labels",
        run: idx::labels,
        tokens: &["\0\0\x08\x01", "\0\0\x08\x03", "\x09", "\x0a"],
        envelope: None,
        growth: COMPRESSED,
    },
    Target {
        name: "gzip",
        about: "files of images and labels, compressed",
        run: idx::gzip,
        tokens: &["\0\0\x08\x03", "\0\0\x08\x04", "\0\0\x08\x01", "\0\0\0\x1c"],
        envelope: Some(Envelope::Gzip),
        growth: COMPRESSED,
    },
    Target {
        name: "records",
        about: "files of records: labels and images",
        run: records::bytes,
        tokens: &["\x02", "\x03"],
        envelope: None,
        growth: 16,
    },
    Target {
        name: "archive",
        about: "a tar archive with files of records, compressed or not",
        run: records::archive,
        tokens: records::TOKENS,
        envelope: Some(Envelope::Tar),
        growth: COMPRESSED,
    },
    Target {
        name: "npy-inputs",
        about: "an array of samples, as numpy saves it",
        run: own_files::samples,
        tokens: own_files::NPY,
        envelope: None,
        growth: 64,
    },
    Target {
        name: "npy-labels",
        about: "an array of labels, as numpy saves it",
        run: own_files::labels,
        tokens: own_files::NPY,
        envelope: None,
        growth: 64,
    },
    Target {
        name: "table",
        about: "a table of text (CSV), read, printed and read again",
        run: own_files::table,
        tokens: own_files::CSV,
        envelope: None,
        // A cell of one byte, with its comma, is a name and a number, in a row that is read three times.
        growth: 512,
    },
    Target {
        name: "config",
        about: "a configuration, up to the network and the schedule it describes",
        run: config::text,
        tokens: config::TOKENS,
        envelope: None,
        // Each glob becomes a machine that matches it, several times over.
        growth: 16 << 10,
    },
    Target {
        name: "override",
        about: "settings of the command line, one `key=value` a line",
        run: config::settings,
        tokens: config::TOKENS,
        envelope: None,
        growth: 16 << 10,
    },
    Target {
        name: "sweep",
        about: "the file of a sweep, up to the configurations of its first runs",
        run: sweep::text,
        tokens: sweep::TOKENS,
        envelope: None,
        // A few short lists make ten thousand combinations.
        growth: 64 << 10,
    },
    Target {
        name: "checkpoint",
        about: "a checkpoint, up to a session that accepts its state",
        run: checkpoint::bytes,
        tokens: checkpoint::TOKENS,
        envelope: Some(Envelope::Checkpoint),
        growth: 128,
    },
    Target {
        name: "arrays",
        about: "the header of any safetensors file",
        run: arrays::header,
        tokens: &[
            "\"__metadata__\":{",
            "\"dtype\":\"F32\"",
            "\"shape\":[",
            "\"data_offsets\":[",
            "18446744073709551615",
        ],
        envelope: None,
        growth: 64,
    },
    Target {
        name: "graph",
        about: "the text form of a network",
        run: graph::text,
        tokens: graph::TOKENS,
        envelope: None,
        // A line of 55 bytes can be a norm, with two parameters and two buffers, each made and checked several times.
        growth: 128,
    },
    Target {
        name: "event",
        about: "a line of the event log",
        run: log::event,
        tokens: log::TOKENS,
        envelope: None,
        growth: 32,
    },
    Target {
        name: "event-log",
        about: "an event log",
        run: log::events,
        tokens: log::TOKENS,
        envelope: None,
        growth: 32,
    },
    Target {
        name: "summary",
        about: "a summary of a run",
        run: log::summary,
        tokens: log::TOKENS,
        envelope: None,
        growth: 32,
    },
];

/// The target that is called so on the command line; `None` if there is none.
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}
