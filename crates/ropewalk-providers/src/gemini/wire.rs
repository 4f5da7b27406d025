//! Requests of `generateContent`.

use std::borrow::Cow;

use ropewalk_core::{
    ChatRequest, Effort, OnUnsupported, Options, ResponseFormat, Result, SchemaDialect, ToolChoice,
    WireDelta,
};
use serde_json::{Map, Value, json};

use super::contents::Contents;
use super::decode::{self, GenerateDecoder};
use crate::native::{budget, in_path, merge_nested, number, schema, set};
use crate::wire::{Call, Decoder, Notes, Wire};

/// How a model is told to think; models take one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum GeminiThinking {
    /// `thinkingLevel`; Gemini 3 and later. A budget that is asked for in tokens is sent as one.
    #[default]
    Level,
    /// `thinkingBudget`: 1,024 for minimal, 2,048 for low, 8,192 for medium, 16,384 for high, 24,576
    /// for max; Gemini 2.5.
    Budget,
}

/// Where the API is served.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// By the Gemini API.
    Direct,
    /// By Vertex AI; the path up to `/publishers`.
    #[cfg(feature = "vertex")]
    Vertex(String),
}

/// Google's `generateContent` (ai.google.dev/api/generate-content).
///
/// | of the request | becomes |
/// | --- | --- |
/// | system messages, wherever they stand | `systemInstruction`, in order |
/// | messages of one role in a row | one content |
/// | tool results | `functionResponse` with the name of the tool, in the order of the calls; the text under `output` or `error`, media beside it |
/// | ids of calls | sent where Google gave them; those that begin with `call_` are made up here |
/// | reasoning of this provider with a signature | a thought, or an empty text, with its `thoughtSignature` |
/// | other reasoning | nothing |
/// | media | `inlineData`, or `fileData` for addresses and files; the resolution hints `low`, `medium` and `high` as `mediaResolution` |
/// | tools with `strict` | the mode `VALIDATED`, when the model is free to call |
/// | a JSON schema | `responseJsonSchema`, as it is |
/// | `reasoning` | see [`GeminiThinking`]; summaries of the thoughts are asked for |
///
/// Fields of `generationConfig` in a request's `extra` are merged one by one.
///
/// The API knows no `user`, no cache hints (it caches by itself; `cachedContent` goes into `extra`)
/// and cannot be kept from calling several tools.
#[derive(Debug, Clone, PartialEq)]
pub struct GeminiWire {
    provider: Cow<'static, str>,
    thinking: GeminiThinking,
    host: Host,
}

impl Default for GeminiWire {
    fn default() -> Self {
        Self::new()
    }
}

impl GeminiWire {
    /// Creates the wire of the Gemini API.
    #[must_use]
    pub fn new() -> Self {
        Self {
            provider: "gemini".into(),
            thinking: GeminiThinking::default(),
            host: Host::Direct,
        }
    }

    /// Creates the wire of Vertex AI.
    #[cfg(feature = "vertex")]
    pub(crate) fn vertex(prefix: String) -> Self {
        Self {
            provider: "vertex".into(),
            host: Host::Vertex(prefix),
            ..Self::new()
        }
    }

    /// Sets how the model is told to think.
    #[must_use]
    pub fn with_thinking(mut self, thinking: GeminiThinking) -> Self {
        self.thinking = thinking;
        self
    }

    fn path(&self, model: &str, method: &str) -> Result<String> {
        let model = in_path(model)?;
        Ok(match &self.host {
            Host::Direct => format!("/v1beta/{}:{method}", resource(model)),
            #[cfg(feature = "vertex")]
            Host::Vertex(prefix) => format!("{prefix}/publishers/google/models/{model}:{method}"),
        })
    }

    fn body(&self, request: &ChatRequest, notes: &mut Notes) -> Result<Map<String, Value>> {
        let mut body = Map::new();
        let contents = Contents::of(&request.messages, &self.provider, notes)?;
        let system = (!contents.system.is_empty()).then(|| json!({"parts": contents.system}));
        set(&mut body, "systemInstruction", system);
        body.insert("contents".into(), contents.turns.into());
        tools(request, &mut body, notes)?;
        let config = self.config(request, notes)?;
        let config = (!config.is_empty()).then_some(config);
        set(&mut body, "generationConfig", config);
        Ok(body)
    }

