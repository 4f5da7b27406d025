//! Requests of Converse.

use ropewalk_core::{
    ChatRequest, Effort, Message, OnUnsupported, Options, ResponseFormat, Result, SchemaDialect,
    ToolChoice, WireDelta,
};
use ropewalk_http::Framer;
use serde_json::{Map, Value, json};

use super::decode::{self, ConverseDecoder};
use super::eventstream::EventStreamFramer;
use super::messages::Turns;
use super::sigv4::percent_encoded;
use crate::native::{merge_nested, number, schema, set};
use crate::wire::{Call, Decoder, Notes, Wire};

pub(super) const PROVIDER: &str = "bedrock";

/// Converse and ConverseStream of Amazon Bedrock
/// (docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html).
///
/// | of the request | becomes |
/// | --- | --- |
/// | system messages, wherever they stand | `system`, in order |
/// | consecutive messages of one side | one turn; tool results stand first |
/// | media | inline, or `s3Location` for `s3://` addresses |
/// | reasoning of this provider, with its signature | `reasoningContent`, where it stood |
/// | `cache` | a `cachePoint` after the part, or at the end of the last user turn |
/// | a JSON schema | `outputConfig.textFormat` |
/// | `reasoning` as an amount | `outputConfig.effort` |
/// | tools of earlier calls that are no longer offered | declared again, without a schema: the API insists |
///
/// Converse knows no top-k, seed, penalties, log probabilities, budgets of thinking, users and cache
/// keys; what a model takes besides goes into `additionalModelRequestFields` in a request's `extra`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConverseWire;

impl ConverseWire {
    /// Creates the wire.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

fn body(request: &ChatRequest, notes: &mut Notes) -> Result<Map<String, Value>> {
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
    let turns = Turns::of(&request.messages, *cache, notes)?;
    let system = (!turns.system.is_empty()).then_some(turns.system);
    set(&mut body, "system", system);
    body.insert("messages".into(), turns.messages.into());
    let mut config = Map::new();
    set(&mut config, "maxTokens", *max_tokens);
    set(&mut config, "temperature", temperature.map(number));
    set(&mut config, "topP", top_p.map(number));
    let stops = (!stop.is_empty()).then(|| stop.clone());
    set(&mut config, "stopSequences", stops);
    let config = (!config.is_empty()).then_some(config);
    set(&mut body, "inferenceConfig", config);
    tools(request, *parallel_tool_calls, &mut body, notes)?;
    let mut output = Map::new();
    format(&request.response_format, &mut output, notes)?;
    if let Some(effort) = reasoning {
        set(&mut output, "effort", level(*effort, notes)?);
    }
    let output = (!output.is_empty()).then_some(output);
    set(&mut body, "outputConfig", output);
    let own = "Converse has no such option; some models take it in \
               `additionalModelRequestFields`";
    notes.unsupported("top_k", top_k.as_ref(), own)?;
    notes.unsupported("seed", seed.as_ref(), own)?;
    notes.unsupported("frequency_penalty", frequency_penalty.as_ref(), own)?;
    notes.unsupported("presence_penalty", presence_penalty.as_ref(), own)?;
    notes.unsupported("logprobs", logprobs.as_ref(), own)?;
    notes.unsupported("cache_key", cache_key.as_ref(), own)?;
    notes.unsupported("user", user.as_ref(), own)?;
    Ok(body)
}

fn level(effort: Effort, notes: &mut Notes) -> Result<Option<&'static str>> {
    Ok(Some(match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Max => "max",
        _ => {
            let reason = "Converse takes amounts only; switches and budgets are fields of the \
                          model, in `additionalModelRequestFields`";
            notes.leave_out("reasoning", reason)?;
            return Ok(None);
        }
    }))
}

