//! How a scheduler runs.

use crate::{Error, Model, Result};

/// How a [`Scheduler`](super::Scheduler) shares one model between requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchedulerOptions {
    /// Sequences that run at once at most; others wait. 16 unless set.
    pub max_sequences: usize,
    /// Tokens whose keys and values are held at most, those of kept prefixes included; `None` means four times the
    /// context of the model.
    ///
    /// A sequence that runs alone and fills it ends with [`Finish::Context`](crate::Finish::Context).
    pub pool_tokens: Option<usize>,
    /// Rows of one forward pass: one for each running sequence, the rest for prompts. 512 unless set.
    ///
    /// Fewer let running replies flow evenly while long prompts come in; more read prompts faster.
    pub step_tokens: usize,
    /// Tokens of ended sequences that are kept for prompts that begin like them, as far as running ones leave room;
    /// 0 shares nothing between requests. `None` means as many as the pool holds.
    pub prefix_tokens: Option<usize>,
    /// Requests that may wait; more are refused with [`Error::QueueFull`]. `None` means any number.
    pub max_waiting: Option<usize>,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SchedulerOptions {
    /// Returns the defaults named at the fields.
    pub const fn new() -> Self {
        Self {
            max_sequences: 16,
            pool_tokens: None,
            step_tokens: 512,
            prefix_tokens: None,
            max_waiting: None,
        }
    }

    /// Sets how many sequences run at once.
    #[must_use]
    pub const fn with_max_sequences(mut self, n: usize) -> Self {
        self.max_sequences = n;
        self
    }

    /// Sets how many tokens are held in memory.
    #[must_use]
    pub const fn with_pool_tokens(mut self, tokens: usize) -> Self {
        self.pool_tokens = Some(tokens);
        self
    }

    /// Sets how many rows one forward pass has.
    #[must_use]
    pub const fn with_step_tokens(mut self, tokens: usize) -> Self {
        self.step_tokens = tokens;
        self
    }

    /// Sets how many tokens of ended sequences are kept; 0 shares nothing between requests.
    #[must_use]
    pub const fn with_prefix_tokens(mut self, tokens: usize) -> Self {
        self.prefix_tokens = Some(tokens);
        self
    }

    /// Sets how many requests may wait.
    #[must_use]
    pub const fn with_max_waiting(mut self, requests: usize) -> Self {
        self.max_waiting = Some(requests);
        self
    }

    /// Returns the tokens of the pool for a model.
    pub(super) fn pool(&self, model: &Model) -> usize {
        self.pool_tokens
            .unwrap_or_else(|| model.context().saturating_mul(4))
    }

    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in [
            ("max_sequences", self.max_sequences),
            ("step_tokens", self.step_tokens),
            ("pool_tokens", self.pool_tokens.unwrap_or(1)),
            ("max_waiting", self.max_waiting.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Error::Option {
                    name,
                    value: value.to_string(),
                    allowed: "1 or more",
                });
            }
        }
        Ok(())
    }
}
