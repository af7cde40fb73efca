//! Scratch memory of kernels: asked for beforehand, made once, used by every call.

use crate::error::Error;
use crate::run::arena::Arena;
use crate::run::shared::Shared;
use crate::run::threads::MOST;

/// How much scratch a kernel needs; of several kernels, that of the largest ([`WorkspaceSize::max`]).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WorkspaceSize {
    /// f32 for each worker.
    pub worker: usize,
    /// f32 for all together.
    pub shared: usize,
    /// f64 for all together.
    pub sums: usize,
}

impl WorkspaceSize {
    /// Enough for either.
    #[must_use]
    pub fn max(self, other: WorkspaceSize) -> WorkspaceSize {
        WorkspaceSize {
            worker: self.worker.max(other.worker),
            shared: self.shared.max(other.shared),
            sums: self.sums.max(other.sums),
        }
    }

    /// Bytes for so many threads.
    pub fn bytes(self, threads: usize) -> usize {
        let floats = self.worker.saturating_mul(threads).saturating_add(self.shared);
        floats.saturating_mul(4).saturating_add(self.sums.saturating_mul(8))
    }
}

/// Scratch for kernels on a machine of so many threads.
#[derive(Debug)]
pub struct Workspace {
    size: WorkspaceSize,
    /// Keep the memory behind `workers`.
    arenas: Vec<Arena>,
    workers: Vec<Shared<f32>>,
    shared: Arena,
    sums: Vec<f64>,
}

/// The parts of a workspace while a kernel runs.
pub(crate) struct Parts<'a> {
    /// For each worker a piece of as many f32 as were asked for, zeroed once and then left as the last kernel left
    /// it, 64-byte aligned.
    pub(crate) workers: &'a [Shared<f32>],
    pub(crate) shared: &'a mut [f32],
    pub(crate) sums: &'a mut [f64],
}

impl Workspace {
    /// Scratch of this size for machines of up to `threads` threads (at least one, at most the 1024 of a pool).
    ///
    /// # Errors
    /// [`Error::Memory`] if the system refuses.
    pub fn new(threads: usize, size: WorkspaceSize) -> Result<Workspace, Error> {
        let mut arenas =
            (0..threads.clamp(1, MOST)).map(|_| Arena::new(size.worker)).collect::<Result<Vec<_>, _>>()?;
        let workers = arenas.iter_mut().map(|arena| arena.whole()).map(Shared::new).collect();
        let shared = Arena::new(size.shared)?;
        let mut sums = Vec::new();
        sums.try_reserve_exact(size.sums)
            .map_err(|_| Error::Memory { bytes: size.sums.saturating_mul(8) })?;
        sums.resize(size.sums, 0.0);
        Ok(Workspace { size, arenas, workers, shared, sums })
    }

    /// What a kernel on `threads` threads works with.
    pub(crate) fn parts(&mut self, threads: usize, size: WorkspaceSize) -> Result<Parts<'_>, Error> {
        let enough = |what, found: usize, expected: usize| {
            if found >= expected { Ok(()) } else { Err(Error::Length { what, found, expected }) }
        };
        enough("workspace for threads", self.arenas.len(), threads)?;
        enough("workspace of a worker", self.size.worker, size.worker)?;
        enough("workspace of all", self.size.shared, size.shared)?;
        enough("workspace for sums", self.size.sums, size.sums)?;
        Ok(Parts {
            workers: &self.workers,
            shared: &mut self.shared.whole()[..size.shared],
            sums: &mut self.sums[..size.sums],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_that_is_too_small_is_refused() {
        let size = WorkspaceSize { worker: 3, shared: 5, sums: 2 };
        let mut workspace = Workspace::new(2, size).unwrap();
        assert!(workspace.parts(2, size).is_ok());
        assert!(workspace.parts(1, WorkspaceSize::default()).is_ok());
        for more in [
            WorkspaceSize { worker: 4, ..size },
            WorkspaceSize { shared: 6, ..size },
            WorkspaceSize { sums: 3, ..size },
        ] {
            assert!(workspace.parts(2, more).is_err());
        }
        assert!(workspace.parts(3, size).is_err());
        assert_eq!(size.max(WorkspaceSize { worker: 1, shared: 9, sums: 2 }).bytes(2), 4 * (6 + 9) + 16);
    }
}
