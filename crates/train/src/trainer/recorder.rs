//! Where the events of a run go: the log, files for TensorBoard, whoever watches.

use rigl_base::Result;
use rigl_metrics::event::Event;
use rigl_metrics::{EventLog, Record, RunWriter, TensorBoard};

use super::clock::Clock;
use crate::observer::Observer;

/// The log of a run, and whoever else is told.
pub(super) struct Recorder<'a> {
    log: EventLog,
    tensorboard: Option<TensorBoard>,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) clock: Clock,
}

/// Where the run stood that goes on; zeros for one that begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    pub(super) step: u64,
    pub(super) draw: u64,
    /// Bytes of the log that belong to it.
    pub(super) log_length: u64,
    /// Time spent.
    pub(super) seconds: f64,
}

impl<'a> Recorder<'a> {
    pub(super) fn open(
        run: &RunWriter,
        observer: &'a mut dyn Observer,
        tensorboard: bool,
        before: Before,
    ) -> Result<Recorder<'a>> {
        let log = EventLog::open(&run.log(), before.log_length)?;
        let tensorboard = match tensorboard {
            true => Some(TensorBoard::begin(run, before.step, before.seconds)?),
            false => None,
        };
        Ok(Recorder { log, tensorboard, observer, clock: Clock::new(before.seconds, before.draw) })
    }

    /// Records what happened after so many steps and batches.
    pub(super) fn record(&mut self, step: u64, draw: u64, event: impl Into<Event>) -> Result<()> {
        let record = Record { step, draw, time_s: self.clock.elapsed_s(), event: event.into() };
        self.log.write(&record)?;
        if let Some(tensorboard) = &mut self.tensorboard {
            tensorboard.write(&record)?;
        }
        self.observer.event(&record);
        Ok(())
    }

    /// Waits until all of it is on the disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.log.sync()?;
        self.tensorboard.as_mut().map_or(Ok(()), TensorBoard::sync)
    }

    /// Bytes of the log so far.
    pub(super) fn log_length(&self) -> u64 {
        self.log.len()
    }
}
