//! Zeroed byte buffers aligned for 512-bit loads.
#![allow(unsafe_code, reason = "aligned allocation")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use crate::{Error, sys};

/// Alignment of small buffers: one cache line, one AVX-512 register.
const LINE: usize = 64;
/// Size and alignment from which huge pages pay.
const HUGE: usize = 2 << 20;

const _: () =
    assert!(LINE.is_power_of_two() && HUGE.is_power_of_two() && HUGE.is_multiple_of(LINE));

/// A zero-initialised, 64-byte aligned byte buffer of fixed size.
///
/// The pages are not touched here: the threads that fill the buffer do that, in parallel.
pub(crate) struct Buffer {
    /// What the allocator gave.
    base: NonNull<u8>,
    layout: Layout,
    /// First aligned byte inside it.
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the buffer owns plain bytes; sharing follows the borrow rules of its accessors.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish()
    }
}

impl Buffer {
    /// Returns `len` zero bytes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the allocator refuses.
    pub(crate) fn zeroed(len: usize) -> Result<Self, Error> {
        let align = if len >= HUGE { HUGE } else { LINE };
        let oom = Error::OutOfMemory { bytes: len };
        // Aligned by hand: for a large alignment `alloc_zeroed` would write all pages at once.
        let size = len.checked_add(align).ok_or_else(|| oom.clone())?;
        let Ok(layout) = Layout::from_size_align(size, 16) else {
            return Err(oom);
        };
        // SAFETY: the layout has at least LINE bytes.
        let Some(base) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            return Err(oom);
        };
        // SAFETY: `align_offset` is below `align`, so `len` bytes follow inside the allocation.
        let start = unsafe { base.add(base.as_ptr().align_offset(align)) };
        if len >= HUGE {
            sys::advise_huge_pages(start.as_ptr(), len);
        }
        Ok(Self {
            base,
            layout,
            start,
            len,
        })
    }

    /// Returns the number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes, borrowed as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Returns the bytes for writing.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `len` initialised bytes, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zeroed_aligned_and_sized() {
        for len in [0, 1, 64, 100, HUGE + 4096] {
            let mut b = Buffer::zeroed(len).unwrap();
            assert_eq!(b.len(), len);
            assert_eq!(b.bytes().as_ptr().align_offset(LINE), 0);
            assert!(b.bytes().iter().all(|&x| x == 0));
            b.bytes_mut().fill(7);
            assert!(b.bytes().iter().all(|&x| x == 7));
        }
    }

    #[test]
    fn refuses_what_cannot_exist() {
        assert!(matches!(
            Buffer::zeroed(usize::MAX / 2),
            Err(Error::OutOfMemory { .. })
        ));
        assert!(matches!(
            Buffer::zeroed(usize::MAX),
            Err(Error::OutOfMemory { .. })
        ));
    }
}
