//! Faults for tests: the k-th write operation of this process fails, is torn, or ends the process.

use std::sync::atomic::{AtomicU64, Ordering};

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The operation returns an error and does nothing.
    Fail,
    /// Half of the bytes are written, then an error is returned.
    Tear,
    /// Half of the bytes are written, then the process is aborted.
    Abort,
}

static LEFT: AtomicU64 = AtomicU64::new(u64::MAX);
static KIND: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicU64 = AtomicU64::new(0);

/// Arms the hook: the `k`-th operation from now on (counted from 1) meets `fault`; later ones succeed.
pub fn arm(k: u64, fault: Fault) {
    KIND.store(fault as u64, Ordering::SeqCst);
    LEFT.store(k, Ordering::SeqCst);
}

/// Operations done by this process so far.
pub fn operations() -> u64 {
    DONE.load(Ordering::SeqCst)
}

pub(super) fn next() -> Option<Fault> {
    DONE.fetch_add(1, Ordering::SeqCst);
    if LEFT.load(Ordering::SeqCst) == u64::MAX || LEFT.fetch_sub(1, Ordering::SeqCst) != 1 {
        return None;
    }
    LEFT.store(u64::MAX, Ordering::SeqCst);
    Some([Fault::Fail, Fault::Tear, Fault::Abort][KIND.load(Ordering::SeqCst) as usize])
}
