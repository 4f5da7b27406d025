//! Prompts, typed steps, memory and agents.

mod driven;
mod prompt;
mod step;
mod telemetry;
mod vector;

pub use prompt::{ChatPrompt, Fence, FewShot, Prompt, PromptError, TypedPrompt, Vars};
pub use step::{
    AsText, Both, Bound, Chain, Destination, DynStep, ExtractStep, Fallback, FnStep, Map,
    ModelStep, Named, Retry, RetryPolicy, Router, Sleeper, Step, StepContext, StepEvent, StepExt,
    Then, TokioSleeper, chain, step_fn,
};
