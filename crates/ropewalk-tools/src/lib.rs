//! Tools for language models: sets of tools and the attribute that makes a tool of a function.

// The code that `#[tool]` writes names this crate from outside.
#[allow(unused_extern_crates, reason = "used by unit tests only")]
extern crate self as ropewalk_tools;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod builtin;
mod error;
mod set;
mod telemetry;

pub use error::{ToolFailure, ToolSetError};
pub use ropewalk_macros::tool;
pub use set::ToolSet;
