//! The fragments replies are assembled from.

use serde_json::Value;

use crate::part::{Part, ToolCall};
use crate::response::{FinishReason, TokenLogprob, Usage, Warning};

/// A fragment as a wire or a local model produces it.
///
/// `slot` is whatever number the wire uses to tell parts apart (Anthropic's block index, OpenAI's
/// tool index, 0 where there is none). It is scoped by the kind of delta: text slot 0 and tool
/// slot 0 are different parts. Fragments of several slots may interleave.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum WireDelta {
    /// The provider accepted the request.
    Started {
        /// The provider's id of the reply.
        id: Option<String>,
        /// The model that answers.
        model: Option<String>,
    },
    /// More text; empty pieces are ignored.
    Text {
        /// Which text part.
        slot: u32,
        /// The piece.
        text: String,
    },
    /// More reasoning; empty pieces are ignored.
    Reasoning {
        /// Which reasoning part.
        slot: u32,
        /// The piece.
        text: String,
    },
    /// Opaque data of a reasoning part.
    ReasoningMeta {
        /// Which reasoning part.
        slot: u32,
        /// Appended to [`Reasoning::signature`](crate::Reasoning::signature).
        signature: Option<String>,
        /// Appended to [`Reasoning::redacted`](crate::Reasoning::redacted).
        redacted: Option<String>,
        /// Sets [`Reasoning::id`](crate::Reasoning::id).
        id: Option<String>,
    },
    /// More of a tool call. Id and name count when they first come; arguments are appended. An id
    /// other than the one of the open call, or without an id another name, begins a new call: some
    /// servers send the same slot for all of them.
    ToolCall {
        /// Which call.
        slot: u32,
        /// Id of the call.
        id: Option<String>,
        /// Name of the tool.
        name: Option<String>,
        /// The piece of JSON text.
        arguments: String,
    },
    /// Opaque data of a tool call.
    ToolCallMeta {
        /// Which call.
        slot: u32,
        /// Sets [`ToolCall::item_id`].
        item_id: Option<String>,
        /// Sets [`ToolCall::signature`].
        signature: Option<String>,
    },
    /// A part that comes whole (an image, an opaque item).
    Part(Part),
    /// The open parts of this slot, of any kind, are complete; the slot may be used again for new
    /// ones. Wires that send no such thing leave it out: [`WireDelta::End`] completes the rest.
    PartDone {
        /// Which slot.
        slot: u32,
    },
    /// Tokens used so far: a snapshot that replaces earlier ones, field by field.
    Usage(Usage),
    /// Why generation ended.
    FinishReason(FinishReason),
    /// Something was not honoured.
    Warning(Warning),
    /// More generated tokens, appended to [`ChatResponse::logprobs`](crate::ChatResponse::logprobs).
    Logprobs(Vec<TokenLogprob>),
    /// The provider's reply, for [`ChatResponse::raw`](crate::ChatResponse::raw).
    Raw(Value),
    /// Something the provider sent that has no other delta.
    Unknown(Value),
    /// A keep-alive.
    Heartbeat,
    /// The provider's end marker. What comes after it is ignored.
    End,
}

impl WireDelta {
    /// Creates a piece of text in slot 0.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text {
            slot: 0,
            text: text.into(),
        }
    }

    /// Creates a piece of reasoning in slot 0.
    pub fn reasoning(text: impl Into<String>) -> Self {
        Self::Reasoning {
            slot: 0,
            text: text.into(),
        }
    }

    /// Creates a whole tool call in `slot`.
    pub fn tool_call(slot: u32, call: ToolCall) -> Self {
        Self::ToolCall {
            slot,
            id: Some(call.id),
            name: Some(call.name),
            arguments: call.arguments,
        }
    }
}
