//! What a run uses of the machine.

use std::path::PathBuf;

/// What a run uses of the machine. No result depends on it.
#[derive(Clone, Debug, Default)]
pub struct MachineOptions {
    /// Where data sets are looked for.
    pub data_folder: Option<PathBuf>,
    /// Threads; 0 for as many as there are physical cores, as far as this process may use them.
    pub threads: usize,
    /// Instruction set by name; the best there is without.
    pub isa: Option<String>,
}

impl MachineOptions {
    /// The number of threads, resolved.
    pub fn threads(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        // An affinity or a quota may leave a process fewer processors than there are cores.
        let cores = rigl_metrics::machine::cores().map(|n| n as usize);
        let allowed = std::thread::available_parallelism().ok().map(usize::from);
        cores.into_iter().chain(allowed).min().unwrap_or(1)
    }
}
