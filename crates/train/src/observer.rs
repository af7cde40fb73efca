//! Who watches a run. Training prints nothing itself: it tells an observer.

use rigl_metrics::Record;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Optimiser steps done.
    pub step: u64,
    /// Optimiser steps of the whole run.
    pub steps: u64,
    /// Passes over the training set done.
    pub epoch: f64,
    /// Passes of the whole run.
    pub epochs: f64,
    /// Loss of the last step.
    pub loss: f64,
    /// Mean loss since the last record of the log.
    pub mean_loss: f64,
    /// Accuracy on training samples since the last record of the log.
    pub accuracy: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Topology updates done.
    pub updates: u64,
    /// Topology updates of the whole run.
    pub all_updates: u64,
    /// Share of weights that are inactive.
    pub sparsity: f64,
    /// Training samples per second since this process began training, its first step left out.
    pub samples_per_s: f64,
    /// Seconds of training so far, over all resumes.
    pub elapsed_s: f64,
}

/// Told of what happens in a run; does nothing by default.
pub trait Observer {
    /// An event went into the log.
    fn event(&mut self, record: &Record) {
        let _ = record;
    }

    /// Some steps have passed; called about ten times a second.
    fn progress(&mut self, progress: &Progress) {
        let _ = progress;
    }

    /// Something is not as it should be, and training goes on.
    fn warning(&mut self, text: &str) {
        let _ = text;
    }
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
