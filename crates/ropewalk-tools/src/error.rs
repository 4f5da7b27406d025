//! The errors of this crate.

use std::fmt;

use ropewalk_core::{BoxError, Error, ErrorKind, ToolCall, ToolResult};

/// Why tools cannot stand together in a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolSetError {
    /// The name is not one that every provider accepts.
    #[error("tool name {name:?} must be 1 to 64 letters, digits, `_` or `-`")]
    BadName {
        /// The name.
        name: String,
    },
    /// Two tools have the same name.
    #[error(
        "two tools are called `{name}`: {first:?} and {second:?}; rename one of them, or leave it \
         out with ToolSet::filter"
    )]
    NameClash {
        /// The name.
        name: String,
        /// Description of the tool that was there.
        first: String,
        /// Description of the tool that was to be added.
        second: String,
    },
    /// The schema of the arguments is not one of an object.
    #[error("tool `{name}`: {problem}")]
    BadSchema {
        /// Name of the tool.
        name: String,
        /// What is wrong with the schema and what to do.
        problem: String,
    },
}

impl From<ToolSetError> for Error {
    fn from(error: ToolSetError) -> Self {
        Self::from_error(ErrorKind::Configuration, error)
    }
}

/// Why a call gave no result.
///
/// All but [`Fatal`](Self::Fatal) can be told to the model: see [`answer`](Self::answer).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolFailure {
    /// There is no tool of that name.
    #[error("there is no tool `{name}`; {}", Known(.known))]
    Unknown {
        /// The name the model wrote.
        name: String,
        /// The names of the tools there are.
        known: Vec<String>,
    },
    /// The arguments do not fit.
    #[error("invalid arguments for `{name}`: {problem}")]
    InvalidArguments {
        /// Name of the tool.
        name: String,
        /// What is wrong, fit for the model.
        problem: String,
    },
    /// The tool failed.
    #[error("{reason}")]
    Failed {
        /// Name of the tool.
        name: String,
        /// Why, fit for the model.
        reason: String,
    },
    /// The tool panicked. The model is told only that it failed.
    #[error("tool `{name}` panicked: {message}")]
    Panicked {
        /// Name of the tool.
        name: String,
        /// Message of the panic.
        message: String,
    },
    /// The run must end; not shown to the model.
    #[error("tool `{name}`: {source}")]
    Fatal {
        /// Name of the tool.
        name: String,
        /// Why.
        source: BoxError,
    },
}

impl ToolFailure {
    /// Returns the failure as an error result for the model.
    ///
    /// # Errors
    /// [`Fatal`](Self::Fatal) comes back as an error of kind [`ErrorKind::Tool`], to end the run.
    pub fn answer(self, call: &ToolCall) -> Result<ToolResult, Error> {
        let text = match self {
            Self::Fatal { .. } => return Err(self.into()),
            Self::Panicked { name, .. } => format!("the tool `{name}` failed"),
            told => told.to_string(),
        };
        Ok(ToolResult::to(call, text).as_error())
    }

    /// Returns the class of the failure for traces: `unknown_tool`, `invalid_arguments`, `failed`,
    /// `panicked` or `fatal`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown_tool",
            Self::InvalidArguments { .. } => "invalid_arguments",
            Self::Failed { .. } => "failed",
            Self::Panicked { .. } => "panicked",
            Self::Fatal { .. } => "fatal",
        }
    }
}

impl From<ToolFailure> for Error {
    fn from(failure: ToolFailure) -> Self {
        match failure {
            ToolFailure::Fatal { name, source } => {
                let message = format!("the tool `{name}` ended the run: {source}");
                Self::new(ErrorKind::Tool, message).with_told_source(source)
            }
            other => Self::from_error(ErrorKind::Tool, other),
        }
    }
}

/// Says which tools there are.
struct Known<'a>(&'a [String]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("there are no tools"),
            names => write!(f, "there are: {}", names.join(", ")),
        }
    }
}