    fn config(&self, request: &ChatRequest, notes: &mut Notes) -> Result<Map<String, Value>> {
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
        let mut config = Map::new();
        set(&mut config, "temperature", temperature.map(number));
        set(&mut config, "topP", top_p.map(number));
        set(&mut config, "topK", *top_k);
        set(&mut config, "maxOutputTokens", *max_tokens);
        let stops = (!stop.is_empty()).then(|| stop.clone());
        set(&mut config, "stopSequences", stops);
        // The API's seeds are 32-bit and signed.
        let fitting = seed.and_then(|s| i32::try_from(s).ok());
        set(&mut config, "seed", fitting);
        if fitting.is_none() {
            let reason = "the API takes seeds up to 2147483647";
            notes.unsupported("seed", seed.as_ref(), reason)?;
        }
        let penalty = frequency_penalty.map(number);
        set(&mut config, "frequencyPenalty", penalty);
        set(&mut config, "presencePenalty", presence_penalty.map(number));
        set(&mut config, "responseLogprobs", logprobs.map(|_| true));
        set(&mut config, "logprobs", logprobs.filter(|n| *n > 0));
        let thinking = reasoning.and_then(|effort| self.thinking(effort));
        set(&mut config, "thinkingConfig", thinking);
        match &request.response_format {
            ResponseFormat::Text => {}
            ResponseFormat::JsonSchema {
                // The API has no place for the name, and always enforces the schema.
                name: _,
                schema: wanted,
                strict: _,
            } => {
                let schema = schema(SchemaDialect::Generic, wanted, notes)?;
                config.insert("responseMimeType".into(), "application/json".into());
                config.insert("responseJsonSchema".into(), schema);
            }
            _ => set(&mut config, "responseMimeType", Some("application/json")),
        }
        if !request.tools.is_empty() {
            let parallel = parallel_tool_calls.filter(|p| !p);
            let reason = "the API cannot be kept from calling several tools";
            notes.unsupported("parallel_tool_calls", parallel.as_ref(), reason)?;
        }
        let reason = "the API caches by itself; `cachedContent` goes into `extra`";
        notes.unsupported("cache", cache.as_ref(), reason)?;
        notes.unsupported("cache_key", cache_key.as_ref(), reason)?;
        notes.unsupported("user", user.as_ref(), "the API has no such field")?;
        Ok(config)
    }

    fn thinking(&self, effort: Effort) -> Option<Value> {
        let level = match effort {
            Effort::Off => return Some(json!({"thinkingBudget": 0})),
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            _ => "high",
        };
        let as_budget = matches!(effort, Effort::Budget(_));
        if as_budget || self.thinking == GeminiThinking::Budget {
            let tokens = budget(effort)?;
            return Some(json!({"thinkingBudget": tokens, "includeThoughts": true}));
        }
        Some(json!({"thinkingLevel": level, "includeThoughts": true}))
    }
}

/// Returns the name of a model with its collection: `models/` unless it has one.
pub(super) fn resource(model: &str) -> Cow<'_, str> {
    if model.contains('/') {
        model.into()
    } else {
        format!("models/{model}").into()
    }
}

fn tools(request: &ChatRequest, body: &mut Map<String, Value>, notes: &mut Notes) -> Result<()> {
    if request.tools.is_empty() {
        return Ok(());
    }
    let mut declarations = Vec::new();
    for spec in &request.tools {
        let parameters = schema(SchemaDialect::Generic, &spec.parameters, notes)?;
        declarations.push(json!({
            "name": spec.name,
            "description": spec.description,
            "parametersJsonSchema": parameters,
        }));
    }
    let tools = json!([{"functionDeclarations": declarations}]);
    body.insert("tools".into(), tools);
    let strict = request.tools.iter().any(|t| t.strict);
    let config = match &request.tool_choice {
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Tool(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        _ if strict => json!({"mode": "VALIDATED"}),
        _ => return Ok(()),
    };
    let config = json!({ "functionCallingConfig": config });
    body.insert("toolConfig".into(), config);
    Ok(())
}

impl Wire for GeminiWire {
    fn provider(&self) -> &str {
        &self.provider
    }

    fn encode(&self, model: &str, request: &ChatRequest, stream: bool) -> Result<Call> {
        let mut notes = Notes::new(request.on_unsupported);
        let mut body = self.body(request, &mut notes)?;
        merge_nested(&mut body, request, &self.provider, "generationConfig");
        let method = match stream {
            true => "streamGenerateContent?alt=sse",
            false => "generateContent",
        };
        Ok(Call::new(self.path(model, method)?, body, notes))
    }

    fn decode(&self, body: Value) -> Result<Vec<WireDelta>> {
        decode::whole(body, &self.provider)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(GenerateDecoder::new(self.provider.clone()))
    }

    fn encode_count(&self, model: &str, request: &ChatRequest) -> Result<Option<Call>> {
        // What cannot be honoured is told when the request is sent, not when it is counted.
        let mut notes = Notes::new(OnUnsupported::Ignore);
        let mut body = self.body(request, &mut notes)?;
        merge_nested(&mut body, request, &self.provider, "generationConfig");
        if self.host == Host::Direct {
            body.insert("model".into(), resource(model).into());
            body = [("generateContentRequest".to_owned(), body.into())]
                .into_iter()
                .collect();
        } else {
            body.remove("toolConfig");
        }
        let path = self.path(model, "countTokens")?;
        Ok(Some(Call::new(path, body, notes)))
    }

    fn decode_count(&self, body: &Value) -> Option<u64> {
        body.get("totalTokens")?.as_u64()
    }
}
