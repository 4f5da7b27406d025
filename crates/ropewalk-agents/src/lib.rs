//! Prompts, typed steps, memory and agents.

mod driven;
mod history;
mod memory;
mod prompt;
mod step;
mod telemetry;
mod trust;
mod vector;

#[cfg(feature = "redb")]
pub use history::RedbHistory;
pub use history::{InMemoryHistory, JsonlHistory, TornLine};
pub use memory::{
    Buffer, DynMemoryPolicy, Memory, MemoryPolicy, Recall, RetrieverMemory, Summary, TokenBuffer,
    Turns, Window, repair,
};
pub use prompt::{ChatPrompt, Fence, FewShot, Prompt, PromptError, TypedPrompt, Vars};
pub use step::{
    AsText, Both, Bound, Chain, Destination, DynStep, ExtractStep, Fallback, FnStep, Map,
    ModelStep, Named, Retry, RetryPolicy, Router, Sleeper, Step, StepContext, StepEvent, StepExt,
    Then, TokioSleeper, chain, step_fn,
};
