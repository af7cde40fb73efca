//! Checkpoints: what is accepted is written as the same state, its graph parses or is refused, and a session takes
//! its state as it is or refuses it.

use std::cell::RefCell;

use rigl_base::{Kind, Result};
use rigl_engine::{Compute, Options, Session};
use rigl_formats::{Checkpoint, checkpoint};
use rigl_graph::state::{self, Role};
use rigl_graph::{Graph, ModelSpec, Models};

use crate::signal::Signal;
use crate::targets::graph;

/// Pieces of headers.
pub const TOKENS: &[&str] = &[
    "\"__metadata__\":{",
    "\"format-version\":\"1\"",
    "\"arithmetic-version\":\"1\"",
    "\"step\":\"",
    "\"draw\":\"",
    "\"updated\":\"true\"",
    "\"elapsed-seconds\":\"",
    "\"log-length\":\"",
    "\"configuration\":\"",
    "\"graph\":\"",
    "\"class-names\":\"[]\"",
    "\"input-preprocessing\":\"",
    "\"extra:",
    "\"shape:",
    "\"crc32c-data\":\"00000000\"",
    "\"crc32c-header\":\"00000000\"",
    "parameter/",
    "buffer/",
    "slot/momentum/",
    "method/",
    ":values",
    ":indices",
    "\"dtype\":\"F32\"",
    "\"dtype\":\"U8\"",
    "\"dtype\":\"U32\"",
    "\"dtype\":\"U64\"",
    "\"dtype\":\"F64\"",
    "\"dtype\":\"F4\"",
    "\"dtype\":\"BOOL\"",
    "\"shape\":[",
    "\"data_offsets\":[",
    "fc1.weight",
    "fc1.bias",
    "[4294967296]",
    "[18446744073709551615,2]",
    "[0]",
    "[]",
    "[1,1,1,1,1]",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\\"",
    "0",
    "NaN",
    "inf",
    "-0",
    "\0\0\u{0}\0",
    "\u{7f}",
];

/// A checkpoint file.
pub fn bytes(bytes: &[u8]) -> Signal {
    let found = match checkpoint::parse(bytes, "f") {
        Err(error) => return Signal::refused(&error, &[Kind::Data]),
        Ok(found) => found,
    };
    let written = write(&found);
    let again = checkpoint::parse(&written, "f").expect("a written checkpoint is accepted");
    // Compared as bytes, since a method may keep numbers that are not equal to themselves.
    assert!(write(&again) == written, "written, it is another checkpoint");
    let tensors = Signal::accepted(&[found.state.len()]);
    let graph = match Graph::parse(&found.metadata.graph) {
        Err(error) => Signal::refused(&error, &[Kind::Data]),
        Ok(graph) => graph::accepted(&graph).and(fits(state::check(&graph, &found.state))),
    };
    tensors.and(graph).and(load(&found))
}

fn write(checkpoint: &Checkpoint) -> Vec<u8> {
    checkpoint::to_bytes(&checkpoint.state, &checkpoint.metadata).expect("an accepted checkpoint is written")
}

fn fits(checked: Result<()>) -> Signal {
    match checked {
        Err(error) => Signal::refused(&error, &[Kind::Data]),
        Ok(()) => Signal::accepted(&[]),
    }
}

/// The network of the seeds: 4 inputs, 3 hidden neurons, 2 classes.
pub fn small_network() -> Graph {
    let spec = ModelSpec::new(&[1, 2, 2], 2).with("hidden", vec![3]);
    Models::default().build("mlp", &spec).expect("the network of the seeds is valid")
}

/// A session of [`small_network`].
pub fn small_session() -> Session {
    let graph = small_network();
    let options = Options {
        batch: 1,
        evaluation_batch: 1,
        threads: 1,
        isa: Some("portable".into()),
        compute: Compute::Sparse,
        seed: 0,
    };
    let patterns = vec![None; graph.parameters().len()];
    Session::new(&graph, patterns, &options).expect("the network of the seeds can be run")
}

/// Lets a session take the state.
fn load(found: &Checkpoint) -> Signal {
    thread_local! {
        static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
    }
    SESSION.with_borrow_mut(|place| {
        let mut session = place.take().unwrap_or_else(small_session);
        if let Err(error) = session.load(&found.state) {
            // Such a session is to be dropped.
            return Signal::refused(&error, &[Kind::Data]);
        }
        for tensor in session.state() {
            if tensor.role == Role::Parameter {
                let read = state::find(&found.state, &tensor.role, &tensor.name);
                assert_eq!(Some(&tensor), read, "the session holds another `{}`", tensor.name);
            }
        }
        *place = Some(session);
        Signal::accepted(&[])
    })
}
