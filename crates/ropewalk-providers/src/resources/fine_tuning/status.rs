//! Where a job stands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// State of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum JobStatus {
    /// The files are checked.
    #[default]
    ValidatingFiles,
    /// The job waits for its turn.
    Queued,
    /// The model learns.
    Running,
    /// The job was made to pause.
    Paused,
    /// There is a model.
    Succeeded,
    /// There is none; the job says why.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// A state this library does not know, by its name.
    Other(String),
}

impl JobStatus {
    /// Returns the name of the state in the API.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::ValidatingFiles => "validating_files",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Other(name) => name,
        }
    }

    /// Returns whether nothing more will happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl From<String> for JobStatus {
    fn from(name: String) -> Self {
        match name.as_str() {
            "validating_files" => Self::ValidatingFiles,
            "queued" => Self::Queued,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => Self::Other(name),
        }
    }
}

impl From<JobStatus> for String {
    fn from(status: JobStatus) -> Self {
        status.as_str().to_owned()
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
