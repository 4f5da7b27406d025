//! What a run tells and returns.

use ropewalk_core::{FinishReason, Message, StreamEvent, ToolCall, ToolResult, Usage};

use super::state::RunState;

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AgentEvent {
    /// The model is called.
    Turn {
        /// The agent whose turn it is.
        agent: String,
        /// Which call of the model this is, from 1.
        turn: u32,
    },
    /// A piece of the model's reply.
    Model(StreamEvent),
    /// A tool is called.
    ToolStarted(ToolCall),
    /// A call has its result, also one that was not made. Results come as they are there; the
    /// model gets them in the order of the calls.
    ToolFinished {
        /// The call.
        call: ToolCall,
        /// The result.
        result: ToolResult,
    },
    /// The conversation is handed over.
    Handoff {
        /// The agent that hands over.
        from: String,
        /// The agent that takes over.
        to: String,
    },
    /// Calls wait for approval: see [`RunState::waiting`] and
    /// [`Agent::resume`](super::Agent::resume). The last event.
    NeedsApproval(Box<RunState>),
    /// The answer. The last event.
    Done(Box<RunResult>),
}

/// What a run returns.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunResult {
    /// The text of the answer.
    pub output: String,
    /// The messages of the run: the input, calls and results, and the answer last; not what was
    /// remembered.
    pub messages: Vec<Message>,
    /// Why the last reply ended.
    pub finish_reason: FinishReason,
    /// Tokens of all calls, agents called as tools included.
    pub usage: Usage,
    /// Cost of all calls in US dollars; `None` when a price is not known.
    pub cost: Option<f64>,
    /// How many times the model was called.
    pub turns: u32,
    /// How many calls of tools were made.
    pub tool_calls: u32,
    /// Name of the agent that answered.
    pub agent: String,
    /// The state at the end, from which the messages of the whole conversation can be read.
    pub state: RunState,
}
