//! Templates of prompts.
//!
//! `{name}` stands for a variable, `{user.city}` for a field of one; `{{` and `}}` are braces. A
//! variable without a value is an error that names it, never an empty place in a prompt.

mod chat;
mod error;
mod fence;
mod few_shot;
mod template;
mod vars;

pub use chat::{ChatPrompt, TypedPrompt};
pub use error::PromptError;
pub use fence::Fence;
pub(crate) use fence::is_hidden;
pub use few_shot::FewShot;
pub use template::Prompt;
pub use vars::Vars;
