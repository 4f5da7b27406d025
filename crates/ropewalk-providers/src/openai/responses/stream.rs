//! Streams of Responses: events about items, which the output index tells apart.

use std::collections::BTreeMap;

use ropewalk_core::{Result, WireDelta};
use ropewalk_http::Frame;
use serde_json::Value;

use super::super::shared::logprobs;
use super::output::{
    PARAGRAPH, call, end, error, item, reasoning_id, refuses, sealed, started, thoughts,
};
use crate::native::text;
use crate::wire::Decoder;

/// What has come of an item.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// Whether text, thoughts or arguments came piece by piece.
    pieces: bool,
    /// The part of a summary the last thought belongs to.
    part: u64,
    done: bool,
}

/// Reads one streamed reply.
#[derive(Debug)]
pub(super) struct ResponsesDecoder {
    provider: &'static str,
    items: BTreeMap<u32, Seen>,
    refused: bool,
}

impl ResponsesDecoder {
    pub(super) fn new(provider: &'static str) -> Self {
        Self {
            provider,
            items: BTreeMap::new(),
            refused: false,
        }
    }

    fn event(&mut self, kind: &str, event: &Value, deltas: &mut Vec<WireDelta>) -> Result<()> {
        let index = event.get("output_index").and_then(Value::as_u64);
        let slot = u32::try_from(index.unwrap_or(0)).unwrap_or(u32::MAX);
        match kind {
            "response.created" => deltas.push(started(about(event, "response"))),
            "response.output_item.added" => self.added(slot, about(event, "item"), deltas),
            "response.output_item.done" => self.done(slot, about(event, "item"), deltas),
            "response.output_text.delta" | "response.refusal.delta" => {
                self.refused |= kind == "response.refusal.delta";
                self.piece(slot);
                let text = text(event, "delta").unwrap_or_default();
                deltas.push(WireDelta::Text { slot, text });
                let read = event.get("logprobs").map(logprobs).unwrap_or_default();
                if !read.is_empty() {
                    deltas.push(WireDelta::Logprobs(read));
                }
            }
            "response.reasoning_summary_text.delta" => {
                self.thought(slot, "summary_index", event, deltas);
            }
            "response.reasoning_text.delta" => self.thought(slot, "content_index", event, deltas),
            "response.function_call_arguments.delta" => {
                self.piece(slot);
                let arguments = text(event, "delta").unwrap_or_default();
                deltas.push(arguments_of(slot, arguments));
            }
            "response.function_call_arguments.done" if !self.seen(slot).pieces => {
                self.piece(slot);
                let arguments = text(event, "arguments").unwrap_or_default();
                deltas.push(arguments_of(slot, arguments));
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                return self.over(about(event, "response"), deltas);
            }
            "error" => return Err(error(event, self.provider)),
            "response.in_progress" | "response.queued" | "keepalive" => {
                deltas.push(WireDelta::Heartbeat);
            }
            // What these say comes in pieces before, or with the item.
            "response.function_call_arguments.done"
            | "response.content_part.added"
            | "response.content_part.done"
            | "response.output_text.done"
            | "response.refusal.done"
            | "response.reasoning_summary_part.added"
            | "response.reasoning_summary_part.done"
            | "response.reasoning_summary_text.done"
            | "response.reasoning_text.done" => {}
            _ => deltas.push(WireDelta::Unknown(event.clone())),
        }
        Ok(())
    }

    fn seen(&mut self, slot: u32) -> &mut Seen {
        self.items.entry(slot).or_default()
    }

    fn piece(&mut self, slot: u32) {
        self.seen(slot).pieces = true;
    }

    /// An item begins: it takes its place among the parts.
    fn added(&mut self, slot: u32, item: &Value, deltas: &mut Vec<WireDelta>) {
        self.seen(slot);
        match text(item, "type").as_deref() {
            Some("function_call") => deltas.extend(call(slot, item, false)),
            Some("reasoning") => deltas.push(reasoning_id(slot, item)),
            _ => {}
        }
    }

    /// A thought; parts of a summary become paragraphs.
    fn thought(&mut self, slot: u32, index: &str, event: &Value, deltas: &mut Vec<WireDelta>) {
        let part = event.get(index).and_then(Value::as_u64).unwrap_or(0);
        let seen = self.seen(slot);
        let mut piece = text(event, "delta").unwrap_or_default();
        if seen.pieces && seen.part != part {
            piece.insert_str(0, PARAGRAPH);
        }
        (seen.pieces, seen.part) = (true, part);
        deltas.push(WireDelta::Reasoning { slot, text: piece });
    }

    /// An item is complete: what did not come in pieces comes now.
    fn done(&mut self, slot: u32, value: &Value, deltas: &mut Vec<WireDelta>) {
        self.refused |= refuses(value);
        let seen = self.seen(slot);
        if std::mem::replace(&mut seen.done, true) {
            return;
        }
        let pieces = seen.pieces;
        match text(value, "type").as_deref() {
            Some("reasoning") => {
                deltas.push(reasoning_id(slot, value));
                if !pieces {
                    let text = thoughts(value);
                    deltas.push(WireDelta::Reasoning { slot, text });
                }
                deltas.extend(sealed(slot, value));
            }
            Some("function_call" | "message") if pieces => {}
            _ => return item(slot, value, self.provider, deltas),
        }
        deltas.push(WireDelta::PartDone { slot });
    }

    /// The reply is over; items that had no events of their own come with it.
    fn over(&mut self, response: &Value, deltas: &mut Vec<WireDelta>) -> Result<()> {
        let items = response.get("output").and_then(Value::as_array);
        for (slot, value) in (0..).zip(items.into_iter().flatten()) {
            self.done(slot, value, deltas);
        }
        end(response, self.provider, self.refused, deltas)
    }
}

fn arguments_of(slot: u32, arguments: String) -> WireDelta {
    WireDelta::ToolCall {
        slot,
        id: None,
        name: None,
        arguments,
    }
}

/// The object an event is about; some servers send it bare.
fn about<'a>(event: &'a Value, key: &str) -> &'a Value {
    event.get(key).unwrap_or(event)
}

impl Decoder for ResponsesDecoder {
    fn frame(&mut self, frame: &Frame, deltas: &mut Vec<WireDelta>) -> Result<()> {
        let data = frame.data.trim_ascii();
        // Gateways end the stream as that of chat completions.
        if data == b"[DONE]" {
            return Ok(());
        }
        if data.is_empty() {
            deltas.push(WireDelta::Heartbeat);
            return Ok(());
        }
        let event = frame.json()?;
        let kind = text(&event, "type").unwrap_or_else(|| frame.event.clone());
        match event.get("error") {
            Some(inner) if kind.is_empty() && !inner.is_null() => Err(error(&event, self.provider)),
            _ => self.event(&kind, &event, deltas),
        }
    }
}
