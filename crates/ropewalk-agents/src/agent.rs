//! Agents: a model, its instructions and tools, and the loop between them.

mod builder;
mod error;
mod event;
mod handoff;
mod hooks;
mod input;
mod limits;
mod nested;
mod pending;
mod react;
mod reply;
mod request;
mod run;
mod state;
mod typed;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use ropewalk_core::{Content, DynChatModel, DynModerationModel, DynPricing, Options};
use ropewalk_tools::ToolSet;

use crate::memory::Memory;
use crate::safety::{TaintScope, ToolPolicy};

pub use error::AgentError;
pub use event::{AgentEvent, RunResult};
pub use hooks::{BeforeTool, Hooks, OnError};
pub use input::{Approvals, Input};
pub use limits::{Limit, Limits, Spent};
pub use nested::AgentTool;
pub use react::{AgentAction, AgentFinish, AgentStep, ReActError, parse_react};
pub use state::{CallStatus, PendingCall, RunState};
pub use typed::Typed;

/// A stream of what a run does.
///
/// The last item is [`AgentEvent::Done`], [`AgentEvent::NeedsApproval`] or an error. Dropping the
/// stream ends the run: the call of the model and the tools under way are dropped with it.
pub struct AgentStream(BoxStream<'static, Result<AgentEvent, AgentError>>);

impl AgentStream {
    /// Reads to the end and returns what [`Agent::run`] does.
    ///
    /// # Errors
    /// [`AgentError`], with the state of the run so far.
    pub async fn finish(mut self) -> Result<RunResult, AgentError> {
        let mut end = Err(AgentError::Configuration {
            message: "the stream was read to its end before".into(),
        });
        while let Some(event) = self.next().await {
            match event? {
                AgentEvent::Done(result) => end = Ok(*result),
                AgentEvent::NeedsApproval(state) => end = Err(AgentError::NeedsApproval { state }),
                _ => {}
            }
        }
        end
    }
}

impl Stream for AgentStream {
    type Item = Result<AgentEvent, AgentError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl std::fmt::Debug for AgentStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentStream").finish_non_exhaustive()
    }
}

/// A model with instructions and tools, which calls tools until it can answer.
///
/// An agent is cheap to clone and can run many conversations at the same time; what belongs to one
/// run is in its [`RunState`].
///
/// ```
/// use ropewalk_agents::Agent;
/// use ropewalk_core::testing::ScriptedModel;
/// use ropewalk_tools::{ToolSet, tool};
/// use serde_json::json;
///
/// /// Returns the price of a ticket in dollars.
/// #[tool(effect = read)]
/// fn price(city: String) -> String {
///     format!("{city}: 499")
/// }
///
/// let model = ScriptedModel::new()
///     .tool_call("price", json!({"city": "Oslo"}))
///     .reply("A ticket to Oslo is $499.");
/// let agent = Agent::new(model)
///     .name("desk")
///     .instructions("You sell tickets. Look prices up.")
///     .tools(ToolSet::new().with(price)?);
/// # futures_executor::block_on(async {
/// let result = agent.run("What is a ticket to Oslo?").await?;
/// assert_eq!(result.output, "A ticket to Oslo is $499.");
/// assert_eq!((result.turns, result.tool_calls), (2, 1));
/// # Ok::<(), ropewalk_agents::AgentError>(()) }).unwrap();
/// # Ok::<(), ropewalk_tools::ToolSetError>(())
/// ```
#[derive(Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    name: String,
    model: DynChatModel,
    instructions: Content,
    tools: ToolSet,
    handoffs: Vec<Agent>,
    options: Options,
    limits: Limits,
    concurrency: usize,
    repeats: Option<u32>,
    tool_timeout: Option<Duration>,
    tool_timeouts: BTreeMap<String, Duration>,
    hooks: Vec<Arc<dyn Hooks>>,
    policy: Arc<dyn ToolPolicy>,
    taint_scope: TaintScope,
    approvals: bool,
    memory: Option<Memory>,
    pricing: Option<DynPricing>,
    moderation: Option<DynModerationModel>,
    react: bool,
    trace_content: bool,
    /// What was wrong with an argument of the builder.
    problem: Option<String>,
}

impl Agent {
    /// Runs until the model answers; [`run_stream`](Self::run_stream) to its end.
    ///
    /// # Errors
    /// [`AgentError`], with the state of the run so far.
    pub async fn run(&self, input: impl Into<Input>) -> Result<RunResult, AgentError> {
        run::start(self.clone(), input.into(), false).finish().await
    }

    /// Runs until the model answers and tells what happens.
    pub fn run_stream(&self, input: impl Into<Input>) -> AgentStream {
        run::start(self.clone(), input.into(), true)
    }

    /// Goes on with a run that waits for approval, was cut by a limit or failed, also in another
    /// process and after the agent was built anew. Calls that have their results are not made
    /// again; of a call that was under way when the run ended, the model is told that it may have
    /// taken effect. An answer that was flagged or could not be remembered is judged and remembered
    /// anew, not asked for again. Use a state once.
    ///
    /// # Errors
    /// [`AgentError`]; [`AgentError::Configuration`] when the state belongs to an agent that this
    /// one does not hand over to, or a decision names a call that does not wait.
    pub async fn resume(
        &self,
        state: RunState,
        approvals: Approvals,
    ) -> Result<RunResult, AgentError> {
        run::resume(self.clone(), state, approvals, false)
            .finish()
            .await
    }

    /// As [`resume`](Self::resume), and tells what happens.
    pub fn resume_stream(&self, state: RunState, approvals: Approvals) -> AgentStream {
        run::resume(self.clone(), state, approvals, true)
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("name", &self.inner.name)
            .field("provider", &self.inner.model.provider())
            .field("model", &self.inner.model.model())
            .field("tools", &self.inner.tools)
            .field("limits", &self.inner.limits)
            .finish_non_exhaustive()
    }
}
