//! Trying again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use ropewalk_core::{Error, Result};

use super::{DynStep, Step, StepContext, StepEvent};
use crate::driven::driven;

/// Waits; tests put one in that does not.
#[async_trait]
pub trait Sleeper: Send + Sync {
    /// Waits so long.
    async fn sleep(&self, time: Duration);
}

/// Waits with the clock of tokio, within whose runtime it must be used.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioSleeper;

#[async_trait]
impl Sleeper for TokioSleeper {
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// How often and how soon a step is tried again.
///
/// Only errors with [`Error::is_retryable`] are tried again. The wait before retry `n`, from 0, is
/// what the provider asked for, else `base * 2^n` up to `max`, less up to a quarter at random (the
/// rule of the official SDKs of OpenAI and Anthropic).
#[derive(Clone)]
pub struct RetryPolicy {
    retries: u32,
    base: Duration,
    max: Duration,
    seed: u64,
    sleeper: Arc<dyn Sleeper>,
}

impl RetryPolicy {
    /// Creates a policy of at most so many retries, with waits of half a second to eight seconds.
    #[must_use]
    pub fn new(retries: u32) -> Self {
        Self {
            retries,
            base: Duration::from_millis(500),
            max: Duration::from_secs(8),
            seed: 0,
            sleeper: Arc::new(TokioSleeper),
        }
    }

    /// Sets the first and the longest wait.
    #[must_use]
    pub fn with_waits(mut self, base: Duration, max: Duration) -> Self {
        self.base = base;
        self.max = max;
        self
    }

    /// Sets the seed of the random part of the waits.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets how waiting is done, by tokio's clock unless set.
    #[must_use]
    pub fn with_sleeper(mut self, sleeper: impl Sleeper + 'static) -> Self {
        self.sleeper = Arc::new(sleeper);
        self
    }

    /// Returns how long to wait before retry `n`, from 0.
    #[must_use]
    pub fn wait(&self, n: u32, error: &Error) -> Duration {
        if let Some(asked) = error.retry_after() {
            return asked;
        }
        let factor = 2u32.checked_pow(n).unwrap_or(u32::MAX);
        let full = self.base.saturating_mul(factor).min(self.max);
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_add(u64::from(n)));
        full.mul_f64(1.0 - 0.25 * random.f64())
    }

    /// Waits and returns `None` when the step may be tried again, else the error.
    async fn after(&self, n: u32, error: Error) -> Option<Error> {
        if n >= self.retries || !error.is_retryable() {
            return Some(error);
        }
        let wait = self.wait(n, &error);
        tracing::debug!(%error, retry = n + 1, wait_ms = wait.as_millis(), "trying again");
        self.sleeper.sleep(wait).await;
        None
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("retries", &self.retries)
            .field("base", &self.base)
            .field("max", &self.max)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// A step that is tried again; made by [`StepExt::with_retry`](super::StepExt::with_retry).
pub struct Retry<I, O> {
    step: DynStep<I, O>,
    policy: RetryPolicy,
}

impl<I, O> Retry<I, O> {
    pub(super) fn new(step: DynStep<I, O>, policy: RetryPolicy) -> Self {
        Self { step, policy }
    }
}

#[async_trait]
impl<I: Clone + Send + 'static, O: Send + 'static> Step<I, O> for Retry<I, O> {
    async fn run(&self, input: I, context: &StepContext) -> Result<O> {
        let mut tried = 0;
        loop {
            let error = match self.step.run(input.clone(), context).await {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            if let Some(error) = self.policy.after(tried, error).await {
                return Err(error);
            }
            tried += 1;
        }
    }

    fn stream(
        self: Arc<Self>,
        input: I,
        context: StepContext,
    ) -> BoxStream<'static, Result<StepEvent<O>>> {
        driven(move |sink| {
            async move {
                for tried in 0.. {
                    let mut events = Arc::clone(&self.step).stream(input.clone(), context.clone());
                    let mut failure = None;
                    let mut begun = false;
                    while let Some(event) = events.next().await {
                        match event {
                            Ok(event) => {
                                begun = true;
                                sink.send(event).await;
                            }
                            Err(error) if begun => return Err(error),
                            Err(error) => failure = Some(error),
                        }
                    }
                    let Some(error) = failure else {
                        return Ok(());
                    };
                    if let Some(error) = self.policy.after(tried, error).await {
                        return Err(error);
                    }
                }
                Ok(())
            }
            .boxed()
        })
    }

    fn keeps_text(&self) -> bool {
        self.step.keeps_text()
    }

    fn name(&self) -> &str {
        self.step.name()
    }
}
