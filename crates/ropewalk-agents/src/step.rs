//! Typed steps and what combines them.

mod batch;
mod chain;
mod combine;
mod context;
mod extension;
mod fallback;
mod function;
mod model;
mod retry;
mod route;

use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use ropewalk_core::Result;

pub use chain::{Chain, chain};
pub use combine::{Both, Map, Named, Then};
pub use context::{Bound, StepContext};
pub use extension::StepExt;
pub use fallback::Fallback;
pub use function::{FnStep, step_fn};
pub use model::{AsText, ExtractStep, ModelStep};
pub use retry::{Retry, RetryPolicy, Sleeper, TokioSleeper};
pub use route::{Destination, Router};

/// What a step that is streamed tells.
///
/// The texts of all `Delta`s, concatenated, are the text of the output. A step that makes
/// something else of a text, such as [`StepExt::map`], therefore lets no delta of the steps before
/// it through, whereas [`AsText`] does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StepEvent<O> {
    /// More of the text of the output.
    Delta(String),
    /// The output. Always last and exactly once on success.
    Done(O),
}

/// Something that makes an `O` from an `I`: a prompt, a model, a function, a chain of these.
///
/// Steps are put together by [`StepExt`]; that the output of one fits the input of the next is
/// checked when the program is compiled.
#[async_trait]
pub trait Step<I: Send + 'static, O: Send + 'static>: Send + Sync {
    /// Makes the output.
    ///
    /// # Errors
    /// Whatever keeps the step from making it.
    async fn run(&self, input: I, context: &StepContext) -> Result<O>;

    /// Makes the output and tells of its text as it comes. Unless overridden the step runs once
    /// and tells of its output alone.
    fn stream(
        self: Arc<Self>,
        input: I,
        context: StepContext,
    ) -> BoxStream<'static, Result<StepEvent<O>>>
    where
        Self: 'static,
    {
        let once = async move { self.run(input, &context).await.map(StepEvent::Done) };
        futures_util::stream::once(once).boxed()
    }

    /// Returns whether the text of the output is the text of the input, so that deltas of the step
    /// before may pass.
    fn keeps_text(&self) -> bool {
        false
    }

    /// Returns the name of the step for traces and errors.
    fn name(&self) -> &str {
        let name = std::any::type_name::<Self>();
        let end = name.find('<').unwrap_or(name.len());
        name[..end].rsplit("::").next().unwrap_or(name)
    }
}

/// A shared step of any type.
pub type DynStep<I, O> = Arc<dyn Step<I, O>>;

#[async_trait]
impl<I: Send + 'static, O: Send + 'static> Step<I, O> for DynStep<I, O> {
    async fn run(&self, input: I, context: &StepContext) -> Result<O> {
        (**self).run(input, context).await
    }

    fn stream(
        self: Arc<Self>,
        input: I,
        context: StepContext,
    ) -> BoxStream<'static, Result<StepEvent<O>>> {
        Arc::clone(&*self).stream(input, context)
    }

    fn keeps_text(&self) -> bool {
        (**self).keeps_text()
    }

    fn name(&self) -> &str {
        (**self).name()
    }
}

/// Prints the name of the type: what is inside can be anything.
macro_rules! opaque_debug {
    ($($name:ident<$($parameter:ident),*>),* $(,)?) => {$(
        impl<$($parameter),*> std::fmt::Debug for $name<$($parameter),*> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

opaque_debug!(
    Both<I, A, B>,
    Bound<I, O>,
    Chain<I, O>,
    ExtractStep<T>,
    Fallback<I, O>,
    FnStep<F, I>,
    Map<I, M, F>,
    Named<I, O>,
    Retry<I, O>,
    Router<I, O>,
    Then<I, M, O>,
);
