use crate::{Error, Result};

/// Reads little-endian items from the head of a file and says what was being read when it ends.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    path: &'a str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], path: &'a str) -> Self {
        Self { bytes, at: 0, path }
    }

    pub(crate) fn path(&self) -> &'a str {
        self.path
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Goes back to an earlier position.
    pub(crate) fn rewind(&mut self, at: usize) {
        self.at = self.at.min(at);
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Returns the next `n` bytes. `what` names the item for the error of a truncated file.
    pub(crate) fn take(&mut self, n: usize, what: &dyn Fn() -> String) -> Result<&'a [u8]> {
        if n > self.remaining() {
            return Err(self.truncated(n as u64, what));
        }
        let start = self.at;
        self.at += n;
        Ok(&self.bytes[start..self.at])
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &dyn Fn() -> String) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(crate) fn u32(&mut self, what: &dyn Fn() -> String) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &dyn Fn() -> String) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Reads a count of items that take at least `min_bytes` each, so that a hostile count is
    /// refused before anything is allocated for it.
    pub(crate) fn count(&mut self, min_bytes: usize, what: &dyn Fn() -> String) -> Result<usize> {
        let count = self.u64(what)?;
        self.check_count(count, min_bytes, what)
    }

    pub(crate) fn check_count(
        &self,
        count: u64,
        min_bytes: usize,
        what: &dyn Fn() -> String,
    ) -> Result<usize> {
        if count > (self.remaining() / min_bytes) as u64 {
            let needed = count.saturating_mul(min_bytes as u64);
            return Err(self.truncated(needed, &|| format!("{} ({count} items)", what())));
        }
        Ok(count as usize)
    }

    /// Reads a string: 64-bit length, then bytes.
    pub(crate) fn string(&mut self, what: &dyn Fn() -> String) -> Result<&'a [u8]> {
        let len = self.u64(what)?;
        if len > self.remaining() as u64 {
            return Err(self.truncated(len, what));
        }
        self.take(len as usize, what)
    }

    fn truncated(&self, needed: u64, what: &dyn Fn() -> String) -> Error {
        Error::Truncated {
            path: self.path.into(),
            what: what().into(),
            offset: self.at as u64,
            needed,
            len: self.bytes.len() as u64,
        }
    }
}
