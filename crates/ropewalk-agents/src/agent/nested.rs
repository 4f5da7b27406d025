//! Agents as tools of other agents.

use std::sync::Arc;

use async_trait::async_trait;
use ropewalk_core::schemars::{self, JsonSchema};
use ropewalk_core::{
    DynPricing, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, Trust, parse_arguments,
};
use serde::Deserialize;

use super::event::RunResult;
use super::input::Input;
use super::limits::Meter;
use super::{Agent, AgentError};
use crate::step::{Step, StepContext};
use crate::trust::text_with_trust;

/// What a run inside of another one knows of it; travels with the extensions of tools.
#[derive(Clone)]
pub(super) struct Parent {
    pub(super) meter: Arc<Meter>,
    pub(super) pricing: Option<DynPricing>,
    /// The least trust of what the calling model had read.
    pub(super) taint: Trust,
}

impl std::fmt::Debug for Parent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parent").finish_non_exhaustive()
    }
}

/// An agent that another one calls as a tool; made by [`Agent::into_tool`].
///
/// The inner run keeps its own limits, and its tokens, cost and time count for the outer run too.
/// What the outer model had read taints what it asks for. Nobody can be asked for approval in the
/// middle of a call: the inner gate denies where it would ask.
#[derive(Debug, Clone)]
pub struct AgentTool {
    agent: Agent,
    spec: ToolSpec,
}

#[derive(Deserialize, JsonSchema)]
struct Task {
    /// What the agent should do, with everything it needs to know.
    input: String,
}

impl Agent {
    /// Makes a tool of the agent, which takes a task as text and returns the answer.
    #[must_use]
    pub fn into_tool(self, name: impl Into<String>, description: impl Into<String>) -> AgentTool {
        AgentTool {
            agent: self.approvals(false),
            spec: ToolSpec::of::<Task>(name, description),
        }
    }

    /// The most its tools, and those of the agents it hands over to, may change.
    fn effect(&self) -> Effect {
        let tools = self.inner.tools.iter().map(Tool::effect);
        let others = self.inner.handoffs.iter().map(Self::effect);
        tools.chain(others).max().unwrap_or(Effect::Read)
    }
}

#[async_trait]
impl Tool for AgentTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effect(&self) -> Effect {
        self.agent.effect()
    }

    async fn call(&self, arguments: &str, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let Task { input } = parse_arguments(arguments)?;
        let parent = context.extensions.get::<Parent>().cloned();
        let taint = parent.as_ref().map_or(Trust::Untrusted, |p| p.taint);
        let mut input = Input::new(text_with_trust(input, taint))
            .run_id(format!("{}.{}", context.run_id, context.call_id))
            .extensions(context.extensions.clone());
        input.parent = parent;
        match self.agent.run(input).await {
            Ok(result) => Ok(ToolOutput::text(result.output)),
            Err(AgentError::Tool { source, .. }) => Err(ToolError::Fatal(source)),
            Err(error) => Err(ToolError::failed(error)),
        }
    }
}

/// An agent is a step of a chain too.
#[async_trait]
impl Step<Input, RunResult> for Agent {
    async fn run(&self, input: Input, _context: &StepContext) -> ropewalk_core::Result<RunResult> {
        Ok(Self::run(self, input).await?)
    }

    fn name(&self) -> &str {
        &self.inner.name
    }
}
