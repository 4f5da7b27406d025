//! Output items and whole replies.

use ropewalk_core::{Error, ErrorKind, FinishReason, Part, Result, WireDelta};
use ropewalk_http::ApiError;
use serde_json::Value;

use super::super::shared::{finish_reason, logprobs, usage};
use crate::native::{no_error, no_reply, text};

/// Reads a whole reply.
pub(super) fn whole(body: &Value, provider: &str) -> Result<Vec<WireDelta>> {
    no_error(body, provider)?;
    let Some(items) = body.get("output").and_then(Value::as_array) else {
        return Err(no_reply(body, "output"));
    };
    let mut deltas = vec![started(body)];
    let mut refused = false;
    for (slot, item) in (0..).zip(items) {
        refused |= refuses(item);
        self::item(slot, item, provider, &mut deltas);
    }
    end(body, provider, refused, &mut deltas)?;
    Ok(deltas)
}

pub(super) fn started(response: &Value) -> WireDelta {
    WireDelta::Started {
        id: text(response, "id"),
        model: text(response, "model"),
    }
}

/// Reads status and usage of a reply that is over.
///
/// # Errors
/// For a reply that failed, was cancelled or is not over.
pub(super) fn end(
    response: &Value,
    provider: &str,
    refused: bool,
    deltas: &mut Vec<WireDelta>,
) -> Result<()> {
    let read = response.get("usage").and_then(|u| usage(u, false));
    deltas.extend(read.map(WireDelta::Usage));
    let reason = match text(response, "status").as_deref() {
        None | Some("completed") if refused => FinishReason::Refusal,
        None | Some("completed") => FinishReason::Stop,
        Some("incomplete") => {
            let details = response.get("incomplete_details");
            let reason = details.and_then(|d| text(d, "reason"));
            finish_reason(reason.as_deref().unwrap_or("length"))
        }
        Some("failed") => {
            no_error(response, provider)?;
            let error = Error::new(ErrorKind::Server, "the reply failed without a reason");
            return Err(error.with_provider(provider.to_owned()));
        }
        Some("cancelled") => {
            let error = Error::new(ErrorKind::Cancelled, "the reply was cancelled");
            return Err(error.with_provider(provider.to_owned()));
        }
        Some(status) => {
            let message =
                format!("the reply is not there yet ({status}): do not ask for `background`");
            return Err(Error::new(ErrorKind::Decode, message));
        }
    };
    deltas.push(WireDelta::FinishReason(reason));
    deltas.push(WireDelta::End);
    Ok(())
}

/// Reads a whole item.
pub(super) fn item(slot: u32, item: &Value, provider: &str, deltas: &mut Vec<WireDelta>) {
    match text(item, "type").as_deref() {
        Some("message") => {
            let content = item.get("content").and_then(Value::as_array);
            for part in content.into_iter().flatten() {
                let piece = text(part, "text").or_else(|| text(part, "refusal"));
                deltas.extend(piece.map(|text| WireDelta::Text { slot, text }));
                let read = part.get("logprobs").map(logprobs).unwrap_or_default();
                if !read.is_empty() {
                    deltas.push(WireDelta::Logprobs(read));
                }
            }
        }
        Some("reasoning") => {
            deltas.push(reasoning_id(slot, item));
            let text = thoughts(item);
            deltas.push(WireDelta::Reasoning { slot, text });
            deltas.extend(sealed(slot, item));
        }
        Some("function_call") => deltas.extend(call(slot, item, true)),
        _ => deltas.push(WireDelta::Part(Part::opaque(provider, item.clone()))),
    }
    deltas.push(WireDelta::PartDone { slot });
}

/// Returns whether an item holds a refusal.
pub(super) fn refuses(item: &Value) -> bool {
    let content = item.get("content").and_then(Value::as_array);
    let mut parts = content.into_iter().flatten();
    parts.any(|p| p.get("type").is_some_and(|t| t == "refusal"))
}

pub(super) fn reasoning_id(slot: u32, item: &Value) -> WireDelta {
    WireDelta::ReasoningMeta {
        slot,
        signature: None,
        redacted: None,
        id: text(item, "id"),
    }
}

/// The encrypted thoughts, which come whole.
pub(super) fn sealed(slot: u32, item: &Value) -> Option<WireDelta> {
    let redacted = Some(text(item, "encrypted_content")?);
    Some(WireDelta::ReasoningMeta {
        slot,
        signature: None,
        redacted,
        id: None,
    })
}

/// The readable thoughts: parts of the summary as paragraphs, and what open models think.
pub(super) fn thoughts(item: &Value) -> String {
    let texts = |key: &str| {
        let parts = item.get(key).and_then(Value::as_array);
        let texts = parts.into_iter().flatten().filter_map(|p| text(p, "text"));
        texts.collect::<Vec<_>>()
    };
    let mut all = texts("summary");
    all.extend(texts("content"));
    all.join(PARAGRAPH)
}

/// What stands between the parts of a summary.
pub(super) const PARAGRAPH: &str = "\n\n";

/// A call of a function: with its arguments, or its beginning.
pub(super) fn call(slot: u32, item: &Value, with_arguments: bool) -> [WireDelta; 2] {
    let arguments = text(item, "arguments").filter(|_| with_arguments);
    [
        WireDelta::ToolCall {
            slot,
            id: text(item, "call_id").or_else(|| text(item, "id")),
            name: text(item, "name"),
            arguments: arguments.unwrap_or_default(),
        },
        WireDelta::ToolCallMeta {
            slot,
            item_id: text(item, "id"),
            signature: None,
        },
    ]
}

/// Makes an error of an event that holds one.
pub(super) fn error(event: &Value, provider: &str) -> Error {
    match ApiError::of(event) {
        Some(error) => error.into_error(provider),
        None => Error::new(
            ErrorKind::Server,
            "the stream reports an error without words",
        )
        .with_provider(provider.to_owned()),
    }
}
