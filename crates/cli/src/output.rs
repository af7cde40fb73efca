//! What people and programs read: the one printer, numbers as people write them, tables, and displays of what goes on.

mod format;
mod printer;
mod progress;
mod runs;
mod sweep;
mod table;
mod terminal;

pub(crate) use format::{bytes, count, duration, percent, ratio, si};
pub(crate) use printer::Printer;
pub(crate) use progress::{Display, counted_epochs, epochs};
pub(crate) use runs::shown_runs;
pub(crate) use sweep::SweepDisplay;
pub(crate) use table::{Align, Table};
pub(crate) use terminal::{bar, clear, close, draw, fitted};
