//! Steps made of steps.

use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::future::try_join;
use futures_util::{FutureExt, StreamExt};
use ropewalk_core::Result;
use tracing::Instrument;

use super::{DynStep, Step, StepContext, StepEvent};
use crate::driven::{Sink, driven};
use crate::telemetry;

/// One step after the other; made by [`StepExt::then`](super::StepExt::then).
pub struct Then<I, M, O> {
    pub(super) first: DynStep<I, M>,
    pub(super) second: DynStep<M, O>,
}

#[async_trait]
impl<I: Send + 'static, M: Send + 'static, O: Send + 'static> Step<I, O> for Then<I, M, O> {
    async fn run(&self, input: I, context: &StepContext) -> Result<O> {
        let middle = self.first.run(input, context).await?;
        self.second.run(middle, context).await
    }

    fn stream(
        self: Arc<Self>,
        input: I,
        context: StepContext,
    ) -> BoxStream<'static, Result<StepEvent<O>>> {
        driven(move |sink| {
            async move {
                if !self.second.keeps_text() {
                    let middle = self.first.run(input, &context).await?;
                    return forward(Arc::clone(&self.second).stream(middle, context), &sink).await;
                }
                let mut first = Arc::clone(&self.first).stream(input, context.clone());
                while let Some(event) = first.next().await {
                    match event? {
                        StepEvent::Delta(text) => sink.send(StepEvent::Delta(text)).await,
                        StepEvent::Done(middle) => {
                            let output = self.second.run(middle, &context).await?;
                            sink.send(StepEvent::Done(output)).await;
                        }
                    }
                }
                Ok(())
            }
            .boxed()
        })
    }

    fn keeps_text(&self) -> bool {
        self.first.keeps_text() && self.second.keeps_text()
    }

    fn name(&self) -> &str {
        self.second.name()
    }
}

async fn forward<O: Send + 'static>(
    mut events: BoxStream<'static, Result<StepEvent<O>>>,
    sink: &Sink<StepEvent<O>>,
) -> Result<()> {
    while let Some(event) = events.next().await {
        sink.send(event?).await;
    }
    Ok(())
}

/// A step whose output a function changes; made by [`StepExt::map`](super::StepExt::map).
pub struct Map<I, M, F> {
    pub(super) step: DynStep<I, M>,
    pub(super) function: F,
}

#[async_trait]
impl<I, M, O, F> Step<I, O> for Map<I, M, F>
where
    I: Send + 'static,
    M: Send + 'static,
    O: Send + 'static,
    F: Fn(M) -> O + Send + Sync,
{
    async fn run(&self, input: I, context: &StepContext) -> Result<O> {
        Ok((self.function)(self.step.run(input, context).await?))
    }

    fn name(&self) -> &str {
        self.step.name()
    }
}

/// Two steps on the same input at the same time; made by
/// [`StepExt::both`](super::StepExt::both).
pub struct Both<I, A, B> {
    pub(super) first: DynStep<I, A>,
    pub(super) second: DynStep<I, B>,
}

#[async_trait]
impl<I, A, B> Step<I, (A, B)> for Both<I, A, B>
where
    I: Clone + Send + 'static,
    A: Send + 'static,
    B: Send + 'static,
{
    async fn run(&self, input: I, context: &StepContext) -> Result<(A, B)> {
        let first = self.first.run(input.clone(), context);
        try_join(first, self.second.run(input, context)).await
    }
}

/// A step with a name and a span of its own; made by [`StepExt::named`](super::StepExt::named).
pub struct Named<I, O> {
    pub(super) step: DynStep<I, O>,
    pub(super) name: String,
}

#[async_trait]
impl<I: Send + 'static, O: Send + 'static> Step<I, O> for Named<I, O> {
    async fn run(&self, input: I, context: &StepContext) -> Result<O> {
        let span = telemetry::step_span(&self.name);
        let output = self.step.run(input, context);
        output.instrument(span).await.inspect_err(|error| {
            tracing::debug!(step = %self.name, "error.type" = error.kind().as_str(), "step failed");
        })
    }

    fn stream(
        self: Arc<Self>,
        input: I,
        context: StepContext,
    ) -> BoxStream<'static, Result<StepEvent<O>>> {
        let span = telemetry::step_span(&self.name);
        driven(move |sink| {
            let events = Arc::clone(&self.step).stream(input, context);
            async move { forward(events, &sink).await }
                .instrument(span)
                .boxed()
        })
    }

    fn keeps_text(&self) -> bool {
        self.step.keeps_text()
    }

    fn name(&self) -> &str {
        &self.name
    }
}
