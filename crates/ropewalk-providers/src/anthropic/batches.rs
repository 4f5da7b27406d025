//! Message Batches: many requests at once, answered within a day.

use futures_util::StreamExt;
use http::Method;
use ropewalk_core::{
    ChatRequest, ChatResponse, Error, ErrorKind, Result, StreamAssembler, Warning,
};
use ropewalk_http::{ApiError, Framing};
use serde_json::{Value, json};

use super::{Anthropic, decode};
use crate::native::{count, no_reply, text};
use crate::wire::{Notes, merge_extra};

/// How far a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchStatus {
    /// Rows are being answered.
    InProgress,
    /// It was cancelled; rows that have begun are finished.
    Canceling,
    /// All rows are answered, cancelled or expired: the results can be fetched.
    Ended,
    /// What else the API says.
    Other(String),
}

/// How many rows of a batch are where. While the batch is in progress all are `processing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BatchCounts {
    /// Not done yet.
    pub processing: u64,
    /// Answered.
    pub succeeded: u64,
    /// Failed.
    pub errored: u64,
    /// Cancelled before they were sent to the model.
    pub canceled: u64,
    /// Not sent to the model within a day.
    pub expired: u64,
}

/// A batch as the API knows it. Its id is all that must be kept to resume after a restart.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MessageBatch {
    /// The API's id, `msgbatch_…`.
    pub id: String,
    /// How far it is.
    pub status: BatchStatus,
    /// How many rows are where.
    pub counts: BatchCounts,
    /// What was not honoured when the rows were encoded, each once; known only to the program that
    /// created the batch.
    pub warnings: Vec<Warning>,
    /// Everything the API says.
    pub raw: Value,
}

impl MessageBatch {
    /// Returns whether the results can be fetched.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.status == BatchStatus::Ended
    }

    fn of(raw: Value) -> Result<Self> {
        let id = text(&raw, "id").ok_or_else(|| no_reply(&raw, "id"))?;
        let status = match raw["processing_status"].as_str() {
            Some("in_progress") => BatchStatus::InProgress,
            Some("canceling") => BatchStatus::Canceling,
            Some("ended") => BatchStatus::Ended,
            other => BatchStatus::Other(other.unwrap_or_default().to_owned()),
        };
        let rows = |key| count(&raw["request_counts"], key).unwrap_or(0);
        let counts = BatchCounts {
            processing: rows("processing"),
            succeeded: rows("succeeded"),
            errored: rows("errored"),
            canceled: rows("canceled"),
            expired: rows("expired"),
        };
        Ok(Self {
            id,
            status,
            counts,
            warnings: Vec::new(),
            raw,
        })
    }
}

/// The result of one row.
#[derive(Debug)]
#[non_exhaustive]
pub struct BatchRow {
    /// The id the row was given when the batch was created.
    pub custom_id: String,
    /// The reply, or why there is none: [`ErrorKind::Cancelled`] for a cancelled row,
    /// [`ErrorKind::Timeout`] for one that expired (retryable in a new batch).
    pub result: Result<ChatResponse>,
}

/// The Message Batches of an account (platform.claude.com/docs/en/api/messages/batches).
#[derive(Debug, Clone)]
pub struct AnthropicBatches {
    anthropic: Anthropic,
}

impl AnthropicBatches {
    pub(super) fn new(anthropic: Anthropic) -> Self {
        Self { anthropic }
    }

