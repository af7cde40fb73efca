//! Whether what is left of a sweep can be done on this machine, asked before the first run starts.

use std::collections::BTreeSet;
use std::path::Path;

use rigl_base::{Error, Result};
use rigl_train::{MachineOptions, Registry};

use crate::folder::State;
use crate::plan::Plan;

impl Plan {
    /// Checks that what is still to be done, of runs that have come so far, can be done here: that data sets and runs to
    /// start from are there, and that each run fits into `memory` bytes.
    ///
    /// # Errors
    /// [`Kind::Environment`](rigl_base::Kind::Environment), saying what is missing.
    pub fn check_machine(
        &self,
        states: &[State],
        registry: &Registry,
        machine: &MachineOptions,
        memory: Option<u64>,
    ) -> Result<()> {
        let open: Vec<_> = self.runs.iter().zip(states).filter(|(_, state)| state.is_open()).collect();
        // A run that goes on knows itself where its data were.
        let mut seen = BTreeSet::new();
        for (run, _) in open.iter().filter(|(run, state)| run.begins(state)) {
            let data = &run.config.data;
            if seen.insert((&data.name, &data.dir)) {
                registry.check_files(&run.config, machine.data_folder.as_deref())?;
            }
        }
        for (run, state) in &open {
            let from = Path::new(&run.config.method.start.run);
            if !from.as_os_str().is_empty() && !from.exists() && run.begins(state) {
                let (name, from) = (&run.name, from.display());
                let message = format!("run `{name}` starts from `{from}`, which is not there");
                return Err(Error::environment(message));
            }
        }
        let Some(memory) = memory else { return Ok(()) };
        let Some((run, _)) = open.iter().find(|(run, _)| run.bytes > memory) else { return Ok(()) };
        let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        Err(Error::environment(format!(
            "run `{}` needs {:.1} GiB of memory, and the machine has {:.1} GiB for it",
            run.name,
            gib(run.bytes),
            gib(memory)
        )))
    }
}
