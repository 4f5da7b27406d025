//! What a chat model answers.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Add, AddAssign};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;

/// Why generation ended. A plain string in JSON; unknown ones are kept in `Other`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model was done, or a stop text came.
    Stop,
    /// `max_tokens` or the context window was reached.
    Length,
    /// The model waits for the results of tools.
    ToolCalls,
    /// A safety filter cut the reply.
    ContentFilter,
    /// The model refused.
    Refusal,
    /// What else the provider said.
    Other(String),
}

impl FinishReason {
    /// Returns the name used in JSON, for example `tool_calls`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Refusal => "refusal",
            Self::Other(other) => other,
        }
    }
}

impl From<&str> for FinishReason {
    fn from(name: &str) -> Self {
        match name {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "tool_calls" => Self::ToolCalls,
            "content_filter" => Self::ContentFilter,
            "refusal" => Self::Refusal,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FinishReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for FinishReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(String::deserialize(deserializer)?.as_str().into())
    }
}

/// Tokens a call used, as reported by the model; `None` means not reported, never zero.
///
/// `input_tokens` and `output_tokens` are inclusive totals; the other counts are parts of them.
/// `a += b` adds what both report and keeps what only one reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// All tokens of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Of these, read from a prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<u64>,
    /// Of these, written to a prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// All generated tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Of these, spent on reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Of the input tokens, those of sound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_audio_tokens: Option<u64>,
    /// Of the output tokens, those of sound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_audio_tokens: Option<u64>,
}

impl Usage {
    /// Creates a usage from the two totals.
    #[must_use]
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self {
            input_tokens: Some(input_tokens),
            output_tokens: Some(output_tokens),
            ..Self::default()
        }
    }

    /// Returns input plus output tokens, when both are reported.
    #[must_use]
    pub fn total_tokens(&self) -> Option<u64> {
        Some(self.input_tokens?.saturating_add(self.output_tokens?))
    }

    /// Takes over every count `newer` reports. Usage inside a stream is a running snapshot
    /// (Anthropic `message_start`, `message_delta`), not an increment.
    pub fn replace_with(&mut self, newer: Self) {
        self.combine(newer, |_, new| new);
    }

    fn combine(&mut self, other: Self, both: impl Fn(u64, u64) -> u64) {
        let Self {
            input_tokens,
            cached_input_tokens,
            cache_write_tokens,
            output_tokens,
            reasoning_tokens,
            input_audio_tokens,
            output_audio_tokens,
        } = other;
        let each = [
            (&mut self.input_tokens, input_tokens),
            (&mut self.cached_input_tokens, cached_input_tokens),
            (&mut self.cache_write_tokens, cache_write_tokens),
            (&mut self.output_tokens, output_tokens),
            (&mut self.reasoning_tokens, reasoning_tokens),
            (&mut self.input_audio_tokens, input_audio_tokens),
            (&mut self.output_audio_tokens, output_audio_tokens),
        ];
        for (mine, theirs) in each {
            *mine = match (*mine, theirs) {
                (Some(a), Some(b)) => Some(both(a, b)),
                (a, b) => a.or(b),
            };
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.combine(other, u64::saturating_add);
    }
}

impl Add for Usage {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

/// Something in the request that was not honoured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Warning {
    /// The option, part or tool, for example `top_k`.
    pub option: Cow<'static, str>,
    /// Why it was left out.
    pub reason: Cow<'static, str>,
}

impl Warning {
    /// Creates a warning.
    pub fn new(option: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            option: option.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.option, self.reason)
    }
}

/// How long a call took. Not part of the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Timing {
    /// From the call to the first generated token, when it was streamed.
    pub first_token: Option<Duration>,
    /// From the call to the end of the reply.
    pub total: Duration,
    /// How many times the request was sent.
    pub attempts: u32,
}

impl Timing {
    /// Creates a timing of one attempt without streaming.
    #[must_use]
    pub fn new(total: Duration) -> Self {
        Self {
            first_token: None,
            total,
            attempts: 1,
        }
    }

    /// Sets the time to the first token.
    #[must_use]
    pub fn with_first_token(mut self, first_token: Duration) -> Self {
        self.first_token = Some(first_token);
        self
    }
}

/// A generated token and how probable it was.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TokenLogprob {
    /// The token as text; bytes that are no text are replaced.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The most probable tokens at this place and their logarithms, best first; as many as
    /// [`Options::logprobs`](crate::Options::logprobs) asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<(String, f32)>,
}

impl TokenLogprob {
    /// Creates an entry without alternatives.
    pub fn new(token: impl Into<String>, logprob: f32) -> Self {
        Self {
            token: token.into(),
            logprob,
            top: Vec::new(),
        }
    }

