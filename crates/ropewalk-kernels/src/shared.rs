//! A pointer that several threads write through.
#![allow(unsafe_code, reason = "threads write disjoint parts of one buffer")]

/// A pointer that threads may share because they write disjoint parts.
#[derive(Debug)]
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: whoever dereferences vouches for disjoint access.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> Shared<T> {
    /// Returns the pointer; a method, so that closures capture the whole wrapper.
    pub(crate) fn get(self) -> *mut T {
        self.0
    }

    /// Returns the pointer `offset` elements further.
    pub(crate) fn at(self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}
