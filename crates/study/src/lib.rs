//! Many runs: a grid over configuration keys, its runs as child processes, tables over seeds.
//!
//! A crate of its own because it stands above single runs and needs of them their folders alone. It prints nothing and
//! listens to no signals: progress goes to an [`Observer`], stopping is a flag.
#![forbid(unsafe_code)]

mod check;
mod children;
mod file;
mod folder;
mod grid;
mod list;
mod names;
mod plan;
mod schedule;
mod table;
mod write;

pub use children::BUSY;
pub use file::{Axis, Start, Sweep};
pub use folder::{FailedRun, FinishedRun, Runs, State, configuration, read_runs};
pub use grid::Combination;
pub use list::{KnownRun, ListedRun, Standing, list_runs};
pub use names::variants;
pub use plan::{Plan, PlannedRun, Request};
pub use schedule::{Event, Observer, Options, Outcome, Progress, run};
pub use table::{Group, Repeated, Spread, Table};
