//! The batches of OpenAI.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use http::{Method, StatusCode};
use ropewalk_core::{Error, ErrorKind, HttpFailure, Result, async_trait};
use ropewalk_http::ApiError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::row::BatchRow;
use super::service::{BatchLimits, BatchPhase, BatchService, BatchStatus, NewBatch, RowReply};
use crate::endpoint::Endpoint;
use crate::openai::OpenAi;
use crate::resources::{Files, ListOptions, Page, Upload, checked, object, or_default, page};

/// The batches of an account, `/batches`.
#[derive(Debug, Clone)]
pub struct Batches {
    endpoint: Endpoint,
    files: Files,
}

impl OpenAi {
    /// Returns the batches of the account.
    #[must_use]
    pub fn batches(&self) -> Batches {
        Batches::new(self.endpoint.clone())
    }
}

/// A batch as the API describes it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchObject {
    /// Its id.
    pub id: String,
    /// Where it stands.
    #[serde(default)]
    pub status: BatchPhase,
    /// Path of its requests.
    #[serde(default)]
    pub endpoint: String,
    /// Id of its lines.
    #[serde(default)]
    pub input_file_id: String,
    /// Id of the replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_file_id: Option<String>,
    /// Id of the replies of rows that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_file_id: Option<String>,
    /// When it was created, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<u64>,
    /// How many rows there are, are done and have failed: `total`, `completed`, `failed`.
    #[serde(default, deserialize_with = "or_default")]
    pub request_counts: BTreeMap<String, u64>,
    /// Why the lines were refused: `data`, a list of `code`, `line`, `message`, `param`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Value>,
    /// Notes of one's own.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: BTreeMap<String, String>,
    /// What else the API says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl BatchObject {
    /// Returns what a run wants to know.
    #[must_use]
    pub fn status(&self) -> BatchStatus {
        let count = |name: &str| self.request_counts.get(name).copied().unwrap_or(0);
        let mut status = BatchStatus::new(self.status.clone());
        (status.done, status.failed) = (count("completed"), count("failed"));
        let outputs = [&self.output_file_id, &self.error_file_id];
        status.outputs = outputs.into_iter().flatten().cloned().collect();
        let errors = self.errors.as_ref().and_then(|e| e.get("data")?.as_array());
        let words = |error: &Value| {
            let text = |name: &str| error.get(name).and_then(Value::as_str);
            let line = error.get("line").and_then(Value::as_u64);
            let line = line.map(|l| format!("line {l}: ")).unwrap_or_default();
            let code = text("code").map(|c| format!(" ({c})")).unwrap_or_default();
            format!("{line}{}{code}", text("message").unwrap_or("refused"))
        };
        status.reasons = errors.into_iter().flatten().map(words).collect();
        status
    }
}

const BATCHES: &str = "/batches";

/// The note that holds the key of a run's batch.
const KEY: &str = "ropewalk_batch";

impl Batches {
    /// Creates the resource.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            files: Files::new(endpoint.clone()),
            endpoint,
        }
    }

    /// Creates a batch from uploaded lines, with notes of one's own. The window is 24 hours, the
    /// only one there is.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn create(
        &self,
        input_file: &str,
        url: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<BatchObject> {
        let mut body = json!({
            "input_file_id": input_file,
            "endpoint": url,
            "completion_window": "24h",
        });
        if !metadata.is_empty() {
            body["metadata"] = json!(metadata);
        }
        object(&self.endpoint, Method::POST, BATCHES, Some(&body)).await
    }

    /// Returns a batch.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and others of the API.
    pub async fn retrieve(&self, batch: &str) -> Result<BatchObject> {
        let path = format!("{BATCHES}/{}", checked(&self.endpoint, batch)?);
        object(&self.endpoint, Method::GET, &path, None).await
    }

    /// Returns a page of the batches, newest first.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn list(&self, options: &ListOptions) -> Result<Page<BatchObject>> {
        page(&self.endpoint, BATCHES, options).await
    }

    /// Stops a batch; what is done stays.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve).
    pub async fn cancel(&self, batch: &str) -> Result<BatchObject> {
        let path = format!("{BATCHES}/{}/cancel", checked(&self.endpoint, batch)?);
        object(&self.endpoint, Method::POST, &path, None).await
    }
}

#[async_trait]
impl BatchService for Batches {
    fn provider(&self) -> &str {
        self.endpoint.provider()
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits::new(50_000, 200_000_000)
    }

    fn line(&self, row: &BatchRow) -> Value {
        json!({"custom_id": row.custom_id, "method": "POST", "url": row.url, "body": row.body})
    }

