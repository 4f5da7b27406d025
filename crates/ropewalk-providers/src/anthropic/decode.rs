//! Replies of the Messages API, whole and streamed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ropewalk_core::{Error, ErrorKind, FinishReason, Part, Result, Usage, WireDelta};
use ropewalk_http::Frame;
use serde_json::Value;

use crate::native::{count, no_error, no_reply, text};
use crate::wire::Decoder;

/// Decodes a whole message.
pub(super) fn whole(mut body: Value, provider: &str) -> Result<Vec<WireDelta>> {
    no_error(&body, provider)?;
    let Some(Value::Array(content)) = body.get_mut("content").map(Value::take) else {
        return Err(no_reply(&body, "content"));
    };
    let mut decoder = MessagesDecoder::new(provider.to_owned().into());
    let mut deltas = Vec::new();
    decoder.started(&body, &mut deltas);
    for (slot, block) in (0..).zip(content) {
        decoder.block_start(slot, block, &mut deltas);
        decoder.block_stop(slot, &mut deltas);
    }
    stop_reason(&body, &mut deltas);
    deltas.push(WireDelta::End);
    Ok(deltas)
}

/// Decodes the events of a streamed message.
#[derive(Debug)]
pub(super) struct MessagesDecoder {
    provider: Cow<'static, str>,
    counts: Counts,
    open: BTreeMap<u32, Open>,
}

/// A block that has begun.
#[derive(Debug)]
enum Open {
    /// Text or thoughts: pieces go out as they come.
    Text,
    /// A call; whether arguments came, and those it began with.
    Call { came: bool, input: Value },
    /// An item without a portable meaning, and the JSON text of its input.
    Opaque { value: Value, input: String },
}

impl MessagesDecoder {
    pub(super) fn new(provider: Cow<'static, str>) -> Self {
        Self {
            provider,
            counts: Counts::default(),
            open: BTreeMap::new(),
        }
    }

    fn started(&mut self, message: &Value, deltas: &mut Vec<WireDelta>) {
        deltas.push(WireDelta::Started {
            id: text(message, "id"),
            model: text(message, "model"),
        });
        self.usage(message, deltas);
    }

    fn usage(&mut self, holder: &Value, deltas: &mut Vec<WireDelta>) {
        if let Some(usage) = holder.get("usage").filter(|u| u.is_object()) {
            self.counts.take(usage);
            deltas.push(WireDelta::Usage(self.counts.usage()));
        }
    }

    fn block_start(&mut self, slot: u32, block: Value, deltas: &mut Vec<WireDelta>) {
        let open = match block["type"].as_str() {
            Some("text") => {
                let begun = text(&block, "text").unwrap_or_default();
                deltas.push(WireDelta::Text { slot, text: begun });
                unknown_citations(&block, deltas);
                Open::Text
            }
            Some("thinking") => {
                let begun = text(&block, "thinking").unwrap_or_default();
                deltas.push(WireDelta::Reasoning { slot, text: begun });
                deltas.push(meta(slot, text(&block, "signature"), None));
                Open::Text
            }
            Some("redacted_thinking") => {
                deltas.push(meta(slot, None, text(&block, "data")));
                Open::Text
            }
            Some("tool_use") => {
                deltas.push(WireDelta::ToolCall {
                    slot,
                    id: text(&block, "id"),
                    name: text(&block, "name"),
                    arguments: String::new(),
                });
                Open::Call {
                    came: false,
                    input: block["input"].clone(),
                }
            }
            _ => Open::Opaque {
                value: block,
                input: String::new(),
            },
        };
        self.open.insert(slot, open);
    }

    fn block_delta(&mut self, slot: u32, delta: &Value, deltas: &mut Vec<WireDelta>) {
        let piece = |key: &str| text(delta, key).unwrap_or_default();
        match delta["type"].as_str() {
            Some("text_delta") => {
                let text = piece("text");
                deltas.push(WireDelta::Text { slot, text });
            }
            Some("thinking_delta") => {
                let text = piece("thinking");
                deltas.push(WireDelta::Reasoning { slot, text });
            }
            Some("signature_delta") => deltas.push(meta(slot, text(delta, "signature"), None)),
            Some("input_json_delta") => {
                let json = piece("partial_json");
                match self.open.get_mut(&slot) {
                    Some(Open::Opaque { input, .. }) => input.push_str(&json),
                    Some(Open::Call { came, .. }) if !json.is_empty() => {
                        *came = true;
                        deltas.push(arguments(slot, json));
                    }
                    _ => {}
                }
            }
            _ => deltas.push(WireDelta::Unknown(delta.clone())),
        }
    }

