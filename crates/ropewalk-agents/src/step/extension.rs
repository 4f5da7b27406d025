//! The ways to put steps together.

use std::future::Future;
use std::sync::Arc;

use futures_core::stream::BoxStream;
use ropewalk_core::{Options, Result};

use super::batch::batch;
use super::fallback::Fallback;
use super::retry::{Retry, RetryPolicy};
use super::{Both, Bound, DynStep, Map, Named, Step, StepContext, StepEvent, Then};

/// The ways to put steps together.
pub trait StepExt<I: Send + 'static, O: Send + 'static>: Step<I, O> + Sized + 'static {
    /// Shares the step as one of any type.
    fn shared(self) -> DynStep<I, O> {
        Arc::new(self)
    }

    /// Gives the output to another step.
    fn then<P: Send + 'static>(self, next: impl Step<O, P> + 'static) -> Then<I, O, P> {
        Then {
            first: self.shared(),
            second: Arc::new(next),
        }
    }

    /// Changes the output by a function.
    fn map<P: Send + 'static, F: Fn(O) -> P + Send + Sync + 'static>(
        self,
        function: F,
    ) -> Map<I, O, F> {
        Map {
            step: self.shared(),
            function,
        }
    }

    /// Runs another step on the same input at the same time. If one fails, the other is dropped.
    fn both<P: Send + 'static>(self, other: impl Step<I, P> + 'static) -> Both<I, O, P>
    where
        I: Clone,
    {
        Both {
            first: self.shared(),
            second: Arc::new(other),
        }
    }

    /// Runs the step on many inputs, at most `limit` (at least one) at a time. The results are in
    /// the order of the inputs; one failure does not end the others.
    fn batch(
        &self,
        inputs: impl IntoIterator<Item = I, IntoIter: Send> + Send,
        limit: usize,
    ) -> impl Future<Output = Vec<Result<O>>> + Send {
        batch(self, inputs, limit)
    }

    /// Tries other steps, in order, when this one fails. A stream that has told a delta does not
    /// begin anew.
    fn with_fallbacks(self, others: impl IntoIterator<Item = DynStep<I, O>>) -> Fallback<I, O>
    where
        I: Clone,
    {
        Fallback::new(std::iter::once(self.shared()).chain(others))
    }

    /// Tries again when the step fails in a way that may pass.
    fn with_retry(self, policy: RetryPolicy) -> Retry<I, O>
    where
        I: Clone,
    {
        Retry::new(self.shared(), policy)
    }

    /// Sets request options of all model steps within.
    fn bind(self, options: Options) -> Bound<I, O> {
        Bound {
            step: self.shared(),
            options,
        }
    }

    /// Names the step and gives it a span in traces.
    fn named(self, name: impl Into<String>) -> Named<I, O> {
        Named {
            step: self.shared(),
            name: name.into(),
        }
    }

    /// Runs the step with a fresh context.
    fn call(&self, input: I) -> impl Future<Output = Result<O>> + Send {
        async move { self.run(input, &StepContext::new()).await }
    }

    /// Streams the step with a fresh context.
    fn call_stream(self, input: I) -> BoxStream<'static, Result<StepEvent<O>>> {
        Arc::new(self).stream(input, StepContext::new())
    }
}

impl<I: Send + 'static, O: Send + 'static, S: Step<I, O> + 'static> StepExt<I, O> for S {}
