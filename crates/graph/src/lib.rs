//! What the network is: a static graph of nodes with shapes, parameters, initial values, cost and state, and
//! the models that ship with rigl. It knows nothing of sparsity patterns, training or machines.
//!
//! A crate of its own because it has two separate consumers: the engine that runs a network, and the file
//! formats that read and write one without running it.
//!
//! The batch is never part of a shape: every shape in this crate is that of one sample.
//!
//! ```
//! use rigl_graph::{Builder, Graph, Linear};
//!
//! let mut g = Builder::new("tiny");
//! let x = g.input("image", &[1, 28, 28]);
//! let h = g.flatten(x);
//! let h = g.linear("fc1", h, 16, Linear::default());
//! let h = g.relu(h);
//! let h = g.linear("fc2", h, 10, Linear::default());
//! g.cross_entropy(h, 10, 0.0);
//! let graph = g.finish()?;
//!
//! assert_eq!(graph.parameters()[0].name, "fc1.weight");
//! assert_eq!(Graph::parse(&graph.to_text())?, graph);
//! # Ok::<(), rigl_base::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod account;
pub mod builder;
pub mod graph;
pub mod init;
pub mod initial;
pub mod models;
pub mod op;
pub mod parameter;
pub mod state;
pub mod text;
pub mod verify;
pub mod words;

pub use builder::{Builder, Linear};
pub use graph::{Graph, Node};
pub use init::Init;
pub use models::{ModelSpec, Models};
pub use op::Op;
pub use parameter::{NodeId, Parameter, ParameterId, ParameterKind};
