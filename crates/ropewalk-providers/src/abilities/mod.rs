//! What models do besides chatting: embeddings, images, speech, transcription, moderation and
//! ranking, in the shapes of OpenAI and of those who took them over.
//!
//! | for | see | asks |
//! | --- | --- | --- |
//! | vectors of texts | [`RemoteEmbeddings`], [`EmbedShape`] | `/embeddings` |
//! | pictures, made and edited | [`RemoteImages`] | `/images/generations`, `/images/edits` |
//! | spoken text, whole or piece by piece | [`RemoteSpeech`] | `/audio/speech` |
//! | written speech, translated if wished | [`RemoteTranscription`] | `/audio/transcriptions`, `/audio/translations` |
//! | judgements of texts and images | [`RemoteModeration`] | `/moderations` |
//! | documents sorted by a query | [`RemoteRerank`], [`RerankShape`] | Cohere, Jina, Voyage, TEI, llama.cpp |
//!
//! Every one of them is an [`Endpoint`] and the name of a model. Fields of
//! a request's `extra` are merged into the body last, in a form as fields of the form. The id that
//! the provider gave a request is in the error that follows from it, and in the trace.

mod embed_shape;
mod embeddings;
mod images;
mod moderation;
mod openai;
mod rerank;
mod rerank_shape;
mod speech;
mod transcription;

use std::collections::BTreeMap;

use http::Method;
use ropewalk_core::{Error, ErrorKind, Result, Usage};
use ropewalk_http::{Form, Request};
use serde_json::{Map, Value};

use crate::endpoint::Endpoint;
use crate::wire;

pub use embed_shape::EmbedShape;
pub use embeddings::RemoteEmbeddings;
pub use images::RemoteImages;
pub use moderation::RemoteModeration;
pub use rerank::RemoteRerank;
pub use rerank_shape::RerankShape;
pub use speech::RemoteSpeech;
pub use transcription::{RemoteTranscription, TranscriptFormat};

/// What every model of this module consists of.
#[derive(Debug, Clone)]
struct Remote {
    endpoint: Endpoint,
    model: String,
    keep_raw: bool,
}

/// A reply that was parsed, with what names it in errors.
#[derive(Debug)]
struct Answer {
    body: Value,
    request_id: Option<String>,
}

impl Remote {
    fn new(endpoint: Endpoint, model: impl Into<String>) -> Self {
        Self {
            endpoint,
            model: model.into(),
            keep_raw: false,
        }
    }

    /// Merges what the caller wants in the body besides.
    fn merge(&self, body: &mut Map<String, Value>, extra: &BTreeMap<String, Map<String, Value>>) {
        wire::merge(body, extra, self.endpoint.provider());
    }

    async fn post(&self, path: &str, body: Map<String, Value>) -> Result<Answer> {
        let request = self.endpoint.request(Method::POST, path)?;
        self.send(&request.with_json(&Value::Object(body))).await
    }

    async fn send(&self, request: &Request) -> Result<Answer> {
        let response = self.endpoint.client().send(request).await?;
        let request_id = response.request_id();
        tracing::debug!(
            provider = self.endpoint.provider(),
            model = %self.model,
            request_id = request_id.as_deref(),
            attempts = response.attempts,
            "reply"
        );
        let body = self.endpoint.named(response.json())?;
        Ok(Answer { body, request_id })
    }

    /// Returns the error of a request that was not sent.
    fn invalid(&self, message: impl Into<String>) -> Error {
        self.endpoint.name(Error::invalid_request(message))
    }

    /// Returns the error of a reply that is not what the API promises.
    fn bad(&self, request_id: Option<&str>, message: impl std::fmt::Display) -> Error {
        let of = request_id.map(|id| format!(" (request {id})"));
        let message = format!("{}: {message}{}", self.model, of.unwrap_or_default());
        self.endpoint.name(Error::new(ErrorKind::Decode, message))
    }

