//! The parts a message is made of.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::json_text::JsonText;
use crate::media::Media;
use crate::message::Content;
use crate::retriever::Trust;
use crate::tool::{ToolError, parse_arguments};

/// One piece of a message.
///
/// Which parts a role may carry is checked by [`ChatRequest::validate`](crate::ChatRequest::validate).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Plain text. Made by [`Part::text`]; more fields may come.
    #[non_exhaustive]
    Text {
        /// The text.
        text: String,
        /// Ask the provider to cache the prompt up to and including this part.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cache: Option<CacheHint>,
        /// Whether the text may steer the model; trusted unless it says otherwise. Agents gate side
        /// effects by it, providers never see it.
        #[serde(default = "trusted", skip_serializing_if = "Trust::is_trusted")]
        trust: Trust,
    },
    /// A picture.
    Image(Media),
    /// Sound.
    Audio(Media),
    /// A video.
    Video(Media),
    /// A PDF or other document.
    Document(Media),
    /// What a reasoning model thought before it answered.
    Reasoning(Reasoning),
    /// A tool the model wants to have called.
    ToolCall(ToolCall),
    /// What a called tool returned.
    ToolResult(ToolResult),
    /// A provider-native item without a portable meaning (hosted web search, server tools,
    /// compaction): kept in history, replayed verbatim to `provider`, left out with a warning for
    /// any other. Made by [`Part::opaque`].
    #[non_exhaustive]
    Opaque {
        /// The provider that issued the item.
        provider: String,
        /// The item as the provider wrote it.
        value: Value,
    },
}

impl Part {
    /// Creates a text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            cache: None,
            trust: Trust::Trusted,
        }
    }

    /// Creates a text part from outside (a web page, a mail, an upload) that may be quoted but not
    /// obeyed.
    pub fn untrusted_text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            cache: None,
            trust: Trust::Untrusted,
        }
    }

    /// Creates a text part up to which the provider should cache the prompt.
    pub fn cached_text(text: impl Into<String>, cache: CacheHint) -> Self {
        Self::Text {
            text: text.into(),
            cache: Some(cache),
            trust: Trust::Trusted,
        }
    }

    /// Creates an item that only `provider` understands.
    pub fn opaque(provider: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Opaque {
            provider: provider.into(),
            value: value.into(),
        }
    }

    /// Creates an image part that the provider fetches from `url`.
    pub fn image_url(url: impl Into<String>) -> Self {
        Self::Image(Media::url(url))
    }

    /// Creates an image part from bytes in memory.
    pub fn image(bytes: impl Into<bytes::Bytes>, mime: impl Into<String>) -> Self {
        Self::Image(Media::bytes(bytes, mime))
    }

    /// Returns the text of a text part.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text { text, .. } = self {
            Some(text)
        } else {
            None
        }
    }

    /// Returns the call of a tool-call part.
    #[must_use]
    pub fn as_tool_call(&self) -> Option<&ToolCall> {
        if let Self::ToolCall(call) = self {
            Some(call)
        } else {
            None
        }
    }

    /// Returns the result of a tool-result part.
    #[must_use]
    pub fn as_tool_result(&self) -> Option<&ToolResult> {
        if let Self::ToolResult(result) = self {
            Some(result)
        } else {
            None
        }
    }

    /// Returns the reasoning of a reasoning part.
    #[must_use]
    pub fn as_reasoning(&self) -> Option<&Reasoning> {
        if let Self::Reasoning(reasoning) = self {
            Some(reasoning)
        } else {
            None
        }
    }

    /// Returns the name of the kind of part, as in its JSON `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Image(_) => "image",
            Self::Audio(_) => "audio",
            Self::Video(_) => "video",
            Self::Document(_) => "document",
            Self::Reasoning(_) => "reasoning",
            Self::ToolCall(_) => "tool_call",
            Self::ToolResult(_) => "tool_result",
            Self::Opaque { .. } => "opaque",
        }
    }
}

fn trusted() -> Trust {
    Trust::Trusted
}

impl From<ToolCall> for Part {
    fn from(call: ToolCall) -> Self {
        Self::ToolCall(call)
    }
}

impl From<ToolResult> for Part {
    fn from(result: ToolResult) -> Self {
        Self::ToolResult(result)
    }
}

impl From<Reasoning> for Part {
    fn from(reasoning: Reasoning) -> Self {
        Self::Reasoning(reasoning)
    }
}

