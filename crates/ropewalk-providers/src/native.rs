//! What the wires have in common.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ropewalk_core::schemars::Schema;
use ropewalk_core::{
    ChatRequest, Effort, Error, ErrorKind, Media, MediaSource, Message, Part, Result,
    SchemaDialect, ToolCall,
};
use ropewalk_http::ApiError;
use serde_json::{Map, Value, json};

use crate::sniff::sniff;
use crate::wire::{Notes, merge_extra};

/// The methods every provider has that is one [`Endpoint`](crate::Endpoint) and a wire.
macro_rules! endpoint_methods {
    ($provider:ty) => {
        impl $provider {
            /// Returns where the API is and how it is told who asks.
            #[must_use]
            pub fn endpoint(&self) -> &$crate::Endpoint {
                &self.endpoint
            }

            /// Sets another endpoint: headers, authentication and parameters of one's own.
            #[must_use]
            pub fn with_endpoint(mut self, endpoint: $crate::Endpoint) -> Self {
                self.endpoint = endpoint;
                self
            }

            /// Sets another base URL; a slash at its end does not matter.
            #[must_use]
            pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
                self.endpoint = self.endpoint.with_base_url(url);
                self
            }

            /// Sets the HTTP client: time-outs, retry, proxy or a transport of one's own.
            #[must_use]
            pub fn with_client(mut self, client: ropewalk_http::Client) -> Self {
                self.endpoint = self.endpoint.with_client(client);
                self
            }
        }
    };
}
pub(crate) use endpoint_methods;

/// Returns a `f32` as the shortest JSON number that reads back as it (0.7, not 0.699999988).
pub(crate) fn number(x: f32) -> Value {
    x.to_string()
        .parse::<f64>()
        .map_or(Value::Null, Value::from)
}

/// Returns the arguments of a call as an object. Text that is none (cut or malformed JSON) becomes
/// `{"invalid_arguments": TEXT}`, so that the model sees what it wrote.
pub(crate) fn arguments(call: &ToolCall) -> Map<String, Value> {
    match call.args() {
        Ok(arguments) => arguments,
        Err(_) => [("invalid_arguments".to_owned(), json!(call.arguments))]
            .into_iter()
            .collect(),
    }
}

/// Returns whether a part is a text that APIs refuse as blank.
pub(crate) fn is_blank(part: &Part) -> bool {
    part.as_text().is_some_and(|t| t.trim().is_empty())
}

/// Sorts results as their calls: without ids, calls of one tool are told apart by order alone.
pub(crate) fn sort_results(results: &mut [&Part], messages: &[Message]) {
    let calls = messages.iter().flat_map(Message::tool_calls);
    let calls: Vec<&str> = calls.map(|c| c.id.as_str()).collect();
    results.sort_by_key(|part| {
        let id = part.as_tool_result().map(|r| r.call_id.as_str());
        calls.iter().rposition(|call| Some(*call) == id)
    });
}

/// Finds the name of the tool that a result answers, when the result does not say.
pub(crate) fn tool_name<'a>(name: &'a str, call_id: &str, messages: &'a [Message]) -> &'a str {
    if !name.is_empty() {
        return name;
    }
    let mut calls = messages.iter().rev().flat_map(Message::tool_calls);
    calls.find(|c| c.id == call_id).map_or("", |c| &c.name)
}

/// Returns MIME type and base64 of media whose bytes are at hand: given, or in a `data:` URL.
pub(crate) fn inline(media: &Media, default_mime: &str) -> Option<(String, String)> {
    let mime = |found: &str| match &media.mime {
        Some(mime) => mime.clone(),
        None if found.is_empty() => default_mime.to_owned(),
        None => found.to_owned(),
    };
    match &media.source {
        MediaSource::Bytes(bytes) => {
            Some((mime(sniff(bytes).unwrap_or("")), STANDARD.encode(bytes)))
        }
        MediaSource::Url(url) => {
            let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
            let kind = head.strip_suffix(";base64")?;
            Some((mime(kind), data.to_owned()))
        }
        _ => None,
    }
}

/// Returns the bytes of a base64 text; whatever is no base64 gives nothing.
pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_default()
}

/// Notes that a wire has no place for the resolution hint of a picture.
pub(crate) fn no_detail(media: &Media, notes: &mut Notes) -> Result<()> {
    let reason = "the API has no resolution hint";
    notes.unsupported("detail", media.detail.as_ref(), reason)
}

/// Notes a part that the wire cannot send.
pub(crate) fn leave_part_out(part: &Part, reason: &'static str, notes: &mut Notes) -> Result<()> {
    notes.leave_out(format!("{} part", part.kind()), reason)
}

/// Notes that a wire has no place for the names of speakers.
pub(crate) fn no_names(messages: &[Message], notes: &mut Notes) -> Result<()> {
    let name = messages.iter().find_map(|m| m.name.as_ref());
    let reason = "the API takes no names of speakers";
    notes.unsupported("message name", name, reason)
}

