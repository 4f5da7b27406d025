//! What can be wrong with a document.

use ropewalk_core::{Error, ErrorKind};

/// Why no tools can be made of a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenApiError {
    /// The text is no JSON, or nested deeper than 128 levels.
    #[error("the OpenAPI document is no JSON: {0}; YAML must be converted first")]
    NoJson(String),
    /// The document has another version.
    #[error("the OpenAPI document says version {0}; only 3.0 and 3.1 are read")]
    Version(String),
    /// The document, or what its references unfold to, is larger than the limit.
    #[error("{what} is larger than {limit}; leave operations out with OpenApi::with_filter")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit with its unit.
        limit: String,
    },
    /// A schema is nested too deeply.
    #[error("{operation}: a schema is nested deeper than {limit} levels")]
    TooDeep {
        /// The operation.
        operation: String,
        /// The limit.
        limit: usize,
    },
    /// A reference leads nowhere.
    #[error("the reference {0:?} leads nowhere in the document")]
    MissingReference(String),
    /// References lead to each other without an end.
    #[error("the reference {0:?} leads back to itself")]
    ReferenceLoop(String),
    /// A reference leads out of the document.
    #[error("the reference {0:?} leads to another document; put everything into one")]
    ExternalReference(String),
    /// Something of an operation cannot be sent.
    #[error("{operation}: {problem}; leave it out with OpenApi::with_filter")]
    Unsupported {
        /// The operation.
        operation: String,
        /// What cannot be sent.
        problem: String,
    },
    /// It is not known where to send requests.
    #[error("{operation}: {problem}; set it with OpenApi::with_base_url")]
    NoAddress {
        /// The operation.
        operation: String,
        /// What is wrong with the address.
        problem: String,
    },
    /// An operation needs a credential that was not given.
    #[error("{operation} needs a credential for {schemes}; set it with OpenApi::with_credential")]
    MissingCredential {
        /// The operation.
        operation: String,
        /// The security schemes of which one is enough.
        schemes: String,
    },
}

impl From<OpenApiError> for Error {
    fn from(error: OpenApiError) -> Self {
        Self::from_error(ErrorKind::Configuration, error)
    }
}
