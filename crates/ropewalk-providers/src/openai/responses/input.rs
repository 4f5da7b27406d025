//! Messages as input items.

use ropewalk_core::{
    ChatRequest, Media, MediaSource, Message, Part, Reasoning, Result, Role, ToolCall, ToolResult,
};
use serde_json::{Value, json};

use super::super::shared::{Body, address, file_name, with};
use crate::native::leave_part_out;

/// Puts instructions and input items into the body. System messages before all others are the
/// instructions, later ones are messages of the developer.
pub(super) fn encode(body: &mut Body<'_>, request: &ChatRequest) -> Result<()> {
    let messages = &request.messages;
    let only_text = |m: &Message| m.content.iter().all(|p| p.as_text().is_some());
    let leading = messages
        .iter()
        .take_while(|m| m.role == Role::System && only_text(m))
        .count();
    let (instructions, rest) = messages.split_at(leading);
    if !instructions.is_empty() {
        let texts: Vec<String> = instructions.iter().map(Message::text).collect();
        body.set("instructions", texts.join("\n\n"));
    }
    let mut items = Vec::new();
    for message in rest {
        if message.name.is_some() {
            let reason = "the API takes no names of speakers";
            body.notes.leave_out("message name", reason)?;
        }
        match message.role {
            Role::System => spoken(body, "developer", message, &mut items)?,
            Role::User => spoken(body, "user", message, &mut items)?,
            Role::Assistant => answered(body, message, &mut items)?,
            Role::Tool => {
                for part in &message.content {
                    match part {
                        Part::ToolResult(result) => items.push(returned(body, result)?),
                        other => opaque(body, other, &mut items)?,
                    }
                }
            }
        }
    }
    body.set("input", items);
    Ok(())
}

/// A message of the application or the person; items of the provider stand between messages.
fn spoken(
    body: &mut Body<'_>,
    role: &str,
    message: &Message,
    items: &mut Vec<Value>,
) -> Result<()> {
    if message.content.iter().all(|p| p.as_text().is_some()) {
        items.push(json!({"role": role, "content": message.text()}));
        return Ok(());
    }
    let mut content = Vec::new();
    for part in &message.content {
        match content_part(part) {
            Some(part) => content.push(part),
            None => opaque(body, part, items)?,
        }
    }
    if !content.is_empty() {
        items.push(json!({"role": role, "content": content}));
    }
    Ok(())
}

fn content_part(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text, .. } => Some(json!({"type": "input_text", "text": text})),
        Part::Image(media) => Some(image(media)),
        Part::Document(media) => Some(document(media)),
        _ => None,
    }
}

fn image(media: &Media) -> Value {
    let detail = media.detail.as_deref().unwrap_or("auto");
    let image = json!({"type": "input_image", "detail": detail});
    match &media.source {
        MediaSource::FileId(id) => with(image, "file_id", Some(id.as_str())),
        _ => with(image, "image_url", address(media, "image/png")),
    }
}

fn document(media: &Media) -> Value {
    let file = json!({"type": "input_file"});
    match &media.source {
        MediaSource::FileId(id) => with(file, "file_id", Some(id.as_str())),
        MediaSource::Url(url) if !url.starts_with("data:") => {
            with(file, "file_url", Some(url.as_str()))
        }
        _ => {
            let file = with(file, "filename", Some(file_name(media)));
            with(file, "file_data", address(media, "application/pdf"))
        }
    }
}

/// Adds an item of this provider as it is, and leaves out any other part.
fn opaque(body: &mut Body<'_>, part: &Part, items: &mut Vec<Value>) -> Result<()> {
    let reason = match part {
        Part::Opaque {
            provider, value, ..
        } if provider == body.dialect.name => {
            items.push(value.clone());
            return Ok(());
        }
        Part::Opaque { .. } => "it is another provider's",
        _ => "the API does not take such parts",
    };
    leave_part_out(part, reason, &mut body.notes)
}

/// A message of the model: its reasoning, texts and calls in the order they came, since the API
/// demands reasoning before the call it led to.
fn answered(body: &mut Body<'_>, message: &Message, items: &mut Vec<Value>) -> Result<()> {
    let ours = |r: &Reasoning| r.provider.as_deref() == Some(body.dialect.name);
    // A call whose id the server knows must follow its reasoning. Without that (nothing is stored
    // by default) the call goes without the id.
    let complete = message
        .content
        .iter()
        .filter_map(Part::as_reasoning)
        .all(|r| ours(r) && r.id.is_some() && r.redacted.is_some());
    let mut text = String::new();
    for part in &message.content {
        if let Part::Text { text: piece, .. } = part {
            text.push_str(piece);
            continue;
        }
        flush(&mut text, items);
        match part {
            Part::ToolCall(call) => items.push(self::call(call, complete)),
            // Reasoning of others, or that cannot be read without the server's store.
            Part::Reasoning(r) if ours(r) => items.extend(reasoning(r)),
            Part::Reasoning(_) => {}
            other => opaque(body, other, items)?,
        }
    }
    flush(&mut text, items);
    Ok(())
}

fn flush(text: &mut String, items: &mut Vec<Value>) {
    if !text.is_empty() {
        items.push(json!({"role": "assistant", "content": std::mem::take(text)}));
    }
}

fn reasoning(reasoning: &Reasoning) -> Option<Value> {
    let id = reasoning.id.as_deref()?;
    let encrypted = reasoning.redacted.as_deref()?;
    let summary = match reasoning.text.is_empty() {
        true => json!([]),
        false => json!([{"type": "summary_text", "text": reasoning.text}]),
    };
    Some(json!({
        "type": "reasoning",
        "id": id,
        "summary": summary,
        "encrypted_content": encrypted,
    }))
}

fn call(call: &ToolCall, with_id: bool) -> Value {
    let arguments = match call.arguments.trim().is_empty() {
        true => "{}",
        false => &call.arguments,
    };
    let item = json!({
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
    });
    with(item, "id", call.item_id.as_deref().filter(|_| with_id))
}

fn returned(body: &mut Body<'_>, result: &ToolResult) -> Result<Value> {
    let output = if result.content.iter().all(|p| p.as_text().is_some()) {
        Value::from(result.text())
    } else {
        let mut content = Vec::new();
        for part in &result.content {
            match content_part(part) {
                Some(part) => content.push(part),
                None => leave_part_out(
                    part,
                    "results of tools are text, images and documents here",
                    &mut body.notes,
                )?,
            }
        }
        content.into()
    };
    Ok(json!({
        "type": "function_call_output",
        "call_id": result.call_id,
        "output": output,
    }))
}
