//! What a step is told besides its input.

use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use ropewalk_core::{ChatRequest, Options, Result};

use super::{DynStep, Step, StepEvent};

/// What the steps of a chain are told besides their input.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct StepContext {
    /// Options that model steps lay over those of their request: what is set here wins.
    pub options: Options,
}

impl StepContext {
    /// Creates a context that changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lays options over those that are there.
    #[must_use]
    pub fn with_options(mut self, options: &Options) -> Self {
        lay_over(&mut self.options, options);
        self
    }

    /// Lays the options over those of a request; what custom model steps call.
    pub fn apply(&self, request: &mut ChatRequest) {
        lay_over(&mut request.options, &self.options);
    }
}

/// Takes over what `newer` sets.
fn lay_over(base: &mut Options, newer: &Options) {
    fn take<T: Clone>(base: &mut Option<T>, newer: &Option<T>) {
        if newer.is_some() {
            base.clone_from(newer);
        }
    }
    let Options {
        temperature,
        top_p,
        top_k,
        max_tokens,
        stop,
        seed,
        frequency_penalty,
        presence_penalty,
        logprobs,
        reasoning,
        parallel_tool_calls,
        cache,
        cache_key,
        user,
    } = newer;
    take(&mut base.temperature, temperature);
    take(&mut base.top_p, top_p);
    take(&mut base.top_k, top_k);
    take(&mut base.max_tokens, max_tokens);
    if !stop.is_empty() {
        base.stop.clone_from(stop);
    }
    take(&mut base.seed, seed);
    take(&mut base.frequency_penalty, frequency_penalty);
    take(&mut base.presence_penalty, presence_penalty);
    take(&mut base.logprobs, logprobs);
    take(&mut base.reasoning, reasoning);
    take(&mut base.parallel_tool_calls, parallel_tool_calls);
    take(&mut base.cache, cache);
    take(&mut base.cache_key, cache_key);
    take(&mut base.user, user);
}

/// A step with request options; made by [`StepExt::bind`](super::StepExt::bind).
pub struct Bound<I, O> {
    pub(super) step: DynStep<I, O>,
    pub(super) options: Options,
}

impl<I: Send + 'static, O: Send + 'static> Bound<I, O> {
    /// What is bound outside wins over what is bound inside, as the caller knows more.
    fn context(&self, outer: &StepContext) -> StepContext {
        StepContext::new()
            .with_options(&self.options)
            .with_options(&outer.options)
    }
}

#[async_trait]
impl<I: Send + 'static, O: Send + 'static> Step<I, O> for Bound<I, O> {
    async fn run(&self, input: I, context: &StepContext) -> Result<O> {
        self.step.run(input, &self.context(context)).await
    }

    fn stream(
        self: Arc<Self>,
        input: I,
        context: StepContext,
    ) -> BoxStream<'static, Result<StepEvent<O>>> {
        let context = self.context(&context);
        Arc::clone(&self.step).stream(input, context)
    }

    fn keeps_text(&self) -> bool {
        self.step.keeps_text()
    }

    fn name(&self) -> &str {
        self.step.name()
    }
}
