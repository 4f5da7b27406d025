//! Replies of Chat Completions, whole and streamed: both are read by the same code.

use ropewalk_core::{FinishReason, Part, Result, WireDelta};
use ropewalk_http::{ApiError, Frame};
use serde_json::{Value, json};

use super::super::shared::{finish_reason, logprobs, usage};
use crate::dialect::Dialect;
use crate::native::{no_error, text};
use crate::wire::Decoder;

/// Fields beside the message that are told as unknown events.
const BESIDE: [&str; 3] = ["citations", "search_results", "images"];
/// The same inside the message.
const INSIDE: [&str; 3] = ["annotations", "audio", "images"];

/// Reads one reply.
#[derive(Debug)]
pub(super) struct ChatDecoder {
    provider: &'static str,
    reasoning_apart: bool,
    started: bool,
    refused: bool,
    /// Whether a reason for the end has come: some servers end the body without `[DONE]`.
    reasoned: bool,
    /// The thoughts as OpenRouter wants them back, when it does.
    details: Option<Details>,
}

impl ChatDecoder {
    pub(super) fn new(dialect: &Dialect) -> Self {
        Self {
            provider: dialect.name,
            reasoning_apart: dialect.reasoning_apart,
            started: false,
            refused: false,
            reasoned: false,
            details: dialect.reasoning_details.then(Details::default),
        }
    }

    /// The reply is whole.
    pub(super) fn end(&mut self, deltas: &mut Vec<WireDelta>) {
        let details = self.details.take().map(|d| d.0).unwrap_or_default();
        if !details.is_empty() {
            let value = json!({DETAILS: details});
            deltas.push(WireDelta::Part(Part::opaque(self.provider, value)));
        }
        deltas.push(WireDelta::End);
    }

    /// Reads a chunk of a stream, or a whole reply, which is one big chunk.
    pub(super) fn chunk(&mut self, chunk: &Value, deltas: &mut Vec<WireDelta>) -> Result<()> {
        no_error(chunk, self.provider)?;
        let choice = chunk.get("choices").and_then(|c| {
            let first = |c: &&Value| c.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
            c.as_array()?.iter().find(first)
        });
        if !self.started {
            // Azure's first chunk tells of its filter and has neither id nor model.
            let (id, model) = (text(chunk, "id"), text(chunk, "model"));
            if id.is_some() || model.is_some() || choice.is_some() {
                self.started = true;
                deltas.push(WireDelta::Started { id, model });
            }
        }
        if let Some(choice) = choice {
            self.choice(choice, deltas);
        }
        // Groq puts the usage of streams aside, others into the choice.
        let places = [
            chunk.get("usage"),
            chunk.get("x_groq").and_then(|x| x.get("usage")),
            choice.and_then(|c| c.get("usage")),
        ];
        let mut found = places.into_iter().flatten();
        let found = found.find_map(|u| usage(u, self.reasoning_apart));
        deltas.extend(found.map(WireDelta::Usage));
        unknown(chunk, &BESIDE, deltas);
        Ok(())
    }

    fn choice(&mut self, choice: &Value, deltas: &mut Vec<WireDelta>) {
        let message = choice.get("delta").filter(|d| d.is_object());
        if let Some(message) = message.or_else(|| choice.get("message")) {
            self.message(message, deltas);
        }
        if let Some(tokens) = choice.get("logprobs") {
            for key in ["content", "refusal"] {
                let read = tokens.get(key).map(logprobs).unwrap_or_default();
                if !read.is_empty() {
                    deltas.push(WireDelta::Logprobs(read));
                }
            }
        }
        // An empty reason says nothing in the middle of a stream, and `Stop` is the default.
        if let Some(word) = text(choice, "finish_reason") {
            self.reasoned = true;
            let reason = match finish_reason(&word) {
                FinishReason::Stop if self.refused => FinishReason::Refusal,
                reason => reason,
            };
            deltas.push(WireDelta::FinishReason(reason));
        }
    }

