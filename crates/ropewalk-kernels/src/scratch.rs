//! Reusable scratch memory of a thread or a caller.

/// A block of floats that grows and is kept between uses.
#[derive(Debug, Default)]
pub(crate) struct Scratch(Vec<f32>);

impl Scratch {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns `len` floats of any content on a cache-line boundary.
    pub(crate) fn get(&mut self, len: usize) -> *mut f32 {
        self.slice(len).as_mut_ptr()
    }

    /// Returns `len` floats of any content on a cache-line boundary.
    pub(crate) fn slice(&mut self, len: usize) -> &mut [f32] {
        const LINE: usize = 16;
        if self.0.len() < len + LINE {
            self.0 = Vec::new();
            self.0.resize(len + LINE, 0.0);
        }
        let start = self.0.as_ptr().align_offset(64).min(LINE);
        &mut self.0[start..start + len]
    }
}
