//! One step on many inputs.

use futures_util::StreamExt;
use ropewalk_core::Result;

use super::{Step, StepContext};

pub(super) async fn batch<I, O, S>(
    step: &S,
    inputs: impl IntoIterator<Item = I, IntoIter: Send> + Send,
    limit: usize,
) -> Vec<Result<O>>
where
    I: Send + 'static,
    O: Send + 'static,
    S: Step<I, O> + ?Sized,
{
    let context = StepContext::new();
    let runs = inputs.into_iter().map(|input| step.run(input, &context));
    // Boxed futures are collected first: the lifetime in `run` is too general for an iterator.
    let runs: Vec<_> = runs.collect();
    futures_util::stream::iter(runs)
        .buffered(limit.max(1))
        .collect()
        .await
}
