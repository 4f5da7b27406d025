use std::path::PathBuf;

/// The boxed cause of an [`Error`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a tokenizer could not be loaded, trained or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tokenizer file could not be read.
    #[error("cannot read `{}`: check the path and its permissions", path.display())]
    Read {
        /// The file that was wanted.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A tokenizer file is not what its name promises.
    #[error("cannot load {what}: download or export it again")]
    Parse {
        /// The file, or `tokenizer.json` when it came from memory.
        what: String,
        /// What the parser said.
        source: BoxError,
    },
    /// A key of the vocabulary metadata is missing or does not fit the others.
    #[error("vocabulary metadata `{key}`: {problem}")]
    Metadata {
        /// The metadata key, such as `tokenizer.ggml.tokens`.
        key: &'static str,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// The pre-tokenizer name is none of those this crate implements.
    #[error("unknown pre-tokenizer `{name}`; known: {known}")]
    UnknownPreTokenizer {
        /// The name that was asked for.
        name: String,
        /// All known names, separated by commas.
        known: String,
    },
    /// The vocabulary cannot be stored as the keys of a GGUF file.
    #[error("cannot export the vocabulary: {problem}")]
    Export {
        /// What has no form there.
        problem: String,
    },
    /// A token id lies outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size} tokens")]
    UnknownId {
        /// The id that was given.
        id: u32,
        /// How many ids there are.
        vocab_size: usize,
    },
    /// The text could not be encoded.
    #[error("cannot encode the text")]
    Encode(#[source] BoxError),
    /// The ids could not be decoded.
    #[error("cannot decode the ids")]
    Decode(#[source] BoxError),
    /// An option contradicts the vocabulary or another option.
    #[error("option `{option}`: {problem}")]
    Option {
        /// The name of the option.
        option: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl Error {
    pub(crate) fn metadata(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Metadata {
            key,
            problem: problem.into(),
        }
    }

    pub(crate) fn option(option: &'static str, problem: impl Into<String>) -> Self {
        Self::Option {
            option,
            problem: problem.into(),
        }
    }
}