fn format(
    format: &ResponseFormat,
    output: &mut Map<String, Value>,
    notes: &mut Notes,
) -> Result<()> {
    match format {
        ResponseFormat::Text => {}
        // The API always enforces the schema.
        ResponseFormat::JsonSchema {
            name,
            schema: wanted,
            strict: _,
        } => {
            let schema = schema(SchemaDialect::AnthropicStrict, wanted, notes)?;
            let schema = json!({"name": name, "schema": schema.to_string()});
            let format = json!({"type": "json_schema", "structure": {"jsonSchema": schema}});
            output.insert("textFormat".into(), format);
        }
        _ => {
            let reason = "the API has JSON by a schema only: ask for JSON in the prompt too";
            notes.leave_out("response_format", reason)?;
        }
    }
    Ok(())
}

fn tools(
    request: &ChatRequest,
    parallel: Option<bool>,
    body: &mut Map<String, Value>,
    notes: &mut Notes,
) -> Result<()> {
    let mut called: Vec<&str> = Vec::new();
    for call in request.messages.iter().flat_map(Message::tool_calls) {
        if !called.contains(&call.name.as_str()) {
            called.push(&call.name);
        }
    }
    let forbidden = request.tool_choice == ToolChoice::None;
    if called.is_empty() && (request.tools.is_empty() || forbidden) {
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
        let schema = schema(dialect, &spec.parameters, notes)?;
        tool.insert("inputSchema".into(), json!({ "json": schema }));
        set(&mut tool, "strict", spec.strict.then_some(true));
        tools.push(json!({ "toolSpec": tool }));
    }
    for name in called {
        if request.tools.iter().all(|t| t.name != name) {
            let schema = json!({"json": {"type": "object"}});
            tools.push(json!({"toolSpec": {"name": name, "inputSchema": schema}}));
        }
    }
    let mut config = json!({ "tools": tools });
    match &request.tool_choice {
        ToolChoice::Required => config["toolChoice"] = json!({"any": {}}),
        ToolChoice::Tool(name) => config["toolChoice"] = json!({"tool": {"name": name}}),
        ToolChoice::None if !request.tools.is_empty() => {
            let reason = "after earlier calls the API wants the tools, and cannot forbid them";
            notes.leave_out("tool_choice", reason)?;
        }
        _ => {}
    }
    body.insert("toolConfig".into(), config);
    let reason = "the API cannot be kept from calling several tools";
    notes.unsupported(
        "parallel_tool_calls",
        parallel.filter(|p| !p).as_ref(),
        reason,
    )
}

fn path(model: &str, method: &str) -> String {
    format!("/model/{}/{method}", percent_encoded(model))
}

impl Wire for ConverseWire {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    fn encode(&self, model: &str, request: &ChatRequest, stream: bool) -> Result<Call> {
        let mut notes = Notes::new(request.on_unsupported);
        let mut body = body(request, &mut notes)?;
        merge_nested(&mut body, request, PROVIDER, "inferenceConfig");
        let method = if stream {
            "converse-stream"
        } else {
            "converse"
        };
        Ok(Call::new(path(model, method), body, notes))
    }

    fn decode(&self, body: Value) -> Result<Vec<WireDelta>> {
        decode::whole(body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(ConverseDecoder::default())
    }

    fn framer(&self, max_line: usize) -> Box<dyn Framer> {
        Box::new(EventStreamFramer::new(max_line))
    }

    fn accept(&self) -> &'static str {
        "application/vnd.amazon.eventstream"
    }

    fn encode_count(&self, model: &str, request: &ChatRequest) -> Result<Option<Call>> {
        // What cannot be honoured is told when the request is sent, not when it is counted.
        let mut notes = Notes::new(OnUnsupported::Ignore);
        let mut body = body(request, &mut notes)?;
        body.retain(|name, _| matches!(name.as_str(), "messages" | "system" | "toolConfig"));
        let body = json!({"input": {"converse": body}});
        Ok(Some(Call::new(path(model, "count-tokens"), body, notes)))
    }

    fn decode_count(&self, body: &Value) -> Option<u64> {
        body.get("inputTokens")?.as_u64()
    }
}
