//! Chains that are written with `|`.

use std::ops::BitOr;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use ropewalk_core::Result;

use super::{DynStep, Step, StepContext, StepEvent, StepExt, Then};

/// A step that is put together with `|`; made by [`chain()`].
///
/// ```
/// use ropewalk_agents::{AsText, ChatPrompt, ModelStep, StepExt, Vars, chain};
/// use ropewalk_core::testing::ScriptedModel;
///
/// let model = ScriptedModel::new().reply("bonjour");
/// let translate = chain(ChatPrompt::new().user("{text} in French"))
///     | chain(ModelStep::new(model))
///     | chain(AsText);
/// # futures_executor::block_on(async {
/// assert_eq!(translate.call(Vars::new().with("text", "hello")).await?, "bonjour");
/// # Ok::<(), ropewalk_core::Error>(()) }).unwrap();
/// ```
///
/// That the steps fit is checked when the program is compiled:
///
/// ```compile_fail
/// use ropewalk_agents::{AsText, ChatPrompt, chain};
///
/// // A prompt makes a request, not a reply.
/// let wrong = chain(ChatPrompt::new().user("hi")) | chain(AsText);
/// ```
pub struct Chain<I, O>(DynStep<I, O>);

/// Makes a [`Chain`] of one step.
pub fn chain<I: Send + 'static, O: Send + 'static>(step: impl Step<I, O> + 'static) -> Chain<I, O> {
    Chain(Arc::new(step))
}

impl<I, O> Clone for Chain<I, O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I: Send + 'static, M: Send + 'static, O: Send + 'static> BitOr<Chain<M, O>> for Chain<I, M> {
    type Output = Chain<I, O>;

    fn bitor(self, next: Chain<M, O>) -> Chain<I, O> {
        Chain(
            Then {
                first: self.0,
                second: next.0,
            }
            .shared(),
        )
    }
}

#[async_trait]
impl<I: Send + 'static, O: Send + 'static> Step<I, O> for Chain<I, O> {
    async fn run(&self, input: I, context: &StepContext) -> Result<O> {
        self.0.run(input, context).await
    }

    fn stream(
        self: Arc<Self>,
        input: I,
        context: StepContext,
    ) -> BoxStream<'static, Result<StepEvent<O>>> {
        Arc::clone(&self.0).stream(input, context)
    }

    fn keeps_text(&self) -> bool {
        self.0.keeps_text()
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}