/// Returns the name of a model that is to stand in a path, where it must change nothing else.
pub(crate) fn in_path(model: &str) -> Result<&str> {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && !"?#%\\".contains(c);
    let segments = || model.split('/').all(|s| !matches!(s, "" | "." | ".."));
    if model.chars().all(fits) && segments() {
        return Ok(model);
    }
    let message = format!("{model:?} is no name of a model that can stand in an address");
    Err(Error::invalid_request(message))
}

/// Returns an id of a call in the letters, digits, `_` and `-` that some APIs insist on.
pub(crate) fn plain_id(id: &str) -> Cow<'_, str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.chars().all(allowed) {
        return id.into();
    }
    let clean = |c| if allowed(c) { c } else { '_' };
    id.chars().map(clean).collect::<String>().into()
}

/// Returns a schema in a dialect and notes what was changed.
pub(crate) fn schema(dialect: SchemaDialect, schema: &Schema, notes: &mut Notes) -> Result<Value> {
    let (schema, warnings) = dialect.apply(schema)?;
    for warning in warnings {
        notes.leave_out(warning.option, warning.reason)?;
    }
    Ok(schema)
}

/// Returns a budget of tokens for an amount of thinking, for models that take no amounts: 1,024,
/// 2,048, 8,192, 16,384 and 24,576, which every model with budgets allows.
pub(crate) fn budget(effort: Effort) -> Option<u32> {
    match effort {
        Effort::Minimal => Some(1024),
        Effort::Low => Some(2048),
        Effort::Medium => Some(8192),
        Effort::High => Some(16_384),
        Effort::Max => Some(24_576),
        Effort::Budget(tokens) => Some(tokens),
        _ => None,
    }
}

/// Returns an unsigned number of an object.
pub(crate) fn count(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64()
}

/// Returns a text of an object that is not empty.
pub(crate) fn text(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// Fails with the error that a body holds instead of a reply.
pub(crate) fn no_error(body: &Value, provider: &str) -> Result<()> {
    // Google's streams may give it in a list.
    let holder = body.get(0).unwrap_or(body);
    let has = holder.get("error").is_some_and(|e| !e.is_null());
    match ApiError::of(body).filter(|_| has) {
        Some(error) => Err(error.into_error(provider)),
        None => Ok(()),
    }
}

/// Creates the error for a body that is no reply of this API.
pub(crate) fn no_reply(body: &Value, missing: &str) -> Error {
    let shown: String = body.to_string().chars().take(120).collect();
    let message = format!("the reply has no `{missing}`: {shown}");
    Error::new(ErrorKind::Decode, message)
}

/// As [`merge_extra`], but the fields of the object `key` are merged one by one.
pub(crate) fn merge_nested(
    body: &mut Map<String, Value>,
    request: &ChatRequest,
    provider: &str,
    key: &str,
) {
    let ours = body.get(key).cloned();
    merge_extra(body, request, provider);
    if let (Some(Value::Object(ours)), Some(Value::Object(now))) = (ours, body.get_mut(key)) {
        for (name, value) in ours {
            now.entry(name).or_insert(value);
        }
    }
}

/// Inserts a value if there is one.
pub(crate) fn set(body: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(key.to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        for (x, shown) in [(0.7, "0.7"), (1.0, "1.0"), (0.95, "0.95"), (-0.5, "-0.5")] {
            assert_eq!(number(x).to_string(), shown);
        }
    }

    #[test]
    fn models_in_paths_change_nothing_else() {
        for good in ["gpt-x", "claude@2025", "tunedModels/a", "a:b", "größe"] {
            assert_eq!(in_path(good).unwrap(), good);
        }
        for bad in [
            "", "/a", "a//b", "..", "a/../b", "a/", "a?b", "a#b", "a%2e", "a b", "a\\b", "a\n",
        ] {
            assert!(in_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn arguments_are_objects() {
        let of = |text: &str| Value::from(arguments(&ToolCall::new("a", "f", text)));
        assert_eq!(of(""), json!({}));
        assert_eq!(of("null"), json!({}));
        assert_eq!(of(r#"{"x": 1}"#), json!({"x": 1}));
        assert_eq!(of(r#"{"x": "#), json!({"invalid_arguments": "{\"x\": "}));
        assert_eq!(of("[1]"), json!({"invalid_arguments": "[1]"}));
    }

    #[test]
    fn media_is_inlined() {
        let png = Media::new(MediaSource::Bytes(vec![0x89, b'P', b'N', b'G'].into()));
        let inlined = |m: &Media| inline(m, "x/y");
        assert_eq!(inlined(&png), Some(("image/png".into(), "iVBORw==".into())));
        let url = Media::url("data:image/gif;base64,AAE=");
        assert_eq!(inlined(&url), Some(("image/gif".into(), "AAE=".into())));
        assert_eq!(inlined(&Media::url("https://x.test/a.png")), None);
        assert_eq!(inlined(&Media::file_id("f")), None);
    }
}
