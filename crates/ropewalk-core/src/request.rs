//! What is asked of a chat model.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::Schema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::message::{Content, Message, link_last};
use crate::part::{CacheHint, Part};
use crate::tool::ToolSpec;

/// Whether the model may, must or must not call tools.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool may be called.
    None,
    /// At least one tool must be called.
    Required,
    /// This tool must be called.
    Tool(String),
}

/// The form the reply must have.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Free text.
    #[default]
    Text,
    /// Any JSON value.
    Json,
    /// JSON that matches a schema.
    JsonSchema {
        /// Name of the schema, `[A-Za-z0-9_-]{1,64}`.
        name: String,
        /// The JSON schema.
        schema: Schema,
        /// Whether the provider must enforce the schema.
        strict: bool,
    },
}

/// What to do with an option, part or tool the model cannot honour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnUnsupported {
    /// Leave it out and say so in [`ChatResponse::warnings`](crate::ChatResponse::warnings).
    #[default]
    Warn,
    /// Fail with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) before anything is sent.
    Error,
    /// Leave it out without a word.
    Ignore,
}

/// How much a reasoning model should think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effort {
    /// Not at all.
    Off,
    /// As little as the model can.
    Minimal,
    /// Little.
    Low,
    /// The usual amount.
    Medium,
    /// Much.
    High,
    /// As much as the model can.
    Max,
    /// At most this many tokens.
    Budget(u32),
}

/// Sampling and billing options; `None` leaves the model's default.
///
/// Unlike other structs here this one is *not* `#[non_exhaustive]`: every wire takes it apart by
/// destructuring without `..`, so that an option added here is a compile error in each wire until
/// it is mapped or reported as unsupported. Silently dropped options are the most common defect of
/// such libraries. Applications should use the setters of [`ChatRequest`] or `..Options::default()`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Randomness of sampling, 0 (greedy) to about 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Sample from the smallest set of tokens whose probabilities reach this sum, in (0, 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Sample from this many most probable tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Largest number of tokens to generate, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Generation ends before the first of these texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Seed of sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Penalty on tokens by how often they occurred, usually -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Penalty on tokens that occurred at all, usually -2 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// Return the generated tokens with this many alternatives each, in
    /// [`ChatResponse::logprobs`](crate::ChatResponse::logprobs).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<u8>,
    /// How much to think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Effort>,
    /// Whether several tools may be called in one turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// Ask the provider to cache the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheHint>,
    /// Routes requests with the same prefix to the same cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<String>,
    /// Stable, anonymous id of the end user, for abuse detection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A conversation, the tools at hand, and how to answer.
///
/// There is no model name in it: the [`ChatModel`](crate::ChatModel) it is given to is the model,
/// so the same request can be retried, cached or sent to another model.
///
/// ```
/// use ropewalk_core::ChatRequest;
///
/// let request = ChatRequest::new().system("Be brief.").user("Hi").temperature(0.2).max_tokens(64);
/// request.validate()?;
/// assert_eq!(request.messages.len(), 2);
/// # Ok::<(), ropewalk_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The conversation, oldest message first.
    #[serde(deserialize_with = "crate::message::linked")]
    pub messages: Vec<Message>,
    /// Tools the model may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpec>,
    /// Whether tools may, must or must not be called.
    pub tool_choice: ToolChoice,
    /// The form the reply must have.
    pub response_format: ResponseFormat,
    /// Sampling and billing options.
    pub options: Options,
    /// What to do with what the model cannot honour.
    pub on_unsupported: OnUnsupported,
    /// Fields merged last into the request body, by provider name (`openai`, `anthropic`; `*` for
    /// all), so that switching the model cannot send one provider's fields to another.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Map<String, Value>>,
    /// Time limit of the whole call; of streams, the longest pause between events.
    /// Seconds in JSON.
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Keep the provider's reply in [`ChatResponse::raw`](crate::ChatResponse::raw).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_raw: bool,
}

impl ChatRequest {
    /// Creates an empty request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts instructions at the very beginning.
    #[must_use]
    pub fn system(mut self, content: impl Into<Content>) -> Self {
        self.messages.insert(0, Message::system(content));
        self
    }

    /// Appends a message of the person.
    #[must_use]
    pub fn user(self, content: impl Into<Content>) -> Self {
        self.message(Message::user(content))
    }

    /// Appends a message of the model.
    #[must_use]
    pub fn assistant(self, content: impl Into<Content>) -> Self {
        self.message(Message::assistant(content))
    }