    async fn upload(&self, name: &str, lines: Bytes) -> Result<Option<String>> {
        let file = self
            .files
            .upload(&Upload::new(name, lines, "batch"))
            .await?;
        Ok(Some(file.id))
    }

    async fn uploaded(&self, name: &str, bytes: u64) -> Result<Option<String>> {
        let options = ListOptions::new().with_filter("purpose", "batch");
        let files = self.files.all(&options).await?;
        let same = |f: &&crate::resources::FileObject| {
            f.filename.as_deref() == Some(name) && f.bytes == Some(bytes)
        };
        Ok(files.iter().find(same).map(|f| f.id.clone()))
    }

    async fn create(&self, batch: &NewBatch) -> Result<String> {
        let Some(file) = &batch.file else {
            let error = Error::invalid_request("a batch wants the id of its uploaded lines");
            return Err(self.endpoint.name(error));
        };
        let metadata = BTreeMap::from([(KEY.to_owned(), batch.key.clone())]);
        Ok(Self::create(self, file, &batch.url, &metadata).await?.id)
    }

    async fn find(&self, key: &str, since: u64) -> Result<Option<String>> {
        // Clocks differ.
        let since = since.saturating_sub(3600);
        let mut options = ListOptions::new().with_limit(100);
        loop {
            let page = self.list(&options).await?;
            let own = |b: &&BatchObject| b.metadata.get(KEY).is_some_and(|k| k == key);
            if let Some(batch) = page.data.iter().find(own) {
                return Ok(Some(batch.id.clone()));
            }
            let older = page
                .data
                .last()
                .and_then(|b| b.created_at)
                .is_some_and(|t| t < since);
            match page.next {
                Some(next) if !older && options.after.as_ref() != Some(&next) => {
                    options.after = Some(next);
                }
                _ => return Ok(None),
            }
        }
    }

    async fn status(&self, batch: &str) -> Result<BatchStatus> {
        Ok(self.retrieve(batch).await?.status())
    }

    async fn output(&self, output: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.files.content_stream(output).await
    }

    fn reply(&self, line: &Value) -> Option<RowReply> {
        let custom_id = line.get("custom_id")?.as_str()?;
        let response = line.get("response").filter(|r| !r.is_null());
        let request_id = response.and_then(|r| r.get("request_id")?.as_str());
        let result = match response {
            Some(response) => self.result(response),
            None => Err(self.refusal(line)),
        };
        let mut reply = RowReply::new(custom_id, result);
        reply.request_id = request_id.map(str::to_owned);
        Some(reply)
    }

    async fn cancel(&self, batch: &str) -> Result<()> {
        Self::cancel(self, batch).await?;
        Ok(())
    }
}

impl Batches {
    /// Reads the response of a row: its body, or the error that its status and body call for.
    fn result(&self, response: &Value) -> Result<Value> {
        let status = response.get("status_code").and_then(Value::as_u64);
        let status = status.and_then(|s| u16::try_from(s).ok());
        let status = status
            .and_then(|s| StatusCode::from_u16(s).ok())
            .unwrap_or_default();
        let body = response.get("body").cloned().unwrap_or_default();
        if status.is_success() && !body.is_null() {
            return Ok(body);
        }
        let told = ApiError::of(&body);
        let kind = told
            .as_ref()
            .map_or(ErrorKind::Decode, |e| e.kind(Some(status.as_u16())));
        let message = told
            .as_ref()
            .map_or_else(|| format!("HTTP {status}"), |e| e.message.clone());
        let mut http = HttpFailure::new(status);
        if let Some(error) = told {
            (http.code, http.error_type, http.param) = (error.code, error.error_type, error.param);
        }
        let request_id = response.get("request_id").and_then(Value::as_str);
        http.request_id = request_id.map(str::to_owned);
        Err(self
            .endpoint
            .name(Error::new(kind, message).with_http(http)))
    }

    /// Reads the error of a row that got no response.
    fn refusal(&self, line: &Value) -> Error {
        let told = line.get("error");
        let text = |name: &str| told.and_then(|e| e.get(name)?.as_str());
        let kind = match text("code") {
            Some("batch_expired") => ErrorKind::Timeout,
            Some("batch_cancelled") => ErrorKind::Cancelled,
            _ => ErrorKind::Server,
        };
        let code = text("code").unwrap_or("no response");
        let message = format!("{} ({code})", text("message").unwrap_or("the row failed"));
        self.endpoint.name(Error::new(kind, message))
    }
}
