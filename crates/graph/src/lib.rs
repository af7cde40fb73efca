//! What the network is: a static graph of nodes with shapes, parameters, initial values, cost and state, and
//! the models that ship with rigl. It knows nothing of sparsity patterns, training or machines.
//!
//! A crate of its own because it has two separate consumers: the engine that runs a network, and the file
//! formats that read and write one without running it.
//!
//! The batch is never part of a shape: every shape in this crate is that of one sample.
//!
//! ```
//! use rigl_graph::{BatchNorm, Builder, Conv2d, Graph, Linear};
//!
//! let mut g = Builder::new("tiny");
//! let x = g.input("image", &[3, 32, 32]);
//! let h = g.conv2d("conv1", x, 16, Conv2d::k3());
//! let r = g.batch_norm("bn1", h, BatchNorm::default());
//! let r = g.relu(r);
//! let r = g.conv2d("conv2", r, 16, Conv2d::k3());
//! let h = g.add(h, r);
//! let h = g.global_avg_pool(h);
//! let h = g.linear("fc", h, 10, Linear::default());
//! g.cross_entropy(h, 10, 0.0);
//! let graph = g.finish()?;
//!
//! assert_eq!(graph.parameters()[0].name, "conv1.weight");
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
pub mod rules;
pub mod state;
pub mod text;
pub mod verify;
pub mod words;

pub use builder::{BatchNorm, Builder, Conv2d, Linear, Pool};
pub use graph::{Graph, Node};
pub use init::Init;
pub use models::{Model, ModelOption, ModelSpec, Models};
pub use op::Op;
pub use parameter::{Buffer, BufferId, NodeId, Parameter, ParameterId, ParameterKind};
