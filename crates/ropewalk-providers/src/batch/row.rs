//! Requests of a batch, and their replies.

use ropewalk_core::{ChatModel, ChatRequest, ChatResponse, Result, StreamAssembler, Warning};
use serde_json::Value;

use crate::chat::RemoteChat;

/// One request of a batch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BatchRow {
    /// Name of the row, of which a run has no other.
    pub custom_id: String,
    /// Path of the request, for example `/v1/chat/completions`; the same for all rows of a run.
    pub url: String,
    /// Body of the request.
    pub body: Value,
    /// What was not honoured.
    pub warnings: Vec<Warning>,
}

impl BatchRow {
    /// Creates a row of any kind, for example for `/v1/embeddings`.
    pub fn new(custom_id: impl Into<String>, url: impl Into<String>, body: Value) -> Self {
        Self {
            custom_id: custom_id.into(),
            url: url.into(),
            body,
            warnings: Vec::new(),
        }
    }

    /// Creates a row from a chat request, by the same code that `chat` sends it with.
    ///
    /// # Errors
    /// As [`ChatModel::chat`] before anything is sent.
    pub fn chat(
        custom_id: impl Into<String>,
        model: &RemoteChat,
        request: &ChatRequest,
    ) -> Result<Self> {
        request.validate()?;
        let call = model.wire().encode(model.model(), request, false)?;
        let base = model.endpoint().base_url();
        let host = base.split_once("://").map_or(base, |(_, rest)| rest);
        let prefix = host.find('/').map_or("", |at| &host[at..]);
        let mut row = Self::new(custom_id, format!("{prefix}{}", call.path), call.body);
        for (name, _) in &call.headers {
            row.warnings
                .push(Warning::new(*name, "rows of a batch have no headers"));
        }
        row.warnings.extend(call.notes.into_warnings());
        Ok(row)
    }
}

/// What came of one row.
#[derive(Debug)]
#[non_exhaustive]
pub struct BatchReply {
    /// Position of the row among those of the run.
    pub index: usize,
    /// Name of the row.
    pub custom_id: String,
    /// The provider's id of the request.
    pub request_id: Option<String>,
    /// Body of the reply, or why there is none.
    pub result: Result<Value>,
}

impl BatchReply {
    pub(super) fn new(index: usize, custom_id: String, result: Result<Value>) -> Self {
        Self {
            index,
            custom_id,
            request_id: None,
            result,
        }
    }

    /// Reads the body as the reply of the model that the row was made with.
    ///
    /// # Errors
    /// The error of the row, or [`ErrorKind::Decode`](ropewalk_core::ErrorKind::Decode).
    pub fn chat(self, model: &RemoteChat) -> Result<ChatResponse> {
        let endpoint = model.endpoint();
        let provider = model.provider().to_owned();
        let prefix = format!("call_{}_", self.custom_id);
        let mut assembler = StreamAssembler::new(provider, model.model()).with_call_prefix(prefix);
        if let Some(id) = self.request_id {
            assembler = assembler.with_request_id(id);
        }
        for delta in endpoint.named(model.wire().decode(self.result?))? {
            assembler.push(delta);
        }
        endpoint.named(assembler.finish())
    }
}
