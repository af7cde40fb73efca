//! What people and programs read: the one printer, numbers as people write them, tables, and displays of what goes on.

mod format;
mod printer;
mod progress;
mod sweep;
mod table;

pub(crate) use format::{bytes, count, duration, percent, ratio, si};
pub(crate) use printer::{GREEN, Printer};
pub(crate) use progress::{Display, epochs};
pub(crate) use sweep::SweepDisplay;
pub(crate) use table::{Align, Table};
