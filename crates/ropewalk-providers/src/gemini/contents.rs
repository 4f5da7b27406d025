//! From messages to contents.

use ropewalk_core::{
    Error, ErrorKind, Media, MediaSource, Message, Part, Reasoning, Result, Role, ToolCall,
    ToolResult,
};
use serde_json::{Map, Value, json};

use crate::native::{
    arguments, inline, is_blank, leave_part_out, no_names, set, sort_results, tool_name,
};
use crate::wire::Notes;

/// Ids that begin so are made up here; the API has not seen them.
const MINTED: &str = "call_";
/// Where files uploaded to the Gemini API are.
const FILES: &str = "https://generativelanguage.googleapis.com/v1beta/";

/// The conversation as the API wants it.
pub(super) struct Contents {
    /// The parts of the instructions.
    pub(super) system: Vec<Value>,
    pub(super) turns: Vec<Value>,
}

impl Contents {
    pub(super) fn of(messages: &[Message], provider: &str, notes: &mut Notes) -> Result<Self> {
        no_names(messages, notes)?;
        let mut encoder = Encoder {
            provider,
            messages,
            notes,
        };
        let mut system = Vec::new();
        let mut turns = Vec::new();
        for message in messages.iter().filter(|m| m.role == Role::System) {
            encoder.parts(message.content.iter().collect(), &mut system)?;
        }
        let spoken: Vec<&Message> = messages.iter().filter(|m| m.role != Role::System).collect();
        for group in spoken.chunk_by(|a, b| a.role == b.role) {
            let mut from: Vec<&Part> = group.iter().flat_map(|m| &m.content).collect();
            if group[0].role == Role::Tool {
                sort_results(&mut from, messages);
            }
            let mut parts = Vec::new();
            encoder.parts(from, &mut parts)?;
            let role = match group[0].role {
                Role::Assistant => "model",
                _ => "user",
            };
            if !parts.is_empty() {
                turns.push(json!({"role": role, "parts": parts}));
            }
        }
        if turns.is_empty() {
            let message = "no message is left that the API takes";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(Self { system, turns })
    }
}

struct Encoder<'a> {
    provider: &'a str,
    messages: &'a [Message],
    notes: &'a mut Notes,
}

impl Encoder<'_> {
    fn parts(&mut self, from: Vec<&Part>, parts: &mut Vec<Value>) -> Result<()> {
        let mut from = from.into_iter().filter(|p| !is_blank(p));
        from.try_for_each(|part| self.part(part, parts))
    }

    fn part(&mut self, part: &Part, parts: &mut Vec<Value>) -> Result<()> {
        let encoded = match part {
            Part::Text { text, cache, .. } => {
                let reason = "the API caches by itself";
                self.notes.unsupported("cache", cache.as_ref(), reason)?;
                json!({ "text": text })
            }
            Part::Image(media) => self.media(media, "image/png")?,
            Part::Audio(media) => self.media(media, "audio/wav")?,
            Part::Video(media) => self.media(media, "video/mp4")?,
            Part::Document(media) => self.media(media, "application/pdf")?,
            Part::Reasoning(reasoning) => {
                self.reasoning(reasoning, parts);
                return Ok(());
            }
            Part::ToolCall(call) => function_call(call),
            Part::ToolResult(result) => self.function_response(result)?,
            Part::Opaque {
                provider, value, ..
            } if provider == self.provider => value.clone(),
            other => {
                let reason = "it is another provider's, or the API does not take it";
                return leave_part_out(other, reason, self.notes);
            }
        };
        parts.push(encoded);
        Ok(())
    }

    fn media(&mut self, media: &Media, default_mime: &str) -> Result<Value> {
        let mut part = match (inline(media, default_mime), &media.source) {
            (Some((mime, data)), _) => json!({"inlineData": {"mimeType": mime, "data": data}}),
            (None, MediaSource::Url(url)) => file(url.clone(), media),
            (None, MediaSource::FileId(id)) if id.starts_with("files/") => {
                file(format!("{FILES}{id}"), media)
            }
            (None, MediaSource::FileId(id)) => file(id.clone(), media),
            // Bytes are always inline.
            (None, _) => json!({}),
        };
        match media.detail.as_deref() {
            None => {}
            Some(level @ ("low" | "medium" | "high")) => {
                let level = format!("MEDIA_RESOLUTION_{}", level.to_ascii_uppercase());
                part["mediaResolution"] = json!({ "level": level });
            }
            Some(_) => {
                let reason = "the API knows `low`, `medium` and `high`";
                self.notes.leave_out("detail", reason)?;
            }
        }
        Ok(part)
    }

    /// A signature goes back on the part it came with: a thought, the picture before it, or a text
    /// of its own.
    fn reasoning(&self, reasoning: &Reasoning, parts: &mut Vec<Value>) {
        let ours = reasoning.provider.as_deref() == Some(self.provider);
        let Some(signature) = reasoning.signature.as_ref().filter(|_| ours) else {
            return;
        };
        if !reasoning.text.is_empty() {
            let text = &reasoning.text;
            parts.push(json!({"text": text, "thought": true, "thoughtSignature": signature}));
            return;
        }
        match parts.last_mut() {
            Some(last) if last.get("inlineData").is_some() => {
                last["thoughtSignature"] = signature.as_str().into();
            }
            _ => parts.push(json!({"text": "", "thoughtSignature": signature})),
        }
    }

    fn function_response(&mut self, result: &ToolResult) -> Result<Value> {
        let mut media = Vec::new();
        for part in result.content.iter().filter(|p| p.as_text().is_none()) {
            self.part(part, &mut media)?;
        }
        let key = if result.is_error { "error" } else { "output" };
        let name = tool_name(&result.name, &result.call_id, self.messages);
        let mut response = Map::new();
        set(&mut response, "id", given(&result.call_id));
        response.insert("name".into(), name.into());
        response.insert("response".into(), json!({ key: result.text() }));
        let media = (!media.is_empty()).then_some(media);
        set(&mut response, "parts", media);
        Ok(json!({ "functionResponse": response }))
    }
}

fn file(uri: String, media: &Media) -> Value {
    let mut data = Map::new();
    data.insert("fileUri".into(), uri.into());
    set(&mut data, "mimeType", media.mime.as_deref());
    json!({ "fileData": data })
}

fn given(id: &str) -> Option<&str> {
    Some(id).filter(|id| !id.starts_with(MINTED))
}

fn function_call(call: &ToolCall) -> Value {
    let mut function = Map::new();
    set(&mut function, "id", given(&call.id));
    function.insert("name".into(), call.name.as_str().into());
    function.insert("args".into(), arguments(call).into());
    let mut part = json!({ "functionCall": function });
    if let Some(signature) = &call.signature {
        part["thoughtSignature"] = signature.as_str().into();
    }
    part
}
