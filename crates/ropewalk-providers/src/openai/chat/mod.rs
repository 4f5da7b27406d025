//! Chat Completions: what OpenAI and most other servers speak.

mod messages;
mod options;
mod reply;

use ropewalk_core::{ChatRequest, Result, WireDelta};
use serde_json::Value;

use super::shared::Body;
use crate::dialect::Dialect;
use crate::native::{in_path, no_error, no_reply};
use crate::wire::{Call, Decoder, Wire, merge_extra};
use reply::ChatDecoder;

/// The wire of Chat Completions in one dialect.
///
/// Decisions that callers may meet:
///
/// - Text parts of a message are one text, without anything between them.
/// - An opaque part of this provider is a part of the content, a message among tool results, and
///   in a message of the model an object whose fields are set on the message. Items of Responses
///   are left out with a warning.
/// - Reasoning goes back only under [`Dialect::reasoning_replay`], and that of another provider
///   never; other servers ask for it not to.
/// - JSON mode without the word JSON in the prompt is an error before anything is sent, where
///   [`Dialect::json_word`] says that the server would refuse it.
/// - Annotations, citations and pictures of a reply are [`WireDelta::Unknown`] in streams and stay
///   in the raw reply.
/// - A stream is whole with `[DONE]`, or when its body ends after a reason to finish.
#[derive(Debug, Clone, Copy)]
pub struct ChatWire {
    dialect: Dialect,
}

impl ChatWire {
    /// Creates the wire of a dialect.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect }
    }
}

impl Wire for ChatWire {
    fn provider(&self) -> &str {
        self.dialect.name
    }

    fn encode(&self, model: &str, request: &ChatRequest, stream: bool) -> Result<Call> {
        let mut body = Body::new(&self.dialect, model, request);
        messages::encode(&mut body, request)?;
        options::encode(&mut body, request)?;
        if stream {
            body.set("stream", true);
            if self.dialect.stream_usage {
                body.set("stream_options", serde_json::json!({"include_usage": true}));
            }
        }
        let Body {
            mut fields, notes, ..
        } = body;
        merge_extra(&mut fields, request, self.dialect.name);
        let path = match self.dialect.chat_path.contains("{model}") {
            true => self.dialect.chat_path.replace("{model}", in_path(model)?),
            false => self.dialect.chat_path.to_owned(),
        };
        Ok(Call::new(path, fields, notes))
    }

    fn decode(&self, body: Value) -> Result<Vec<WireDelta>> {
        no_error(&body, self.dialect.name)?;
        let choices = body.get("choices").and_then(Value::as_array);
        if choices.is_none_or(Vec::is_empty) {
            return Err(no_reply(&body, "choices"));
        }
        let mut deltas = Vec::new();
        let mut decoder = ChatDecoder::new(&self.dialect);
        decoder.chunk(&body, &mut deltas)?;
        decoder.end(&mut deltas);
        Ok(deltas)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(ChatDecoder::new(&self.dialect))
    }
}