    /// Appends a message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        link_last(&mut self.messages);
        self
    }

    /// Appends messages.
    #[must_use]
    pub fn messages(self, messages: impl IntoIterator<Item = Message>) -> Self {
        messages.into_iter().fold(self, Self::message)
    }

    /// Adds a tool the model may call.
    #[must_use]
    pub fn tool(mut self, spec: ToolSpec) -> Self {
        self.tools.push(spec);
        self
    }

    /// Adds tools the model may call.
    #[must_use]
    pub fn tools(mut self, specs: impl IntoIterator<Item = ToolSpec>) -> Self {
        self.tools.extend(specs);
        self
    }

    /// Sets whether tools may, must or must not be called.
    #[must_use]
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.tool_choice = choice;
        self
    }

    /// Sets the form the reply must have.
    #[must_use]
    pub fn response_format(mut self, format: ResponseFormat) -> Self {
        self.response_format = format;
        self
    }

    /// Replaces all options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets [`Options::temperature`].
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.options.temperature = Some(temperature);
        self
    }

    /// Sets [`Options::top_p`].
    #[must_use]
    pub fn top_p(mut self, top_p: f32) -> Self {
        self.options.top_p = Some(top_p);
        self
    }

    /// Sets [`Options::top_k`].
    #[must_use]
    pub fn top_k(mut self, k: u32) -> Self {
        self.options.top_k = Some(k);
        self
    }

    /// Sets [`Options::max_tokens`].
    #[must_use]
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.options.max_tokens = Some(tokens);
        self
    }

    /// Sets [`Options::seed`].
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = Some(seed);
        self
    }

    /// Asks for the log probability of each token and of the `top` likeliest beside it; see [`Options::logprobs`].
    #[must_use]
    pub fn logprobs(mut self, top: u8) -> Self {
        self.options.logprobs = Some(top);
        self
    }

    /// Sets [`Options::frequency_penalty`].
    #[must_use]
    pub fn frequency_penalty(mut self, penalty: f32) -> Self {
        self.options.frequency_penalty = Some(penalty);
        self
    }

    /// Sets [`Options::presence_penalty`].
    #[must_use]
    pub fn presence_penalty(mut self, penalty: f32) -> Self {
        self.options.presence_penalty = Some(penalty);
        self
    }

    /// Adds a text before which generation ends.
    #[must_use]
    pub fn stop(mut self, text: impl Into<String>) -> Self {
        self.options.stop.push(text.into());
        self
    }

    /// Sets [`Options::parallel_tool_calls`].
    #[must_use]
    pub fn parallel_tool_calls(mut self, several: bool) -> Self {
        self.options.parallel_tool_calls = Some(several);
        self
    }

    /// Sets [`Options::reasoning`].
    #[must_use]
    pub fn reasoning(mut self, effort: Effort) -> Self {
        self.options.reasoning = Some(effort);
        self
    }

    /// Sets what to do with what the model cannot honour.
    #[must_use]
    pub fn on_unsupported(mut self, policy: OnUnsupported) -> Self {
        self.on_unsupported = policy;
        self
    }

    /// Sets a field of the request body of one provider (`*` for all).
    #[must_use]
    pub fn extra(
        mut self,
        provider: impl Into<String>,
        field: impl Into<String>,
        value: impl Into<Value>,
    ) -> Self {
        self.extra
            .entry(provider.into())
            .or_default()
            .insert(field.into(), value.into());
        self
    }

    /// Sets the time limit.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Sets whether to keep the provider's reply.
    #[must_use]
    pub fn keep_raw(mut self, keep: bool) -> Self {
        self.keep_raw = keep;
        self
    }

    /// Checks what no provider accepts, before anything is sent.
    ///
    /// - there is at least one message, and only assistant messages may be empty;
    /// - parts fit the role (system: text; user: text and media; tool: results only; assistant:
    ///   anything but results; opaque parts anywhere);
    /// - every tool call has an id that is unique in its message, a name, and its result in the
    ///   tool messages that follow at once; there is no result without a call;
    /// - tool and schema names match `[A-Za-z0-9_-]{1,64}`, tool names are unique, parameter
    ///   schemas are objects, and the tool choice names a tool that exists;
    /// - numeric options are finite and in range.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) that names the place, for
    /// example `messages[2].content[0]`.
    pub fn validate(&self) -> Result<()> {
        crate::validate::request(self)
    }
}

/// A time limit as a number of seconds.
mod seconds {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        limit: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        limit.map(|d| d.as_secs_f64()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(deserializer)?;
        let limit = seconds.map(Duration::try_from_secs_f64).transpose();
        limit.map_err(|e| D::Error::custom(format!("timeout: {e}")))
    }
}

impl From<&str> for ChatRequest {
    fn from(text: &str) -> Self {
        Self::new().user(text)
    }
}

impl From<String> for ChatRequest {
    fn from(text: String) -> Self {
        Self::new().user(text)
    }
}

impl From<&String> for ChatRequest {
    fn from(text: &String) -> Self {
        Self::new().user(text)
    }
}

impl From<Content> for ChatRequest {
    fn from(content: Content) -> Self {
        Self::new().user(content)
    }
}

impl From<Vec<Part>> for ChatRequest {
    fn from(parts: Vec<Part>) -> Self {
        Self::new().user(parts)
    }
}

impl From<Message> for ChatRequest {
    fn from(message: Message) -> Self {
        Self::new().message(message)
    }
}

impl From<Vec<Message>> for ChatRequest {
    fn from(messages: Vec<Message>) -> Self {
        Self::new().messages(messages)
    }
}

impl From<&[Message]> for ChatRequest {
    fn from(messages: &[Message]) -> Self {
        Self::new().messages(messages.iter().cloned())
    }
}

impl From<&Self> for ChatRequest {
    fn from(request: &Self) -> Self {
        request.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_request_keeps_its_limits() {
        let request = ChatRequest::from("x")
            .timeout(Duration::from_millis(1500))
            .keep_raw(true);
        let json = serde_json::to_value(&request).unwrap();
        assert_eq!(json["timeout"], 1.5);
        assert_eq!(
            serde_json::from_value::<ChatRequest>(json).unwrap(),
            request
        );
        assert!(serde_json::from_str::<ChatRequest>(r#"{"timeout": -1}"#).is_err());
        let plain = serde_json::to_value(ChatRequest::from("x")).unwrap();
        assert!(plain.get("timeout").is_none() && plain.get("keep_raw").is_none());
    }
}
