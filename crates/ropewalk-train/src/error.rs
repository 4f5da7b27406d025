//! What can go wrong while training, saving or exporting.

use std::path::{Path, PathBuf};

/// The result of everything fallible in this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// A failure of the trainer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A configuration that cannot be trained.
    #[error("configuration: {0}")]
    Config(String),
    /// A batch whose parts do not fit together.
    #[error("batch: {0}")]
    Batch(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A checkpoint that does not belong to this run or is damaged.
    #[error("checkpoint {path}: {reason}")]
    Checkpoint {
        /// The checkpoint directory.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Export of the model failed.
    #[error("export: {0}")]
    Export(String),
    /// The tensor library refused an operation.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl TrainError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}
