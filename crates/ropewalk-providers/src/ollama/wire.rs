//! Requests and replies of `/api/chat`.

use ropewalk_core::{
    ChatRequest, Effort, FinishReason, Message, Options, Part, ResponseFormat, Result, Role,
    SchemaDialect, TokenLogprob, ToolChoice, ToolResult, Usage, WireDelta,
};
use ropewalk_http::{Frame, Framing};
use serde_json::{Map, Value, json};

use crate::native::{
    arguments, count, inline, leave_part_out, merge_nested, no_detail, no_error, no_names,
    no_reply, number, schema, set, sort_results, text, tool_name,
};
use crate::wire::{Call, Decoder, Notes, Wire};

const PROVIDER: &str = "ollama";

/// Ollama's own chat API (docs.ollama.com/api/chat).
///
/// | of the request | becomes |
/// | --- | --- |
/// | several text parts | one text, without anything between them |
/// | pictures, given or as `data:` URL | `images`; their place between the texts is lost |
/// | tool results | one message each, in the order of the calls; `Error: ` before a failure |
/// | reasoning of this provider, or without one | `thinking` |
/// | `max_tokens` and the sampling options | `options.num_predict`, … |
/// | a JSON schema | `format` |
/// | tool choice `none` | no tools at all |
/// | `reasoning` | `think`, on or off; see [`with_think_levels`](Self::with_think_levels) |
///
/// Fields of `options` in a request's `extra` (`num_ctx`, `mirostat`, …) are merged one by one;
/// `keep_alive` goes there too. The API knows no other media, forced tools, strict tools, cache
/// hints and users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OllamaWire {
    levels: bool,
}

impl OllamaWire {
    /// Creates the wire.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether `think` says how much (`low`, `medium`, `high`), which few models take
    /// (gpt-oss); others answer with an error. Off unless set.
    #[must_use]
    pub fn with_think_levels(mut self, levels: bool) -> Self {
        self.levels = levels;
        self
    }

    fn think(self, effort: Effort, notes: &mut Notes) -> Result<Value> {
        if let Effort::Budget(_) = effort {
            notes.leave_out("reasoning", "the model thinks, but takes no budget")?;
        }
        let level = match effort {
            Effort::Off => return Ok(false.into()),
            Effort::Minimal | Effort::Low => "low",
            Effort::High | Effort::Max => "high",
            _ => "medium",
        };
        if self.levels {
            return Ok(level.into());
        }
        if level != "medium" {
            let reason = "the model is told to think, not how much";
            notes.leave_out("reasoning", reason)?;
        }
        Ok(true.into())
    }
}

/// Encodes one message; several for several tool results.
fn messages(all: &[Message], notes: &mut Notes) -> Result<Vec<Value>> {
    no_names(all, notes)?;
    let mut encoded = Vec::new();
    for group in all.chunk_by(|a, b| a.role == Role::Tool && b.role == Role::Tool) {
        let mut parts: Vec<&Part> = group.iter().flat_map(|m| &m.content).collect();
        if group[0].role == Role::Tool {
            sort_results(&mut parts, all);
            for part in parts {
                match part {
                    Part::ToolResult(result) => encoded.push(tool(result, all, notes)?),
                    other => leave_part_out(other, "the API does not take it", notes)?,
                }
            }
        } else {
            let role = group[0].role.as_str();
            encoded.push(message(role, &group[0].content, notes)?.into());
        }
    }
    Ok(encoded)
}