    fn message(&mut self, message: &Value, deltas: &mut Vec<WireDelta>) {
        let reasoning = text(message, "reasoning_content").or_else(|| text(message, "reasoning"));
        deltas.extend(reasoning.map(WireDelta::reasoning));
        if let Some(details) = &mut self.details {
            details.take(message);
        }
        match message.get("content") {
            Some(Value::String(text)) => deltas.push(WireDelta::text(text.as_str())),
            Some(Value::Array(parts)) => parts.iter().for_each(|p| part(p, deltas)),
            _ => {}
        }
        if let Some(refusal) = text(message, "refusal") {
            self.refused = true;
            deltas.push(WireDelta::text(refusal));
        }
        // Old TGI streams the call itself in place of a list.
        let calls = match message.get("tool_calls") {
            Some(Value::Array(calls)) => calls.as_slice(),
            Some(call @ Value::Object(_)) => std::slice::from_ref(call),
            _ => &[],
        };
        for (at, call) in calls.iter().enumerate() {
            let at = call
                .get("index")
                .and_then(Value::as_u64)
                .unwrap_or(at as u64);
            let slot = u32::try_from(at).unwrap_or(u32::MAX);
            deltas.push(tool_call(slot, text(call, "id"), call.get("function")));
            let google = call.get("extra_content").and_then(|e| e.get("google"));
            let signature = google.and_then(|g| text(g, "thought_signature"));
            if signature.is_some() {
                deltas.push(WireDelta::ToolCallMeta {
                    slot,
                    item_id: None,
                    signature,
                });
            }
        }
        if let Some(function) = message.get("function_call").filter(|f| f.is_object()) {
            deltas.push(tool_call(0, None, Some(function)));
        }
        unknown(message, &INSIDE, deltas);
    }
}

/// The field of [`Details`].
const DETAILS: &str = "reasoning_details";

/// Blocks of reasoning. In streams they come in pieces, which the index tells apart.
#[derive(Debug, Default)]
struct Details(Vec<Value>);

impl Details {
    fn take(&mut self, message: &Value) {
        let blocks = message.get(DETAILS).and_then(Value::as_array);
        for block in blocks.into_iter().flatten() {
            let same = |other: &&mut Value| {
                let both = |key: &str| other.get(key) == block.get(key);
                block.get("index").is_some() && both("index") && both("type")
            };
            match self.0.iter_mut().rev().find(same) {
                Some(begun) => extend(begun, block),
                None => self.0.push(block.clone()),
            }
        }
    }
}

/// Appends the texts of a piece, and sets what was not known before.
fn extend(begun: &mut Value, piece: &Value) {
    for (key, value) in piece.as_object().into_iter().flatten() {
        match (&mut begun[key.as_str()], value) {
            (Value::String(text), Value::String(more))
                if ["text", "summary", "data"].contains(&key.as_str()) =>
            {
                text.push_str(more);
            }
            (known @ Value::Null, value) => *known = value.clone(),
            _ => {}
        }
    }
}

/// A part of a content that is a list (Mistral).
fn part(part: &Value, deltas: &mut Vec<WireDelta>) {
    if let Some(text) = text(part, "text") {
        deltas.push(WireDelta::text(text));
    } else if let Some(thinking) = part.get("thinking") {
        let pieces = thinking.as_array().into_iter().flatten();
        deltas.extend(
            pieces
                .filter_map(|p| text(p, "text"))
                .chain(text(part, "thinking"))
                .map(WireDelta::reasoning),
        );
    } else {
        deltas.push(WireDelta::Unknown(part.clone()));
    }
}

fn tool_call(slot: u32, id: Option<String>, function: Option<&Value>) -> WireDelta {
    let arguments = match function.and_then(|f| f.get("arguments")) {
        Some(Value::String(json)) => json.clone(),
        // Some servers give the object itself.
        Some(value @ Value::Object(_)) => value.to_string(),
        _ => String::new(),
    };
    WireDelta::ToolCall {
        slot,
        id,
        name: function.and_then(|f| text(f, "name")),
        arguments,
    }
}

/// Tells fields that have no delta; they stay in the raw reply.
fn unknown(value: &Value, names: &[&str], deltas: &mut Vec<WireDelta>) {
    for name in names {
        let found = value.get(*name).filter(|v| match v {
            Value::Null => false,
            Value::Array(list) => !list.is_empty(),
            _ => true,
        });
        deltas.extend(found.map(|v| WireDelta::Unknown(json!({*name: v}))));
    }
}

impl Decoder for ChatDecoder {
    fn frame(&mut self, frame: &Frame, deltas: &mut Vec<WireDelta>) -> Result<()> {
        let data = frame.data.trim_ascii();
        if data == b"[DONE]" {
            self.end(deltas);
            return Ok(());
        }
        if data.is_empty() {
            deltas.push(WireDelta::Heartbeat);
            return Ok(());
        }
        let chunk = frame.json()?;
        let is_error = frame.event == "error" || chunk.get("object").is_some_and(|o| o == "error");
        match ApiError::of(&chunk).filter(|_| is_error) {
            Some(error) => Err(error.into_error(self.provider)),
            None => self.chunk(&chunk, deltas),
        }
    }

    fn finish(&mut self, deltas: &mut Vec<WireDelta>) -> Result<()> {
        if self.reasoned {
            self.end(deltas);
        }
        Ok(())
    }
}
