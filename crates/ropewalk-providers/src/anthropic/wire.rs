//! Requests of the Messages API.

use std::borrow::Cow;

use ropewalk_core::{
    CacheHint, ChatRequest, Effort, ErrorKind, Options, ResponseFormat, Result, SchemaDialect,
    ToolChoice, WireDelta,
};
use serde_json::{Map, Value, json};

use super::decode::{self, MessagesDecoder};
use super::messages::Turns;
#[cfg(feature = "vertex")]
use crate::native::in_path;
use crate::native::{budget, number, schema, set};
use crate::wire::{Call, Decoder, Notes, Wire, merge_extra};

/// The first version of the API without sampling options.
const WITHOUT_SAMPLING: &str = "2026-10-21";
/// Least tokens a budget of thinking may have.
const LEAST_BUDGET: u32 = 1024;

/// How a model is told to think; models take one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Thinking {
    /// `thinking: adaptive` and `output_config.effort`; current models. A budget that is asked for
    /// in tokens is sent as one.
    #[default]
    Adaptive,
    /// `thinking: enabled` with a budget of tokens: 1,024 for minimal, 2,048 for low, 8,192 for
    /// medium, 16,384 for high, 24,576 for max; models before Claude Opus 4.6.
    Budget,
}

/// Where the API is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// By Anthropic.
    Direct,
    /// By Google; the path up to `/publishers`.
    #[cfg(feature = "vertex")]
    Vertex(String),
}

/// Anthropic's Messages API (platform.claude.com/docs/en/api/messages).
///
/// | of the request | becomes |
/// | --- | --- |
/// | system messages, wherever they stand | `system`, in order |
/// | consecutive messages of one side | one turn |
/// | tool results | the beginning of the next user turn |
/// | text of white space only | nothing: the API refuses it |
/// | ids of calls with other characters than `[A-Za-z0-9_-]` | the same with `_` |
/// | reasoning of this provider, with its signature | `thinking`, `redacted_thinking`, where it stood |
/// | reasoning of others | nothing |
/// | `max_tokens` left open | 4,096 and the budget of thinking; see `with_max_tokens` |
/// | `reasoning` | see [`Thinking`]; left out when a tool is forced, which excludes it |
/// | temperature, top-k, top-p below 0.95 while thinking | left out, noted |
/// | `cache` | `cache_control` of the whole request: the API marks the last block |
/// | `user` | `metadata.user_id` |
/// | `parallel_tool_calls: false` | `tool_choice.disable_parallel_tool_use` |
/// | a JSON schema | `output_config.format` in every version of the API, which needs no beta header |
///
/// The API knows no seed, penalties, log probabilities, cache keys or JSON without a schema.
#[derive(Debug, Clone, PartialEq)]
pub struct AnthropicWire {
    provider: Cow<'static, str>,
    version: Cow<'static, str>,
    betas: Vec<String>,
    thinking: Thinking,
    max_tokens: u32,
    host: Host,
}

impl Default for AnthropicWire {
    fn default() -> Self {
        Self::new()
    }
}

