//! What a run writes about itself: events, the log of them, the summary. What is accepted survives being written,
//! and the log reads as its lines do one by one.

use rigl_base::Kind;
use rigl_metrics::{EventReader, Record, Summary};

use crate::signal::Signal;

/// Pieces of events and summaries.
pub const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\n",
    "null",
    "true",
    "-1",
    "1e308",
    "1e-400",
    "1e400",
    "0.1",
    "18446744073709551615",
    "18446744073709551616",
    "\"version\":1",
    "\"event\":",
    "\"run\"",
    "\"network\"",
    "\"train\"",
    "\"evaluation\"",
    "\"update\"",
    "\"checkpoint\"",
    "\"resume\"",
    "\"end\"",
    "\"step\":",
    "\"draw\":",
    "\"time_s\":",
    "\"accuracy\":null",
    "\"loss\":null",
    "\"parameters\":[]",
    "\"finished\"",
    "\"diverged\"",
    "\"new\":{\"a\":[1,null]},",
    "\\u0000",
    "\\ud800",
    "\\\"",
    "\u{feff}",
    "[[[[[[[[",
    "{\"event\":\"party\"}\n",
];

/// A line of the event log.
pub fn event(bytes: &[u8]) -> Signal {
    match Record::parse(bytes) {
        Err(error) => Signal::refused(&error, &[Kind::Data]),
        Ok(None) => Signal::accepted(&[]),
        Ok(Some(record)) => {
            let line = line(&record);
            let again = Record::parse(line.as_bytes()).expect("a written event is accepted");
            let again = again.expect("a written event is known");
            assert_eq!(self::line(&again), line, "written, it is another event");
            Signal::accepted(&[record.event.name().len(), line.len() / 64])
        }
    }
}

/// An event log.
pub fn events(bytes: &[u8]) -> Signal {
    let mut expected = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let mut known = 0;
    for found in EventReader::new(bytes, "metrics.jsonl") {
        let mut rest = expected.by_ref().map(Record::parse).filter(|parsed| !matches!(parsed, Ok(None)));
        match (found, rest.next()) {
            (Ok(found), Some(Ok(Some(record)))) => assert_eq!(line(&found), line(&record)),
            (Err(error), Some(Err(_))) => {
                return Signal::refused(&error, &[Kind::Data]).and(Signal::accepted(&[known]));
            }
            (found, parsed) => panic!("the log gives {found:?}, its line {parsed:?}"),
        }
        known += 1;
    }
    let left = expected.map(Record::parse).find(|parsed| !matches!(parsed, Ok(None)));
    assert!(left.is_none(), "the log leaves out {left:?}");
    Signal::accepted(&[known])
}

/// A `summary.json`: what is accepted is written as it was read.
pub fn summary(bytes: &[u8]) -> Signal {
    match Summary::parse(bytes, "summary.json") {
        Err(error) => Signal::refused(&error, &[Kind::Data]),
        Ok(summary) => {
            let text = json(&summary);
            let again =
                Summary::parse(text.as_bytes(), "summary.json").expect("a written summary is accepted");
            assert_eq!(json(&again), text, "written, it is another summary");
            Signal::accepted(&[summary.layers.len(), text.len() / 64])
        }
    }
}

// Compared as text, since a number that is not one is not equal to itself.

fn line(record: &Record) -> String {
    let line = record.to_line().expect("an event is written");
    assert_eq!(line.find('\n'), Some(line.len() - 1), "an event is one line");
    line
}

fn json(summary: &Summary) -> String {
    serde_json::to_string(summary).expect("a summary is written")
}