fn message(role: &str, parts: &[Part], notes: &mut Notes) -> Result<Map<String, Value>> {
    let mut content = String::new();
    let mut thinking = String::new();
    let mut images = Vec::new();
    let mut calls = Vec::new();
    for part in parts {
        match part {
            Part::Text { text, cache, .. } => {
                let reason = "the server caches by itself";
                notes.unsupported("cache", cache.as_ref(), reason)?;
                content.push_str(text);
            }
            Part::Image(media) => match inline(media, "image/png") {
                Some((_, data)) => {
                    no_detail(media, notes)?;
                    images.push(data);
                }
                None => leave_part_out(part, "the server fetches no pictures", notes)?,
            },
            Part::Reasoning(reasoning) => {
                let ours = reasoning.provider.as_deref().is_none_or(|p| p == PROVIDER);
                thinking.push_str(if ours { &reasoning.text } else { "" });
            }
            Part::ToolCall(call) => {
                let function = json!({"name": call.name, "arguments": arguments(call)});
                calls.push(json!({ "function": function }));
            }
            other => leave_part_out(other, "the API does not take it", notes)?,
        }
    }
    let mut message = Map::new();
    message.insert("role".into(), role.into());
    message.insert("content".into(), content.into());
    set(
        &mut message,
        "thinking",
        Some(thinking).filter(|t| !t.is_empty()),
    );
    set(
        &mut message,
        "images",
        Some(images).filter(|i| !i.is_empty()),
    );
    set(
        &mut message,
        "tool_calls",
        Some(calls).filter(|c| !c.is_empty()),
    );
    Ok(message)
}

fn tool(result: &ToolResult, all: &[Message], notes: &mut Notes) -> Result<Value> {
    let mut message = message("tool", &result.content, notes)?;
    let name = tool_name(&result.name, &result.call_id, all);
    message.insert("tool_name".into(), name.into());
    if result.is_error {
        let text = format!("Error: {}", result.text());
        message.insert("content".into(), text.into());
    }
    Ok(message.into())
}

impl OllamaWire {
    fn body(self, request: &ChatRequest, notes: &mut Notes) -> Result<Map<String, Value>> {
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
        let messages = messages(&request.messages, notes)?;
        body.insert("messages".into(), messages.into());
        tools(request, *parallel_tool_calls, &mut body, notes)?;
        let mut options = Map::new();
        set(&mut options, "temperature", temperature.map(number));
        set(&mut options, "top_p", top_p.map(number));
        set(&mut options, "top_k", *top_k);
        set(&mut options, "num_predict", *max_tokens);
        let stops = (!stop.is_empty()).then(|| stop.clone());
        set(&mut options, "stop", stops);
        set(&mut options, "seed", *seed);
        let penalty = frequency_penalty.map(number);
        set(&mut options, "frequency_penalty", penalty);
        set(
            &mut options,
            "presence_penalty",
            presence_penalty.map(number),
        );
        let options = (!options.is_empty()).then_some(options);
        set(&mut body, "options", options);
        set(&mut body, "logprobs", logprobs.map(|_| true));
        set(&mut body, "top_logprobs", logprobs.filter(|n| *n > 0));
        if let Some(effort) = reasoning {
            body.insert("think".into(), self.think(*effort, notes)?);
        }
        match &request.response_format {
            ResponseFormat::Text => {}
            ResponseFormat::JsonSchema {
                // The API has no place for the name, and always enforces the schema.
                name: _,
                schema: wanted,
                strict: _,
            } => {
                let schema = schema(SchemaDialect::Generic, wanted, notes)?;
                body.insert("format".into(), schema);
            }
            _ => set(&mut body, "format", Some("json")),
        }
        let reason = "the server caches by itself";
        notes.unsupported("cache", cache.as_ref(), reason)?;
        notes.unsupported("cache_key", cache_key.as_ref(), reason)?;
        notes.unsupported("user", user.as_ref(), "the API has no such field")?;
        Ok(body)
    }
}

fn tools(
    request: &ChatRequest,
    parallel: Option<bool>,
    body: &mut Map<String, Value>,
    notes: &mut Notes,
) -> Result<()> {
    if request.tools.is_empty() || request.tool_choice == ToolChoice::None {
        return Ok(());
    }
    let mut tools = Vec::new();
    for spec in &request.tools {
        if spec.strict {
            let option = format!("tools.{}.strict", spec.name);
            notes.leave_out(option, "the server does not enforce arguments")?;
        }
        let parameters = schema(SchemaDialect::Generic, &spec.parameters, notes)?;
        tools.push(json!({"type": "function", "function": {
            "name": spec.name,
            "description": spec.description,
            "parameters": parameters,
        }}));
    }
    body.insert("tools".into(), tools.into());
    if request.tool_choice != ToolChoice::Auto {
        notes.leave_out("tool_choice", "the server cannot force a tool")?;
    }
    let parallel = parallel.filter(|p| !p);
    let reason = "the server cannot be kept from several calls";
    notes.unsupported("parallel_tool_calls", parallel.as_ref(), reason)
}

