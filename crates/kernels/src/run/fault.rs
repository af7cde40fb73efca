//! A fault for tests, as `rigl_base::files::fault` is one for disks: a task panics on a thread of a pool, which no
//! argument from outside can make it do.

use std::sync::atomic::{AtomicU64, Ordering};

const NEVER: u64 = u64::MAX;

static LEFT: AtomicU64 = AtomicU64::new(NEVER);

/// The `k`-th task (counted from 1) that pools of this process do on another thread than the caller's panics.
pub fn arm(k: u64) {
    LEFT.store(k, Ordering::SeqCst);
}

/// Passed by every such task.
pub(crate) fn pass() {
    if LEFT.load(Ordering::Relaxed) != NEVER && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
        LEFT.store(NEVER, Ordering::SeqCst);
        panic!("injected fault");
    }
}
