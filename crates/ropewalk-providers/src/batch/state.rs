//! What is kept between two processes.

use std::path::Path;

use ropewalk_core::{Error, ErrorKind, Result, Warning};
use serde::{Deserialize, Serialize};

use super::service::BatchStatus;
use crate::resources::atomic;

/// The number of this format.
const VERSION: u32 = 1;

/// A run as the file `state.json` in its directory holds it, for any provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchState {
    /// Number of the format: 1.
    pub version: u32,
    /// Name of the run, of which there is no other.
    pub run: String,
    /// Who takes the batches.
    pub provider: String,
    /// Path of the requests.
    pub url: String,
    /// When the run began, in seconds since 1970.
    pub created: u64,
    /// Rows in all.
    pub rows: usize,
    /// FNV-1a (64 bits) of all lines.
    pub digest: String,
    /// What was not honoured, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// Whether the run was cancelled: nothing more is handed over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// The batches.
    pub parts: Vec<BatchPart>,
}

/// One batch of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BatchPart {
    /// Position of its first row.
    pub first: usize,
    /// How many rows it has.
    pub rows: usize,
    /// How many bytes its lines have.
    pub bytes: u64,
    /// What has been done.
    pub phase: PartPhase,
    /// Id of the uploaded lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Id of the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// How it was getting on when it was looked at last.
    pub status: BatchStatus,
}

/// What has been done for a batch. The states ending in `-ing` are saved before the call they name
/// is made: found in a file they say that nobody knows whether it came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartPhase {
    /// Nothing.
    #[default]
    New,
    /// The lines are perhaps uploaded.
    Uploading,
    /// The lines are uploaded.
    Uploaded,
    /// The batch is perhaps created.
    Creating,
    /// The batch is created.
    Created,
    /// The batch is over.
    Ended,
    /// Its replies are here.
    Fetched,
}

impl BatchState {
    pub(super) fn new(run: String, provider: &str, url: String, created: u64) -> Self {
        Self {
            version: VERSION,
            run,
            provider: provider.to_owned(),
            url,
            created,
            rows: 0,
            digest: String::new(),
            warnings: Vec::new(),
            cancelled: false,
            parts: Vec::new(),
        }
    }

    /// Reads a state; `None` when there is no file.
    pub(super) async fn load(path: &Path, provider: &str) -> Result<Option<Self>> {
        let Some(bytes) = atomic::read(path).await? else {
            return Ok(None);
        };
        let bad = |what: String| {
            let message = format!("{}: {what}", path.display());
            Error::new(ErrorKind::Configuration, message)
        };
        let state: Self = serde_json::from_slice(&bytes).map_err(|e| {
            bad(format!(
                "no state of a run ({e}); remove the directory to start anew"
            ))
        })?;
        if state.version != VERSION {
            return Err(bad(format!(
                "format {}, this library knows {VERSION}",
                state.version
            )));
        }
        if state.provider != provider {
            return Err(bad(format!(
                "a run at {}, not at {provider}",
                state.provider
            )));
        }
        Ok(Some(state))
    }

    pub(super) async fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::from_error(ErrorKind::Configuration, e))?;
        atomic::write(path, &json).await
    }
}
