//! (being written)
#![forbid(unsafe_code)]
mod distribution;
mod explored;
mod filter;
mod layer;
mod names;
mod pattern;
mod sample;
mod schedule;
mod select;
#[cfg(test)]
mod shapes;
mod sorted;
mod update;
pub use distribution::{Allocation, Budget, allocate, check_sparsity};
pub use explored::Explored;
pub use filter::LayerFilter;
pub use layer::{Layer, LayerKind};
pub use names::{Decay, Distribution, DropScore, GrowScore, GrownInit, StepPolicy};
pub use pattern::Pattern;
pub use schedule::UpdateSchedule;
pub use select::{Largest, smallest};
pub use update::{Change, Collector, LayerBudget, LayerUpdate};
