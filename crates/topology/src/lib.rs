//! Which weights of a sparse network exist, and how that changes during training: patterns, sparsity
//! distributions, selection, schedules and the table of methods.
//!
//! A crate of its own because it works on plain slices and knows neither graph nor kernels nor optimiser: users
//! of any framework can take the rules alone. Everything random follows from keys, everything selected from one
//! total order, so replicas and threads cannot disagree.
//!
//! One RigL update of one layer, end to end:
//!
//! ```
//! use rigl_topology::{
//!     Active, Budget, Distribution, Gradients, Layer, LayerKind, LayerStatistics, LayerUpdate, Method, ScheduleDefaults, Updates,
//!     allocate,
//! };
//!
//! let layer = Layer::new("fc.weight", &[4, 5], LayerKind::Linear, true)?;
//! let allocation = allocate(std::slice::from_ref(&layer), &Budget::new(Distribution::Uniform, 0.5))?;
//! let method = Method::RIGL;
//! let updates = Updates::new(&method, ScheduleDefaults::PAPER.for_steps(1000), 1000);
//! let pattern = method.initial(&layer, allocation.active[0], 42)?.expect("a sparse layer");
//! assert_eq!(pattern.count(), 10);
//!
//! // Values and optimiser slots exist for active weights only, in the order of the pattern's indices.
//! let values: Vec<f32> = (1..=10).map(|n| n as f32).collect();
//! let momentum = vec![0.5; 10];
//!
//! // At step 0 an update is due: this batch's gradient is wanted for all 20 positions.
//! let due = updates.at(0).expect("an update");
//! assert_eq!(updates.needs(0, false).gradients, Gradients::Dense);
//! let gradient: Vec<f32> = (0..20).map(|n| ((n * 7 % 20) as f32) - 10.0).collect();
//!
//! let budget = method.budget(&due, &[LayerStatistics::new(&pattern)], &mut method.state())[0];
//! let scores = method.drop_rule().scores(Active { values: &values, gradient: &[], sign: None, velocity: None })?;
//! let update = LayerUpdate::begin(&pattern, &scores, budget)?; // drops 1, 2 and 3, the smallest
//! let grown = update.grow_largest(&gradient);
//! let change = update.finish(&grown)?;
//!
//! let (values, momentum) = (change.carry(&values), change.carry(&momentum));
//! assert_eq!((change.pattern().count(), values.len(), momentum.len()), (10, 10, 10));
//! assert_eq!(values.iter().filter(|w| **w == 0.0).count(), change.grown() - change.regrown());
//! # Ok::<(), rigl_base::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod budget;
pub mod distribution;
pub mod drop_rule;
pub mod explored;
pub mod filter;
pub mod layer;
pub mod method;
pub mod names;
pub mod pattern;
pub mod rows;
mod sample;
pub mod schedule;
pub mod score;
pub mod select;
#[cfg(test)]
mod shapes;
pub mod slots;
mod sorted;
pub mod statistics;
pub mod transition;
pub mod update;
pub mod updates;

pub use distribution::{Allocation, Budget, allocate, check_sparsity};
pub use drop_rule::{Active, DropRule, Noise};
pub use explored::Explored;
pub use filter::{LayerFilter, check_glob};
pub use layer::{Layer, LayerKind};
pub use method::{
    Dynamics, GrowRule, Method, MethodState, ScheduleDefaults, Start, Topology, UpdateRule, growth_stream,
};
pub use names::{Decay, Distribution, GrownInit, NarrowTo, Redistribution, StepPolicy};
pub use pattern::Pattern;
pub use schedule::UpdateSchedule;
pub use score::{GrowScore, Score, Weight};
pub use select::{Largest, smallest};
pub use slots::{MethodSlot, Over};
pub use statistics::LayerStatistics;
pub use transition::{Grown, LayerState, Renewed, Transition, UpdateRequest, transition};
pub use update::{Change, LayerBudget, LayerUpdate};
pub use updates::{Gradients, Needs, OptimizerStep, Phase, Update, Updates};
