//! Telling how far long work has come. Libraries never print.

use std::borrow::Cow;
use std::sync::Arc;

/// A step of long work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgressEvent<'a> {
    /// What is being done, for example `load weights`.
    pub stage: Cow<'a, str>,
    /// How much is done.
    pub done: u64,
    /// How much there is, when known.
    pub total: Option<u64>,
    /// What is counted, for example `bytes` or `steps`.
    pub unit: Cow<'a, str>,
}

impl<'a> ProgressEvent<'a> {
    /// Creates an event.
    pub fn new(
        stage: impl Into<Cow<'a, str>>,
        done: u64,
        total: Option<u64>,
        unit: impl Into<Cow<'a, str>>,
    ) -> Self {
        Self {
            stage: stage.into(),
            done,
            total,
            unit: unit.into(),
        }
    }

    /// Returns the share that is done, 0 to 1, when the total is known.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total.filter(|t| *t > 0)?;
        Some((self.done as f64 / total as f64).min(1.0))
    }
}

/// A listener to the progress of long work; every `Fn(&ProgressEvent)` is one.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use ropewalk_core::{Progress, ProgressEvent};
///
/// fn load(progress: &dyn Progress) {
///     progress.report(&ProgressEvent::new("load", 7, Some(10), "tensors"));
/// }
///
/// let seen = AtomicU64::new(0);
/// load(&|event: &ProgressEvent<'_>| seen.store(event.done, Ordering::Relaxed));
/// assert_eq!(seen.into_inner(), 7);
/// ```
pub trait Progress: Send + Sync {
    /// Takes notice of a step. It is called often and from the working thread, so it should be
    /// quick.
    fn report(&self, event: &ProgressEvent<'_>);
}

impl<F: Fn(&ProgressEvent<'_>) + Send + Sync> Progress for F {
    fn report(&self, event: &ProgressEvent<'_>) {
        self(event);
    }
}

/// A shared listener of any type.
pub type DynProgress = Arc<dyn Progress>;

/// A listener that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn report(&self, _event: &ProgressEvent<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fraction_needs_a_total() {
        assert_eq!(
            ProgressEvent::new("s", 1, Some(4), "u").fraction(),
            Some(0.25)
        );
        assert_eq!(
            ProgressEvent::new("s", 9, Some(4), "u").fraction(),
            Some(1.0)
        );
        assert_eq!(ProgressEvent::new("s", 1, None, "u").fraction(), None);
        assert_eq!(ProgressEvent::new("s", 1, Some(0), "u").fraction(), None);
    }
}