    /// Returns the name of the model as the reply gives it, else as it was asked for.
    fn answered(&self, body: &Value) -> String {
        let named = body.get("model").and_then(Value::as_str);
        named.unwrap_or(&self.model).to_owned()
    }
}

/// The setters that every model of this module has.
macro_rules! remote_setters {
    ($model:ty) => {
        impl $model {
            /// Keeps the provider's reply in the response's `raw`; by default it is left out.
            #[must_use]
            pub fn with_keep_raw(mut self, keep: bool) -> Self {
                self.remote.keep_raw = keep;
                self
            }

            /// Returns the endpoint.
            #[must_use]
            pub fn endpoint(&self) -> &$crate::Endpoint {
                &self.remote.endpoint
            }
        }
    };
}
use remote_setters;

/// Reads the token counts of a reply, under the names that OpenAI, Jina, Voyage and Cohere use.
fn usage_of(body: &Value) -> Usage {
    let at = |paths: &[&str]| paths.iter().find_map(|p| body.pointer(p)?.as_u64());
    let mut usage = Usage::default();
    usage.input_tokens = at(&[
        "/usage/input_tokens",
        "/usage/prompt_tokens",
        "/usage/total_tokens",
        "/meta/billed_units/input_tokens",
        "/meta/tokens/input_tokens",
        "/prompt_eval_count",
    ]);
    usage.output_tokens = at(&["/usage/output_tokens", "/usage/completion_tokens"]);
    usage.cached_input_tokens = at(&["/usage/input_tokens_details/cached_tokens"]);
    usage.input_audio_tokens = at(&["/usage/input_token_details/audio_tokens"]);
    usage
}

/// Writes a JSON object as the fields of a form, as the official SDKs do: lists as repeated
/// `name[]`, objects as `name[key]`, null not at all.
fn form_of(fields: &Map<String, Value>) -> Form {
    fn add(form: Form, name: &str, value: &Value) -> Form {
        match value {
            Value::Null => form,
            Value::String(text) => form.text(name.to_owned(), text.as_str()),
            Value::Bool(_) | Value::Number(_) => form.text(name.to_owned(), value.to_string()),
            Value::Array(items) => {
                let name = format!("{name}[]");
                items.iter().fold(form, |form, item| add(form, &name, item))
            }
            Value::Object(fields) => fields.iter().fold(form, |form, (key, value)| {
                add(form, &format!("{name}[{key}]"), value)
            }),
        }
    }
    let form = Form::new();
    fields
        .iter()
        .fold(form, |form, (name, value)| add(form, name, value))
}

/// Returns the usual extension of files of a MIME type.
fn extension(mime: &str) -> &'static str {
    let kind = mime.split(';').next().unwrap_or_default().trim();
    match kind.to_ascii_lowercase().as_str() {
        "image/png" => "png",
        "image/jpeg" | "image/jpg" => "jpg",
        "image/webp" => "webp",
        "image/gif" => "gif",
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/wav" | "audio/x-wav" | "audio/wave" => "wav",
        "audio/ogg" | "audio/opus" => "ogg",
        "audio/flac" | "audio/x-flac" => "flac",
        "audio/mp4" | "audio/m4a" | "audio/x-m4a" => "m4a",
        "audio/webm" | "video/webm" => "webm",
        "video/mp4" => "mp4",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms_hold_lists_objects_and_no_nulls() {
        let fields = json!({"a": [1, "x"], "b": {"c": true}, "d": null, "e": "t"});
        let form = form_of(fields.as_object().unwrap());
        let body = Request::post("https://x.test").with_form(&form).body;
        let body = String::from_utf8(body.to_vec()).unwrap();
        let names: Vec<_> = body
            .split("name=\"")
            .skip(1)
            .map(|rest| {
                let (name, rest) = rest.split_once('"').unwrap();
                (name, rest.trim_start().split("\r\n").next().unwrap())
            })
            .collect();
        let expected = [("a[]", "1"), ("a[]", "x"), ("b[c]", "true"), ("e", "t")];
        assert_eq!(names, expected);
    }
}
