//! Code of the application inside the loop.

use async_trait::async_trait;
use ropewalk_core::{ChatRequest, ChatResponse, Error, Result, ToolCall, ToolResult};

use super::event::RunResult;
use super::state::RunState;

/// What to do with a call.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum BeforeTool {
    /// Leave it to the gate.
    Proceed,
    /// Do not make it; the model gets this result, as an error if the call was to hand over.
    Skip(ToolResult),
    /// Somebody must approve it.
    Ask,
    /// End the run, for this reason.
    Stop(String),
}

/// What to do when the model fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// Call it again; this is another turn.
    Retry,
    /// End the run.
    Fail,
}

/// Code of the application inside the loop. Every method does nothing unless overridden; an error
/// ends the run.
#[async_trait]
pub trait Hooks: Send + Sync {
    /// Sees and may change what the model is asked; the change is for this call only. Untrusted
    /// parts that it adds taint the calls of the rest of the run, as if a tool had returned them.
    ///
    /// # Errors
    /// Ends the run.
    async fn before_model(&self, _run: &RunState, _request: &mut ChatRequest) -> Result<()> {
        Ok(())
    }

    /// Sees and may change what the model answered, before it becomes part of the conversation.
    ///
    /// # Errors
    /// Ends the run.
    async fn after_model(&self, _run: &RunState, _response: &mut ChatResponse) -> Result<()> {
        Ok(())
    }

    /// Decides on a call that the gate does not deny; it can forbid, not allow, more than the gate.
    /// The first of several hooks that does not say `Proceed` decides.
    ///
    /// # Errors
    /// Ends the run.
    async fn before_tool(&self, _run: &RunState, _call: &ToolCall) -> Result<BeforeTool> {
        Ok(BeforeTool::Proceed)
    }

    /// Sees and may change the result of a call that was made, before the model does.
    ///
    /// # Errors
    /// Ends the run.
    async fn after_tool(
        &self,
        _run: &RunState,
        _call: &ToolCall,
        _result: &mut ToolResult,
    ) -> Result<()> {
        Ok(())
    }

    /// Decides what to do when the model fails. The first of several hooks that says `Retry`
    /// decides; waiting is up to the hook.
    async fn on_error(&self, _run: &RunState, _error: &Error) -> OnError {
        OnError::Fail
    }

    /// Sees the answer before it is returned and remembered.
    ///
    /// # Errors
    /// Ends the run.
    async fn on_done(&self, _run: &RunState, _result: &RunResult) -> Result<()> {
        Ok(())
    }
}