impl Wire for OllamaWire {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    fn encode(&self, model: &str, request: &ChatRequest, stream: bool) -> Result<Call> {
        let mut notes = Notes::new(request.on_unsupported);
        let mut body = self.body(request, &mut notes)?;
        body.insert("model".into(), model.into());
        // The server streams unless told otherwise.
        body.insert("stream".into(), stream.into());
        merge_nested(&mut body, request, PROVIDER, "options");
        Ok(Call::new("/api/chat", body, notes))
    }

    fn decode(&self, body: Value) -> Result<Vec<WireDelta>> {
        let mut deltas = Vec::new();
        ChatDecoder::default().line(&body, &mut deltas)?;
        if deltas.last() != Some(&WireDelta::End) {
            deltas.push(WireDelta::End);
        }
        Ok(deltas)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(ChatDecoder::default())
    }

    fn framing(&self) -> Framing {
        Framing::Ndjson
    }
}

/// Decodes the lines of a streamed reply.
#[derive(Debug, Default)]
struct ChatDecoder {
    started: bool,
    calls: u32,
}

impl ChatDecoder {
    fn line(&mut self, line: &Value, deltas: &mut Vec<WireDelta>) -> Result<()> {
        no_error(line, PROVIDER)?;
        let done = line["done"] == true;
        let message = &line["message"];
        if !message.is_object() && !done {
            return Err(no_reply(line, "message"));
        }
        if !std::mem::replace(&mut self.started, true) {
            deltas.push(WireDelta::Started {
                id: None,
                model: text(line, "model"),
            });
        }
        let piece = |key| text(message, key).unwrap_or_default();
        deltas.push(WireDelta::reasoning(piece("thinking")));
        deltas.push(WireDelta::text(piece("content")));
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            let arguments = match &call["function"]["arguments"] {
                Value::Object(arguments) => Value::from(arguments.clone()).to_string(),
                Value::String(text) if !text.is_empty() => text.clone(),
                _ => "{}".to_owned(),
            };
            deltas.push(WireDelta::ToolCall {
                slot: self.calls,
                id: text(call, "id"),
                name: text(&call["function"], "name"),
                arguments,
            });
            self.calls = self.calls.saturating_add(1);
        }
        let tokens = line.get("logprobs").and_then(Value::as_array);
        let tokens: Vec<_> = tokens.into_iter().flatten().map(logprob).collect();
        if !tokens.is_empty() {
            deltas.push(WireDelta::Logprobs(tokens));
        }
        if done {
            let reason = match line["done_reason"].as_str() {
                Some("length") => FinishReason::Length,
                None | Some("stop" | "") => FinishReason::Stop,
                Some(other) => FinishReason::Other(other.to_owned()),
            };
            let mut usage = Usage::default();
            usage.input_tokens = count(line, "prompt_eval_count");
            usage.output_tokens = count(line, "eval_count");
            deltas.push(WireDelta::Usage(usage));
            deltas.push(WireDelta::FinishReason(reason));
            deltas.push(WireDelta::End);
        }
        Ok(())
    }
}

fn logprob(token: &Value) -> TokenLogprob {
    let pair = |v: &Value| {
        let token = text(v, "token").unwrap_or_default();
        (token, v["logprob"].as_f64().unwrap_or(0.0) as f32)
    };
    let (text, logprob) = pair(token);
    let top = token.get("top_logprobs").and_then(Value::as_array);
    TokenLogprob::new(text, logprob).with_top(top.into_iter().flatten().map(pair).collect())
}

impl Decoder for ChatDecoder {
    fn frame(&mut self, frame: &Frame, deltas: &mut Vec<WireDelta>) -> Result<()> {
        self.line(&frame.json()?, deltas)
    }
}
