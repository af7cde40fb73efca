//! What the machine is and can do: what rates are held against.

use rigl_base::Result;
use rigl_base::counts::counted;
use rigl_engine::Session;
use rigl_metrics::machine;
use serde_json::{Value, json};

use crate::output::si;

/// What the machine is and can do.
pub(super) struct MachineFacts {
    processor: Option<String>,
    isa: &'static str,
    pub(super) threads: usize,
    /// Operations per second of a core.
    pub(super) peak: f64,
    /// Bytes per second of all threads.
    bandwidth: f64,
}

impl MachineFacts {
    pub(super) fn measure(session: &Session) -> Result<MachineFacts> {
        Ok(MachineFacts {
            processor: machine::processor(),
            isa: session.isa(),
            threads: session.threads(),
            peak: session.multiply_add_peak(),
            bandwidth: session.read_bandwidth()?,
        })
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "processor": self.processor, "instruction_set": self.isa, "threads": self.threads,
            "multiply_add_peak_flops_per_core": self.peak, "read_bandwidth_bytes_per_s": self.bandwidth,
        })
    }

    pub(super) fn text(&self) -> String {
        format!(
            "{}, {}, {}; multiply-add peak of a core {}FLOP/s, memory read by all threads {}B/s",
            self.processor.as_deref().unwrap_or("unknown processor"),
            self.isa,
            counted(self.threads as u64, "thread"),
            si(self.peak),
            si(self.bandwidth)
        )
    }
}
