//! An exclusive slice shared out to the threads of a pool.

use std::{marker::PhantomData, ops::Range};

use crate::prefetch::prefetch;

/// A mutable slice that several threads cut among themselves.
pub(crate) struct DisjointMut<'a, T> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through `slice`, whose contract forbids overlap between threads.
unsafe impl<T: Send> Sync for DisjointMut<'_, T> {}
// SAFETY: as a `&mut [T]`.
unsafe impl<T: Send> Send for DisjointMut<'_, T> {}

impl<'a, T> DisjointMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of element `index`, for kernels that write strided tiles.
    pub(crate) fn at(&self, index: usize) -> *mut T {
        assert!(index <= self.len, "index within the slice");
        // SAFETY: in bounds by the assertion.
        unsafe { self.start.add(index) }
    }

    /// Asks for a part that will be written soon.
    pub(crate) fn prefetch(&self, range: Range<usize>) {
        prefetch(self.start.wrapping_add(range.start), range.len());
    }

    /// # Safety
    /// No two live slices may overlap.
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "range within the slice");
        // SAFETY: in bounds by the assertion, exclusive by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
