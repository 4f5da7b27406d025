//! Tools for language models: sets of tools and the attribute that makes a tool of a function.

// The code that `#[tool]` writes names this crate from outside.
#[allow(unused_extern_crates, reason = "used by unit tests only")]
extern crate self as ropewalk_tools;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod bind;
pub mod builtin;
mod error;
mod runner;
mod set;
mod structured;
mod telemetry;

pub use bind::{ChatModelTools, WithTools};
pub use error::{ToolFailure, ToolSetError};
pub use ropewalk_macros::tool;
pub use runner::{Route, ToolRun, ToolRunner};
pub use set::ToolSet;
pub use structured::fence::FenceStripper;
pub use structured::list::{ExtractedList, Extractor};
pub use structured::parsers::{
    EnumParser, JsonParser, ListParser, OutputParser, Parsed, ask_parsed,
};
pub use structured::partial::{PartialJson, PartialJsonError};
pub use structured::stream::{ExtractStream, Growing, extract_stream};
pub use structured::tag::{Tagger, classify, classify_with, labels};
pub use structured::windows::windows;
