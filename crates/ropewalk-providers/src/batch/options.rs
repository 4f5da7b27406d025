//! How rows are handed over, and how they are getting on.

/// How rows are handed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BatchOptions {
    /// Most rows of one batch; the provider's limit when `None` or larger.
    pub max_rows: Option<usize>,
    /// Most bytes of one batch; the provider's limit when `None` or larger.
    pub max_bytes: Option<usize>,
    /// Most batches at the same time; no limit when `None`. Providers limit the tokens that wait.
    pub max_in_flight: Option<usize>,
}

impl BatchOptions {
    /// Creates options with the provider's limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most rows of one batch.
    #[must_use]
    pub fn with_max_rows(mut self, rows: usize) -> Self {
        self.max_rows = Some(rows.max(1));
        self
    }

    /// Sets the most bytes of one batch.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the most batches at the same time.
    #[must_use]
    pub fn with_max_in_flight(mut self, batches: usize) -> Self {
        self.max_in_flight = Some(batches.max(1));
        self
    }
}

/// How a run is getting on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BatchSummary {
    /// Rows in all.
    pub rows: u64,
    /// Rows that were answered.
    pub done: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Batches in all.
    pub batches: usize,
    /// Batches that are created.
    pub created: usize,
    /// Batches whose replies are here.
    pub fetched: usize,
}

impl BatchSummary {
    /// Returns whether all replies are here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.fetched == self.batches
    }
}