/// How long the provider should keep a cached prompt prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CacheHint {
    /// Minutes (Anthropic: 5 minutes).
    Short,
    /// An hour or more (Anthropic: 1 hour; OpenAI: 24 hours).
    Long,
}

/// Thoughts of a reasoning model.
///
/// Everything besides `text` is valid only for `provider` and replayed only to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Reasoning {
    /// The readable thoughts or their summary; may be empty.
    pub text: String,
    /// Proof of origin: Anthropic `signature`, Gemini `thoughtSignature`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Unreadable thoughts: Anthropic `redacted_thinking`, OpenAI `encrypted_content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted: Option<String>,
    /// The provider's id of the item (OpenAI Responses `rs_…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who wrote the fields above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

impl Reasoning {
    /// Creates reasoning with readable text only.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Sets the proof of origin and the provider it is valid for.
    #[must_use]
    pub fn with_signature(
        mut self,
        provider: impl Into<String>,
        signature: impl Into<String>,
    ) -> Self {
        self.provider = Some(provider.into());
        self.signature = Some(signature.into());
        self
    }
}

/// A tool the model wants to have called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// Identifies the call within the conversation. Never empty: wires without ids (Gemini REST,
    /// old Ollama) get a minted one.
    pub id: String,
    /// Name of the tool, as the model wrote it.
    pub name: String,
    /// The exact JSON text the model wrote. It is never serialized anew, so that replayed prompts
    /// stay identical for prompt caches and malformed output survives for a repair turn. A JSON
    /// object is accepted on input.
    #[serde(deserialize_with = "text_or_json")]
    pub arguments: String,
    /// Second id of the OpenAI Responses API (`fc_…` besides `call_…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_id: Option<String>,
    /// Gemini `thoughtSignature`, which must return on the same part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl ToolCall {
    /// Creates a call from id, tool name and JSON text of the arguments.
    pub fn new(
        id: impl Into<String>,
        name: impl Into<String>,
        arguments: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
            item_id: None,
            signature: None,
        }
    }

    /// Parses the arguments; empty text and `null` count as `{}`.
    ///
    /// # Errors
    /// [`ToolError::InvalidArguments`] with the parser's message, fit to be shown to the model.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, ToolError> {
        parse_arguments(&self.arguments)
    }
}

/// What a called tool returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolResult {
    /// Id of the [`ToolCall`] this answers.
    pub call_id: String,
    /// Name of the tool; Gemini and Ollama match by it.
    #[serde(default)]
    pub name: String,
    /// What the model gets to see; a JSON string is accepted on input.
    #[serde(default, deserialize_with = "crate::message::parts_or_text")]
    pub content: Vec<Part>,
    /// Whether the content describes a failure.
    #[serde(default)]
    pub is_error: bool,
    /// Whether the content may steer the model; untrusted unless the tool says otherwise.
    #[serde(default, skip_serializing_if = "Trust::is_untrusted")]
    pub trust: Trust,
}

impl ToolResult {
    /// Creates the result of a successful call.
    pub fn new(
        call_id: impl Into<String>,
        name: impl Into<String>,
        content: impl Into<Content>,
    ) -> Self {
        Self {
            call_id: call_id.into(),
            name: name.into(),
            content: content.into().0,
            is_error: false,
            trust: Trust::Untrusted,
        }
    }

    /// Creates the answer to `call`.
    pub fn to(call: &ToolCall, content: impl Into<Content>) -> Self {
        Self::new(call.id.clone(), call.name.clone(), content)
    }

    /// Sets whether the content may steer the model.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Marks the content as the description of a failure.
    #[must_use]
    pub fn as_error(mut self) -> Self {
        self.is_error = true;
        self
    }

    /// Returns all text of the result, concatenated.
    #[must_use]
    pub fn text(&self) -> String {
        self.content.iter().filter_map(Part::as_text).collect()
    }
}

/// Reads a JSON string as it is and any other JSON value as its compact text, keys in the order
/// they come.
pub(crate) fn text_or_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let JsonText(text) = JsonText::deserialize(deserializer)?;
    Ok(match text.as_str() {
        "null" => String::new(),
        quoted if quoted.starts_with('"') => {
            serde_json::from_str(quoted).map_err(serde::de::Error::custom)?
        }
        _ => text,
    })
}
