//! What a run wants of a provider.

use std::fmt;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use ropewalk_core::{Error, Result, async_trait};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::row::BatchRow;

/// What one batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchLimits {
    /// Most rows.
    pub rows: usize,
    /// Most bytes of all lines.
    pub bytes: usize,
}

impl BatchLimits {
    /// Creates limits.
    #[must_use]
    pub fn new(rows: usize, bytes: usize) -> Self {
        Self { rows, bytes }
    }
}

/// A batch to be created.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewBatch {
    /// A name that no other batch has; [`BatchService::find`] looks for it.
    pub key: String,
    /// Address of the requests, as the rows have it.
    pub url: String,
    /// Id of the uploaded lines, where the provider has uploads.
    pub file: Option<String>,
    /// The lines.
    pub lines: Bytes,
}

/// Where a batch stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum BatchPhase {
    /// The lines are checked.
    #[default]
    Validating,
    /// Rows are answered.
    InProgress,
    /// The output is put together.
    Finalizing,
    /// All rows were tried.
    Completed,
    /// The lines were refused; no row was tried.
    Failed,
    /// Time ran out; some rows may be there.
    Expired,
    /// It is being stopped.
    Cancelling,
    /// It was stopped; some rows may be there.
    Cancelled,
    /// A state this library does not know, by its name. It is taken as not over.
    Other(String),
}

impl BatchPhase {
    /// Returns the name of the state, as OpenAI has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Validating => "validating",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Other(name) => name,
        }
    }

    /// Returns whether nothing more will happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Expired | Self::Cancelled
        )
    }
}

impl From<String> for BatchPhase {
    fn from(name: String) -> Self {
        match name.as_str() {
            "validating" => Self::Validating,
            "in_progress" => Self::InProgress,
            "finalizing" => Self::Finalizing,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "expired" => Self::Expired,
            "cancelling" => Self::Cancelling,
            "cancelled" => Self::Cancelled,
            _ => Self::Other(name),
        }
    }
}

impl From<BatchPhase> for String {
    fn from(phase: BatchPhase) -> Self {
        phase.as_str().to_owned()
    }
}

impl fmt::Display for BatchPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a batch is getting on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BatchStatus {
    /// Where it stands.
    pub phase: BatchPhase,
    /// Rows answered.
    pub done: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Where the replies are: ids of files or addresses, in the provider's terms.
    pub outputs: Vec<String>,
    /// Why it failed, one line each.
    pub reasons: Vec<String>,
}

impl BatchStatus {
    /// Creates a status without counts and outputs; the fields are public.
    #[must_use]
    pub fn new(phase: BatchPhase) -> Self {
        Self {
            phase,
            ..Self::default()
        }
    }
}

/// One line of a batch's output.
#[derive(Debug)]
#[non_exhaustive]
pub struct RowReply {
    /// The row it answers.
    pub custom_id: String,
    /// The provider's id of the request.
    pub request_id: Option<String>,
    /// The body of the reply.
    pub result: Result<Value, Error>,
}

impl RowReply {
    /// Creates a line without an id of the request.
    pub fn new(custom_id: impl Into<String>, result: Result<Value, Error>) -> Self {
        Self {
            custom_id: custom_id.into(),
            request_id: None,
            result,
        }
    }
}

/// A provider that takes batches.
///
/// The run saves its state before and after every call that makes something, so an implementation
/// need not remember anything. Ids are the provider's.
#[async_trait]
pub trait BatchService: Send + Sync + fmt::Debug {
    /// Returns who takes the batches.
    fn provider(&self) -> &str;

    /// Returns what one batch may hold.
    fn limits(&self) -> BatchLimits;

    /// Returns the line of a row.
    fn line(&self, row: &BatchRow) -> Value;

    /// Uploads lines under a name. Providers that take the lines with the batch return `None`, as
    /// this does unless overridden.
    ///
    /// # Errors
    /// Those of the provider.
    async fn upload(&self, name: &str, lines: Bytes) -> Result<Option<String>> {
        let _unused = (name, lines);
        Ok(None)
    }

    /// Looks for lines that were uploaded under a name by a process that did not live to save
    /// their id.
    ///
    /// # Errors
    /// Those of the provider.
    async fn uploaded(&self, name: &str, bytes: u64) -> Result<Option<String>> {
        let _ = (name, bytes);
        Ok(None)
    }

    /// Creates a batch and returns its id.
    ///
    /// # Errors
    /// Those of the provider.
    async fn create(&self, batch: &NewBatch) -> Result<String>;

    /// Looks for a batch that was created with a key by a process that did not live to save its id,
    /// `since` seconds after 1970 or later.
    ///
    /// # Errors
    /// Those of the provider.
    async fn find(&self, key: &str, since: u64) -> Result<Option<String>>;

    /// Returns how a batch is getting on.
    ///
    /// # Errors
    /// Those of the provider.
    async fn status(&self, batch: &str) -> Result<BatchStatus>;

    /// Returns the lines of one of [`BatchStatus::outputs`].
    ///
    /// # Errors
    /// Those of the provider.
    async fn output(&self, output: &str) -> Result<BoxStream<'static, Result<Bytes>>>;

    /// Reads a line of an output; `None` when it is none.
    fn reply(&self, line: &Value) -> Option<RowReply>;

    /// Stops a batch.
    ///
    /// # Errors
    /// Those of the provider.
    async fn cancel(&self, batch: &str) -> Result<()>;
}
