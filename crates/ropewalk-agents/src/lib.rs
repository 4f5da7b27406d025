//! Prompts, typed steps, memory and agents.

mod agent;
mod driven;
mod history;
mod memory;
mod prompt;
mod safety;
mod step;
mod telemetry;
mod trust;
mod vector;

pub use agent::{
    Agent, AgentAction, AgentError, AgentEvent, AgentFinish, AgentStep, AgentStream, AgentTool,
    Approvals, BeforeTool, CallStatus, Hooks, Input, Limit, Limits, OnError, PendingCall,
    ReActError, RunResult, RunState, Spent, Typed, parse_react,
};
#[cfg(feature = "redb")]
pub use history::RedbHistory;
pub use history::{InMemoryHistory, JsonlHistory, TornLine};
pub use memory::{
    Buffer, DynMemoryPolicy, Memory, MemoryPolicy, Recall, RetrieverMemory, Summary, TokenBuffer,
    Turns, Window, repair,
};
pub use prompt::{ChatPrompt, Fence, FewShot, Prompt, PromptError, TypedPrompt, Vars};
pub use safety::{
    AllowAll, Decision, Finding, Gate, Moderated, ModerationStep, Quarantine, ScanHooks, Stage,
    TaintScope, ToolPolicy, moderate, scan,
};
pub use step::{
    AsText, Both, Bound, Chain, Destination, DynStep, ExtractStep, Fallback, FnStep, Map,
    ModelStep, Named, Retry, RetryPolicy, Router, Sleeper, Step, StepContext, StepEvent, StepExt,
    Then, TokioSleeper, chain, step_fn,
};
