//! Replies of Converse, whole and streamed.

use std::collections::BTreeMap;

use ropewalk_core::{Error, ErrorKind, FinishReason, Part, Result, Usage, WireDelta};
use ropewalk_http::Frame;
use serde_json::Value;

use super::wire::PROVIDER;
use crate::native::{count, no_reply, text};
use crate::wire::Decoder;

/// Decodes a whole reply.
pub(super) fn whole(mut body: Value) -> Result<Vec<WireDelta>> {
    let content = body.pointer_mut("/output/message/content").map(Value::take);
    let Some(Value::Array(content)) = content else {
        return Err(no_reply(&body, "output"));
    };
    let mut deltas = vec![started()];
    for (slot, block) in (0..).zip(content) {
        if let Some(piece) = block.get("text").and_then(Value::as_str) {
            let text = piece.to_owned();
            deltas.push(WireDelta::Text { slot, text });
        } else if let Some(thought) = block.get("reasoningContent") {
            let words = &thought["reasoningText"];
            reasoning(slot, words, deltas.as_mut());
            let redacted = text(thought, "redactedContent");
            if redacted.is_some() {
                deltas.push(meta(slot, None, redacted));
            }
        } else if let Some(call) = block.get("toolUse").filter(|c| c.get("type").is_none()) {
            let input = call.get("input").filter(|i| i.is_object());
            deltas.push(WireDelta::ToolCall {
                slot,
                id: text(call, "toolUseId"),
                name: text(call, "name"),
                arguments: input.map_or("{}".to_owned(), Value::to_string),
            });
        } else {
            deltas.push(WireDelta::Part(Part::opaque(PROVIDER, block)));
        }
        deltas.push(WireDelta::PartDone { slot });
    }
    usage(&body, &mut deltas);
    stop_reason(&body, &mut deltas);
    deltas.push(WireDelta::End);
    Ok(deltas)
}

/// Decodes the events of a streamed reply. It is whole when it said why it ended; the usage comes
/// after that.
#[derive(Debug, Default)]
pub(super) struct ConverseDecoder {
    stopped: bool,
    /// The calls that have begun, and whether arguments came.
    calls: BTreeMap<u32, bool>,
}

impl ConverseDecoder {
    fn start(&mut self, slot: u32, start: &Value, deltas: &mut Vec<WireDelta>) {
        match start.get("toolUse") {
            Some(call) => {
                self.calls.insert(slot, false);
                deltas.push(WireDelta::ToolCall {
                    slot,
                    id: text(call, "toolUseId"),
                    name: text(call, "name"),
                    arguments: String::new(),
                });
            }
            None => deltas.push(WireDelta::Unknown(start.clone())),
        }
    }

    fn delta(&mut self, slot: u32, delta: &Value, deltas: &mut Vec<WireDelta>) {
        if let Some(piece) = delta.get("text").and_then(Value::as_str) {
            let text = piece.to_owned();
            deltas.push(WireDelta::Text { slot, text });
        } else if let Some(call) = delta.get("toolUse") {
            let arguments = text(call, "input").unwrap_or_default();
            if !arguments.is_empty() {
                self.calls.insert(slot, true);
                deltas.push(piece_of_call(slot, arguments));
            }
        } else if let Some(thought) = delta.get("reasoningContent") {
            reasoning(slot, thought, deltas);
            let redacted = text(thought, "redactedContent");
            if redacted.is_some() {
                deltas.push(meta(slot, None, redacted));
            }
        } else {
            deltas.push(WireDelta::Unknown(delta.clone()));
        }
    }
}

impl Decoder for ConverseDecoder {
    fn frame(&mut self, frame: &Frame, deltas: &mut Vec<WireDelta>) -> Result<()> {
        let event = frame.json()?;
        if let Some(exception) = frame.event.strip_prefix("exception:") {
            return Err(exception_of(exception, &event));
        }
        let slot = || {
            let index = count(&event, "contentBlockIndex").and_then(|i| u32::try_from(i).ok());
            let missing = || Error::new(ErrorKind::Decode, "an event of a block has no index");
            index.ok_or_else(missing)
        };
        match frame.event.as_str() {
            "messageStart" => deltas.push(started()),
            "contentBlockStart" => self.start(slot()?, &event["start"], deltas),
            "contentBlockDelta" => self.delta(slot()?, &event["delta"], deltas),
            "contentBlockStop" => {
                let slot = slot()?;
                if self.calls.remove(&slot) == Some(false) {
                    deltas.push(piece_of_call(slot, "{}".to_owned()));
                }
                deltas.push(WireDelta::PartDone { slot });
            }
            "messageStop" => {
                self.stopped = true;
                stop_reason(&event, deltas);
            }
            "metadata" => {
                usage(&event, deltas);
                if self.stopped {
                    deltas.push(WireDelta::End);
                }
            }
            _ => deltas.push(WireDelta::Unknown(event)),
        }
        Ok(())
    }

    fn finish(&mut self, deltas: &mut Vec<WireDelta>) -> Result<()> {
        if self.stopped {
            deltas.push(WireDelta::End);
        }
        Ok(())
    }
}

/// The API gives replies no id, and no name of the model.
fn started() -> WireDelta {
    WireDelta::Started {
        id: None,
        model: None,
    }
}

fn exception_of(exception: &str, event: &Value) -> Error {
    let kind = match exception {
        "throttlingException" => ErrorKind::RateLimited,
        "serviceUnavailableException" => ErrorKind::Overloaded,
        "validationException" => ErrorKind::InvalidRequest,
        "modelTimeoutException" => ErrorKind::Timeout,
        _ => ErrorKind::Server,
    };
    let words = text(event, "message").unwrap_or_default();
    Error::new(kind, format!("{words} ({exception})"))
}

fn piece_of_call(slot: u32, arguments: String) -> WireDelta {
    WireDelta::ToolCall {
        slot,
        id: None,
        name: None,
        arguments,
    }
}

fn reasoning(slot: u32, words: &Value, deltas: &mut Vec<WireDelta>) {
    let piece = text(words, "text").unwrap_or_default();
    deltas.push(WireDelta::Reasoning { slot, text: piece });
    let signature = text(words, "signature");
    if signature.is_some() {
        deltas.push(meta(slot, signature, None));
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

fn stop_reason(holder: &Value, deltas: &mut Vec<WireDelta>) {
    let Some(reason) = text(holder, "stopReason") else {
        return;
    };
    deltas.push(WireDelta::FinishReason(match reason.as_str() {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        _ => FinishReason::Other(reason),
    }));
}

/// The API's `inputTokens` excludes what the cache read or wrote.
fn usage(holder: &Value, deltas: &mut Vec<WireDelta>) {
    let Some(counts) = holder.get("usage").filter(|u| u.is_object()) else {
        return;
    };
    let mut usage = Usage::default();
    usage.cached_input_tokens = count(counts, "cacheReadInputTokens");
    usage.cache_write_tokens = count(counts, "cacheWriteInputTokens");
    usage.input_tokens = count(counts, "inputTokens").map(|input| {
        let read = usage.cached_input_tokens.unwrap_or(0);
        let written = usage.cache_write_tokens.unwrap_or(0);
        input.saturating_add(read).saturating_add(written)
    });
    usage.output_tokens = count(counts, "outputTokens");
    deltas.push(WireDelta::Usage(usage));
}
