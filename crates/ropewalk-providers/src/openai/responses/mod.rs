//! Responses: OpenAI's newer API, which keeps and takes back reasoning.

mod input;
mod options;
mod output;
mod stream;

use ropewalk_core::{ChatRequest, Result, WireDelta};
use serde_json::Value;

use super::shared::Body;
use crate::dialect::Dialect;
use crate::native::count;
use crate::wire::{Call, Decoder, Wire, merge_extra};
use stream::ResponsesDecoder;

/// The wire of Responses in one dialect.
///
/// Decisions that callers may meet:
///
/// - System messages before all others are the `instructions`, later ones messages of the
///   developer.
/// - Nothing is stored (`store: false`); `extra("openai", "store", true)` changes it.
/// - Reasoning goes back encrypted, before the call it led to. Without the encrypted text neither
///   the reasoning nor the provider's own ids of the calls beside it go back, since the server
///   would look them up in its store.
/// - Items of hosted tools are opaque parts and go back as they came.
/// - Annotations are [`WireDelta::Unknown`] in streams and stay in the raw reply.
#[derive(Debug, Clone, Copy)]
pub struct ResponsesWire {
    dialect: Dialect,
}

impl ResponsesWire {
    /// Creates the wire of a dialect.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect }
    }

    fn body(&self, model: &str, request: &ChatRequest) -> Result<Body<'_>> {
        let mut body = Body::new(&self.dialect, model, request);
        input::encode(&mut body, request)?;
        options::encode(&mut body, request)?;
        Ok(body)
    }
}

impl Wire for ResponsesWire {
    fn provider(&self) -> &str {
        self.dialect.name
    }

    fn encode(&self, model: &str, request: &ChatRequest, stream: bool) -> Result<Call> {
        let mut body = self.body(model, request)?;
        body.set("store", false);
        if stream {
            body.set("stream", true);
        }
        let Body {
            mut fields, notes, ..
        } = body;
        merge_extra(&mut fields, request, self.dialect.name);
        Ok(Call::new(self.dialect.responses_path, fields, notes))
    }

    fn decode(&self, body: Value) -> Result<Vec<WireDelta>> {
        output::whole(&body, self.dialect.name)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(ResponsesDecoder::new(self.dialect.name))
    }

    fn encode_count(&self, model: &str, request: &ChatRequest) -> Result<Option<Call>> {
        /// The fields of a request that the count takes.
        const COUNTED: [&str; 8] = [
            "model",
            "input",
            "instructions",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "text",
            "reasoning",
        ];
        if self.dialect.count_path.is_empty() {
            return Ok(None);
        }
        let body = self.body(model, request)?;
        let mut fields = body.fields;
        fields.retain(|name, _| COUNTED.contains(&name.as_str()));
        Ok(Some(Call::new(self.dialect.count_path, fields, body.notes)))
    }

    fn decode_count(&self, body: &Value) -> Option<u64> {
        count(body, "input_tokens")
    }
}