    /// Creates a batch of requests to a model. Ids match `[A-Za-z0-9_-]{1,64}` and are unique; a
    /// batch takes 100,000 rows or 256 MB.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] that names the row which cannot be sent; otherwise whatever
    /// keeps the API from answering. A creation whose reply was lost may have happened: see
    /// [`list`](Self::list).
    pub async fn create(
        &self,
        model: &str,
        rows: impl IntoIterator<Item = (String, ChatRequest)>,
    ) -> Result<MessageBatch> {
        let wire = &self.anthropic.wire;
        let mut requests = Vec::new();
        let mut warnings: Vec<Warning> = Vec::new();
        let mut ids = std::collections::HashSet::new();
        for (id, request) in rows {
            if !ids.insert(id.clone()) {
                let message = format!("row {id:?} occurs twice");
                return Err(self.name(Error::invalid_request(message)));
            }
            let mut notes = Notes::new(request.on_unsupported);
            let body = request
                .validate()
                .and_then(|()| wire.body(model, &request, &mut notes));
            let mut params = body.map_err(|e| {
                let message = format!("row {id:?}: {}", e.message());
                self.name(Error::new(e.kind(), message))
            })?;
            merge_extra(&mut params, &request, "anthropic");
            for warning in notes.into_warnings() {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            requests.push(json!({"custom_id": id, "params": params}));
        }
        let body = json!({ "requests": requests });
        let path = "/v1/messages/batches";
        let mut batch = self.ask(Method::POST, path, Some(&body)).await?;
        batch.warnings = warnings;
        Ok(batch)
    }

    /// Returns how far a batch is. Works from the id alone, also after a restart.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for an id that does not exist; otherwise whatever keeps the API from
    /// answering.
    pub async fn get(&self, id: &str) -> Result<MessageBatch> {
        self.ask(Method::GET, &path(id, "")?, None).await
    }

    /// Cancels a batch; rows that have begun are finished.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn cancel(&self, id: &str) -> Result<MessageBatch> {
        self.ask(Method::POST, &path(id, "/cancel")?, None).await
    }

    /// Lists the newest batches, at most 1,000.
    ///
    /// # Errors
    /// Whatever keeps the API from answering.
    pub async fn list(&self) -> Result<Vec<MessageBatch>> {
        let path = "/v1/messages/batches?limit=1000";
        let request = self.anthropic.request(Method::GET, path)?;
        let mut page = self.anthropic.endpoint.json_of(&request).await?;
        let Some(Value::Array(data)) = page.get_mut("data").map(Value::take) else {
            return Err(self.name(no_reply(&page, "data")));
        };
        let batches: Result<_> = data.into_iter().map(MessageBatch::of).collect();
        batches.map_err(|e| self.name(e))
    }

    /// Fetches the results of a batch that has ended. They come in any order: match them by
    /// `custom_id`.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`ErrorKind::Decode`] for a line that is no result. Rows that
    /// failed are no error here.
    pub async fn results(&self, id: &str) -> Result<Vec<BatchRow>> {
        let path = path(id, "/results")?;
        let request = self.anthropic.request(Method::GET, &path)?;
        let reply = self.anthropic.endpoint.client().stream(&request).await?;
        let mut lines = reply.frames(Framing::Ndjson);
        let mut rows = Vec::new();
        while let Some(line) = lines.next().await {
            let row = line.and_then(|line| self.row(line.json()?));
            rows.push(row.map_err(|e| self.name(e))?);
        }
        Ok(rows)
    }

    fn row(&self, mut line: Value) -> Result<BatchRow> {
        let custom_id = text(&line, "custom_id").ok_or_else(|| no_reply(&line, "custom_id"))?;
        let mut result = line["result"].take();
        let failed = |kind, message: &str| Err(self.name(Error::new(kind, message)));
        let result = match result["type"].as_str() {
            Some("succeeded") => message(result["message"].take()),
            Some("errored") => {
                let error = ApiError::of(&result["error"]).unwrap_or_default();
                Err(error.into_error("anthropic"))
            }
            Some("canceled") => failed(ErrorKind::Cancelled, "the row was cancelled"),
            Some("expired") => failed(ErrorKind::Timeout, "the row was not begun within a day"),
            _ => return Err(no_reply(&result, "type")),
        };
        Ok(BatchRow { custom_id, result })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<MessageBatch> {
        let mut request = self.anthropic.request(method, path)?;
        if let Some(body) = body {
            request = request.with_json(body);
        }
        let reply = self.anthropic.endpoint.json_of(&request).await?;
        MessageBatch::of(reply).map_err(|e| self.name(e))
    }

    fn name(&self, error: Error) -> Error {
        self.anthropic.endpoint.name(error)
    }
}

/// Decodes the reply of a row.
fn message(message: Value) -> Result<ChatResponse> {
    let model = text(&message, "model").unwrap_or_default();
    let mut assembler = StreamAssembler::new("anthropic", model);
    for delta in decode::whole(message, "anthropic")? {
        assembler.push(delta);
    }
    assembler.finish()
}

/// Ids go into the path, so that nothing else may stand in them.
fn path(id: &str, rest: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.is_empty() || !id.chars().all(fits) {
        return Err(Error::invalid_request(format!(
            "{id:?} is no id of a batch"
        )));
    }
    Ok(format!("/v1/messages/batches/{id}{rest}"))
}
