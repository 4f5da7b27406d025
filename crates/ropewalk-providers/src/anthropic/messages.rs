//! From messages to turns.

use base64::Engine;
use ropewalk_core::{
    CacheHint, ChatRequest, Media, MediaSource, Message, Part, Reasoning, Result, Role, ToolCall,
    ToolResult,
};
use serde_json::{Map, Value, json};

use super::wire::{cache_control, not_empty};
use crate::native::{
    arguments, inline, is_blank, leave_part_out, no_detail, no_names, plain_id, set,
};
use crate::wire::Notes;

/// Most places of a request that may be marked for the cache.
const MAX_MARKS: usize = 4;

/// The conversation as the API wants it.
pub(super) struct Turns {
    system: Vec<Value>,
    pub(super) messages: Vec<Value>,
}

impl Turns {
    pub(super) fn of(request: &ChatRequest, provider: &str, notes: &mut Notes) -> Result<Self> {
        no_names(&request.messages, notes)?;
        let mut encoder = Encoder {
            provider,
            marks: MAX_MARKS - usize::from(request.options.cache.is_some()),
            notes,
        };
        let mut system = Vec::new();
        let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
        for message in &request.messages {
            let mut blocks = Vec::new();
            for part in message.content.iter().filter(|p| !is_blank(p)) {
                blocks.extend(encoder.part(part)?);
            }
            let role = match message.role {
                Role::System => {
                    system.append(&mut blocks);
                    continue;
                }
                Role::User | Role::Tool => "user",
                Role::Assistant => "assistant",
            };
            match turns.last_mut() {
                _ if blocks.is_empty() => {}
                Some((last, content)) if *last == role => content.append(&mut blocks),
                _ => turns.push((role, blocks)),
            }
        }
        let last = request.messages.last();
        if let Some((_, blocks)) = turns.last_mut().filter(|_| last.is_some_and(is_assistant)) {
            trim_end(blocks);
        }
        let turn = |(role, mut content): (&str, Vec<Value>)| {
            // Stable: the results keep their order, and so does the rest.
            content.sort_by_key(|b| b["type"] != "tool_result" && role == "user");
            json!({ "role": role, "content": content })
        };
        let messages: Vec<Value> = turns.into_iter().map(turn).collect();
        not_empty(&messages)?;
        Ok(Self { system, messages })
    }

    /// Returns the instructions: one text, or blocks where there are several or marks.
    pub(super) fn system(&self) -> Option<Value> {
        match self.system.as_slice() {
            [] => None,
            [Value::Object(block)] if block.len() == 2 => block.get("text").cloned(),
            blocks => Some(blocks.into()),
        }
    }
}

fn is_assistant(message: &Message) -> bool {
    message.role == Role::Assistant
}

/// The beginning of a reply that the model is to continue must not end with white space.
fn trim_end(blocks: &mut [Value]) {
    if let Some(block) = blocks.last_mut()
        && let Some(text) = block["text"].as_str()
    {
        block["text"] = text.trim_end().into();
    }
}

struct Encoder<'a> {
    provider: &'a str,
    /// Marks for the cache that may still be set.
    marks: usize,
    notes: &'a mut Notes,
}

impl Encoder<'_> {
    fn part(&mut self, part: &Part) -> Result<Option<Value>> {
        Ok(Some(match part {
            Part::Text { text, cache, .. } => {
                let mut block = Map::new();
                block.insert("type".into(), "text".into());
                block.insert("text".into(), text.as_str().into());
                set(&mut block, "cache_control", self.mark(*cache)?);
                block.into()
            }
            Part::Image(media) => {
                no_detail(media, self.notes)?;
                json!({"type": "image", "source": source(media, "image/png")})
            }
            Part::Document(media) => {
                let Some(source) = document(media) else {
                    let reason = "the API reads PDF and plain text only";
                    leave_part_out(part, reason, self.notes)?;
                    return Ok(None);
                };
                let mut block = Map::new();
                block.insert("type".into(), "document".into());
                block.insert("source".into(), source);
                set(&mut block, "title", media.name.as_deref());
                block.into()
            }
            Part::Reasoning(reasoning) => return Ok(self.reasoning(reasoning)),
            Part::ToolCall(call) => tool_use(call),
            Part::ToolResult(result) => self.result(result)?,
            Part::Opaque {
                provider, value, ..
            } if provider == self.provider => value.clone(),
            Part::Opaque { .. } => {
                leave_part_out(part, "it is another provider's", self.notes)?;
                return Ok(None);
            }
            other => {
                leave_part_out(other, "the API does not take it", self.notes)?;
                return Ok(None);
            }
        }))
    }

    fn mark(&mut self, hint: Option<CacheHint>) -> Result<Option<Value>> {
        let Some(hint) = hint else {
            return Ok(None);
        };
        if self.marks == 0 {
            let reason = "the API takes four marks for the cache at most";
            self.notes.leave_out("cache", reason)?;
            return Ok(None);
        }
        self.marks -= 1;
        Ok(Some(cache_control(hint)))
    }

    /// Thoughts count only with the proof that they are Claude's own.
    fn reasoning(&self, reasoning: &Reasoning) -> Option<Value> {
        if reasoning.provider.as_deref() != Some(self.provider) {
            return None;
        }
        match (&reasoning.signature, &reasoning.redacted) {
            (Some(signature), _) => Some(json!({
                "type": "thinking",
                "thinking": reasoning.text,
                "signature": signature,
            })),
            (None, Some(data)) => Some(json!({"type": "redacted_thinking", "data": data})),
            (None, None) => None,
        }
    }

    fn result(&mut self, result: &ToolResult) -> Result<Value> {
        let mut content = Vec::new();
        for part in result.content.iter().filter(|p| !is_blank(p)) {
            content.extend(self.part(part)?);
        }
        let mut block = Map::new();
        block.insert("type".into(), "tool_result".into());
        block.insert("tool_use_id".into(), plain_id(&result.call_id).into());
        let content = (!content.is_empty()).then_some(content);
        set(&mut block, "content", content);
        set(&mut block, "is_error", result.is_error.then_some(true));
        Ok(block.into())
    }
}

fn tool_use(call: &ToolCall) -> Value {
    json!({
        "type": "tool_use",
        "id": plain_id(&call.id),
        "name": call.name,
        "input": arguments(call),
    })
}

fn source(media: &Media, default_mime: &str) -> Value {
    match (inline(media, default_mime), &media.source) {
        (Some((mime, data)), _) => json!({"type": "base64", "media_type": mime, "data": data}),
        (None, MediaSource::FileId(id)) => json!({"type": "file", "file_id": id}),
        (None, MediaSource::Url(url)) => json!({"type": "url", "url": url}),
        // Bytes are always inline.
        (None, _) => Value::Null,
    }
}

fn document(media: &Media) -> Option<Value> {
    let source = source(media, "application/pdf");
    match source["media_type"].as_str() {
        None | Some("application/pdf") => Some(source),
        Some(mime) if mime.starts_with("text/") => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(source["data"].as_str()?)
                .ok()?;
            let text = String::from_utf8(bytes).ok()?;
            Some(json!({"type": "text", "media_type": "text/plain", "data": text}))
        }
        Some(_) => None,
    }
}
