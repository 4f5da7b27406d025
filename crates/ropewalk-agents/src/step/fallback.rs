//! Other ways when one fails.

use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use ropewalk_core::{Error, ErrorKind, Result};

use super::{DynStep, Step, StepContext, StepEvent};
use crate::driven::driven;

/// Steps that are tried in order until one succeeds; made by
/// [`StepExt::with_fallbacks`](super::StepExt::with_fallbacks).
///
/// When all fail, the error has the kind of the last one, names each failure, and the last is its
/// source.
pub struct Fallback<I, O> {
    steps: Vec<DynStep<I, O>>,
}

impl<I: Clone + Send + 'static, O: Send + 'static> Fallback<I, O> {
    /// Creates it from steps in the order in which they are tried.
    pub fn new(steps: impl IntoIterator<Item = DynStep<I, O>>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
        }
    }
}

/// The failures so far.
#[derive(Default)]
struct Failures {
    told: Vec<String>,
    last: Option<Error>,
}

impl Failures {
    fn add(&mut self, name: &str, error: Error) {
        tracing::debug!(step = name, %error, "trying the next step");
        self.told.push(format!("{name}: {error}"));
        self.last = Some(error);
    }

    fn into_error(self) -> Error {
        let Some(last) = self.last else {
            return Error::new(ErrorKind::Configuration, "there is no step to try");
        };
        let (count, told) = (self.told.len(), self.told.join("; "));
        let message = format!("all {count} steps failed: {told}");
        Error::new(last.kind(), message)
            .with_retryable(last.is_retryable())
            .with_source(last)
    }
}

#[async_trait]
impl<I: Clone + Send + 'static, O: Send + 'static> Step<I, O> for Fallback<I, O> {
    async fn run(&self, input: I, context: &StepContext) -> Result<O> {
        let mut failures = Failures::default();
        for step in &self.steps {
            match step.run(input.clone(), context).await {
                Ok(output) => return Ok(output),
                Err(error) => failures.add(step.name(), error),
            }
        }
        Err(failures.into_error())
    }

    fn stream(
        self: Arc<Self>,
        input: I,
        context: StepContext,
    ) -> BoxStream<'static, Result<StepEvent<O>>> {
        driven(move |sink| {
            async move {
                let mut failures = Failures::default();
                'steps: for step in &self.steps {
                    let mut events = Arc::clone(step).stream(input.clone(), context.clone());
                    let mut begun = false;
                    while let Some(event) = events.next().await {
                        match event {
                            Ok(event) => {
                                begun = true;
                                sink.send(event).await;
                            }
                            Err(error) if begun => return Err(error),
                            Err(error) => {
                                failures.add(step.name(), error);
                                continue 'steps;
                            }
                        }
                    }
                    return Ok(());
                }
                Err(failures.into_error())
            }
            .boxed()
        })
    }

    fn keeps_text(&self) -> bool {
        self.steps.iter().all(Step::keeps_text)
    }

    fn name(&self) -> &str {
        self.steps.first().map_or("fallback", |step| step.name())
    }
}
