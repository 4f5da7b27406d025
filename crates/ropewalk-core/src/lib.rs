//! Messages, requests, responses, streams, errors and model traits shared by the ropewalk crates.

mod assembler;
mod chat;
mod error;
mod extract;
mod forward;
mod media;
mod message;
mod part;
mod redact;
mod request;
mod response;
mod stream;
mod tool;
mod validate;

pub use assembler::{StreamAssembler, WireDelta};
pub use chat::{Capabilities, ChatModel, ChatModelExt, DynChatModel};
pub use error::{BoxError, Error, ErrorKind, HttpFailure, Result};
pub use extract::{ExtractMode, ExtractOptions, Extracted};
pub use media::{Audio, Media, MediaSource};
pub use message::{Content, Message, Role};
pub use part::{CacheHint, Part, Reasoning, ToolCall, ToolResult};
pub use redact::redact;
pub use request::{ChatRequest, Effort, OnUnsupported, Options, ResponseFormat, ToolChoice};
pub use response::{ChatResponse, FinishReason, Timing, Usage, Warning};
pub use stream::{ChatStream, StreamEvent};
pub use tool::{
    DynTool, Extensions, FnTool, Tool, ToolContext, ToolError, ToolOutput, ToolSpec,
    parse_arguments, tool_fn,
};

pub use async_trait::async_trait;
pub use bytes::Bytes;
pub use schemars;
