//! Prompts, typed steps, memory and agents.

mod prompt;

pub use prompt::{ChatPrompt, Fence, FewShot, Prompt, PromptError, TypedPrompt, Vars};