    fn block_stop(&mut self, slot: u32, deltas: &mut Vec<WireDelta>) {
        match self.open.remove(&slot) {
            Some(Open::Call { came: false, input }) => {
                let json = match input {
                    Value::Object(input) => Value::Object(input).to_string(),
                    _ => "{}".to_owned(),
                };
                deltas.push(arguments(slot, json));
            }
            Some(Open::Opaque { mut value, input }) => {
                if let (Ok(input), true) =
                    (serde_json::from_str::<Value>(&input), value.is_object())
                {
                    value["input"] = input;
                }
                let part = Part::opaque(self.provider.to_string(), value);
                deltas.push(WireDelta::Part(part));
            }
            _ => {}
        }
        deltas.push(WireDelta::PartDone { slot });
    }
}

impl Decoder for MessagesDecoder {
    fn frame(&mut self, frame: &Frame, deltas: &mut Vec<WireDelta>) -> Result<()> {
        let mut event = frame.json()?;
        no_error(&event, &self.provider)?;
        let slot = || {
            let index = event["index"].as_u64().and_then(|i| u32::try_from(i).ok());
            let missing = || Error::new(ErrorKind::Decode, "an event of a block has no `index`");
            index.ok_or_else(missing)
        };
        match event["type"].as_str() {
            Some("message_start") => self.started(&event["message"], deltas),
            Some("content_block_start") => {
                let slot = slot()?;
                self.block_start(slot, event["content_block"].take(), deltas);
            }
            Some("content_block_delta") => self.block_delta(slot()?, &event["delta"], deltas),
            Some("content_block_stop") => self.block_stop(slot()?, deltas),
            Some("message_delta") => {
                self.usage(&event, deltas);
                stop_reason(&event["delta"], deltas);
            }
            Some("message_stop") => deltas.push(WireDelta::End),
            Some("ping") => deltas.push(WireDelta::Heartbeat),
            _ => deltas.push(WireDelta::Unknown(event)),
        }
        Ok(())
    }
}

fn meta(slot: u32, signature: Option<String>, redacted: Option<String>) -> WireDelta {
    WireDelta::ReasoningMeta {
        slot,
        signature,
        redacted,
        id: None,
    }
}

fn arguments(slot: u32, arguments: String) -> WireDelta {
    WireDelta::ToolCall {
        slot,
        id: None,
        name: None,
        arguments,
    }
}

fn unknown_citations(block: &Value, deltas: &mut Vec<WireDelta>) {
    let citations = block.get("citations").and_then(Value::as_array);
    for citation in citations.into_iter().flatten() {
        deltas.push(WireDelta::Unknown(citation.clone()));
    }
}

fn stop_reason(holder: &Value, deltas: &mut Vec<WireDelta>) {
    if let Some(reason) = text(holder, "stop_reason") {
        deltas.push(WireDelta::FinishReason(finish_reason(&reason)));
    }
}

fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::Refusal,
        // `pause_turn`: the turn goes on when the reply is sent back as it is.
        other => FinishReason::Other(other.to_owned()),
    }
}

/// The API's counts so far; what a snapshot leaves out stays.
#[derive(Debug, Default)]
struct Counts {
    input: Option<u64>,
    written: Option<u64>,
    read: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl Counts {
    fn take(&mut self, usage: &Value) {
        let details = usage.get("output_tokens_details");
        let thinking = details.and_then(|d| count(d, "thinking_tokens"));
        for (mine, new) in [
            (&mut self.input, count(usage, "input_tokens")),
            (
                &mut self.written,
                count(usage, "cache_creation_input_tokens"),
            ),
            (&mut self.read, count(usage, "cache_read_input_tokens")),
            (&mut self.output, count(usage, "output_tokens")),
            (&mut self.thinking, thinking),
        ] {
            *mine = new.or(*mine);
        }
    }

    /// The API's `input_tokens` excludes what the cache read or wrote.
    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        usage.input_tokens = self.input.map(|input| {
            let cached = self
                .written
                .unwrap_or(0)
                .saturating_add(self.read.unwrap_or(0));
            input.saturating_add(cached)
        });
        usage.cache_write_tokens = self.written;
        usage.cached_input_tokens = self.read;
        usage.output_tokens = self.output;
        usage.reasoning_tokens = self.thinking;
        usage
    }
}
