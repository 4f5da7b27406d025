//! What a scheduler has done.

use std::time::Duration;

/// What a [`Scheduler`](super::Scheduler) is doing and has done, as of its last step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchedulerStats {
    /// Sequences that run.
    pub running: usize,
    /// Requests that wait for room.
    pub waiting: usize,
    /// Requests that came to their end.
    pub finished: u64,
    /// Requests whose handles were dropped or cancelled before their end.
    pub cancelled: u64,
    /// Requests that ended with an error.
    pub failed: u64,
    /// How often a sequence gave its pages up to others, to be computed again later.
    pub preempted: u64,
    /// Requests that began with keys and values of another.
    pub prefix_hits: u64,
    /// Tokens that were not computed for that reason.
    pub prefix_tokens: u64,
    /// Tokens of prompts, and those that were computed again, that went through the model.
    pub prompt_tokens: u64,
    /// Tokens that were generated.
    pub generated_tokens: u64,
    /// Tokens that speculation guessed.
    pub drafted_tokens: u64,
    /// Guessed tokens that were right.
    pub accepted_tokens: u64,
    /// Forward passes.
    pub steps: u64,
    /// Time from the beginning to the end of each step, without waiting for requests.
    pub busy: Duration,
    /// Pages of 128 tokens that are in use, those of kept prefixes included; a shared page counts once.
    pub pages: usize,
    /// Pages of those that only kept prefixes use: they are given up when a sequence needs them.
    pub pages_kept: usize,
    /// The most pages that were in use at once.
    pub pages_peak: usize,
    /// Pages that there may be.
    pub pages_limit: usize,
}

impl SchedulerStats {
    /// Returns generated tokens per second of [`busy`](Self::busy) time, over all sequences.
    pub fn tokens_per_second(&self) -> f64 {
        if self.busy.is_zero() {
            0.0
        } else {
            self.generated_tokens as f64 / self.busy.as_secs_f64()
        }
    }
}