    /// Sets the alternatives, best first.
    #[must_use]
    pub fn with_top(mut self, top: Vec<(String, f32)>) -> Self {
        self.top = top;
        self
    }
}

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatResponse {
    /// The assistant's message.
    pub message: Message,
    /// Why generation ended.
    pub finish_reason: FinishReason,
    /// Tokens used.
    #[serde(default)]
    pub usage: Usage,
    /// Who answered, for example `openai`; after a fallback, who really did.
    #[serde(default)]
    pub provider: Cow<'static, str>,
    /// The model that answered, as the provider names it.
    #[serde(default)]
    pub model: String,
    /// The provider's id of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The provider's id of the request, for support tickets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What was not honoured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The generated tokens, when [`Options::logprobs`](crate::Options::logprobs) asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprob>,
    /// The provider's reply, with [`ChatRequest::keep_raw`](crate::ChatRequest::keep_raw).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Value>,
    /// How long it took.
    #[serde(skip)]
    pub timing: Timing,
}

impl ChatResponse {
    /// Creates a reply that ended by itself; by tool calls when `message` has some.
    pub fn new(
        provider: impl Into<Cow<'static, str>>,
        model: impl Into<String>,
        message: Message,
    ) -> Self {
        let finish_reason = match message.tool_calls().next() {
            Some(_) => FinishReason::ToolCalls,
            None => FinishReason::Stop,
        };
        Self {
            message,
            finish_reason,
            usage: Usage::default(),
            provider: provider.into(),
            model: model.into(),
            id: None,
            request_id: None,
            warnings: Vec::new(),
            logprobs: Vec::new(),
            raw: None,
            timing: Timing::default(),
        }
    }

    /// Sets why generation ended. `Stop` becomes `ToolCalls` when the message has calls: some
    /// gateways report `stop` there.
    #[must_use]
    pub fn with_finish_reason(mut self, reason: FinishReason) -> Self {
        let calls = self.message.tool_calls().next().is_some();
        self.finish_reason = match reason {
            FinishReason::Stop if calls => FinishReason::ToolCalls,
            reason => reason,
        };
        self
    }

    /// Sets the tokens used.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Sets the provider's id of the reply.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the provider's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Adds warnings.
    #[must_use]
    pub fn with_warnings(mut self, warnings: impl IntoIterator<Item = Warning>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// Sets the generated tokens and their probabilities.
    #[must_use]
    pub fn with_logprobs(mut self, logprobs: Vec<TokenLogprob>) -> Self {
        self.logprobs = logprobs;
        self
    }

    /// Sets the provider's reply.
    #[must_use]
    pub fn with_raw(mut self, raw: Value) -> Self {
        self.raw = Some(raw);
        self
    }

    /// Sets how long it took.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Returns all text of the message, concatenated.
    #[must_use]
    pub fn text(&self) -> String {
        self.message.text()
    }

    /// Parses the text as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] with the parser's error as source.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.text()).map_err(|e| {
            let message = format!("the reply of {} is not the JSON asked for", self.model);
            Error::new(ErrorKind::Schema, message).with_source(e)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_adds_what_is_reported() {
        let mut sum = Usage {
            input_tokens: Some(3),
            reasoning_tokens: Some(1),
            ..Usage::default()
        };
        sum += Usage {
            input_tokens: Some(4),
            output_tokens: Some(2),
            ..Usage::default()
        };
        let expected = Usage {
            input_tokens: Some(7),
            output_tokens: Some(2),
            reasoning_tokens: Some(1),
            ..Usage::default()
        };
        assert_eq!(sum, expected);
        assert_eq!(sum.total_tokens(), Some(9));
        assert_eq!(Usage::default().total_tokens(), None);
    }

    #[test]
    fn usage_snapshots_replace() {
        let mut usage = Usage::new(10, 1);
        usage.replace_with(Usage {
            output_tokens: Some(5),
            ..Usage::default()
        });
        assert_eq!(usage, Usage::new(10, 5));
    }

    #[test]
    fn finish_reasons_are_strings() {
        for (reason, json) in [
            (FinishReason::ToolCalls, r#""tool_calls""#),
            (FinishReason::Other("pause_turn".into()), r#""pause_turn""#),
        ] {
            assert_eq!(serde_json::to_string(&reason).unwrap(), json);
            assert_eq!(serde_json::from_str::<FinishReason>(json).unwrap(), reason);
        }
    }

    #[test]
    fn stop_with_calls_is_tool_calls() {
        let call = crate::ToolCall::new("a", "f", "{}");
        let response = ChatResponse::new("p", "m", Message::assistant(crate::Part::from(call)))
            .with_finish_reason(FinishReason::Stop);
        assert_eq!(response.finish_reason, FinishReason::ToolCalls);
    }
}
