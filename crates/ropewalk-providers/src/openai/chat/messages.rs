//! Messages, as Chat Completions has them.

use std::borrow::Cow;

use ropewalk_core::{
    CacheHint, ChatRequest, Error, ErrorKind, Media, MediaSource, Message, Part, Result, Role,
    ToolCall, ToolResult,
};
use serde_json::{Map, Value, json};

use super::super::shared::{Body, address, file_name, sound, with};
use crate::dialect::{Dialect, SystemRole};
use crate::native::leave_part_out;

/// Puts the messages into the body.
pub(super) fn encode(body: &mut Body<'_>, request: &ChatRequest) -> Result<()> {
    let mut messages = Vec::with_capacity(request.messages.len());
    for (i, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::System => {
                let role = match body.dialect.system {
                    SystemRole::System => "system",
                    SystemRole::Developer => "developer",
                    SystemRole::User => "user",
                };
                messages.push(spoken(body, role, message, i)?);
            }
            Role::User => messages.push(spoken(body, "user", message, i)?),
            Role::Assistant => messages.push(answered(body, message)?),
            Role::Tool => {
                for part in &message.content {
                    match part {
                        Part::ToolResult(result) => messages.push(returned(body, result)?),
                        other => extend(body, other, &mut messages)?,
                    }
                }
            }
        }
    }
    if body.dialect.cache_control && request.options.cache.is_some() {
        mark_last(&mut messages, request.options.cache);
    }
    body.set("messages", messages);
    Ok(())
}