impl AnthropicWire {
    /// Creates the wire for version `2023-06-01`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            provider: "anthropic".into(),
            version: "2023-06-01".into(),
            betas: Vec::new(),
            thinking: Thinking::default(),
            max_tokens: 4096,
            host: Host::Direct,
        }
    }

    /// Creates the wire as Google serves it: the version is in the body, the model in the path.
    #[cfg(feature = "vertex")]
    pub(crate) fn vertex(prefix: String) -> Self {
        Self {
            provider: "vertex-anthropic".into(),
            version: "vertex-2023-10-16".into(),
            host: Host::Vertex(prefix),
            ..Self::new()
        }
    }

    /// Sets the version of the API. From `2026-10-21` on there is no temperature, top-p and top-k.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<Cow<'static, str>>) -> Self {
        self.version = version.into();
        self
    }

    /// Asks for a beta feature, with `anthropic-beta`.
    #[must_use]
    pub fn with_beta(mut self, name: impl Into<String>) -> Self {
        self.betas.push(name.into());
        self
    }

    /// Sets how the model is told to think.
    #[must_use]
    pub fn with_thinking(mut self, thinking: Thinking) -> Self {
        self.thinking = thinking;
        self
    }

    /// Sets the limit of replies when the request has none; the API insists on one. 4,096 unless
    /// set.
    #[must_use]
    pub fn with_max_tokens(mut self, tokens: u32) -> Self {
        self.max_tokens = tokens.max(1);
        self
    }

    /// Returns the headers of this version.
    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        if self.host != Host::Direct {
            return Vec::new();
        }
        let beta = (!self.betas.is_empty()).then(|| ("anthropic-beta", self.betas.join(",")));
        let version = ("anthropic-version", self.version.to_string());
        [version].into_iter().chain(beta).collect()
    }

    /// Encodes what is the same for one request and for a row of a batch.
    pub(super) fn body(
        &self,
        model: &str,
        request: &ChatRequest,
        notes: &mut Notes,
    ) -> Result<Map<String, Value>> {
        let Options {
            temperature,
            top_p,
            top_k,
            max_tokens,
            stop,
            seed,
            frequency_penalty,
            presence_penalty,
            logprobs,
            reasoning,
            parallel_tool_calls,
            cache,
            cache_key,
            user,
        } = &request.options;
        let mut body = Map::new();
        if self.host == Host::Direct {
            body.insert("model".into(), model.into());
        } else {
            body.insert("anthropic_version".into(), (*self.version).into());
            let betas = (!self.betas.is_empty()).then(|| self.betas.clone());
            set(&mut body, "anthropic_beta", betas);
        }
        let turns = Turns::of(request, &self.provider, notes)?;
        set(&mut body, "system", turns.system());
        body.insert("messages".into(), turns.messages.into());
        tools(request, *parallel_tool_calls, &mut body, notes)?;
        let thinks = self.thinking(request, *reasoning, *max_tokens, &mut body, notes)?;
        self.sampling(*temperature, *top_p, *top_k, thinks, &mut body, notes)?;
        let stops = (!stop.is_empty()).then(|| stop.clone());
        set(&mut body, "stop_sequences", stops);
        set(&mut body, "cache_control", cache.map(cache_control));
        let user = user.as_ref().map(|user| json!({ "user_id": user }));
        set(&mut body, "metadata", user);
        format(&request.response_format, &mut body, notes)?;
        let none = "the API has no such option";
        notes.unsupported("seed", seed.as_ref(), none)?;
        notes.unsupported("frequency_penalty", frequency_penalty.as_ref(), none)?;
        notes.unsupported("presence_penalty", presence_penalty.as_ref(), none)?;
        notes.unsupported("logprobs", logprobs.as_ref(), none)?;
        let by_text = "the API finds cached prompts by their text alone";
        notes.unsupported("cache_key", cache_key.as_ref(), by_text)?;
        Ok(body)
    }

    /// Sets `max_tokens`, `thinking` and the effort; returns whether the model will think.
    fn thinking(
        &self,
        request: &ChatRequest,
        effort: Option<Effort>,
        max_tokens: Option<u32>,
        body: &mut Map<String, Value>,
        notes: &mut Notes,
    ) -> Result<bool> {
        let limit = max_tokens.unwrap_or(self.max_tokens);
        body.insert("max_tokens".into(), limit.into());
        let Some(effort) = effort else {
            return Ok(false);
        };
        if effort == Effort::Off {
            body.insert("thinking".into(), json!({"type": "disabled"}));
            return Ok(false);
        }
        let forced = matches!(
            request.tool_choice,
            ToolChoice::Required | ToolChoice::Tool(_)
        );
        if forced {
            notes.leave_out("reasoning", "the model cannot think when a tool is forced")?;
            return Ok(false);
        }
        let as_budget = matches!(effort, Effort::Budget(_)) || self.thinking == Thinking::Budget;
        if !as_budget {
            let level = match effort {
                Effort::Minimal | Effort::Low => "low",
                Effort::High => "high",
                Effort::Max => "max",
                _ => "medium",
            };
            body.insert("thinking".into(), json!({"type": "adaptive"}));
            body.insert("output_config".into(), json!({ "effort": level }));
            return Ok(true);
        }
        let asked = budget(effort).unwrap_or(LEAST_BUDGET);
        let mut tokens = asked.max(LEAST_BUDGET);
        match max_tokens {
            Some(limit) if limit <= LEAST_BUDGET => {
                notes.leave_out("reasoning", "a budget needs `max_tokens` above 1024")?;
                return Ok(false);
            }
            Some(limit) => tokens = tokens.min(limit - 1),
            None => {
                let both = self.max_tokens.saturating_add(tokens);
                body.insert("max_tokens".into(), both.into());
            }
        }
        if matches!(effort, Effort::Budget(_)) && tokens != asked {
            let reason = format!("the budget is {tokens}: from 1024 to below `max_tokens`");
            notes.leave_out("reasoning", reason)?;
        }
        let thinking = json!({"type": "enabled", "budget_tokens": tokens});
        body.insert("thinking".into(), thinking);
        Ok(true)
    }

    fn sampling(
        &self,
        temperature: Option<f32>,
        top_p: Option<f32>,
        top_k: Option<u32>,
        thinks: bool,
        body: &mut Map<String, Value>,
        notes: &mut Notes,
    ) -> Result<()> {
        let dated = self.version.starts_with(|c: char| c.is_ascii_digit());
        let gone = dated && *self.version >= *WITHOUT_SAMPLING;
        if gone || thinks {
            let reason = match gone {
                true => "this version of the API has no sampling options",
                false => "it must be unset while the model thinks",
            };
            notes.unsupported("temperature", temperature.as_ref(), reason)?;
            notes.unsupported("top_k", top_k.as_ref(), reason)?;
            match top_p.filter(|p| !gone && *p >= 0.95) {
                Some(p) => set(body, "top_p", Some(number(p))),
                None => notes.unsupported("top_p", top_p.as_ref(), reason)?,
            }
            return Ok(());
        }
        if temperature.is_some_and(|t| t > 1.0) {
            notes.leave_out("temperature", "1 is sent, the most the API takes")?;
        }
        set(body, "temperature", temperature.map(|t| number(t.min(1.0))));
        set(body, "top_p", top_p.map(number));
        set(body, "top_k", top_k);
        Ok(())
    }
}

