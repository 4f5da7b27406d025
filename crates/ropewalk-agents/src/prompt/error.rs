//! Why a prompt could not be made.

use ropewalk_core::{Error, ErrorKind};

/// Why a prompt could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// The template is not well formed.
    #[error("template, byte {at}: {problem}")]
    Syntax {
        /// Byte of the template.
        at: usize,
        /// What is wrong and how to write it.
        problem: String,
    },
    /// A variable of the template has no value, or its value is null.
    #[error("variable `{name}` has no value; known are: {}", list(known))]
    Missing {
        /// The variable.
        name: String,
        /// The variables that have values.
        known: Vec<String>,
    },
    /// A value is not used by a strict template.
    #[error("value `{name}` is not used; the template has: {}", list(known))]
    Unused {
        /// Name of the value.
        name: String,
        /// The variables of the template.
        known: Vec<String>,
    },
    /// A value cannot stand where the template puts it.
    #[error("variable `{name}`: {problem}")]
    Value {
        /// The variable.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => names.join(", "),
    }
}

impl From<PromptError> for Error {
    fn from(error: PromptError) -> Self {
        Self::from_error(ErrorKind::InvalidRequest, error)
    }
}