/// A message of the application or the person.
fn spoken(body: &mut Body<'_>, role: &str, message: &Message, at: usize) -> Result<Value> {
    let marked = |part: &Part| {
        body.dialect.cache_control && matches!(part, Part::Text { cache: Some(_), .. })
    };
    let plain = message
        .content
        .iter()
        .all(|p| p.as_text().is_some() && !marked(p));
    let content = if plain {
        Value::from(message.text())
    } else {
        let mut parts = Vec::new();
        for part in &message.content {
            content_part(body, part, &mut parts)?;
        }
        if parts.is_empty() {
            let message = format!(
                "messages[{at}]: {} takes nothing of what it holds",
                body.dialect.name
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        parts.into()
    };
    let message_json = json!({"role": role, "content": content});
    named(body, message, message_json)
}

fn named(body: &mut Body<'_>, message: &Message, json: Value) -> Result<Value> {
    let name = message.name.as_deref();
    if name.is_some() && !body.dialect.names {
        let reason = "the server takes no names of speakers";
        body.notes.leave_out("message name", reason)?;
        return Ok(json);
    }
    Ok(with(json, "name", name))
}

fn content_part(body: &mut Body<'_>, part: &Part, out: &mut Vec<Value>) -> Result<()> {
    let dialect = body.dialect;
    let (encoded, reason) = match part {
        Part::Text { text, cache, .. } => {
            let cache = cache.filter(|_| dialect.cache_control).map(control);
            let text = json!({"type": "text", "text": text});
            (Some(with(text, "cache_control", cache)), "")
        }
        Part::Image(media) if dialect.images => (
            image(media),
            "images are addresses or bytes here, not ids of files",
        ),
        Part::Document(media) if dialect.documents => (
            document(media),
            "documents are bytes or ids of files here, not addresses",
        ),
        Part::Audio(media) if dialect.audio => {
            (sound(media), "sound must be WAV or MP3, and at hand")
        }
        Part::Video(media) if dialect.video => {
            let url = address(media, "video/mp4");
            let video = url.map(|url| json!({"type": "video_url", "video_url": {"url": url}}));
            (
                video,
                "videos are addresses or bytes here, not ids of files",
            )
        }
        Part::Opaque { .. } => return extend(body, part, out),
        _ => (None, "the server does not take such parts"),
    };
    match encoded {
        Some(encoded) => out.push(encoded),
        None => leave_part_out(part, reason, &mut body.notes)?,
    }
    Ok(())
}

fn image(media: &Media) -> Option<Value> {
    let url = address(media, "image/png")?;
    let image = with(json!({"url": url}), "detail", media.detail.as_deref());
    Some(json!({"type": "image_url", "image_url": image}))
}

fn document(media: &Media) -> Option<Value> {
    let file = match &media.source {
        MediaSource::FileId(id) => json!({"file_id": id}),
        MediaSource::Url(url) if !url.starts_with("data:") => return None,
        _ => {
            let data = address(media, "application/pdf")?;
            json!({"filename": file_name(media), "file_data": data})
        }
    };
    Some(json!({"type": "file", "file": file}))
}

/// Adds an item of this provider as it is; leaves out one of another.
fn extend(body: &mut Body<'_>, part: &Part, out: &mut Vec<Value>) -> Result<()> {
    match part {
        Part::Opaque {
            provider, value, ..
        } if provider == body.dialect.name => {
            out.push(value.clone());
            Ok(())
        }
        _ => leave_part_out(part, "it is another provider's", &mut body.notes),
    }
}

/// A message of the model. Fields of this provider's opaque parts are set on the message.
fn answered(body: &mut Body<'_>, message: &Message) -> Result<Value> {
    let mut json = Map::new();
    json.insert("role".into(), "assistant".into());
    let mut calls = Vec::new();
    for part in &message.content {
        match part {
            Part::Text { .. } => {}
            Part::ToolCall(call) => calls.push(self::call(body.dialect, call)),
            // Servers that do not take reasoning back ask for its absence.
            Part::Reasoning(reasoning) => {
                let name = body.dialect.name;
                let ours = reasoning.provider.as_deref().is_none_or(|p| p == name);
                if let (Some(field), true) = (
                    body.dialect.reasoning_replay,
                    ours && !reasoning.text.is_empty(),
                ) {
                    let mut text = json
                        .get(field)
                        .and_then(Value::as_str)
                        .unwrap_or("")
                        .to_owned();
                    text.push_str(&reasoning.text);
                    json.insert(field.into(), text.into());
                }
            }
            // What has a type is an item of Responses, whose place is no message.
            Part::Opaque {
                provider,
                value: Value::Object(fields),
                ..
            } if provider == body.dialect.name && !fields.contains_key("type") => {
                json.extend(fields.clone());
            }
            other => leave_part_out(
                other,
                "the server does not take it from the model",
                &mut body.notes,
            )?,
        }
    }
    let text = message.text();
    let content = match text.is_empty() && !calls.is_empty() {
        true => Value::Null,
        false => text.into(),
    };
    json.insert("content".into(), content);
    if !calls.is_empty() {
        json.insert("tool_calls".into(), calls.into());
    }
    named(body, message, json.into())
}

fn call(dialect: &Dialect, call: &ToolCall) -> Value {
    // Some servers parse the text of earlier calls.
    let arguments = match call.arguments.trim().is_empty() {
        true => "{}",
        false => &call.arguments,
    };
    let signature = call
        .signature
        .as_deref()
        .filter(|_| dialect.call_signatures);
    let extra = signature.map(|s| json!({"google": {"thought_signature": s}}));
    let json = json!({
        "id": call_id(dialect, &call.id),
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    });
    with(json, "extra_content", extra)
}

/// The result of a tool is text; whatever else it holds is left out.
fn returned(body: &mut Body<'_>, result: &ToolResult) -> Result<Value> {
    for part in &result.content {
        if part.as_text().is_none() {
            let reason = "results of tools are text here";
            leave_part_out(part, reason, &mut body.notes)?;
        }
    }
    Ok(json!({
        "role": "tool",
        "tool_call_id": call_id(body.dialect, &result.call_id),
        "content": result.text(),
    }))
}

/// Returns the id of a call as the server takes it.
fn call_id<'a>(dialect: &Dialect, id: &'a str) -> Cow<'a, str> {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let fits = id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits || !dialect.nine_letter_ids {
        return id.into();
    }
    // 62^9 ids are more than a conversation needs.
    let mut fnv = crate::fnv::Fnv::new();
    fnv.add(id.as_bytes());
    let mut hash = fnv.0;
    let mut digit = || {
        let digit = DIGITS[(hash % 62) as usize];
        hash /= 62;
        char::from(digit)
    };
    (0..9).map(|_| digit()).collect::<String>().into()
}

fn control(hint: CacheHint) -> Value {
    match hint {
        CacheHint::Long => json!({"type": "ephemeral", "ttl": "1h"}),
        _ => json!({"type": "ephemeral"}),
    }
}

/// Marks the end of the prompt for caching: the last text of the application or the person.
fn mark_last(messages: &mut [Value], hint: Option<CacheHint>) {
    let spoken = ["system", "developer", "user"];
    let last = messages
        .iter_mut()
        .rfind(|m| spoken.iter().any(|r| m["role"] == *r));
    let (Some(last), Some(hint)) = (last, hint) else {
        return;
    };
    if let Some(text) = last["content"].as_str() {
        last["content"] = json!([{"type": "text", "text": text}]);
    }
    let parts = last["content"].as_array_mut();
    if let Some(text) = parts.and_then(|p| p.iter_mut().rfind(|p| p["type"] == "text")) {
        text["cache_control"] = control(hint);
    }
}
