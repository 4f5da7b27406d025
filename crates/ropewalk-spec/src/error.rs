//! What can go wrong while a configuration or a weight file is read.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that names the file, key or tensor at fault and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be opened or mapped.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file that should hold JSON does not.
    #[error("{} is not valid JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where the text stops being JSON.
        source: serde_json::Error,
    },
    /// A required key is absent.
    #[error(
        "{file}: the key `{key}` is missing; the file is incomplete or of another architecture"
    )]
    MissingKey {
        /// The file, or `config.json` when only its content was given.
        file: String,
        /// The absent key, dots between levels.
        key: String,
    },
    /// A key holds a value that cannot be used.
    #[error("{file}: `{key}` {problem}")]
    InvalidKey {
        /// The file, or `config.json` when only its content was given.
        file: String,
        /// The key, dots between levels.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// A rope setting is present that this crate does not apply, so results would be wrong.
    #[error(
        "{file}: the rope setting `{key}` is not understood for this architecture; \
         ignoring it would give wrong results"
    )]
    UnreadRopeKey {
        /// The file, or `config.json` when only its content was given.
        file: String,
        /// The key that nothing reads.
        key: String,
    },
    /// The rope type has no implementation.
    #[error("{file}: unknown rope type `{name}`; supported: {supported}")]
    UnknownRopeType {
        /// The file, or `config.json` when only its content was given.
        file: String,
        /// The type as written.
        name: String,
        /// The types that would have worked.
        supported: &'static str,
    },
    /// The model family has no implementation.
    #[error("{file}: unsupported architecture `{name}`; supported: {supported}")]
    UnknownArchitecture {
        /// The file, or `config.json` when only its content was given.
        file: String,
        /// The architecture as written.
        name: String,
        /// The architectures that would have worked.
        supported: String,
    },
    /// Values that are fine alone contradict each other.
    #[error("{file}: {problem}")]
    Inconsistent {
        /// The file, or `config.json` when only its content was given.
        file: String,
        /// The contradiction.
        problem: String,
    },
    /// A weight the model needs is in none of the files.
    #[error(
        "the weights hold no tensor `{name}`, which this model needs; a file is missing or the configuration is of another model"
    )]
    MissingTensor {
        /// The stored name that was looked for.
        name: String,
    },
    /// A weight has another shape than the configuration says.
    #[error("tensor `{name}` has shape {found:?}, the configuration says {expected:?}")]
    TensorShape {
        /// The stored name.
        name: String,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A weight is stored in a type that cannot be used.
    #[error("tensor `{name}` is stored as {found}; supported in safetensors: F32, F16, BF16")]
    TensorType {
        /// The stored name.
        name: String,
        /// The type in the file.
        found: String,
    },
    /// Rows of a weight cannot be cut out of its blocks.
    #[error("tensor `{name}`: {problem}")]
    TensorLayout {
        /// The stored name.
        name: String,
        /// What does not fit.
        problem: String,
    },
    /// An adapter does not fit the base model, or needs what is not applied.
    #[error("{file}: the adapter cannot be used: {problem}")]
    Adapter {
        /// The adapter.
        file: String,
        /// All that is wrong.
        problem: String,
    },
    /// A safetensors file or its index is damaged.
    #[error("{}: {problem}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A GGUF file or one of its keys is damaged.
    #[error(transparent)]
    Gguf(#[from] ropewalk_gguf::Error),
}

impl From<Error> for ropewalk_core::Error {
    /// A path that cannot be read is a configuration error; what a file says, one of inference.
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Io { .. } => ropewalk_core::ErrorKind::Configuration,
            _ => ropewalk_core::ErrorKind::Inference,
        };
        Self::from_error(kind, error)
    }
}
