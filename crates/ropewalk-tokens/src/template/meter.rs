//! Counts the work of one rendering.

use super::error::{Res, limit};
use std::cell::Cell;

/// Bytes of text, or of a list's items, that a single operation may make.
const MAX_SIZE: usize = 1 << 28;

/// What is left of the steps of a rendering.
///
/// Everything whose cost grows with its values takes a meter and pays before it works: values share their parts, so
/// that a few steps can make one that takes 2^60 to print or to compare.
pub(crate) struct Meter {
    left: Cell<u64>,
    steps: u64,
}

impl Meter {
    pub(crate) fn new(steps: u64) -> Self {
        Self {
            left: Cell::new(steps),
            steps,
        }
    }

    /// A meter for work that the caller's own data bounds.
    pub(crate) fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Pays for work.
    #[inline]
    pub(crate) fn charge(&self, steps: usize) -> Res<()> {
        match self.left.get().checked_sub(steps as u64) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => self.spent(),
        }
    }

    #[cold]
    fn spent(&self) -> Res<()> {
        self.left.set(0);
        limit(format!("the template took more than {} steps", self.steps))
    }

    /// Pays for reading a text.
    #[inline]
    pub(crate) fn read(&self, text: &str) -> Res<()> {
        self.charge(text.len() / 16)
    }

    /// Pays for a text of that many bytes, which is about to be made.
    pub(crate) fn text(&self, bytes: usize) -> Res<()> {
        if bytes > MAX_SIZE {
            return limit("the template makes a text that is too long");
        }
        self.charge(bytes / 16)
    }

    /// Pays for a list of that many items, which is about to be made.
    pub(crate) fn items(&self, count: usize) -> Res<()> {
        if count > MAX_SIZE / 32 {
            return limit("the template makes a list that is too long");
        }
        self.charge(count)
    }

    /// Appends to a text.
    #[inline]
    pub(crate) fn push(&self, out: &mut String, text: &str) -> Res<()> {
        if out.len() + text.len() > MAX_SIZE {
            return limit("the template makes a text that is too long");
        }
        self.charge(text.len() / 16)?;
        out.push_str(text);
        Ok(())
    }

    /// A character repeated.
    pub(crate) fn repeat(&self, c: char, count: usize) -> Res<String> {
        self.text(count.saturating_mul(c.len_utf8()))?;
        Ok(std::iter::repeat_n(c, count).collect())
    }
}

/// A width or count that a template asks for; a negative one is 0, as in Python.
pub(crate) fn size(count: i128) -> Res<usize> {
    match usize::try_from(count.max(0)) {
        Ok(count) if count <= MAX_SIZE => Ok(count),
        _ => limit("the template asks for a size that is too large"),
    }
}
