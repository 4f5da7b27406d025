//! Steps made from functions.

use std::future::Future;
use std::marker::PhantomData;

use async_trait::async_trait;
use ropewalk_core::Result;

use super::{Step, StepContext};

/// A [`Step`] made from an async closure by [`step_fn`].
pub struct FnStep<F, I> {
    function: F,
    input: PhantomData<fn(I)>,
}

/// Makes a step from an async closure.
///
/// ```
/// use ropewalk_agents::{StepExt, step_fn};
///
/// let parse = step_fn(|text: String| async move {
///     text.trim().parse::<i64>().map_err(|e| ropewalk_core::Error::invalid_request(e.to_string()))
/// });
/// let double = parse.map(|n| 2 * n);
/// # futures_executor::block_on(async {
/// assert_eq!(double.call(" 21 ".into()).await?, 42);
/// # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
/// ```
pub fn step_fn<I, O, F, Fut>(function: F) -> FnStep<F, I>
where
    I: Send + 'static,
    O: Send + 'static,
    F: Fn(I) -> Fut + Send + Sync,
    Fut: Future<Output = Result<O>> + Send,
{
    FnStep {
        function,
        input: PhantomData,
    }
}

#[async_trait]
impl<I, O, F, Fut> Step<I, O> for FnStep<F, I>
where
    I: Send + 'static,
    O: Send + 'static,
    F: Fn(I) -> Fut + Send + Sync,
    Fut: Future<Output = Result<O>> + Send,
{
    async fn run(&self, input: I, _context: &StepContext) -> Result<O> {
        (self.function)(input).await
    }
}
