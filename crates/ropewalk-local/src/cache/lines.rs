//! Memory that begins on a cache line.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Zeros that begin on a cache line.
#[derive(Debug, Default)]
pub(super) struct Lines<T> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Lines<T> {
    /// Returns `len` zeros, or nothing where there is no memory for them.
    ///
    /// The system gives zeroed memory when it is first touched, so a page takes memory only as far
    /// as it is used.
    pub(super) fn new(len: usize) -> Option<Self> {
        let more = len.checked_add(LINE / size_of::<T>())?;
        // Zeroed memory cannot be asked for without ending the process where there is none.
        Vec::<T>::new().try_reserve_exact(more).ok()?;
        let data = vec![T::default(); more];
        let start = data.as_ptr().align_offset(LINE).min(more - len);
        Some(Self { data, start, len })
    }

    pub(super) fn all(&self) -> &[T] {
        &self.data[self.start..][..self.len]
    }

    pub(super) fn all_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..][..self.len]
    }
}