fn tools(
    request: &ChatRequest,
    parallel: Option<bool>,
    body: &mut Map<String, Value>,
    notes: &mut Notes,
) -> Result<()> {
    if request.tools.is_empty() {
        return Ok(());
    }
    let mut tools = Vec::new();
    for spec in &request.tools {
        let dialect = match spec.strict {
            true => SchemaDialect::AnthropicStrict,
            false => SchemaDialect::Anthropic,
        };
        let mut tool = Map::new();
        tool.insert("name".into(), spec.name.as_str().into());
        let described = (!spec.description.is_empty()).then_some(spec.description.as_str());
        set(&mut tool, "description", described);
        let parameters = schema(dialect, &spec.parameters, notes)?;
        tool.insert("input_schema".into(), parameters);
        set(&mut tool, "strict", spec.strict.then_some(true));
        tools.push(Value::from(tool));
    }
    body.insert("tools".into(), tools.into());
    let one = parallel == Some(false);
    let mut choice = match &request.tool_choice {
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Tool(name) => json!({"type": "tool", "name": name}),
        _ if one => json!({"type": "auto"}),
        _ => return Ok(()),
    };
    if one && request.tool_choice != ToolChoice::None {
        choice["disable_parallel_tool_use"] = true.into();
    }
    body.insert("tool_choice".into(), choice);
    Ok(())
}

fn format(format: &ResponseFormat, body: &mut Map<String, Value>, notes: &mut Notes) -> Result<()> {
    match format {
        ResponseFormat::Text => {}
        ResponseFormat::JsonSchema {
            // The API has no place for the name, and always enforces the schema.
            name: _,
            schema: wanted,
            strict: _,
        } => {
            let schema = schema(SchemaDialect::AnthropicStrict, wanted, notes)?;
            let config = body.entry("output_config").or_insert_with(|| json!({}));
            config["format"] = json!({"type": "json_schema", "schema": schema});
        }
        _ => {
            let reason = "the API has JSON by a schema only: ask for JSON in the prompt too";
            notes.leave_out("response_format", reason)?;
        }
    }
    Ok(())
}

/// Five minutes are the API's default.
pub(super) fn cache_control(hint: CacheHint) -> Value {
    match hint {
        CacheHint::Long => json!({"type": "ephemeral", "ttl": "1h"}),
        _ => json!({"type": "ephemeral"}),
    }
}

impl Wire for AnthropicWire {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn encode(&self, model: &str, request: &ChatRequest, stream: bool) -> Result<Call> {
        let mut notes = Notes::new(request.on_unsupported);
        let mut body = self.body(model, request, &mut notes)?;
        set(&mut body, "stream", stream.then_some(true));
        merge_extra(&mut body, request, &self.provider);
        let path = match &self.host {
            Host::Direct => "/v1/messages".to_owned(),
            #[cfg(feature = "vertex")]
            Host::Vertex(prefix) => {
                let method = if stream {
                    "streamRawPredict"
                } else {
                    "rawPredict"
                };
                let model = in_path(model)?;
                format!("{prefix}/publishers/anthropic/models/{model}:{method}")
            }
        };
        let mut call = Call::new(path, body, notes);
        call.headers = self.headers();
        Ok(call)
    }

    fn decode(&self, body: Value) -> Result<Vec<WireDelta>> {
        decode::whole(body, &self.provider)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(MessagesDecoder::new(self.provider.clone()))
    }

    fn encode_count(&self, model: &str, request: &ChatRequest) -> Result<Option<Call>> {
        if self.host != Host::Direct {
            return Ok(None);
        }
        const COUNTED: [&str; 8] = [
            "model",
            "messages",
            "system",
            "tools",
            "tool_choice",
            "thinking",
            "output_config",
            "cache_control",
        ];
        // What cannot be honoured is told when the request is sent, not when it is counted.
        let mut notes = Notes::new(ropewalk_core::OnUnsupported::Ignore);
        let mut body = self.body(model, request, &mut notes)?;
        merge_extra(&mut body, request, &self.provider);
        body.retain(|name, _| COUNTED.contains(&name.as_str()));
        let mut call = Call::new("/v1/messages/count_tokens", body, notes);
        call.headers = self.headers();
        Ok(Some(call))
    }

    fn decode_count(&self, body: &Value) -> Option<u64> {
        body.get("input_tokens")?.as_u64()
    }
}

/// Fails when nothing of a conversation is left.
pub(super) fn not_empty(messages: &[Value]) -> Result<()> {
    if messages.is_empty() {
        let message = "no message is left that the API takes";
        return Err(ropewalk_core::Error::new(ErrorKind::Unsupported, message));
    }
    Ok(())
}
