//! What kernels run on: threads, memory, scratch; and what the machine can do at best.

mod arena;
pub mod fault;
mod machine;
pub mod measure;
mod runs;
mod shared;
pub mod simulate;
mod threads;
mod workspace;

pub use arena::Arena;
pub use machine::Machine;
pub(crate) use runs::Runs;
pub(crate) use shared::Shared;
pub use threads::Pool;
pub use workspace::{Workspace, WorkspaceSize};
