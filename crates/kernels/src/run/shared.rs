//! Results that many tasks write at the same time, each its own part.

/// A pointer to results, of which every task writes its own part.
#[derive(Debug)]
pub(crate) struct Shared<T>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: the tasks that use it write disjoint parts (each kernel says which) of plain numbers.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Shared<T> {
        Shared(slice.as_mut_ptr())
    }

    #[inline(always)]
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}
