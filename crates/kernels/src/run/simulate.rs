//! What the tasks of a pass would take on more threads than this machine has. The functions that list tasks cut the work
//! with the same code as the passes themselves, so there is no second truth.

/// Floating-point operations that cost as much as staging a number, about: measured on convolutions at density .1, where
/// half of a pass's multiply-adds wait for the second cache.
pub const STAGED: f64 = 20.0;

/// What one task does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TaskWork {
    /// Floating-point operations of its products.
    pub flops: usize,
    /// Numbers that it brings into scratch first: what several tasks may do twice.
    pub staged: usize,
}

impl TaskWork {
    pub(crate) fn add(&mut self, other: TaskWork) {
        self.flops = self.flops.saturating_add(other.flops);
        self.staged = self.staged.saturating_add(other.staged);
    }

    /// Its cost in floating-point operations.
    pub fn cost(self) -> f64 {
        self.flops as f64 + STAGED * self.staged as f64
    }
}

/// Tasks that are listed, at most: far more than threads can use.
const LISTED: usize = 1 << 24;

/// What each of so many tasks does.
///
/// # Panics
/// If there are more than 2²⁴.
pub(crate) fn list(tasks: usize, of_task: impl FnMut(usize) -> TaskWork) -> Vec<TaskWork> {
    assert!(tasks <= LISTED, "{tasks} tasks, of which no more than {LISTED} are listed");
    (0..tasks).map(of_task).collect()
}

/// The time until all tasks are done, when each of so many threads takes the next task as soon as it is free: what
/// [`Pool::run`](crate::Pool::run) does.
pub fn makespan(tasks: impl IntoIterator<Item = f64>, threads: usize) -> f64 {
    let mut free: Vec<f64> = Vec::new();
    for task in tasks {
        // Threads are counted as they are taken: there may be any number.
        if free.len() < threads.max(1) {
            free.push(task);
            continue;
        }
        let first = (0..free.len()).min_by(|&a, &b| free[a].total_cmp(&free[b])).unwrap_or(0);
        free[first] += task;
    }
    free.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_the_next_task_when_they_are_free() {
        assert_eq!(makespan([], 3), 0.0);
        assert_eq!(makespan([1.0; 8], 3), 3.0);
        assert_eq!(makespan([5.0, 1.0, 1.0, 1.0, 1.0], 2), 5.0);
        assert_eq!(makespan([1.0, 1.0, 4.0], 2), 5.0);
        assert_eq!(makespan([2.0, 3.0], 0), 5.0);
        assert_eq!(makespan([2.0, 3.0], usize::MAX), 3.0);
        assert_eq!(TaskWork { flops: 10, staged: 3 }.cost(), 70.0);
    }
}
